"""Loggers of runs that fail, are resumed, get a remedy, or cannot begin."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.config.compose import compose_config
from pipeline.config.to_dict import to_dict
from pipeline.errors import Interrupted, UserError
from pipeline.runs.json_files import config_hash
from pipeline.workflow.build import build_components
from pipeline.workflow.result import RunResult
from tests.loggers.readers import csv_rows, mlflow_runs, wandb_records

ROOT = Path(__file__).resolve().parents[2]
RunIn = Callable[..., RunResult]


@pytest.mark.slow
def test_failed_run(run_in: RunIn, tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'shared' / 'mlflow.db'}"
    loggers = ["logger=[mlflow,wandb,tensorboard]", f"logger.mlflow.tracking_uri={uri}"]
    result = run_in(tmp_path / "outputs", "init=zeros", *loggers)
    assert result.status == "failed"
    (run,) = mlflow_runs(uri)
    assert run.info.status == "FAILED"
    assert run.data.metrics["sanity/passed"] == 0.0
    assert Path(run.info.artifact_uri).is_relative_to(tmp_path / "shared")
    (file,) = result.directory.glob("logs/wandb/offline-run-*/run-*.wandb")
    (end,) = (record.exit for record in wandb_records(file) if record.HasField("exit"))
    assert end.exit_code == 1


@pytest.fixture
def interrupt_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Return a function that lets a run stop after a step, as Ctrl-C does in the middle of an epoch."""
    from pipeline.training.callbacks import CheckpointCallback

    def interrupt_after(step: int) -> None:
        original = CheckpointCallback.on_train_batch_end

        def interrupt(self: Any, trainer: Any, *rest: Any) -> None:
            if trainer.global_step >= step and self.interrupt_handler.pending_signal is None:
                self.interrupt_handler.pending_signal = 2
            original(self, trainer, *rest)

        monkeypatch.setattr(CheckpointCallback, "on_train_batch_end", interrupt)

    return interrupt_after


@pytest.mark.slow
def test_resumed_run_continues_its_logs(
    run_in: RunIn, tmp_path: Path, interrupt_after: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    overrides = ["stage=train", "logger=[csv,tensorboard,mlflow,wandb]", f"logger.mlflow.tracking_uri={uri}"]
    interrupt_after(40)
    with pytest.raises(Interrupted):
        run_in(tmp_path / "outputs", *overrides)
    (interrupted,) = mlflow_runs(uri)
    assert interrupted.info.status == "KILLED"
    monkeypatch.undo()
    result = run_in(tmp_path / "outputs", *overrides, "resume=auto")
    assert len(list((tmp_path / "outputs" / "run").iterdir())) == 2
    steps = [int(row["step"]) for row in result.metrics["train"]["history"]]
    _check_mlflow(uri, steps)
    _check_events(result.directory, steps)
    assert [int(row["step"]) for row in csv_rows(result.directory) if row["loss/val"]] == steps
    files = [path for path in (tmp_path / "outputs").rglob("run-*.wandb") if "latest" not in str(path)]
    assert len({path.stem for path in files}) == 1


def _check_mlflow(uri: str, steps: list[int]) -> None:
    from mlflow import MlflowClient

    (run,) = mlflow_runs(uri)
    assert run.info.status == "FINISHED"
    client = MlflowClient(uri)
    assert [m.step for m in client.get_metric_history(run.info.run_id, "loss/val")] == steps
    assert [m.step for m in client.get_metric_history(run.info.run_id, "logit_std")] == [1, 10, 25, 50]


def _check_events(directory: Path, steps: list[int]) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(directory / "logs" / "tensorboard"), {"histograms": 0}).Reload()
    assert [event.step for event in events.Scalars("loss/val")] == steps
    assert [event.step for event in events.Histograms("weights/output.weight")] == steps
    assert [event.step for event in events.Scalars("logit_std")] == [1, 10, 25, 50]


