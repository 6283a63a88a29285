"""Is the loss reasonable, and does every part of the network take part? Asked before any training."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pipeline import validation
from pipeline.data import derive_seed
from pipeline.data.splits import stratified_head
from pipeline.errors import UserError
from pipeline.model import penalty, without_dropout
from pipeline.signals import layer_graph_signals
from pipeline.signals.at_init import (
    batch_leak,
    first_loss,
    gradient_signals,
    parameter_signals,
    short_fit,
    update_direction,
)
from pipeline.signals.data import data_signals
from pipeline.signals.precision_timing import time_reduced_precision
from pipeline.stages import sample_images
from pipeline.stages.signals_of_training import activation_histograms, config_signals
from pipeline.workflow.components import Components, Outcome, all_findings

CLEARLY_BELOW = 0.9
"""Real inputs with less than this share of the loss on zeros need no further rounds."""

_COLUMNS = ("data", "activations", "gradients", "histograms")
"""Signals that are too long for outcome.json."""


@dataclass(frozen=True)
class Sanity:
    """Measurements on the data and on fresh copies of the network, with dropout and augmentation off; then the checks
    judge."""

    examples: int
    fit_examples: int
    fit_steps: int
    fit_rounds: int
    fit_lr: float
    penalty_factors: Sequence[float]

    def __post_init__(self) -> None:
        validation.integer("examples", self.examples, at_least=2)
        validation.integer("fit_examples", self.fit_examples, at_least=2, at_most=self.examples)
        validation.integer("fit_steps", self.fit_steps, at_least=1)
        validation.integer("fit_rounds", self.fit_rounds, at_least=1)
        validation.number("fit_lr", self.fit_lr, above=0)
        validation.numbers("penalty_factors", self.penalty_factors, above=0)

    def __call__(self, parts: Components, earlier: Sequence[Outcome]) -> Outcome:
        started = time.perf_counter()
        train = parts.data.train
        chosen = stratified_head(train, len(parts.data.classes), self.examples)
        images, labels = chosen.pixels.to(parts.device_config.device), chosen.labels.to(parts.device_config.device)
        inputs = parts.preprocessing.on(parts.device_config.device)(images)
        signals: dict[str, Any] = {"classes": len(parts.data.classes), "examples": len(labels)}
        signals["data"] = data_signals_for(parts)
        network = self._fresh(parts)
        seen = (
            {**sample_images.data_images(parts), **sample_images.first_layer_filters(network, inputs.shape[1:])}
            if parts.save_images
            else {}
        )
        with without_dropout(network):
            signals |= output_shape_signals(network, inputs)
            if list(signals["output_shape"]) == [len(labels), len(parts.data.classes)]:
                self._measure(parts, network, inputs, labels, signals)
                signals |= activation_histograms(parts, network, inputs)
        findings = parts.checks.evaluate(signals, stage="sanity", earlier=all_findings(earlier))
        return Outcome(
            name="sanity",
            passed=not parts.checks.has_failure(findings),
            seconds=time.perf_counter() - started,
            headline=_headline(signals),
            metrics={key: value for key, value in signals.items() if key not in _COLUMNS},
            findings=tuple(findings),
            signals=signals,
            images=seen,
        )

    def _measure(
        self, parts: Components, network: nn.Module, inputs: Tensor, labels: Tensor, signals: dict[str, Any]
    ) -> None:
        few = slice(0, self.fit_examples)
        signals |= config_signals(parts, network) | {"batch_size": parts.batch_size}
        signals |= layer_graph_signals(self._fresh(parts), inputs[few]) | parameter_signals(network)
        signals |= first_loss(network, parts.loss, inputs, labels)
        signals["expected_first_loss"] = parts.loss.initial_loss(len(parts.data.classes))
        signals |= penalty_signals(network, signals["first_loss"], parts.l2, self.penalty_factors)
        parts.progress(1, 4, unit="")
        signals |= gradient_signals(network, parts.loss, inputs, labels)
        signals |= batch_leak(network, parts.loss.per_example, inputs[few], labels[few])
        another = self._fresh(parts)  # since the update changes it
        with without_dropout(another):
            signals |= update_direction(another, parts.loss, inputs, labels, parts.make_optimizer)
        if parts.device_config.amp_dtype:
            signals |= self._reduced_pass(parts, inputs, labels)
        parts.progress(2, 4, unit="")
        learns = len(signals["zero_gradients"]) < signals["trainable_parameters"]
        if learns and not signals["nonfinite"]:
            signals |= self._short_fits(parts, inputs[few], labels[few], signals)

    def _short_fits(self, parts: Components, inputs: Tensor, labels: Tensor, signals: dict[str, Any]) -> dict[str, Any]:
        """The same few steps on real inputs and on zeros, in rounds until the real ones are clearly ahead."""
        networks = [self._fresh(parts), self._fresh(parts)]
        with without_dropout(networks[0]), without_dropout(networks[1]):
            fits = [
                short_fit(
                    network, parts.loss, pixels, labels, steps=self.fit_steps, lr=self.fit_lr,
                    seed=lambda step: derive_seed(parts.seed, 2, step),
                )
                for network, pixels in zip(networks, (inputs, torch.zeros_like(inputs)), strict=True)
            ]  # fmt: skip
            (_, first_accuracy), _ = (next(fit) for fit in fits)
            for rounds in range(1, self.fit_rounds + 1):
                (real, accuracy), (zeroed, _) = (next(fit) for fit in fits)
                parts.progress(2 + 2 * rounds / self.fit_rounds, 4, unit="")
                if real < CLEARLY_BELOW * zeroed:
                    break
            asleep = signals["zero_gradients"]
            if asleep:  # a gradient that woke up on the way is no dead one
                still = gradient_signals(networks[0], parts.loss, inputs, labels)["zero_gradients"]
                asleep = [name for name in still if name in asleep]
        return {
            "fit_loss": real,
            "fit_loss_zeroed": zeroed,
            "fit_steps": rounds * self.fit_steps,
            "fit_first_accuracy": first_accuracy,
            "fit_accuracy": accuracy,
            "zero_gradients": asleep,
        }

    def _reduced_pass(self, parts: Components, inputs: Tensor, labels: Tensor) -> dict[str, Any]:
        layout = torch.channels_last if parts.channels_last else torch.contiguous_format
        network = self._fresh(parts).to(memory_format=layout)
        timed = time_reduced_precision(
            network, parts.loss, inputs.contiguous(memory_format=layout), labels, autocast=parts.device_config.autocast
        )
        return {"precision": parts.device_config.precision} | timed

    def _fresh(self, parts: Components) -> nn.Module:
        return parts.make_network().to(parts.device_config.device).train()


def data_signals_for(parts: Components) -> dict[str, Any]:
    """The data as the network gets them. Test images are looked at where the run will evaluate on them, so that what
    cannot be mended afterwards is said before; in a sweep's trials they are not touched."""
    allowed = {"train", "val", *(("test",) if "evaluate" in parts.stages else ())}
    splits = {name: (i.pixels, i.labels) for name, i in parts.data.splits.items() if name in allowed}
    preprocessing = parts.preprocessing.on("cpu")
    return data_signals(splits, preprocessing, parts.data.classes)


