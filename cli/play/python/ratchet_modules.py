"""Modules of ratchet's own, for users who have no Ansible: the most common ones, as their documentation says they behave.

``run`` takes the name of a module and its arguments, and returns its result. A module runs in a process of its own.
"""

import base64
import datetime
import errno
import glob
import grp
import hashlib
import json
import os
import platform
import pwd
import re
import shlex
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import time
import traceback

TRUE = ("yes", "on", "1", "true", "t", "y")
FALSE = ("no", "off", "0", "false", "f", "n")


class Failure(Exception):
    """What makes a module fail, with further fields of its result."""

    def __init__(self, message, **fields):
        super().__init__(message)
        self.fields = dict(fields, msg=message)


class Call:
    """The arguments of a module, each taken once, and what Ansible adds to them."""

    def __init__(self, name, arguments):
        self.name = name
        self.given = {key: value for key, value in arguments.items() if not key.startswith("_ansible_")}
        self.check = bool(arguments.get("_ansible_check_mode"))
        self.diff = bool(arguments.get("_ansible_diff"))
        self.shell = arguments.get("_ansible_shell_executable") or "/bin/sh"
        self.known = []
        self.aliases = []

    def take(self, name, *aliases, kind="str", default=None, required=False, choices=None):
        """Returns an argument as a value of a kind."""
        self.known.append(name)
        self.aliases += aliases
        value = None
        for key in (name, *aliases):
            if self.given.get(key) is not None:
                value = self.given[key]
        if value is None:
            if required:
                raise Failure("missing required arguments: %s" % name)
            return default
        try:
            value = CONVERSIONS[kind](value)
        except (TypeError, ValueError):
            raise Failure("argument '%s' is of type %s and we were unable to convert to %s" % (name, type(value).__name__, kind))
        if choices is not None and value not in choices:
            raise Failure("value of %s must be one of: %s, got: %s" % (name, ", ".join(choices), value))
        return value

    def finish(self):
        """Refuses arguments that nobody has taken."""
        unknown = sorted(set(self.given) - set(self.known) - set(self.aliases))
        if unknown:
            aliases = " (%s)" % ", ".join(sorted(set(self.aliases))) if self.aliases else ""
            raise Failure("Unsupported parameters for (ansible.builtin.%s) module: %s. Supported parameters include: %s%s." % (
                self.name, ", ".join(unknown), ", ".join(sorted(set(self.known))), aliases))


def to_bool(value):
    if isinstance(value, bool):
        return value
    word = str(value).lower()
    if word in TRUE:
        return True
    if word in FALSE:
        return False
    raise ValueError(value)


def to_str(value):
    if isinstance(value, bool):
        return "True" if value else "False"
    if isinstance(value, (str, int, float)):
        return str(value)
    return json.dumps(value)


def to_list(value):
    if isinstance(value, list):
        return value
    if isinstance(value, str):
        return value.split(",")
    return [value]


CONVERSIONS = {
    "str": to_str,
    "raw": lambda value: value,
    "bool": to_bool,
    "int": int,
    "float": float,
    "path": lambda value: os.path.expanduser(os.path.expandvars(to_str(value))),
    "list": to_list,
}


# The attributes of files


class Attributes:
    """The owner, group and mode that a file is to have."""

    def __init__(self, call):
        self.mode = call.take("mode", kind="raw")
        self.owner = call.take("owner")
        self.group = call.take("group")
        for name in (("seuser",), ("serole",), ("setype",), ("selevel",), ("attributes", "attr")):
            if call.take(*name) is not None:
                raise Failure("`%s` needs ansible-core" % name[0])
        call.take("unsafe_writes", kind="bool")

    def wanted(self, path, follow=True):
        """The user, group and mode that a path is to have; nothing for what stays."""
        try:
            found = os.stat(path) if follow else os.lstat(path)
        except FileNotFoundError:
            found = None
        user = group = mode = None
        if self.owner is not None:
            user = user_id(self.owner)
        if self.group is not None:
            group = group_id(self.group)
        if self.mode is not None:
            before = stat.S_IMODE(found.st_mode) if found else 0
            mode = parse_mode(self.mode, before, bool(found) and stat.S_ISDIR(found.st_mode))
        return user, group, mode

    def apply(self, call, path, diff=None, follow=True):
        """Gives a path its attributes. Returns whether something was, or would be, changed."""
        user, group, mode = self.wanted(path, follow)
        try:
            found = os.stat(path) if follow else os.lstat(path)
        except FileNotFoundError:
            return True
        is_link = stat.S_ISLNK(found.st_mode)
        changed = False

        def differs(name, before, after):
            nonlocal changed
            changed = True
            if diff is not None:
                diff.setdefault("before", {})[name] = before
                diff.setdefault("after", {})[name] = after

        if user is not None and user != found.st_uid:
            differs("owner", found.st_uid, user)
            if not call.check:
                try:
                    os.chown(path, user, -1, follow_symlinks=follow)
                except OSError as error:
                    raise Failure("chown failed: %s" % error.strerror, path=path)
        if group is not None and group != found.st_gid:
            differs("group", found.st_gid, group)
            if not call.check:
                try:
                    os.chown(path, -1, group, follow_symlinks=follow)
                except OSError as error:
                    raise Failure("chgrp failed: %s" % error.strerror, path=path)
        if mode is not None and not is_link and mode != stat.S_IMODE(found.st_mode):
            differs("mode", octal(stat.S_IMODE(found.st_mode)), octal(mode))
            if not call.check:
                try:
                    os.chmod(path, mode)
                except OSError as error:
                    raise Failure("chmod failed: %s" % error.strerror, path=path)
        return changed


