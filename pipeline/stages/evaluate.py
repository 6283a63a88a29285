"""Evaluates the best checkpoint on the test split, beside its score on the validation split.

No other stage evaluates on the test split, and nothing is chosen by it.
"""

from __future__ import annotations

import copy
import functools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.data import Images, Splits
from pipeline.data.dataset import CLASSIFICATION, MULTILABEL, REGRESSION
from pipeline.data.shuffle import evaluation_batch, split_batches
from pipeline.errors import UserError
from pipeline.model.task import SCORES, from_probabilities, score_examples, to_probabilities
from pipeline.runs.paths import checkpoint_file
from pipeline.stages import sample_images
from pipeline.training import checkpoints
from pipeline.training.ensemble_members import load_member
from pipeline.training.metrics import compute_metrics, metrics_by_class
from pipeline.training.predictions import Predictions
from pipeline.workflow.components import Components, RunContext, Stage
from pipeline.workflow.outcome import Outcome, all_findings

FIELD = "stages.evaluate.checkpoint"
OF_THIS_RUN = ("best", "last", "ensemble")
MAX_MISTAKES = 24
"""Wrong predictions that are kept, the most confident ones."""
MAX_MATRIX, MAX_CONFUSED = 100, 30
"""Most classes of which all confusions are kept, and how many classes are kept of more."""
MAX_PAIRS = 500
"""Targets and predictions that are kept for a chart."""

Predict = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Evaluated:
    """What is evaluated: a function from pixels to logits, its name, and how it was chosen."""

    predict: Predict
    name: str
    fingerprint: str | None
    """Of the data that it was trained on; None where the checkpoint does not say."""
    epochs: int
    """Epochs among which the validation split chose it."""


