"""The examples of docs/examples: each runs, finds nothing, and names a fault that is put into it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted((ROOT / "docs" / "examples").glob("*.py"))


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs_without_a_finding(path: Path, tmp_path: Path) -> None:
    findings = load(path).main(out=str(tmp_path))
    assert [finding.check for finding in findings if finding.severity != "info"] == []
    assert {"outcome.json", "signals.json", "report.html"} <= {file.name for file in tmp_path.iterdir()}


@pytest.mark.slow
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
@pytest.mark.filterwarnings("ignore")
def test_an_example_names_a_fault(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No optimizer of the example clears its gradients."""
    module = load(path)
    monkeypatch.setattr(torch.optim.Optimizer, "zero_grad", lambda self, set_to_none=True: None)
    monkeypatch.setattr(torch.nn.Module, "zero_grad", lambda self, set_to_none=True: None)
    try:
        found = [finding.check for finding in module.main(out=str(tmp_path))]
    except Exception as error:  # noqa: BLE001 - the check before training has found it
        found = [str(error)]
    assert "gradients_not_cleared" in found[0]