def octal(mode):
    return "0%03o" % mode


def user_id(owner):
    try:
        return pwd.getpwnam(str(owner)).pw_uid
    except KeyError:
        if str(owner).isdigit():
            return int(owner)
        raise Failure("chown failed: failed to look up user %s" % owner)


def group_id(group):
    try:
        return grp.getgrnam(str(group)).gr_gid
    except KeyError:
        if str(group).isdigit():
            return int(group)
        raise Failure("chgrp failed: failed to look up group %s" % group)


def parse_mode(mode, before, is_folder):
    """The mode that a number, or the symbols of chmod, stand for."""
    if isinstance(mode, int):
        return mode
    if re.match(r"^[0-7]+$", str(mode)):
        return int(str(mode), 8)
    umask = os.umask(0)
    os.umask(umask)
    result = before
    for clause in str(mode).split(","):
        match = re.match(r"^([ugoa]*)((?:[-+=](?:[rwxXst]*|[ugo]))+)$", clause)
        if not match:
            raise Failure("mode must be in octal or symbolic form", details="bad symbolic permission for mode: %s" % mode)
        who, actions = match.groups()
        masked = umask if not who else 0
        who = who.replace("a", "ugo") or "ugo"
        for operator, letters in re.findall(r"([-+=])([rwxXstugo]*)", actions):
            for one in who:
                shift = {"u": 6, "g": 3, "o": 0}[one]
                bits = 0
                if letters in ("u", "g", "o"):
                    bits = result >> {"u": 6, "g": 3, "o": 0}[letters] & 7
                else:
                    bits |= 4 * ("r" in letters) | 2 * ("w" in letters) | ("x" in letters)
                    if "X" in letters and (is_folder or before & 0o111):
                        bits |= 1
                bits = bits << shift & ~masked
                special = 0
                if "s" in letters and one in "ug":
                    special |= 0o4000 if one == "u" else 0o2000
                if "t" in letters:
                    special |= 0o1000
                if operator == "=":
                    result = result & ~(7 << shift) | bits | special
                elif operator == "+":
                    result |= bits | special
                else:
                    result &= ~(bits | special)
    return result


def file_facts(path):
    """What modules that change files say about them."""
    try:
        found = os.lstat(path)
    except OSError:
        return {"state": "absent"}
    facts = {
        "uid": found.st_uid, "gid": found.st_gid, "owner": user_name(found.st_uid), "group": group_name(found.st_gid),
        "mode": octal(stat.S_IMODE(found.st_mode)), "size": found.st_size, "state": file_state(path),
    }
    return facts


def user_name(number):
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def group_name(number):
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def file_state(path):
    if not os.path.lexists(path):
        return "absent"
    if os.path.islink(path):
        return "link"
    if os.path.isdir(path):
        return "directory"
    if os.stat(path).st_nlink > 1:
        return "hard"
    return "file"


def checksum(path, algorithm="sha1"):
    digest = hashlib.new(algorithm)
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def backup(path):
    """Copies a file to one beside it that tells the time."""
    name = "%s.%d.%s~" % (path, os.getpid(), time.strftime("%Y-%m-%d@%H:%M:%S"))
    shutil.copy2(path, name)
    found = os.stat(path)
    try:
        os.chown(name, found.st_uid, found.st_gid)
    except PermissionError:
        pass
    return name


