#!/usr/bin/env python3
"""Acceptance of redis-py's client-side caching: CLIENT TRACKING, and invalidations as pushes of RESP3.

redis-py asks for Redis 7.4 or later. The user needs `on ~PREFIX* &PREFIX* +@all -@dangerous`, and --observer must be
given: whether a read reached the server is counted there, not believed. Nothing else may use the server.
"""

import time

from redis.cache import CacheConfig

from acceptance import main, same, step


def caching(settings, **changes):
    """A blocking client with a cache of its own."""
    return settings.sync_client(protocol=3, cache_config=CacheConfig(), **changes)


def reads_until(client, key, wanted, seconds=5):
    """Reads until the value is there: an invalidation needs a moment to arrive."""
    deadline = time.monotonic() + seconds
    while (value := client.get(key)) != wanted:
        if time.monotonic() > deadline:
            raise AssertionError(f"still {value!r} after {seconds} s, wanted {wanted!r}")
        time.sleep(0.005)


@step("1,000 reads of a cached key: the server sees one")
def hits(settings):
    key = settings.key("hit")
    with caching(settings) as client, settings.sync_client() as other:
        other.set(key, "1")
        before = settings.executed("get")
        for _ in range(1000):
            same(client.get(key), "1")
        same(settings.executed("get") - before, 1, "GETs at the server")
        same(client.get_cache().size, 1, "size of the cache")


@step("a write by another client invalidates, every time")
def foreign_write(settings):
    key, aside = settings.key("foreign"), settings.key("aside")
    with caching(settings) as client, settings.sync_client() as other:
        other.mset({key: "0", aside: "same"})
        same([client.get(key), client.get(aside)], ["0", "same"])
        before = settings.executed("get")
        for number in range(1, 21):
            other.set(key, number)
            reads_until(client, key, str(number))
            same(client.get(aside), "same")
        # One for each change, and none for the key that nobody changed.
        same(settings.executed("get") - before, 20, "GETs at the server")


@step("DEL, EXPIRE and other ways to change a key invalidate too")
def other_changes(settings):
    key = settings.key("changed")
    with caching(settings) as client, settings.sync_client() as other:
        changes = (
            (lambda: other.append(key, "2"), "12"),
            (lambda: other.delete(key), None),
            (lambda: other.set(key, "3", px=50), "3"),
            (lambda: None, None),
            (lambda: other.pipeline().set(key, "4").execute(), "4"),
            (lambda: other.rename(key, f"{key}:2"), None),
            (lambda: other.copy(f"{key}:2", key), "4"),
        )
        other.set(key, "1")
        same(client.get(key), "1")
        for change, wanted in changes:
            change()
            reads_until(client, key, wanted)


@step("a write by the client itself is what it reads next")
def own_write(settings):
    key = settings.key("own")
    with caching(settings) as client:
        for number in range(20):
            same(client.set(key, number), True)
            reads_until(client, key, str(number), 1)


@step("hashes, MGET and EXISTS are cached by their arguments, and go with their keys")
def other_reads(settings):
    name, one, two = settings.key("hash"), settings.key("one"), settings.key("two")
    with caching(settings) as client, settings.sync_client() as other:
        other.hset(name, mapping={"a": "1", "b": "2"})
        other.mset({one: "1", two: "2"})
        before = {command: settings.executed(command) for command in ("hget", "hgetall", "mget")}
        for _ in range(50):
            same(client.hget(name, "a"), "1")
            same(client.hget(name, "b"), "2")
            same(client.hgetall(name), {"a": "1", "b": "2"})
            same(client.mget(one, two), ["1", "2"])
        calls = {command: settings.executed(command) - calls for command, calls in before.items()}
        same(calls, {"hget": 2, "hgetall": 1, "mget": 1}, "commands at the server")
        other.hset(name, "a", "3")
        other.set(two, "4")
        deadline = time.monotonic() + 5
        while (client.hget(name, "a"), client.mget(one, two)) != ("3", ["1", "4"]):
            assert time.monotonic() < deadline, "no invalidation came"
        same(client.hgetall(name), {"a": "3", "b": "2"})


@step("two clients that cache the same key are both told")
def two_clients(settings):
    key = settings.key("both")
    with caching(settings) as one, caching(settings) as two, settings.sync_client() as other:
        for number in range(10):
            other.set(key, number)
            for client in (one, two):
                reads_until(client, key, str(number))


@step("a client without a cache is told nothing, and reads past everybody's cache")
def without_cache(settings):
    key = settings.key("none")
    with caching(settings) as client, settings.sync_client(protocol=3) as other:
        other.set(key, "1")
        before = settings.executed("get")
        same(client.get(key), "1")
        for _ in range(10):
            same(other.get(key), "1")
        same(settings.executed("get") - before, 11, "GETs at the server")


@step("pipelines and transactions beside the cache")
def pipelines(settings):
    key = settings.key("pipeline")
    with caching(settings) as client:
        for transaction in (False, True):
            client.set(key, "1")
            reads_until(client, key, "1")
            with client.pipeline(transaction=transaction) as pipe:
                same(pipe.get(key).incr(key).get(key).execute(), ["1", 2, "2"])
            reads_until(client, key, "2")


if __name__ == "__main__":
    main(__doc__)