def output_shape_signals(network: nn.Module, inputs: Tensor) -> dict[str, Any]:
    """Shape of the output; a network that cannot run at all is the user's to mend."""
    try:
        with torch.no_grad():
            output = network(inputs)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise UserError(
            f"the network cannot take a batch of shape {tuple(inputs.shape)}: {error}", field="model"
        ) from error
    if not isinstance(output, Tensor):
        raise UserError(f"the network returned a {type(output).__name__}, not a tensor of logits.", field="model")
    return {"output_shape": list(output.shape)}


def penalty_signals(network: nn.Module, loss: float, l2: float, factors: Sequence[float]) -> dict[str, Any]:
    """Data loss plus penalty, the penalty times each factor. Nothing where no penalty is configured."""
    if l2 == 0:
        return {"penalty": 0.0}
    once = float(penalty(network, l2).detach())
    return {
        "penalty": once,
        "penalty_factors": list(factors),
        "penalized_losses": [loss + once * factor for factor in factors],
    }


def _headline(signals: dict[str, Any]) -> str:
    if "first_loss" not in signals:
        return f"output of shape {tuple(signals['output_shape'])} for {signals['classes']} classes"
    expected = signals.get("expected_first_loss")
    chance = f", chance gives {expected:.3f}" if expected is not None else ""
    return f"first loss {signals['first_loss']:.3f}{chance}; logits spread {signals['logit_std']:.2g}"