@dataclass(frozen=True)
class Evaluate(Stage):
    """Measure the metrics of the task on the test split; of classes also the confusion matrix (rows: the true class).

    `checkpoint` is best, last, ensemble or a path. Where the augmentation has several views of an image, its logits are
    the mean over them. The same is measured on the validation split, unless the checkpoint was trained on other splits,
    and the checks compare the two.
    """

    logged_metrics = ("test_accuracy", "test_loss")
    is_fixable = False  # the test split must choose nothing

    checkpoint: str

    def __post_init__(self) -> None:
        if not isinstance(self.checkpoint, str) or not self.checkpoint:
            raise UserError(f"expected best, last, ensemble or a path, got {self.checkpoint!r}.", field="checkpoint")
        if self.checkpoint not in OF_THIS_RUN:  # resolved now, since outputs/latest will soon be this run
            object.__setattr__(self, "checkpoint", str(Path(self.checkpoint).resolve()))

    def check_order(self, earlier: Sequence[str]) -> None:
        if self.checkpoint in ("best", "last") and "train" not in earlier:
            raise UserError(
                f"no training comes before, so there is no {self.checkpoint!r} checkpoint. Give a path, such as "
                "outputs/latest/checkpoints/best.ckpt.",
                field="checkpoint",
            )
        if self.checkpoint == "ensemble" and "ensemble" not in earlier:
            raise UserError("no ensemble comes before: stage=[train,ensemble,evaluate].", field="checkpoint")

    def __call__(self, components: Components, context: RunContext, earlier: Sequence[Outcome]) -> Outcome:
        started = time.perf_counter()
        evaluated, data = self._load(components, context, earlier), components.data
        has_validation = evaluated.fingerprint in (None, data.fingerprint())
        total = len(data.test) + (len(data.val) if has_validation else 0)
        outputs, test_loss = _predict(evaluated.predict, data.test, components, context, total=total)
        views = len(components.augmentation.test_time_views(data.test.pixels[:1]))
        signals, metrics = _judge(data, outputs)
        signals["test_loss"] = test_loss
        metrics |= {"test_loss": test_loss, "views": views, "checkpoint": evaluated.name}
        if has_validation:
            outputs, _ = _predict(evaluated.predict, data.val, components, context, total=total, done=len(data.test))
            signals |= {**_scores(data.task, outputs, data.val.labels, "val"), "epochs_compared": evaluated.epochs}
        if data.task != CLASSIFICATION:
            signals["task"] = data.task
        findings = components.checks.evaluate(signals, stage="evaluate", earlier=all_findings(earlier))
        return Outcome(
            name="evaluate",
            passed=not components.checks.has_failure(findings),
            seconds=time.perf_counter() - started,
            headline=_headline(data, metrics),
            metrics=metrics,
            findings=tuple(findings),
            signals=signals,
            images=_mistake_images(components, metrics.get("mistakes", [])) if context.save_images else {},
        )

    def _load(self, components: Components, context: RunContext, earlier: Sequence[Outcome]) -> Evaluated:
        """Return what is evaluated. The logits of an ensemble are the logarithms of its mean probabilities."""
        augmentation, device = components.augmentation, components.device_config.device
        task = components.data.task
        if self.checkpoint != "ensemble":
            network, path, extra = self._load_network(components, context)
            predict = functools.partial(augmentation.average_logits, network)
            return Evaluated(predict, str(path), extra.get("fingerprint"), max(1, len(extra.get("history", ()))))
        paths = next(outcome.metrics["checkpoints"] for outcome in earlier if outcome.name == "ensemble")
        fingerprint = components.data.fingerprint()
        members = [load_member(Path(path), fingerprint=fingerprint, device=device, field=FIELD) for path in paths]
        epochs = next((outcome.metrics.get("epochs", 1) for outcome in earlier if outcome.name == "train"), 1)

        def mean_probabilities(pixels: Tensor) -> Tensor:
            probabilities = [to_probabilities(task, augmentation.average_logits(member, pixels)) for member in members]
            return from_probabilities(task, torch.stack(probabilities).mean(0))

        return Evaluated(mean_probabilities, f"ensemble of {len(members)}", fingerprint, max(1, epochs))

    def _load_network(self, components: Components, context: RunContext) -> tuple[Predict, Path, dict[str, Any]]:
        """Return the network behind its preprocessing, its file, and what the training wrote there about itself."""
        path = Path(self.checkpoint)
        if self.checkpoint in ("best", "last"):
            path = checkpoint_file(context.directory, self.checkpoint)
        state = checkpoints.load(path, field=FIELD)
        device = components.device_config.device
        network = components.make_network().to(device).eval()
        preprocessing = copy.deepcopy(components.preprocessing).to(device)  # gets the checkpoint's statistics
        try:
            network.load_state_dict(checkpoints.strip_prefix(state["state_dict"], "network."))
            preprocessing.load_state_dict(checkpoints.strip_prefix(state["state_dict"], "preprocessing."))
        except (RuntimeError, KeyError, IndexError, TypeError) as error:
            raise UserError(
                f"{str(path)!r} was made with another model or preprocessing. Use the options it was trained with. "
                f"({str(error).splitlines()[0]})",
                field=FIELD,
            ) from error
        extra = state.get("pipeline")
        return (lambda pixels: network(preprocessing(pixels))), path, extra if isinstance(extra, dict) else {}


@torch.inference_mode()
def _predict(
    predict: Predict, images: Images, components: Components, context: RunContext, *, total: int, done: int = 0
) -> tuple[Tensor, float]:
    """Return the outputs (N, C) for `images`, on the CPU, and their mean loss.

    `done` of `total` images were predicted before.
    """
    device = components.device_config.device
    outputs, total_loss = [], 0.0
    for index in split_batches(torch.arange(len(images)), evaluation_batch(images.pixels.shape[1:])):
        labels = images.labels[index].to(device)
        logits = predict(images.pixels[index].to(device))
        total_loss += float(components.loss(logits, labels)) * len(index)
        outputs.append(logits.cpu())
        context.progress(done + int(index[-1]) + 1, total, unit="images")
    return torch.cat(outputs), total_loss / len(images)


