#!/usr/bin/env python3
"""A large run with everything in it that a report has to tell apart, as JSON lines for `ratchet run`.

    python3 tests/benches/mixed_run.py [JOBS] [--ratchet PATH] > mixed.jsonl
    ratchet run -j 8 --workers 8 mixed.jsonl; ratchet runs report -o mixed.html

Hints, named limits, priorities, retries that help and retries that do not, failures, timeouts, and needs in chains and
fans. The same number of jobs makes the same file every time.
"""

import argparse
import json
import random


def header(ratchet):
    worker = lambda *tasks: {"command": [ratchet, "worker"], "tasks": list(tasks)}
    return {
        "version": 1,
        "workers": {
            "quick": worker("echo", "fail", "flaky"),
            "slow": worker("sleep", "burn"),
        },
        "limits": {"db": {"max": 3}, "api": {"rate": "400/s", "burst": 20}},
        "defaults": {"retry": {"max": 2, "backoff": "fixed", "base": "20ms"}},
    }


def work(number, dice):
    """What a job does."""
    kind = dice.random()
    if kind < 0.80:
        return {"task": "echo", "input": number}
    if kind < 0.90:
        return {"task": "sleep", "input": {"ms": dice.randrange(1, 12)}}
    if kind < 0.93:
        return {"task": "burn", "input": {"ms": dice.randrange(1, 4)}}
    if kind < 0.97:
        return {"task": "flaky", "input": {"failures": dice.randrange(1, 3)}}
    if kind < 0.99:
        code = dice.choice(["not_found", "quota", "bad_input"])
        message = f"{code.replace('_', ' ')}: record {number % 50}"
        return {"task": "fail", "input": {"code": code, "message": message, "retryable": code == "quota"}}
    if kind < 0.999:
        return {"run": ["sh", "-c", f"echo output of {number}; test $(({number} % 3)) -gt 0"]}
    return {"task": "sleep", "input": {"ms": 2000}, "timeout": "50ms", "retry": 0}


def terms(number, dice):
    """How parallel a job may be, and how urgent it is."""
    found = {}
    kind = dice.random()
    if kind < 0.06:
        found = {"hint": "host_exclusive", "host": f"web{number % 6}"}
    elif kind < 0.10:
        found = {"limits": ["db"]}
    elif kind < 0.14:
        found = {"limits": ["api"]}
    elif kind < 0.141:
        found = {"hint": "global_exclusive"}
    elif kind < 0.1412:
        found = {"hint": "alone"}
    if dice.random() < 0.1:
        found["priority"] = dice.choice(["critical", "high", "low"])
    return found


def needs(number, dice):
    """The jobs before a job that it needs: mostly none."""
    if number < 10 or dice.random() > 0.08:
        return {}
    reach = min(number - 1, 400)
    chosen = {number - dice.randrange(1, reach) for _ in range(dice.randrange(1, 4))}
    return {"needs": [f"job-{before}" for before in sorted(chosen)]}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("jobs", nargs="?", type=int, default=100_000)
    parser.add_argument("--ratchet", default="ratchet", help="the program whose workers do the jobs")
    arguments = parser.parse_args()
    dice = random.Random(1)
    print(json.dumps(header(arguments.ratchet)))
    for number in range(1, arguments.jobs + 1):
        job = {"id": f"job-{number}"}
        job |= work(number, dice) | terms(number, dice) | needs(number, dice)
        print(json.dumps(job))


main()
