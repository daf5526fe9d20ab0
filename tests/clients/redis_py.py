#!/usr/bin/env python3
"""Acceptance of redis-py: does a typical application notice that Redkeep is there?

Speaks TLS to one address as one user and does what applications do; acceptance.py has the options. The user needs
`on ~PREFIX* &PREFIX* +@all -@dangerous`, and the default user must need a password or be off.
"""

import asyncio
import os
import time

import redis
import redis.asyncio
from redis.exceptions import (
    AuthenticationError,
    ExecAbortError,
    NoPermissionError,
    ResponseError,
    WatchError,
)

from acceptance import cancel, main, next_message, raises, same, step

# === Commands ===


@step("PING and ECHO")
async def ping(settings):
    async with settings.client() as client:
        same(await client.ping(), True)
        same(await client.echo("hällo\r\n wörld"), "hällo\r\n wörld")


@step("SET, GET, EXISTS, DEL")
async def strings(settings):
    key = settings.key("string")
    async with settings.client() as client:
        same(await client.get(key), None)
        same(await client.set(key, "1\r\n$5\r\nää"), True)
        same(await client.get(key), "1\r\n$5\r\nää")
        same(await client.set(key, "no", nx=True), None)
        same(await client.exists(key), 1)
        same(await client.delete(key), 1)
        same(await client.delete(key), 0)


@step("SET and GET of empty, binary and 3 MB values")
async def large_values(settings):
    key = settings.key("binary")
    async with settings.client(decode_responses=False) as client:
        for value in (b"", b"\0\r\n*1\r\n\xff\xfe", bytes(range(256)) * 12_000):
            same(await client.set(key, value), True)
            same(await client.get(key), value, f"value of {len(value)} bytes")
        await client.delete(key)


@step("EXPIRE, TTL, PEXPIRE, PERSIST")
async def expiry(settings):
    key = settings.key("expiry")
    async with settings.client() as client:
        same(await client.ttl(key), -2)
        await client.set(key, "x")
        same(await client.ttl(key), -1)
        same(await client.expire(key, 100), True)
        assert 98 <= await client.ttl(key) <= 100
        same(await client.persist(key), True)
        same(await client.pexpire(key, 20), True)
        await asyncio.sleep(0.1)
        same(await client.get(key), None)


@step("HSET, HGETALL, HDEL")
async def hashes(settings):
    key = settings.key("hash")
    async with settings.client() as client:
        same(await client.hset(key, mapping={"a": "1", "b": "2"}), 2)
        same(await client.hgetall(key), {"a": "1", "b": "2"})
        same(await client.hdel(key, "a"), 1)
        same(await client.hgetall(key), {"b": "2"})
        await client.delete(key)


@step("LPUSH, LRANGE, LPOP")
async def lists(settings):
    key = settings.key("list")
    async with settings.client() as client:
        same(await client.lpush(key, "c", "b", "a"), 3)
        same(await client.lrange(key, 0, -1), ["a", "b", "c"])
        same(await client.lpop(key), "a")
        await client.delete(key)


@step("INCR, INCRBY, INCRBYFLOAT")
async def counters(settings):
    key = settings.key("counter")
    async with settings.client() as client:
        same(await client.incr(key), 1)
        same(await client.incrby(key, 41), 42)
        same(await client.incrbyfloat(key, 0.5), 42.5)
        await client.delete(key)


@step("sets and sorted sets")
async def sets(settings):
    key, scores = settings.key("set"), settings.key("zset")
    async with settings.client() as client:
        same(await client.sadd(key, "a", "b"), 2)
        same(await client.smembers(key), {"a", "b"})
        same(await client.zadd(scores, {"a": 1.5, "b": 2.5}), 2)
        same(await client.zscore(scores, "b"), 2.5)
        same(await client.zrange(scores, 0, -1), ["a", "b"])
        await client.delete(key, scores)


@step("MSET and MGET of permitted keys")
async def many_keys(settings):
    one, two, none = settings.key("m"), settings.key("m"), settings.key("m")
    async with settings.client() as client:
        same(await client.mset({one: "1", two: "2"}), True)
        same(await client.mget(one, two, none), ["1", "2", None])
        await client.delete(one, two)


