from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import verdict
from pipeline.verdict import Verdict

ROOT = Path(__file__).parents[1]


def test_a_verdict_is_noted_where_it_is_made_and_where_it_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdict, "codes", [])
    sent = pickle.dumps(Verdict(3))
    assert verdict.codes == [3]
    verdict.codes.clear()
    assert pickle.loads(sent).code == 3
    assert verdict.codes == [3]


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["basic", "joblib", "submitit_local"])
def test_a_failed_job_of_any_launcher_counts(launcher: str, tmp_path: Path) -> None:
    words = [f"hydra/launcher={launcher}", "init=zeros,he", "stage=sanity", f"outputs={tmp_path}", "verbose=0"]
    words += ["data=digits", "data.limit=200", "model=mlp", "model.width=8"]
    done = subprocess.run([sys.executable, "-m", "pipeline", "-m", *words], cwd=ROOT, capture_output=True, timeout=250)
    assert done.returncode == 3
