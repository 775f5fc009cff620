#!/usr/bin/env python3
"""A queue of ratchet beside Celery, RQ and BullMQ: the same no-op on the same server, in one run on one machine.

    cargo build --release -p ratchet-cli && python3 tests/benches/queues.py [--jobs 10000] [--quick]

Each contender has a server of its own settings (an append-only file, written once a second), two processes that do jobs, and one that
submits. The processes are ready before the first job is submitted, and the time ends when the server has the last result. Beside jobs a
second stands the processor time of a job: that of the server, and that of everybody else. It says more than the rate on a machine that
does other things as well. The programs are taken from PATH: redis-server, python3 with `celery` and `rq` (or that of
PYTHON_WITH_QUEUES), and node with `bullmq` and `ioredis` (NODE_PATH). RATCHET is the program to measure. What is not installed is named.
"""

import argparse
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RATCHET = os.environ.get("RATCHET", str(ROOT / "target" / "release" / "ratchet"))
PYTHON = os.environ.get("PYTHON_WITH_QUEUES", sys.executable)
TICKS = os.sysconf("SC_CLK_TCK")

CELERY_APP = """
import os
from celery import Celery
app = Celery("jobs", broker=os.environ["SERVER"], backend=os.environ["SERVER"])
app.conf.update(worker_prefetch_multiplier=100, task_serializer="json", result_serializer="json")

@app.task(name="job")
def job(item):
    return item
"""

CELERY_SUBMIT = """
import sys
from celery_app import app, job
with app.producer_or_acquire() as producer:
    for number in range(int(sys.argv[1])):
        job.apply_async((number,), producer=producer)
"""

RQ_JOBS = """
def job(item):
    return item
"""

RQ_SUBMIT = """
import os, sys
from redis import Redis
from rq import Queue
from rq_jobs import job
queue = Queue(connection=Redis.from_url(os.environ["SERVER"]))
count = int(sys.argv[1])
for first in range(0, count, 500):
    queue.enqueue_many([Queue.prepare_data(job, (number,)) for number in range(first, min(count, first + 500))])
"""

BULL_WORKER = """
const { Worker } = require("bullmq");
const { hostname, port } = new URL(process.env.SERVER);
const worker = new Worker("jobs", async (job) => job.data.item, { connection: { host: hostname, port: +port }, concurrency: 50 });
worker.waitUntilReady().then(() => console.log("ready"));
"""

BULL_SUBMIT = """
const { Queue } = require("bullmq");
const { hostname, port } = new URL(process.env.SERVER);
(async () => {
  const queue = new Queue("jobs", { connection: { host: hostname, port: +port } });
  const count = +process.argv[2];
  for (let first = 0; first < count; first += 500) {
    const length = Math.min(500, count - first);
    await queue.addBulk(Array.from({ length }, (_, at) => ({ name: "job", data: { item: first + at } })));
  }
  await queue.close();
})();
"""

RATCHET_WORKER = """
from ratchet_worker import Worker
worker = Worker("job")
worker.task(name="job")(lambda call: call.input)
worker.run()
"""


class Server:
    """A server in a folder of its own, on a free port of this machine."""

    def __init__(self, folder):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", "", "--appendonly", "yes"]
        self.process = subprocess.Popen(["redis-server", *options], stdout=subprocess.DEVNULL)
        self.url = f"redis://127.0.0.1:{self.port}/0"
        wait_until(lambda: self.answers(), "the server")

    def answers(self):
        try:
            return self.command("PING") == "PONG"
        except OSError:
            return False

    def command(self, *words):
        """The answer to a command: a word or a number."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as link, link.makefile("rwb") as stream:
            stream.write(b"*%d\r\n" % len(words))
            for word in words:
                stream.write(b"$%d\r\n%s\r\n" % (len(word), word.encode()))
            stream.flush()
            first = stream.readline().decode().strip()
            if first[0] == "$":
                return stream.read(int(first[1:])).decode()
            if first[0] == "-":
                sys.exit(f"the server refuses {words}: {first}")
            return int(first[1:]) if first[0] == ":" else first[1:]

    def seconds(self):
        """The processor time of the server."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def stop(self):
        self.process.kill()
        self.process.wait()


def wait_until(is_so, what, seconds=600):
    end = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > end:
            sys.exit(f"{what} is not there after {seconds} seconds")
        time.sleep(0.02)


class Contender:
    """Two processes that do jobs, how jobs are submitted, and how many have ended."""

    def __init__(self, name, workers, submit, done, is_ready):
        self.name, self.workers, self.submit, self.done, self.is_ready = name, workers, submit, done, is_ready

    def measure(self, folder, server, count):
        environment = {**os.environ, "SERVER": server.url, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT / "ipc" / "sdk" / "python")])}
        log = open(folder / "workers.log", "w+b")
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        running = [subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True) for command in self.workers(server)]
        try:
            wait_until(lambda: self.is_ready(server, log), f"the worker of {self.name}", 60)
            busy, begin = server.seconds(), time.perf_counter()
            done = subprocess.run(self.submit(server, count), cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=log)
            if done.returncode:
                sys.exit(f"{self.name} cannot submit: {Path(log.name).read_text(errors='replace')[-2000:]}")
            submitted = time.perf_counter() - begin
            wait_until(lambda: self.done(server) >= count, f"the last of the jobs of {self.name}")
            seconds, busy = time.perf_counter() - begin, server.seconds() - busy
        finally:
            for process in running:
                process.send_signal(signal.SIGTERM)
            for process in running:
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
            log.close()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        others = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return count / submitted, count / seconds, busy / count * 1e6, others / count * 1e6