def replace(source, path):
    """Moves a file to where another one may be, whose owner and mode it takes over."""
    folder = os.path.dirname(path) or "."
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=".ratchet-", dir=folder)
    except OSError as error:
        raise Failure("Destination %s is not writable: %s" % (folder, error.strerror))
    try:
        with os.fdopen(descriptor, "wb") as target, open(source, "rb") as file:
            shutil.copyfileobj(file, target)
            target.flush()
            os.fsync(target.fileno())
        try:
            found = os.stat(path)
            os.chmod(temporary, stat.S_IMODE(found.st_mode))
            if (found.st_uid, found.st_gid) != (os.geteuid(), os.getegid()):
                try:
                    os.chown(temporary, found.st_uid, found.st_gid)
                except PermissionError:
                    pass
        except FileNotFoundError:
            umask = os.umask(0)
            os.umask(umask)
            os.chmod(temporary, 0o666 & ~umask)
        os.rename(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise


def validated(command, path):
    """Refuses a file that a command of the user refuses."""
    if command is None:
        return
    if "%s" not in command:
        raise Failure("validate must contain %%s: %s" % command)
    run = subprocess.run(shlex.split(command % shlex.quote(path)), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if run.returncode != 0:
        raise Failure("failed to validate", exit_status=run.returncode, stdout=run.stdout.decode("utf-8", "replace"),
                      stderr=run.stderr.decode("utf-8", "replace"))


# The modules


def ping(call):
    data = call.take("data", default="pong")
    call.finish()
    if data == "crash":
        raise Exception("boom")
    return {"ping": data}


def shell(call):
    call.given["_uses_shell"] = True
    return command(call)


def command(call):
    raw = call.take("_raw_params", "cmd")
    uses_shell = call.take("_uses_shell", kind="bool", default=False)
    argv = call.take("argv", kind="list")
    chdir = call.take("chdir", kind="path")
    executable = call.take("executable", kind="path")
    creates = call.take("creates", kind="path")
    removes = call.take("removes", kind="path")
    given = call.take("stdin")
    newline = call.take("stdin_add_newline", kind="bool", default=True)
    strip = call.take("strip_empty_ends", kind="bool", default=True)
    expand = call.take("expand_argument_vars", kind="bool", default=True)
    call.take("warn", kind="bool")
    call.finish()
    result = {"changed": False, "stdout": "", "stderr": "", "rc": None, "cmd": None, "start": None, "end": None, "delta": None, "msg": ""}
    if not raw and not argv:
        raise Failure("no command given", **dict(result, rc=256))
    if raw and argv:
        raise Failure("only command or argv can be given, not both", **dict(result, rc=256))
    if uses_shell:
        result["cmd"] = raw
        arguments = [executable or call.shell, "-c", raw]
    else:
        arguments = [to_str(word) for word in argv] if argv else shlex.split(raw)
        result["cmd"] = arguments
        if expand:
            arguments = [os.path.expandvars(os.path.expanduser(word)) for word in arguments]
    if chdir:
        try:
            os.chdir(chdir)
        except OSError as error:
            raise Failure("Unable to change directory before execution: %s" % error, **result)
    for path, is_wanted, reason in ((creates, False, "exists"), (removes, True, "does not exist")):
        if path and bool(glob.glob(path)) != is_wanted:
            result.update(msg="%s run command since '%s' %s" % ("Would not" if call.check else "Did not", path, reason),
                          stdout="skipped, since %s %s" % (path, reason), rc=0)
            return result
    result["changed"] = True
    if call.check:
        result["rc"] = 0
        result["msg"] = "Command would have run if not in check mode"
        if creates is None and removes is None:
            result["skipped"] = True
            result["changed"] = False
        return result
    data = None
    if given is not None:
        data = (given + "\n" if newline else given).encode()
    start = datetime.datetime.now()
    try:
        run = subprocess.Popen(arguments, stdin=subprocess.PIPE if data is not None else subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        stdout, stderr = run.communicate(data)
        result["rc"] = run.returncode
    except OSError as error:
        shown = raw if uses_shell else " ".join(shlex.quote(word) for word in arguments)
        raise Failure("Error executing command.", **dict(result, rc=error.errno, changed=False, cmd=shown))
    end = datetime.datetime.now()
    result.update(start=str(start), end=str(end), delta=str(end - start))
    for name, output in (("stdout", stdout), ("stderr", stderr)):
        text = output.decode("utf-8", "surrogateescape")
        result[name] = text.rstrip("\r\n") if strip else text
    if result["rc"] != 0:
        raise Failure("non-zero return code", **result)
    return result


def stat_module(call):
    path = call.take("path", "dest", "name", kind="path", required=True)
    follow = call.take("follow", kind="bool", default=False)
    wants_checksum = call.take("get_checksum", kind="bool", default=True)
    algorithm = call.take("checksum_algorithm", "checksum", "checksum_algo", default="sha1",
                          choices=["md5", "sha1", "sha224", "sha256", "sha384", "sha512"])
    for name in ("get_mime", "mime", "mime_type", "mime-type", "get_attributes", "attr", "attributes", "get_selinux_context"):
        call.take(name, kind="bool")
    call.finish()
    try:
        found = os.stat(path) if follow else os.lstat(path)
    except OSError as error:
        if error.errno == errno.ENOENT:
            return {"stat": {"exists": False}}
        raise Failure(error.strerror)
    mode = found.st_mode
    facts = {
        "exists": True, "path": path, "mode": octal(stat.S_IMODE(mode)), "isdir": stat.S_ISDIR(mode), "ischr": stat.S_ISCHR(mode),
        "isblk": stat.S_ISBLK(mode), "isreg": stat.S_ISREG(mode), "isfifo": stat.S_ISFIFO(mode), "islnk": stat.S_ISLNK(mode),
        "issock": stat.S_ISSOCK(mode), "uid": found.st_uid, "gid": found.st_gid, "size": found.st_size, "inode": found.st_ino,
        "dev": found.st_dev, "nlink": found.st_nlink, "atime": found.st_atime, "mtime": found.st_mtime, "ctime": found.st_ctime,
        "isuid": bool(mode & stat.S_ISUID), "isgid": bool(mode & stat.S_ISGID),
        "block_size": found.st_blksize, "blocks": found.st_blocks, "disk_usage_bytes": found.st_blocks * 512, "device_type": found.st_rdev,
        "readable": os.access(path, os.R_OK), "writeable": os.access(path, os.W_OK), "executable": os.access(path, os.X_OK),
    }
    for who, letter in (("USR", "u"), ("GRP", "g"), ("OTH", "o")):
        for what in "RWX":
            facts[what.lower() + {"u": "usr", "g": "grp", "o": "oth"}[letter]] = bool(mode & getattr(stat, "S_I%s%s" % (what, who)))
    for name, value in (("pw_name", user_name(found.st_uid)), ("gr_name", group_name(found.st_gid))):
        if not value.isdigit():
            facts[name] = value
    if facts["islnk"]:
        facts["lnk_source"] = os.path.realpath(path)
        facts["lnk_target"] = os.readlink(path)
    if facts["isreg"] and wants_checksum and facts["readable"]:
        facts["checksum"] = checksum(path, algorithm)
    return {"stat": facts}


def slurp(call):
    path = call.take("src", "path", kind="path", required=True)
    call.finish()
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        reason = {errno.ENOENT: "File not found: %s", errno.EACCES: "File is not readable: %s",
                  errno.EISDIR: "Source is a directory and must be a file: %s"}
        raise Failure(reason.get(error.errno, "Unable to slurp file: %s") % path)
    return {"content": base64.b64encode(content).decode(), "source": path, "encoding": "base64"}


def tempfile_module(call):
    state = call.take("state", default="file", choices=["file", "directory"])
    path = call.take("path", kind="path")
    prefix = call.take("prefix", default="ansible.")
    suffix = call.take("suffix", default="")
    call.finish()
    if state == "file":
        descriptor, made = tempfile.mkstemp(prefix=prefix, suffix=suffix, dir=path)
        os.close(descriptor)
    else:
        made = tempfile.mkdtemp(prefix=prefix, suffix=suffix, dir=path)
    return dict(file_facts(made), changed=True, path=made)


def copy(call):
    source = call.take("src", kind="path")
    content = call.take("content", kind="raw")
    path = call.take("dest", kind="path", required=True)
    name = call.take("_original_basename")
    keeps = call.take("backup", kind="bool", default=False)
    force = call.take("force", "thirsty", kind="bool", default=True)
    command_line = call.take("validate")
    follow = call.take("follow", kind="bool", default=False)
    call.take("remote_src", kind="bool")
    wanted = call.take("checksum")
    call.take("local_follow", kind="bool")
    call.take("directory_mode", kind="raw")
    attributes = Attributes(call)
    call.finish()
    temporary = None
    if content is not None and source is None:
        descriptor, temporary = tempfile.mkstemp()
        with os.fdopen(descriptor, "wb") as file:
            file.write((content if isinstance(content, str) else json.dumps(content)).encode())
        source = temporary
    try:
        if source is None:
            raise Failure("src (or content) is required")
        if not os.path.exists(source):
            raise Failure("Source %s not found" % source)
        if os.path.isdir(source):
            raise Failure("Copying folders needs ansible-core: %s" % source)
        if attributes.mode == "preserve":
            attributes.mode = stat.S_IMODE(os.stat(source).st_mode)
        digest = checksum(source)
        if wanted is not None and wanted != digest:
            raise Failure("Copied file does not match the expected checksum. Transfer failed.", checksum=digest, expected_checksum=wanted)
        if path.endswith("/") or os.path.isdir(path):
            if not os.path.isdir(path):
                if call.check:
                    return {"changed": True, "dest": path, "src": source, "checksum": digest}
                os.makedirs(path, exist_ok=True)
            path = os.path.join(path, name or os.path.basename(source))
        if follow and os.path.islink(path):
            path = os.path.realpath(path)
        folder = os.path.dirname(path) or "."
        if not os.path.isdir(folder):
            raise Failure("Destination directory %s does not exist" % folder)
        exists = os.path.lexists(path)
        if exists and not force:
            return {"changed": False, "dest": path, "src": source, "msg": "file already exists"}
        diff, saved = {}, None
        same = exists and not os.path.islink(path) and os.path.isfile(path) and checksum(path) == digest
        if not same:
            validated(command_line, source)
            if call.diff:
                diff = content_diff(path, source)
            if not call.check:
                if keeps and exists:
                    saved = backup(path)
                replace(source, path)
        changed = attributes.apply(call, path) or not same
        result = dict(file_facts(path) if os.path.lexists(path) else {}, changed=changed, dest=path, src=source, checksum=digest)
        if os.path.isfile(path) and not call.check:
            result["md5sum"] = checksum(path, "md5")
        if saved:
            result["backup_file"] = saved
        if diff:
            result["diff"] = diff
        return result
    finally:
        if temporary is not None:
            os.unlink(temporary)


def content_diff(path, source):
    def text(name):
        try:
            with open(name, "rb") as file:
                return file.read(1 << 20).decode("utf-8", "replace")
        except OSError:
            return ""
    return {"before": text(path), "after": text(source), "before_header": path, "after_header": path}


def file(call):
    path = call.take("path", "dest", "name", kind="path", required=True)
    state = call.take("state", choices=["absent", "directory", "file", "hard", "link", "touch"])
    source = call.take("src", kind="path")
    recurse = call.take("recurse", kind="bool", default=False)
    force = call.take("force", kind="bool", default=False)
    follow = call.take("follow", kind="bool", default=True)
    accessed = call.take("access_time")
    modified = call.take("modification_time")
    for name in ("access_time_format", "modification_time_format", "_original_basename", "_diff_peek"):
        call.take(name)
    attributes = Attributes(call)
    call.finish()
    before = file_state(path)
    if state is None:
        state = "directory" if recurse else ("file" if before == "absent" else before)
    if recurse and state != "directory":
        raise Failure("recurse option requires state to be 'directory'", path=path)
    if source is not None and state not in ("link", "hard"):
        raise Failure("src option requires state to be 'link' or 'hard'", path=path)
    if state == "absent":
        if before == "absent":
            return {"path": path, "changed": False, "state": "absent"}
        diff = {"before": {"path": path, "state": before}, "after": {"path": path, "state": "absent"}}
        if before == "directory":
            diff["before"]["path_content"] = content_of(path)
        if call.check:
            return dict(file_facts(path), path=path, changed=True, diff=diff)
        if before == "directory":
            try:
                shutil.rmtree(path)
            except OSError as error:
                raise Failure("rmtree failed: %s" % error)
        else:
            try:
                os.unlink(path)
            except OSError as error:
                raise Failure("unlinking failed: %s" % error, path=path)
        return {"path": path, "changed": True, "state": "absent", "diff": diff}
    diff = {"before": {"path": path}, "after": {"path": path}}
    if before != state and not (before == "hard" and state in ("file", "touch")):
        diff["before"]["state"], diff["after"]["state"] = before, state
    if state == "directory":
        changed = directory(call, path, before, follow, attributes, diff)
        if recurse and os.path.isdir(path):
            for root, folders, files in os.walk(path):
                for name in folders + files:
                    changed |= attributes.apply(call, os.path.join(root, name), follow=False)
    elif state == "file":
        target = os.path.realpath(path) if follow and before == "link" else path
        now = file_state(target)
        if now not in ("file", "hard"):
            raise Failure("file (%s) is %s, cannot continue" % (path, now), path=path, state=now)
        path = target
        changed = attributes.apply(call, path, diff)
    elif state == "touch":
        changed = touch(call, path, before, follow, accessed, modified, attributes, diff)
    else:
        return link(call, path, source, state, before, force, follow, attributes, diff)
    result = dict(file_facts(path) if os.path.lexists(path) else {}, changed=changed, diff=diff)
    if state == "touch" and call.check and before == "absent":
        del result["diff"]
    result["dest" if state == "touch" else "path"] = path
    return result


def content_of(path):
    """The files and folders within a folder, up to the limit that Ansible has."""
    content = {"directories": [], "files": []}
    for root, folders, files in os.walk(path):
        content["directories"] += [os.path.join(root, name) for name in folders]
        content["files"] += [os.path.join(root, name) for name in files]
        if len(content["directories"]) + len(content["files"]) > 10000:
            break
    return content


def directory(call, path, before, follow, attributes, diff):
    if follow and before == "link" and os.path.isdir(path):
        return attributes.apply(call, os.path.realpath(path), diff)
    if before == "directory":
        return attributes.apply(call, path, diff)
    if before != "absent":
        raise Failure("%s already exists as a %s" % (path, before), **dict(file_facts(path), path=path))
    if call.check:
        return True
    made = ""
    for part in path.strip("/").split("/"):
        made = "/".join([made, part]) if made or path.startswith("/") else part
        if not os.path.isdir(made):
            try:
                os.mkdir(made)
            except FileExistsError:
                if not os.path.isdir(made):
                    raise Failure("There was an issue creating %s as requested: it exists" % made, path=path)
            except OSError as error:
                raise Failure("There was an issue creating %s as requested: %s" % (made, error), path=path)
            attributes.apply(call, made, diff)
    return True


def touch(call, path, before, follow, accessed, modified, attributes, diff):
    if before == "absent":
        if call.check:
            return True
        try:
            open(path, "ab").close()
        except OSError as error:
            raise Failure("Error, could not touch target: %s" % error, path=path)
        attributes.apply(call, path, diff)
        return True
    target = os.path.realpath(path) if follow else path
    if accessed == "preserve" and modified == "preserve":
        return attributes.apply(call, target, diff)
    if not call.check:
        found = os.stat(target)
        now = time.time_ns()
        os.utime(target, ns=(found.st_atime_ns if accessed == "preserve" else now,
                             found.st_mtime_ns if modified == "preserve" else now))
    attributes.apply(call, target, diff)
    return True


def link(call, path, source, state, before, force, follow, attributes, diff):
    if source is None:
        if before != state or state == "hard":
            raise Failure("src is required for creating new %s" % ("symbolic links" if state == "link" else "hardlinks"))
        source = os.readlink(path)
    if os.path.isdir(path) and before == "directory" and state == "link":
        if not force:
            raise Failure("refusing to convert from directory to symlink for %s" % path, path=path)
        if os.listdir(path):
            raise Failure("the directory %s is not empty, refusing to convert it" % path, path=path)
    full = source if os.path.isabs(source) else os.path.join(os.path.dirname(path), source)
    if state == "hard" and not os.path.isabs(source):
        raise Failure("src must be an absolute path", path=path, src=source)
    if not os.path.exists(full) and (state == "hard" or not force) and not (before == "link" and os.readlink(path) == source):
        raise Failure("src file does not exist, use \"force=yes\" if you really want to create the link: %s" % full, path=path, src=source)
    if state == "link":
        same = before == "link" and os.readlink(path) == source
    else:
        same = before == "hard" and os.path.samefile(path, source)
    if before in ("file", "hard") and not same and not force:
        raise Failure("refusing to convert from %s to %s for %s" % (before, "symlink" if state == "link" else "hard link", path), path=path)
    if not same and not call.check:
        temporary = os.path.join(os.path.dirname(path) or ".", ".ratchet-link-%d" % os.getpid())
        try:
            if before == "directory":
                os.rmdir(path)
            if state == "link":
                os.symlink(source, temporary)
            else:
                os.link(source, temporary)
            os.rename(temporary, path)
            if os.path.lexists(temporary):
                os.unlink(temporary)
        except OSError as error:
            raise Failure("Error while linking: %s" % error.strerror, path=path)
    changed = not same
    if os.path.exists(path) and not call.check:
        changed |= attributes.apply(call, os.path.realpath(path) if follow else path, follow=follow)
    result = dict(file_facts(path) if os.path.lexists(path) else {}, changed=changed, dest=path, src=source, diff=diff)
    return result


def lineinfile(call):
    path = call.take("path", "dest", "destfile", "name", kind="path", required=True)
    state = call.take("state", default="present", choices=["absent", "present"])
    pattern = call.take("regexp", "regex")
    search = call.take("search_string")
    line = call.take("line", "value")
    backrefs = call.take("backrefs", kind="bool", default=False)
    after = call.take("insertafter")
    before = call.take("insertbefore")
    create = call.take("create", kind="bool", default=False)
    keeps = call.take("backup", kind="bool", default=False)
    first = call.take("firstmatch", kind="bool", default=False)
    command_line = call.take("validate")
    attributes = Attributes(call)
    call.finish()
    if os.path.isdir(path):
        raise Failure("Path %s is a directory !" % path, rc=256)
    if pattern is not None and search is not None:
        raise Failure("parameters are mutually exclusive: regexp|search_string")
    if state == "present" and line is None:
        raise Failure("line is required with state=present")
    if state == "present" and backrefs and pattern is None:
        raise Failure("regexp is required with backrefs=true")
    if state == "absent" and line is None and pattern is None and search is None:
        raise Failure("one of line, search_string, or regexp is required with state=absent")
    if after is None and before is None:
        after = "EOF"
    exists = os.path.exists(path)
    if not exists and state == "absent":
        return {"changed": False, "msg": "file not present"}
    if not exists and not create:
        raise Failure("Destination %s does not exist !" % path, rc=257)
    lines = []
    if exists:
        with open(path, "rb") as found:
            lines = found.read().decode("utf-8", "surrogateescape").splitlines(True)
    old = list(lines)
    regex = re.compile(pattern) if pattern is not None else None

    def matches(text):
        if regex is not None:
            return regex.search(text)
        if search is not None:
            return search in text
        return text.rstrip("\r\n") == line

    found = []
    if state == "absent":
        kept = []
        for text in lines:
            if matches(text):
                found.append(text)
            else:
                kept.append(text)
        lines, message = kept, "%s line(s) removed" % len(found) if found else ""
    else:
        lines, message = insert_line(lines, line, regex, search, backrefs, after, before, first)
    changed = lines != old
    result = {"changed": changed, "msg": message, "backup": ""}
    if state == "absent":
        result["found"] = len(found)
    if call.diff:
        result["diff"] = [{"before": "".join(old), "after": "".join(lines), "before_header": "%s (content)" % path,
                           "after_header": "%s (content)" % path}]
    if changed and not call.check:
        if keeps and exists:
            result["backup"] = backup(path)
        folder = os.path.dirname(path)
        if create and folder and not os.path.isdir(folder):
            os.makedirs(folder)
        descriptor, temporary = tempfile.mkstemp()
        try:
            with os.fdopen(descriptor, "wb") as target:
                target.write("".join(lines).encode("utf-8", "surrogateescape"))
            validated(command_line, temporary)
            replace(temporary, os.path.realpath(path))
        finally:
            os.unlink(temporary)
    changes = {}
    if os.path.exists(path) and attributes.apply(call, path, changes):
        result["changed"] = True
        result["msg"] = (message + " and " if message else "") + "ownership, perms or SE linux context changed"
    if call.diff and call.check and not exists:
        result["diff"] = result["diff"][0]
    elif call.diff:
        header = "%s (file attributes)" % path
        result["diff"].append(dict(changes, before_header=header, after_header=header))
    return result


def insert_line(lines, line, regex, search, backrefs, after, before, first):
    """Puts a line where it belongs. Returns the lines and what was done."""
    matched, match, anchor = -1, None, -1
    is_pattern_after = after not in (None, "EOF", "BOF")
    is_pattern_before = before not in (None, "BOF")
    place = re.compile(after if is_pattern_after else before) if is_pattern_after or is_pattern_before else None
    for index, text in enumerate(lines):
        if regex is not None:
            found = regex.search(text)
        elif search is not None:
            found = search in text
        else:
            found = text.rstrip("\r\n") == line
        if found:
            if matched < 0 or not first:
                matched, match = index, found
            if first:
                break
        elif place is not None and place.search(text) and not (first and anchor >= 0):
            anchor = index + 1 if is_pattern_after else index
    if matched >= 0:
        new = match.expand(line) if backrefs and regex is not None else line
        if not new.endswith("\n"):
            new += "\n"
        if lines[matched] == new:
            return lines, ""
        if regex is None and search is None:
            return lines, ""
        return lines[:matched] + [new] + lines[matched + 1:], "line replaced"
    if backrefs:
        return lines, ""
    new = line + "\n"
    if regex is not None or search is not None:
        # The line may be there already, where the pattern does not look.
        if any(text.rstrip("\r\n") == line for text in lines):
            return lines, ""
    if before == "BOF" or after == "BOF":
        return [new] + lines, "line added"
    if anchor >= 0:
        head = lines[:anchor]
        if head and not head[-1].endswith("\n"):
            head[-1] += "\n"
        return head + [new] + lines[anchor:], "line added"
    if lines and not lines[-1].endswith("\n"):
        lines = lines[:-1] + [lines[-1] + "\n"]
    return lines + [new], "line added"


# Facts


def setup(call):
    call.take("gather_subset", kind="list")
    call.take("gather_timeout", kind="int")
    patterns = call.take("filter", kind="list") or []
    call.take("fact_path", kind="path")
    call.finish()
    facts = {}
    for part in (system_facts, distribution_facts, user_facts, time_facts, memory_facts, processor_facts, network_facts, python_facts,
                 program_facts):
        try:
            facts.update(part())
        except OSError:
            # What this host does not tell is left out.
            pass
    facts = {"ansible_" + name: value for name, value in facts.items()}
    if patterns:
        import fnmatch
        kept = [pattern if pattern.startswith(("ansible_", "facter_", "ohai_")) else "ansible_" + pattern for pattern in patterns]
        facts = {name: value for name, value in facts.items() if any(fnmatch.fnmatch(name, pattern) for pattern in kept)}
    return {"ansible_facts": facts}


def system_facts():
    name, _, kernel, version, machine = os.uname()
    full = socket.getfqdn()
    return {
        "system": name, "kernel": kernel, "kernel_version": version, "machine": machine, "architecture": machine,
        "hostname": platform.node().split(".")[0], "nodename": platform.node(), "fqdn": full, "domain": full.partition(".")[2],
        "userspace_bits": "64" if sys.maxsize > 2**32 else "32", "env": dict(os.environ),
    }


FAMILIES = {
    "Debian": ("debian", "ubuntu", "raspbian", "linuxmint", "kali", "pop"),
    "RedHat": ("rhel", "centos", "fedora", "rocky", "almalinux", "ol", "amzn", "scientific"),
    "Suse": ("sles", "opensuse", "opensuse-leap", "opensuse-tumbleweed"),
    "Alpine": ("alpine",), "Archlinux": ("arch", "manjaro"), "Gentoo": ("gentoo",),
}
NAMES = {
    "debian": "Debian", "ubuntu": "Ubuntu", "rhel": "RedHat", "centos": "CentOS", "fedora": "Fedora", "rocky": "Rocky",
    "almalinux": "AlmaLinux", "ol": "OracleLinux", "amzn": "Amazon", "alpine": "Alpine", "arch": "Archlinux", "gentoo": "Gentoo",
    "sles": "SLES", "opensuse-leap": "openSUSE Leap", "linuxmint": "Linux Mint", "kali": "Kali",
}


def distribution_facts():
    if sys.platform == "darwin":
        version = platform.mac_ver()[0]
        return {"distribution": "MacOSX", "distribution_version": version, "distribution_major_version": version.split(".")[0],
                "distribution_release": platform.release(), "os_family": "Darwin"}
    release = {}
    for path in ("/etc/os-release", "/usr/lib/os-release"):
        if os.path.exists(path):
            with open(path) as file:
                for text in file:
                    name, is_set, value = text.strip().partition("=")
                    if is_set:
                        release[name] = "".join(shlex.split(value)) if value else ""
            break
    own = release.get("ID", "").lower()
    version = release.get("VERSION_ID", "NA")
    if own == "debian" and os.path.exists("/etc/debian_version"):
        with open("/etc/debian_version") as file:
            version = file.read().strip() or version
    likes = [own] + release.get("ID_LIKE", "").lower().split()
    family = next((family for like in likes for family, members in FAMILIES.items() if like in members), own.capitalize() or "NA")
    codename = release.get("VERSION_CODENAME") or release.get("UBUNTU_CODENAME") or "NA"
    return {
        "distribution": NAMES.get(own, release.get("NAME", own) or "NA"), "distribution_version": version,
        "distribution_major_version": version.split(".")[0], "distribution_release": codename, "os_family": family,
    }


def user_facts():
    user = pwd.getpwuid(os.geteuid())
    return {
        "user_id": user.pw_name, "user_uid": user.pw_uid, "user_gid": user.pw_gid, "user_gecos": user.pw_gecos, "user_dir": user.pw_dir,
        "user_shell": user.pw_shell, "real_user_id": os.getuid(), "effective_user_id": os.geteuid(), "real_group_id": os.getgid(),
        "effective_group_id": os.getegid(),
    }


def time_facts():
    now = datetime.datetime.now()
    utc = datetime.datetime.fromtimestamp(time.time(), datetime.timezone.utc)
    return {"date_time": {
        "year": now.strftime("%Y"), "month": now.strftime("%m"), "weekday": now.strftime("%A"), "weekday_number": now.strftime("%w"),
        "weeknumber": now.strftime("%W"), "day": now.strftime("%d"), "hour": now.strftime("%H"), "minute": now.strftime("%M"),
        "second": now.strftime("%S"), "epoch": str(int(time.time())), "epoch_int": str(int(time.time())), "date": now.strftime("%Y-%m-%d"),
        "time": now.strftime("%H:%M:%S"), "iso8601": utc.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "iso8601_micro": utc.strftime("%Y-%m-%dT%H:%M:%S.%fZ"), "iso8601_basic": now.strftime("%Y%m%dT%H%M%S%f"),
        "iso8601_basic_short": now.strftime("%Y%m%dT%H%M%S"), "tz": time.strftime("%Z"), "tz_dst": time.tzname[1],
        "tz_offset": time.strftime("%z"),
    }}


def memory_facts():
    values = {}
    with open("/proc/meminfo") as file:
        for text in file:
            name, _, rest = text.partition(":")
            values[name] = int(rest.split()[0]) // 1024
    return {
        "memtotal_mb": values["MemTotal"], "memfree_mb": values["MemFree"], "swaptotal_mb": values["SwapTotal"],
        "swapfree_mb": values["SwapFree"],
    }


def processor_facts():
    count = os.cpu_count() or 1
    facts = {"processor_vcpus": count, "processor_nproc": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else count}
    sockets, cores = set(), {}
    with open("/proc/cpuinfo") as file:
        socket_number = "0"
        for text in file:
            name, _, value = (part.strip() for part in text.partition(":"))
            if name == "physical id":
                socket_number = value
                sockets.add(value)
            elif name == "cpu cores":
                cores[socket_number] = int(value)
    facts["processor_count"] = len(sockets) or count
    facts["processor_cores"] = next(iter(cores.values()), 1)
    facts["processor_threads_per_core"] = max(1, count // max(1, facts["processor_count"] * facts["processor_cores"]))
    return facts


def network_facts():
    facts = {"default_ipv4": {}, "all_ipv4_addresses": []}
    try:
        with open("/proc/net/route") as file:
            routes = [text.split() for text in file][1:]
        default = next((route for route in routes if route[1] == "00000000"), None)
        facts["interfaces"] = sorted(os.listdir("/sys/class/net"))
    except (OSError, IndexError):
        default = None
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            # Nothing is sent: this asks which address would be used.
            probe.connect(("192.0.2.1", 9))
            address = probe.getsockname()[0]
    except OSError:
        return facts
    facts["default_ipv4"] = {"address": address}
    facts["all_ipv4_addresses"] = [address]
    if default is not None:
        raw = bytes.fromhex(default[2])[::-1]
        facts["default_ipv4"].update(interface=default[0], alias=default[0], gateway=socket.inet_ntoa(raw), type="ether")
        with open("/sys/class/net/%s/address" % default[0]) as file:
            facts["default_ipv4"]["macaddress"] = file.read().strip()
        with open("/sys/class/net/%s/mtu" % default[0]) as file:
            facts["default_ipv4"]["mtu"] = int(file.read())
    return facts


def python_facts():
    version = sys.version_info
    return {
        "python_version": platform.python_version(),
        "python": {
            "version": {"major": version[0], "minor": version[1], "micro": version[2], "releaselevel": version[3], "serial": version[4]},
            "version_info": list(version), "executable": sys.executable, "has_sslcontext": True, "type": sys.implementation.name,
        },
    }


def program_facts():
    managers = (("apt", "/usr/bin/apt-get"), ("dnf", "/usr/bin/dnf"), ("yum", "/usr/bin/yum"), ("zypper", "/usr/bin/zypper"),
                ("apk", "/sbin/apk"), ("pacman", "/usr/bin/pacman"), ("portage", "/usr/bin/emerge"), ("homebrew", "/opt/homebrew/bin/brew"))
    facts = {"pkg_mgr": next((name for name, path in managers if os.path.exists(path)), "unknown")}
    if os.path.isdir("/run/systemd/system"):
        service = "systemd"
    elif sys.platform == "darwin":
        service = "launchd"
    elif os.path.exists("/sbin/openrc-run"):
        service = "openrc"
    else:
        service = "sysvinit" if os.path.exists("/etc/init.d") else "service"
    facts["service_mgr"] = service
    return facts


MODULES = {
    "command": command, "copy": copy, "file": file, "lineinfile": lineinfile, "ping": ping,
    "setup": setup, "shell": shell, "slurp": slurp, "stat": stat_module, "tempfile": tempfile_module,
}


def run(name, arguments):
    """Runs a module and returns its result."""
    try:
        call = Call(name, arguments)
        result = MODULES[name](call)
        result.setdefault("changed", False)
        return result
    except Failure as failure:
        result = {"failed": True, "changed": False}
        result.update(failure.fields)
        return result
    except Exception as error:
        return {"failed": True, "changed": False, "msg": "Task failed: Module failed: %s" % error, "exception": traceback.format_exc()}