@step("an error of Redis' own (WRONGTYPE) comes through and the connection goes on")
async def server_errors(settings):
    key = settings.key("wrongtype")
    async with settings.client(single_connection_client=True) as client:
        await client.set(key, "x")
        await raises(ResponseError, client.lpush(key, "y"), "Operation against a key holding the wrong kind of value")
        same(await client.get(key), "x")
        await client.delete(key)


@step("SCAN finds this run's keys, or is refused with NOPERM")
async def scan(settings):
    key = settings.key("scan")
    async with settings.client() as client:
        await client.set(key, "x")
        try:
            found = [k async for k in client.scan_iter(match=key + "*", count=1000)]
            same(found, [key])
        except NoPermissionError:
            pass
        await client.delete(key)


# === Pipelines and transactions ===


@step("pipeline of 100 commands without a transaction, replies in order")
async def pipeline(settings):
    key = settings.key("pipeline")
    async with settings.client() as client:
        async with client.pipeline(transaction=False) as pipe:
            for number in range(50):
                pipe.set(f"{key}:{number}", number)
                pipe.get(f"{key}:{number}")
            replies = await pipe.execute()
        same(replies, [r for n in range(50) for r in (True, str(n))])
        await client.delete(*(f"{key}:{number}" for number in range(50)))


@step("pipelines of 10,000 commands, with a transaction and without, in RESP2 and RESP3")
def large_pipelines(settings):
    for protocol in (2, 3):
        key = settings.key("pipeline")
        with settings.sync_client(protocol=protocol) as client:
            for transaction in (False, True):
                with client.pipeline(transaction=transaction) as pipe:
                    for number in range(5_000):
                        pipe.set(key, number).get(key)
                    same(pipe.execute(), [r for n in range(5_000) for r in (True, str(n))])
            client.delete(key)


@step("a refused command in a pipeline fails alone")
async def pipeline_with_refusal(settings):
    key = settings.key("pipeline")
    async with settings.client() as client:
        async with client.pipeline(transaction=False) as pipe:
            pipe.set(key, "1").get(settings.forbidden).get(key)
            replies = await pipe.execute(raise_on_error=False)
        same([replies[0], replies[2]], [True, "1"])
        assert isinstance(replies[1], NoPermissionError), replies[1]
        await client.delete(key)


@step("MULTI and EXEC")
async def transaction(settings):
    key = settings.key("transaction")
    async with settings.client() as client:
        async with client.pipeline(transaction=True) as pipe:
            replies = await pipe.set(key, "1").incr(key).expire(key, 60).get(key).execute()
        same(replies, [True, 2, True, "2"])
        await client.delete(key)


@step("a refused command in MULTI aborts the transaction")
async def transaction_with_refusal(settings):
    key = settings.key("aborted")
    async with settings.client(single_connection_client=True) as client:
        # By hand: redis-py's pipeline would report the first error and hide EXEC's.
        same(await client.execute_command("MULTI"), "OK")
        await client.execute_command("ECHO", "queued")
        await raises(NoPermissionError, client.execute_command("GET", settings.forbidden))
        await raises(ExecAbortError, client.execute_command("EXEC"))
        same(await client.exists(key), 0)
        async with client.pipeline(transaction=True) as pipe:
            pipe.set(key, "1").get(settings.forbidden)
            await raises(NoPermissionError, pipe.execute())
        same(await client.exists(key), 0)


@step("WATCH: EXEC succeeds untouched, and fails when another client wrote the key")
async def watch(settings):
    key = settings.key("watch")
    async with settings.client() as client, settings.client() as other:
        await client.set(key, "1")
        async with client.pipeline() as pipe:
            await pipe.watch(key)
            value = int(await pipe.get(key))
            pipe.multi()
            pipe.set(key, value + 1)
            same(await pipe.execute(), [True])

            await pipe.watch(key)
            await other.set(key, "100")
            pipe.multi()
            pipe.set(key, "lost")
            await raises(WatchError, pipe.execute())

            await pipe.watch(key)
            await other.set(key, "101")
            await pipe.unwatch()
            pipe.multi()
            pipe.get(key)
            same(await pipe.execute(), ["101"])

        async def increment(pipe):
            number = int(await pipe.get(key))
            pipe.multi()
            pipe.set(key, number + 1)

        await asyncio.gather(*(client.transaction(increment, key) for _ in range(5)))
        same(await client.get(key), "106")
        await client.delete(key)


