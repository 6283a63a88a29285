"""What a run has written at each moment, and what a resumed run does not do again; on fake stages."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from pipeline.checks import CheckSuite, Finding
from pipeline.errors import Interrupted, UserError
from pipeline.workflow.autofix import AutoFixer
from pipeline.workflow.components import Components, RunContext, Stage
from pipeline.workflow.execution import execute
from pipeline.workflow.outcome import Outcome

Act = Callable[[Components, RunContext], tuple[Finding, ...]]


class FakeStage(Stage):
    """Does what `act(components, context)` says, and fails if that returns a failure."""

    def __init__(self, name: str, act: Act):
        self.name, self.act = name, act

    def __call__(self, components: Components, context: RunContext, earlier: Sequence[Outcome]) -> Outcome:
        findings = self.act(components, context)
        return Outcome(self.name, not findings, 0.0, "", {"earlier": len(earlier)}, findings, {"seen": self.name})


def make_components(acts: dict[str, Act], **config: Any) -> Any:
    data = SimpleNamespace(
        name="d",
        task="classification",
        sizes={"train": 1},
        classes=["a"],
        fingerprint=lambda: "f",
        class_counts=lambda: {"train": [1]},
    )
    stages = {name: FakeStage(name, act) for name, act in acts.items()}
    return SimpleNamespace(
        config={**config, "model": {"_target_": "pipeline.model.mlp.MLP"}},
        stages=stages,
        checks=CheckSuite("failure", {}),
        name="fake",
        weights=None,
        seed=0,
        loggers={},
        data=data,
        device_config=SimpleNamespace(device=torch.device("cpu"), deterministic=False),
    )


def record_of(directory: Path) -> dict[str, Any]:
    return json.loads((directory / "outcome.json").read_text())


def test_record_has_each_stage_once_it_ends(tmp_path: Path) -> None:
    """A kill at any moment loses no stage that has ended."""
    seen: list[tuple[str, list[str]]] = []

    def look(components: Components, context: RunContext) -> tuple[Finding, ...]:
        record = record_of(context.directory)
        seen.append((record["status"], [stage["name"] for stage in record["stages"]]))
        return ()

    execute(make_components({"one": look, "two": look, "three": look}), RunContext(tmp_path), arguments=[])
    assert seen == [("running", []), ("running", ["one"]), ("running", ["one", "two"])]
    assert record_of(tmp_path)["status"] == "passed"


def test_completed_stages_are_not_run_again(tmp_path: Path) -> None:
    def refuse(components: Components, context: RunContext) -> tuple[Finding, ...]:
        raise AssertionError("this stage had passed")

    acts: dict[str, Act] = {"one": refuse, "two": lambda components, context: ()}
    done = Outcome("one", True, 1.5, "h", {}, (), {})
    result = execute(make_components(acts), RunContext(tmp_path), arguments=[], completed=[done])
    assert [outcome.name for outcome in result.outcomes] == ["one", "two"]
    assert result.outcomes[0].seconds == 1.5


def test_checkpoint_is_forgotten_after_a_fix(tmp_path: Path) -> None:
    """A remedy makes another training: it must not continue from the checkpoint of the one before."""
    texts = {"expected": "e", "message": "m", "why": "w", "source": "s"}
    failure = Finding("cause", "failure", {}, remedy=("init=he",), stage="overfit", **texts)
    seen: list[Path | None] = []

    def overfit(components: Components, context: RunContext) -> tuple[Finding, ...]:
        return () if components.config.get("init") == "he" else (failure,)

    def train(components: Components, context: RunContext) -> tuple[Finding, ...]:
        seen.append(context.resume_from)
        return ()

    acts: dict[str, Act] = {"overfit": overfit, "train": train}
    autofixer = AutoFixer(lambda overrides: make_components(acts, init="he"))
    context = RunContext(tmp_path / "new", resume_from=tmp_path / "old" / "checkpoints" / "last.ckpt")
    result = execute(make_components(acts, init="zeros"), context, arguments=[], autofixer=autofixer)
    assert result.status == "passed"
    assert seen == [None]


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [(Interrupted(15), "interrupted", 143), (KeyError(), "error", 1), (UserError("x"), "error", 2)],
)
def test_end_by_an_exception_is_recorded(error: BaseException, status: str, code: int, tmp_path: Path) -> None:
    def fail(components: Components, context: RunContext) -> tuple[Finding, ...]:
        raise error

    reports: list[Path] = []
    acts: dict[str, Act] = {"one": lambda components, context: (), "two": fail}
    with pytest.raises(type(error)):
        execute(make_components(acts), RunContext(tmp_path), arguments=[], write_report=reports.append)
    record = record_of(tmp_path)
    assert (record["status"], record["exit_code"]) == (status, code)
    assert [stage["name"] for stage in record["stages"]] == ["one"]
    assert reports == [tmp_path]
