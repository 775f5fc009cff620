#!/usr/bin/env python3
"""Jobs on other hosts, in one run on one machine: beside GNU parallel, and beside the same jobs without a host.

    cargo build --release && python3 tests/benches/hosts.py [--rounds 3] [--many 100]

The hosts are servers for ssh on loopback, so all contenders, their connections and the programs they start share
the processors of this machine. The best of the rounds counts.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ssh_servers import SshServers

ROOT = Path(__file__).resolve().parents[2]


def run(command, environment, feed=""):
    """Runs a command, and returns its seconds and its largest memory in MiB. A command that fails ends the benchmark."""
    with tempfile.TemporaryFile("w+") as stdin, tempfile.TemporaryFile("w+") as stderr:
        stdin.write(feed)
        stdin.seek(0)
        start = time.monotonic()
        child = subprocess.Popen(
            command, env=environment, stdin=stdin, stdout=subprocess.DEVNULL, stderr=stderr
        )
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.monotonic() - start
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode != 0:
            stderr.seek(0)
            sys.exit(f"{command[:4]} ended with {child.returncode}:\n{stderr.read()[-2000:]}")
    return seconds, usage.ru_maxrss / 1024


def best(rounds, command, environment, feed=""):
    """The least seconds of several runs."""
    return min(run(command, environment, feed)[0] for _ in range(rounds))


def job_lines(count, size=0, **more):
    """Jobs for the built-in task `echo`."""
    text = "x" * size
    return "".join(
        json.dumps({"id": str(number), "task": "echo", "input": text or number, **more}) + "\n"
        for number in range(count)
    )


def pools(ratchet, hosts):
    """The header of a stream whose worker is the built-in one, here or on a host that is a pipe to an agent."""
    worker = {"command": [ratchet, "worker"], "size": 2, "tasks": ["echo"]}
    header = {"workers": {"echo": worker}}
    if hosts:
        header["hosts"] = {"box": {"local": True, "slots": 2}}
        worker["on"] = "box"
    return json.dumps(header) + "\n"


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--many", type=int, default=100, help="how many hosts the last table has")
    arguments.add_argument("--ratchet", default=str(ROOT / "target" / "release" / "ratchet"))
    options = arguments.parse_args()
    ratchet, rounds = options.ratchet, options.rounds
    many = [f"host{number}" for number in range(options.many)]
    with tempfile.TemporaryDirectory(prefix="ratchet-hosts-") as folder, SshServers(
        Path(folder) / "ssh", ["web1", "web2"]
    ) as servers:
        environment = servers.environment()
        environment["XDG_STATE_HOME"] = f"{folder}/state"
        environment["XDG_CACHE_HOME"] = f"{folder}/cache"
        rows = []

        # The largest memory of a child counts that of this program when it was started, so this comes before long texts.
        command = [ratchet, "map", "--no-record", "--each-host"]
        command += ["--on", ",".join(f"1/{name}" for name in many), "--", "true"]
        with SshServers(Path(folder) / "many", many) as crowd:
            crowded = {**environment, "PATH": crowd.environment()["PATH"]}
            seconds, memory = run(command, crowded)
        rows.append((f"one job on each of {len(many)} hosts, {memory:.0f} MiB for the dispatcher", seconds))
        numbers = "".join(f"{number}\n" for number in range(2000))

        cold = [ratchet, "map", "--no-record", "--on", "1/web1", "--", "true"]
        shutil.rmtree(Path.home() / ".cache" / "ratchet", ignore_errors=True)
        rows.append(("the first job on a host without an agent", run(cold, environment, "1\n")[0]))
        rows.append(("the first job on a host with one", best(rounds, cold, environment, "1\n")))

        def on(hosts):
            return [ratchet, "map", "--no-record", *hosts, "--", "true"]

        there = best(rounds, on(["--on", "2/web1,2/web2"]), environment, numbers)
        here = best(rounds, on(["-j4"]), environment, numbers)
        rows.append(("2,000 x true over two hosts, four slots", there))
        rows.append(("2,000 x true here, four slots", here))
        if shutil.which("parallel"):
            parallel = ["parallel", "--will-cite", "-S", "2/web1,2/web2", "true"]
            theirs = run(parallel, environment, "".join(f"{number}\n" for number in range(200)))[0]
            rows.append(("200 x true with `parallel -S 2/web1,2/web2`, once", theirs))
            print(f"beside parallel -S: {10 * theirs / there:.1f} times as fast")
        print(f"beside here: {here / there:.2f}")

        for title, count, size in (("no-op", 500_000, 0), ("64 KiB", 20_000, 64 * 1024)):
            jobs = job_lines(count, size)
            command = [ratchet, "run", "--no-record", "-"]
            local = best(rounds, command, environment, pools(ratchet, False) + jobs)
            agent = best(rounds, command, environment, pools(ratchet, True) + jobs)
            rows.append((f"{count:,} jobs of two workers here, {title}", local))
            rows.append((f"the same through an agent on a pipe, {title}", agent))
            print(f"through an agent on a pipe, {title}: {local / agent:.2f} of the speed here")

        for title, seconds in rows:
            print(f"{seconds:9.2f} s  {title}")


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    main()
