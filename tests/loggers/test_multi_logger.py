"""How logs begin, go on, fail and end."""

from __future__ import annotations

import csv
import json
import logging
import math
import subprocess
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.config.compose import compose_config
from pipeline.errors import Interrupted, UserError
from pipeline.loggers import LoggedRun, MultiLogger, Writer, open_loggers
from pipeline.workflow.build import build_components
from pipeline.workflow.result import RunResult

ROOT = Path(__file__).parents[2]
Run = Callable[..., RunResult]


class RecordingWriter(Writer):
    """Keeps what it is given; fails from the `failing`-th call on."""

    def __init__(self, failing: int | None = None, state: Mapping[str, Any] | None = None):
        super().__init__(state)
        self.rows: list[tuple[int, dict[str, float]]] = []
        self.ended: list[str] = []
        self.failing = failing

    def log_scalars(self, values: Mapping[str, float], step: int) -> None:
        if self.failing is not None and len(self.rows) >= self.failing:
            raise OSError(28, "No space left on device")
        self.rows.append((step, dict(values)))

    def close(self, status: str, scores: Mapping[str, float]) -> None:
        self.ended.append(status)


def epochs(n: int) -> list[dict[str, float]]:
    return [{"epoch": float(i), "step": 10.0 * (i + 1), "loss": 1 / (i + 1), "val_loss": 2.0} for i in range(n)]


def samples(*steps: int) -> dict[str, Any]:
    each = [[1.0, 2.0] for _ in steps]
    return {
        "step": list(steps),
        "lr": [0.1 for _ in steps],
        **{key: [None for _ in steps] for key in ("logit_std", "gradient_noise", "gradient_ratio")},
        "weights": {"name": ["a", "b"], "gradient": each, "weight": each, "update": each},
        "activations": {"name": [], "mean": [[] for _ in steps], "std": [[] for _ in steps]},
    }


def test_each_epoch_and_sample_is_written_once_in_the_order_of_steps() -> None:
    noted = RecordingWriter()
    log = MultiLogger({"noted": noted})
    log.log_training(epochs(1), samples(1, 5), None)
    log.log_training(epochs(1), samples(1, 5), None)
    log.log_training(epochs(3), samples(1, 5, 12), None)
    assert [step for step, _ in noted.rows] == [1, 5, 10, 12, 20, 30]
    assert noted.rows[0][1]["update_ratio/a"] == 1.0
    assert noted.rows[-1][1]["loss/train"] == pytest.approx(1 / 3)


def test_a_log_that_fails_is_said_once_and_the_others_go_on(caplog: pytest.LogCaptureFixture) -> None:
    good, bad = RecordingWriter(), RecordingWriter(failing=1)
    log = MultiLogger({"bad": bad, "good": good})
    with caplog.at_level(logging.WARNING):
        for n in (1, 2, 3):
            log.log_training(epochs(n), None, None)
        log.log_stage("evaluate", {"test_accuracy": 0.5, "confusion": [[1]]}, passed=True)
        log.close("passed")
    assert [record.getMessage() for record in caplog.records] == [
        "warning: the log bad has failed and is left out: [Errno 28] No space left on device"
    ]
    assert [step for step, _ in good.rows] == [10, 20, 30, 30]
    assert good.ended == ["passed"]
    assert not bad.ended


class Counted(RecordingWriter):
    """Keeps histograms too."""

    histograms = True

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[str, tuple[int, float, float]] = {}

    def histogram(self, name: str, counts: np.ndarray, edges: np.ndarray, step: int) -> None:
        self.seen[name] = int(counts.sum()), float(edges[0]), float(edges[-1])


def test_weights_that_are_not_finite_are_left_out_of_histograms() -> None:
    network = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([[1.0, math.nan, math.inf], [2.0, 3.0, -4.0]]))
        network[1].weight.fill_(math.nan)
    counted = Counted()
    MultiLogger({"counted": counted}).log_training(epochs(1), None, None, network)
    assert counted.seen == {"weights/0.weight": (4, -4.0, 3.0)}


def test_activations_of_a_stage_are_histograms_too() -> None:
    counted, plain = Counted(), RecordingWriter()
    histograms = {"name": ["relu"], "kind": ["ReLU"], "low": [0.0], "high": [2.0], "zero": [0.5], "counts": [[3, 1]]}
    MultiLogger({"counted": counted, "plain": plain}).log_stage("train", {}, {"histograms": histograms}, passed=True)
    assert counted.seen == {"activations_train/relu": (4, 0.0, 2.0)}


