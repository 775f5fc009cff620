"""Runs modules of Ansible for ratchet, on the host and as the user that they are to run as. Python 3.8 or later on Unix.

ratchet starts this program through a shell, as ``python3 -c BOOTSTRAP``, and speaks its worker protocol with it: one JSON
object a line, on stdin and stdout. The modules and what they import come from the Ansible of the machine that runs ratchet,
as zip files that are kept here by their hashes (bundles).

- A task runs in a **fork** of this process, in a session of its own. It finds imported what earlier tasks have imported, and
  leaves nothing behind in this process.
- This process imports nothing that a task could install or update: only the standard library, and code of bundles that needs
  nothing else. What is missing is looked for before each fork, so a task finds what an earlier one has installed.
- What a module prints goes to a **file**, never to a pipe. A daemon that a module has started may keep it open for ever.
- When stdin ends, when this process is asked to end, and when a request is cancelled, the whole session of a task is killed.
- A request that has ``become`` is passed on to another process of this program, behind sudo, which is kept. What this
  process must not kill there ends by itself, because its stdin is closed.

There is one thread, which waits in one place for all that can happen, so that forking is safe.
"""

import base64
import codecs
import errno
import fcntl
import gc
import hashlib
import importlib
import importlib.machinery
import importlib.util
import json
import os
import re
import select
import shutil
import signal
import stat
import sys
import tempfile
import time
import types
import zipimport

PROTOCOL = 1
READ_BYTES = 256 * 1024
# How many tasks run at once. Each has two open files.
MAX_TASKS = 200
# How much a module may print.
MAX_OUTPUT_BYTES = 64 * 1024 * 1024
# How long a session has between SIGTERM and SIGKILL.
KILL_AFTER = 0.5
# How long until a session is killed again, of which something was still alive.
KILL_AGAIN_AFTER = 0.02
# How long sudo may take until it has started a process.
BECOME_LIMIT = 60
# How long another process of this program may take to end when its stdin is closed.
END_LIMIT = 1.5
# Bundles that nobody has used for so many seconds are removed.
KEEP_BUNDLES = 30 * 24 * 3600
# A constant of Linux, of prctl(2).
PR_SET_PDEATHSIG = 1
# What sudo prints when it wants a password, and what comes back when it has started a process.
PROMPT = b"ratchet-wants-a-password:"
STARTED = b"ratchet-has-started"

# What cannot be encoded becomes a replacement character: JSON in UTF-8 has no half pairs of surrogates.
codecs.register_error("ratchet_replace", lambda error: (b"\xef\xbf\xbd" * (error.end - error.start), error.end))


class RequestError(Exception):
    """The reason why a request failed."""

    def __init__(self, code, message, data=None):
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data


def encode(message):
    """Encodes a message as one line."""
    try:
        text = json.dumps(message, ensure_ascii=False, allow_nan=False)
    except ValueError:
        text = None
    if text is None or LONG_NUMBER.search(text):
        text = json.dumps(with_plain_numbers(message), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "ratchet_replace") + b"\n"


# What may be a whole number of more than 64 bits.
LONG_NUMBER = re.compile("[0-9]{19}")


def with_plain_numbers(value):
    """Replaces numbers by their text if JSON does not have them, or if they have more than 64 bits, which others round."""
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return str(value)
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 64:
        return str(value)
    if isinstance(value, dict):
        return {key: with_plain_numbers(member) for key, member in value.items()}
    if isinstance(value, list):
        return [with_plain_numbers(member) for member in value]
    return value


def is_own_folder(path):
    """Whether a folder is this user's, and nobody else can read or write it."""
    try:
        found = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077


class Folders:
    """The folders of this process: one for bundles, which stays, and one for files of tasks, which is removed."""

    def __init__(self):
        self._bundles = None
        self._work = None

    def bundles(self):
        if self._bundles is None:
            home = os.path.expanduser("~")
            cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(home, ".cache")
            path = os.path.join(cache, "ratchet", "ansible")
            try:
                os.makedirs(path, mode=0o700, exist_ok=True)
            except OSError:
                pass
            if is_own_folder(path) and os.access(path, os.W_OK):
                self._bundles = path
                remove_unused(path)
            else:
                # Nobody else may be able to change what is run from there.
                self._bundles = self.work()
        return self._bundles

    def work(self):
        if self._work is None or not os.path.isdir(self._work):
            parent = os.path.join(os.path.expanduser("~"), ".ansible", "tmp")
            try:
                os.makedirs(parent, mode=0o700, exist_ok=True)
                self._work = tempfile.mkdtemp(prefix="ratchet-", dir=parent)
            except OSError:
                self._work = tempfile.mkdtemp(prefix="ratchet-")
        return self._work

    def remove(self):
        if self._work is not None:
            shutil.rmtree(self._work, ignore_errors=True)


