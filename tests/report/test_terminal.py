"""What is told: live findings once, verdicts always, and all findings at the end, readable on any width."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pipeline.checks import Finding
from pipeline.report.terminal import NARROW, Terminal
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
    def __init__(self, *, verbose: int = 1, width: int = 100, terminal: bool = False):
        self.text = io.StringIO()
        console = Console(
            file=self.text, width=width, force_terminal=terminal, color_system=None, soft_wrap=not terminal,
            highlight=False, _environ={},
        )  # fmt: skip
        self.terminal = Terminal(verbose=verbose, console=console)

    def __str__(self) -> str:
        return self.text.getvalue()


def test_a_finding_is_told_when_it_first_holds_and_in_a_line_at_the_end() -> None:
    screen = Screen()
    screen.terminal.on_stage_start("train")
    for _ in range(3):
        screen.terminal.on_finding(finding("dead_units", where="hidden.0"))
    assert str(screen).count("dead_units is too much.") == 1
    assert "try      init=he" in str(screen)
    screen.terminal.on_stage_end(outcome(finding("dead_units", where="hidden.0"), finding("other")))
    said = str(screen)
    assert said.count("dead_units is too much.") == 1
    assert "  failure: dead_units in hidden.0: as told above\n" in said
    assert said.count("other is too much.") == 1
    screen.terminal.on_stage_start("train")  # another attempt tells it anew
    screen.terminal.on_finding(finding("dead_units"))
    assert str(screen).count("dead_units is too much.") == 2


def test_a_finding_that_gets_worse_is_told_again_and_one_that_went_away_is_taken_back() -> None:
    screen = Screen()
    screen.terminal.on_stage_start("train")
    screen.terminal.on_finding(finding("dead_units", "warning"))
    screen.terminal.on_finding(finding("late_start", "warning"))
    screen.terminal.on_stage_end(outcome(finding("dead_units", "failure"), passed=False))
    said = str(screen)
    assert said.count("dead_units is too much.") == 2
    assert "as told above" not in said
    assert "late_start: told above, and no longer so at the end" in said
    screen.terminal.on_stage_start("evaluate")
    screen.terminal.on_stage_end(outcome())
    assert str(screen).count("late_start: told above") == 1


def test_live_findings_stand_above_the_bar() -> None:
    screen = Screen(terminal=True)
    screen.terminal.on_stage_start("train")
    screen.terminal.progress(1, 10, loss=2.0)
    screen.terminal.on_finding(finding("dead_units"))
    screen.terminal.progress(2, 10, loss=1.0)
    screen.terminal.close()
    assert str(screen).count("dead_units is too much.") == 1


def test_verbose_0_tells_verdicts_only() -> None:
    screen = Screen(verbose=0)
    screen.terminal.on_stage_start("train")
    screen.terminal.on_finding(finding("dead_units"))
    assert str(screen) == ""
    screen.terminal.on_stage_end(outcome(finding("dead_units"), passed=False))
    assert "dead_units is too much." in str(screen)
    screen.terminal.on_run_end(result(finding("a"), finding("b")))
    assert "findings" not in str(screen)


def test_several_findings_are_listed_at_the_end_in_the_order_of_the_diagnosis() -> None:
    screen = Screen()
    screen.terminal.on_run_end(result(finding("cause", "warning"), finding("effect", remedy=()), finding("c", "info")))
    lines = [line.rstrip() for line in str(screen).splitlines()]
    assert lines[:-1] == [
        "3 findings, the first to mend first:",
        "  1  warning  train: cause   try init=he",
        "  2  failure  train: effect",
        "  3  info     train: c       try init=he",
    ]
    assert lines[-1].startswith("failed in 2.0 s  ")


@pytest.mark.parametrize("findings", [(), (finding("one"),)])
def test_one_finding_needs_no_list(findings: tuple[Finding, ...]) -> None:
    screen = Screen()
    screen.terminal.on_run_end(result(*findings))
    assert len(str(screen).splitlines()) == 1


@pytest.mark.parametrize("width", [20, 40, NARROW - 1, NARROW, 200])
@pytest.mark.parametrize("terminal", [True, False])
def test_no_check_and_no_remedy_is_cut_on_any_width(width: int, terminal: bool) -> None:
    screen = Screen(width=width, terminal=terminal)
    long = ("batchnorm=before_activation", "optimizer.lr=0.001", "regularization.l2=0.0001", "init=he")
    screen.terminal.summary([finding("regularization_raises_loss", remedy=long), finding("dead_units")])
    said = "".join(str(screen).split())
    for words in ("regularization_raises_loss", "dead_units", *long):
        assert words in said
    assert "…" not in said
    if terminal:
        assert max(map(len, str(screen).splitlines())) <= width


def test_what_fix_tries_is_said_with_the_measure_before_and_after() -> None:
    screen = Screen()
    screen.terminal.on_fix_start(finding("cause", remedy=("init=he", "loss=mse")), "train")
    before, after = StageSummary(False, 1, 0, "val_accuracy", 0.1), StageSummary(True, 0, 0, "val_accuracy", 0.95)
    screen.terminal.on_fix_end(FixAttempt("cause", ("init=he",), "train", True, before, after, "train passes"))
    screen.terminal.on_fix_end(FixAttempt("cause", ("init=he",), "train", False, before, None, "it cannot be tried: x"))
    screen.terminal.on_fix_exhausted("3 remedies were tried")
    assert str(screen).splitlines() == [
        "fix  cause: trying init=he loss=mse",
        "fix  kept: train passes; val_accuracy 0.1 -> 0.95",
        "fix  not kept: it cannot be tried: x",
        "fix  3 remedies were tried",
    ]
