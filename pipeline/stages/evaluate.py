"""The only place that touches the test split, once, with the best checkpoint."""

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
from pipeline.stages.sample_images import examples
from pipeline.training import checkpoints
from pipeline.training.ensemble_members import load_member
from pipeline.training.lightning_module import EVALUATION_BATCH
from pipeline.training.predictions import Predictions
from pipeline.workflow.components import Components, Outcome

OF_THIS_RUN = ("best", "last", "ensemble")
MAX_MISTAKES = 24
"""Wrong answers that are kept, the most confident ones."""


@dataclass(frozen=True)
class Evaluate:
    """Accuracy, accuracy of each class, and the confusion matrix (rows: the true class) of a checkpoint or an ensemble.

    Where the augmentation has several views of an image, the answer is the mean of the logits over them.
    """

    checkpoint: str

    def __post_init__(self) -> None:
        if not isinstance(self.checkpoint, str) or not self.checkpoint:
            raise UserError(f"{self.checkpoint!r} is not best, last, ensemble or a path.", field="checkpoint")
        if self.checkpoint not in OF_THIS_RUN:  # now, since outputs/latest will soon be this run
            object.__setattr__(self, "checkpoint", str(Path(self.checkpoint).resolve()))

    def __call__(self, parts: Components, earlier: Sequence[Outcome]) -> Outcome:
        started = time.perf_counter()
        answer, checkpoint = self._answer(parts, earlier)
        device = parts.device_config.device
        test, classes = parts.data.test, len(parts.data.classes)
        answers = Predictions(classes)
        loss = 0.0
        with torch.inference_mode():
            for index in split_batches(torch.arange(len(test)), EVALUATION_BATCH):
                labels = test.labels[index].to(device)
                pixels = test.pixels[index].to(device)
                logits = answer(pixels)
                loss += float(parts.loss(logits, labels)) * len(index)
                answers.add(logits, labels)
                parts.progress(int(index[-1]) + 1, len(test), unit="images")
        confusion = answers.confusion()
        mistakes = answers.mistakes(MAX_MISTAKES)
        right, of_class = confusion.diag(), confusion.sum(1)
        accuracy = float(right.sum() / of_class.sum())
        views = len(parts.augmentation.test_time_views(test.pixels[:1]))
        per_class = {
            name: float(r / n) if n else None
            for name, r, n in zip(parts.data.classes, right.tolist(), of_class.tolist(), strict=True)
        }
        return Outcome(
            name="evaluate",
            passed=True,
            seconds=time.perf_counter() - started,
            headline=f"test accuracy {accuracy:.4f} on {len(test)} examples"
            + (f", {views} views of each" if views > 1 else "")
            + f", loss {loss / len(test):.3f}; {_worst(per_class)}",
            metrics={
                "test_accuracy": accuracy,
                "test_loss": loss / len(test),
                "views": views,
                "per_class_accuracy": per_class,
                "confusion": confusion.tolist(),
                "calibration": answers.calibration(),
                "mistakes": mistakes,
                "checkpoint": checkpoint,
            },
            images=_pictures(parts, mistakes),
        )

    def _answer(self, parts: Components, earlier: Sequence[Outcome]) -> tuple[Callable[[Tensor], Tensor], str]:
        """From pixels to logits, and whose they are. An ensemble's are the logarithms of its mean probabilities."""
        if self.checkpoint != "ensemble":
            network, path = self._network(parts)
            return functools.partial(parts.augmentation.average_logits, network), str(path)
        paths = next(outcome.metrics["checkpoints"] for outcome in earlier if outcome.name == "ensemble")
        members = [load_member(Path(path), parts, field="stages.evaluate.checkpoint") for path in paths]

        def together(pixels: Tensor) -> Tensor:
            each = [parts.augmentation.average_logits(member, pixels).softmax(1) for member in members]
            return torch.stack(each).mean(0).clamp_min(1e-12).log()

        return together, f"ensemble of {len(members)}"

    def _network(self, parts: Components) -> tuple[Callable[[Tensor], Tensor], Path]:
        path = self._path(parts)
        state = checkpoints.load(path, field="stages.evaluate.checkpoint")
        device = parts.device_config.device
        network = parts.make_network().to(device).eval()
        preprocessing = copy.deepcopy(parts.preprocessing).to(device)  # takes on the checkpoint's statistics
        try:
            network.load_state_dict(checkpoints.strip_prefix(state["state_dict"], "network."))
            preprocessing.load_state_dict(checkpoints.strip_prefix(state["state_dict"], "preprocessing."))
        except (RuntimeError, KeyError, IndexError, TypeError) as error:
            raise UserError(
                f"{str(path)!r} was made with another model or preprocessing; use the options it was trained with. "
                f"({str(error).splitlines()[0]})",
                field="stages.evaluate.checkpoint",
            ) from error
        return (lambda pixels: network(preprocessing(pixels))), path

    def _path(self, parts: Components) -> Path:
        if self.checkpoint not in ("best", "last"):
            return Path(self.checkpoint)
        return parts.directory / "checkpoints" / f"{self.checkpoint}.ckpt"


def _pictures(parts: Components, mistakes: list[dict[str, Any]]) -> dict[str, Any]:
    if not (parts.save_images and mistakes and min(parts.data.input_shape[1:]) > 1):
        return {}
    index = torch.tensor([mistake["index"] for mistake in mistakes])
    return {"mistakes": examples(parts.data.test, index, scale=parts.data.scale)}


def _worst(per_class: dict[str, float | None]) -> str:
    known = {name: score for name, score in per_class.items() if score is not None}
    worst = min(known, key=lambda name: known[name])
    return f"worst class {worst!r} {known[worst]:.3f}"
