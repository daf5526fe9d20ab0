"""A worker of a job queue as a process of its own, started and stopped as in production: by command and by signal."""

import os
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))


class Worker:
    """Runs `python -m ARGUMENTS` in this folder with a file for what it says; use it in `with`."""

    def __init__(self, *arguments, **environment):
        self.log = tempfile.NamedTemporaryFile("w+", prefix="worker-", suffix=".log")
        self.process = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            cwd=HERE,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **environment},
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=subprocess.STDOUT,
        )

    def said(self):
        """All that the worker has said so far."""
        with open(self.log.name, encoding="utf-8", errors="replace") as file:
            return file.read()

    def complain(self, text):
        """Fails the step, with the end of what the worker said."""
        raise AssertionError("\n".join([text, *self.said().splitlines()[-20:]]))

    def wait_for(self, text, seconds=20):
        """Waits until the worker has said this."""
        deadline = time.monotonic() + seconds
        while text not in self.said():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.complain(f"the worker never said {text!r}:")
            time.sleep(0.02)

    def stop(self, seconds=15):
        """Asks the worker to end in order, as a service manager does; gives its exit code."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return self.complain(f"the worker did not end within {seconds} s:")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.log.close()
