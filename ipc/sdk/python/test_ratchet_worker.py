"""Tests of ratchet_worker: python3 -m unittest test_ratchet_worker"""

import json
import os
import subprocess
import sys
import threading
import unittest
from pathlib import Path

import ratchet_worker
from ratchet_worker import TaskError, Worker

FOLDER = Path(__file__).parent

# What every test's worker can do; what only one needs stands in that test.
WORKER = """
import asyncio, os, sys, time
import ratchet_worker
from ratchet_worker import TaskError, Worker

options = eval(sys.argv[1])
ratchet_worker.MAX_WAITING_BYTES = options.pop("max_waiting_bytes", ratchet_worker.MAX_WAITING_BYTES)
worker = Worker("w", **options)

class Mute(Exception):
    def __str__(self):
        raise KeyError("no text either")

class Odd(BaseException):
    pass

def thrower(name, error):
    @worker.task(name=name)
    def throw(call):
        raise error

thrower("mute", Mute())
thrower("odd", Odd("odd"))
thrower("asyncio", asyncio.CancelledError())
thrower("generator", GeneratorExit())
thrower("infinite", TaskError("c", "m", retry_after=float("inf")))
thrower("nan_delay", TaskError("c", "m", retry_after=float("nan")))
thrower("bad_delay", TaskError("c", "m", retry_after="soon"))
thrower("bad_data", TaskError("c", "m", data={1, 2}))
thrower("mute_text", TaskError("c", Mute()))
thrower("deep", RecursionError("deep"))

@worker.task
def add(call):
    return call.input["a"] + call.input["b"]

@worker.task
def echo(call):
    return call.input

@worker.task(name="id")
def own_id(call):
    return call.id

@worker.task
def facts(call):
    return [call.attempt, call.timeout_ms, call.host, call.key, call.slot, call.resources, call.check, call.diff]

@worker.task(name="exit")
def leave(call):
    sys.exit(3)

@worker.task
def unprintable(call):
    return {1, 2}

@worker.task
def nan(call):
    return [float("nan")]

@worker.task
def infinity(call):
    return {"a": float("inf")}

@worker.task
def wait(call):
    call.progress(0)
    while not call.cancelled:
        time.sleep(0.001)
    print("it was told", flush=True)
    call.check_cancelled()

@worker.task
def talk(call):
    call.progress(float("nan"), 2, "m" * call.input["length"])
    call.log("\\U0001f600" * call.input["length"])

@worker.task
def fork(call):
    child = os.fork()
    if child == 0:
        if call.input["leave"]:
            call.progress(1)
            time.sleep(1000)
        return "from the child"
    if call.input["leave"]:
        return child
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

@worker.task
def spoken(call):
    print("before")
    os.write(2, b"after\\n")
"""
END = "worker.run()\n"


class Host:
    """A worker process, and the host's end of the conversation with it."""

    def __init__(self, end=END, **options):
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER + end, repr(options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=FOLDER,
        )
        # It only ends a test that hangs.
        self.patience = threading.Timer(60, self.process.kill)
        self.patience.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.patience.cancel()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            pipe.close()

    def send(self, *lines):
        for line in lines:
            self.process.stdin.write((line if isinstance(line, bytes) else line.encode()) + b"\n")
        self.process.stdin.flush()

    def hear(self):
        return json.loads(self.process.stdout.readline())

    def hear_until(self, event):
        while True:
            said = self.hear()
            if said.get("event") == event:
                return said


# Prints are buffered, as they are where nobody asked for anything else.
BUFFERED = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}


def finish(lines, end=END, ending=b"\n", **options):
    """What a worker says to these lines, its exit code and its stderr."""
    raw = [line if isinstance(line, bytes) else line.encode() for line in lines]
    done = subprocess.run(
        [sys.executable, "-c", WORKER + end, repr(options)],
        input=b"\n".join(raw) + ending,
        capture_output=True,
        cwd=FOLDER,
        env=BUFFERED,
        timeout=60,
    )
    return [json.loads(line) for line in done.stdout.splitlines()], done.returncode, done.stderr.decode()


def converse(lines, **options):
    """All that a worker says to these lines after its hello; it has to end well."""
    said, code, stderr = finish(lines, **options)
    assert code == 0, stderr
    return said[1:]


def request(id, task, **input):
    return json.dumps({"type": "request", "id": id, "task": task, "input": input})


def answers(said):
    return {str(message["id"]): message for message in said if message["type"] == "response"}


