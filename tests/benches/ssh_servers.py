"""Servers for ssh on loopback that a benchmark starts and stops: each is a host, with a key made for the run."""

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

SSHD = shutil.which("sshd") or "/usr/sbin/sshd"


def free_port():
    """A port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class SshServers:
    """As many servers as there are names. `config` is a file for `ssh -F` that knows all of them by name."""

    def __init__(self, folder, names):
        if not Path(SSHD).exists():
            sys.exit("there is no sshd: install openssh-server")
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        os.chmod(self.folder, 0o700)
        self.ports = {}
        self.servers = []
        self.key = self.folder / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.key], check=True)
        shutil.copy(f"{self.key}.pub", self.folder / "authorized_keys")
        os.makedirs("/run/sshd", exist_ok=True)
        for name in names:
            self._start(name)
        self.config = self.folder / "ssh_config"
        hosts = [
            f"Host {name}\n  HostName 127.0.0.1\n  Port {port}\n" for name, port in self.ports.items()
        ]
        common = (
            f"Host *\n  User root\n  IdentityFile {self.key}\n  IdentitiesOnly yes\n"
            "  StrictHostKeyChecking no\n  UserKnownHostsFile /dev/null\n  LogLevel ERROR\n"
        )
        self.config.write_text("".join(hosts) + common)

    def _start(self, name):
        port = free_port()
        config = self.folder / f"sshd-{name}"
        config.write_text(
            f"Port {port}\nListenAddress 127.0.0.1\nHostKey {self.key}\nUsePAM no\nStrictModes no\n"
            f"AuthorizedKeysFile {self.folder / 'authorized_keys'}\nPidFile none\n"
            "PermitRootLogin yes\nMaxStartups 100:30:200\nMaxSessions 100\n"
        )
        log = self.folder / f"log-{name}"
        self.servers.append(subprocess.Popen([SSHD, "-D", "-f", config, "-E", log]))
        self.ports[name] = port
        deadline = time.monotonic() + 10
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            if time.monotonic() > deadline:
                sys.exit(f"sshd for {name} does not answer; its log is {log}")
            time.sleep(0.02)

    def environment(self):
        """The environment in which a plain `ssh` reaches the servers by their names."""
        bin_folder = self.folder / "bin"
        bin_folder.mkdir(exist_ok=True)
        for program in ("ssh", "scp", "sftp"):
            real = shutil.which(program)
            wrapper = bin_folder / program
            wrapper.write_text(f'#!/bin/sh\nexec {real} -F {self.config} "$@"\n')
            wrapper.chmod(0o755)
        return {**os.environ, "PATH": f"{bin_folder}:{os.environ['PATH']}"}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for server in self.servers:
            server.terminate()
        for server in self.servers:
            server.wait()
