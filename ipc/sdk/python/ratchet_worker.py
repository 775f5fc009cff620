"""A ratchet worker in Python: one file, no dependencies, Python 3.9 or later on Unix.

    from ratchet_worker import Worker

    worker = Worker("resizer", version="2.1")

    @worker.task(hint="host_exclusive", cacheable=True)
    def resize(call):
        call.progress(1, 2)
        return {"path": call.input["path"]}

    worker.run()

Handlers are plain functions. The return value is the result, and an exception fails that one request.
Raise ``TaskError("not_found", "no such file", retryable=False)`` to set a code and whether to retry. A handler
that takes long should check ``call.cancelled`` regularly, or call ``call.check_cancelled()``. Both also report
that the host is gone. Inside of the worker, only Ctrl-C ends it.

Stray prints cannot break the conversation. It moves to new descriptors, which neither child programs nor forked
children keep. Then file descriptor 1 is stderr, and 0 is empty. That holds for ``print``, for C libraries and for
child processes.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import re
import select
import sys
import threading
import traceback
from collections import deque
from typing import Any, Callable, Deque, Dict, Iterator, List, Optional, Tuple, Union

__all__ = ["Call", "Cancelled", "TaskError", "Worker"]

PROTOCOL = 1
MAX_MESSAGE_BYTES = 16 * 1024 * 1024
READ_BYTES = 64 * 1024

# Requests wait as unparsed lines, so requests that are sent ahead take no more than their bytes. Beyond this
# limit nothing is read until a request is taken up, and only then pings and cancels are late.
MAX_WAITING_BYTES = 64 * 1024 * 1024
# What a waiting request takes beside its line.
WAITING_BYTES = 512

# The longest id. In a message that is too long to be kept, the id is found only within this many bytes.
HEAD_BYTES = 1024
# The answer if no other error can be encoded.
UNSAYABLE = b'{"code":"exception","message":"the task failed, and its error cannot be sent"}'

Handler = Callable[["Call"], Any]


class TaskError(Exception):
    """The reason why a request failed, for programs (``code``) and for people (``message``)."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        retryable: Optional[bool] = None,
        retry_after: Optional[float] = None,
        data: Any = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retryable = retryable
        self.retry_after = retry_after
        self.data = data

    def to_json(self) -> Dict[str, Any]:
        error: Dict[str, Any] = {"code": str(self.code), "message": str(self.message)}
        if self.retryable is not None:
            error["retryable"] = bool(self.retryable)
        # A delay that is no number counts as none. No host can read more than 2^53 ms.
        if self.retry_after is not None and math.isfinite(self.retry_after):
            error["retry_after_ms"] = min(max(0, round(self.retry_after * 1000)), 2**53 - 1)
        if self.data is not None:
            error["data"] = self.data
        return error


class Cancelled(TaskError):
    """The host cancelled the request."""

    def __init__(self, message: str = "cancelled by the host") -> None:
        super().__init__("cancelled", message)


class Call:
    """A request that a handler works on."""

    task: str
    input: Any
    attempt: int
    timeout_ms: Optional[int]
    host: Optional[str]
    key: Optional[str]
    slot: Optional[int]
    #: The resources that the attempt holds, by name: a list of identities, or a number.
    resources: Dict[str, Any]
    traceparent: Optional[str]
    check: bool
    diff: bool

    def __init__(self, worker: Worker, id: bytes) -> None:
        self._worker = worker
        self._id = id
        self._cancelled = False

    def _fill(self, request: Dict[str, Any]) -> None:
        # An optional field that is null counts as absent.
        request = {name: value for name, value in request.items() if value is not None}
        self.task = request["task"]
        self.input = request.get("input")
        self.attempt = request.get("attempt", 1)
        self.timeout_ms = request.get("timeout_ms")
        self.host = request.get("host")
        self.key = request.get("key")
        self.slot = request.get("slot")
        self.resources = request.get("resources", {})
        self.traceparent = request.get("traceparent")
        self.check = request.get("check", False)
        self.diff = request.get("diff", False)

    @property
    def id(self) -> str:
        """The id of this attempt. A number is returned as it was spelled."""
        return json.loads(self._id) if self._id.startswith(b'"') else self._id.decode()

    @property
    def cancelled(self) -> bool:
        """Whether the host has cancelled the request."""
        return self._cancelled

    def check_cancelled(self) -> None:
        """Raises ``Cancelled`` if the host has cancelled the request."""
        if self._cancelled:
            raise Cancelled()

    def progress(
        self,
        done: Optional[float] = None,
        total: Optional[float] = None,
        message: Optional[str] = None,
    ) -> None:
        """Reports how far the work has got, which also resets the no-progress timer."""
        fields: Dict[str, Any] = {}
        for name, value in (("done", done), ("total", total)):
            if value is not None and math.isfinite(value):
                fields[name] = value
        if message is not None:
            fields["message"] = str(message)
        self._worker._tell("progress", fields, self._id)

    def log(self, message: str, level: str = "info") -> None:
        """Logs a message for the user who runs the job."""
        self._worker._tell("log", {"level": str(level), "message": str(message)}, self._id)


