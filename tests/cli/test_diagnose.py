"""A finished run judged again from its files, by what it was configured with and by what is typed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from pipeline.checks import CheckSuite, Finding
from pipeline.cli.diagnose import checks_for_run, diagnose, rejudge
from pipeline.config.compose import compose_config
from pipeline.errors import UserError
from pipeline.runs.json_files import write_outcome, write_signals

ROOT = Path(__file__).resolve().parents[2]
SOUND = {"first_loss": 2.3, "expected_first_loss": 2.3, "logit_std": 0.1}
WARNS = {"first_loss": 3.6, "expected_first_loss": 2.3, "logit_std": 1.6}  # 57 % off
LEAKS = {"leaking_examples": 3, "leak_examples": 7, "leak_gradient": 0.5}  # which an earlier rule sees: never explained


def stage(name: str, **more: Any) -> dict[str, Any]:
    plain = {"status": "passed", "seconds": 1.5, "headline": f"{name} was run", "metrics": {}, "findings": []}
    return {"name": name, **plain, **more}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a run whose first loss was off and whose examples mix."""
    folder = tmp_path / "run"
    write_outcome(folder, {"schema": 1, "stages": [stage("sanity"), stage("overfit"), stage("evaluate")]})
    write_signals(folder, {"sanity": WARNS, "overfit": LEAKS})
    (folder / ".hydra").mkdir()
    (folder / ".hydra" / "config.yaml").write_text(OmegaConf.to_yaml(compose_config(["stage=[sanity,overfit]"])))
    return folder


def test_a_run_is_judged_and_told_as_it_was(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert diagnose([str(run)]) == 3
    said = capsys.readouterr().out
    for words in ("sanity    passed    1.5 s  sanity was run", "warning: initial_loss", "overfit   FAILED"):
        assert words in said
    assert "2 findings, the first to mend first:\n  1  failure  overfit: batch_leak" in said
    assert said.splitlines()[-1].startswith("failed  ")


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
def test_thresholds_are_those_of_the_run_and_those_that_are_typed(
    typed: list[str], verdicts: list[bool], code: int, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert diagnose([str(run), *typed]) == code
    told = [line.split()[1] for line in capsys.readouterr().out.splitlines() if " was run" in line]
    assert told == ["passed" if verdict else "FAILED" for verdict in verdicts]


def test_the_runs_own_thresholds_hold_unless_an_option_is_typed(run: Path) -> None:
    path = run / ".hydra" / "config.yaml"
    config = OmegaConf.load(path)
    config.checks.rules.initial_loss.warning = 0.6
    del config.checks.rules["input_ignored"]  # younger than the run
    path.write_text(OmegaConf.to_yaml(config))

    def warning(*typed: str) -> float:
        return checks_for_run(run, typed).rules["initial_loss"].warning  # type: ignore[attr-defined]

    assert warning() == 0.6
    assert warning("checks=default") == compose_config([]).checks.rules.initial_loss.warning != 0.6
    assert warning("checks.rules.initial_loss.failure=2") == 0.6
    assert warning("checks.rules.initial_loss.warning=0.1") == 0.1
    assert "input_ignored" not in checks_for_run(run, ()).rules
    added = checks_for_run(run, ["checks.rules.input_ignored.min_margin=0.2"]).rules["input_ignored"]
    assert added.min_margin == 0.2  # type: ignore[attr-defined]


class Fires:
    explains = ("second",)

    def __init__(self, check: str):
        self.check = check

    def __call__(self, signals: Any) -> Finding | None:
        if not signals.get(self.check):
            return None
        return Finding(self.check, "failure", {}, expected="e", message="m", why="w", remedy=(), source="s")


def test_stages_without_signals_keep_their_verdict_and_earlier_findings_explain() -> None:
    checks = CheckSuite("failure", {"first": Fires("first"), "second": Fires("second")})
    own = Finding("own", "failure", {}, expected="e", message="m", why="w", remedy=(), source="s", stage="lr_range")
    record = {"stages": [stage("sanity"), stage("lr_range", status="failed", findings=[own.to_dict()]), stage("train")]}
    sanity, lr_range, train = rejudge(record, {"sanity": {"first": True}, "train": {"second": True}}, checks)
    assert [f.check for f in sanity.findings] == ["first"]
    assert (lr_range.passed, lr_range.findings) == (False, (own,))
    assert (train.passed, train.findings) == (True, ())  # what sanity found explains it


@pytest.mark.parametrize("lost", ["outcome.json", "signals.json", ".hydra/config.yaml"])
def test_a_folder_that_is_no_run_is_refused(lost: str, run: Path) -> None:
    (run / lost).unlink()
    with pytest.raises(UserError, match=f"is no run's folder.*{lost}"):
        diagnose([str(run)])


@pytest.mark.parametrize("damaged", ["", "[1]", "{}", "checks: 3", "checks: {rules: 3}", "a: [", "\x00"])
def test_a_damaged_configuration_is_refused(damaged: str, run: Path) -> None:
    (run / ".hydra" / "config.yaml").write_text(damaged)
    with pytest.raises(UserError, match="is no run's folder"):
        diagnose([str(run)])


@pytest.mark.parametrize(
    ("typed", "field", "said"),
    [
        ("optimizer.lr=1", "optimizer.lr", "only judged otherwise"),
        ("init=he", "init", "only judged otherwise"),
        ("checks=strct", "checks", "Did you mean 'strict'"),
        ("checks.rules.initial_loss.warnin=1", "checks.rules.initial_loss.warnin", "Did you mean"),
        ("checks.rules.initial_loss.warning=-1", "checks.rules.initial_loss.warning", "above 0"),
        ("checks.fail_on=neve", "checks.fail_on", "Did you mean 'never'"),
    ],
)
def test_what_cannot_be_typed_is_refused_by_its_key(typed: str, field: str, said: str, run: Path) -> None:
    with pytest.raises(UserError, match=said) as caught:
        diagnose([str(run), typed])
    assert caught.value.field == field


def test_a_run_of_another_version_says_what_to_type(run: Path) -> None:
    path = run / ".hydra" / "config.yaml"
    path.write_text(path.read_text().replace("min_margin:", "old_margin:"))
    with pytest.raises(UserError, match="checks=default judges it by today's rules"):
        diagnose([str(run)])
    assert diagnose([str(run), "checks=default"]) == 3


# ---------------------------------------------------------------- from the shell


def shell(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "pipeline", *words], cwd=ROOT, capture_output=True, text=True)


def test_from_the_shell_with_exit_codes(run: Path, tmp_path: Path) -> None:
    assert shell("diagnose", str(run)).returncode == 3
    moved = tmp_path / "a=b"  # a path is a path, whatever it contains
    shutil.copytree(run, moved)
    assert shell("diagnose", str(moved), "checks=off").returncode == 0
    done = shell("diagnose", str(tmp_path))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["diagnos", "outputs/latest"], "there is no command 'diagnos'. Did you mean 'diagnose'?"),
        (["init"], "there is no command 'init'."),
        (["diagnose"], "give the folder of a run"),
        (["seed=1", "diagnose"], "neither an option"),
    ],
)
def test_an_unknown_command_is_answered_with_the_nearest(words: list[str], said: str) -> None:
    done = shell(*words)
    assert done.returncode == 2
    assert said in done.stderr
