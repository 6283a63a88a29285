"""What fix=true tries, in which order, what it runs again, and what it keeps; on fake stages."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import pytest
import torch

from pipeline.checks import CheckSuite, Finding
from pipeline.errors import Interrupted, UserError
from pipeline.stages.evaluate import Evaluate
from pipeline.stages.overfit import Overfit
from pipeline.stages.sanity import Sanity
from pipeline.stages.train import Train
from pipeline.workflow.attempt import FixAttempt, StageSummary, is_improvement
from pipeline.workflow.autofix import MAX_ATTEMPTS, AutoFixer, first_stage_to_rerun
from pipeline.workflow.components import Components, RunContext, Stage
from pipeline.workflow.execution import execute
from pipeline.workflow.outcome import Outcome
from pipeline.workflow.reporter import NullReporter, Reporter
from pipeline.workflow.result import RunResult

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "outcome.schema.json").read_text())
ORDER = ("cause", "other", "effect", "rate")
Findings = dict[str, tuple[str, tuple[str, ...]]]


@dataclass(frozen=True)
class FakeComponents:
    """The fields of `Components` that the workflow reads."""

    config: dict[str, Any]
    stages: dict[str, Stage]
    checks: CheckSuite
    name: str = "fake"
    seed: int = 0
    weights: None = None
    loggers: dict[str, Any] = field(default_factory=dict)
    data: Any = field(
        default_factory=lambda: SimpleNamespace(
            name="d",
            task="classification",
            sizes={"train": 1},
            classes=["a"],
            fingerprint=lambda: "f",
            class_counts=lambda: {"train": [1]},
        )
    )
    device_config: Any = field(default_factory=lambda: SimpleNamespace(device=torch.device("cpu"), deterministic=False))


class FakeRule:
    """A rule that finds nothing: the findings are those of the fake stages."""

    needs = reads = ()

    def __init__(self, explains: tuple[str, ...]):
        self.explains = explains

    def __call__(self, signals: Any) -> None:
        return None


class World:
    """A run of fake stages. `stages[name](config)` returns check -> (severity, remedy), and maybe an accuracy."""

    def __init__(self, folder: Path, *, fail_on: str = "failure", **stages: Callable[[dict[str, Any]], Findings]):
        self.folder, self.findings_of, self.log = folder, stages, list[str]()
        explains = {"cause": ("effect",)}
        rules = {check: FakeRule(explains.get(check, ())) for check in ORDER}
        self.checks = CheckSuite(fail_on, rules)  # type: ignore[arg-type]
        self.refused: set[str] = set()

    def components(self, more: Sequence[str] = ()) -> Any:
        if refused := self.refused & set(more):
            raise UserError("no such thing", field=refused.pop().partition("=")[0])
        config: dict[str, Any] = {"optimizer": "1", "stages": dict.fromkeys(self.findings_of, "")}
        for override in more:
            key, _, value = override.partition("=")
            if key.startswith("stages."):
                config["stages"][key.split(".")[1]] = value
            else:
                config[key] = value
        stages: dict[str, Stage] = {name: STAGES[name](self, name) for name in self.findings_of}
        return FakeComponents({**config, "model": {"_target_": "pipeline.model.mlp.MLP"}}, stages, self.checks)

    def run(self, *, fixes: Sequence[FixAttempt] = (), reporter: Reporter | None = None) -> RunResult:
        autofixer = AutoFixer(self.components, fixes=fixes)
        components = self.components(autofixer.applied_overrides)
        context, arguments = RunContext(self.folder), ["optimizer=1", "fix=true"]
        result = execute(components, context, arguments=arguments, autofixer=autofixer, reporter=reporter)
        jsonschema.validate(self.record, SCHEMA)
        assert not (self.folder / "fixes").exists()
        return result

    @property
    def record(self) -> dict[str, Any]:
        return json.loads((self.folder / "outcome.json").read_text())


class FakeStage(Stage):
    """Finds what the world says, and writes a file into a folder and one beside it."""

    def __init__(self, world: World, name: str):
        self.world, self.name = world, name

    def __call__(self, components: Components, context: RunContext, earlier: Sequence[Outcome]) -> Outcome:
        self.world.log.append(self.name)
        findings_of = dict(self.world.findings_of[self.name](components.config))
        accuracy = findings_of.pop("accuracy", 0.5)
        (context.directory / "checkpoints").mkdir(parents=True, exist_ok=True)
        (context.directory / "checkpoints" / self.name).write_text(str(components.config["optimizer"]))
        (context.directory / f"{self.name}.csv").write_text(str(components.config["optimizer"]))
        texts = {"expected": "e", "message": "m", "why": "w", "source": "s"}
        findings = tuple(
            Finding(check, severity, {}, remedy=remedy, stage=self.name, **texts)  # type: ignore[arg-type]
            for check, (severity, remedy) in findings_of.items()
        )
        metrics = {"val_accuracy": accuracy, "overfit_loss": 1.0}
        passed = not components.checks.has_failure(findings)
        return Outcome(self.name, passed, 0.0, "", metrics, findings, {"seen": self.name})


def like(stage: type[Stage]) -> type[FakeStage]:
    """Return a fake stage that is compared and fixed as `stage` is."""
    names = ("key_metric", "is_fixable", "fixes_warnings")
    return type(f"Fake{stage.__name__}", (FakeStage,), {name: getattr(stage, name) for name in names})


STAGES = {"sanity": like(Sanity), "overfit": like(Overfit), "train": like(Train), "evaluate": like(Evaluate)}


def fails(check: str, *remedy: str) -> Findings:
    return {check: ("failure", remedy)}


def warns(check: str, *remedy: str) -> Findings:
    return {check: ("warning", remedy)}


def fine(config: dict[str, Any]) -> Findings:
    return {}


def test_helpful_remedy_is_kept(tmp_path: Path) -> None:
    """The run goes on with it, and its record has the command that repeats it."""
    world = World(
        tmp_path,
        sanity=fine,
        overfit=lambda config: {} if config.get("init") == "he" else fails("cause", "init=he"),
        train=lambda config: {} if config.get("init") == "he" else fails("other"),
    )
    result = world.run()
    assert (result.status, result.exit_code) == ("passed", 0)
    assert world.log == ["sanity", "overfit", "sanity", "overfit", "train"]
    assert [(fix.remedy, fix.stage, fix.kept) for fix in result.fixes] == [(("init=he",), "overfit", True)]
    assert result.findings == ()
    record = world.record
    assert record["command"] == "python -m pipeline optimizer=1 init=he"
    assert record["config_hash"] != record["typed_hash"]
    assert record["fixes"][0]["before"] == {
        "status": "failed", "failures": 1, "warnings": 0, "measure": "overfit_loss", "value": 1.0,
    }  # fmt: skip
    assert record["fixes"][0]["after"]["status"] == "passed"


def test_useless_remedy_is_undone(tmp_path: Path) -> None:
    world = World(tmp_path, train=lambda config: fails("cause", "optimizer=2"))
    result = world.run()
    assert result.exit_code == 3
    assert [fix.kept for fix in result.fixes] == [False]
    assert world.log == ["train", "train"]
    record = world.record
    assert record["command"] == "python -m pipeline optimizer=1 fix=true"
    assert record["config_hash"] == record["typed_hash"]
    assert (tmp_path / "checkpoints" / "train").read_text() == "1"  # not that of the attempt
    assert (tmp_path / "train.csv").read_text() == "1"


def test_files_of_kept_attempt(tmp_path: Path) -> None:
    world = World(tmp_path, train=lambda config: {} if config["optimizer"] == "2" else fails("cause", "optimizer=2"))
    assert world.run().exit_code == 0
    assert (tmp_path / "checkpoints" / "train").read_text() == "2"
    assert (tmp_path / "train.csv").read_text() == "2"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoints", "outcome.json", "signals.json", "train.csv"]


def test_attempt_builds_on_the_one_before(tmp_path: Path) -> None:
    world = World(
        tmp_path,
        train=lambda config: (
            fails("rate", f"optimizer={int(config['optimizer']) + 1}") if int(config["optimizer"]) < 3 else {}
        ),
    )
    result = world.run()
    assert [(fix.remedy, fix.kept) for fix in result.fixes] == [(("optimizer=2",), False), (("optimizer=3",), True)]
    assert world.record["command"].endswith("optimizer=1 optimizer=3")


def test_new_finding_of_attempt(tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> Findings:
        if "init" not in config:
            return fails("cause", "init=he")
        return {} if "loss" in config else fails("rate", "loss=mse")

    result = World(tmp_path, train=train).run()
    assert [fix.remedy for fix in result.fixes] == [("init=he",), ("init=he", "loss=mse")]
    assert result.status == "passed"


def test_worse_attempt_is_not_followed(tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> Findings:
        if "init" in config:
            return {**fails("rate", "schedule=cosine"), **fails("other")}
        return {} if "loss" in config else {**fails("cause", "init=he"), **warns("other", "loss=mse")}

    assert [fix.remedy for fix in World(tmp_path, train=train).run().fixes] == [("init=he",), ("loss=mse",)]


def test_second_stage_is_fixed_too(tmp_path: Path) -> None:
    world = World(
        tmp_path,
        sanity=lambda config: {} if "init" in config else fails("cause", "init=he"),
        train=lambda config: {} if "loss" in config else fails("other", "loss=mse"),
    )
    assert [fix.kept for fix in world.run().fixes] == [True, True]
    assert world.record["command"].endswith("optimizer=1 init=he loss=mse")


def test_max_attempts(tmp_path: Path) -> None:
    world = World(tmp_path, train=lambda config: fails("rate", f"optimizer={int(config['optimizer']) + 1}"))
    assert len(world.run().fixes) == MAX_ATTEMPTS == 3
    assert world.log == ["train"] * 4


def test_ranking_decides_order(tmp_path: Path) -> None:
    """A warning of an earlier stage that explains the failure comes first."""
    world = World(
        tmp_path,
        sanity=lambda config: {} if "init" in config else warns("cause", "init=he"),
        overfit=lambda config: (
            {} if "init" in config else {**fails("other", "loss=mse"), **fails("effect", "loss=hinge")}
        ),
    )
    assert [fix.remedy for fix in world.run().fixes] == [("init=he",)]


def test_failure_without_remedy(tmp_path: Path) -> None:
    reasons: list[str] = []
    reporter = NullReporter()
    reporter.on_fix_exhausted = reasons.append  # type: ignore[method-assign]
    world = World(tmp_path, sanity=lambda config: {**fails("cause"), **fails("other", "init=he")})
    result = world.run(reporter=reporter)
    assert (result.fixes, world.log) == ((), ["sanity"])
    assert len(reasons) == 1
    assert "cause" in reasons[0]


def test_warning_without_remedy(tmp_path: Path) -> None:
    """What it explains is not tried: with the symptom gone the cause would still be there. Other failures are."""
    reasons: list[str] = []
    reporter = NullReporter()
    reporter.on_fix_exhausted = reasons.append  # type: ignore[method-assign]
    symptom = World(
        tmp_path, train=lambda config: {**warns("cause"), **({} if "loss" in config else fails("effect", "loss=mse"))}
    )
    result = symptom.run(reporter=reporter)
    assert (result.status, result.fixes) == ("failed", ())
    assert "cause" in reasons[0]
    world = World(
        tmp_path, train=lambda config: {**warns("cause"), **({} if "loss" in config else fails("other", "loss=mse"))}
    )
    assert [(fix.check, fix.kept) for fix in world.run().fixes] == [("other", True)]


@pytest.mark.parametrize(
    ("after", "kept"), [(fine, True), (lambda config: warns("other", "loss=mse"), False)], ids=["gone", "still there"]
)
def test_a_cause_that_is_still_there(after: Callable[[Any], Findings], kept: bool, tmp_path: Path) -> None:
    """A remedy that makes the stage pass is not kept while what it should cure is found again, in whatever stage."""
    world = World(
        tmp_path,
        sanity=lambda config: after(config) if "loss" in config else warns("other", "loss=mse"),
        train=lambda config: {} if "loss" in config else fails("rate", "optimizer=2"),
    )
    result = world.run()
    attempt = next(fix for fix in result.fixes if fix.check == "other")
    assert attempt.kept is kept
    assert ("other" in attempt.reason) is not kept
    assert (result.status == "passed") is kept


def test_a_milder_cause_is_an_improvement(tmp_path: Path) -> None:
    world = World(
        tmp_path,
        train=lambda config: warns("rate") if config["optimizer"] == "2" else fails("rate", "optimizer=2"),
    )
    result = world.run()
    assert [fix.kept for fix in result.fixes] == [True]
    assert result.status == "passed"


@pytest.mark.parametrize(
    ("refused", "remedy", "word"),
    [
        ("nothing=1", ("nothing=1",), "nothing"),
        ("", ("optimizer=1",), "already"),
        ("", ("checks=off",), "checks"),
        ("", ("seed=1",), "seed"),
    ],
)
def test_impossible_remedy_is_skipped(refused: str, remedy: tuple[str, ...], word: str, tmp_path: Path) -> None:
    world = World(
        tmp_path,
        train=lambda config: {} if "loss" in config else {**fails("cause", *remedy), **fails("other", "loss=mse")},
    )
    world.refused = {refused}
    first, second = world.run().fixes
    assert word in first.reason
    assert (first.kept, first.after, second.kept) == (False, None, True)
    assert world.log == ["train", "train"]


@pytest.mark.parametrize("error", [UserError("no batch of one"), RuntimeError("out of memory")])
def test_attempt_that_raises(error: Exception, tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> Findings:
        if "loss" in config:
            raise error
        return fails("cause", "loss=mse")

    result = World(tmp_path, train=train).run()
    assert result.exit_code == 3
    assert str(error) in result.fixes[0].reason


def test_attempt_that_breaks_earlier_stage(tmp_path: Path) -> None:
    world = World(
        tmp_path,
        sanity=lambda config: fails("other") if "loss" in config else {},
        train=lambda config: fails("cause", "loss=mse"),
    )
    result = world.run()
    assert "sanity" in result.fixes[0].reason
    assert [outcome.name for outcome in result.outcomes] == ["sanity", "train"]
    assert world.log == ["sanity", "train", "sanity"]


@pytest.mark.parametrize(("accuracy", "kept"), [(0.6, True), (0.5, True), (0.4, False)])
def test_training_with_warnings(accuracy: float, kept: bool, tmp_path: Path) -> None:
    """A remedy for a warning is kept if validation accuracy does not fall."""

    def train(config: dict[str, Any]) -> Any:
        return {"accuracy": accuracy} if "loss" in config else warns("cause", "loss=mse") | {"accuracy": 0.5}

    result = World(tmp_path, sanity=lambda config: warns("other"), train=train).run()
    assert result.status == "passed"
    assert [fix.kept for fix in result.fixes] == [kept]


def test_stages_that_are_not_fixed(tmp_path: Path) -> None:
    """Warnings of other stages are left alone, and the test split chooses nothing."""
    world = World(
        tmp_path,
        sanity=lambda config: warns("cause", "loss=mse"),
        train=lambda config: {"rate": ("info", ("loss=hinge",))},
        evaluate=lambda config: fails("other", "loss=mse"),
    )
    assert world.run().fixes == ()
    assert world.log == ["sanity", "train", "evaluate"]


def test_strict_checks(tmp_path: Path) -> None:
    world = World(
        tmp_path, fail_on="warning", sanity=lambda config: {} if "loss" in config else warns("cause", "loss=mse")
    )
    assert world.run().status == "passed"


def test_interrupted_attempt(tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> Findings:
        if "loss" in config:
            raise Interrupted(15)
        return fails("cause", "loss=mse")

    world = World(tmp_path, train=train)
    with pytest.raises(Interrupted):
        world.run()
    assert world.record["status"] == "interrupted"
    assert world.record["stages"][0]["status"] == "failed"
    assert not (tmp_path / "fixes").exists()


def test_attempts_are_resumed(tmp_path: Path) -> None:
    """Kept remedies stay, and nothing is tried twice."""
    summary = StageSummary(False, 1, 0, None, None)
    fixes = [
        FixAttempt("cause", ("init=he",), "sanity", True, summary, summary, "passes"),
        FixAttempt("other", ("loss=mse",), "train", False, summary, summary, "no better"),
    ]
    assert [FixAttempt.from_dict(json.loads(json.dumps(fix.to_dict()))) for fix in fixes] == fixes
    world = World(tmp_path, train=lambda config: {**fails("other", "loss=mse"), **fails("rate", "optimizer=9")})
    result = world.run(fixes=fixes)
    assert [fix.remedy for fix in result.fixes] == [("init=he",), ("loss=mse",), ("optimizer=9",)]
    assert world.record["command"].endswith("optimizer=1 init=he")


@pytest.mark.parametrize(
    ("remedy", "source", "first"),
    [
        (["init=he"], "train", 0),
        (["optimizer=2"], "train", 0),
        (["schedule=cosine"], "train", 2),
        (["schedule=cosine"], "sanity", 0),
        (["augmentation=flip", "stages.train=4"], "train", 2),
        (["stages.overfit=4"], "train", 1),
        (["stages.train=4", "init=he"], "train", 0),
    ],
)
def test_first_stage_to_rerun(remedy: list[str], source: str, first: int, tmp_path: Path) -> None:
    world = World(tmp_path, sanity=fine, overfit=fine, train=fine, evaluate=fine)
    assert (
        first_stage_to_rerun(world.components(), world.components(remedy), stage="train", source_stage=source) == first
    )


@pytest.mark.parametrize(
    ("before", "after", "kept"),
    [
        ((False, 1, 0), (True, 0, 5), True),
        ((False, 2, 0), (False, 1, 3), True),
        ((False, 1, 2), (False, 1, 1), True),
        ((False, 1, 1), (False, 1, 1), False),
        ((False, 1, 0), (False, 1, 1), False),
        ((True, 0, 2), (True, 0, 1), True),
        ((True, 0, 2), (False, 0, 0), False),
    ],
)
def test_is_improvement(before: tuple[bool, int, int], after: tuple[bool, int, int], kept: bool) -> None:
    one, two = StageSummary(*before, measure=None, value=None), StageSummary(*after, measure=None, value=None)
    assert is_improvement(one, two, "train", "train")[0] is kept
    is_kept, reason = is_improvement(one, two, "sanity", "train")
    assert not is_kept
    assert "sanity" in reason


def test_missing_value_is_worse() -> None:
    before = StageSummary(True, 0, 1, "val_accuracy", 0.5)
    assert not is_improvement(before, dataclasses.replace(before, warnings=0, value=None), "train", "train")[0]
    assert not is_improvement(before, dataclasses.replace(before, warnings=0, value=float("nan")), "train", "train")[0]
