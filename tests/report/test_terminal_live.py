"""The program on a pseudo-terminal: bars where they can be drawn, and nowhere else."""

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

ROOT = Path(__file__).resolve().parents[2]
COLOUR = re.compile(r"\x1b\[[0-9;]*3[1-7][0-9;]*m")
DRAWN_OVER = re.compile(r"\x1b\[\d*[A-KJ]|\x1b\[\?25l|\r(?!\n)")
STAGES = ("data=digits", "model=mlp", "stage=[sanity,overfit]")


def run_on_terminal(
    *args: str, folder: Path, columns: int = 80, until: Callable[[str], bool] = lambda output: False, **environment: str
) -> tuple[str, int]:
    """Return what the program writes on a terminal, and its exit code. Ctrl-C is typed once `until(output)` holds."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(folder)
        inherited = {key: value for key, value in os.environ.items() if key not in ("CI", "NO_COLOR", "COLUMNS")}
        settings = {"PYTHONPATH": str(ROOT), "TERM": "xterm-256color", "OMP_NUM_THREADS": "1"} | environment
        os.execve(sys.executable, [sys.executable, "-m", "pipeline", *args], inherited | settings)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    output, has_typed, deadline = "", False, time.monotonic() + 120
    while time.monotonic() < deadline:
        if select.select([terminal], [], [], 0.2)[0]:
            try:
                output += os.read(terminal, 65536).decode(errors="replace")
            except OSError:  # the program closed its end
                break
        if not has_typed and until(output):
            os.write(terminal, b"\x03")
            has_typed = True
    os.close(terminal)
    return output, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def remaining_lines(output: str, *, columns: int) -> list[str]:
    """Return the lines that can be read at the end, and assert that they fit the terminal."""
    plain = re.sub(r"\x1b\[\??[0-9;]*[A-Za-z]", "", output.replace("\r\n", "\n"))
    lines = [line.rpartition("\r")[2] for line in plain.split("\n")]
    assert all(len(line.rstrip()) <= columns for line in lines if not line.startswith("passed in"))
    return lines


@pytest.mark.slow
@pytest.mark.parametrize("columns", [40, 80, 120])
def test_bar(columns: int, tmp_path: Path) -> None:
    """A bar moves while a stage runs, and is gone at its end."""
    output, code = run_on_terminal(*STAGES, folder=tmp_path, columns=columns)
    assert code == 0
    assert DRAWN_OVER.search(output)
    assert "steps/s" in output
    assert output.count("\x1b[?25l") == output.count("\x1b[?25h") == 2, "the cursor comes back after each stage"
    assert COLOUR.search(output)
    assert sum("passed" in line for line in remaining_lines(output, columns=columns)) == 3


@pytest.mark.slow
@pytest.mark.parametrize(
    "environment", [{"CI": "true"}, {"TERM": "dumb"}, {"NO_COLOR": "1"}], ids=["CI", "dumb", "NO_COLOR"]
)
def test_no_bar_or_no_colour(environment: dict[str, str], tmp_path: Path) -> None:
    output, code = run_on_terminal(*STAGES, folder=tmp_path, **environment)
    assert code == 0
    if "NO_COLOR" in environment:
        assert not COLOUR.search(output)
    else:
        assert not DRAWN_OVER.search(output)
        assert "steps/s" not in output
    assert "\x1b" not in output or "TERM" not in environment


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["overfit", "train"])
def test_ctrl_c(stage: str, tmp_path: Path) -> None:
    """The terminal is clean after Ctrl-C: the cursor is back, and there is no traceback."""
    args = ("data=digits", "model=mlp", f"stage={stage}", "optimizer.lr=1e-5")
    steps = ("stages.train.epochs=500",) if stage == "train" else ("stages.overfit.steps=100000",)
    output, code = run_on_terminal(*args, *steps, folder=tmp_path, until=lambda text: "steps/s" in text)
    assert code == 128 + signal.SIGINT
    assert output.count("\x1b[?25l") == output.count("\x1b[?25h") > 0
    assert "resume=auto" in output.rstrip().splitlines()[-1]
    assert "Traceback" not in output


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
def test_is_live(terminal: bool, environment: dict[str, str], live: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", environment.get("CI", ""))
    assert is_live(Console(file=io.StringIO(), force_terminal=terminal, _environ=environment)) is live


def test_pipe_wraps_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    console().print("word " * 99 + "word", style="bold red")
    assert capsys.readouterr().out == "word " * 99 + "word\n"


@pytest.mark.parametrize("width", [40, 60, 80, 120])
@pytest.mark.parametrize(("unit", "rate"), [("steps", "100 steps/s"), ("", "")])
def test_bar_fits(width: int, unit: str, rate: str) -> None:
    """The bar shows the speed, the remaining time and, where there is room, the newest numbers."""
    stream, now = io.StringIO(), [0.0]
    screen = Console(file=stream, width=width, force_terminal=True, color_system=None, highlight=False, _environ={})
    screen.get_time = lambda: now[0]  # type: ignore[method-assign]
    bar = StageProgress("train", console=screen)
    for step in range(1, 4):
        now[0] += 1.0
        numbers = {"epoch": 12.0, "loss": 0.123456, "val_accuracy": 0.987654}
        bar.update(100 * step, 1000, unit=unit, numbers=numbers)
    bar.stop()
    frames = re.sub(r"\x1b\[\??[0-9;]*[A-Za-z]", "", stream.getvalue()).split("\r")
    last = [frame for frame in frames if frame.strip()][-1]
    assert "…" not in last
    assert (rate in last) if rate else ("/s" not in last)
    assert ("val 0.9877" in last) == (width >= 80)
    assert "00:07" in last


@pytest.mark.slow
def test_broken_pipe(tmp_path: Path) -> None:
    """A run continues when the reader of its output is gone."""
    command = f"{sys.executable} -m pipeline {' '.join(STAGES)} | head -n 1; exit ${{PIPESTATUS[0]}}"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert done.stderr == ""
    (outcome,) = tmp_path.glob("outputs/run/*/outcome.json")
    assert json.loads(outcome.read_text())["status"] == "passed"
