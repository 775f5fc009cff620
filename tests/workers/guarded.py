"""A worker that does all it should not. See src/bin/guarded.rs."""

import ctypes
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "ipc/sdk/python"))
from ratchet_worker import TaskError, Worker  # noqa: E402

worker = Worker("guarded", version="1.0")


@worker.task(cacheable=True)
def echo(call):
    return call.input


@worker.task
def noisy(call):
    print("a print", flush=True)
    libc = ctypes.CDLL(None)
    libc.puts(b"a C library")
    libc.fflush(None)
    subprocess.run(["sh", "-c", "cat; echo a child"], check=True)
    return "quiet"


@worker.task
def talk(call):
    call.progress(1, 2, "half")
    call.log("odd", level="warn")


@worker.task
def fail(call):
    raise TaskError("not_found", "no such file", retryable=False, retry_after=1.5, data="a.png")


@worker.task
def wait(call):
    call.progress(0)
    while True:
        call.check_cancelled()
        time.sleep(0.001)


worker.run()
