#!/usr/bin/env python3
"""Acceptance of RQ: real jobs, each in a process of its own that the worker forks, and jobs for later.

RQ uses transactions with WATCH, blocking moves between lists, publish and subscribe for commands to the worker, and
scripts. The user's rules: `on ~rq:* &rq:* +@all -@dangerous +info`.

This file is also where the worker finds the functions: `python -m rq.cli worker`.
"""

import datetime
import time

from rq import Queue
from rq.command import send_stop_job_command
from rq.job import Dependency
from rq.registry import ScheduledJobRegistry
from rq.worker import Worker as Workers

from acceptance import main, same, step
from worker import Worker

WORKERS = []


def add(one, two):
    return one + two


def fail(text):
    raise ValueError(text)


def now():
    return time.time()


def nap(seconds, text):
    time.sleep(seconds)
    return text


def queue(settings):
    """This run's queue, on a connection of its own."""
    return Queue(settings.queue, connection=settings.sync_client(decode_responses=False, socket_timeout=None))


def start_worker(settings):
    """A worker that takes jobs from this run's queue, and moves those whose time has come there."""
    worker = Worker("rq.cli", "worker", "--with-scheduler", settings.queue, RQ_REDIS_URL=settings.url())
    worker.wait_for("Listening on")
    return worker


def ended(jobs, state="finished", seconds=20):
    """Waits until all jobs are in this state; gives what they returned."""
    deadline = time.monotonic() + seconds
    for job in jobs:
        while (found := job.get_status().value) != state:
            if time.monotonic() > deadline or found in {"finished", "failed", "stopped", "canceled"}:
                raise AssertionError(f"{job.func_name}{job.args}: wanted {state}, got {found}: {job.exc_info}")
            time.sleep(0.03)
    return [job.return_value() for job in jobs]


@step("the worker starts")
def start(settings):
    settings.queue = settings.key("queue")
    WORKERS.append(start_worker(settings))


@step("25 jobs, each with its own result")
def many(settings):
    jobs = queue(settings)
    same(ended([jobs.enqueue("rq_jobs.add", n, 1000) for n in range(25)]), [1000 + n for n in range(25)])


@step("25 jobs submitted in one transaction")
def at_once(settings):
    jobs = queue(settings).enqueue_many([Queue.prepare_data("rq_jobs.add", (n, 1)) for n in range(25)])
    same(ended(jobs), [n + 1 for n in range(25)])


@step("a job that fails: its error is kept, and the next job runs")
def failure(settings):
    jobs = queue(settings)
    failed, fine = jobs.enqueue("rq_jobs.fail", "by intention"), jobs.enqueue("rq_jobs.add", 1, 2)
    same(ended([fine]), [3])
    ended([failed], "failed")
    assert "ValueError: by intention" in failed.latest_result().exc_string, failed.latest_result().exc_string
    same(failed.id in jobs.failed_job_registry, True)


@step("a job that depends on others runs after them")
def dependent(settings):
    jobs = queue(settings)
    first = [jobs.enqueue("rq_jobs.now") for _ in range(3)]
    last = jobs.enqueue("rq_jobs.now", depends_on=Dependency(jobs=first))
    same(last.get_status().value in {"deferred", "queued", "started", "finished"}, True)
    times = ended(first) + ended([last])
    same(times, sorted(times))


@step("a job for later runs later, and not before")
def later(settings):
    asked = time.time()
    job = queue(settings).enqueue_in(datetime.timedelta(seconds=2), "rq_jobs.now")
    same(job.get_status().value, "scheduled")
    same(job.id in ScheduledJobRegistry(queue=queue(settings)), True)
    (ran,) = ended([job])
    # The registry counts whole seconds.
    assert 1 <= ran - asked < 8, f"it was run after {ran - asked:.2f} s instead of 2 s"


@step("a job that runs is stopped by a command to its worker")
def stopped(settings):
    job = queue(settings).enqueue("rq_jobs.nap", 20, "never")
    deadline = time.monotonic() + 10
    while job.get_status().value != "started":
        assert time.monotonic() < deadline, job.get_status()
        time.sleep(0.02)
    send_stop_job_command(job.connection, job.id)
    ended([job], "stopped")


@step("the worker tells of itself")
def workers(settings):
    (worker,) = Workers.all(queue=queue(settings))
    assert worker.successful_job_count >= 50 and worker.failed_job_count >= 1, vars(worker)


@step("SIGTERM: the worker ends the job that it has, and leaves the others to the next worker")
def stop(settings):
    (first,) = WORKERS
    submitted = queue(settings)
    jobs = [submitted.enqueue("rq_jobs.nap", 0.5, f"nap {number}") for number in range(4)]
    while jobs[0].get_status().value == "queued":
        time.sleep(0.02)
    same(first.stop(), 0, "exit code")
    states = [job.get_status().value for job in jobs]
    assert states[0] == "finished" and states[-1] == "queued", states
    with start_worker(settings) as second:
        same(ended(jobs), [f"nap {number}" for number in range(4)])
        same(second.stop(), 0, "exit code")
    same(submitted.count, 0, "jobs left")
    same(len(Workers.all(queue=submitted)), 0, "workers left")


if __name__ == "__main__":
    main(__doc__)