# === Blocking commands ===


@step("BLPOP: empty-handed after 1 s, others served meanwhile")
async def blocking_empty(settings):
    key = settings.key("empty")
    async with settings.client() as client:
        begun = time.monotonic()
        waiting = asyncio.create_task(client.blpop(key, timeout=1))
        for _ in range(20):
            same(await client.ping(), True)
        served = time.monotonic() - begun
        same(await waiting, None)
        waited = time.monotonic() - begun
        assert served < 0.9, f"20 PINGs beside BLPOP took {served:.2f} s"
        assert 0.9 <= waited < 3, f"BLPOP took {waited:.2f} s"


@step("BLPOP: a value that another client pushes")
async def blocking_value(settings):
    key = settings.key("queue")
    async with settings.client() as client, settings.client() as other:
        waiting = asyncio.create_task(client.blpop([key], timeout=4))
        await asyncio.sleep(0.2)
        same(await other.rpush(key, "job"), 1)
        reply = await waiting
        same(list(reply), [key, "job"])
        same(await other.exists(key), 0)


@step("BLPOP: a client that goes away takes no value with it")
async def blocking_abandoned(settings):
    key = settings.key("abandoned")
    async with settings.client() as other:
        client = settings.client(single_connection_client=True)
        waiting = asyncio.create_task(client.blpop([key], timeout=0))
        await asyncio.sleep(0.2)
        await cancel(waiting)
        await client.connection_pool.disconnect(inuse_connections=True)
        await client.aclose()
        await asyncio.sleep(0.3)
        await other.rpush(key, "job")
        await asyncio.sleep(0.1)
        same(await other.lpop(key), "job")


# === Many at once ===


@step("50 tasks, each 20 INCR on its own key, through one pool")
async def concurrency(settings):
    key = settings.key("concurrent")
    async with settings.client(max_connections=60) as client:

        async def work(number):
            return [await client.incr(f"{key}:{number}") for _ in range(20)]

        replies = await asyncio.gather(*(work(number) for number in range(50)))
        same(replies, [list(range(1, 21))] * 50)
        await client.delete(*(f"{key}:{number}" for number in range(50)))


@step("100 INCR at once through a pool of 2 connections")
async def small_pool(settings):
    key = settings.key("pool")
    pool = redis.asyncio.BlockingConnectionPool(
        connection_class=redis.asyncio.SSLConnection,
        max_connections=2,
        timeout=10,
        **{k: v for k, v in settings.arguments().items() if k != "ssl"},
    )
    client = redis.asyncio.Redis.from_pool(pool)
    async with client:
        await asyncio.gather(*(client.incr(key) for _ in range(100)))
        same(await client.get(key), "100")
        await client.delete(key)


@step("the health check before a command on an idle connection")
async def health_check(settings):
    key = settings.key("idle")
    async with settings.client(health_check_interval=1, single_connection_client=True) as client:
        await client.set(key, "x")
        await asyncio.sleep(1.2)
        same(await client.get(key), "x")
        await client.delete(key)


# === Protocol versions ===


async def speaks(settings, version):
    key = settings.key(f"resp{version}")
    async with settings.client(protocol=version, single_connection_client=True) as client:
        await client.hset(key, mapping={"a": "1"})
        same(await client.hgetall(key), {"a": "1"})
        same(await client.get(settings.key("absent")), None)
        same(await client.sismember(settings.key("absent"), "x"), 0)
        hello = await client.execute_command("HELLO")
        if not isinstance(hello, dict):
            hello = dict(zip(hello[::2], hello[1::2]))
        same(hello["proto"], version, "proto in HELLO's reply")
        await client.delete(key)


@step("RESP2")
async def resp2(settings):
    await speaks(settings, 2)