def remove_unused(folder):
    """Removes bundles that were not used for long, and what is left of broken transfers."""
    oldest = time.time() - KEEP_BUNDLES
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_file(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_mtime < oldest:
                    os.unlink(entry.path)
    except OSError:
        pass


class Bundles:
    """The bundles that this host has, by their hashes."""

    def __init__(self, folders):
        self.folders = folders
        # The paths of the bundles whose content was found to be right.
        self.checked = {}
        # The files of bundles that are being sent.
        self.partial = {}

    def path(self, digest):
        """The path of a bundle, or nothing if it is not there or is damaged."""
        path = self.checked.get(digest)
        if path is None:
            path = os.path.join(self.folders.bundles(), digest)
            try:
                with open(path, "rb") as file:
                    content = file.read()
                if hashlib.sha256(content).hexdigest() != digest:
                    os.unlink(path)
                    return None
                os.utime(path)
            except OSError:
                return None
            self.checked[digest] = path
        return path

    def store(self, digest, offset, data, is_last):
        """Takes a part of a bundle. With the last one, the content has to be that of the hash."""
        if len(digest) != 64 or not all(char in "0123456789abcdef" for char in digest):
            raise RequestError("bundle", "this is no hash of a bundle: %s" % digest)
        if offset == 0:
            if digest in self.partial:
                # Whoever sent it has gone away.
                file, path, _ = self.partial.pop(digest)
                file.close()
                os.unlink(path)
            descriptor, path = tempfile.mkstemp(prefix="partial-", dir=self.folders.bundles())
            self.partial[digest] = (os.fdopen(descriptor, "wb"), path, hashlib.sha256())
        if digest not in self.partial:
            raise RequestError("bundle", "the beginning of bundle %s is missing" % digest)
        file, path, hasher = self.partial[digest]
        try:
            if file.tell() != offset:
                raise RequestError("bundle", "a part of bundle %s is missing" % digest)
            file.write(data)
            hasher.update(data)
            if not is_last:
                return
            file.flush()
            if hasher.hexdigest() != digest:
                raise RequestError("bundle", "what was sent as bundle %s has the hash %s" % (digest, hasher.hexdigest()))
            final = os.path.join(self.folders.bundles(), digest)
            os.rename(path, final)
            self.checked[digest] = final
        except BaseException:
            try:
                os.unlink(path)
            except OSError:
                pass
            is_last = True
            raise
        finally:
            if is_last:
                del self.partial[digest]
                file.close()


class Recorder:
    """Finds no module, and takes note of the names that are looked for."""

    def __init__(self):
        self.names = []

    def find_spec(self, name, path=None, target=None):
        self.names.append(name)
        return None


STANDARD_LIBRARY = os.path.join(os.path.dirname(os.path.realpath(os.__file__)), "")


def is_standard(module):
    """Whether a module is a part of Python."""
    spec = getattr(module, "__spec__", None)
    origin = getattr(spec, "origin", None)
    if origin in ("built-in", "frozen"):
        return True
    path = getattr(module, "__file__", None)
    if not path:
        return False
    path = os.path.realpath(path)
    return path.startswith(STANDARD_LIBRARY) and "/site-packages/" not in path and "/dist-packages/" not in path


def is_of_bundle(name):
    return name.partition(".")[0] in ("ansible", "ansible_collections")


class Imports:
    """What this process has imported so that its forks need not."""

    def __init__(self):
        # The modules whose imports are known, by bundles and name.
        self.known = set()
        # Names that modules of bundles looked for in vain. While one of them is not there, what was imported is right.
        self.missing = set()
        # Names of modules of bundles that were imported for tasks, in the order of import.
        self.loaded = []
        self.core = None

    def add_path(self, path):
        """Makes modules of a bundle known to imports."""
        if path not in sys.path:
            sys.path.insert(0, path)

    def prepare(self, core):
        """Imports what each Python module of Ansible imports."""
        self.add_path(core)
        if self.core == core:
            return
        try:
            importlib.import_module("ansible.module_utils.basic")
        except Exception as error:
            raise RequestError("ansible", "the modules of this Ansible cannot be used with Python %s (%s): %s: %s" % (
                sys.version.split()[0], sys.executable, type(error).__name__, error))
        self.core = core
        gc.collect()
        gc.freeze()

    def refresh(self):
        """Forgets what was imported if something is there now that was missing."""
        if not any(is_there(name) for name in self.missing):
            return
        for name in self.loaded:
            sys.modules.pop(name, None)
            parent, _, child = name.rpartition(".")
            if parent in sys.modules:
                vars(sys.modules[parent]).pop(child, None)
        self.known.clear()
        self.missing.clear()
        self.loaded.clear()

    def report(self, recorder):
        """Says, in a fork, what a task has imported."""
        standard, bundled, missing, is_foreign = [], [], [], False
        for name in recorder.names:
            module = sys.modules.get(name)
            if is_of_bundle(name):
                if module is not None:
                    bundled.append(name)
            elif module is None:
                if "." not in name:
                    missing.append(name)
            elif is_standard(module):
                standard.append(name)
            else:
                is_foreign = True
        return {"standard": standard, "bundled": bundled, "missing": missing, "is_foreign": is_foreign}

    def learn(self, key, report):
        """Imports what a task has imported, except what tasks could change."""
        self.known.add(key)
        names = list(report["standard"])
        if not report["is_foreign"]:
            names += report["bundled"]
            self.missing.update(report["missing"])
        for name in names:
            if name in sys.modules:
                continue
            before = set(sys.modules)
            try:
                importlib.import_module(name)
            except BaseException:
                # The task will say so itself.
                pass
            self.loaded += [name for name in sys.modules if name not in before and is_of_bundle(name)]
        gc.collect()
        gc.freeze()


def look_again():
    """Has imports look into folders again that they know. Bundles do not change, and take long to be read."""
    for path, finder in list(sys.path_importer_cache.items()):
        if finder is None:
            del sys.path_importer_cache[path]
        elif isinstance(finder, importlib.machinery.FileFinder):
            finder.invalidate_caches()


def is_there(name):
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def open_output():
    """A file without a name. It is in memory where that is possible, so a full disk does not lose results."""
    if hasattr(os, "memfd_create"):
        try:
            return os.memfd_create("ratchet")
        except OSError:
            pass
    file = tempfile.TemporaryFile()
    descriptor = os.dup(file.fileno())
    file.close()
    return descriptor


def read_output(descriptor):
    """All that was written to a file, as bytes, and whether that was too much."""
    size = os.fstat(descriptor).st_size
    parts, offset = [], 0
    while offset < min(size, MAX_OUTPUT_BYTES):
        part = os.pread(descriptor, min(size, MAX_OUTPUT_BYTES) - offset, offset)
        if not part:
            break
        parts.append(part)
        offset += len(part)
    return b"".join(parts), size > MAX_OUTPUT_BYTES


def kill_session(session, number):
    """Sends a signal to all processes of a session. Returns whether /proc showed any alive that it may signal."""
    found = False
    try:
        names = os.listdir("/proc")
    except OSError:
        names = []
    for name in names:
        if not name.isdigit():
            continue
        try:
            with open("/proc/%s/stat" % name, "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
            if int(fields[3]) != session or fields[0] in (b"Z", b"X"):
                continue
        except (OSError, ValueError, IndexError):
            continue
        try:
            os.kill(int(name), number)
            found = True
        except OSError:
            # It has just ended, or belongs to another user and cannot be signalled.
            pass
    try:
        os.killpg(session, number)
    except OSError:
        pass
    return found


class Task:
    """A module that runs in a fork."""

    def __init__(self, request_id, key):
        self.request_id = request_id
        self.key = key
        self.pid = None
        self.stdout = open_output()
        self.stderr = open_output()
        # The file of what the task has imported, if that is not known yet.
        self.report = None
        # What is known of imports belongs to this.
        self.import_key = None
        # A folder that is removed when the task has ended.
        self.folder = None
        # Whether the result of a module that fails says why it is none, as it does from ansible-core 2.19 on.
        self.tells_reason = True
        self.is_cancelled = False
        # When the session is killed that was asked to end.
        self.kill_at = None
        # The exit status, once the task has ended.
        self.status = None

    def cancel(self):
        if not self.is_cancelled:
            self.is_cancelled = True
            kill_session(self.pid, signal.SIGTERM)
            kill_session(self.pid, signal.SIGCONT)
            self.kill_at = time.monotonic() + KILL_AFTER

    def close(self):
        for descriptor in (self.stdout, self.stderr, self.report):
            if descriptor is not None:
                os.close(descriptor)
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)


class Relay:
    """Another process of this program, which runs as another user."""

    def __init__(self, become):
        self.user = become["user"]
        self.password = become.get("password")
        flags = [flag for flag in become.get("flags", ["-H"]) if flag not in ("-n", "-S", "--stdin", "--non-interactive")]
        command = [become.get("exe") or "sudo"] + flags
        command += ["-n"] if self.password is None else ["-S", "-p", PROMPT.decode()]
        # It is sent the rest by stdin: whatever sudo takes from there comes before.
        stage = (
            "import sys;sys.path[:]=[p for p in sys.path if p];import base64,zlib;"
            'sys.stdout.write("\\n%s\\n");sys.stdout.flush();S=sys.stdin.buffer.raw.readline().strip().decode();'
            'exec(compile(zlib.decompress(base64.b64decode(S)),"ratchet_ansible.py","exec"),'
            '{"__name__":"__main__","SOURCE":S})' % STARTED.decode()
        )
        command += ["-u", self.user, "--", sys.executable, "-u", "-c", stage]
        child_in, self.stdin = os.pipe()
        self.stdout, child_out = os.pipe()
        self.stderr, child_err = os.pipe()
        for descriptor in (self.stdin, self.stdout, self.stderr):
            fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) | os.O_NONBLOCK)
        try:
            self.pid = os.fork()
        except OSError as error:
            for descriptor in (child_in, self.stdin, self.stdout, child_out, self.stderr, child_err):
                os.close(descriptor)
            raise RequestError("fork", "no process can be started for sudo: %s" % error)
        if self.pid == 0:
            try:
                os.setsid()
                default_signals()
                for target, descriptor in enumerate((child_in, child_out, child_err)):
                    os.dup2(descriptor, target)
                os.execvp(command[0], command)
            except OSError as error:
                os.write(2, ("%s: %s\n" % (command[0], error.strerror)).encode())
            finally:
                os._exit(127)
        for descriptor in (child_in, child_out, child_err):
            os.close(descriptor)
        self.incoming = bytearray()
        self.said = bytearray()
        self.outgoing = bytearray()
        # Requests that wait until it has said hello.
        self.waiting = []
        # The ids of the requests that it has not answered.
        self.open = {}
        self.is_started = False
        self.is_ready = False
        self.prompts = 0
        self.start_by = time.monotonic() + BECOME_LIMIT

    def descriptors(self):
        return [descriptor for descriptor in (self.stdin, self.stdout, self.stderr) if descriptor is not None]

    def send(self, message):
        line = encode(message)
        if self.is_ready:
            self.outgoing += line
            self.flush()
        else:
            self.waiting.append((message.get("id"), line))

    def take_back(self, request_id):
        """Forgets a request that was not sent yet. Returns whether it was there."""
        left = [waiting for waiting in self.waiting if waiting[0] != request_id]
        was_there = len(left) < len(self.waiting)
        self.waiting = left
        if was_there:
            del self.open[request_id]
        return was_there

    def flush(self):
        while self.outgoing and self.stdin is not None:
            try:
                written = os.write(self.stdin, bytes(self.outgoing[: 1 << 16]))
            except BlockingIOError:
                return
            except OSError:
                # Its stdout ends as well, which is where its end is noticed.
                self.outgoing.clear()
                return
            del self.outgoing[:written]

    def listen(self):
        """Takes in what sudo and what is behind it print to stderr."""
        try:
            data = os.read(self.stderr, READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            os.close(self.stderr)
            self.stderr = None
            return
        self.said += data
        if not self.is_started and self.password is not None:
            while self.said.count(PROMPT) > self.prompts:
                self.prompts += 1
                if self.prompts == 1:
                    self.outgoing += self.password.encode() + b"\n"
                    self.flush()
                else:
                    # sudo refuses the password. Without further input it gives up.
                    self.close_stdin()
        elif self.is_started:
            os.write(2, data)
        del self.said[: -8 * 1024]

    def close_stdin(self):
        if self.stdin is not None:
            os.close(self.stdin)
            self.stdin = None

    def failure(self):
        """Why there is no process behind sudo."""
        said = bytes(self.said).replace(PROMPT, b"").decode("utf-8", "replace").strip()
        if self.prompts > 1:
            return "Incorrect sudo password"
        if self.password is None and "password is required" in said:
            return "Missing sudo password"
        return said or "sudo ended without a word"


def default_signals():
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)


