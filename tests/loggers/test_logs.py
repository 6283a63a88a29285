"""What each logger has written, read by its own library."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.workflow.result import RunResult
from tests.loggers.readers import csv_rows, wandb_records


def history(result: RunResult) -> list[dict[str, float]]:
    return result.metrics["train"]["history"]


def layers(result: RunResult) -> list[str]:
    state = torch.load(result.directory / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    return [k.removeprefix("network.") for k, v in state.items() if k.startswith("network.") and v.ndim >= 2]


def test_csv(logged_run: RunResult) -> None:
    rows = csv_rows(logged_run.directory)
    epochs = [row for row in rows if row["loss/val"]]
    assert [float(row["loss/val"]) for row in epochs] == [row["val_loss"] for row in history(logged_run)]
    assert [int(row["step"]) for row in epochs] == [23, 46, 69]
    assert [int(row["step"]) for row in rows if row["gradient_norm/output.weight"]] == [1, 10, 25, 50]
    steps = [int(row["step"]) for row in rows]
    assert steps == sorted(steps)


@pytest.fixture(scope="module")
def events(logged_run: RunResult) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import HISTOGRAMS, IMAGES, EventAccumulator

    return EventAccumulator(str(logged_run.directory / "logs" / "tensorboard"), {HISTOGRAMS: 0, IMAGES: 0}).Reload()


def test_tensorboard_curves(logged_run: RunResult, events: Any) -> None:
    for tag, key in [("loss/train", "loss"), ("loss/val", "val_loss"), ("accuracy/val", "val_accuracy"), ("lr", "lr"),
                     ("loss/penalty", "penalty")]:  # fmt: skip
        logged = events.Scalars(tag)
        assert [event.step for event in logged] == [row["step"] for row in history(logged_run)]
        assert [event.value for event in logged] == pytest.approx([row[key] for row in history(logged_run)], rel=1e-6)


def test_tensorboard_layers(logged_run: RunResult, events: Any) -> None:
    (train,) = (outcome for outcome in logged_run.outcomes if outcome.name == "train")
    assert train.signals
    weights = train.signals["samples"]["weights"]
    for i, name in enumerate(weights["name"]):
        ratio = [update[i] / weight[i] for update, weight in zip(weights["update"], weights["weight"], strict=True)]
        assert [event.value for event in events.Scalars(f"update_ratio/{name}")] == pytest.approx(ratio, rel=1e-6)
        norms = [event.value for event in events.Scalars(f"gradient_norm/{name}")]
        assert norms == pytest.approx([row[i] for row in weights["gradient"]], rel=1e-6)
    steps = [23 * (int(epoch) + 1) for epoch in train.signals["units"]["epoch"]]
    assert steps[-1] == 69
    for name in train.signals["units"]["name"]:
        assert [event.step for event in events.Scalars(f"dead_units/{name}")] == steps


def test_tensorboard_weights(logged_run: RunResult, events: Any) -> None:
    state = torch.load(logged_run.directory / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert layers(logged_run)
    for name in layers(logged_run):
        seen = events.Histograms(f"weights/{name}")
        assert [event.step for event in seen] == [23, 46, 69]
        weight = state[f"network.{name}"]
        assert seen[-1].histogram_value.num == weight.numel()
        assert seen[-1].histogram_value.max == pytest.approx(float(weight.max()), rel=1e-5)


def test_tensorboard_confusion_and_hyperparameters(logged_run: RunResult, events: Any) -> None:
    (image,) = events.Images("evaluate/confusion")
    assert image.encoded_image_string.startswith(b"\x89PNG")
    assert (image.width, image.height) == (120 + 280, 120 + 280)
    content = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    for name in (b"optimizer.lr", b"activation", b"ReLU", b"model.width"):
        assert name in content
    (score,) = events.Scalars("test_accuracy")
    assert score.value == pytest.approx(logged_run.metrics["evaluate"]["test_accuracy"])


def test_mlflow(logged_run: RunResult) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{logged_run.directory / 'logs' / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("run").experiment_id])
    assert run.info.status == "FINISHED"
    assert run.info.run_name == f"run/{logged_run.directory.name}"
    assert run.data.params["optimizer"] == "SGD"
    assert run.data.params["optimizer.lr"] == "0.02"
    assert not [name for name in run.data.params if name.startswith(("checks", "logger"))]
    assert run.data.tags["pipeline.a"] == "true"
    assert run.data.tags["pipeline.status"] == "passed"
    assert run.data.metrics["test_accuracy"] == pytest.approx(logged_run.metrics["evaluate"]["test_accuracy"])
    losses = client.get_metric_history(run.info.run_id, "loss/val")
    assert [(m.step, m.value) for m in losses] == [(row["step"], row["val_loss"]) for row in history(logged_run)]
    files = {file.path: file for file in client.list_artifacts(run.info.run_id)}
    assert {"outcome.json", "history.csv", "config.yaml", "signals.json", "report.html"} <= set(files)
    artifacts = Path(run.info.artifact_uri)
    assert artifacts.is_relative_to(logged_run.directory.resolve())
    assert (artifacts / "outcome.json").read_bytes() == (logged_run.directory / "outcome.json").read_bytes()


def test_wandb_offline(logged_run: RunResult) -> None:
    (file,) = (logged_run.directory / "logs" / "wandb").glob("offline-run-*/run-*.wandb")
    entries = wandb_records(file)
    (run,) = (record.run for record in entries if record.HasField("run"))
    assert run.project == "run"
    assert run.display_name == f"run/{logged_run.directory.name}"
    assert list(run.tags) == ["a"]
    assert {item.key: item.value_json for item in run.config.update}["optimizer"] == '"SGD"'
    rows = [
        {"/".join(item.nested_key) or item.key: item.value_json for item in record.history.item}
        for record in entries
        if record.HasField("history")
    ]
    logged = {int(row["trainer/global_step"]): float(row["loss/val"]) for row in rows if "loss/val" in row}
    assert logged == {int(row["step"]): pytest.approx(row["val_loss"]) for row in history(logged_run)}
    kinds = {key: json.loads(value) for row in rows for key, value in row.items() if key.endswith("/_type")}
    assert kinds["evaluate/confusion/_type"] == "images/separated"
    assert {f"weights/{name}/_type" for name in layers(logged_run)} <= {k for k, v in kinds.items() if v == "histogram"}
    (end,) = (record.exit for record in entries if record.HasField("exit"))
    assert end.exit_code == 0


def test_scalars_are_finite(events: Any) -> None:
    finite = [math.isfinite(event.value) for tag in events.Tags()["scalars"] for event in events.Scalars(tag)]
    assert np.mean(finite) == 1
