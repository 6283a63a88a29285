"""Evaluates the best checkpoint on the test split, beside its score on the validation split.

No other stage evaluates on the test split, and nothing is chosen by it.
"""

from __future__ import annotations

import copy
import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.data import Images
from pipeline.data.shuffle import split_batches
from pipeline.errors import UserError
from pipeline.stages import sample_images
from pipeline.training import checkpoints
from pipeline.training.ensemble_members import load_member
from pipeline.training.lightning_module import EVALUATION_BATCH
from pipeline.training.predictions import Predictions
from pipeline.workflow.components import Components, RunContext, Stage
from pipeline.workflow.outcome import Outcome, all_findings

FIELD = "stages.evaluate.checkpoint"
OF_THIS_RUN = ("best", "last", "ensemble")
MAX_MISTAKES = 24
"""Wrong predictions that are kept, the most confident ones."""

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
    """Measure accuracy, accuracy of each class, and the confusion matrix (rows: the true class) on the test split.

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
        predictions, test_loss = _predict(evaluated.predict, data.test, components, context, total=total)
        views = len(components.augmentation.test_time_views(data.test.pixels[:1]))
        signals = {"test_loss": test_loss, **_scores(predictions, "test")}
        metrics = {
            "test_accuracy": signals["test_accuracy"],
            "per_class_accuracy": dict(zip(data.classes, signals["test_class_accuracy"], strict=True)),
            "confusion": predictions.confusion().tolist(),
            "calibration": predictions.calibration(),
            "mistakes": predictions.mistakes(MAX_MISTAKES),
            "test_loss": test_loss,
            "views": views,
            "checkpoint": evaluated.name,
        }
        if has_validation:
            predictions, _ = _predict(
                evaluated.predict, data.val, components, context, total=total, done=len(data.test)
            )
            signals |= {**_scores(predictions, "val"), "epochs_compared": evaluated.epochs}
        findings = components.checks.evaluate(signals, stage="evaluate", earlier=all_findings(earlier))
        return Outcome(
            name="evaluate",
            passed=not components.checks.has_failure(findings),
            seconds=time.perf_counter() - started,
            headline=f"test accuracy {metrics['test_accuracy']:.4f} on {len(data.test)} examples"
            + (f", {views} views of each" if views > 1 else "")
            + f", loss {metrics['test_loss']:.3f}; {_worst_class(metrics['per_class_accuracy'])}",
            metrics=metrics,
            findings=tuple(findings),
            signals=signals,
            images=_mistake_images(components, metrics["mistakes"]) if context.save_images else {},
        )

    def _load(self, components: Components, context: RunContext, earlier: Sequence[Outcome]) -> Evaluated:
        """Return what is evaluated. The logits of an ensemble are the logarithms of its mean probabilities."""
        augmentation, device = components.augmentation, components.device_config.device
        if self.checkpoint != "ensemble":
            network, path, extra = self._load_network(components, context)
            predict = functools.partial(augmentation.average_logits, network)
            return Evaluated(predict, str(path), extra.get("fingerprint"), max(1, len(extra.get("history", ()))))
        paths = next(outcome.metrics["checkpoints"] for outcome in earlier if outcome.name == "ensemble")
        fingerprint = components.data.fingerprint()
        members = [load_member(Path(path), fingerprint=fingerprint, device=device, field=FIELD) for path in paths]
        epochs = next((outcome.metrics.get("epochs", 1) for outcome in earlier if outcome.name == "train"), 1)

        def mean_probabilities(pixels: Tensor) -> Tensor:
            probabilities = [augmentation.average_logits(member, pixels).softmax(1) for member in members]
            return torch.stack(probabilities).mean(0).clamp_min(1e-12).log()

        return Evaluated(mean_probabilities, f"ensemble of {len(members)}", fingerprint, max(1, epochs))

    def _load_network(self, components: Components, context: RunContext) -> tuple[Predict, Path, dict[str, Any]]:
        """Return the network behind its preprocessing, its file, and what the training wrote there about itself."""
        path = Path(self.checkpoint)
        if self.checkpoint in ("best", "last"):
            path = context.directory / "checkpoints" / f"{self.checkpoint}.ckpt"
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
) -> tuple[Predictions, float]:
    """Return the predictions for `images` and their mean loss. `done` of `total` images were predicted before."""
    device = components.device_config.device
    predictions, total_loss = Predictions(len(components.data.classes)), 0.0
    for index in split_batches(torch.arange(len(images)), EVALUATION_BATCH):
        labels = images.labels[index].to(device)
        logits = predict(images.pixels[index].to(device))
        total_loss += float(components.loss(logits, labels)) * len(index)
        predictions.add(logits, labels)
        context.progress(done + int(index[-1]) + 1, total, unit="images")
    return predictions, total_loss / len(images)


def _scores(predictions: Predictions, split: str) -> dict[str, Any]:
    """Return the accuracy on `split`, and the number of examples and the accuracy of each class, as signals."""
    confusion = predictions.confusion()
    right, counts = confusion.diag().tolist(), confusion.sum(1).tolist()
    return {
        f"{split}_accuracy": sum(right) / sum(counts),
        f"{split}_examples": sum(counts),
        f"{split}_class_counts": counts,
        f"{split}_class_accuracy": [r / n if n else None for r, n in zip(right, counts, strict=True)],
    }


def _mistake_images(components: Components, mistakes: list[dict[str, Any]]) -> dict[str, Any]:
    if not mistakes or min(components.data.input_shape[1:]) <= 1:  # columns of a table are no image
        return {}
    index = torch.tensor([mistake["index"] for mistake in mistakes])
    return {"mistakes": sample_images.select_images(components.data.test, index, scale=components.data.scale)}


def _worst_class(per_class: dict[str, float | None]) -> str:
    scores = {name: score for name, score in per_class.items() if score is not None}
    worst = min(scores, key=lambda name: scores[name])
    return f"worst class {worst!r} {scores[worst]:.3f}"