def test_without_logs_nothing_is_written(tmp_path: Path) -> None:
    log = open_loggers({}, LoggedRun("run", tmp_path, {}))
    log.log_training(epochs(1), None, None)
    log.close("passed")
    assert not list(tmp_path.iterdir())


def test_where_one_log_cannot_begin_those_before_it_end(tmp_path: Path) -> None:
    noted = RecordingWriter()

    class Opens:
        def open(self, run: LoggedRun, before: Any) -> Writer:
            return noted

    class Refuses:
        def open(self, run: LoggedRun, before: Any) -> Writer:
            raise UserError("no", field="logger.b")

    with pytest.raises(UserError):
        open_loggers({"a": Opens(), "b": Refuses()}, LoggedRun("run", tmp_path, {}))
    assert noted.ended == ["error"]


# ---------------------------------------------------------------- real logs


def mlflow_runs(uri: str) -> list[Any]:
    from mlflow import MlflowClient

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of SQLAlchemy's, about what MLflow asks it for
        client = MlflowClient(uri)
        return list(client.search_runs([e.experiment_id for e in client.search_experiments()]))


def test_a_failed_run_says_so_in_its_logs(run_in: Run, tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'shared' / 'mlflow.db'}"
    logs = ["logger=[mlflow,wandb,tensorboard]", f"logger.mlflow.tracking_uri={uri}"]
    result = run_in(tmp_path / "outputs", "init=zeros", *logs)
    assert result.status == "failed"
    (run,) = mlflow_runs(uri)
    assert run.info.status == "FAILED"
    assert run.data.metrics["sanity/passed"] == 0.0
    assert Path(run.info.artifact_uri).is_relative_to(tmp_path / "shared")
    from .wandb_file import records

    (file,) = result.directory.glob("logs/wandb/offline-run-*/run-*.wandb")
    (ended,) = (record.exit for record in records(file) if record.HasField("exit"))
    assert ended.exit_code == 1


