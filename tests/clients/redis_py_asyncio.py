#!/usr/bin/env python3
"""Acceptance of redis-py's asyncio side under load: many tasks, and tasks that are cancelled while they wait.

A cancelled task leaves a command behind whose reply nobody wants; the reply must never reach another task. The user
needs `on ~PREFIX* &PREFIX* +@all -@dangerous`.
"""

import asyncio
import random

import redis.asyncio
from redis.exceptions import NoPermissionError, WatchError

from acceptance import cancel, main, next_message, raises, same, step, until

BOTH = (2, 3)


async def prepare(settings, name, count):
    """Writes `count` keys, each with its own name as value; gives their names."""
    keys = [settings.key(name) for _ in range(count)]
    async with settings.client() as client:
        await client.mset({key: key for key in keys})
    return keys


async def cancelled_at_random(work, count, most=0.02):
    """Runs `work(number)` in many tasks, cancels about half of them in the middle; how many came to their end."""
    tasks = [asyncio.create_task(work(number)) for number in range(count)]
    for task in tasks:
        if random.random() < 0.5:
            asyncio.get_running_loop().call_later(random.random() * most, task.cancel)
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    for end in ends:
        if isinstance(end, BaseException) and not isinstance(end, asyncio.CancelledError):
            raise end
    return sum(end is None for end in ends)


@step("tasks that are cancelled while they read: no other task gets their reply")
async def cancelled_reads(settings):
    keys = await prepare(settings, "cancelled", 60)
    ended = 0
    for protocol in BOTH:
        async with settings.client(protocol=protocol, max_connections=80) as client:

            async def work(number):
                for _ in range(5):
                    same(await client.get(keys[number]), keys[number])

            for _ in range(3):
                ended += await cancelled_at_random(work, len(keys))
            # All that a cancelled task could have left behind would be in front of these.
            same(await asyncio.gather(*map(client.get, keys)), keys)
    assert 0 < ended < 6 * len(keys), f"{ended} tasks came to their end; some should be cancelled and some not"


@step("pipelines and transactions that are cancelled: whole or not at all, and no other gets their replies")
async def cancelled_pipelines(settings):
    pairs = [(settings.key("a"), settings.key("b")) for _ in range(30)]
    ended = 0
    async with settings.client(max_connections=80) as client:

        async def work(number):
            one, two = pairs[number]
            for _ in range(3):
                async with client.pipeline(transaction=True) as pipe:
                    first, second = await pipe.incr(one).incr(two).execute()
                    same(first, second)
                async with client.pipeline(transaction=False) as pipe:
                    same(await pipe.echo(one).echo(two).execute(), [one, two])

        for _ in range(3):
            ended += await cancelled_at_random(work, len(pairs), 0.06)
        for one, two in pairs:
            first, second = await client.mget(one, two)
            same(first, second, f"{one} and {two}, always changed together")
    assert 0 < ended < 3 * len(pairs), f"{ended} tasks came to their end; some should be cancelled and some not"


@step("BLPOP that is cancelled, 20 times: the next BLPOP of the same list gets every value")
async def cancelled_blocking(settings):
    queue = settings.key("queue")
    async with settings.client() as client, settings.client() as other:
        for _ in range(20):
            waiting = asyncio.create_task(client.blpop([queue], timeout=5))
            await asyncio.sleep(0.02 * random.random())
            await cancel(waiting)
        # The cancelled connections are closed; the server has noticed once it has answered on a new one.
        await asyncio.sleep(0.3)
        await other.rpush(queue, *range(20))
        got = [(await client.blpop([queue], timeout=5))[1] for _ in range(20)]
        same(got, [str(number) for number in range(20)])


@step("one connection shared by 50 tasks: each gets the reply to its own command")
async def one_connection(settings):
    keys = await prepare(settings, "shared", 50)
    for protocol in BOTH:
        async with settings.client(protocol=protocol, single_connection_client=True) as client:

            async def work(key):
                for number in range(10):
                    same(await client.get(key), key)
                    same(await client.echo(f"{key} {number}"), f"{key} {number}")

            await asyncio.gather(*map(work, keys))


