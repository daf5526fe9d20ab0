#!/usr/bin/env python3
"""Acceptance of redis-py's Lock and of scripts, which Lock is made of, blocking and asyncio.

Any user will do who may use its keys: `on ~PREFIX* +@all -@dangerous`.
"""

import asyncio
import threading
import time

from redis.exceptions import LockError, LockNotOwnedError, ResponseError

from acceptance import main, raises, same, step


def refused(kind, function, *arguments, **named):
    """Fails the step unless the call raises exactly this error."""
    try:
        reply = function(*arguments, **named)
    except kind:
        return
    raise AssertionError(f"wanted {kind.__name__}, got the reply {reply!r}")


@step("Lock: taken, refused to others, given back")
def lock(settings):
    name = settings.key("lock")
    with settings.sync_client() as client, settings.sync_client() as other:
        with client.lock(name, timeout=10) as mine:
            same(mine.owned(), True)
            same(mine.locked(), True)
            same(other.lock(name, timeout=10).acquire(blocking=False), False)
            assert 8_000 < client.pttl(name) <= 10_000, client.pttl(name)
        same(client.exists(name), 0)
        theirs = other.lock(name, timeout=10)
        same(theirs.acquire(blocking=False), True)
        theirs.release()


@step("Lock: 8 threads take turns, and no increment is lost")
def lock_of_threads(settings):
    name, counter = settings.key("lock"), settings.key("counter")
    inside, most, errors = [], [], []

    def work():
        try:
            with settings.sync_client() as client:
                for _ in range(5):
                    with client.lock(name, timeout=10, blocking_timeout=20, sleep=0.005):
                        inside.append(None)
                        most.append(len(inside))
                        # Not INCR: without the lock these would overwrite each other.
                        client.set(counter, int(client.get(counter) or 0) + 1)
                        inside.pop()
        except Exception as error:  # noqa: BLE001, told by the thread that waits
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(25)
    same(errors, [])
    with settings.sync_client() as client:
        same(client.get(counter), "40")
    same(max(most), 1, "threads inside at once")


@step("Lock: extended and renewed; who lost it cannot give it back or extend it")
def lock_extended(settings):
    name = settings.key("lock")
    with settings.sync_client() as client:
        mine = client.lock(name, timeout=2)
        same(mine.acquire(), True)
        same(mine.extend(10), True)
        assert 10_000 < client.pttl(name) <= 12_000, client.pttl(name)
        same(mine.extend(5, replace_ttl=True), True)
        assert 4_000 < client.pttl(name) <= 5_000, client.pttl(name)
        same(mine.reacquire(), True)
        assert 1_000 < client.pttl(name) <= 2_000, client.pttl(name)
        client.set(name, "taken by another")
        for lost in (mine.reacquire, lambda: mine.extend(1), mine.release):
            refused(LockNotOwnedError, lost)
        same(client.get(name), "taken by another")
        refused(LockError, mine.release)


@step("Lock: it is free again when its time is over")
def lock_expires(settings):
    name = settings.key("lock")
    with settings.sync_client() as client, settings.sync_client() as other:
        same(client.lock(name, timeout=0.3).acquire(), True)
        begun = time.monotonic()
        same(other.lock(name, timeout=1, blocking_timeout=5, sleep=0.02).acquire(), True)
        waited = time.monotonic() - begun
        assert 0.15 < waited < 2, f"waited {waited:.2f} s"


@step("asyncio Lock: 20 tasks take turns; one that is cancelled while it waits holds nothing")
async def lock_of_tasks(settings):
    name, inside, most = settings.key("lock"), [], []
    async with settings.client() as client:

        async def work():
            async with client.lock(name, timeout=10, blocking_timeout=20, sleep=0.005):
                inside.append(None)
                most.append(len(inside))
                await asyncio.sleep(0.002)
                inside.pop()

        async with client.lock(name, timeout=10):
            tasks = [asyncio.create_task(work()) for _ in range(20)]
            await asyncio.sleep(0.05)
            for task in tasks[:10]:
                task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        # redis-py forgets now and then that a task was cancelled; such a task works like the others.
        cancelled = [end for end in ends if isinstance(end, asyncio.CancelledError)]
        assert 0 < len(cancelled) <= 10, ends
        same([end for end in ends if end not in cancelled], [None] * (20 - len(cancelled)))
        same((len(most), max(most)), (20 - len(cancelled), 1), "how many were inside, and how many at once")
        same(await client.exists(name), 0)


@step("a registered script: EVALSHA, loaded again by itself when the server has forgotten it")
def registered(settings):
    key = settings.key("script")
    with settings.sync_client() as client:
        add = client.register_script("return redis.call('incrby', KEYS[1], ARGV[1])")
        same(add(keys=[key], args=[2]), 2)
        same(add(keys=[key], args=[3]), 5)
        client.script_flush()
        same(client.script_exists(add.sha), [False])
        same(add(keys=[key], args=[5]), 10)
        same(client.script_exists(add.sha), [True])
        client.script_flush()
        with client.pipeline(transaction=True) as pipe:
            pipe.set(key, 1)
            add(keys=[key], args=[1], client=pipe)
            same(pipe.execute(), [True, 2])


@step("replies of scripts: nested arrays, nil, status, errors, both protocols")
def replies(settings):
    for protocol in (2, 3):
        with settings.sync_client(protocol=protocol) as client:
            key = settings.key("k")
            same(client.eval("return {1, {'a', {KEYS[1]}}, false}", 1, key), [1, ["a", [key]], None])
            same(client.eval("return redis.status_reply('FINE')", 0), "FINE")
            refused(ResponseError, client.eval, "return redis.error_reply('BAD luck')", 0)
            refused(ResponseError, client.eval, "this is no Lua", 0)
            same(client.ping(), True)


@step("asyncio: 50 scripts at once, each with its own answer")
async def scripts_at_once(settings):
    async with settings.client() as client:
        answer = client.register_script("return {ARGV[1], tonumber(ARGV[1]) * 2}")
        got = await asyncio.gather(*(answer(args=[number]) for number in range(50)))
        same(got, [[str(number), number * 2] for number in range(50)])
        await raises(ResponseError, client.evalsha("0" * 40, 0), "No matching script")


if __name__ == "__main__":
    main(__doc__)
