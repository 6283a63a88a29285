"""The program before a terminal of its own, as one sits before it: bars where they can be drawn, and nowhere else."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from pipeline.report.console import console, is_live
from pipeline.report.progress_bar import StageProgress

ROOT = Path(__file__).parents[2]
COLOUR = re.compile(r"\x1b\[[0-9;]*3[1-7][0-9;]*m")
DRAWN_OVER = re.compile(r"\x1b\[\d*[A-KJ]|\x1b\[\?25l|\r(?!\n)")
STAGES = ("data=digits", "model=mlp", "stage=[sanity,overfit]")


def on_a_terminal(
    *words: str, folder: Path, columns: int = 80, until: Callable[[str], bool] = lambda seen: False, **environment: str
) -> tuple[str, int]:
    """What the program writes on a terminal, and its exit code. Where `until` holds, Ctrl-C is typed once."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(folder)
        plain = {key: value for key, value in os.environ.items() if key not in ("CI", "NO_COLOR", "COLUMNS")}
        here = {"PYTHONPATH": str(ROOT), "TERM": "xterm-256color", "OMP_NUM_THREADS": "1"} | environment
        os.execve(sys.executable, [sys.executable, "-m", "pipeline", *words], plain | here)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    seen, typed, end = "", False, time.monotonic() + 120
    while time.monotonic() < end:
        if select.select([terminal], [], [], 0.2)[0]:
            try:
                seen += os.read(terminal, 65536).decode(errors="replace")
            except OSError:  # the program closed its end
                break
        if not typed and until(seen):
            os.write(terminal, b"\x03")
            typed = True
    os.close(terminal)
    return seen, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def shown(text: str, *, columns: int) -> list[str]:
    """The lines that are left to read, without those drawn over."""
    bare = re.sub(r"\x1b\[\??[0-9;]*[A-Za-z]", "", text.replace("\r\n", "\n"))
    lines = [line.rpartition("\r")[2] for line in bare.split("\n")]
    assert all(len(part) <= columns for line in lines for part in [line.rstrip()] if not part.startswith("passed in"))
    return lines


@pytest.mark.slow
@pytest.mark.parametrize("columns", [40, 80, 120])
def test_a_bar_moves_and_is_gone_in_the_end(columns: int, tmp_path: Path) -> None:
    seen, code = on_a_terminal(*STAGES, folder=tmp_path, columns=columns)
    assert code == 0
    assert DRAWN_OVER.search(seen)
    assert "steps/s" in seen
    assert seen.count("\x1b[?25l") == seen.count("\x1b[?25h") == 2, "the cursor comes back after each stage"
    assert COLOUR.search(seen)
    lines = shown(seen, columns=columns)
    assert sum("passed" in line for line in lines) == 3


@pytest.mark.slow
@pytest.mark.parametrize(
    "environment", [{"CI": "true"}, {"TERM": "dumb"}, {"NO_COLOR": "1"}], ids=["CI", "dumb", "NO_COLOR"]
)
def test_who_cannot_or_will_not_see_it_is_spared(environment: dict[str, str], tmp_path: Path) -> None:
    seen, code = on_a_terminal(*STAGES, folder=tmp_path, **environment)
    assert code == 0
    if "NO_COLOR" in environment:
        assert not COLOUR.search(seen)
    else:
        assert not DRAWN_OVER.search(seen)
        assert "steps/s" not in seen
    assert "\x1b" not in seen or "TERM" not in environment


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["overfit", "train"])
def test_ctrl_c_leaves_a_clean_terminal(stage: str, tmp_path: Path) -> None:
    words = ("data=digits", "model=mlp", f"stage={stage}", "optimizer.lr=1e-5")
    more = ("stages.train.epochs=500",) if stage == "train" else ("stages.overfit.steps=100000",)
    seen, code = on_a_terminal(*words, *more, folder=tmp_path, until=lambda text: "steps/s" in text)
    assert code == 128 + signal.SIGINT
    assert seen.count("\x1b[?25l") == seen.count("\x1b[?25h") > 0
    assert seen.rstrip().endswith("stopped; go on with resume=auto")
    assert "Traceback" not in seen


@pytest.mark.parametrize(
    ("terminal", "environment", "live"),
    [
        (True, {"TERM": "xterm"}, True),
        (True, {"TERM": "dumb"}, False),
        (True, {"TERM": "xterm", "CI": "true"}, False),
        (True, {"TERM": "xterm", "CI": "false"}, True),
        (False, {"TERM": "xterm"}, False),
    ],
)
def test_where_a_line_may_be_drawn_over(
    terminal: bool, environment: dict[str, str], live: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", environment.get("CI", ""))
    made = Console(file=io.StringIO(), force_terminal=terminal, _environ=environment)
    assert is_live(made) is live


def test_in_a_pipe_a_line_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    console().print("word " * 100, style="bold red")
    assert capsys.readouterr().out == "word " * 100 + "\n"


@pytest.mark.parametrize("width", [40, 60, 80, 120])
@pytest.mark.parametrize(("unit", "rate"), [("steps", "100 steps/s"), ("", "")])
def test_the_bar_says_how_fast_and_fits(width: int, unit: str, rate: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = io.StringIO()
    made = Console(file=text, width=width, force_terminal=True, color_system=None, highlight=False, _environ={})
    now = [0.0]
    made.get_time = lambda: now[0]  # type: ignore[method-assign]
    bar = StageProgress("train", console=made)
    for step in range(1, 4):
        now[0] += 1.0
        numbers = {"epoch": 12.0, "loss": 0.123456, "val_accuracy": 0.987654}
        bar.update(100 * step, 1000, unit=unit, numbers=numbers)
    bar.stop()
    frames = re.sub(r"\x1b\[\??[0-9;]*[A-Za-z]", "", text.getvalue()).split("\r")
    last = [frame for frame in frames if frame.strip()][-1]
    assert "…" not in last
    assert (rate in last) if rate else ("/s" not in last)
    assert ("val 0.9877" in last) == (width >= 80)
    assert "00:07" in last


def test_a_run_whose_reader_is_gone_goes_on(tmp_path: Path) -> None:
    command = f"{sys.executable} -m pipeline {' '.join(STAGES)} | head -n 1; exit ${{PIPESTATUS[0]}}"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert done.stderr == ""
    (outcome,) = tmp_path.glob("outputs/run/*/outcome.json")
    assert json.loads(outcome.read_text())["status"] == "passed"
