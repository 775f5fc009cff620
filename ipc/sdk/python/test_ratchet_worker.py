"""Tests of ratchet_worker: python3 -m unittest test_ratchet_worker"""

import json
import os
import subprocess
import sys
import unittest
from pathlib import Path

import ratchet_worker
from ratchet_worker import TaskError, Worker

WORKER = """
import sys
from ratchet_worker import Worker

worker = Worker("w", concurrency=int(sys.argv[1]))

@worker.task
def add(call):
    return call.input["a"] + call.input["b"]

@worker.task(name="exit")
def leave(call):
    sys.exit(3)

@worker.task
def unprintable(call):
    return {1, 2}

@worker.task
def nan(call):
    return float("nan")

@worker.prepare
def load():
    print("loading")

worker.run()
"""


def converse(lines, concurrency=1):
    """All that a worker says to these lines."""
    done = subprocess.run(
        [sys.executable, "-c", WORKER, str(concurrency)],
        input="\n".join(lines).encode(),
        capture_output=True,
        cwd=Path(__file__).parent,
        timeout=60,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def request(id, task, **input):
    return json.dumps({"type": "request", "id": id, "task": task, "input": input})


class Conversation(unittest.TestCase):
    def test_says_hello_then_ready_then_answers(self):
        hello, ready, answer = converse([request("1", "add", a=1, b=2)])
        self.assertEqual((hello["event"], hello["protocol"], hello["name"]), ("hello", [1], "w"))
        self.assertIn("ready", hello["capabilities"])
        self.assertEqual(ready, {"type": "event", "event": "ready"})
        self.assertEqual(answer, {"type": "response", "id": "1", "result": 3})

    def test_every_exception_is_the_failure_of_its_request_only(self):
        tasks = ["exit", "unprintable", "nan", "add", "nope"]
        lines = [request(place, task) for place, task in enumerate(tasks)]
        answers = converse(lines + [request(9, "add", a="x", b="y")])[2:]
        self.assertEqual([answer["id"] for answer in answers], [0, 1, 2, 3, 4, 9])
        codes = [answer["error"]["code"] for answer in answers[:5]]
        self.assertEqual(codes, ["exception"] * 4 + ["unknown_task"])
        self.assertIn("exit(3)", answers[0]["error"]["message"])
        self.assertIn("KeyError: 'a'", answers[3]["error"]["message"])
        self.assertEqual(answers[5]["result"], "xy")

    def test_complains_of_what_it_cannot_read(self):
        said = converse(["noise", '{"type":"request"}', '{"type":"request","id":"1"}', "[]", ""])
        complaints = [event["message"] for event in said if event.get("event") == "log"]
        self.assertEqual(len(complaints), 3, said)
        refused = [event for event in said if event["type"] == "response"]
        self.assertEqual(refused[0]["error"]["code"], "malformed")

    def test_says_started_when_it_works_on_several(self):
        said = converse([request("1", "add", a=1, b=2)], concurrency=2)
        self.assertEqual([event.get("event") for event in said], ["hello", "ready", "started", None])


class Lines(unittest.TestCase):
    def lines(self, *writes):
        reader, writer = os.pipe()
        for chunk in writes:
            os.write(writer, chunk)
        os.close(writer)
        try:
            return list(ratchet_worker._lines(reader))
        finally:
            os.close(reader)

    def test_lines_are_cut_at_newlines_only(self):
        self.assertEqual(self.lines(b"a\nb\r", b"\n\nc"), [b"a", b"b\r", b"", b"c"])

    def test_a_line_too_long_is_dropped_to_its_newline(self):
        limit, ratchet_worker.MAX_MESSAGE_BYTES = ratchet_worker.MAX_MESSAGE_BYTES, 3
        try:
            self.assertEqual(self.lines(b"abc\nabcd\nef\nabcdef"), [b"abc", None, b"ef"])
        finally:
            ratchet_worker.MAX_MESSAGE_BYTES = limit


class Declarations(unittest.TestCase):
    def test_an_error_says_what_it_knows(self):
        error = TaskError("x", "y", retryable=True, retry_after=0.25, data=[1])
        expected = {"code": "x", "message": "y", "retryable": True, "retry_after_ms": 250, "data": [1]}
        self.assertEqual(error.to_json(), expected)
        self.assertEqual(TaskError("x", "y").to_json(), {"code": "x", "message": "y"})

    def test_impossible_concurrency_is_refused(self):
        with self.assertRaises(ValueError):
            Worker("w", concurrency=0)


if __name__ == "__main__":
    unittest.main()
