"""The `train` object of docs/signals.md: what is known while the training runs, and what is measured at its end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.data.dataset import CLASSIFICATION, REGRESSION
from pipeline.data.sampling import sampling_weights
from pipeline.data.shuffle import evaluation_batch, weighted_order
from pipeline.data.splits import stratified_head
from pipeline.model.batchnorm import batch_statistics_mode, count_batchnorm
from pipeline.model.task import SCORES, chance_score
from pipeline.signals.histograms import histograms
from pipeline.signals.long_curves import average_groups, steps_per_entry
from pipeline.signals.schema import ScheduleSignals
from pipeline.stages.option_signals import option_signals
from pipeline.training.divergence import rows_to_columns
from pipeline.training.examples import GatheredExamples
from pipeline.training.lightning_module import Classifier
from pipeline.workflow.components import Components

INPUT_STD_EXAMPLES = 64
HISTOGRAM_EXAMPLES = 256
"""Training examples whose activations the histograms count."""


def training_signals(components: Components, classifier: Classifier, *, epochs: int) -> dict[str, Any]:
    """Return everything but what `batchnorm_mode_signals` measures at the end; plain numbers, strings and lists."""
    train, n_classes = components.data.train, len(components.data.classes)
    stride = steps_per_entry(len(classifier.losses))
    recorder = classifier.recorder
    probe_examples, operations = _count_probe_examples(classifier), list(classifier.nondeterministic_operations)
    return {
        **({} if components.data.task == REGRESSION else {"classes": n_classes}),
        "train_examples": len(train),
        **({"probe_examples": probe_examples} if probe_examples else {}),
        "input_std": measure_input_std(components),
        "val_examples": len(components.data.val),
        "batch_size": components.step_size,
        "steps_per_epoch": -(-len(train) // components.step_size),
        "epochs_planned": epochs,
        **config_signals(components, classifier.network),
        "augmentation": type(components.augmentation).__name__,
        "lower_rate": [f"optimizer.lr={components.lr / 10:.3g}"],
        "chance_loss": components.loss.baseline_loss_on(_drawn_labels(components), n_classes),
        **_chance_score(components),
        "steps_per_entry": stride,
        "losses": average_groups(classifier.losses, stride),
        **({} if components.data.task == REGRESSION else {"accuracies": average_groups(classifier.accuracies, stride)}),
        "epochs": rows_to_columns(classifier.history),
        **(classifier.graphed_step.signals() if classifier.graphed_step else {}),
        **_streamed(components, classifier),
        **({"nondeterministic_operations": operations} if operations else {}),
        **({"samples": recorder.samples, "units": recorder.units} if recorder is not None else {}),
    }


def _drawn_labels(components: Components) -> Tensor:
    """Return the labels that an epoch visits."""
    train = components.data.train
    weights = sampling_weights(train, len(components.data.classes), components.sampling)
    return train.labels if weights is None else train.labels[weighted_order(components.seed, 0, weights)]


def _chance_score(components: Components) -> dict[str, Any]:
    """Return `chance_accuracy`; targets have none."""
    train, task = components.data.train, components.data.task
    if task == REGRESSION:
        return {"task": task}
    score = chance_score(task, train.labels, len(components.data.classes))
    return {"chance_accuracy": score} | ({} if task == CLASSIFICATION else {"task": task})


def _streamed(components: Components, classifier: Classifier) -> dict[str, Any]:
    """Return how many bytes of images are copied to a device while it trains; the CPU reads them where they are."""
    if not classifier.images_on_host or isinstance(classifier.examples, GatheredExamples):
        return {}
    return {"streamed_bytes": classifier.train_images.pixels.nbytes}


def _count_probe_examples(classifier: Classifier) -> int:
    """Return the examples in the probe of the latest row of the history; the classifier is an epoch further by then."""
    if classifier.probe_images is None or classifier.recorder is None:
        return 0
    if len(classifier.history) >= classifier.epochs:
        return len(classifier.probe_images)
    return min(len(classifier.probe_images), classifier.recorder.config.probe_examples(len(classifier.train_images)))


def measure_input_std(components: Components) -> float:
    """Return the standard deviation of the first training images as the network gets them."""
    pixels = components.data.train.pixels[:INPUT_STD_EXAMPLES].to(components.device_config.device)
    return float(components.preprocessing.on(pixels.device)(pixels).std(correction=0))


def batchnorm_mode_signals(components: Components, classifier: Classifier) -> dict[str, Any]:
    """Measure whether batchnorm's running statistics give what those of the batch gave: loss and accuracy on the probe
    with each, dropout off in both."""
    network, probe = classifier.network, classifier.probe_images
    if probe is None or not count_batchnorm(network):
        return {}
    classifier.to(components.device_config.device)
    score_name = SCORES[components.data.task]
    signals: dict[str, Any] = {}
    modes = {"batch": batch_statistics_mode(network), "eval": _evaluation_mode(network)}
    if len(classifier.history) >= classifier.epochs:  # the last epoch's probe has just been all of it
        last = classifier.history[-1]
        signals = {"eval_loss": last["probe_loss"], f"eval_{score_name}": last[f"probe_{score_name}"]}
        del modes["eval"]
    for name, mode in modes.items():
        with mode, classifier.evaluated_weights(), torch.no_grad():
            loss, score, count = classifier.score(probe, torch.arange(len(probe))).tolist()
        signals |= {f"{name}_loss": loss / count, f"{name}_{score_name}": score / count}
    return signals


def config_signals(components: Components, network: nn.Module) -> dict[str, Any]:
    """Return the choices that checks need for a remedy, as strings and numbers."""
    return {
        "lr": components.lr,
        "l2": components.l2,
        "dropout": float(components.config["regularization"]["dropout"]),
        "width": components.config["model"].get("width"),
        "loss": type(components.loss).__name__,
        "optimizer": getattr(components.make_optimizer, "func", components.make_optimizer).__name__,
        "batchnorm_layers": count_batchnorm(network),
        **option_signals(components.config, network, outputs=len(components.data.classes)),
    }


def planned_schedule(components: Components, *, epochs: int) -> ScheduleSignals:
    """Return what the learning-rate schedule is going to do in a training of `epochs`."""
    return components.schedule.plan(
        components.make_optimizer,
        epochs=epochs,
        steps_per_epoch=-(-len(components.data.train) // components.step_size),
        monitor="val_loss",
    )


def activation_histograms(network: nn.Module, inputs: Tensor) -> dict[str, Any]:
    """Count the activations as in training but without dropout, so that before and after it compare."""
    with batch_statistics_mode(network):
        return {"histograms": histograms(network, inputs)}


def final_histograms(components: Components, classifier: Classifier) -> dict[str, Any]:
    """Count the activations of the trained network on some training examples."""
    train, device = components.data.train, components.device_config.device
    n_examples = min(HISTOGRAM_EXAMPLES, evaluation_batch(train.pixels.shape[1:]), len(train))
    few = stratified_head(train, len(components.data.classes), n_examples)
    pixels = few.pixels.to(device)
    return activation_histograms(classifier.network, classifier.to(device).preprocessing(pixels))


@contextmanager
def _evaluation_mode(network: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, was_training in modes:
            module.training = was_training