class Worker:
    """A worker: its tasks and its hello."""

    def __init__(
        self,
        name: str,
        *,
        version: Optional[str] = None,
        concurrency: int = 1,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
    ) -> None:
        if not isinstance(concurrency, int) or concurrency < 1:
            raise ValueError("concurrency must be a whole number of at least 1")
        if max_message_bytes < 1:
            raise ValueError("max_message_bytes must be at least 1")
        self.name = name
        self.version = version
        self.concurrency = concurrency
        self.max_message_bytes = max_message_bytes
        self._handlers: Dict[str, Handler] = {}
        self._declarations: Dict[str, Dict[str, Any]] = {}
        self._prepare: Optional[Callable[[], None]] = None
        # Protects what threads share: the waiting requests, the running ones, and the end.
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._room = threading.Condition(self._lock)
        self._waiting: Deque[Tuple[bytes, bytes]] = deque()
        self._waiting_bytes = 0
        self._running: List[Call] = []
        self._ended = False
        self._lost = False
        self._failure: Optional[BaseException] = None
        # No thread takes this lock while it holds the other one.
        self._out_lock = threading.Lock()
        self._in_fd = self._out_fd = -1

    def task(
        self,
        handler: Optional[Handler] = None,
        *,
        name: Optional[str] = None,
        hint: Union[str, Dict[str, Any], None] = None,
        cacheable: bool = False,
        description: Optional[str] = None,
    ) -> Any:
        """Adds a task, as ``@worker.task`` or ``@worker.task(hint=..)``, and replaces one of the same name."""

        def add(handler: Handler) -> Handler:
            task = name or handler.__name__
            declaration: Dict[str, Any] = {}
            if hint is not None:
                declaration["hint"] = hint
            if cacheable:
                declaration["cacheable"] = True
            if description is not None:
                declaration["description"] = description
            self._handlers[task] = handler
            self._declarations[task] = declaration
            return handler

        return add if handler is None else add(handler)

    def prepare(self, preparation: Callable[[], None]) -> Callable[[], None]:
        """Sets work to do before the first request, such as loading a model."""
        self._prepare = preparation
        return preparation

    def run(self) -> None:
        """Takes over stdin and stdout, and serves until the host has no more work.

        Raises if the host went away before it had its answers, or could no longer be heard.
        """
        hello = _event("hello", self._hello())
        self._in_fd, self._out_fd = _take_stdio()
        os.register_at_fork(after_in_child=self._leave_to_parent)
        self._write(hello)
        # All threads are daemons, so that a handler that hangs cannot keep a failed worker alive.
        threading.Thread(target=self._guard, args=(self._read,), name="reader", daemon=True).start()
        if self._prepare is not None:
            self._prepare()
            self._write(_event("ready", {}))
        helpers = [
            threading.Thread(target=self._guard, args=(self._work,), daemon=True)
            for _ in range(self.concurrency - 1)
        ]
        for helper in helpers:
            helper.start()
        self._work()
        for helper in helpers:
            helper.join()
        if self._failure is not None:
            raise self._failure

    def _hello(self) -> Dict[str, Any]:
        capabilities = ["cancel", "progress", "ping", "drain"]
        if self._prepare is not None:
            capabilities.append("ready")
        hello: Dict[str, Any] = {
            "protocol": [PROTOCOL],
            "name": self.name,
            "concurrency": self.concurrency,
            "capabilities": capabilities,
            "tasks": self._declarations,
        }
        if self.version is not None:
            hello["version"] = self.version
        return hello

    # The end of the worker.

    def _guard(self, loop: Callable[[], None]) -> None:
        """Ends the worker, with an exit code, because a thread ended unexpectedly."""
        try:
            loop()
        except BaseException as error:
            self._end(error)

    def _end(self, failure: Optional[BaseException] = None) -> None:
        """Expects no more requests. Those that came are still answered."""
        with self._lock:
            self._ended = True
            self._failure = self._failure or failure
            self._changed.notify_all()

    def _lose(self, error: OSError, unsaid: bool) -> None:
        """The host is gone: it reads no more answers and sends no more requests."""
        with self._lock:
            if unsaid or self._running or self._waiting:
                self._failure = self._failure or error
            self._ended = self._lost = True
            self._waiting.clear()
            for call in self._running:
                call._cancelled = True
            self._changed.notify_all()
            self._room.notify_all()

    def _leave_to_parent(self) -> None:
        """Leaves the conversation to the parent, in a forked child."""
        for fd in (self._in_fd, self._out_fd):
            if fd >= 0:
                os.close(fd)
        self._in_fd = self._out_fd = -1

    # The reader. It never runs a handler, so it sees pings and cancels at any time.

    def _read(self) -> None:
        poll = select.poll()
        poll.register(self._in_fd, select.POLLIN)
        # Wait only for the end of the host's reading side.
        poll.register(self._out_fd, 0)

        def receive() -> bytes:
            while True:
                for fd, _ in poll.poll():
                    if fd == self._in_fd:
                        try:
                            return os.read(fd, READ_BYTES)
                        except BlockingIOError:
                            continue
                    poll.unregister(fd)
                    self._lose(BrokenPipeError("the host has closed the worker's stdout"), unsaid=False)

        for line, dropped in _lines(receive, self.max_message_bytes):
            try:
                self._take(line, dropped)
            except Exception as error:
                self._complain(f"a message could not be taken: {_describe(error)}")
            self._wait_for_room()
        self._end()
        poll.unregister(self._in_fd)
        if not self._lost and poll.poll():
            self._lose(BrokenPipeError("the host has closed the worker's stdout"), unsaid=False)

    def _take(self, line: bytes, dropped: int) -> None:
        fields = _sniff(line)
        id = fields.get(b"id") if fields.get(b"type") == b'"request"' else None
        if dropped:
            text = f"the message has {dropped} bytes, and no more than {self.max_message_bytes} may be sent"
            if id is None:
                self._complain(text)
            else:
                error = TaskError("message_too_large", text, retryable=False)
                self._write(self._error_reply(id, error))
        elif not line.isascii() and not _is_utf8(line):
            text = f"not UTF-8: {line[:200]!r}"
            if id is None:
                self._complain(text)
            else:
                self._write(self._error_reply(id, TaskError("malformed", text, retryable=False)))
        elif id is not None:
            # The thread that works on the request parses it.
            with self._lock:
                self._waiting.append((id, line))
                self._waiting_bytes += len(line) + WAITING_BYTES
                self._changed.notify()
        elif line.strip(b" \t\r"):
            self._take_event(line, fields)

    def _take_event(self, line: bytes, fields: Dict[bytes, bytes]) -> None:
        try:
            message = _decode(line)
        except TaskError as error:
            return self._complain(f"{error.message}: {line[:200]!r}")
        kind = message.get("type") if isinstance(message, dict) else None
        if kind == "request":
            return self._complain(f"a request without an id that is text or a number: {line[:200]!r}")
        if kind != "event":
            return self._complain(f"not a message to a worker: {line[:200]!r}")
        event, id = message.get("event"), fields.get(b"id")
        if event == "drain":
            self._end()
        elif event == "ping" and b"nonce" in fields:
            self._write(b'{"type":"event","event":"pong","nonce":%b}\n' % fields[b"nonce"])
        elif event == "cancel" and id is not None:
            self._cancel(id)
        elif event in ("ping", "cancel"):
            self._complain(f"a {event} that does not say of what: {line[:200]!r}")

    def _cancel(self, id: bytes) -> None:
        with self._lock:
            for call in self._running:
                if call._id == id:
                    call._cancelled = True
            cancelled = [asked for asked in self._waiting if asked[0] == id]
            for asked in cancelled:
                self._waiting.remove(asked)
                self._waiting_bytes -= len(asked[1]) + WAITING_BYTES
        for _ in cancelled:
            self._write(self._error_reply(id, Cancelled("cancelled before it began")))

    def _complain(self, message: str) -> None:
        self._tell("log", {"level": "error", "message": message})

    def _wait_for_room(self) -> None:
        with self._lock:
            while self._waiting_bytes > MAX_WAITING_BYTES and not self._lost:
                self._room.wait()

    # The other threads: they take a request, perform it, and answer it.

    def _work(self) -> None:
        while True:
            with self._lock:
                while not self._waiting and not self._ended:
                    self._changed.wait()
                if not self._waiting:
                    return
                id, line = self._waiting.popleft()
                self._waiting_bytes -= len(line) + WAITING_BYTES
                self._room.notify()
                call = Call(self, id)
                self._running.append(call)
            reply = self._answer(call, line)
            if self._out_fd < 0:
                os._exit(1)  # A forked child that came back from the handler has nothing to do here.
            with self._lock:
                self._running.remove(call)
            self._write(reply)

    def _answer(self, call: Call, line: bytes) -> bytes:
        """Makes the one reply to a request, whatever its handler does."""
        try:
            reply = _reply(call._id, b"result", _encode(self._do(call, line)))
            if len(reply) <= self.max_message_bytes:
                return reply
            text = f"the reply has {len(reply)} bytes, and no more than {self.max_message_bytes} may be sent"
            error = TaskError("message_too_large", text, retryable=False)
        except TaskError as raised:
            error = raised
        except BaseException as raised:
            interrupted = isinstance(raised, KeyboardInterrupt)
            if interrupted and threading.current_thread() is threading.main_thread():
                raise
            _print_traceback(raised)
            error = Cancelled() if call.cancelled else TaskError("exception", _describe(raised))
        return self._error_reply(call._id, error)

    def _do(self, call: Call, line: bytes) -> Any:
        if self.concurrency > 1:
            self._write(_event("started", {}, call._id))
        request = _decode(line)
        if not isinstance(request.get("task"), str):
            raise TaskError("malformed", "a request without a task", retryable=False)
        call._fill(request)
        handler = self._handlers.get(call.task)
        if handler is None:
            known = ", ".join(sorted(self._handlers))
            message = f"there is no task `{call.task}` here" + (f"; known: {known}" if known else ", nor any other")
            raise TaskError("unknown_task", message, retryable=False)
        return handler(call)

    def _error_reply(self, id: bytes, error: TaskError) -> bytes:
        for short in (False, True):
            try:
                body = error.to_json()
                if short:
                    body.pop("data", None)
                    body["message"] = body["message"][:HEAD_BYTES] + " (not all of this error can be sent)"
                reply = _reply(id, b"error", _encode(body))
                if len(reply) <= self.max_message_bytes:
                    return reply
            except BaseException:  # A property or a __str__ may raise anything at all.
                continue
        return _reply(id, b"error", UNSAYABLE)

    # Every line is flushed at once, because the next request may take an hour.

    def _tell(self, event: str, fields: Dict[str, Any], id: Optional[bytes] = None) -> None:
        """Sends an event. Its text is cut, or the event is dropped, if there is no room for it."""
        line = _event(event, fields, id)
        if len(line) > self.max_message_bytes:
            # A character takes at most twelve bytes, and the fields around the text less than this.
            room = (self.max_message_bytes - 2 * HEAD_BYTES) // 12
            text = fields.get("message", "")[: max(room, 0)]
            line = _event(event, {**fields, "message": text + " (cut)"}, id)
            if len(line) > self.max_message_bytes:
                return
        self._write(line)

    def _write(self, line: bytes) -> None:
        if self._out_fd < 0:
            return
        with self._out_lock:
            if self._lost:
                return
            view = memoryview(line)
            try:
                while view:
                    try:
                        view = view[os.write(self._out_fd, view) :]
                    except BlockingIOError:
                        select.select([], [self._out_fd], [])
            except OSError as error:
                self._lose(error, unsaid=True)