def complaints(said):
    return [message["message"] for message in said if message.get("event") == "log"]


class Conversation(unittest.TestCase):
    def test_says_hello_then_ready_then_answers(self):
        prepared = "worker.prepare(lambda: print('loading'))\n" + END
        (hello, ready, answer), code, stderr = finish([request("1", "add", a=1, b=2)], end=prepared)
        self.assertEqual((hello["event"], hello["protocol"], hello["name"]), ("hello", [1], "w"))
        self.assertIn("ready", hello["capabilities"])
        self.assertEqual(ready, {"type": "event", "event": "ready"})
        self.assertEqual(answer, {"type": "response", "id": "1", "result": 3})
        self.assertEqual((code, stderr), (0, "loading\n"))

    def test_says_started_when_it_works_on_several(self):
        said = converse([request("1", "add", a=1, b=2)], concurrency=2)
        self.assertEqual([event.get("event") for event in said], ["started", None])

    def test_a_failed_preparation_ends_it_with_a_code(self):
        said, code, stderr = finish([], end="worker.prepare(lambda: 1 / 0)\n" + END)
        self.assertEqual((len(said), code), (1, 1))
        self.assertIn("ZeroDivisionError", stderr)

    def test_a_reply_leaves_before_the_next_request_is_done(self):
        with Host() as host:
            host.send(request("1", "add", a=1, b=2), request("2", "wait"))
            self.assertEqual([host.hear().get("id") for _ in range(3)], [None, "1", "2"])

    def test_a_later_task_of_the_same_name_replaces_the_first(self):
        again = "worker.task(lambda call: 'second', name='echo')\n" + END
        said, _, _ = finish([request("1", "echo")], end=again)
        self.assertEqual(said[1]["result"], "second")


class Handlers(unittest.TestCase):
    def test_whatever_is_raised_is_the_failure_of_its_request_only(self):
        tasks = ["mute", "odd", "asyncio", "generator", "infinite", "nan_delay", "bad_delay", "bad_data"]
        tasks += ["mute_text", "deep", "exit", "unprintable", "nan", "infinity", "add", "nope"]
        lines = [request(task, task) for task in tasks] + [request("last", "add", a="x", b="y")]
        for concurrency in (1, 2, 5):
            said = converse(lines, concurrency=concurrency)
            responses = [message for message in said if message["type"] == "response"]
            self.assertEqual(sorted(m["id"] for m in responses), sorted(tasks + ["last"]))
            by_id = answers(said)
            self.assertEqual(by_id.pop("last")["result"], "xy")
            errors = {id: answer["error"] for id, answer in by_id.items()}
            own = {"infinite", "nan_delay"}
            for id in own:
                self.assertEqual(errors[id], {"code": "c", "message": "m"})
            self.assertEqual(errors["nope"]["code"], "unknown_task")
            self.assertEqual(errors["bad_data"]["code"], "c")
            others = set(tasks) - own - {"nope", "bad_data"}
            self.assertEqual({errors[id]["code"] for id in others}, {"exception"})
            self.assertIn("exit(3)", errors["exit"]["message"])
            self.assertIn("KeyError: 'a'", errors["add"]["message"])

    def test_the_interpreter_s_own_interrupt_ends_it(self):
        said, code, _ = finish([request("1", "echo")], end="thrower('echo', KeyboardInterrupt())\n" + END)
        self.assertEqual(len(said), 1)
        self.assertNotEqual(code, 0)

    def test_a_result_or_error_too_large_is_an_error(self):
        end = "thrower('long', TaskError('c', 'm' * 9000))\n" + END
        lines = ['{"type":"request","id":"1","task":"add","input":{"a":"%s","b":"%s"}}' % ("x" * 2500, "y" * 2500)]
        said, code, _ = finish(lines + [request("2", "long")], end=end, max_message_bytes=5050)
        by_id = answers(said)
        self.assertEqual(by_id["1"]["error"]["code"], "message_too_large")
        self.assertEqual(by_id["2"]["error"]["code"], "c")
        self.assertEqual(code, 0)

    def test_what_is_said_on_the_way_is_cut_to_the_limit(self):
        with Host(max_message_bytes=9000) as host:
            host.send(request("1", "talk", length=3), request("2", "talk", length=20000))
            host.hear()
            said = [host.process.stdout.readline() for _ in range(6)]
        self.assertLessEqual(max(map(len, said)), 9000)
        said = [json.loads(line) for line in said]
        self.assertEqual([m.get("event") for m in said], ["progress", "log", None] * 2)
        self.assertEqual((said[0]["message"], said[0]["total"], "done" in said[0]), ("mmm", 2, False))
        self.assertTrue(said[3]["message"].endswith("m (cut)"))

    def test_a_forked_child_keeps_nothing_of_the_conversation(self):
        with Host() as host:
            host.send(request("1", "fork", leave=True))
            host.hear()
            child = host.hear()["result"]
            try:
                host.process.stdin.close()
                # The child lives, and yet the stream ends.
                self.assertEqual(host.process.stdout.read(), b"")
                self.assertEqual(host.process.wait(), 0)
                os.kill(child, 0)
            finally:
                os.kill(child, 9)

    def test_a_forked_child_that_comes_back_ends(self):
        said = converse([request("1", "fork", leave=False)])
        self.assertEqual(said, [{"type": "response", "id": "1", "result": 1}])

    def test_a_print_is_seen_when_it_is_printed(self):
        _, _, stderr = finish([request("1", "spoken")])
        self.assertEqual(stderr, "before\nafter\n")