class Worker:
    """Answers the requests of ratchet, until stdin ends."""

    def __init__(self):
        self.pid = os.getpid()
        # Neither forks nor their programs keep these: a daemon that did would keep the connection open.
        self.input = fcntl.fcntl(0, fcntl.F_DUPFD_CLOEXEC, 3)
        self.output = fcntl.fcntl(1, fcntl.F_DUPFD_CLOEXEC, 3)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
        os.dup2(2, 1)
        self.folders = Folders()
        self.bundles = Bundles(self.folders)
        self.imports = Imports()
        self.codes = {}
        self.tasks = {}
        # Requests for which there is no room yet.
        self.queue = []
        self.relays = {}
        # Requests that are answered when others have ended.
        self.settling = []
        self.incoming = bytearray()
        self.is_ending = False
        self.library = None
        self.wake, self.wake_write = os.pipe()
        for descriptor in (self.wake, self.wake_write):
            fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) | os.O_NONBLOCK)
        signal.set_wakeup_fd(self.wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, self.asked_to_end)

    def asked_to_end(self, number, frame):
        self.is_ending = True

    # The conversation

    def run(self):
        # A login may have printed a line without an end.
        self.write(b"\n")
        self.send({
            "type": "event", "event": "hello", "protocol": [PROTOCOL], "name": "ansible",
            "version": sys.version.split()[0], "concurrency": MAX_TASKS, "capabilities": ["cancel", "ping"],
        })
        # Only now, since it takes a while.
        self.library = system_library()
        while not self.is_ending:
            self.wait()
        self.end()

    def write(self, data):
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self.output, view):]
            except BlockingIOError:
                # Whoever shares the pipe has made it so.
                select.select([], [self.output], [])
            except OSError:
                self.is_ending = True
                return

    def send(self, message):
        self.write(encode(message))

    def answer(self, request_id, result):
        self.send({"type": "response", "id": request_id, "result": result})

    def refuse(self, request_id, error):
        body = {"code": error.code, "message": error.message, "retryable": False}
        if error.data is not None:
            body["data"] = error.data
        self.send({"type": "response", "id": request_id, "error": body})

    def wait(self, timeout=None):
        """Waits until something happens, and handles it."""
        now = time.monotonic()
        times = [task.kill_at for task in self.tasks.values() if task.kill_at is not None]
        times += [relay.start_by for relay in self.relays.values() if not relay.is_ready]
        if times:
            soonest = max(0, min(times) - now)
            timeout = soonest if timeout is None else min(timeout, soonest)
        poll = select.poll()
        watched = {}
        for descriptor in ([] if self.is_ending else [self.input]) + [self.wake]:
            poll.register(descriptor, select.POLLIN)
        for relay in self.relays.values():
            for descriptor in (relay.stdout, relay.stderr):
                if descriptor is not None:
                    watched[descriptor] = relay
                    poll.register(descriptor, select.POLLIN)
            if relay.outgoing and relay.stdin is not None:
                watched[relay.stdin] = relay
                poll.register(relay.stdin, select.POLLOUT)
        ready = poll.poll(None if timeout is None else int(timeout * 1000) + 1)
        for descriptor, _ in ready:
            if descriptor == self.wake:
                self.drain_wake()
                self.reap()
            elif descriptor == self.input:
                self.read_requests()
            else:
                self.relay_is_ready(watched[descriptor], descriptor)
        now = time.monotonic()
        due = [task for task in self.tasks.values() if task.kill_at is not None and now >= task.kill_at]
        for task in due:
            # What it forks meanwhile is killed the next time.
            kill_session(task.pid, signal.SIGKILL)
            task.kill_at = now + KILL_AGAIN_AFTER
        if due:
            self.reap()
        for relay in list(self.relays.values()):
            if not relay.is_ready and now >= relay.start_by:
                self.relay_ended(relay, "sudo did not start a process within %d seconds" % BECOME_LIMIT)
        while self.queue and len(self.tasks) < MAX_TASKS and not self.is_ending:
            self.handle(self.queue.pop(0))
        self.settle()

    def drain_wake(self):
        try:
            while os.read(self.wake, 4096):
                pass
        except BlockingIOError:
            pass

    def read_requests(self):
        try:
            data = os.read(self.input, READ_BYTES)
        except OSError:
            data = b""
        if not data:
            self.is_ending = True
            return
        start = len(self.incoming)
        self.incoming += data
        if self.incoming.find(b"\n", start) < 0:
            return
        *lines, rest = bytes(self.incoming).split(b"\n")
        self.incoming = bytearray(rest)
        for line in lines:
            try:
                message = json.loads(line)
                kind = message["type"]
            except (ValueError, KeyError, TypeError):
                continue
            if kind == "request":
                self.handle(message)
            elif message.get("event") == "ping":
                self.send({"type": "event", "event": "pong", "nonce": message.get("nonce")})
            elif message.get("event") == "cancel":
                self.cancel(message.get("id"))

    def handle(self, request):
        request_id = request["id"]
        handlers = {
            "module": self.module, "bundle": self.bundle, "put": self.put, "get": self.get, "remove": self.remove,
            "settled": self.wait_for_end,
        }
        try:
            body = request.get("input") or {}
            become = body.pop("become", None)
            if become is not None:
                return self.pass_on(request, become)
            handler = handlers.get(request["task"])
            if handler is None:
                raise RequestError("task", "there is no task `%s`" % request["task"])
            handler(request, body)
        except RequestError as error:
            self.refuse(request_id, error)
        except OSError as error:
            name = error.filename
            message = error.strerror or str(error)
            if isinstance(name, bytes):
                name = name.decode("utf-8", "replace")
            code = errno.errorcode.get(error.errno, "EIO")
            self.refuse(request_id, RequestError(code, "%s: %s" % (name, message) if name else message))
        except Exception as error:
            self.refuse(request_id, RequestError("bug", "%s: %s" % (type(error).__name__, error)))

    def cancel(self, request_id):
        for request in self.queue:
            if request["id"] == request_id:
                self.queue.remove(request)
                return self.refuse(request_id, RequestError("cancelled", "cancelled before it began"))
        for task in self.tasks.values():
            if task.request_id == request_id:
                return task.cancel()
        for relay in self.relays.values():
            if request_id in relay.open:
                if relay.take_back(request_id):
                    return self.refuse(request_id, RequestError("cancelled", "cancelled before it began"))
                return relay.send({"type": "event", "event": "cancel", "id": request_id})

    def settle(self):
        keys = {task.key for task in self.tasks.values()}
        keys.update(request.get("key") for request in self.queue)
        for relay in self.relays.values():
            keys.update(relay.open.values())
        for waiting in list(self.settling):
            if waiting[1] not in keys:
                self.settling.remove(waiting)
                self.answer(waiting[0], None)

    def wait_for_end(self, request, body):
        """Answers when no request with this key is left."""
        self.settling.append((request["id"], body["key"]))

    # Files

    def bundle(self, request, body):
        data = base64.b64decode(body["data"])
        self.bundles.store(body["hash"], body["offset"], data, body["is_last"])
        self.answer(request["id"], None)

    def put(self, request, body):
        """Takes a part of a file. The first part makes the file, in a folder of its own so that it keeps its name, and each
        answer has its path."""
        data = base64.b64decode(body["data"])
        path = body.get("path")
        flags = os.O_WRONLY | os.O_NOFOLLOW
        if path is None:
            folder = tempfile.mkdtemp(prefix="file-", dir=self.folders.work())
            path = os.path.join(folder, os.path.basename(body["name"]) or "file")
            flags |= os.O_CREAT | os.O_EXCL
        else:
            self.check_sent(path)
        descriptor = os.open(path, flags, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.seek(body["offset"])
            file.write(data)
        self.answer(request["id"], {"path": path})

    def get(self, request, body):
        """Gives a part of a file, and what tells whether the file is the same as before."""
        path = os.path.expanduser(body["path"])
        with open(path, "rb") as file:
            found = os.fstat(file.fileno())
            if stat.S_ISDIR(found.st_mode):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
            file.seek(body["offset"])
            data = file.read(body["length"])
        self.answer(request["id"], {
            "data": base64.b64encode(data).decode(),
            "is_last": len(data) < body["length"],
            "mode": stat.S_IMODE(found.st_mode),
            "stamp": [found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns],
        })

    def remove(self, request, body):
        """Removes a file that `put` has made."""
        path = body["path"]
        folder = self.check_sent(path)
        # A module may have moved it to where it belongs, and may have put other files beside it.
        shutil.rmtree(folder, ignore_errors=True)
        if os.path.lexists(folder):
            os.rmdir(folder)
        self.answer(request["id"], None)

    def check_sent(self, path):
        """The folder of a file that `put` has made. Any other path is refused."""
        folder = os.path.dirname(path)
        if os.path.dirname(folder) != self.folders.work() or not os.path.basename(folder).startswith("file-"):
            raise RequestError("path", "%s is no file that was sent" % path)
        return folder

    # Modules

    def module(self, request, body):
        if len(self.tasks) >= MAX_TASKS:
            self.queue.append(request)
            return
        lacking = [digest for digest in body["bundles"] if self.bundles.path(digest) is None]
        if lacking:
            raise RequestError("lacking", "bundles are missing", {"bundles": lacking})
        paths = [self.bundles.path(digest) for digest in body["bundles"]]
        kind = body["kind"]
        is_python = kind == "python"
        if is_python:
            self.imports.refresh()
            self.imports.prepare(paths[0])
            for path in paths[1:]:
                if not body.get("is_overlay"):
                    self.imports.add_path(path)
            self.code(paths[-1], body["name"])
        elif kind == "own":
            self.own(paths[0])
        task = Task(request["id"], request.get("key"))
        task.tells_reason = not is_python or hasattr(sys.modules["ansible.module_utils.basic"], "_ANSIBLE_PROFILE")
        try:
            if is_python:
                task.import_key = (tuple(paths), body["name"])
                if task.import_key not in self.imports.known and not body.get("is_overlay"):
                    task.report = open_output()
            elif kind != "own":
                task.folder = tempfile.mkdtemp(prefix="module-", dir=self.folders.work())
            sys.stdout.flush()
            sys.stderr.flush()
            task.pid = os.fork()
        except OSError as error:
            task.close()
            raise RequestError("fork", "no process can be started for the module: %s" % error)
        if task.pid == 0:
            run_fork(self, task, body, paths)
        self.tasks[task.pid] = task
        self.send({"type": "event", "event": "started", "id": request["id"]})

    def code(self, path, name):
        """The code of a module, which is compiled once."""
        key = (path, name)
        if key not in self.codes:
            try:
                loader = zipimport.zipimporter(path)
                code = loader.get_code(name.replace(".", "/"))
                file = loader.get_filename(name.replace(".", "/"))
                source = loader.get_data(name.replace(".", "/") + ".py")
            except zipimport.ZipImportError as error:
                raise RequestError("bundle", "the module is not in its bundle: %s" % error)
            except SyntaxError as error:
                raise RequestError("syntax", "%s, line %s: %s" % (error.filename, error.lineno, error.msg))
            self.codes[key] = (code, file, loader, b"respawn_module" in source)
        return self.codes[key]

    def own(self, path):
        """The modules that ratchet has for hosts of users without Ansible."""
        if path not in self.codes:
            main = types.ModuleType("ratchet_modules")
            exec(zipimport.zipimporter(path).get_code("ratchet_modules"), main.__dict__)
            self.codes[path] = main
            gc.collect()
            gc.freeze()
        return self.codes[path]

    def reap(self):
        """Answers the requests whose tasks have ended."""
        for pid in list(self.tasks):
            task = self.tasks[pid]
            if task.status is None:
                # The process is reaped once its session is killed: until then its number, which is that of the session,
                # is given to no other process.
                if hasattr(os, "waitid"):
                    if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                        continue
                    # A killed process is alive for a moment, and what was forked meanwhile was not killed yet. The
                    # request is answered when a look finds nothing alive.
                    if task.is_cancelled and kill_session(pid, signal.SIGKILL):
                        task.kill_at = time.monotonic() + KILL_AGAIN_AFTER
                        continue
                ended, task.status = os.waitpid(pid, os.WNOHANG)
                if ended == 0:
                    task.status = None
                    continue
            del self.tasks[pid]
            self.finish(task)
        for relay in list(self.relays.values()):
            if relay.pid is not None:
                try:
                    pid, _ = os.waitpid(relay.pid, os.WNOHANG)
                except ChildProcessError:
                    pid = relay.pid
                if pid:
                    relay.pid = None
                    # What it printed last may still lie in the pipe, which something that it has started may keep open.
                    while relay.stdout is not None:
                        self.read_relay(relay)

    def finish(self, task):
        report = None
        try:
            if task.is_cancelled:
                return self.refuse(task.request_id, RequestError("cancelled", "cancelled, and its session was killed"))
            stdout, is_too_much = read_output(task.stdout)
            stderr, _ = read_output(task.stderr)
            code = task.status >> 8 if task.status & 0x7F == 0 else -(task.status & 0x7F)
            if task.report is not None:
                report = read_output(task.report)[0]
        finally:
            task.close()
        self.answer(task.request_id, module_result(code, stdout, stderr, is_too_much, task.tells_reason))
        if report and task.import_key not in self.imports.known:
            try:
                report = json.loads(report)
            except ValueError:
                # The task was killed while it wrote it. The next one tells again.
                return
            self.imports.learn(task.import_key, report)

    # Other users

    def pass_on(self, request, become):
        key = (become["user"], become.get("exe"), tuple(become.get("flags", ["-H"])))
        relay = self.relays.get(key)
        if relay is None:
            relay = self.relays[key] = Relay(become)
            relay.key = key
        relay.open[request["id"]] = request.get("key")
        relay.send(request)

    def relay_is_ready(self, relay, descriptor):
        if descriptor == relay.stdin:
            relay.flush()
        elif descriptor == relay.stderr:
            relay.listen()
        elif descriptor == relay.stdout:
            self.read_relay(relay)

    def read_relay(self, relay):
        if relay.stdout is None:
            return
        try:
            data = os.read(relay.stdout, READ_BYTES)
        except BlockingIOError:
            if relay.pid is None:
                self.relay_ended(relay, None)
            return
        except OSError:
            data = b""
        if not data:
            return self.relay_ended(relay, None)
        start = len(relay.incoming)
        relay.incoming += data
        if relay.incoming.find(b"\n", start) < 0:
            return
        *lines, rest = bytes(relay.incoming).split(b"\n")
        relay.incoming = bytearray(rest)
        for line in lines:
            self.relay_line(relay, line)

    def relay_line(self, relay, line):
        if not relay.is_started:
            if line.strip() == STARTED:
                relay.is_started = True
                relay.outgoing += SOURCE.encode() + b"\n"
                relay.flush()
            return
        if not line.startswith(b'{"type"'):
            return
        try:
            message = json.loads(line)
        except ValueError:
            return
        if not relay.is_ready:
            if message.get("event") == "hello":
                relay.is_ready = True
                relay.password = None
                for _, waiting in relay.waiting:
                    relay.outgoing += waiting
                relay.waiting = []
                relay.flush()
            return
        if message["type"] == "response":
            relay.open.pop(message["id"], None)
        self.write(line + b"\n")

    def relay_ended(self, relay, reason):
        """Answers what a process behind sudo has left open."""
        while relay.stderr is not None and not relay.is_ready:
            before = len(relay.said)
            relay.listen()
            if relay.stderr is not None and len(relay.said) == before:
                break
        relay.close_stdin()
        for descriptor in relay.descriptors():
            os.close(descriptor)
        relay.stdout = relay.stderr = None
        if self.relays.get(relay.key) is relay:
            del self.relays[relay.key]
        if relay.pid is not None:
            try:
                os.killpg(relay.pid, signal.SIGTERM)
            except OSError:
                # This user must not. It ends because its stdin is closed.
                pass
        for request_id in relay.open:
            if relay.is_ready:
                error = RequestError("lost", "the process behind sudo (user %s) has ended before it answered" % relay.user)
            else:
                error = RequestError("become", reason or relay.failure())
            self.refuse(request_id, error)

    # The end

    def end(self):
        """Kills what runs, and waits a moment for processes that only end by themselves."""
        self.is_ending = True
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        # Nobody reads answers any more.
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self.output)
        for task in self.tasks.values():
            task.cancel()
        for relay in self.relays.values():
            relay.close_stdin()
        deadline = time.monotonic() + END_LIMIT
        while (self.tasks or self.relays) and time.monotonic() < deadline:
            self.wait(0.05)
        for pid in self.tasks:
            kill_session(pid, signal.SIGKILL)
        self.folders.remove()


