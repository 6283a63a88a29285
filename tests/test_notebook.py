"""The example notebook runs, shows its results, and is stored without outputs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).parents[1] / "docs" / "notebook.ipynb"


def read() -> Any:
    nbformat = pytest.importorskip("nbformat", reason="the extra `notebook` is not installed")
    return nbformat.read(NOTEBOOK, as_version=4)


def test_notebook_has_no_outputs() -> None:
    cells = [cell for cell in read().cells if cell.cell_type == "code"]
    assert cells
    assert all(not cell.outputs and cell.execution_count is None for cell in cells)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # Jupyter's own
def test_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbclient = pytest.importorskip("nbclient", reason="the extra `notebook` is not installed")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(NOTEBOOK.parents[1]), os.environ.get("PYTHONPATH", "")]))
    book = read()
    nbclient.NotebookClient(book, timeout=240, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = {cell.source: cell.outputs for cell in book.cells if cell.cell_type == "code"}
    results = {source: outputs[-1] for source, outputs in shown.items() if "pipeline.run(" in source}
    assert len(results) == 4
    for source, output in results.items():
        if not source.rstrip().endswith("status"):
            assert "<table>" in output.data["text/html"]
    assert "symmetric_units" in results[next(iter(results))].data["text/html"]
    for outputs in shown.values():  # a line a stage, no bar that prints itself again and again
        assert len(outputs) <= 8
        assert not any("\r" in output.get("text", "") for output in outputs)
    assert not [output for outputs in shown.values() for output in outputs if output.get("name") == "stderr"]
