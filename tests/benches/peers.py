#!/usr/bin/env python3
"""ratchet beside its peers, in one run on one machine: a table, and a picture.

    cargo build --release && python3 tests/benches/peers.py [--quick] [--svg tests/benches/peers.svg]

Every contender does the same jobs with two workers, three times, and the best time counts. "With start" is
the whole life of the program; "without start" takes off what it needs for one job a worker. Contenders that
are not installed are named, with how to get them. Losses are shown as wins are.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RATCHET = ROOT / "target" / "release" / "ratchet"
WORKERS = 2
ROUNDS = 3

# What a job does, and how many there are.
WORKLOADS = {
    "no-op": (0.0, 0, 20_000),
    "no-op, 64 KiB": (0.0, 64 * 1024, 2_000),
    "1 ms": (0.001, 0, 2_000),
    "20 ms": (0.020, 0, 200),
}
COMMANDS = {"/bin/true": (["/bin/true"], 2_000), "sleep 0.02": (["sleep", "0.02"], 200)}

JOB = """
import time
def job(item):
    seconds, text = item
    if seconds:
        time.sleep(seconds)
    return text
"""

POOLS = {
    "multiprocessing.Pool": """
import multiprocessing, sys
from job import job
if __name__ == "__main__":
    seconds, size, count = float(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    items = ((seconds, "x" * size) for _ in range(count))
    with multiprocessing.Pool({workers}) as pool:
        assert sum(1 for _ in pool.imap_unordered(job, items)) == count
""",
    "ProcessPoolExecutor": """
import sys
from concurrent.futures import ProcessPoolExecutor
from job import job
if __name__ == "__main__":
    seconds, size, count = float(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    items = [(seconds, "x" * size) for _ in range(count)]
    with ProcessPoolExecutor({workers}) as pool:
        assert sum(1 for _ in pool.map(job, items)) == count
""",
    "joblib": """
import sys
from joblib import Parallel, delayed
from job import job
if __name__ == "__main__":
    seconds, size, count = float(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    results = Parallel(n_jobs={workers})(delayed(job)((seconds, "x" * size)) for _ in range(count))
    assert len(results) == count
""",
}

# With the library that comes with ratchet, and without any.
WORKER = """
from job import job
from ratchet_worker import Worker
worker = Worker("job")
worker.task(name="job")(lambda call: job(call.input))
worker.run()
"""

BARE_WORKER = """
import json, sys
from job import job
for line in sys.stdin:
    m = json.loads(line)
    if m["type"] == "request":
        print(json.dumps({"type": "response", "id": m["id"], "result": job(m["input"])}), flush=True)
"""

JEST = """
const { Worker } = require("jest-worker");
const [seconds, size, count] = process.argv.slice(2).map(Number);
(async () => {
  const pool = new Worker(require.resolve("./job.js"), { numWorkers: WORKERS });
  const jobs = Array.from({ length: count }, () => pool.job([seconds, "x".repeat(size)]));
  if ((await Promise.all(jobs)).length !== count) process.exit(1);
  await pool.end();
})();
""".replace("WORKERS", str(WORKERS))

JEST_JOB = """
exports.job = async ([seconds, text]) => {
  if (seconds) await new Promise((done) => setTimeout(done, seconds * 1000));
  return text;
};
"""


def call(command, stdin=None, folder=None):
    """Seconds that a command takes; it has to succeed."""
    source = open(stdin, "rb") if stdin else subprocess.DEVNULL
    begin = time.perf_counter()
    done = subprocess.run(command, stdin=source, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=folder)
    seconds = time.perf_counter() - begin
    if done.returncode:
        sys.exit(f"{command[0]} failed with {done.returncode}: {done.stderr.decode(errors='replace')[-400:]}")
    return seconds


def best(measure, count):
    """The best time for so many jobs, and for one a worker."""
    return min(measure(count) for _ in range(ROUNDS)), min(measure(WORKERS) for _ in range(ROUNDS))


class Table:
    def __init__(self):
        self.rows = []

    def add(self, workload, name, count, times):
        whole, start = times
        lasting = whole - start
        # Where nearly all of it is start, the rest is noise.
        without = (count - WORKERS) / lasting if lasting > whole / 10 else None
        self.rows.append((workload, name, count / whole, without))
        shown = f"{without:>12,.0f}/s" if without else f"{'all is start':>14}"
        print(f"{workload:<16} {name:<27} {count / whole:>12,.0f}/s {shown}", flush=True)


def requests(folder, kind, size, seconds, count):
    """Files of jobs: lines for ratchet, and requests for a bare worker."""
    path = folder / f"{kind}-{count}-{size}-{seconds}"
    if not path.exists():
        with open(path, "w") as out:
            for number in range(count):
                if kind == "echo":
                    job = {"task": "echo", "input": "x" * size}
                elif kind == "raw":
                    job = {"type": "request", "id": number, "task": "echo", "input": "x" * size}
                else:
                    job = {"task": "job", "input": [seconds, "x" * size]}
                out.write(json.dumps(job) + "\n")
    return path


def raw(folder, size, count):
    """Two bare workers, each fed a file: nobody schedules, nobody reads what they answer."""
    path = requests(folder, "raw", size, 0, max(count // WORKERS, 1))
    begin = time.perf_counter()
    workers = [
        subprocess.Popen([RATCHET, "worker", "--task", "echo"], stdin=open(path, "rb"), stdout=subprocess.DEVNULL)
        for _ in range(WORKERS)
    ]
    if any(worker.wait() for worker in workers):
        sys.exit("a bare worker failed")
    return time.perf_counter() - begin


def tasks(table, folder, quick):
    python = sys.executable
    have_joblib = subprocess.run([python, "-c", "import joblib"], capture_output=True).returncode == 0
    have_jest = shutil.which("node") and subprocess.run(
        ["node", "-e", "require.resolve('jest-worker')"], capture_output=True, cwd=folder).returncode == 0
    for workload, (seconds, size, count) in WORKLOADS.items():
        count = count // 10 if quick else count
        arguments = [str(seconds), str(size)]

        def ratchet(kind, worker):
            def measure(count):
                jobs = requests(folder, kind, size, seconds, count)
                command = [RATCHET, "run", "-", "-q", "-j", str(WORKERS), "--workers", str(WORKERS), "-w", worker]
                taken = call([*command, "--state-dir", folder / "state"], stdin=jobs, folder=folder)
                # The records of such runs fill a disk.
                shutil.rmtree(folder / "state")
                return taken
            return measure

        if not seconds:
            many = count * (1 if size else 10)
            table.add(workload, "two bare workers", many, best(lambda count: raw(folder, size, count), many))
            table.add(workload, "ratchet, built-in worker", many, best(ratchet("echo", f"{RATCHET} worker"), many))
        table.add(workload, "ratchet, Python worker", count, best(ratchet("job", f"{python} worker.py"), count))
        table.add(workload, "ratchet, Python, no library", count, best(ratchet("job", f"{python} bare.py"), count))
        for name in POOLS:
            if name == "joblib" and not have_joblib:
                continue
            script = folder / f"{name.split('.')[0]}.script.py"
            table.add(workload, name, count, best(
                lambda count: call([python, script, *arguments, str(count)], folder=folder), count))
        if have_jest:
            table.add(workload, "jest-worker", count, best(
                lambda count: call(["node", "jest.js", *arguments, str(count)], folder=folder), count))
    if not have_joblib:
        print("missing: joblib (pip install joblib)")
    if not have_jest:
        print("missing: jest-worker (npm install jest-worker, with NODE_PATH set to where it is)")


def commands(table, folder, quick):
    for workload, (command, count) in COMMANDS.items():
        count = count // 10 if quick else count

        def items(count):
            path = folder / f"items-{count}"
            path.write_text("".join(f"{number}\n" for number in range(count)))
            return path

        # The item is an argument that `true` ignores; `sleep` adds 0 seconds to what it has.
        contenders = {
            "ratchet map": [RATCHET, "map", "-q", f"-j{WORKERS}", "--state-dir", folder / "state", "--", *command],
            "xargs -P": ["xargs", f"-P{WORKERS}", "-n1", *command],
            "GNU parallel": ["parallel", f"-j{WORKERS}", *command],
            "rust-parallel": ["rust-parallel", "-j", str(WORKERS), *command],
        }
        for name, call_words in contenders.items():
            if not shutil.which(str(call_words[0])):
                continue

            def measure(count):
                path = items(count)
                if command[0] == "sleep":
                    path.write_text("0\n" * count)
                return call(call_words, stdin=path)

            table.add(workload, name, count, best(measure, count))
    for name, how in {"parallel": "apt install parallel", "rust-parallel": "cargo install rust-parallel"}.items():
        if not shutil.which(name):
            print(f"missing: {name} ({how})")


def picture(rows, path):
    """Bars without start, each workload beside its own best."""
    height, left, wide = 22, 330, 360
    lines, y = [], 30
    workload = None
    rows = [(*row[:3], row[3] or row[2]) for row in rows]
    for row in rows:
        if row[0] != workload:
            workload = row[0]
            top = max(other[3] for other in rows if other[0] == workload)
            y += 14
            lines.append(f'<text x="8" y="{y + 12}" class="w">{workload}</text>')
        bar = max(row[3] / top * wide, 1)
        ours = "o" if row[1].startswith("ratchet") else "p"
        lines.append(f'<text x="{left - 8}" y="{y + 13}" text-anchor="end">{row[1]}</text>')
        lines.append(f'<rect x="{left}" y="{y + 2}" width="{bar:.0f}" height="{height - 8}" class="{ours}"/>')
        lines.append(f'<text x="{left + bar + 6:.0f}" y="{y + 13}">{row[3]:,.0f}/s</text>')
        y += height
    style = "text{font:13px sans-serif;fill:#444}.w{font-weight:bold}.o{fill:#b5541c}.p{fill:#9aa7b1}.b{fill:#fff}"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 800 {y + 16}"><style>{style}</style>'
    title = f'<rect width="800" height="{y + 16}" class="b"/><text x="8" y="22" class="w">jobs a second, two workers, process start taken off</text>'
    Path(path).write_text("\n".join([head, title, *lines, "</svg>\n"]))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the jobs")
    parser.add_argument("--svg", metavar="FILE", help="draw a picture")
    options = parser.parse_args()
    if not RATCHET.exists():
        sys.exit("build it first: cargo build --release")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "job.py").write_text(JOB)
        (folder / "worker.py").write_text(WORKER)
        (folder / "bare.py").write_text(BARE_WORKER)
        (folder / "jest.js").write_text(JEST)
        (folder / "job.js").write_text(JEST_JOB)
        for pool, script in POOLS.items():
            (folder / f"{pool.split('.')[0]}.script.py").write_text(script.replace("{workers}", str(WORKERS)))
        os.environ["PYTHONPATH"] = os.pathsep.join([name, str(ROOT / "ipc" / "sdk" / "python")])
        table = Table()
        print(f"{'':<16} {'':<27} {'with start':>14} {'without':>14}")
        tasks(table, folder, options.quick)
        commands(table, folder, options.quick)
    if options.svg:
        picture(table.rows, options.svg)


if __name__ == "__main__":
    main()