# NaN is not JSON, so it is an error. A lone surrogate is not UTF-8, so it is escaped.
_ENCODER = json.JSONEncoder(ensure_ascii=True, allow_nan=False, separators=(",", ":"))


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def _encode(value: Any) -> bytes:
    return _ENCODER.encode(value).encode("ascii")


def _decode(line: bytes) -> Any:
    try:
        return _DECODER.decode(line.decode())
    except (ValueError, RecursionError) as error:
        # Too many digits or too much nesting for Python are errors, too.
        raise TaskError("malformed", f"not JSON that can be read: {error}", retryable=False) from None


def _reply(id: bytes, name: bytes, value: bytes) -> bytes:
    return b'{"type":"response","id":%b,"%b":%b}\n' % (id, name, value)


def _event(name: str, fields: Dict[str, Any], id: Optional[bytes] = None) -> bytes:
    parts = [b'"type":"event","event":"%b"' % name.encode("ascii")]
    if id is not None:
        parts.append(b'"id":%b' % id)
    if fields:
        parts.append(_encode(fields)[1:-1])
    return b"{%b}\n" % b",".join(parts)


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _describe(error: BaseException) -> str:
    try:
        if isinstance(error, SystemExit):
            # Only the host ends a worker. A library that calls exit() fails its own request.
            return f"the task called exit({error.code})"
        return f"{type(error).__name__}: {error}"
    except BaseException:  # Whatever its __str__ raises.
        return "an exception that cannot be printed"


