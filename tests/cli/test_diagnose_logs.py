"""`diagnose` on logs of other programs: exit codes, what is printed, a baseline, and the files for CI."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from pipeline.cli.diagnose import diagnose
from pipeline.errors import UserError
from pipeline.runs.json_files import write_outcome, write_signals

ROOT = Path(__file__).resolve().parents[2]
HEALTHY = [2.3 * 0.95**i for i in range(100)]
EXPLODING = [2.3] * 20 + [3.0 * 1.5**i for i in range(20)]


def table(path: Path, losses: list[float], *, header: str = "step,loss") -> Path:
    path.write_text("\n".join([header, *(f"{i + 1},{loss}" for i, loss in enumerate(losses))]) + "\n")
    return path


@pytest.fixture
def healthy(tmp_path: Path) -> Path:
    return table(tmp_path / "healthy.csv", HEALTHY)


@pytest.fixture
def exploding(tmp_path: Path) -> Path:
    return table(tmp_path / "exploding.csv", EXPLODING)


def findings_of(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    return {finding["check"]: finding for finding in json.loads(capsys.readouterr().out)["findings"]}


def test_output(exploding: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What was read comes first, then findings with changes of code and no overrides, then the verdict."""
    assert diagnose([str(exploding)]) == 3
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert "loss -> losses" in lines[1]
    assert any(line.split()[:2] == ["train", "FAILED"] for line in lines)
    assert any("clip_grad_norm_" in line for line in lines)
    assert "optimizer.lr=" not in out
    assert lines[-1].split()[0] == "failed"
    assert "checks judged" in out
    assert "sanity" not in out  # of what no log has, only `-v` speaks
    diagnose([str(exploding), "-v"])
    assert "sanity did not run" in capsys.readouterr().out


def test_exit_codes_in_a_shell(tmp_path: Path, healthy: Path, exploding: Path) -> None:
    no_loss = table(tmp_path / "other.csv", [1.0, 2.0, 3.0], header="step,reward")
    expected = {str(healthy): 0, str(exploding): 3, str(no_loss): 4, str(tmp_path / "missing"): 2, "--clases=3": 2}
    for argument, code in expected.items():
        command = [sys.executable, "-m", "pipeline", "diagnose", argument]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert (argument, done.returncode) == (argument, code)
        assert (done.stderr.count("\n") == 1) == (code == 2)
    assert (
        "not judged"
        in subprocess.run(
            [sys.executable, "-m", "pipeline", "diagnose", str(no_loss)], cwd=ROOT, capture_output=True, text=True
        ).stdout.splitlines()[-1]
    )