class Reader(unittest.TestCase):
    def test_complains_of_what_it_cannot_read_and_goes_on(self):
        lines = ["noise", '{"type":"request"}', "[]", "", "null", '{"type":"response","id":"1","result":1}']
        lines += ['{"type":"event","event":"ping","nonce":[]}', '{"type":"event","event":"cancel"}']
        lines += ['{"type":"event","event":"news"}', "}}}{", '"', '{"type":', b"\xff", "[" * 100_000]
        said = converse([*lines, request("1", "add", a=1, b=2)])
        # All but the empty line and the unknown event.
        self.assertEqual(len(complaints(said)), len(lines) - 2, said)
        self.assertEqual(said[-1], {"type": "response", "id": "1", "result": 3})

    def test_an_odd_nonce_does_no_harm_and_comes_back_to_the_letter(self):
        with Host() as host:
            for nonce in (b"1e999", b"18446744073709551615", b"1.50"):
                host.send(b'{"type":"event","event":"ping","nonce":%b}' % nonce)
            host.hear()
            for nonce in (b"1e999", b"18446744073709551615", b"1.50"):
                line = host.process.stdout.readline()
                self.assertEqual(line, b'{"type":"event","event":"pong","nonce":%b}\n' % nonce)

    def test_ids_echo_to_the_letter(self):
        ids = ["1.0", "1e400", "1.50", "-0", "12345678901234567890", '"7"', '""', '"a b"', '"\\ud800"']
        lines = ['{"task":"id", "input":{"id":0}, "id" : %s , "type":"request"}' % id for id in ids]
        done = subprocess.run(
            [sys.executable, "-c", WORKER + END, "{}"],
            input="\n".join(lines).encode(),
            stdout=subprocess.PIPE,
            cwd=FOLDER,
            timeout=60,
        )
        said = done.stdout.decode().splitlines()[1:]
        spelled = [json.dumps(id.strip('"')) for id in ids[:-1]] + ['"\\ud800"']
        expected = ['{"type":"response","id":%s,"result":%s}' % pair for pair in zip(ids, spelled)]
        self.assertEqual(said, expected)

    def test_a_field_that_is_null_counts_as_absent(self):
        absent = '{"type":"request","id":"absent","task":"facts"}'
        optional = ("input", "attempt", "timeout_ms", "host", "key", "slot", "resources", "check", "diff")
        null = '{"type":"request","id":"null","task":"facts",%s}' % ",".join(f'"{name}":null' for name in optional)
        full = '{"type":"request","id":"full","task":"facts","attempt":2,"timeout_ms":9,"host":"h","key":"k","slot":3'
        full += ',"resources":{"gpu":[0,"b"],"license":2},"check":true,"diff":true}'
        by_id = answers(converse([absent, null, full]))
        expected = [1, None, None, None, None, {}, False, False]
        self.assertEqual([by_id[id]["result"] for id in ("absent", "null")], [expected, expected])
        resources = {"gpu": [0, "b"], "license": 2}
        self.assertEqual(by_id["full"]["result"], [2, 9, "h", "k", 3, resources, True, True])

    def test_what_is_no_id_is_refused(self):
        bad = ["true", "null", "NaN", "-Infinity", "[1]", "{}", "01", '"' + "x" * 2000 + '"']
        said = converse(['{"type":"request","id":%s,"task":"echo"}' % id for id in bad])
        self.assertEqual(len(complaints(said)), len(bad))
        self.assertEqual(len(said), len(bad))

    def test_what_cannot_be_read_is_answered_if_it_says_whose_it_is(self):
        deep = '{"type":"request","id":"deep","task":"echo","input":%s}' % ("[" * 100_000 + "]" * 100_000)
        digits = '{"type":"request","id":"digits","task":"echo","input":%s}' % ("1" * 5000)
        taskless = '{"type":"request","id":"taskless"}'
        cut = '{"type":"request","id":"cut","task":"echo","input":'
        nan = '{"type":"request","id":"nan","task":"echo","input":NaN}'
        latin = b'{"type":"request","id":"latin","task":"echo","input":"\xe9"}'
        said = converse([deep, digits, taskless, cut, nan, latin, request("1", "add", a=1, b=2)])
        by_id = answers(said)
        self.assertEqual(by_id.pop("1")["result"], 3)
        # Python before 3.11 reads any number of digits.
        if not hasattr(sys, "get_int_max_str_digits"):
            by_id.pop("digits")
        self.assertIn("latin", by_id)
        for id, answer in by_id.items():
            self.assertEqual(answer["error"]["code"], "malformed", id)
            self.assertIs(answer["error"]["retryable"], False, id)

    def test_a_message_too_long_is_answered_if_it_says_whose_it_is(self):
        filler = '"%s"' % ("x" * 3000)
        lines = [
            '{"type":"request","id":"a","task":"echo","input":%s}' % filler,
            '{"id":2.50,"input":{"type":"x","id":"no"},"type":"request","x":%s}' % filler,
            '{"type":"request","input":%s,"id":"behind"}' % filler,
            '{"type":"event","event":"news","id":"b","x":%s}' % filler,
            '{"type":"request","input":{"id":"inner"},"x":%s}' % filler,
            request("1", "add", a=1, b=2),
            '{"type":"request","id":"last","task":"echo","input":%s}' % filler,
        ]
        said = converse(lines, ending=b"", max_message_bytes=2000)
        by_id = answers(said)
        self.assertEqual(set(by_id), {"a", "2.5", "1", "last"})
        self.assertEqual(by_id.pop("1")["result"], 3)
        self.assertEqual({a["error"]["code"] for a in by_id.values()}, {"message_too_large"})
        self.assertEqual(len(complaints(said)), 3)

    def test_invalid_utf_8_is_never_executed(self):
        said = converse([b'{"type":"request","id":"1","task":"echo","input":"\xff"}'])
        (answer,) = said
        self.assertEqual(answer["error"]["code"], "malformed")
        self.assertIn("UTF-8", answer["error"]["message"])

    def test_the_same_id_twice_is_answered_twice(self):
        said = converse([request("1", "add", a=1, b=1)] * 2, concurrency=2)
        self.assertEqual([m["result"] for m in said if m["type"] == "response"], [2, 2])

    def test_a_fault_of_its_own_over_one_line_costs_that_line_only(self):
        broken = "whole = ratchet_worker._sniff\n"
        broken += "ratchet_worker._sniff = lambda line: 1 / 0 if b'trap' in line else whole(line)\n"
        said, code, _ = finish(["trap", request("1", "echo")], end=broken + END)
        self.assertIn("ZeroDivisionError", complaints(said)[0])
        self.assertEqual((said[-1]["id"], code), ("1", 0))

    def test_its_own_death_ends_the_worker_with_a_code(self):
        broken = "def broken(*_):\n    raise OSError('unread')\nratchet_worker._lines = broken\n"
        _, code, stderr = finish([], end=broken + END)
        self.assertEqual(code, 1)
        self.assertIn("unread", stderr)