@step("30 tasks through a pool of 5 connections: pipelines, transactions, refusals and BLPOP at once")
async def mixed_load(settings):
    pool = redis.asyncio.BlockingConnectionPool(
        connection_class=redis.asyncio.SSLConnection,
        max_connections=5,
        timeout=20,
        **{name: value for name, value in settings.arguments().items() if name != "ssl"},
    )

    async def work(client, number):
        key = settings.key(f"mixed:{number}")
        for turn in range(5):
            async with client.pipeline(transaction=turn % 2 == 0) as pipe:
                pipe.set(key, turn).incr(key).get(key).rpush(f"{key}:list", turn)
                same((await pipe.execute())[:3], [True, turn + 1, str(turn + 1)])
            same(list(await client.blpop([f"{key}:list"], timeout=5)), [f"{key}:list", str(turn)])
            await raises(NoPermissionError, client.get(settings.forbidden))
            same(await client.get(key), str(turn + 1))

    async with redis.asyncio.Redis.from_pool(pool) as client:
        await asyncio.gather(*(work(client, number) for number in range(30)))


@step("a transaction with WATCH that 10 tasks want at once: none is lost")
async def contended_transaction(settings):
    key = settings.key("contended")
    refused = 0
    async with settings.client() as client:

        async def increment():
            nonlocal refused
            while True:
                async with client.pipeline() as pipe:
                    try:
                        await pipe.watch(key)
                        number = int(await pipe.get(key) or 0)
                        pipe.multi()
                        same(await pipe.set(key, number + 1).execute(), [True])
                        return
                    except WatchError:
                        refused += 1

        await asyncio.gather(*(increment() for _ in range(10)))
        same(await client.get(key), "10")
    assert refused > 0, "no two tasks were in each other's way, so nothing was shown"


@step("20 subscribers, each with a channel of its own and one in common: each hears what is for it, in order")
async def many_subscribers(settings):
    common = settings.key("common")
    own = [settings.key("own") for _ in range(20)]

    async def listen(channel, protocol, ready):
        heard = []
        async with settings.client(protocol=protocol) as client, client.pubsub() as pubsub:
            await pubsub.subscribe(channel, common)
            for _ in range(2):
                same((await next_message(pubsub))[0], "subscribe")
            ready.release()
            while len(heard) < 15:
                heard.append((await next_message(pubsub))[2:])
        same([data for name, data in heard if name == channel], [f"{channel} {n}" for n in range(10)])
        same([data for name, data in heard if name == common], [str(n) for n in range(5)])

    ready = asyncio.Semaphore(0)
    listeners = [asyncio.create_task(listen(name, 2 + i % 2, ready)) for i, name in enumerate(own)]
    async with settings.client() as publisher:
        for _ in own:
            await asyncio.wait_for(ready.acquire(), 10)
        for number in range(10):
            async with publisher.pipeline(transaction=False) as pipe:
                for channel in own:
                    pipe.publish(channel, f"{channel} {number}")
                same(await pipe.execute(), [1] * len(own))
            if number < 5:
                same(await publisher.publish(common, number), len(own))
        await asyncio.gather(*listeners)


@step("a subscriber that is cancelled: the server has one less, and another one goes on")
async def cancelled_subscriber(settings):
    channel = settings.key("left")
    heard = []

    async def listen(into):
        async with settings.client() as client, client.pubsub() as pubsub:
            await pubsub.subscribe(channel)
            async for message in pubsub.listen():
                into.append(message["type"])

    async with settings.client() as publisher:
        one, two = asyncio.create_task(listen([])), asyncio.create_task(listen(heard))
        while await publisher.publish(channel, "?") < 2:
            await asyncio.sleep(0.02)
        await cancel(one)
        while await publisher.publish(channel, "?") > 1:
            await asyncio.sleep(0.02)
        before = len(heard)
        same(await publisher.publish(channel, "!"), 1)
        await until(lambda: len(heard) > before, "the message of the one who stayed")
        await cancel(two)


@step("one RESP3 connection subscribes, hears messages and leaves again, beside 200 commands of the same pool")
async def subscribed_beside_commands(settings):
    channel, keys = settings.key("beside"), await prepare(settings, "beside", 20)
    async with settings.client(protocol=3) as client, client.pubsub() as pubsub:
        await pubsub.subscribe(channel)
        same((await next_message(pubsub))[0], "subscribe")

        async def work(key):
            for _ in range(10):
                same(await client.get(key), key)
                same(await client.publish(channel, key), 1)

        working = asyncio.gather(*map(work, keys))
        heard = [(await next_message(pubsub))[3] for _ in range(200)]
        await working
        same(sorted(heard), sorted(keys * 10))
        await pubsub.unsubscribe()
        same((await next_message(pubsub))[0], "unsubscribe")


if __name__ == "__main__":
    main(__doc__)