@pytest.mark.slow
def test_remedy_begins_a_new_log(run_in: RunIn, tmp_path: Path) -> None:
    """A run that `fix=true` changes is logged under its new hyperparameters, and the old log is closed."""
    result = run_in(tmp_path, "stage=[sanity,train]", "init=zeros", "fix=true", "logger=[csv,mlflow]")
    assert result.status == "passed"
    n_kept = sum(fix.kept for fix in result.fixes)
    assert n_kept >= 1
    runs = mlflow_runs(f"sqlite:///{result.directory / 'logs' / 'mlflow.db'}")
    *earlier, last = sorted(runs, key=lambda run: run.info.start_time)
    assert [run.data.tags["pipeline.status"] for run in earlier] == ["superseded"] * n_kept
    assert earlier[0].data.params["init.weight"] == "zeros"
    assert last.info.status == "FINISHED"
    assert last.data.params["init.weight"] == "he"
    assert last.data.metrics["val_accuracy"] == result.metrics["train"]["val_accuracy"]
    assert [row["sanity/passed"] for row in csv_rows(result.directory) if row["sanity/passed"]] == ["1.0"]


@pytest.mark.slow
def test_unselected_loggers_are_not_imported(tmp_path: Path) -> None:
    code = (
        "import pipeline, sys\n"
        "pipeline.run(['data=digits', 'data.limit=100', 'model=mlp', 'stages.train.epochs=1', 'stage=train',"
        f"'outputs={tmp_path}'], quiet=True)\n"
        "print([m for m in ('tensorboard', 'torch.utils.tensorboard', 'mlflow', 'wandb') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"
    assert not list(tmp_path.rglob("logs"))


@pytest.mark.slow
def test_runs_that_start_together_share_a_store(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/new/mlflow.db"
    code = (
        "from pathlib import Path; from pipeline.loggers import LoggedRun; import sys\n"
        "from pipeline.loggers.mlflow import MLflow\n"
        f"run = LoggedRun('run', Path({str(tmp_path)!r}), {{}})\n"
        "sys.stdin.read(1)\n"
        f"MLflow({uri!r}, 'e').open(run, None).close('passed', {{}})"
    )
    started = [subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, cwd=ROOT) for _ in range(3)]
    for process in started:
        process.communicate(b"x", timeout=120)
    assert [process.returncode for process in started] == [0, 0, 0]
    assert [run.info.status for run in mlflow_runs(uri)] == ["FINISHED"] * 3


def test_loggers_change_no_result() -> None:
    """Loggers are no part of the hash of what is computed."""
    plain = [to_dict(compose_config(["data=digits", f"logger={option}"])) for option in ("none", "[csv,wandb]")]
    assert config_hash(plain[0]) == config_hash(plain[1])
    assert json.dumps(plain[0]["logger"]) == "{}"


@pytest.mark.parametrize("package", ["tensorboard", "mlflow", "wandb"])
def test_missing_package(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message has the command that installs it."""
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError) as error:
        build_components(compose_config(["data=digits", f"logger={package}"]))
    assert error.value.field == f"logger.{package}"
    assert "'staged-training-pipeline[loggers]'" in error.value.message


@pytest.mark.parametrize(
    ("override", "field"),
    [
        ("logger.wandb.mode=onlin", "logger.wandb.mode"),
        ("logger.tensorboard.histograms=3", "logger.tensorboard.histograms"),
        ("logger.mlflow.tracking_uri=mlruns", "logger.mlflow.tracking_uri"),
        ("logger=3", "logger"),
        ("logger=tensorbord", "logger"),
        ("logger.tensorboardx.histograms=true", "logger.tensorboardx.histograms"),
    ],
)
def test_wrong_value(override: str, field: str) -> None:
    with pytest.raises(UserError) as error:
        build_components(compose_config(["data=digits", "logger=[csv,tensorboard,mlflow,wandb]", override]))
    assert error.value.field == field


def test_key_of_an_unselected_logger() -> None:
    with pytest.raises(UserError) as error:
        compose_config(["logger=csv", "logger.tensorboard.histograms=false"])
    assert error.value.field == "logger.tensorboard.histograms"


def test_store_that_cannot_be_opened(run_in: RunIn, tmp_path: Path) -> None:
    """The run ends before its first stage, and leaves nothing behind."""
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(UserError) as error:
        run_in(tmp_path / "outputs", "logger=mlflow", f"logger.mlflow.tracking_uri=sqlite:///{tmp_path}/file/mlflow.db")
    assert error.value.field == "logger.mlflow.tracking_uri"
    assert not (tmp_path / "outputs").exists()