class FarAhead(unittest.TestCase):
    def test_pings_and_cancels_are_heard_behind_thousands_of_requests(self):
        with Host() as host:
            host.send(request("w", "wait"), *(request(id, "echo") for id in range(5000)))
            host.hear_until("progress")
            host.send('{"type":"event","event":"ping","nonce":1}')
            self.assertEqual(host.hear()["nonce"], 1)
            host.send('{"type":"event","event":"cancel","id":4999}', '{"type":"event","event":"cancel","id":"w"}')
            self.assertEqual([(host.hear()["id"]) for _ in range(2)], [4999, "w"])
            host.send('{"type":"event","event":"drain"}')
            self.assertEqual([host.hear()["id"] for _ in range(4999)], list(range(4999)))
            self.assertEqual(host.process.wait(), 0)

    def test_it_reads_no_further_than_its_bound_and_still_answers_all(self):
        # Far less than what is sent and than what the pipe holds; the end comes behind all of it.
        lines = [request(id, "echo", x="x" * 500) for id in range(2000)]
        for concurrency in (1, 3):
            said = converse(lines, concurrency=concurrency, max_waiting_bytes=10_000)
            ids = sorted(message["id"] for message in said if message["type"] == "response")
            self.assertEqual(ids, list(range(2000)))

    def test_it_leaves_the_rest_in_the_pipe(self):
        with Host(max_waiting_bytes=10_000) as host:
            host.send(request("w", "wait"))
            host.hear_until("progress")
            os.set_blocking(host.process.stdin.fileno(), False)
            chunk = (request(1, "echo") + "\n").encode() * 1000
            taken, full = 0, 0
            # A pipe is full for good when nobody reads; the worker's reader has a mebibyte to give in.
            while taken < 1 << 20 and full < 100:
                try:
                    taken += os.write(host.process.stdin.fileno(), chunk)
                    full = 0
                except BlockingIOError:
                    full += 1
                    threading.Event().wait(0.005)
            self.assertLess(taken, 1 << 20)