@step("RESP3")
async def resp3(settings):
    await speaks(settings, 3)


@step("RESP2 and RESP3 clients side by side get replies of their own kind")
async def mixed_versions(settings):
    await asyncio.gather(*(speaks(settings, version) for version in (2, 3, 2, 3)))


# === Refusals ===


@step("a forbidden key: NoPermissionError, reading and writing")
async def forbidden_key(settings):
    async with settings.client() as client:
        await raises(NoPermissionError, client.get(settings.forbidden))
        await raises(NoPermissionError, client.set(settings.forbidden, "x"))
        await raises(NoPermissionError, client.mget(settings.key("ok"), settings.forbidden))
        same(await client.ping(), True)


@step("forbidden commands: NoPermissionError")
async def forbidden_command(settings):
    async with settings.client() as client:
        await raises(NoPermissionError, client.flushall())
        await raises(NoPermissionError, client.config_set("dir", "/tmp"))
        await raises(NoPermissionError, client.keys("*"))
        same(await client.ping(), True)


@step("a wrong password: AuthenticationError")
async def wrong_password(settings):
    for version in (2, 3):
        async with settings.hasty_client(password=settings.password + "x", protocol=version) as client:
            await raises(AuthenticationError, client.ping(), "invalid username-password pair")


@step("a wrong password with redis-py's own retries: AuthenticationError in the end")
async def wrong_password_with_retries(settings):
    async with settings.client(password=settings.password + "x") as client:
        await raises(AuthenticationError, client.ping(), "invalid username-password pair")


@step("an unknown user: AuthenticationError")
async def unknown_user(settings):
    async with settings.hasty_client(username="nobody-" + settings.run) as client:
        await raises(AuthenticationError, client.ping(), "invalid username-password pair")


@step("no password (password=None), with and without a user name: AuthenticationError")
async def no_password(settings):
    absent = os.getenv("REDKEEP_TEST_NO_SUCH_VARIABLE") or None
    for version in (2, 3):
        async with settings.hasty_client(password=absent, protocol=version) as client:
            await raises(AuthenticationError, client.ping())
        async with settings.hasty_client(username=None, password=absent, protocol=version) as client:
            await raises(AuthenticationError, client.ping())


@step("after a refused login the same pool works with the right password")
async def login_after_refusal(settings):
    async with settings.hasty_client(single_connection_client=True) as client:
        await raises(AuthenticationError, client.execute_command("AUTH", settings.user, "wrong"))
        same(await client.ping(), True)
        same(await client.execute_command("AUTH", settings.user, settings.password), True)
        same(await client.ping(), True)


@step("a client that does not trust the certificate's issuer does not connect")
async def untrusted(settings):
    async with settings.hasty_client(ssl_ca_certs=None) as client:
        await raises(redis.exceptions.ConnectionError, client.ping(), "CERTIFICATE_VERIFY_FAILED")


@step("without TLS nothing is said")
async def plaintext(settings):
    async with settings.hasty_client(ssl=False, ssl_ca_certs=None) as client:
        # A TLS alert is no RESP: some servers send one, others just close.
        await raises(
            (redis.exceptions.ConnectionError, redis.exceptions.InvalidResponse, redis.exceptions.TimeoutError),
            client.ping(),
        )


# === Other ways to connect ===


def blocking_client_works(client, key):
    """What the blocking client does: commands, a pipeline, a transaction, BLPOP, a refusal."""
    with client:
        same(client.set(key, "1"), True)
        same(client.get(key), "1")
        with client.pipeline(transaction=False) as pipe:
            for _ in range(100):
                pipe.incr(key)
            same(pipe.execute(), list(range(2, 102)))
        with client.pipeline(transaction=True) as pipe:
            same(pipe.incr(key).get(key).execute(), [102, "102"])
        same(client.delete(key), 1)
        same(client.blpop([key], timeout=1), None)
        same(client.rpush(key, "x"), 1)
        same(list(client.blpop([key], timeout=1)), [key, "x"])


