#!/usr/bin/env python3
"""Acceptance of redis-py: does a typical application notice that Redkeep is there?

Speaks TLS to one address as one user and does what applications do. Nothing in here knows of the proxy: the same
script passes against a real Redis with the same user (self_test.sh proves it), so what fails is the proxy's fault.

Every option has an environment variable; the password is never an argument.

  --host      REDKEEP_TEST_HOST      default 127.0.0.1
  --port      REDKEEP_TEST_PORT
  --ca        REDKEEP_TEST_CA        the certificate authority's file
  --user      REDKEEP_TEST_USER
              REDKEEP_TEST_PASSWORD  or --password-file FILE
  --prefix    REDKEEP_TEST_PREFIX    the keys that the user may touch start with it, such as "app:"
  --forbidden REDKEEP_TEST_FORBIDDEN a key that the user may not touch

The user needs `on ~PREFIX* +@all -@dangerous`, and the default user must need a password or be off.

Prints a line per step and `N passed, M failed`; exits with 1 if a step failed, 2 for wrong usage.
"""

import argparse
import asyncio
import os
import secrets
import sys
import time
import traceback
import warnings
from urllib.parse import quote

import redis
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    ExecAbortError,
    NoPermissionError,
    ResponseError,
    WatchError,
)

# Applications still pass retry_on_timeout, which newer versions call deprecated.
warnings.filterwarnings("ignore", category=DeprecationWarning)

# redis-py reads the system's certificates for every connection, beside the authority it is given. That costs more than
# the handshake, and fifty connections of a loaded machine would run into their time-outs; it changes nothing else.
os.environ["SSL_CERT_FILE"] = os.environ["SSL_CERT_DIR"] = os.devnull

# One hanging step must not hang the run; longer than any timeout inside a step.
STEP_TIMEOUT = 30

STEPS = []


def step(name):
    """Registers a coroutine function that takes the Settings as a step."""

    def register(function):
        STEPS.append((name, function))
        return function

    return register


class Settings:
    """Where to connect and as whom; makes clients and key names."""

    def __init__(self, options):
        self.host = options.host
        self.port = options.port
        self.ca = options.ca
        self.user = options.user
        self.password = options.password
        self.forbidden = options.forbidden
        self.prefix = options.prefix
        self.run = secrets.token_hex(4)
        self.last = 0

    def key(self, name):
        """A key of this run that the user may touch, new at every call."""
        self.last += 1
        return f"{self.prefix}{self.run}:{self.last}:{name}"

    def arguments(self, **changes):
        """The keyword arguments of a client, as an application would have them."""
        arguments = {
            "host": self.host,
            "port": self.port,
            "ssl": True,
            "ssl_ca_certs": self.ca,
            "username": self.user,
            "password": self.password or None,
            "decode_responses": True,
            "retry_on_timeout": True,
            "socket_timeout": 5,
            "socket_connect_timeout": 5,
            "health_check_interval": 30,
        }
        arguments.update(changes)
        return arguments

    def client(self, **changes):
        """An asyncio client with a pool of its own; use it in `async with`."""
        return redis.asyncio.Redis(**self.arguments(**changes))

    def hasty_client(self, **changes):
        """A client that does not try again: redis-py retries a refused login for seconds."""
        return self.client(retry=Retry(NoBackoff(), 0), **changes)

    def sync_client(self, **changes):
        """A blocking client with a pool of its own; use it in `with`."""
        return redis.Redis(**self.arguments(**changes))

    def url(self):
        """The rediss:// form of the same settings."""
        login = f"{quote(self.user, safe='')}:{quote(self.password, safe='')}"
        return f"rediss://{login}@{self.host}:{self.port}/0?ssl_ca_certs={quote(self.ca, safe='')}"


def same(found, wanted, what="reply"):
    """Fails the step if a reply is not what it must be, type included."""
    if type(found) is not type(wanted) or found != wanted:
        raise AssertionError(f"{what}: wanted {wanted!r}, got {found!r}")


async def raises(kind, awaitable, containing=""):
    """Fails the step unless exactly this error comes, with this text in it; gives the error back."""
    try:
        reply = await awaitable
    except kind as error:
        if containing not in str(error):
            raise AssertionError(f"wanted {containing!r} in the error, got {error!r}") from error
        return error
    raise AssertionError(f"wanted {kind.__name__}, got the reply {reply!r}")


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
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
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


async def next_message(pubsub):
    """The next message or confirmation as (type, pattern, channel, data)."""
    message = await pubsub.get_message(timeout=5)
    if message is None:
        raise AssertionError("no message came")
    return message["type"], message["pattern"], message["channel"], message["data"]


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


@step("a thread that runs a blocking subscriber")
async def pubsub_thread(settings):
    channel = settings.key("thread")

    def listen():
        with settings.sync_client() as client, client.pubsub(ignore_subscribe_messages=True) as pubsub:
            heard = []
            pubsub.subscribe(**{channel: lambda message: heard.append(message["data"])})
            thread = pubsub.run_in_thread(sleep_time=0.01)
            deadline = time.monotonic() + 10
            while len(heard) < 3 and time.monotonic() < deadline:
                client.publish(channel, "heard")
                time.sleep(0.05)
            thread.stop()
            thread.join(5)
            return heard[:3]

    same(await asyncio.to_thread(listen), ["heard"] * 3)


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


# === The run ===


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    env = os.environ.get
    parser.add_argument("--host", default=env("REDKEEP_TEST_HOST", "127.0.0.1"))
    parser.add_argument("--port", type=int, default=env("REDKEEP_TEST_PORT"))
    parser.add_argument("--ca", default=env("REDKEEP_TEST_CA"))
    parser.add_argument("--user", default=env("REDKEEP_TEST_USER"))
    parser.add_argument("--password-file")
    parser.add_argument("--prefix", default=env("REDKEEP_TEST_PREFIX", "app:"))
    parser.add_argument("--forbidden", default=env("REDKEEP_TEST_FORBIDDEN", "forbidden:key"))
    parser.add_argument("--only", metavar="TEXT", default="", help="only the steps whose name contains TEXT")
    options = parser.parse_args()

    options.password = env("REDKEEP_TEST_PASSWORD")
    if options.password_file:
        with open(options.password_file, encoding="utf-8") as file:
            options.password = file.read().rstrip("\n")
    for name in ("port", "ca", "user", "password"):
        if not getattr(options, name):
            parser.error(f"no {name} was given (REDKEEP_TEST_{name.upper()})")
    if not os.path.exists(options.ca):
        parser.error(f"{options.ca}: no such file")
    return options


async def main():
    options = parse_arguments()
    settings = Settings(options)
    # What a failed step leaves running is not worth a page of traceback: its own line tells.
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    passed = failed = 0
    for name, function in STEPS:
        if options.only not in name:
            continue
        begun = time.monotonic()
        try:
            await asyncio.wait_for(function(settings), STEP_TIMEOUT)
        except Exception as error:  # noqa: BLE001, a step may fail in any way and the next one still runs
            failed += 1
            places = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == __file__]
            line = f" (line {', '.join(map(str, places[1:]))})" if places[1:] else ""
            text = f"no end after {STEP_TIMEOUT} s" if isinstance(error, asyncio.TimeoutError) else str(error)
            print(f"FAILED  {name}{line}: {type(error).__name__}: {text}", flush=True)
        else:
            passed += 1
            print(f"ok  {name}  [{time.monotonic() - begun:.2f} s]", flush=True)
    print(f"{passed} passed, {failed} failed")
    return 0 if passed and not failed else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