def logged(word, times):
    """Whether the workers have printed a word so many times."""
    return lambda server, log: Path(log.name).read_bytes().count(word) >= times


def contenders(folder):
    found, missing = [], []
    python = lambda module: subprocess.run([PYTHON, "-c", f"import {module}"], capture_output=True).returncode == 0
    if python("celery"):
        found.append(Contender(
            "Celery, prefork", lambda server: [[PYTHON, "-m", "celery", "-A", "celery_app", "worker", "-c", "2", "--loglevel", "INFO", "--without-gossip", "--without-mingle"]],
            lambda server, count: [PYTHON, "celery_submit.py", str(count)],
            lambda server: server.command("DBSIZE"), logged(b" ready.", 1)))
    else:
        missing.append("Celery (pip install 'celery[redis]')")
    if python("rq"):
        worker = lambda kind: lambda server: [[PYTHON, "-m", "rq.cli", "worker", "--url", server.url, "-w", kind, "--logging_level", "WARNING"]] * 2
        for name, kind in [("RQ, SimpleWorker", "rq.worker.SimpleWorker"), ("RQ, a fork a job", "rq.worker.Worker")]:
            found.append(Contender(
                name, worker(kind), lambda server, count: [PYTHON, "rq_submit.py", str(count)],
                lambda server: server.command("ZCARD", "rq:finished:default"),
                lambda server, log: server.command("SCARD", "rq:workers") >= 2))
    else:
        missing.append("RQ (pip install rq)")
    node = shutil.which("node")
    if node and subprocess.run([node, "-e", "require('bullmq'), require('ioredis')"], capture_output=True).returncode == 0:
        found.append(Contender(
            "BullMQ, 2 x 50 at once", lambda server: [[node, "bull_worker.js"]] * 2, lambda server, count: [node, "bull_submit.js", str(count)],
            lambda server: server.command("ZCARD", "bull:jobs:completed"), logged(b"ready", 2)))
    else:
        missing.append("BullMQ (npm install bullmq ioredis, with NODE_PATH set to where it is)")

    for name, task, command in [
        ("ratchet, workers in Python", "job", [PYTHON, str(folder / "worker.py")]),
        ("ratchet, built-in workers", "echo", [RATCHET, "worker"]),
    ]:
        found.append(ratchet(name, task, command, folder))
    return found, missing


def ratchet(name, task, command, folder):
    """One node with two workers."""
    config = folder / f"workers-{task}.json"
    config.write_text(json.dumps({"workers": {"w": {"command": command, "tasks": [task], "size": 2}}}))

    def submit(server, count):
        jobs = [{"id": f"j{number}", "task": task, "input": number} for number in range(count)]
        (folder / "jobs.json").write_text(json.dumps({"jobs": jobs}))
        return [RATCHET, "submit", "jobs.json", "--queue", server.url]

    def ended(server):
        words = [RATCHET, "queue", "status", "--format", "json", "--queue", server.url]
        status = json.loads(subprocess.run(words, check=True, capture_output=True).stdout)
        return 0 if status["waiting"] + status["running"] else sys.maxsize

    node = [RATCHET, "node", "--config", str(config), "-j", "64", "--queue"]
    return Contender(name, lambda server: [[*node, server.url]], submit, ended, logged(b"takes jobs from", 1))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--jobs", type=int, default=10_000, help="how many jobs each contender does")
    parser.add_argument("--quick", action="store_true", help="a tenth of the jobs")
    options = parser.parse_args()
    count = options.jobs // 10 if options.quick else options.jobs
    if not shutil.which("redis-server"):
        sys.exit("there is no redis-server in PATH")
    if not os.access(RATCHET, os.X_OK):
        sys.exit("build it first: cargo build --release -p ratchet-cli")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, text in {
            "celery_app.py": CELERY_APP, "celery_submit.py": CELERY_SUBMIT, "rq_jobs.py": RQ_JOBS, "rq_submit.py": RQ_SUBMIT,
            "bull_worker.js": BULL_WORKER, "bull_submit.js": BULL_SUBMIT, "worker.py": RATCHET_WORKER,
        }.items():
            (folder / file).write_text(text)
        found, missing = contenders(folder)
        print(f"{'':<28}{'submitted':>12}{'done':>12}{'server':>14}{'others':>14}   (a second; processor time a job)")
        for contender in found:
            jobs = count // 10 if "fork a job" in contender.name else count
            data = folder / "data"
            data.mkdir()
            server = Server(data)
            try:
                submitted, done, busy, others = contender.measure(folder, server, jobs)
            finally:
                server.stop()
                shutil.rmtree(data)
            print(f"{contender.name:<28}{submitted:>10,.0f}/s{done:>10,.0f}/s{busy:>11.0f} us{others:>11.0f} us", flush=True)
    for what in missing:
        print(f"missing: {what}")


if __name__ == "__main__":
    main()
