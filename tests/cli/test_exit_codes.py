"""Exit codes of jobs, wherever they ran."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.cli import exit_codes
from pipeline.cli.exit_codes import JobExitCode
from pipeline.errors import USER_ERROR, UserError

ROOT = Path(__file__).parents[2]


def test_collected(monkeypatch: pytest.MonkeyPatch) -> None:
    """A code counts where it is created, and where it arrives from another process."""
    monkeypatch.setattr(exit_codes, "job_exit_codes", [])
    sent = pickle.dumps(JobExitCode(3))
    assert exit_codes.job_exit_codes == [3]
    exit_codes.job_exit_codes.clear()
    assert pickle.loads(sent).code == 3
    assert exit_codes.job_exit_codes == [3]


def test_user_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_codes.print_user_error(UserError("is wrong.", field="seed")) == USER_ERROR
    assert capsys.readouterr().err == "error: seed: is wrong.\n"


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["basic", "joblib", "submitit_local"])
def test_failed_job(launcher: str, tmp_path: Path) -> None:
    words = [f"hydra/launcher={launcher}", "init=zeros,he", "stage=sanity", f"outputs={tmp_path}", "verbose=0"]
    words += ["data=digits", "data.limit=200", "model=mlp", "model.width=8"]
    done = subprocess.run([sys.executable, "-m", "pipeline", "-m", *words], cwd=ROOT, capture_output=True, timeout=250)
    assert done.returncode == 3
