"""Lines of the terminal: live findings once, results always, and a ranking at the end, readable on any width."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pipeline.checks import Finding, NotChecked
from pipeline.report.finding_printer import NARROW
from pipeline.report.terminal import Terminal
from pipeline.workflow.attempt import FixAttempt, StageSummary
from pipeline.workflow.outcome import Outcome
from pipeline.workflow.result import RunResult


def finding(check: str, severity: Any = "failure", remedy: tuple[str, ...] = ("init=he",), **more: Any) -> Finding:
    texts = {"expected": "less", "message": f"{check} is too much.", "why": "because", "source": "a paper"}
    return Finding(check, severity, {}, remedy=remedy, stage="train", **texts, **more)  # type: ignore[arg-type]


def outcome(*findings: Finding, passed: bool = True) -> Outcome:
    return Outcome("train", passed, 1.0, "done", {}, findings)


def result(*findings: Finding) -> RunResult:
    return RunResult("failed", 3, 2.0, Path("somewhere").resolve(), (outcome(*findings),), findings)


class Screen:
    """A terminal whose text can be read."""

    def __init__(self, *, verbose: int = 1, width: int = 100, terminal: bool = False):
        self.stream = io.StringIO()
        console = Console(
            file=self.stream, width=width, force_terminal=terminal, color_system=None, soft_wrap=not terminal,
            highlight=False, _environ={},
        )  # fmt: skip
        self.terminal = Terminal(verbose=verbose, console=console)

    @property
    def text(self) -> str:
        return self.stream.getvalue()

    def messages(self, check: str) -> int:
        """Return how often the message of a finding was printed."""
        return self.text.count(f"{check} is too much.")

    def new_lines(self) -> list[str]:
        """Return the lines since the last call."""
        lines = self.text.splitlines()
        self.stream.truncate(0)
        self.stream.seek(0)
        return lines


def test_live_finding_is_printed_once() -> None:
    """A finding is printed when it first holds, and as a reference to that at the end of the stage."""
    screen = Screen()
    screen.terminal.on_stage_start("train")
    for _ in range(3):
        screen.terminal.on_finding(finding("dead_units", where="hidden.0"))
    assert screen.messages("dead_units") == 1
    assert "init=he" in screen.text
    screen.terminal.on_stage_end(outcome(finding("dead_units", where="hidden.0"), finding("other")))
    assert (screen.messages("dead_units"), screen.messages("other")) == (1, 1)
    assert screen.text.count("failure: dead_units in hidden.0") == 2
    screen.terminal.on_stage_start("train")  # another attempt
    screen.terminal.on_finding(finding("dead_units"))
    assert screen.messages("dead_units") == 2


def test_worse_and_resolved_findings() -> None:
    """A finding whose severity changes is printed again; one that no longer holds is named once at the end."""
    screen = Screen()
    screen.terminal.on_stage_start("train")
    screen.terminal.on_finding(finding("dead_units", "warning"))
    screen.terminal.on_finding(finding("late_start", "warning"))
    screen.new_lines()
    screen.terminal.on_stage_end(outcome(finding("dead_units", "failure"), passed=False))
    assert screen.messages("dead_units") == 1
    assert "late_start" in screen.new_lines()[-1]
    screen.terminal.on_stage_start("evaluate")
    screen.terminal.on_stage_end(outcome())
    assert "late_start" not in screen.text


def test_live_findings_above_the_bar() -> None:
    screen = Screen(terminal=True)
    screen.terminal.on_stage_start("train")
    screen.terminal.progress(1, 10, loss=2.0)
    screen.terminal.on_finding(finding("dead_units"))
    screen.terminal.progress(2, 10, loss=1.0)
    screen.terminal.close()
    assert screen.messages("dead_units") == 1


def test_verbose_0() -> None:
    """Only results of stages, their findings, and the result of the run are printed."""
    screen = Screen(verbose=0)
    screen.terminal.on_stage_start("train")
    screen.terminal.on_finding(finding("dead_units"))
    assert screen.text == ""
    screen.terminal.on_stage_end(outcome(finding("dead_units"), passed=False))
    assert screen.messages("dead_units") == 1
    screen.new_lines()
    screen.terminal.on_run_end(result(finding("a"), finding("b")))
    assert len(screen.new_lines()) == 1


def test_verbose_2() -> None:
    screen = Screen(verbose=2)
    screen.terminal.on_stage_end(Outcome("train", True, 1.0, "done", {"lr": 0.5}, memory={"process_mb": 12.0}))
    assert "lr = 0.5" in screen.text
    assert "process_mb = 12.0" in screen.text
    memory = {"process_mb": 12.0, "device_mb": 300.0, "device_reserved_mb": 400.0, "device_total_mb": 1000.0}
    screen.terminal.on_stage_end(Outcome("train", True, 1.0, "done", {}, memory=memory))
    assert "device_mb = 300.0 of 1000.0" in screen.text
    assert "device_reserved_mb = 400.0 of 1000.0" in screen.text
    assert "device_total_mb" not in screen.text


def test_ranking() -> None:
    """Several findings are listed at the end, in the order of the diagnosis, with their remedies."""
    screen = Screen()
    screen.terminal.on_run_end(result(finding("cause", "warning"), finding("effect", remedy=()), finding("c", "info")))
    lines = [line.rstrip() for line in screen.text.splitlines()]
    assert lines[1:-1] == [
        "  1  warning  train: cause   try init=he",
        "  2  failure  train: effect",
        "  3  info     train: c       try init=he",
    ]
    assert lines[-1].startswith("failed in 2.0 s  ")


def test_a_change_of_code() -> None:
    """A finding without overrides says what to change, in words and as code; its rank says it in words."""
    screen = Screen()
    in_code = finding("leak", remedy=(), advice="Flatten one example at a time.", code="x = x.flatten(1)")
    screen.terminal.on_stage_end(outcome(in_code))
    assert screen.new_lines()[-2:] == ["  change   Flatten one example at a time.", "  code     x = x.flatten(1)"]
    screen.terminal.summary([dataclasses.replace(in_code, also_in=("sanity",)), finding("other")])
    assert screen.new_lines()[1].rstrip() == (
        "  1  failure  train, sanity: leak  change Flatten one example at a time."
    )


def test_what_was_not_checked() -> None:
    """One line counts the checks and names two reasons; with `verbose` 2 every check is named."""
    entries = [NotChecked("a", "one"), NotChecked("b", "two"), NotChecked("c", "two"), NotChecked("d", "three")]
    ended = dataclasses.replace(result(), not_checked=tuple(entries), judged_checks=5)
    screen = Screen()
    screen.terminal.on_run_end(ended)
    line, _ = screen.new_lines()
    assert line.startswith("5 of 9 checks judged; ")
    assert "two, one, and 1 more reason" in line
    screen = Screen(verbose=2)
    screen.terminal.on_run_end(ended)
    assert screen.new_lines()[1:-1] == ["  two: b, c", "  one: a", "  three: d"]
    screen = Screen(verbose=0)
    screen.terminal.on_run_end(ended)
    assert len(screen.new_lines()) == 1


@pytest.mark.parametrize("findings", [(), (finding("one"),)])
def test_no_ranking_of_one(findings: tuple[Finding, ...]) -> None:
    screen = Screen()
    screen.terminal.on_run_end(result(*findings))
    assert len(screen.new_lines()) == 1


@pytest.mark.parametrize("width", [20, 40, NARROW - 1, NARROW, 200])
@pytest.mark.parametrize("terminal", [True, False])
def test_nothing_is_cut(width: int, terminal: bool) -> None:
    """Checks and remedies are whole on any width."""
    screen = Screen(width=width, terminal=terminal)
    remedy = ("batchnorm=before_activation", "optimizer.lr=0.001", "regularization.l2=0.0001", "init=he")
    in_code = finding("batch_leak", remedy=(), advice="Keep the first dimension.", code="x = x.flatten(start_dim=1)")
    screen.terminal.summary([finding("regularization_raises_loss", remedy=remedy), finding("dead_units"), in_code])
    screen.terminal.on_stage_end(outcome(in_code))
    screen.terminal.not_checked([NotChecked("rate_too_low", "neither overfit nor train ran")], 3)
    letters = "".join(screen.text.split())
    words = ("regularization_raises_loss", "dead_units", "Keepthefirstdimension.", "neitheroverfitnortrainran")
    for word in (*words, "x=x.flatten(start_dim=1)", *remedy):
        assert word in letters
    assert "…" not in letters
    if terminal:
        assert max(map(len, screen.text.splitlines())) <= width


def test_fix_attempts() -> None:
    """A remedy is printed with the reason, and with the key metric before and after."""
    screen = Screen()
    screen.terminal.on_fix_start(finding("cause", remedy=("init=he", "loss=mse")), "train")
    [line] = screen.new_lines()
    assert line.startswith("fix  ")
    assert line.endswith("init=he loss=mse")
    before, after = StageSummary(False, 1, 0, "val_accuracy", 0.1), StageSummary(True, 0, 0, "val_accuracy", 0.95)
    screen.terminal.on_fix_end(FixAttempt("cause", ("init=he",), "train", True, before, after, "train passes"))
    assert screen.new_lines() == ["fix  kept: train passes; val_accuracy 0.1 -> 0.95"]
    screen.terminal.on_fix_end(FixAttempt("cause", ("init=he",), "train", False, before, None, "no such option"))
    assert screen.new_lines() == ["fix  not kept: no such option"]
    screen.terminal.on_fix_exhausted("3 remedies were tried")
    assert screen.new_lines() == ["fix  3 remedies were tried"]
