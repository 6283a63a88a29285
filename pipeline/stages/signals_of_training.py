"""The `train` object of docs/signals.md: what is known while the training runs, and what is measured at its end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.data.splits import stratified_head
from pipeline.model.batchnorm import batch_statistics_mode
from pipeline.signals.histograms import histograms
from pipeline.training.divergence import rows_to_columns
from pipeline.training.lightning_module import Classifier
from pipeline.workflow.components import Components

INPUTS = 64
LOOKED_AT = 256
"""Training examples whose activations are spread out in histograms."""
ENTRIES = 10_000
"""Most entries of `losses` and `accuracies`; longer runs are averaged over equal numbers of steps."""


def training_signals(parts: Components, classifier: Classifier, *, epochs: int) -> dict[str, Any]:
    """All but what `at_the_end` measures; plain numbers, words and lists."""
    train, classes = parts.data.train, len(parts.data.classes)
    shares = torch.bincount(train.labels, minlength=classes) / len(train)
    stride = -(-len(classifier.losses) // ENTRIES) or 1
    recorder = classifier.recorder
    return {
        "classes": classes,
        "train_examples": len(train),
        **({"probe_examples": probed} if (probed := _probed(classifier)) else {}),
        "input_std": input_std(parts),
        "val_examples": len(parts.data.val),
        "batch_size": parts.step_size,
        "steps_per_epoch": -(-len(train) // parts.step_size),
        "epochs_planned": epochs,
        **config_signals(parts, classifier.network),
        "schedule": getattr(parts.schedule.scheduler, "func", parts.schedule.scheduler).__name__,
        "augmentation": type(parts.augmentation).__name__,
        "lower_rate": [f"optimizer.lr={parts.lr / 10:.3g}"],
        "chance_loss": parts.loss.baseline_loss(shares),
        "chance_accuracy": float(shares.max()),
        "steps_per_entry": stride,
        "losses": _averaged(classifier.losses, stride),
        "accuracies": _averaged(classifier.accuracies, stride),
        "epochs": rows_to_columns(classifier.history),
        **({"samples": recorder.samples, "units": recorder.units} if recorder is not None else {}),
    }


def _probed(classifier: Classifier) -> int:
    """Examples in the probe of the latest row of the history; the classifier is an epoch further by then."""
    if classifier.probe_images is None or classifier.recorder is None:
        return 0
    if len(classifier.history) >= classifier.epochs:
        return len(classifier.probe_images)
    return min(len(classifier.probe_images), classifier.recorder.config.probe_examples(len(classifier.train_images)))


def input_std(parts: Components) -> float:
    """Standard deviation of the first training images as the network gets them."""
    pixels = parts.data.train.pixels[:INPUTS].to(parts.device_config.device)
    return float(parts.preprocessing.on(pixels.device)(pixels).std(correction=0))


def batchnorm_mode_signals(parts: Components, classifier: Classifier) -> dict[str, Any]:
    """Whether batch norm's running statistics give what those of the batch gave, on the probe; dropout off in both."""
    network, probe = classifier.network, classifier.probe_images
    if probe is None or not count_batchnorm(network):
        return {}
    classifier.to(parts.device_config.device)
    found: dict[str, Any] = {}
    everything = torch.arange(len(probe))
    modes = {"batch": batch_statistics_mode(network), "eval": _evaluating(network)}
    if len(classifier.history) >= classifier.epochs:  # the last epoch's probe has just been all of it
        last = classifier.history[-1]
        found = {"eval_loss": last["probe_loss"], "eval_accuracy": last["probe_accuracy"]}
        del modes["eval"]
    for name, mode in modes.items():
        with mode, torch.no_grad():
            loss, right, count = classifier.score(probe, everything).tolist()
        found |= {f"{name}_loss": loss / count, f"{name}_accuracy": right / count}
    return found


def config_signals(parts: Components, network: nn.Module) -> dict[str, Any]:
    """What was chosen, in words and numbers, as far as checks need it for a remedy."""
    return {
        "lr": parts.lr,
        "l2": parts.l2,
        "dropout": float(parts.config["regularization"]["dropout"]),
        "width": parts.config["model"].get("width"),
        "loss": type(parts.loss).__name__,
        "optimizer": getattr(parts.make_optimizer, "func", parts.make_optimizer).__name__,
        "batchnorm_layers": count_batchnorm(network),
    }


def activation_histograms(parts: Components, network: nn.Module, inputs: Tensor) -> dict[str, Any]:
    """`histograms` of the activations, as in training but without dropout: the same before it and after it."""
    if not parts.save_images:
        return {}
    with batch_statistics_mode(network):
        return {"histograms": histograms(network, inputs)}


def final_histograms(parts: Components, classifier: Classifier) -> dict[str, Any]:
    if not parts.save_images:
        return {}
    few = stratified_head(parts.data.train, len(parts.data.classes), min(LOOKED_AT, len(parts.data.train)))
    pixels = few.pixels.to(parts.device_config.device)
    return activation_histograms(parts, classifier.network, classifier.to(pixels.device).preprocessing(pixels))


def count_batchnorm(network: nn.Module) -> int:
    return sum(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in network.modules())


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def _averaged(values: list[float], stride: int) -> list[float]:
    if stride == 1:
        return values
    return [sum(part) / len(part) for i in range(0, len(values), stride) if (part := values[i : i + stride])]