@step("the blocking client: redis.Redis")
async def sync_client(settings):
    await asyncio.to_thread(blocking_client_works, settings.sync_client(), settings.key("sync"))

    def refused():
        with settings.sync_client() as client:
            client.get(settings.forbidden)

    await raises(NoPermissionError, asyncio.to_thread(refused))


# === Publish and subscribe ===


async def pubsub_works(settings, protocol):
    channel, pattern = settings.key("channel"), f"{settings.prefix}*"
    async with settings.client(protocol=protocol) as publisher, settings.client(protocol=protocol) as client:
        async with client.pubsub() as pubsub:
            await pubsub.subscribe(channel, f"{channel}:2")
            same(await next_message(pubsub), ("subscribe", None, channel, 1))
            same(await next_message(pubsub), ("subscribe", None, f"{channel}:2", 2))
            await pubsub.psubscribe(pattern)
            same(await next_message(pubsub), ("psubscribe", None, pattern, 3))
            same(await publisher.publish(channel, "hello"), 2)
            got = {await next_message(pubsub), await next_message(pubsub)}
            same(got, {("message", None, channel, "hello"), ("pmessage", pattern, channel, "hello")})
            await pubsub.punsubscribe()
            same(await next_message(pubsub), ("punsubscribe", None, pattern, 2))
            if protocol == 2:
                # The reply to a subscriber's PING is an array; redis-py does not understand the one of RESP3.
                await pubsub.ping("alive")
                same((await next_message(pubsub))[3], "alive")
            await pubsub.unsubscribe()
            ended = {await next_message(pubsub), await next_message(pubsub)}
            same({channel for _, _, channel, _ in ended}, {channel, f"{channel}:2"})
            same(await publisher.publish(channel, "nobody"), 0)


@step("publish and subscribe in RESP2")
async def pubsub_resp2(settings):
    await pubsub_works(settings, 2)


@step("publish and subscribe in RESP3")
async def pubsub_resp3(settings):
    await pubsub_works(settings, 3)


@step("a channel that the user may not have is refused")
async def pubsub_forbidden(settings):
    async with settings.client() as client, client.pubsub() as pubsub:
        await pubsub.subscribe(settings.forbidden)
        await raises(NoPermissionError, pubsub.get_message(timeout=5))


@step("a thread that calls back for channels and patterns, in RESP2 and RESP3")
def pubsub_thread(settings):
    for protocol in (2, 3):
        heard = []

        def hear(message):
            heard.append((message["type"], message["channel"], message["data"]))

        # A user with `&app:*` may subscribe to exactly this pattern.
        channel, pattern = settings.key("thread"), f"{settings.prefix}*"
        with settings.sync_client(protocol=protocol) as client:
            with client.pubsub(ignore_subscribe_messages=True) as pubsub:
                pubsub.subscribe(**{channel: hear})
                pubsub.psubscribe(**{pattern: hear})
                thread = pubsub.run_in_thread(sleep_time=0.01)
                deadline = time.monotonic() + 10
                while client.publish(channel, "ready") < 2:
                    assert time.monotonic() < deadline, "nobody has subscribed"
                    time.sleep(0.01)
                for number in range(100):
                    same(client.publish(channel, number), 2)
                while len([data for *_, data in heard if data != "ready"]) < 200:
                    assert time.monotonic() < deadline, f"only {len(heard)} messages came"
                    time.sleep(0.01)
                thread.stop()
                thread.join(5)
        for kind in ("message", "pmessage"):
            got = [message for message in heard if message[0] == kind and message[2] != "ready"]
            same(got, [(kind, channel, str(number)) for number in range(100)])


@step("the blocking client from a rediss:// URL")
async def sync_url(settings):
    client = redis.Redis.from_url(settings.url(), decode_responses=True)
    await asyncio.to_thread(blocking_client_works, client, settings.key("url"))


@step("the asyncio client from a rediss:// URL")
async def async_url(settings):
    key = settings.key("url")
    async with redis.asyncio.Redis.from_url(settings.url(), decode_responses=True) as client:
        same(await client.set(key, "1"), True)
        same(await client.get(key), "1")
        await client.delete(key)


if __name__ == "__main__":
    main(__doc__)
