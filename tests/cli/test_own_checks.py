"""Checks and options of a user's own folder: what is wrong with them is said, and commands know them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf

from pipeline.checks import CheckSuite, Finding, Rule, check_declarations
from pipeline.cli.explain import explain
from pipeline.cli.new import new
from pipeline.cli.rejudge import _build, checks_for_run
from pipeline.config.compose import compose_config
from pipeline.config.instantiate import instantiate
from pipeline.errors import UserError
from pipeline.runs.json_files import write_outcome
from pipeline.workflow.build import _build_checks


@dataclasses.dataclass(frozen=True)
class Sound(Rule):
    """Anti-pattern: none."""

    check, reads, severities, why, source = "sound", ("epochs",), ("warning",), "It matters.", "a test"
    answer: Any = None

    def __call__(self, signals: Any) -> Any:
        if self.answer == "finding":
            return self.finding("warning", measured={}, expected="", message="")
        return self.answer if self.answer != "error" else self.finding("error", measured={}, expected="", message="")  # type: ignore[arg-type]


WRONG: list[dict[str, Any]] = [
    *({name: ...} for name in ("check", "reads", "severities", "why", "source")),
    *({name: "word"} for name in ("reads", "needs", "severities", "remedies", "explains")),
    {"reads": ()},
    {"reads": ("epoch",)},
    {"severities": ("error",)},
    {"severities": ()},
]


@pytest.mark.parametrize("change", WRONG, ids=str)
def test_declarations(change: dict[str, Any]) -> None:
    """`...` stands for a declaration that is missing."""
    check_declarations(Sound())
    ((name, value),) = change.items()
    declared = {n: v for n, v in vars(Sound).items() if n in ("check", "reads", "severities", "why", "source")}
    body = {**declared, **change, "__call__": Sound.__call__}
    if value is ...:
        del body[name]
    with pytest.raises(UserError, match=name) as error:
        check_declarations(type("Mine", (Rule,), body)())
    assert error.value.field == ""


def test_a_rule_is_a_rule() -> None:
    for thing in (7, print, type("NoRule", (), {})()):
        with pytest.raises(UserError):
            check_declarations(thing)


@pytest.mark.parametrize("answer", [True, "text", {}, "error"])
def test_what_a_rule_returns(answer: Any) -> None:
    for sound in (None, "finding"):
        found = CheckSuite("failure", {"sound": Sound(sound)}).evaluate({}, stage="train")
        assert [type(finding) for finding in found] == [Finding] * (sound is not None)
    with pytest.raises(UserError) as error:
        CheckSuite("failure", {"sound": Sound(answer)}).evaluate({}, stage="train")
    assert error.value.field == "checks.rules.sound"


def test_an_abstract_class_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_ALLOW", "pipeline.checks.rule.Rule")
    with pytest.raises(UserError, match="__call__") as error:
        instantiate({"_target_": "pipeline.checks.rule.Rule"}, "checks.rules.mine")
    assert error.value.field == "checks.rules.mine._target_"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A new project as the working folder. Its modules are not imported, since another test has some of that name."""
    monkeypatch.chdir(tmp_path)
    new(["."])
    own = "pipeline.checks.rules.shared_weights.SharedWeights"
    path = tmp_path / "conf" / "checks" / "mine.yaml"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if "min_accuracy" not in line).replace(MINE, own))
    return tmp_path


MINE = "mine.checks.AccuracyNeeded"


def test_options_elsewhere(project: Path) -> None:
    """An option of a folder that was not named, and one that an experiment asks for in vain."""
    with pytest.raises(UserError, match="--config-dir conf") as error:
        compose_config(["experiment=first"])
    assert error.value.field == "experiment"
    recipe = project / "conf" / "experiment" / "first.yaml"
    recipe.write_text(recipe.read_text().replace("/data: mine", "/data: mnits"))
    with pytest.raises(UserError, match="'mnist'") as error:
        compose_config(["experiment=first"], config_dir="conf")
    assert error.value.field == "data"
    assert "search path" not in str(error.value)


def test_explain(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert explain(["accuracy_needed", "--config-dir", "conf"]) == 0
    assert capsys.readouterr().out.startswith("## accuracy_needed\n\nAnti-pattern: ")
    for arguments in (["accuracy_needed"], ["accuracy_needed", "--config-dir=nowhere"]):
        with pytest.raises(UserError):
            explain(arguments)


def test_judge_again(project: Path) -> None:
    """`diagnose` knows the folder of options of the run, and the thresholds of its own checks."""
    run = project / "outputs" / "run"
    (run / ".hydra").mkdir(parents=True)
    rule = {"_target_": "pipeline.checks.rules.initial_loss.InitialLoss", "warning": 0.5, "failure": 4}
    config = {"checks": {"fail_on": "failure", "rules": {"mine": {**rule, "warning_below": 0.5}}}}
    (run / ".hydra" / "config.yaml").write_text(yaml.safe_dump(config))
    write_outcome(run, {"schema": 1, "command": "python -m pipeline --config-dir=conf experiment=first", "stages": []})
    assert checks_for_run(run, ["checks.rules.mine.warning=0.7"]).rules["mine"].warning == 0.7  # type: ignore[attr-defined]
    assert "accuracy_needed" in checks_for_run(run, ["checks=mine"]).rules
    assert checks_for_run(run, ["checks.fail_on=never", "checks.rules.mine.failure=5"]).fail_on == "never"
    with pytest.raises(UserError) as error:
        checks_for_run(run, ["checks.rules.mine.wrning=0.7"])
    assert error.value.field == "checks.rules.mine.wrning"


@pytest.mark.parametrize("build", [_build_checks, lambda node: _build(OmegaConf.create(node))])
def test_what_is_no_rule_is_refused_when_it_is_built(build: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_ALLOW", "collections.OrderedDict")
    with pytest.raises(UserError) as error:
        build({"fail_on": "failure", "rules": {"mine": {"_target_": "collections.OrderedDict"}}})
    assert error.value.field == "checks.rules.mine"