def module_result(code, stdout, stderr, is_too_much, tells_reason):
    """What a module has printed, as its result."""
    text = stdout.decode("utf-8", "replace")
    errors = stderr.decode("utf-8", "replace")
    if is_too_much:
        return {
            "failed": True, "rc": code, "module_stdout": text[:4096], "module_stderr": errors[:4096],
            "msg": "MODULE FAILURE: the module printed more than %d bytes" % MAX_OUTPUT_BYTES,
        }
    result, reason = first_json(text)
    if result is None:
        failure = {"failed": True, "module_stdout": text, "module_stderr": errors, "rc": code}
        if code < 0:
            reason = "it was killed by signal %d" % -code
        reason = ": " + reason if tells_reason or code < 0 else ""
        failure["msg"] = "MODULE FAILURE%s\nSee stdout/stderr for the exact error" % reason
        if errors.startswith("Traceback"):
            failure["exception"] = errors
        return failure
    return result


def first_json(text):
    """The object that a module has printed, which text may surround; or nothing, and why."""
    lines = text.splitlines()
    for index, line in enumerate(lines):
        if line.strip().startswith("{"):
            break
    else:
        return None, "No start of json char found"
    lines = lines[index:]
    while lines and not lines[-1].strip().endswith("}"):
        lines.pop()
    try:
        result = json.loads("\n".join(lines))
    except ValueError as error:
        return None, "what was printed is no JSON (%s)" % error
    if not isinstance(result, dict):
        return None, "what was printed is no JSON object"
    return result, None


