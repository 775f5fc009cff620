"""A ratchet worker in Python: one file, no dependencies, Python 3.9 or later.

    from ratchet_worker import Worker

    worker = Worker("resizer", version="2.1")

    @worker.task(hint="host_exclusive", cacheable=True)
    def resize(call):
        call.progress(1, 2)
        return {"path": call.input["path"]}

    worker.run()

Handlers are plain functions. What one returns is the result; an exception is the failure of that one
request. ``raise TaskError("not_found", "no such file", retryable=False)`` says more. A handler that
takes long should look at ``call.cancelled`` now and then, or call ``call.check_cancelled()``.

Stray prints cannot spoil the conversation: it moves to descriptors of its own, which child processes do
not inherit, file descriptor 1 becomes stderr and 0 becomes empty. That holds for ``print``, for C
libraries and for child processes.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import traceback
from collections import deque
from typing import Any, Callable, Deque, Dict, Iterator, List, Optional, Union

__all__ = ["Call", "Cancelled", "TaskError", "Worker"]

PROTOCOL = 1
MAX_MESSAGE_BYTES = 16 * 1024 * 1024
READ_BYTES = 64 * 1024

Id = Union[str, int, float]
Handler = Callable[["Call"], Any]


class TaskError(Exception):
    """Why a request could not be done, for programs (``code``) and for people (``message``)."""

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
        error: Dict[str, Any] = {"code": self.code, "message": self.message}
        if self.retryable is not None:
            error["retryable"] = self.retryable
        if self.retry_after is not None:
            error["retry_after_ms"] = max(0, round(self.retry_after * 1000))
        if self.data is not None:
            error["data"] = self.data
        return error


class Cancelled(TaskError):
    """The host no longer wants an answer."""

    def __init__(self, message: str = "cancelled by the host") -> None:
        super().__init__("cancelled", message)


class Call:
    """One request, as its handler sees it."""

    def __init__(self, worker: Worker, request: Dict[str, Any]) -> None:
        self.id: Id = request["id"]
        self.task: str = request["task"]
        self.input: Any = request.get("input")
        self.attempt: int = request.get("attempt", 1)
        self.timeout_ms: Optional[int] = request.get("timeout_ms")
        self.host: Optional[str] = request.get("host")
        self.key: Optional[str] = request.get("key")
        self.check: bool = request.get("check", False)
        self.diff: bool = request.get("diff", False)
        self._worker = worker
        self._cancelled = False

    @property
    def cancelled(self) -> bool:
        """Whether the host no longer wants an answer."""
        return self._cancelled

    def check_cancelled(self) -> None:
        """Raises if the host no longer wants an answer."""
        if self._cancelled:
            raise Cancelled()

    def progress(
        self,
        done: Optional[float] = None,
        total: Optional[float] = None,
        message: Optional[str] = None,
    ) -> None:
        """Tells how far the work has got, which also shows that it goes on."""
        event: Dict[str, Any] = {"type": "event", "event": "progress", "id": self.id}
        for name, value in (("done", done), ("total", total), ("message", message)):
            if value is not None:
                event[name] = value
        self._worker._send(event)

    def log(self, message: str, level: str = "info") -> None:
        """Tells something to whoever runs the job."""
        self._worker._send(
            {"type": "event", "event": "log", "id": self.id, "level": level, "message": message}
        )


class Worker:
    """A worker: its tasks, and what it says of itself."""

    def __init__(self, name: str, *, version: Optional[str] = None, concurrency: int = 1) -> None:
        if concurrency < 1:
            raise ValueError("concurrency must be at least 1")
        self.name = name
        self.version = version
        self.concurrency = concurrency
        self._handlers: Dict[str, Handler] = {}
        self._declarations: Dict[str, Dict[str, Any]] = {}
        self._prepare: Optional[Callable[[], None]] = None
        # One lock for what threads share: the queue, what runs, and whether there is more to come.
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._waiting: Deque[Dict[str, Any]] = deque()
        self._running: List[Call] = []
        self._ended = False
        self._out_lock = threading.Lock()
        self._out_fd = -1
        self._write_error: Optional[OSError] = None

    def task(
        self,
        handler: Optional[Handler] = None,
        *,
        name: Optional[str] = None,
        hint: Union[str, Dict[str, Any], None] = None,
        cacheable: bool = False,
        description: Optional[str] = None,
    ) -> Any:
        """Adds a task, as ``@worker.task`` or ``@worker.task(hint=..)``."""

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
        """Does something slow, such as loading a model, before the first request comes."""
        self._prepare = preparation
        return preparation

    def run(self) -> None:
        """Takes over stdin and stdout and serves until the host has no more work."""
        in_fd, self._out_fd = _take_stdio()
        self._send(self._hello())
        # The reader is a daemon: a host that neither asks nor ends must not keep a failed worker.
        threading.Thread(target=self._read, args=(in_fd,), name="reader", daemon=True).start()
        if self._prepare is not None:
            self._prepare()
            self._send({"type": "event", "event": "ready"})
        helpers = [threading.Thread(target=self._work) for _ in range(self.concurrency - 1)]
        for helper in helpers:
            helper.start()
        self._work()
        for helper in helpers:
            helper.join()
        if self._write_error is not None:
            raise self._write_error

    def _hello(self) -> Dict[str, Any]:
        capabilities = ["cancel", "progress", "ping", "drain"]
        if self._prepare is not None:
            capabilities.append("ready")
        hello: Dict[str, Any] = {
            "type": "event",
            "event": "hello",
            "protocol": [PROTOCOL],
            "name": self.name,
            "concurrency": self.concurrency,
            "capabilities": capabilities,
            "tasks": self._declarations,
        }
        if self.version is not None:
            hello["version"] = self.version
        return hello

    # What the reader does: it never runs a handler, so pings and cancels are seen at any time.

    def _read(self, fd: int) -> None:
        try:
            for line in _lines(fd):
                self._take(line)
        finally:
            with self._lock:
                self._ended = True
                self._changed.notify_all()

    def _take(self, line: Optional[bytes]) -> None:
        if line is None:
            self._complain(f"a message of more than {MAX_MESSAGE_BYTES} bytes was dropped")
            return
        if not line.strip():
            return
        try:
            message = json.loads(line)
            kind = message["type"]
        except (ValueError, TypeError, KeyError, RecursionError):
            self._complain("not a message: " + repr(line[:200]))
            return
        if kind == "request":
            self._take_request(message)
        elif kind == "event":
            self._take_event(message)

    def _take_request(self, request: Dict[str, Any]) -> None:
        if not isinstance(request.get("id"), (str, int, float)):
            self._complain("a request without an id")
            return
        if not isinstance(request.get("task"), str):
            error = TaskError("malformed", "a request without a task", retryable=False)
            self._reply_error(request["id"], error)
            return
        with self._lock:
            self._waiting.append(request)
            self._changed.notify()

    def _take_event(self, message: Dict[str, Any]) -> None:
        event = message.get("event")
        if event == "ping":
            pong = {"type": "event", "event": "pong", "nonce": message.get("nonce", 0)}
            self._send(pong)
        elif event == "cancel":
            self._cancel(message.get("id"))
        elif event == "drain":
            with self._lock:
                self._ended = True
                self._changed.notify_all()

    def _cancel(self, id: Any) -> None:
        with self._lock:
            for call in self._running:
                if call.id == id:
                    call._cancelled = True
                    return
            for request in self._waiting:
                if request["id"] == id:
                    self._waiting.remove(request)
                    break
            else:
                return
        self._reply_error(id, Cancelled("cancelled before it began"))

    def _complain(self, message: str) -> None:
        self._send({"type": "event", "event": "log", "level": "error", "message": message})

    # What the others do: take a request, do it, answer it.

    def _work(self) -> None:
        while True:
            with self._lock:
                while not self._waiting and not self._ended:
                    self._changed.wait()
                if not self._waiting:
                    return
                call = Call(self, self._waiting.popleft())
                self._running.append(call)
            try:
                self._handle(call)
            finally:
                with self._lock:
                    self._running.remove(call)

    def _handle(self, call: Call) -> None:
        if self.concurrency > 1:
            self._send({"type": "event", "event": "started", "id": call.id})
        handler = self._handlers.get(call.task)
        if handler is None:
            known = ", ".join(sorted(self._handlers))
            message = f"there is no task `{call.task}` here; known: {known}"
            self._reply_error(call.id, TaskError("unknown_task", message, retryable=False))
            return
        try:
            result = handler(call)
            line = _encode({"type": "response", "id": call.id, "result": result})
        except TaskError as error:
            self._reply_error(call.id, error)
        except Exception as error:
            traceback.print_exc()
            message = f"{type(error).__name__}: {error}"
            self._reply_error(call.id, TaskError("exception", message))
        except SystemExit as error:
            # Only the host ends a worker; a library that calls exit() fails its own request.
            self._reply_error(call.id, TaskError("exception", f"the task called exit({error.code})"))
        else:
            if len(line) > MAX_MESSAGE_BYTES:
                message = f"the result has {len(line)} bytes, and no more than {MAX_MESSAGE_BYTES} may be sent"
                error = TaskError("message_too_large", message, retryable=False)
                self._reply_error(call.id, error)
            else:
                self._write(line)

    def _reply_error(self, id: Id, error: TaskError) -> None:
        try:
            self._send({"type": "response", "id": id, "error": error.to_json()})
        except (TypeError, ValueError):
            plain = TaskError(str(error.code), str(error.message) + " (its data is not JSON)")
            self._send({"type": "response", "id": id, "error": plain.to_json()})

    # Every line leaves at once: the next request may take an hour.

    def _send(self, message: Dict[str, Any]) -> None:
        self._write(_encode(message))

    def _write(self, line: bytes) -> None:
        with self._out_lock:
            if self._write_error is not None:
                return
            view = memoryview(line)
            try:
                while view:
                    view = view[os.write(self._out_fd, view) :]
            except OSError as error:
                # The host is gone: nobody will read what comes, and nothing more will be asked.
                self._write_error = error
        if self._write_error is not None:
            with self._lock:
                self._ended = True
                self._waiting.clear()
                self._changed.notify_all()


def _encode(message: Dict[str, Any]) -> bytes:
    # NaN is no JSON, and a lone surrogate no UTF-8: the first is an error, the second is escaped.
    text = json.dumps(message, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.encode("ascii") + b"\n"


def _lines(fd: int) -> Iterator[Optional[bytes]]:
    """Lines without their newline; ``None`` for one that was too long."""
    rest: List[bytes] = []
    length = 0
    while True:
        chunk = os.read(fd, READ_BYTES)
        if not chunk:
            if rest and length <= MAX_MESSAGE_BYTES:
                yield b"".join(rest)
            return
        first, *others = chunk.split(b"\n")
        length += len(first)
        if length <= MAX_MESSAGE_BYTES:
            rest.append(first)
        else:
            rest.clear()
        for other in others:
            yield b"".join(rest) if length <= MAX_MESSAGE_BYTES else None
            rest, length = [other], len(other)


def _take_stdio() -> tuple[int, int]:
    """Moves the conversation to descriptors that no child inherits."""
    sys.stdout.flush()
    # What os.dup makes is not inherited.
    in_fd, out_fd = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    return in_fd, out_fd