def test_arguments_in_any_order(exploding: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert diagnose([str(exploding), "--classes", "10", "checks.fail_on=never", "--json", "checks=strict"]) == 0
    assert list(findings_of(capsys)) == ["loss_exploding"]
    renamed = table(exploding.with_name("renamed.csv"), EXPLODING, header="n,cost")
    assert diagnose([str(renamed)]) == 4
    assert diagnose([str(renamed), "--column", "loss=cost", "--column", "step=n"]) == 3


@pytest.mark.parametrize(
    ("typed", "field"),
    [
        (["optimizer.lr=1"], "optimizer.lr"),
        (["--column", "cost"], "--column"),
        (["--column", "loss=nothing"], "--column"),
        (["--classes", "ten"], None),
        (["--basline", "x"], None),
    ],
)
def test_wrong_arguments(typed: list[str], field: str | None, healthy: Path) -> None:
    with pytest.raises(UserError) as error:
        diagnose([str(healthy), *typed])
    assert error.value.field == field


def test_no_package(healthy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log whose library is not installed says how to install it."""
    monkeypatch.setattr("pipeline.validation.find_spec", lambda package: None)
    (tmp_path / "events.out.tfevents.1.host").write_bytes(b"")
    (tmp_path / "run-a.wandb").write_bytes(b":W&B\xe1\xbe\x00")
    for name in ("events.out.tfevents.1.host", "run-a.wandb"):
        with pytest.raises(UserError, match="pip install"):
            diagnose([str(tmp_path / name)])
    assert diagnose([str(healthy)]) == 0


def test_baseline(tmp_path: Path, healthy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stuck = table(tmp_path / "stuck.csv", [max(loss, 0.8) for loss in HEALTHY])
    assert diagnose([str(stuck)]) == 0
    assert diagnose([str(healthy), "--baseline", str(healthy)]) == 0
    assert diagnose([str(healthy), "--baseline", str(stuck)]) == 0
    capsys.readouterr()
    assert diagnose([str(stuck), "--baseline", str(healthy), "--json"]) == 3
    finding = findings_of(capsys)["baseline_loss"]
    assert 20 <= finding["step"] <= 35  # 0.8 is reached at step 21
    other = table(tmp_path / "other.csv", [1.0] * 9, header="step,reward")
    assert diagnose([str(healthy), "--baseline", str(other)]) == 4


def test_a_run_without_a_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Such a run is judged by the checks of today."""
    folder = make_run(tmp_path / "a", HEALTHY, 0.1)
    (folder / ".hydra" / "config.yaml").unlink()
    (folder / ".hydra").rmdir()
    assert diagnose([str(folder), "--json"]) == 0
    judged = json.loads(capsys.readouterr().out)["judged"]
    assert {"loss_not_falling", "loss_exploding", "nonfinite"} <= set(judged)


def make_run(folder: Path, losses: list[float], lr: float) -> Path:
    stage = {"name": "train", "status": "passed", "seconds": 1.0, "headline": "", "metrics": {}, "findings": []}
    write_outcome(folder, {"schema": 1, "status": "passed", "stages": [stage]})
    write_signals(folder, {"train": {"losses": losses, "epochs_planned": 5, "epochs": {"step": [len(losses)]}}})
    (folder / ".hydra").mkdir()
    config = f"seed: {lr}\noptimizer: {{lr: {lr}}}\nchecks: {{fail_on: failure, rules: {{}}}}\n"
    (folder / ".hydra" / "config.yaml").write_text(config)
    return folder


def test_baseline_of_runs(tmp_path: Path, healthy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Keys that differ are named, but not the seed; a run may be compared with a log."""
    good, stuck = make_run(tmp_path / "a", HEALTHY, 0.1), make_run(tmp_path / "b", [max(x, 0.8) for x in HEALTHY], 0.2)
    assert diagnose([str(stuck), "--baseline", str(good)]) == 3
    (line,) = (line for line in capsys.readouterr().out.splitlines() if "configured differently" in line)
    assert "optimizer.lr 0.1 -> 0.2" in line
    assert "seed" not in line
    assert diagnose([str(stuck), "--baseline", str(healthy)]) == 3


def test_sarif(exploding: Path, tmp_path: Path) -> None:
    """The fields that SARIF 2.1.0 requires, and the texts of the checks."""
    file = tmp_path / "ci" / "out.sarif"
    good = table(tmp_path / "good.csv", HEALTHY[:40])
    assert diagnose([str(exploding), "--sarif", str(file), "--baseline", str(good)]) == 3
    log = json.loads(file.read_text())
    assert log["version"] == "2.1.0"
    assert log["$schema"].startswith("https://")
    (run,) = log["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert run["tool"]["driver"]["name"]
    assert len({rule["id"] for rule in rules}) == len(rules) > 5
    assert all(rule["shortDescription"]["text"] and rule["help"]["text"] for rule in rules)
    assert [result["ruleId"] for result in run["results"]] == ["loss_exploding", "baseline_loss"]
    for result in run["results"]:
        assert result["level"] == "error"
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["message"]["text"]
        location = result["locations"][0]["physicalLocation"]
        assert location["artifactLocation"]["uri"].endswith("exploding.csv")
        assert location["region"]["startLine"] == 1
    assert "initial_loss" in run["properties"]["notChecked"]


def test_junit(exploding: Path, healthy: Path, tmp_path: Path) -> None:
    """A case for each check: failed, skipped with the reason, or passed; without a verdict there is an error."""
    file = tmp_path / "junit.xml"

    def suite_of(path: Path) -> ET.Element:
        diagnose([str(path), "--junit", str(file)])
        (suite,) = ET.parse(file).getroot()
        cases = suite.findall("testcase")
        assert int(suite.attrib["tests"]) == len(cases) == len({case.attrib["name"] for case in cases})
        for tag, count in (("failure", "failures"), ("skipped", "skipped"), ("error", "errors")):
            assert len(suite.findall(f"testcase/{tag}")) == int(suite.attrib[count])
        assert all(element.attrib["message"] for element in suite.findall("testcase/skipped"))
        return suite

    failed = suite_of(exploding)
    assert [c.attrib["name"] for c in failed if c.find("failure") is not None] == ["loss_exploding"]
    passed = suite_of(healthy)
    assert passed.attrib["failures"] == "0"
    (case,) = (case for case in passed if case.attrib["name"] == "loss_exploding")
    assert list(case) == []
    assert suite_of(table(tmp_path / "x.csv", [1.0] * 5, header="step,reward")).attrib["errors"] == "1"


@pytest.mark.slow
def test_real_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Another seed stays silent; a tenth of the learning rate is named with its cause first."""
    import pipeline

    common = ["data=digits", "model=mlp", "stage=[train]", "stages.train.epochs=12", "report=false", "checks=off"]
    runs = {}
    for name, override in (("good", "seed=0"), ("seed", "seed=1"), ("slow", "optimizer.lr=0.0005")):
        result = pipeline.run([*common, override, f"outputs={tmp_path}", f"name={name}", "verbose=0"])
        runs[name] = str(result.directory)
    capsys.readouterr()
    diagnose([runs["seed"], "--baseline", runs["good"], "--json"])
    assert set(findings_of(capsys)) <= {"baseline_speed"}  # which other programs on the machine may cause
    assert diagnose([runs["slow"], "--baseline", runs["good"], "--json"]) == 3
    assert list(findings_of(capsys))[:2] == ["baseline_rate", "baseline_loss"]