# In the fork


def run_fork(worker, task, body, paths):
    """Runs a module in a fork, and ends the fork."""
    code = 1
    try:
        os.setsid()
        default_signals()
        end_with_parent(worker)
        os.dup2(task.stdout, 1)
        os.dup2(task.stderr, 2)
        for descriptor in fork_descriptors(worker, task):
            os.close(descriptor)
        gc.enable()
        for name, value in body["environment"]:
            os.environ[name] = value
        for path in reversed([path for name, path in body["environment"] if name == "PYTHONPATH"]):
            sys.path[:0] = [part for part in path.split(":") if part]
        kind = body["kind"]
        if kind == "python":
            recorder = Recorder()
            if task.report is not None:
                sys.meta_path.insert(0, recorder)
            code = run_python(worker, body, paths)
            if task.report is not None:
                report = json.dumps(worker.imports.report(recorder)).encode()
                os.write(task.report, report)
        elif kind == "own":
            code = run_own(worker, body, paths[0])
        else:
            run_program(task, body, paths[0])
    except SystemExit as ended:
        code = exit_code(ended)
    except BaseException:
        import traceback
        traceback.print_exc()
    finally:
        leave(code)


def end_with_parent(worker):
    """Has the system kill this fork when the worker dies without having ended it."""
    if worker.library is not None:
        parent = worker.pid
        worker.library.prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)


