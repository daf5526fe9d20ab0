#!/usr/bin/env python3
"""Acceptance of Celery: real jobs through a real worker, with Redis as broker and as store of results.

Broker and worker use transactions, BRPOP over many lists, publish and subscribe (for results as for remote control)
and scripts. The user's rules: `on ~PREFIX* ~celery* ~_kombu.* ~unacked* ~*.celery.pidbox* &* +@all -@dangerous`; PREFIX is
that of the queues' names.

This file is also what the worker loads: `python -m celery --app celery_jobs worker`.
"""

import os
import time

from celery import Celery, chain, chord, group
from celery.exceptions import TimeoutError as NoResult

from acceptance import main, same, step
from worker import Worker

app = Celery("jobs", set_as_current=True)
app.conf.update(
    # The worker's address comes by its environment: it has the password, so it is no argument.
    broker_url=os.environ.get("CELERY_TEST_URL"),
    result_backend=os.environ.get("CELERY_TEST_URL"),
    task_default_queue=os.environ.get("CELERY_TEST_QUEUE"),
    worker_prefetch_multiplier=1,
)


@app.task(name="jobs.add")
def add(one, two):
    return one + two


@app.task(name="jobs.total")
def total(numbers):
    return sum(numbers)


@app.task(name="jobs.fail")
def fail(text):
    raise ValueError(text)


@app.task(name="jobs.third_time_lucky", bind=True, max_retries=5)
def third_time_lucky(self):
    if self.request.retries < 2:
        raise self.retry(countdown=0.1, exc=ValueError("not yet"))
    return self.request.retries


@app.task(name="jobs.now")
def now():
    return time.time()


@app.task(name="jobs.nap", bind=True)
def nap(self, seconds, text):
    self.update_state(state="NAPPING")
    time.sleep(seconds)
    return text


WORKERS = []


def start_worker():
    """A worker that takes jobs from this run's queue, ready."""
    options = ("--pool", "threads", "--concurrency", "4", "--loglevel", "INFO", "--without-mingle")
    worker = Worker("celery", "--app", "celery_jobs", "worker", *options)
    worker.wait_for(" ready.")
    return worker


@step("the worker starts")
def start(settings):
    url, queue = settings.url(ssl_cert_reqs="required"), settings.key("celery")
    os.environ.update(CELERY_TEST_URL=url, CELERY_TEST_QUEUE=queue)
    app.conf.update(broker_url=url, result_backend=url, task_default_queue=queue)
    WORKERS.append(start_worker())


@step("60 jobs, each with its own result")
def many(settings):
    jobs = group(add.s(number, 1000) for number in range(60))()
    same(jobs.get(timeout=20), [1000 + number for number in range(60)])


@step("a job that fails: its error comes back, and only its own")
def failure(settings):
    failed, fine = fail.delay("by intention"), add.delay(1, 2)
    same(fine.get(timeout=10), 3)
    try:
        raise AssertionError(f"wanted an error, got {failed.get(timeout=10)!r}")
    except ValueError as error:
        same(str(error), "by intention")
    same(failed.state, "FAILURE")


@step("a job that succeeds at its third try")
def retries(settings):
    same(third_time_lucky.delay().get(timeout=10), 2)


@step("a job for later runs later, and not before")
def later(settings):
    asked = time.time()
    job = now.apply_async(countdown=1.5)
    try:
        raise AssertionError(f"it was run at once, at {job.get(timeout=0.7) - asked:.2f} s")
    except NoResult:
        pass
    ran = job.get(timeout=10) - asked
    assert 1.4 <= ran < 5, f"it was run after {ran:.2f} s instead of 1.5 s"


@step("a job that was taken back before its time does not run")
def revoked(settings):
    job = now.apply_async(countdown=1)
    job.revoke()
    WORKERS[0].wait_for("revoked")
    time.sleep(1.2)
    same(job.state, "REVOKED")


@step("a chain, and a chord of 20 jobs whose results one job adds up")
def workflows(settings):
    same(chain(add.s(1, 2), add.s(3), add.s(4))().get(timeout=10), 10)
    same(chord((add.s(number, number) for number in range(20)), total.s())().get(timeout=15), 380)


@step("an argument and a result of 400 KB")
def large(settings):
    half = "ä" * 100_000
    assert add.delay(half, half).get(timeout=15) == half + half


@step("the state of a job while it runs")
def states(settings):
    job = nap.delay(0.5, "rested")
    deadline = time.monotonic() + 5
    while job.state != "NAPPING":
        assert time.monotonic() < deadline, f"state {job.state}"
        time.sleep(0.02)
    same(job.get(timeout=10), "rested")


@step("remote control: ping and inspect")
def control(settings):
    (answer,) = app.control.ping(timeout=5, limit=1)
    same(list(answer.values()), [{"ok": "pong"}])
    (jobs,) = app.control.inspect(timeout=5, limit=1).registered().values()
    assert "jobs.add" in jobs, jobs


@step("SIGTERM: the worker ends the jobs that it has, and leaves the others to the next worker")
def stop(settings):
    (first,) = WORKERS
    naps = [nap.delay(0.2, f"nap {number}") for number in range(24)]
    same(naps[0].get(timeout=10), "nap 0")
    same(first.stop(), 0, "exit code")
    states = [job.state for job in naps]
    same(set(states), {"SUCCESS", "PENDING"}, "states of jobs")
    with settings.sync_client() as client:
        same(client.llen(app.conf.task_default_queue), states.count("PENDING"), "jobs left")
        with start_worker() as second:
            same([job.get(timeout=15) for job in naps], [f"nap {number}" for number in range(24)])
            same(second.stop(), 0, "exit code")
        same(client.exists(app.conf.task_default_queue), 0, "jobs left")


if __name__ == "__main__":
    main(__doc__)
