"""fix=true on real runs of small networks: from Python, from the shell, in a multirun, interrupted and resumed."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import torch

import pipeline
from pipeline.errors import Interrupted, UserError
from pipeline.stages.overfit import Overfit
from pipeline.stages.train import Train
from pipeline.workflow.autofix import AutoFixer
from pipeline.workflow.components import Components, RunContext

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = json.loads((ROOT / "docs" / "outcome.schema.json").read_text())
TINY = [
    "data=digits", "data.limit=300", "model=mlp", "model.width=16", "model.depth=1", "optimizer.lr=0.02",
    "regularization=none",
]  # fmt: skip
ONE_THREAD = os.environ | {"OMP_NUM_THREADS": "1"}
EPOCHS = "stages.train.epochs=2"
BROKEN = [*TINY, "init=zeros", "fix=true"]


def run(outputs: Path, *overrides: str) -> Any:
    return pipeline.run([f"outputs={outputs}", *overrides], quiet=True)


def record_of(folder: Path) -> dict[str, Any]:
    record = json.loads((folder / "outcome.json").read_text())
    jsonschema.validate(record, SCHEMA)
    return record


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def test_fixed_run_equals_its_command(tmp_path: Path) -> None:
    """A run that was fixed has the bits of the run that its recorded command starts."""
    fixed = run(tmp_path, *BROKEN, EPOCHS, "stage=[sanity,train]")
    assert fixed.status == "passed"
    # the run is also too short, which no remedy changes
    kept = [(fix.check, fix.remedy) for fix in fixed.fixes if fix.kept]
    assert kept == [("symmetric_units", ("init=he",))]
    record = record_of(fixed.directory)
    overrides = shlex.split(record["command"])[3:]
    assert "fix=true" not in overrides
    assert overrides[-1] == "init=he"
    again = pipeline.run(overrides, quiet=True)
    other = record_of(again.directory)
    assert record["config_hash"] == other["config_hash"] == other["typed_hash"] != record["typed_hash"]
    one, two = weights(fixed.directory), weights(again.directory)
    assert all(torch.equal(one[name], two[name]) for name in one)
    for a, b in zip(record["stages"], other["stages"], strict=True):
        assert a["findings"] == b["findings"]
        assert a["metrics"].get("val_accuracy") == b["metrics"].get("val_accuracy")
    assert (fixed.directory / ".hydra" / "overrides.yaml").read_text().endswith("- init=he\n")
    assert "gaussian" not in (fixed.directory / ".hydra" / "config.yaml").read_text()
    assert not (fixed.directory / "fixes").exists()
    from pipeline.cli.diagnose import diagnose

    assert diagnose([str(fixed.directory)]) == 0


def test_healthy_run_is_unchanged(tmp_path: Path) -> None:
    healthy = run(tmp_path, *TINY, "stage=sanity", "fix=true")
    assert healthy.fixes == ()
    record = record_of(healthy.directory)
    assert record["command"].endswith("fix=true")
    assert record["config_hash"] == record_of(run(tmp_path, *TINY, "stage=sanity").directory)["config_hash"]


@pytest.mark.parametrize("value", ["1", "yess", "null", "[true]"])
def test_fix_is_boolean(value: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        run(tmp_path / "outputs", *TINY, f"fix={value}")
    assert caught.value.field == "fix"
    assert not (tmp_path / "outputs").exists()


def test_resume_after_fix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    overrides = [*BROKEN, "stage=[sanity,overfit]"]
    with monkeypatch.context() as patch:
        patch.setattr(Overfit, "__call__", _interrupt)
        with pytest.raises(Interrupted):
            run(tmp_path, *overrides)
    (interrupted,) = (tmp_path / "run").glob("*")
    assert record_of(interrupted)["status"] == "interrupted"
    assert record_of(interrupted)["fixes"][0]["kept"]
    with pytest.raises(UserError) as caught:  # without fix it is another configuration
        run(tmp_path, *overrides, "fix=false", f"resume={interrupted}")
    assert caught.value.field == "resume"
    attempts: list[str] = []
    monkeypatch.setattr(AutoFixer, "try_fix", lambda self, finding, *_: attempts.append(finding.check))
    resumed = run(tmp_path, *overrides, "resume=auto")
    assert resumed.status == "passed"
    assert attempts == []  # nothing is tried again
    assert [fix.kept for fix in resumed.fixes] == [True]
    assert record_of(resumed.directory)["typed_hash"] == record_of(interrupted)["typed_hash"]
    assert resumed.outcomes[0].seconds == record_of(interrupted)["stages"][0]["seconds"]  # sanity was not run again
    assert resumed.outcomes[0].signals is not None
    assert (resumed.directory / ".hydra" / "overrides.yaml").read_text().endswith("- init=he\n")


def test_resume_after_interrupted_attempt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    overrides = [*TINY, EPOCHS, "stage=train", "batchnorm=none", "optimizer.lr=1000", "fix=true"]
    original = Train.__call__

    def interrupt_attempt(self: Train, components: Components, context: RunContext, earlier: Any) -> Any:
        return _interrupt() if components.lr < 1000 else original(self, components, context, earlier)

    with monkeypatch.context() as patch:
        patch.setattr(Train, "__call__", interrupt_attempt)
        with pytest.raises(Interrupted):
            run(tmp_path, *overrides)
    (interrupted,) = (tmp_path / "run").glob("*")
    assert not (interrupted / "fixes").exists()
    assert record_of(interrupted)["status"] == "interrupted"
    assert record_of(interrupted)["fixes"] == []
    assert run(tmp_path, *overrides, "resume=auto").fixes


def _interrupt(*_: Any) -> Any:
    raise Interrupted(15)


@pytest.mark.slow
def test_multirun(tmp_path: Path) -> None:
    """Each job is fixed by itself, and the test split is spared."""
    command = [sys.executable, "-m", "pipeline", "-m", f"outputs={tmp_path}", *TINY, EPOCHS, "fix=true"]
    command.append("init=zeros,he")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, env=ONE_THREAD)
    assert done.returncode == 0, done.stdout + done.stderr
    records = {r["command"].partition("init=")[2]: r for r in map(_parent, (tmp_path / "run").rglob("outcome.json"))}
    assert records.keys() == {"zeros init=he", "he"}
    for record in records.values():
        assert [stage["name"] for stage in record["stages"]] == ["sanity", "overfit", "train"]
    assert [fix["remedy"] for fix in records["zeros init=he"]["fixes"] if fix["kept"]] == [["init=he"]]
    assert "symmetric_units" in done.stdout
    assert "first_loss" in done.stdout


def _parent(path: Path) -> dict[str, Any]:
    return record_of(path.parent)


@pytest.mark.slow
def test_config_dir(tmp_path: Path) -> None:
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    (tmp_path / "conf" / "experiment" / "mine.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /init: zeros\n"
    )
    overrides = [f"outputs={tmp_path / 'out'}", *TINY, "stage=sanity", "experiment=mine", "fix=true"]
    command = [sys.executable, "-m", "pipeline", "--config-dir", str(tmp_path / "conf"), *overrides]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, env=ONE_THREAD)
    assert done.returncode == 0, done.stdout + done.stderr
    (record,) = map(_parent, (tmp_path / "out" / "run").rglob("outcome.json"))
    assert [fix["kept"] for fix in record["fixes"]] == [True]