def fork_descriptors(worker, task):
    """What the fork has of the worker, and must not keep: a daemon would keep it open."""
    yield from (worker.input, worker.output, worker.wake, worker.wake_write, task.stdout, task.stderr)
    for other in worker.tasks.values():
        yield from (other.stdout, other.stderr)
        if other.report is not None:
            yield other.report
    for relay in worker.relays.values():
        yield from relay.descriptors()
    for file, _, _ in worker.bundles.partial.values():
        yield file.fileno()


def exit_code(ended):
    """The exit code for which a program has raised SystemExit."""
    if ended.code is None:
        return 0
    if isinstance(ended.code, int):
        return ended.code & 0xFF
    sys.stderr.write("%s\n" % (ended.code,))
    return 1


def leave(code):
    """Ends the fork as Python ends a program, without what belongs to the parent."""
    try:
        import atexit
        import threading
        threading._shutdown()
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        pass
    finally:
        os._exit(code)


def run_python(worker, body, paths):
    """Runs a module as a program of its own would."""
    name = body["name"]
    code, file, loader, respawns = worker.code(paths[-1], name)
    if body.get("is_overlay"):
        overlay(paths[-1])
    from ansible.module_utils import basic
    known = {"_ansible_" + name for name in basic.PASS_VARS}
    arguments = {key: value for key, value in body["arguments"].items()
                 if not key.startswith("_ansible_") or key in known}
    basic._ANSIBLE_ARGS = json.dumps({"ANSIBLE_MODULE_ARGS": arguments}).encode()
    if hasattr(basic, "_ANSIBLE_PROFILE"):
        basic._ANSIBLE_PROFILE = "legacy"
    if respawns:
        # A module may start itself again under another Python, which has to find the same code.
        others = [path for path in paths if path != paths[-1]] + [os.environ.get("PYTHONPATH", "")]
        os.environ["PYTHONPATH"] = ":".join(other for other in others if other)
    main = types.ModuleType("__main__")
    main.__file__ = file
    main.__loader__ = loader
    main.__package__ = name.rpartition(".")[0]
    main.__spec__ = importlib.machinery.ModuleSpec(name, loader, origin=file)
    main._module_fqn = name
    main._modlib_path = paths[-1]
    sys.modules["__main__"] = main
    sys.argv = [file]
    look_again()
    try:
        exec(code, main.__dict__)
    except SystemExit as ended:
        return exit_code(ended)
    except BaseException:
        kind, value, trace = sys.exc_info()
        if hasattr(basic, "_ANSIBLE_PROFILE") and sys.excepthook is sys.__excepthook__ and isinstance(value, Exception):
            # From ansible-core 2.19 on, whatever calls a module turns its exceptions into results.
            import traceback
            text = "".join(traceback.format_exception(kind, value, trace.tb_next or trace))
            sys.stdout.write(json.dumps({"failed": True, "msg": "Task failed: Module failed: %s" % value, "exception": text}))
            return 1
        # A module may have set a hook that turns the exception into a result.
        try:
            sys.excepthook(kind, value, trace.tb_next or trace)
        except SystemExit as ended:
            return exit_code(ended)
        return 1
    return 0