@pytest.fixture
def stop_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Ask for an end as Ctrl-C does, in the middle of an epoch."""
    from pipeline.training.callbacks import CheckpointCallback

    def stop(step: int) -> None:
        original = CheckpointCallback.on_train_batch_end

        def interrupt(self: Any, trainer: Any, *rest: Any) -> None:
            if trainer.global_step >= step and self.interrupt_handler.pending_signal is None:
                self.interrupt_handler.pending_signal = 2
            original(self, trainer, *rest)

        monkeypatch.setattr(CheckpointCallback, "on_train_batch_end", interrupt)

    return stop


@pytest.mark.slow
def test_a_resumed_run_goes_on_with_the_same_logs(
    run_in: Run, tmp_path: Path, stop_after: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    typed = ["stage=train", "logger=[csv,tensorboard,mlflow,wandb]", f"logger.mlflow.tracking_uri={uri}"]
    stop_after(40)
    with pytest.raises(Interrupted):
        run_in(tmp_path / "outputs", *typed)
    (cut,) = mlflow_runs(uri)
    assert cut.info.status == "KILLED"
    monkeypatch.undo()
    result = run_in(tmp_path / "outputs", *typed, "resume=auto")
    assert len(list((tmp_path / "outputs" / "run").iterdir())) == 2
    steps = [int(row["step"]) for row in result.metrics["train"]["history"]]
    _mlflow_went_on(uri, steps)
    _events_went_on(result.directory, steps)
    with (result.directory / "logs" / "csv" / "metrics.csv").open() as file:
        assert [int(row["step"]) for row in csv.DictReader(file) if row["loss/val"]] == steps
    assert len({path.stem for path in (tmp_path / "outputs").rglob("run-*.wandb") if "latest" not in str(path)}) == 1


def _mlflow_went_on(uri: str, steps: list[int]) -> None:
    from mlflow import MlflowClient

    (run,) = mlflow_runs(uri)
    assert run.info.status == "FINISHED"
    client = MlflowClient(uri)
    assert [m.step for m in client.get_metric_history(run.info.run_id, "loss/val")] == steps
    assert [m.step for m in client.get_metric_history(run.info.run_id, "logit_std")] == [1, 10, 25, 50]


def _events_went_on(directory: Path, steps: list[int]) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(directory / "logs" / "tensorboard"), {"histograms": 0}).Reload()
    assert [event.step for event in events.Scalars("loss/val")] == steps
    assert [event.step for event in events.Histograms("weights/output.weight")] == steps
    assert [event.step for event in events.Scalars("logit_std")] == [1, 10, 25, 50]


@pytest.mark.slow
def test_a_mended_run_logs_what_it_was_mended_to(run_in: Run, tmp_path: Path) -> None:
    typed = ["stage=[sanity,train]", "init=zeros", "fix=true", "logger=[csv,mlflow]"]
    result = run_in(tmp_path, *typed)
    assert result.status == "passed"
    kept = sum(fix.kept for fix in result.fixes)
    assert kept >= 1
    *mended, last = sorted(
        mlflow_runs(f"sqlite:///{result.directory / 'logs' / 'mlflow.db'}"), key=lambda run: run.info.start_time
    )
    assert [run.data.tags["pipeline.status"] for run in mended] == ["mended"] * kept
    assert mended[0].data.params["init.weight"] == "zeros"
    assert last.info.status == "FINISHED"
    assert last.data.params["init.weight"] == "he"
    assert last.data.metrics["val_accuracy"] == result.metrics["train"]["val_accuracy"]
    with (result.directory / "logs" / "csv" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["sanity/passed"] for row in rows if row["sanity/passed"]] == ["1.0"]


def test_no_library_of_a_log_that_was_not_chosen_is_imported(tmp_path: Path) -> None:
    code = (
        "import pipeline, sys\n"
        "pipeline.run(['data=digits', 'data.limit=100', 'model=mlp', 'stages.train.epochs=1', 'stage=train',"
        f"'outputs={tmp_path}'], quiet=True)\n"
        "print([m for m in ('tensorboard', 'torch.utils.tensorboard', 'mlflow', 'wandb') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"
    assert not list(tmp_path.rglob("logs"))


# ---------------------------------------------------------------- wrong input


@pytest.mark.parametrize("package", ["tensorboard", "mlflow", "wandb"])
def test_a_missing_package_is_said_with_the_command(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=r"pip install 'staged-training-pipeline\[loggers\]'") as error:
        build_components(compose_config(["data=digits", f"logger={package}"]))
    assert error.value.field == f"logger.{package}"


@pytest.mark.parametrize(
    ("typed", "field"),
    [
        ("logger.wandb.mode=onlin", "logger.wandb.mode"),
        ("logger.tensorboard.histograms=3", "logger.tensorboard.histograms"),
        ("logger.mlflow.tracking_uri=mlruns", "logger.mlflow.tracking_uri"),
        ("logger=3", "logger"),
        ("logger=tensorbord", "logger"),
        ("logger.tensorboardx.histograms=true", "logger.tensorboardx.histograms"),
    ],
)
def test_a_wrong_value_is_refused(typed: str, field: str) -> None:
    with pytest.raises(UserError) as error:
        build_components(compose_config(["data=digits", "logger=[csv,tensorboard,mlflow,wandb]", typed]))
    assert error.value.field == field


def test_a_key_of_a_log_that_was_not_chosen() -> None:
    with pytest.raises(UserError, match=r"not chosen\. Add logger=tensorboard"):
        compose_config(["logger=csv", "logger.tensorboard.histograms=false"])


def test_a_store_that_cannot_be_opened_leaves_nothing_behind(run_in: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(UserError, match="MLflow cannot open") as error:
        run_in(tmp_path / "outputs", "logger=mlflow", f"logger.mlflow.tracking_uri=sqlite:///{tmp_path}/file/mlflow.db")
    assert error.value.field == "logger.mlflow.tracking_uri"
    assert not (tmp_path / "outputs").exists()


@pytest.mark.slow
def test_runs_that_start_together_share_a_new_store(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/new/mlflow.db"
    code = (
        "from pathlib import Path; from pipeline.loggers import LoggedRun, MLflow; import sys\n"
        f"run = LoggedRun('run', Path({str(tmp_path)!r}), {{}})\n"
        "sys.stdin.read(1)\n"
        f"MLflow({uri!r}, 'e').open(run, None).close('passed', {{}})"
    )
    started = [subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, cwd=ROOT) for _ in range(3)]
    for process in started:
        process.communicate(b"x", timeout=120)
    assert [process.returncode for process in started] == [0, 0, 0]
    assert [run.info.status for run in mlflow_runs(uri)] == ["FINISHED"] * 3


def test_logs_do_not_decide_what_is_computed() -> None:
    from pipeline.config.to_dict import to_dict
    from pipeline.runs.json_files import config_hash

    plain = [to_dict(compose_config(["data=digits", f"logger={option}"])) for option in ("none", "[csv,wandb]")]
    assert config_hash(plain[0]) == config_hash(plain[1])
    assert json.dumps(plain[0]["logger"]) == "{}"