def _print_traceback(error: BaseException) -> None:
    try:
        traceback.print_exception(type(error), error, error.__traceback__)
    except BaseException:  # As above; and stderr may be closed.
        pass


_STRING = rb'"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"'
_NUMBER = rb"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?"
_SCALAR = re.compile(rb"[ \t\r]*:[ \t\r]*(%b|%b)(?=[ \t\r]*[,}])" % (_STRING, _NUMBER))
# The form in which every host writes a request.
_USUAL = re.compile(rb'\{"type":"request","id":("[0-9A-Za-z_-]{0,99}")[,}]')
_MARK = re.compile(rb'["{}\[\]]')
_STRING_END = re.compile(rb'["\\]')
_SNIFFED = (b"type", b"id", b"event", b"nonce")


def _sniff(line: bytes) -> Dict[bytes, bytes]:
    """Returns the top-level texts and numbers of a message, as they are spelled.

    The message need not be whole or well-formed, and what cannot be an id is left out.
    """
    usual = _USUAL.match(line)
    if usual:
        return {b"type": b'"request"', b"id": usual[1]}
    found: Dict[bytes, bytes] = {}
    depth = at = 0
    while True:
        mark = _MARK.search(line, at)
        if mark is None:
            return found
        at = mark.end()
        if mark[0] in b"{[":
            depth += 1
        elif mark[0] in b"}]":
            depth -= 1
        else:
            start = at
            while True:
                mark = _STRING_END.search(line, at)
                if mark is None:
                    return found
                at = mark.end()
                if mark[0] == b'"':
                    break
                at += 1
            name = line[start : at - 1] if depth == 1 and at - start < 8 else b""
            if name in _SNIFFED and name not in found:
                value = _SCALAR.match(line, at, at + HEAD_BYTES)
                if value and _is_utf8(value[1]):
                    found[name] = _plain(value[1])
                    if b"id" in found and found.get(b"type") == b'"request"':
                        return found


