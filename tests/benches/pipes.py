#!/usr/bin/env python3
"""Figures of `ratchet map` beside xargs and GNU parallel, where each command takes several items or a block of stdin.

    cargo build --release && python3 tests/benches/pipes.py [--ratchet PATH] [--gigabytes 1] [--items 200000] [--runs 3]

Each line of the output is one measurement: the median of some runs, in seconds, and for blocks the throughput and the peak
memory of the program itself, without its commands. Nothing else should run on the machine meanwhile.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import tempfile
import time


def measured(words, stdin, runs, cwd):
    """The median of the wall clock, and the largest peak of memory in MiB."""
    times, peaks = [], []
    for _ in range(runs):
        with open(stdin, "rb") as lines, open(os.devnull, "wb") as out:
            began = time.monotonic()
            process = subprocess.Popen(words, stdin=lines, stdout=out, stderr=subprocess.DEVNULL, cwd=cwd)
            _, status, usage = os.wait4(process.pid, 0)
            times.append(time.monotonic() - began)
        if status != 0:
            raise SystemExit(f"{words} ended with {os.waitstatus_to_exitcode(status)}")
        peaks.append(usage.ru_maxrss / 1024)
    return statistics.median(times), max(peaks)


def own_peak(words, stdin, cwd):
    """The peak of memory of a process without that of its children, in MiB, from /proc while it runs."""
    peak = 0
    with open(stdin, "rb") as lines, open(os.devnull, "wb") as out:
        process = subprocess.Popen(words, stdin=lines, stdout=out, stderr=subprocess.DEVNULL, cwd=cwd)
        while process.poll() is None:
            try:
                with open(f"/proc/{process.pid}/status", encoding="utf-8") as status:
                    for line in status:
                        if line.startswith("VmHWM"):
                            peak = max(peak, int(line.split()[1]))
            except OSError:
                pass
            time.sleep(0.02)
    return peak / 1024


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--ratchet", default="target/release/ratchet")
    parser.add_argument("--gigabytes", type=float, default=1.0)
    parser.add_argument("--items", type=int, default=200_000)
    parser.add_argument("--runs", type=int, default=3)
    asked = parser.parse_args()
    ratchet = os.path.abspath(asked.ratchet)
    cores = str(os.cpu_count())
    ours = [ratchet, "map", "-q", "--no-record", "-j", cores]
    print("load before:", " ".join(f"{load:.1f}" for load in os.getloadavg()))
    with tempfile.TemporaryDirectory() as folder:
        items = os.path.join(folder, "items")
        with open(items, "w", encoding="utf-8") as out:
            out.writelines(f"item-{number}\n" for number in range(asked.items))
        print(f"{asked.items} items for `true`:")
        for name, words in (
            ("xargs -P -n 100", ["xargs", "-P", cores, "-n", "100", "true"]),
            ("ratchet map -n 100", [*ours, "-n", "100", "--", "true"]),
            ("xargs -P -n 10", ["xargs", "-P", cores, "-n", "10", "true"]),
            ("ratchet map -n 10", [*ours, "-n", "10", "--", "true"]),
            ("xargs -P (all that fit)", ["xargs", "-P", cores, "true"]),
            ("ratchet map -X", [*ours, "-X", "--", "true"]),
        ):
            seconds, _ = measured(words, items, asked.runs, folder)
            print(f"  {name:26} {seconds:8.3f} s")
        lines = os.path.join(folder, "lines")
        line = b"the quick brown fox jumps over the lazy dog 0123456789 and so on\n"
        size = int(asked.gigabytes * 1e9)
        with open(lines, "wb") as out:
            chunk = line * (1_000_000 // len(line))
            written = 0
            while written < size:
                written += out.write(chunk)
        print(f"{written / 1e9:.1f} GB of lines through `wc -l`, blocks of 1 MB:")
        programs = [("ratchet map --pipe", [*ours, "--pipe", "--block", "1M", "--", "wc", "-l"])]
        if shutil.which("parallel"):
            words = ["parallel", "--will-cite", "-j", cores, "--pipe", "--block", "1M", "wc", "-l"]
            programs.append(("parallel --pipe", words))
        for name, words in programs:
            seconds, _ = measured(words, lines, asked.runs, folder)
            peak = own_peak(words, lines, folder)
            print(f"  {name:26} {seconds:8.3f} s  {written / 1e6 / seconds:8.0f} MB/s  {peak:6.0f} MiB")
    print("load after:", " ".join(f"{load:.1f}" for load in os.getloadavg()))


main()
