"""What the acceptance scripts of clients share: where to connect and as whom, steps, and how their results are told.

Nothing in here or in the scripts knows of the proxy: the same script passes against a real Redis with the same user
(self_test.sh proves it), so what fails is the proxy's fault.

Every option has an environment variable; the password is never an argument.

  --host      REDKEEP_TEST_HOST      default 127.0.0.1
  --port      REDKEEP_TEST_PORT
  --ca        REDKEEP_TEST_CA        the certificate authority's file
  --plaintext                        no TLS, for a server that has none
  --user      REDKEEP_TEST_USER
              REDKEEP_TEST_PASSWORD  or --password-file FILE
  --observer  REDKEEP_TEST_OBSERVER  a user with `+info` and the same password, where a script counts commands
  --prefix    REDKEEP_TEST_PREFIX    the keys that the user may touch start with it, such as "app:"
  --forbidden REDKEEP_TEST_FORBIDDEN a key that the user may not touch

A script prints a line per step and `N passed, M failed`; it exits with 1 if a step failed, 2 for wrong usage.
"""

import argparse
import asyncio
import inspect
import os
import secrets
import sys
import time
import traceback
import warnings
from urllib.parse import quote, urlencode

import redis
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

# Applications still pass retry_on_timeout, which newer versions call deprecated.
warnings.filterwarnings("ignore", category=DeprecationWarning)

# redis-py reads the system's certificates for every connection, beside the authority it is given. That costs more than
# the handshake, and fifty connections of a loaded machine would run into their time-outs; it changes nothing else.
os.environ["SSL_CERT_FILE"] = os.environ["SSL_CERT_DIR"] = os.devnull

# One hanging step must not hang the run; longer than any timeout inside a step.
STEP_TIMEOUT = 60

STEPS = []


def step(name):
    """Registers a function that takes the Settings as a step: a coroutine function, or a plain one that may block."""

    def register(function):
        STEPS.append((name, function))
        return function

    return register


class Settings:
    """Where to connect and as whom; makes clients and key names."""

    def __init__(self, options):
        self.host = options.host
        self.port = options.port
        self.ca = None if options.plaintext else options.ca
        self.user = options.user
        self.observer = options.observer
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
            "ssl": self.ca is not None,
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

    def url(self, **query):
        """The rediss:// form of the same settings, with more options of the form `name=value`."""
        login = f"{quote(self.user, safe='')}:{quote(self.password, safe='')}"
        return f"rediss://{login}@{self.host}:{self.port}/0?{urlencode({'ssl_ca_certs': self.ca, **query})}"

    def executed(self, command):
        """How often the server has executed a command, scripts included, as the observer sees it."""
        with self.sync_client(username=self.observer) as client:
            return client.info("commandstats").get(f"cmdstat_{command}", {"calls": 0})["calls"]


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


async def until(condition, what, seconds=10):
    """Waits for a condition that must come true soon."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds} s in vain for {what}")
        await asyncio.sleep(0.02)


async def cancel(task):
    """Cancels a task until it has ended: redis-py forgets now and then that it was cancelled, and waits on."""
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=0.1)


async def next_message(pubsub):
    """The next message or confirmation as (type, pattern, channel, data)."""
    message = await pubsub.get_message(timeout=5)
    if message is None:
        raise AssertionError("no message came")
    return message["type"], message["pattern"], message["channel"], message["data"]


# === The run ===


def parse_arguments(description):
    text = f"{description}\n{__doc__}"
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    env = os.environ.get
    parser.add_argument("--host", default=env("REDKEEP_TEST_HOST", "127.0.0.1"))
    parser.add_argument("--port", type=int, default=env("REDKEEP_TEST_PORT"))
    parser.add_argument("--ca", default=env("REDKEEP_TEST_CA"))
    parser.add_argument("--plaintext", action="store_true")
    parser.add_argument("--user", default=env("REDKEEP_TEST_USER"))
    parser.add_argument("--observer", default=env("REDKEEP_TEST_OBSERVER"))
    parser.add_argument("--password-file")
    parser.add_argument("--prefix", default=env("REDKEEP_TEST_PREFIX", "app:"))
    parser.add_argument("--forbidden", default=env("REDKEEP_TEST_FORBIDDEN", "forbidden:key"))
    parser.add_argument("--only", metavar="TEXT", default="", help="only the steps whose name contains TEXT")
    options = parser.parse_args()

    options.password = env("REDKEEP_TEST_PASSWORD")
    if options.password_file:
        with open(options.password_file, encoding="utf-8") as file:
            options.password = file.read().rstrip("\n")
    for name in ("port", "user", "password") if options.plaintext else ("port", "ca", "user", "password"):
        if not getattr(options, name):
            parser.error(f"no {name} was given (REDKEEP_TEST_{name.upper()})")
    if options.ca and not os.path.exists(options.ca):
        parser.error(f"{options.ca}: no such file")
    return options


async def run_step(function, settings):
    if inspect.iscoroutinefunction(function):
        await asyncio.wait_for(function(settings), STEP_TIMEOUT)
    else:
        await asyncio.wait_for(asyncio.to_thread(function, settings), STEP_TIMEOUT)


async def run_steps(options):
    settings = Settings(options)
    # What a failed step leaves running is not worth a page of traceback: its own line tells.
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    passed = failed = 0
    for name, function in STEPS:
        if options.only not in name:
            continue
        begun = time.monotonic()
        try:
            await run_step(function, settings)
        except Exception as error:  # noqa: BLE001, a step may fail in any way and the next one still runs
            failed += 1
            script = inspect.getsourcefile(function)
            places = [str(f.lineno) for f in traceback.extract_tb(error.__traceback__) if f.filename == script]
            line = f" (line {', '.join(places)})" if places else ""
            text = f"no end after {STEP_TIMEOUT} s" if isinstance(error, asyncio.TimeoutError) else str(error)
            print(f"FAILED  {name}{line}: {type(error).__name__}: {text}", flush=True)
        else:
            passed += 1
            print(f"ok  {name}  [{time.monotonic() - begun:.2f} s]", flush=True)
    print(f"{passed} passed, {failed} failed", flush=True)
    return 0 if passed and not failed else 1


def main(description):
    """Runs the steps of a script and ends the process."""
    options = parse_arguments(description)
    runner = asyncio.new_event_loop()
    code = runner.run_until_complete(run_steps(options))
    # Not sys.exit: that would wait for threads of a step that did not end.
    sys.stdout.flush()
    os._exit(code)
