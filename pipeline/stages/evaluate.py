"""Evaluates the best checkpoint on the test split. No other stage touches that split."""

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

from pipeline.data.shuffle import split_batches
from pipeline.errors import UserError
from pipeline.stages import sample_images
from pipeline.training import checkpoints
from pipeline.training.ensemble_members import load_member
from pipeline.training.lightning_module import EVALUATION_BATCH
from pipeline.training.predictions import Predictions
from pipeline.workflow.components import Components, RunContext, Stage
from pipeline.workflow.outcome import Outcome

FIELD = "stages.evaluate.checkpoint"
OF_THIS_RUN = ("best", "last", "ensemble")
MAX_MISTAKES = 24
"""Wrong predictions that are kept, the most confident ones."""

Predict = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Evaluate(Stage):
    """Measure accuracy, accuracy of each class, and the confusion matrix (rows: the true class) on the test split.

    `checkpoint` is best, last, ensemble or a path. Where the augmentation has several views of an image, its logits are
    the mean over them.
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
        predict, checkpoint = self._load(components, context, earlier)
        device, test = components.device_config.device, components.data.test
        predictions = Predictions(len(components.data.classes))
        total_loss = 0.0
        with torch.inference_mode():
            for index in split_batches(torch.arange(len(test)), EVALUATION_BATCH):
                labels = test.labels[index].to(device)
                logits = predict(test.pixels[index].to(device))
                total_loss += float(components.loss(logits, labels)) * len(index)
                predictions.add(logits, labels)
                context.progress(int(index[-1]) + 1, len(test), unit="images")
        views = len(components.augmentation.test_time_views(test.pixels[:1]))
        metrics = _metrics(predictions, components.data.classes) | {
            "test_loss": total_loss / len(test),
            "views": views,
            "checkpoint": checkpoint,
        }
        return Outcome(
            name="evaluate",
            passed=True,
            seconds=time.perf_counter() - started,
            headline=f"test accuracy {metrics['test_accuracy']:.4f} on {len(test)} examples"
            + (f", {views} views of each" if views > 1 else "")
            + f", loss {metrics['test_loss']:.3f}; {_worst_class(metrics['per_class_accuracy'])}",
            metrics=metrics,
            images=_mistake_images(components, metrics["mistakes"]) if context.save_images else {},
        )

    def _load(self, components: Components, context: RunContext, earlier: Sequence[Outcome]) -> tuple[Predict, str]:
        """Return a function from pixels to logits, and the name of what it computes.

        The logits of an ensemble are the logarithms of its mean probabilities.
        """
        augmentation, device = components.augmentation, components.device_config.device
        if self.checkpoint != "ensemble":
            network, path = self._load_network(components, context)
            return functools.partial(augmentation.average_logits, network), str(path)
        paths = next(outcome.metrics["checkpoints"] for outcome in earlier if outcome.name == "ensemble")
        fingerprint = components.data.fingerprint()
        members = [load_member(Path(path), fingerprint=fingerprint, device=device, field=FIELD) for path in paths]

        def predict(pixels: Tensor) -> Tensor:
            probabilities = [augmentation.average_logits(member, pixels).softmax(1) for member in members]
            return torch.stack(probabilities).mean(0).clamp_min(1e-12).log()

        return predict, f"ensemble of {len(members)}"

    def _load_network(self, components: Components, context: RunContext) -> tuple[Predict, Path]:
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
        return (lambda pixels: network(preprocessing(pixels))), path


def _metrics(predictions: Predictions, classes: Sequence[str]) -> dict[str, Any]:
    confusion = predictions.confusion()
    correct, of_class = confusion.diag(), confusion.sum(1)
    return {
        "test_accuracy": float(correct.sum() / of_class.sum()),
        "per_class_accuracy": {
            name: float(right / n) if n else None
            for name, right, n in zip(classes, correct.tolist(), of_class.tolist(), strict=True)
        },
        "confusion": confusion.tolist(),
        "calibration": predictions.calibration(),
        "mistakes": predictions.mistakes(MAX_MISTAKES),
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
