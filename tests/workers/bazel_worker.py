#!/usr/bin/env python3
"""A persistent worker of Bazel that speaks JSON, for tests.

It is written to the published description of persistent workers: requests and responses are JSON objects, one a line;
a field that has its default value may be left out; a request without an id is answered in order, those with ids in any
order; a request with `cancel` asks to stop the one with its id, whose response then has `wasCancelled`.

Arguments of a request: `say TEXT..` prints them, `fail CODE TEXT` ends with that code, `sleep SECONDS` waits until it is
cancelled or over, `meet N` waits until N requests have come that are not answered, and `die` ends the worker.
"""

import json
import os
import sys
import threading

output_lock = threading.Lock()
changed = threading.Condition()
running = {}
cancelled = set()


def respond(request_id, exit_code=0, output="", was_cancelled=False):
    response = {"requestId": request_id, "exitCode": exit_code, "output": output, "wasCancelled": was_cancelled}
    # Like the encoders of Bazel, it leaves out what has its default value.
    line = json.dumps({key: value for key, value in response.items() if value})
    with output_lock:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


def work(request_id, arguments, inputs):
    word, rest = (arguments[0], arguments[1:]) if arguments else ("say", [])
    if word == "say":
        return 0, " ".join(rest + [entry["path"] for entry in inputs]) + "\n"
    if word == "fail":
        return int(rest[0]), f"working\n{' '.join(rest[1:])}\n"
    if word == "die":
        os._exit(3)
    with changed:
        if word == "sleep":
            changed.wait_for(lambda: request_id in cancelled, timeout=float(rest[0]))
        elif word == "meet":
            changed.wait_for(lambda: len(running) >= int(rest[0]), timeout=20)
            return (0, "met\n") if len(running) >= int(rest[0]) else (1, "alone\n")
        else:
            return 2, f"unknown word {word}\n"
    return 0, "slept\n"


def perform(request):
    request_id = request.get("requestId", 0)
    with changed:
        running[request_id] = True
        changed.notify_all()
    exit_code, output = work(request_id, request.get("arguments", []), request.get("inputs", []))
    if request.get("arguments", [""])[0:1] == ["meet"]:
        # All who meet see each other before the first one leaves.
        meeting.wait(timeout=20)
    with changed:
        was_cancelled = request_id in cancelled
        cancelled.discard(request_id)
        del running[request_id]
    if was_cancelled:
        respond(request_id, was_cancelled=True)
    else:
        respond(request_id, exit_code, output)


def main():
    if "--persistent_worker" not in sys.argv:
        sys.exit("this worker is started with --persistent_worker")
    for line in sys.stdin:
        request = json.loads(line)
        if request.get("cancel"):
            with changed:
                if request.get("requestId", 0) in running:
                    cancelled.add(request.get("requestId", 0))
                    changed.notify_all()
        elif request.get("requestId", 0) or "--threads" in sys.argv:
            threading.Thread(target=perform, args=(request,), daemon=True).start()
        else:
            perform(request)


meeting = threading.Barrier(3)
main()
