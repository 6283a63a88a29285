"""The checks of a finished run, evaluated again from its files."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from pipeline.checks import CheckSuite, Finding
from pipeline.cli.diagnose import diagnose
from pipeline.cli.rejudge import checks_for_run, rejudge
from pipeline.config.compose import compose_config
from pipeline.errors import UserError
from pipeline.runs.json_files import write_outcome, write_signals

ROOT = Path(__file__).resolve().parents[2]
WARNS = {"first_loss": 3.6, "expected_first_loss": 2.3, "logit_std": 1.6}  # 57 % off
LEAKS = {"leaking_examples": 3, "leak_examples": 7, "leak_gradient": 0.5}  # which no other finding explains


def stage(name: str, **fields: Any) -> dict[str, Any]:
    plain = {"status": "passed", "seconds": 1.5, "headline": f"{name} was run", "metrics": {}, "findings": []}
    return {"name": name, **plain, **fields}


@pytest.fixture(scope="module")
def config() -> str:
    return OmegaConf.to_yaml(compose_config(["stage=[sanity,overfit]"]))


@pytest.fixture
def run(tmp_path: Path, config: str) -> Path:
    """The directory of a run whose first loss was off and whose examples mix."""
    directory = tmp_path / "run"
    write_outcome(directory, {"schema": 1, "stages": [stage("sanity"), stage("overfit"), stage("evaluate")]})
    write_signals(directory, {"sanity": WARNS, "overfit": LEAKS})
    (directory / ".hydra").mkdir()
    (directory / ".hydra" / "config.yaml").write_text(config)
    return directory


def test_output(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert diagnose([str(run)]) == 3
    lines = capsys.readouterr().out.splitlines()
    stages = {line.split()[0]: line.split()[1] for line in lines if " was run" in line}
    assert stages == {"sanity": "passed", "overfit": "FAILED", "evaluate": "passed"}
    assert any(line.split()[:4] == ["1", "failure", "overfit:", "batch_leak"] for line in lines)
    assert any("initial_loss" in line for line in lines)
    assert lines[-1].split()[0] == "failed"


@pytest.mark.parametrize(
    ("typed", "verdicts", "code"),
    [
        ([], [True, False, True], 3),
        (["checks=strict"], [False, False, True], 3),
        (["checks=off"], [True, True, True], 0),
        (["checks.fail_on=never"], [True, True, True], 0),
        (["checks.rules.initial_loss.failure=0.55"], [False, False, True], 3),
    ],
)
def test_thresholds(
    typed: list[str], verdicts: list[bool], code: int, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert diagnose([str(run), *typed]) == code
    printed = [line.split()[1] for line in capsys.readouterr().out.splitlines() if " was run" in line]
    assert printed == ["passed" if verdict else "FAILED" for verdict in verdicts]


def test_recorded_thresholds(run: Path) -> None:
    """They hold unless an option of the group is typed. A rule that is younger than the run is added if it is typed."""
    path = run / ".hydra" / "config.yaml"
    config = OmegaConf.load(path)
    today = config.checks.rules.initial_loss.warning
    config.checks.rules.initial_loss.warning = 0.6
    del config.checks.rules["input_ignored"]
    path.write_text(OmegaConf.to_yaml(config))

    def warning(*typed: str) -> float:
        return checks_for_run(run, typed).rules["initial_loss"].warning  # type: ignore[attr-defined]

    assert today != 0.6
    assert warning() == 0.6
    assert warning("checks=default") == today
    assert warning("checks.rules.initial_loss.failure=2") == 0.6
    assert warning("checks.rules.initial_loss.warning=0.1") == 0.1
    assert "input_ignored" not in checks_for_run(run, ()).rules
    added = checks_for_run(run, ["checks.rules.input_ignored.min_margin=0.2"]).rules["input_ignored"]
    assert added.min_margin == 0.2  # type: ignore[attr-defined]


class Fires:
    """A rule that fires where the signal of its name is true."""

    explains = ("second",)

    def __init__(self, check: str):
        self.check = check

    def __call__(self, signals: Any) -> Finding | None:
        if not signals.get(self.check):
            return None
        return Finding(self.check, "failure", {}, expected="e", message="m", why="w", remedy=(), source="s")


def test_stage_without_signals() -> None:
    """It keeps its verdict. The findings of earlier stages explain those of later ones."""
    checks = CheckSuite("failure", {"first": Fires("first"), "second": Fires("second")})
    old = Finding("old", "failure", {}, expected="e", message="m", why="w", remedy=(), source="s", stage="lr_range")
    record = {"stages": [stage("sanity"), stage("lr_range", status="failed", findings=[old.to_dict()]), stage("train")]}
    sanity, lr_range, train = rejudge(record, {"sanity": {"first": True}, "train": {"second": True}}, checks)
    assert [f.check for f in sanity.findings] == ["first"]
    assert (lr_range.passed, lr_range.findings) == (False, (old,))
    assert (train.passed, train.findings) == (True, ())  # the finding of sanity explains it


def test_a_run_without_a_configuration_gets_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`pipeline.watch` writes such runs; an override means nothing to their loops."""
    signals = {"losses": [2.3] * 60, "samples": {"step": [1], "lr": [1e-9]}}
    curves = {"epoch": [0], "step": [60], "lr": [1e-9], "loss": [2.3], "accuracy": [0.1]}
    facts = {"classes": 10, "batch_size": 64, "epochs_planned": 1, "train_examples": 3840, "chance_loss": 2.3026}
    facts |= {"exploded": None, "nonfinite": None, "steps_per_epoch": 60, "lr": 1e-9}
    write_outcome(tmp_path, {"schema": 1, "stages": [stage("train")]})
    write_signals(tmp_path, {"train": signals | facts | {"epochs": curves}})
    diagnose([str(tmp_path)])
    shown = capsys.readouterr().out
    assert "  change " in shown
    assert "  try " not in shown


