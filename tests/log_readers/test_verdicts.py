"""The same trainings in the format of each program: the verdict is the same, and the fault is named first."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.cli.diagnose import diagnose
from tests.log_readers import write_logs
from tests.log_readers.write_logs import FORMATS, HAS_STEPS

FACTS = ["--classes", "10", "--train-examples", "1280", "--val-examples", "500"]
QUICK = [name for name in FORMATS if name != "wandb_offline"]
SLOW = [pytest.param("wandb_offline", marks=pytest.mark.slow)]
VERDICTS = {
    "HEALTHY": (0, None),
    "EXPLODING": (3, ("failure", "loss_exploding")),
    "OVERFITTING": (0, ("warning", "overfitting")),
    "FLAT": (0, ("warning", "loss_not_falling")),
    "NAN": (3, ("failure", "nonfinite")),
}
"""Exit code, and severity and check of the first finding, where nothing but the log is known."""


def verdict(path: Path, capsys: pytest.CaptureFixture[str], *flags: str) -> dict[str, Any]:
    code = diagnose([str(path), "--json", *flags])
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert found["exit_code"] == code
    return found


def first(found: dict[str, Any]) -> tuple[str, str] | None:
    return next(((f["severity"], f["check"]) for f in found["findings"]), None)


@pytest.mark.parametrize("form", [*QUICK, *SLOW])
def test_same_verdict(form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for story, (code, expected) in VERDICTS.items():
        path = FORMATS[form](getattr(write_logs, story), tmp_path / story)
        found = verdict(path, capsys)
        assert (story, found["exit_code"]) == (story, code)
        if expected and story == "OVERFITTING" and form in ("hugging_face", "wandb_offline"):
            expected = ("info", "overfitting")  # they logged no training accuracy, and that of validation did not fall
        assert (story, first(found)) == (story, expected)
        assert {entry["check"] for entry in found["not_checked"]}.isdisjoint(found["judged"])
        assert all(finding["remedy"] == [] and finding["advice"] for finding in found["findings"])


@pytest.mark.parametrize("form", [name for name in QUICK if name in HAS_STEPS])
def test_a_rate_too_low_is_named_once_the_classes_are_known(
    form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = FORMATS[form](write_logs.TOO_LOW, tmp_path)
    found = verdict(path, capsys)
    assert "--classes" in next(e["reason"] for e in found["not_checked"] if e["check"] == "over_regularized")
    assert first(verdict(path, capsys, *FACTS)) == ("failure", "rate_too_low")
    assert first(verdict(FORMATS[form](write_logs.HEALTHY, tmp_path / "healthy"), capsys, *FACTS)) is None


def test_epochs_alone_need_the_number_of_their_steps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_logs.keras(write_logs.TOO_LOW, tmp_path)
    found = verdict(path, capsys, *FACTS)
    assert first(found) is None
    assert "--steps-per-epoch" in next(e["reason"] for e in found["not_checked"] if e["check"] == "late_start")
    found = verdict(path, capsys, *FACTS, "--steps-per-epoch", "40")
    assert first(found) == ("failure", "rate_too_low")
    assert "400 steps" not in str(found["not_checked"])


def test_what_is_not_known_is_not_judged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "log.csv"
    table.write_text("epoch,val_acc\n" + "\n".join(f"{i},0.{50 + i}" for i in range(20)))
    assert verdict(table, capsys)["exit_code"] == 4  # no loss at all
    table.write_text("epoch,loss\n0,2.3\n1,1.1\n")
    assert verdict(table, capsys)["exit_code"] == 4  # two points
    table.write_text("epoch,loss\n0,2.3\n1,nan\n")
    assert verdict(table, capsys)["exit_code"] == 3  # what was seen counts
    table.write_text("epoch,loss\n0,2.3\n1,1.1\n2,0.9\n")
    assert verdict(table, capsys)["exit_code"] == 0


def test_peaks_that_the_loss_comes_back_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A peak, a noisy loss of single examples, and a cost that ends with one outlier are no explosion."""
    sound = {
        "peak": [2.3] * 20 + [40.0, 30.0, 9.0] + [2.0] * 40 + [1.0] * 40,
        "single examples": [0.4, 0.01, 2.5, 0.3, 0.02, 1.9, 0.1, 0.01, 0.6, 0.02] * 10,
        "outlier at the end": [0.5, 2.0, 0.1, 1.4] * 20 + [4.0],
    }
    broken = {"rises": [2.3] * 5 + [8.0, 30.0, 200.0], "ends at the peak": [2.3] * 20 + [50.0]}
    for name, losses in (sound | broken).items():
        table = tmp_path / "log.csv"
        table.write_text("step,loss\n" + "\n".join(f"{i},{loss}" for i, loss in enumerate(losses)) + "\n")
        checks = [finding["check"] for finding in verdict(table, capsys)["findings"]]
        assert (name, "loss_exploding" in checks) == (name, name in broken)
