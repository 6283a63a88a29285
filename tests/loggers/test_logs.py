"""What each log holds, read back with its own library's reader."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.workflow.result import RunResult

from .wandb_file import records


def history(result: RunResult) -> list[dict[str, float]]:
    return result.metrics["train"]["history"]


def layers(result: RunResult) -> list[str]:
    state = torch.load(result.directory / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    return [k.removeprefix("network.") for k, v in state.items() if k.startswith("network.") and v.ndim >= 2]


def test_csv_has_a_row_per_epoch_and_sampled_step(whole: RunResult) -> None:
    with (whole.directory / "logs" / "csv" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    epochs = [row for row in rows if row["loss/val"]]
    assert [float(row["loss/val"]) for row in epochs] == [row["val_loss"] for row in history(whole)]
    assert [int(row["step"]) for row in epochs] == [23, 46, 69]
    assert [int(row["step"]) for row in rows if row["gradient_norm/output.weight"]] == [1, 10, 25, 50]
    steps = [int(row["step"]) for row in rows]
    assert steps == sorted(steps)


@pytest.fixture(scope="module")
def events(whole: RunResult) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import HISTOGRAMS, IMAGES, EventAccumulator

    found = EventAccumulator(str(whole.directory / "logs" / "tensorboard"), {HISTOGRAMS: 0, IMAGES: 0})
    return found.Reload()


def test_tensorboard_has_the_curves(whole: RunResult, events: Any) -> None:
    for tag, key in [("loss/train", "loss"), ("loss/val", "val_loss"), ("accuracy/val", "val_accuracy"), ("lr", "lr"),
                     ("loss/penalty", "penalty")]:  # fmt: skip
        logged = events.Scalars(tag)
        assert [event.step for event in logged] == [row["step"] for row in history(whole)]
        assert [event.value for event in logged] == pytest.approx([row[key] for row in history(whole)], rel=1e-6)


def test_tensorboard_has_what_was_seen_inside(whole: RunResult, events: Any) -> None:
    (train,) = (outcome for outcome in whole.outcomes if outcome.name == "train")
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


def test_tensorboard_has_histograms_of_the_weights(whole: RunResult, events: Any) -> None:
    state = torch.load(whole.directory / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert layers(whole)
    for name in layers(whole):
        seen = events.Histograms(f"weights/{name}")
        assert [event.step for event in seen] == [23, 46, 69]
        weight = state[f"network.{name}"]
        assert seen[-1].histogram_value.num == weight.numel()
        assert seen[-1].histogram_value.max == pytest.approx(float(weight.max()), rel=1e-5)


def test_tensorboard_has_the_confusion_matrix_and_the_hyperparameters(whole: RunResult, events: Any) -> None:
    (picture,) = events.Images("evaluate/confusion")
    assert picture.encoded_image_string.startswith(b"\x89PNG")
    assert (picture.width, picture.height) == (120 + 280, 120 + 280)
    content = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    for said in (b"optimizer.lr", b"activation", b"ReLU", b"model.width"):
        assert said in content
    (score,) = events.Scalars("test_accuracy")
    assert score.value == pytest.approx(whole.metrics["evaluate"]["test_accuracy"])


def test_mlflow_has_parameters_metrics_and_files(whole: RunResult) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{whole.directory / 'logs' / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("run").experiment_id])
    assert run.info.status == "FINISHED"
    assert run.info.run_name == f"run/{whole.directory.name}"
    assert run.data.params["optimizer"] == "SGD"
    assert run.data.params["optimizer.lr"] == "0.02"
    assert not [name for name in run.data.params if name.startswith(("checks", "logger"))]
    assert run.data.tags["pipeline.a"] == "true"
    assert run.data.tags["pipeline.status"] == "passed"
    assert run.data.metrics["test_accuracy"] == pytest.approx(whole.metrics["evaluate"]["test_accuracy"])
    losses = client.get_metric_history(run.info.run_id, "loss/val")
    assert [(m.step, m.value) for m in losses] == [(row["step"], row["val_loss"]) for row in history(whole)]
    files = {file.path: file for file in client.list_artifacts(run.info.run_id)}
    assert {"outcome.json", "history.csv", "config.yaml", "signals.json", "report.html"} <= set(files)
    there = Path(run.info.artifact_uri)
    assert there.is_relative_to(whole.directory.resolve())
    assert (there / "outcome.json").read_bytes() == (whole.directory / "outcome.json").read_bytes()  # as at the end


def test_wandb_has_the_same_without_a_network(whole: RunResult) -> None:
    (file,) = (whole.directory / "logs" / "wandb").glob("offline-run-*/run-*.wandb")
    found = records(file)
    (begun,) = (record.run for record in found if record.HasField("run"))
    assert begun.project == "run"
    assert begun.display_name == f"run/{whole.directory.name}"
    assert list(begun.tags) == ["a"]
    assert {item.key: item.value_json for item in begun.config.update}["optimizer"] == '"SGD"'
    rows = [
        {"/".join(item.nested_key) or item.key: item.value_json for item in record.history.item}
        for record in found
        if record.HasField("history")
    ]
    logged = {int(row["trainer/global_step"]): float(row["loss/val"]) for row in rows if "loss/val" in row}
    assert logged == {int(row["step"]): pytest.approx(row["val_loss"]) for row in history(whole)}
    kinds = {key: json.loads(value) for row in rows for key, value in row.items() if key.endswith("/_type")}
    assert kinds["evaluate/confusion/_type"] == "images/separated"
    assert {f"weights/{name}/_type" for name in layers(whole)} <= {k for k, v in kinds.items() if v == "histogram"}
    (ended,) = (record.exit for record in found if record.HasField("exit"))
    assert ended.exit_code == 0


def test_the_numbers_of_a_log_are_numbers(events: Any) -> None:
    finite = [math.isfinite(event.value) for tag in events.Tags()["scalars"] for event in events.Scalars(tag)]
    assert np.mean(finite) == 1