def _judge(data: Splits, outputs: Tensor) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the signals and the metrics of the outputs on the test split."""
    labels = data.test.labels
    signals = _scores(data.task, outputs, labels, "test")
    by_class = metrics_by_class(data.task, outputs, labels, moments=data.target_moments)
    scores = compute_metrics(data.task, outputs, labels, by_class=by_class)
    metrics: dict[str, Any] = {f"test_{name}": _finite(value) for name, value in scores.items()}
    metrics["by_class"] = {name: [_finite(value) for value in values.tolist()] for name, values in by_class.items()}
    if data.task == REGRESSION:
        return signals, metrics | {"predicted": _pairs(data, outputs)}
    if data.task == MULTILABEL:
        return signals, metrics
    predictions = Predictions(len(data.classes))
    predictions.add(outputs, labels)
    return signals, metrics | {
        "per_class_accuracy": dict(zip(data.classes, signals["test_class_accuracy"], strict=True)),
        **_confusion(predictions, data),
        "calibration": predictions.calibration(),
        "mistakes": [one | _file_of(data.test, one["index"]) for one in predictions.mistakes(MAX_MISTAKES)],
    }


def _confusion(predictions: Predictions, data: Splits) -> dict[str, Any]:
    """Return the confusion matrix; of more than `MAX_MATRIX` only of the most confused ones.

    These are `confusion_classes`, and `confusion_examples` are their examples, which may be predicted as others too.
    """
    matrix = predictions.confusion()
    if len(data.classes) <= MAX_MATRIX:
        return {"confusion": matrix.tolist()}
    chosen = predictions.most_confused(MAX_CONFUSED)
    return {"confusion": matrix[chosen][:, chosen].tolist(), "confusion_classes": chosen.tolist()} | {
        "confusion_examples": matrix[chosen].sum(1).tolist()
    }


def _scores(task: str, outputs: Tensor, labels: Tensor, split: str) -> dict[str, Any]:
    """Return the score on `split` as a signal; of classes also the number of examples and the accuracy of each."""
    scores = score_examples(task, outputs, labels)
    signals: dict[str, Any] = {
        f"{split}_{SCORES[task]}": float(scores.double().mean()),
        f"{split}_examples": len(labels),
    }
    if task == CLASSIFICATION:
        n_classes = outputs.shape[1]
        counts = torch.bincount(labels, minlength=n_classes).tolist()
        right = torch.bincount(labels[scores], minlength=n_classes).tolist()
        signals[f"{split}_class_counts"] = counts
        signals[f"{split}_class_accuracy"] = [r / n if n else None for r, n in zip(right, counts, strict=True)]
    return signals


def _pairs(data: Splits, outputs: Tensor) -> dict[str, list[list[float]]]:
    """Return the targets and the predictions of some test examples, (examples, T) in the units of the targets."""
    assert data.target_moments is not None
    mean, deviation = data.target_moments
    chosen = torch.arange(min(MAX_PAIRS, len(outputs))) * len(outputs) // min(MAX_PAIRS, len(outputs))
    pairs = {"target": data.test.labels[chosen], "prediction": outputs[chosen]}
    return {name: (values.double() * deviation + mean).tolist() for name, values in pairs.items()}


def _finite(value: float) -> float | None:
    """Return `value`, or None where there is no such number: JSON has no NaN."""
    return value if math.isfinite(value) else None


def _headline(data: Splits, metrics: dict[str, Any]) -> str:
    views = f", {metrics['views']} views of each" if metrics["views"] > 1 else ""
    end = f" on {len(data.test)} examples{views}, loss {metrics['test_loss']:.3f}"
    if data.task == REGRESSION:
        return f"test r2 {_number(metrics['test_r2'])}, mean error {_number(metrics['test_mae'])}{end}"
    if data.task == MULTILABEL:
        exact, f1 = (_number(metrics[f"test_{name}"]) for name in ("exact_match", "f1"))
        return f"test accuracy {metrics['test_accuracy']:.4f} of labels, all right {exact}, f1 {f1}{end}"
    return f"test accuracy {metrics['test_accuracy']:.4f}{end}; {_worst_class(metrics['per_class_accuracy'])}"


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4g}"


def _file_of(images: Images, index: int) -> dict[str, str]:
    """Return the name of the file of an example, under `file`, if it is from one."""
    return {} if images.names is None else {"file": images.names[index]}


def _mistake_images(components: Components, mistakes: list[dict[str, Any]]) -> dict[str, Any]:
    if not mistakes or min(components.data.input_shape[1:]) <= 1:  # columns of a table are no image
        return {}
    index = torch.tensor([mistake["index"] for mistake in mistakes])
    return {"mistakes": sample_images.select_images(components.data.test, index, scale=components.data.scale)}


def _worst_class(per_class: dict[str, float | None]) -> str:
    scores = {name: score for name, score in per_class.items() if score is not None}
    worst = min(scores, key=lambda name: scores[name])
    return f"worst class {worst!r} {scores[worst]:.3f}"