def _plain(scalar: bytes) -> bytes:
    """Returns one spelling for each text, so that a cancel finds its request. Numbers stay as they are spelled."""
    return scalar if scalar.isascii() and b"\\" not in scalar else _encode(json.loads(scalar))


def _lines(receive: Callable[[], bytes], limit: int) -> Iterator[Tuple[bytes, int]]:
    """Yields lines without their newline, and for a line that is too long its beginning and its length."""
    rest: List[bytes] = []
    length = 0

    def cut() -> Tuple[bytes, int]:
        return (b"".join(rest), 0) if length <= limit else (b"".join(rest)[:HEAD_BYTES], length)

    while True:
        chunk = receive()
        if not chunk:
            if length:
                yield cut()
            return
        for place, piece in enumerate(chunk.split(b"\n")):
            if place:
                yield cut()
                rest, length = [], 0
            rest.append(piece)
            length += len(piece)
            if length > limit:
                rest = [b"".join(rest)[:HEAD_BYTES]]


def _take_stdio() -> Tuple[int, int]:
    """Moves the conversation to descriptors that no child inherits."""
    for fd, name, stream in ((0, "stdin", sys.__stdin__), (1, "stdout", sys.__stdout__)):
        # Python has no stream for a closed descriptor, and another file may use its number by now.
        if stream is None or not _is_open(fd):
            sys.exit(f"this worker talks to its host through stdin and stdout, and its {name} is closed")
    null = os.open(os.devnull, os.O_RDWR)
    if not _is_open(2):
        os.dup2(null, 2)
    in_fd, out_fd = (fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3) for fd in (0, 1))
    os.dup2(null, 0)
    os.dup2(2, 1)
    if null > 2:
        os.close(null)
    # Everything that was or will be printed goes to stderr, line by line.
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(line_buffering=True)
    return in_fd, out_fd


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True
