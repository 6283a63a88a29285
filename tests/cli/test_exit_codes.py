from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.cli import exit_codes
from pipeline.cli.exit_codes import JobExitCode

ROOT = Path(__file__).parents[2]


def test_a_verdict_is_noted_where_it_is_made_and_where_it_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exit_codes, "job_exit_codes", [])
    sent = pickle.dumps(JobExitCode(3))
    assert exit_codes.job_exit_codes == [3]
    exit_codes.job_exit_codes.clear()
    assert pickle.loads(sent).code == 3
    assert exit_codes.job_exit_codes == [3]


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["basic", "joblib", "submitit_local"])
def test_a_failed_job_of_any_launcher_counts(launcher: str, tmp_path: Path) -> None:
    words = [f"hydra/launcher={launcher}", "init=zeros,he", "stage=sanity", f"outputs={tmp_path}", "verbose=0"]
    words += ["data=digits", "data.limit=200", "model=mlp", "model.width=8"]
    done = subprocess.run([sys.executable, "-m", "pipeline", "-m", *words], cwd=ROOT, capture_output=True, timeout=250)
    assert done.returncode == 3