class Ends(unittest.TestCase):
    def test_a_closed_stdout_cancels_what_runs(self):
        with Host() as host:
            host.send(request("1", "wait"))
            host.hear_until("progress")
            host.process.stdout.close()
            self.assertEqual(host.process.wait(), 1)
            self.assertIn(b"it was told", host.process.stderr.read())

    def test_a_host_that_is_gone_altogether_cancels_what_runs(self):
        with Host() as host:
            host.send(request("1", "wait"))
            host.hear_until("progress")
            host.process.stdin.close()
            host.process.stdout.close()
            self.assertEqual(host.process.wait(), 1)
            self.assertIn(b"it was told", host.process.stderr.read())

    def test_a_start_without_stdin_or_stdout_is_refused_clearly(self):
        for closed, name in (("<&-", "stdin"), (">&-", "stdout")):
            done = subprocess.run(
                ["sh", "-c", f'exec "$0" -c "$1" "{{}}" {closed}', sys.executable, WORKER + END],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                cwd=FOLDER,
                timeout=60,
            )
            self.assertEqual(done.returncode, 1)
            self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
            self.assertIn(f"its {name} is closed".encode(), done.stderr)

    def test_a_start_without_stderr_works(self):
        done = subprocess.run(
            ["sh", "-c", 'exec "$0" -c "$1" "{}" 2>&-', sys.executable, WORKER + END],
            input=request("1", "spoken").encode(),
            stdout=subprocess.PIPE,
            cwd=FOLDER,
            timeout=60,
        )
        self.assertEqual(done.returncode, 0)
        self.assertEqual(json.loads(done.stdout.splitlines()[-1])["result"], None)


class Lines(unittest.TestCase):
    def lines(self, *chunks, limit=100):
        rest = [*chunks, b""]
        return list(ratchet_worker._lines(lambda: rest.pop(0), limit))

    def test_lines_are_cut_at_newlines_only(self):
        expected = [(b"a", 0), (b"b\r", 0), (b"", 0), (b"c", 0)]
        self.assertEqual(self.lines(b"a\nb\r", b"\n\nc"), expected)

    def test_of_a_line_too_long_the_head_and_the_length_are_told(self):
        told = self.lines(b"abc\nab", b"cd", b"\nef\nabcdef", limit=3)
        self.assertEqual(told, [(b"abc", 0), (b"abcd", 4), (b"ef", 0), (b"abcdef", 6)])
        [(head, length)] = self.lines(*[b"x" * 700] * 10, limit=3)
        self.assertEqual((len(head), length), (ratchet_worker.HEAD_BYTES, 7000))


class Declarations(unittest.TestCase):
    def test_an_error_says_what_it_knows(self):
        error = TaskError("x", "y", retryable=True, retry_after=0.25, data=[1])
        expected = {"code": "x", "message": "y", "retryable": True, "retry_after_ms": 250, "data": [1]}
        self.assertEqual(error.to_json(), expected)
        self.assertEqual(TaskError("x", "y").to_json(), {"code": "x", "message": "y"})
        self.assertEqual(TaskError("x", "y", retry_after=-1).to_json()["retry_after_ms"], 0)

    def test_impossible_options_are_refused(self):
        for options in ({"concurrency": 0}, {"concurrency": 1.5}, {"max_message_bytes": 0}):
            with self.assertRaises(ValueError):
                Worker("w", **options)


if __name__ == "__main__":
    unittest.main()
