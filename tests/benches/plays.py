#!/usr/bin/env python3
"""Playbooks beside their peers, in one run on one machine: ansible-playbook, Mitogen and pyinfra.

    cargo build --release && python3 tests/benches/plays.py --ansible BIN [--mitogen BIN] [--pyinfra BIN] [--hosts 20]

Each BIN is the folder `bin` of a virtual environment with ansible-core, with mitogen beside an ansible-core that it
knows, or with pyinfra. The hosts are servers for ssh on loopback, so everything shares the processors of this machine.
All contenders do the same: a command, a look at a file, and a line in a file of the host, once or five times.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from hosts import ROOT, run
from ssh_servers import SshServers


def playbook(rounds, folder):
    """A play of three tasks a round."""
    tasks = ""
    for number in range(rounds):
        tasks += (
            f"    - command: /bin/true\n"
            f"    - stat: {{path: /etc/hostname}}\n"
            f"    - lineinfile: {{path: '{folder}/{{{{ inventory_hostname }}}}', line: 'line {number}', create: true}}\n"
        )
    return f"- hosts: all\n  gather_facts: false\n  tasks:\n{tasks}"


def operations(rounds, folder):
    """The same for pyinfra."""
    text = "from pyinfra import host\nfrom pyinfra.facts.files import File\nfrom pyinfra.operations import files, server\n"
    for number in range(rounds):
        text += (
            f"server.shell(name='true {number}', commands=['/bin/true'])\n"
            f"host.get_fact(File, path='/etc/hostname')\n"
            f"files.line(name='line {number}', path=f'{folder}/{{host.name}}', line='line {number}')\n"
        )
    return text


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--hosts", type=int, default=20)
    arguments.add_argument("--memory-hosts", type=int, default=0, help="measure memory with so many hosts, too")
    arguments.add_argument("--rounds", type=int, default=2, help="the best of how many runs counts")
    arguments.add_argument("--ansible", required=True)
    arguments.add_argument("--mitogen")
    arguments.add_argument("--pyinfra")
    arguments.add_argument("--ratchet", default=str(ROOT / "target" / "release" / "ratchet"))
    options = arguments.parse_args()
    names = [f"host{number}" for number in range(options.hosts)]
    with tempfile.TemporaryDirectory(prefix="ratchet-plays-") as folder, SshServers(
        Path(folder) / "ssh", names
    ) as servers:
        work = Path(folder) / "work"
        work.mkdir()
        base = servers.environment()
        base["XDG_STATE_HOME"] = f"{folder}/state"
        base["ANSIBLE_NOCOLOR"] = "1"
        base["ANSIBLE_PIPELINING"] = "1"
        base["ANSIBLE_SSH_ARGS"] = (
            f"-F {servers.config} -o ControlMaster=auto -o ControlPersist=60s -o ControlPath={folder}/cm-%C"
        )
        inventory = Path(folder) / "hosts.ini"
        python = "ansible_python_interpreter=/usr/bin/python3"
        inventory.write_text("".join(f"{name} {python}\n" for name in names))

        def with_bin(path):
            return {**base, "PATH": f"{path}:{base['PATH']}"}

        for rounds in (1, 5):
            site = Path(folder) / f"site{rounds}.yml"
            site.write_text(playbook(rounds, work))
            deploy = Path(folder) / f"deploy{rounds}.py"
            deploy.write_text(operations(rounds, work))
            call = [str(site), "-i", str(inventory), "-f", str(options.hosts)]
            contenders = [
                ("ratchet play", [options.ratchet, "play", *call, "--no-record"], with_bin(options.ansible)),
                ("ansible-playbook, pipelining", [f"{options.ansible}/ansible-playbook", *call], with_bin(options.ansible)),
            ]
            if options.mitogen:
                strategy = next(Path(options.mitogen).parent.glob("lib/*/site-packages/ansible_mitogen/plugins/strategy"))
                environment = with_bin(options.mitogen)
                environment["ANSIBLE_STRATEGY_PLUGINS"] = str(strategy)
                environment["ANSIBLE_STRATEGY"] = "mitogen_linear"
                contenders.append(("Mitogen", [f"{options.mitogen}/ansible-playbook", *call], environment))
            if options.pyinfra:
                listed = Path(folder) / "inventory.py"
                # The folder has no `ssh_config_file` setting, so each host is named with its port.
                hosts = [
                    (name, {"ssh_hostname": "127.0.0.1", "ssh_port": port, "ssh_user": "root",
                            "ssh_key": str(servers.key), "ssh_strict_host_key_checking": "off"})
                    for name, port in servers.ports.items()
                ]
                listed.write_text(f"hosts = {hosts!r}\n")
                contenders.append(
                    ("pyinfra", [f"{options.pyinfra}/pyinfra", "-y", "--parallel", str(options.hosts), str(listed), str(deploy)],
                     with_bin(options.pyinfra))
                )
            print(f"{3 * rounds} tasks on {options.hosts} hosts:")
            first = None
            for title, command, environment in contenders:
                best = None
                for _ in range(options.rounds):
                    for file in work.iterdir():
                        file.unlink()
                    seconds, _ = run(command, environment)
                    best = min(best or seconds, seconds)
                    wrong = [n for n in names if (work / n).read_text().count("line") != rounds]
                    if wrong:
                        sys.exit(f"{title}: the files of {wrong} are not right")
                first = first or best
                rate = 3 * rounds * options.hosts / best
                print(f"{best:9.2f} s  {rate:7.1f} tasks/s  {best / first:5.1f} x  {title}", flush=True)
        if options.memory_hosts:
            many = [f"m{number} ansible_connection=local {python}\n" for number in range(options.memory_hosts)]
            inventory.write_text("".join(many))
            site = Path(folder) / "ten.yml"
            site.write_text("- hosts: all\n  gather_facts: false\n  tasks:\n" + "    - debug: {msg: hello}\n" * 9 + "    - command: /bin/true\n")
            command = [options.ratchet, "play", str(site), "-i", str(inventory), "--no-record"]
            seconds, memory = run(command, with_bin(options.ansible))
            print(f"10 tasks on {options.memory_hosts} hosts, connection local: {seconds:.2f} s, {memory:.0f} MiB")


if __name__ == "__main__":
    main()
