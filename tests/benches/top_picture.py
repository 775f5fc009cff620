#!/usr/bin/env python3
"""The picture of `ratchet top` in the README, from the screen of a real run.

    cargo build --release
    python3 tests/benches/top_picture.py target/release/ratchet > tests/benches/top.svg

It needs tmux, which is the terminal. The run has commands that print, workers that die now and then, limits, needs and
failures, and is shown once it has gone on for a while.
"""

import html
import json
import os
import re
import subprocess
import sys
import tempfile
import time

COLUMNS, ROWS = 100, 30
# How long the run goes on before its screen is taken, so that there is a rate over time, and how long that may take.
SECONDS, PATIENCE = 45, 120

# Of one character, in units of the picture.
WIDTH, HEIGHT = 8.4, 18
FOREGROUND, BACKGROUND = "#d4d4d4", "#1e1e1e"
COLOURS = {1: "#f14c4c", 2: "#23d18b", 3: "#e5c07b", 6: "#29b8db", 8: "#7f7f7f"}


def job_file(ratchet):
    """Jobs of about a second, with a bit of everything."""
    jobs = []
    for number in range(1, 401):
        script = f"for part in 1 2 3 4 5 6 7 8; do echo \"package {number}: part $part of 8\"; sleep 0.$((part + {number % 4})); done"
        jobs.append({"id": f"build-{number}", "run": ["sh", "-c", script]})
        jobs.append({"id": f"resize-{number}", "task": "sleep", "input": {"ms": 300 + number * 37 % 900}})
        if number % 3 == 0:
            needs = [f"build-{number}"]
            jobs.append({"id": f"deploy-{number}", "needs": needs, "limits": ["db"], "run": ["sh", "-c", "echo deploying; sleep 2"]})
        if number % 9 == 0:
            script = f"echo 'test {number}: expected 3, got 4' >&2; sleep 0.4; exit 1"
            jobs.append({"id": f"test-{number}", "run": ["sh", "-c", script]})
    return {
        "version": 1,
        "workers": {"images": {"command": [ratchet, "worker"], "tasks": ["sleep"], "size": 3}},
        "limits": {"db": {"max": 2}, "api": {"rate": "5/s"}},
        "jobs": jobs,
    }


def parse(line):
    """The pieces of a line, each with its colour, whether it is inverted, and whether it is bold."""
    colour, inverted, bold = None, False, False
    for text, codes in re.findall(r"([^\x1b]+)|\x1b\[([0-9;]*)m", line):
        if text:
            yield text, colour, inverted, bold
            continue
        codes = [int(code or 0) for code in codes.split(";")]
        while codes:
            code = codes.pop(0)
            if code == 0:
                colour, inverted, bold = None, False, False
            elif code in (38, 48) and codes[:1] == [5]:
                chosen = codes[1]
                codes = codes[2:]
                colour = chosen if code == 38 else colour
            elif 30 <= code <= 37:
                colour = code - 30
            elif 90 <= code <= 97:
                colour = code - 82
            elif code == 39:
                colour = None
            elif code in (7, 27):
                inverted = code == 7
            elif code in (1, 22):
                bold = code == 1


def picture(screen):
    """The screen as SVG."""
    width, height = COLUMNS * WIDTH + 20, ROWS * HEIGHT + 20
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" font-size="14" '
        'font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, DejaVu Sans Mono, monospace">',
        "<title>ratchet top, showing a run</title>",
        f'<rect width="100%" height="100%" rx="6" fill="{BACKGROUND}"/>',
    ]
    for row, line in enumerate(screen.split("\n")[:ROWS]):
        column, y = 0, 10 + row * HEIGHT
        for text, colour, inverted, bold in parse(line):
            fill = COLOURS.get(colour, FOREGROUND)
            x, wide = 10 + column * WIDTH, len(text) * WIDTH
            column += len(text)
            if inverted:
                out.append(f'<rect x="{x:.1f}" y="{y}" width="{wide:.1f}" height="{HEIGHT}" fill="{fill}"/>')
                fill = BACKGROUND
            if not text.strip():
                continue
            weight = ' font-weight="bold"' if bold else ""
            out.append(
                f'<text x="{x:.1f}" y="{y + 13.5}" textLength="{wide:.1f}" lengthAdjust="spacingAndGlyphs" '
                f'xml:space="preserve" fill="{fill}"{weight}>{html.escape(text)}</text>'
            )
    out.append("</svg>")
    return "\n".join(out) + "\n"


def main():
    ratchet = os.path.abspath(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "jobs.json"), "w") as file:
            json.dump(job_file(ratchet), file)
        state = ["--state-dir", os.path.join(folder, "state")]
        run = subprocess.Popen(
            [ratchet, "run", "-j8", *state, "jobs.json"],
            cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        tmux = lambda *words: subprocess.run(
            ["tmux", "-S", os.path.join(folder, "tmux"), "-f", "/dev/null", *words],
            check=True, capture_output=True, text=True,
        ).stdout
        try:
            elapsed, deadline = 0, time.monotonic() + PATIENCE
            while elapsed < SECONDS * 1000:
                if time.monotonic() > deadline:
                    sys.exit("the run does not go on")
                time.sleep(1)
                shown = subprocess.run([ratchet, "runs", "show", *state, "--format", "json"], capture_output=True)
                elapsed = (json.loads(shown.stdout or "{}").get("live") or {}).get("elapsed_ms", 0)
            tmux("new-session", "-d", "-x", str(COLUMNS), "-y", str(ROWS), "-e", "LC_ALL=C.UTF-8",
                 ratchet, "top", *state)
            tmux("set-option", "status", "off")
            tmux("resize-window", "-x", str(COLUMNS), "-y", str(ROWS))
            # The second job, once it has printed something.
            tmux("send-keys", "Down")
            while "part 4 of 8" not in (screen := tmux("capture-pane", "-e", "-p")):
                if time.monotonic() > deadline:
                    sys.exit("the chosen job prints nothing")
                time.sleep(0.2)
            sys.stdout.write(picture(screen))
        finally:
            subprocess.run(["tmux", "-S", os.path.join(folder, "tmux"), "kill-server"], capture_output=True)
            run.kill()
            run.wait()


if __name__ == "__main__":
    main()