def overlay(path):
    """Puts the module utilities of a folder before those of Ansible."""
    import zipfile
    prefix = "ansible/module_utils/"
    import ansible.module_utils
    with zipfile.ZipFile(path) as bundle:
        files = bundle.namelist()
    ansible.module_utils.__path__.insert(0, os.path.join(path, "ansible", "module_utils"))
    for file in files:
        if file.startswith(prefix) and file.endswith(".py"):
            name = file[:-3].replace("/", ".")
            if name.endswith(".__init__"):
                name = name[:-9]
            sys.modules.pop(name, None)
            parent, _, child = name.rpartition(".")
            if parent in sys.modules and name != "ansible.module_utils":
                vars(sys.modules[parent]).pop(child, None)


def run_own(worker, body, path):
    """Runs one of ratchet's own modules, which are there for hosts without Ansible."""
    result = worker.own(path).run(body["name"], body["arguments"])
    sys.stdout.write(json.dumps(result))
    return 1 if result.get("failed") else 0


def run_program(task, body, path):
    """Replaces the fork by a module that is a program, which finds its arguments in a file."""
    program = os.path.join(task.folder, body["name"].rpartition(".")[2])
    shutil.copyfile(path, program)
    os.chmod(program, 0o700)
    arguments = os.path.join(task.folder, "arguments")
    with open(arguments, "w") as file:
        if body["kind"] == "program":
            json.dump(body["arguments"], file)
        else:
            import shlex
            file.write(" ".join("%s=%s" % (key, shlex.quote(str(value))) for key, value in body["arguments"].items()))
    command = [program, arguments]
    with open(program, "rb") as file:
        first = file.readline(256)
    if first.startswith(b"#!"):
        import shlex
        words = shlex.split(first[2:].decode("utf-8", "replace"))
        # A module in Python runs with the Python of this host, whatever it is called there.
        if words and os.path.basename(words[-1]).startswith("python"):
            command = [sys.executable, program, arguments]
    os.execv(command[0], command)


def close_inherited():
    """Closes what this process was started with by mistake: a daemon of a module would keep it for ever."""
    for folder in ("/proc/self/fd", "/dev/fd"):
        try:
            names = os.listdir(folder)
        except OSError:
            continue
        for name in names:
            if int(name) > 2:
                try:
                    os.close(int(name))
                except OSError:
                    # The one by which the folder was read.
                    pass
        return


def system_library():
    """The C library, if this is Linux."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        import ctypes
        return ctypes.CDLL(None, use_errno=True)
    except (ImportError, OSError):
        return None


def main():
    close_inherited()
    try:
        # Whoever ends the group of this process must not keep it from ending its tasks: it sees the end of stdin.
        os.setsid()
    except OSError:
        pass
    gc.disable()
    worker = Worker()
    worker.run()
    sys.exit(0)


if __name__ == "__main__":
    main()