@pytest.mark.parametrize("lost", ["outcome.json", "signals.json", ".hydra/config.yaml"])
def test_missing_file(lost: str, run: Path) -> None:
    (run / lost).unlink()
    with pytest.raises(UserError, match=lost):
        diagnose([str(run)])


@pytest.mark.parametrize("content", ["", "[1]", "{}", "checks: 3", "checks: {rules: 3}", "a: [", "\x00"])
def test_damaged_config(content: str, run: Path) -> None:
    (run / ".hydra" / "config.yaml").write_text(content)
    with pytest.raises(UserError, match=r"config\.yaml"):
        diagnose([str(run)])


@pytest.mark.parametrize(
    ("typed", "word"),
    [
        ("optimizer.lr=1", "checks=strict"),
        ("init=he", "checks=strict"),
        ("checks=strct", "'strict'"),
        ("checks.rules.initial_loss.warnin=1", "'checks.rules.initial_loss.warning'"),
        ("checks.rules.initial_loss.warning=-1", "above 0"),
        ("checks.fail_on=neve", "'never'"),
        ("checks.rules.dead_units.share=0.5", "checks.rules.dead_units.warning"),
    ],
)
def test_wrong_override(typed: str, word: str, run: Path) -> None:
    with pytest.raises(UserError, match=word) as error:
        diagnose([str(run), typed])
    assert error.value.field == typed.partition("=")[0]


@pytest.mark.parametrize(("old", "word"), [("old_margin", "min_margin"), ("margin", "input_ignored.min_margin")])
def test_older_run(old: str, word: str, run: Path) -> None:
    """A recorded key that does not exist any more is named, whether it was renamed or not, with a way to go on."""
    path = run / ".hydra" / "config.yaml"
    path.write_text(path.read_text().replace("min_margin:", f"{old}:"))
    with pytest.raises(UserError, match=word) as error:
        diagnose([str(run)])
    assert "checks=default" in error.value.message
    assert error.value.field == f"checks.rules.input_ignored.{old}"
    assert diagnose([str(run), "checks=default"]) == 3


def test_any_path(run: Path, tmp_path: Path) -> None:
    moved = tmp_path / "a=b"  # a path is a path, whatever it contains
    shutil.copytree(run, moved)
    assert diagnose([str(moved), "checks=off"]) == 0
    with pytest.raises(UserError):
        diagnose([])


def test_shell(run: Path, tmp_path: Path) -> None:
    def shell(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-m", "pipeline", *words], cwd=ROOT, capture_output=True, text=True)

    assert shell("diagnose", str(run)).returncode == 3
    done = shell("diagnose", str(tmp_path))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    done = shell("diagnos", str(tmp_path))
    assert done.returncode == 2
    assert "'diagnose'" in done.stderr
    assert shell("seed=1", "diagnose").returncode == 2
