"""Measures, before any training, whether the loss is reasonable and every part of the network takes part."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from pipeline import validation
from pipeline.data import derive_seed
from pipeline.data.dataset import CLASSIFICATION, REGRESSION
from pipeline.data.splits import stratified_head
from pipeline.errors import UserError, list_names, user_frames
from pipeline.model import Loss, penalty, without_dropout
from pipeline.model.user_model import describe_parts
from pipeline.signals.at_init import (
    first_loss,
    gradient_signals,
    parameter_signals,
    update_direction,
)
from pipeline.signals.attribute_paths import find_tensors
from pipeline.signals.batch_leak import batch_leak
from pipeline.signals.data import data_signals
from pipeline.signals.evaluation_mode import evaluation_signals
from pipeline.signals.layer_graph import layer_graph_signals
from pipeline.signals.loss_function import pairing_signals
from pipeline.signals.precision_timing import time_reduced_precision
from pipeline.signals.schema import Data, SanitySignals
from pipeline.signals.short_fit import fit_signals
from pipeline.signals.target_loss import target_signals
from pipeline.stages import sample_images
from pipeline.stages.loading_signals import loading_signals
from pipeline.stages.option_signals import ignored_options, option_signals
from pipeline.stages.signals_of_training import activation_histograms, config_signals, planned_schedule
from pipeline.stages.trainability_signals import trainability_signals
from pipeline.workflow.components import Components, RunContext, Stage
from pipeline.workflow.outcome import Outcome, all_findings

_LONG_SIGNALS = ("data", "activations", "gradients", "histograms", "planned_rates", "options", "ignored_keys")
"""Signals that are too long for outcome.json."""

MIN_EXAMPLES, MAX_VALUES = 32, 1 << 23
"""Of large images fewer than `examples` are used, as many as have so many values, but at least 32: all activations of
a pass are kept for its gradients."""


@dataclass(frozen=True)
class Sanity(Stage):
    """Measure the data and fresh copies of the network, with dropout and augmentation off, and evaluate the checks.

    `examples` training images are looked at; the `fit_*` fields bound a short training on `fit_examples` of them, at
    the rate `fit_lr`, in `fit_rounds` rounds of `fit_steps` steps. The penalty is measured times `penalty_factors`.
    """

    key_metric = "first_loss"
    logged_metrics = ("first_loss", "expected_first_loss", "penalty")

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

    def __call__(self, components: Components, context: RunContext, earlier: Sequence[Outcome]) -> Outcome:
        started = time.perf_counter()
        device, n_classes = components.device_config.device, len(components.data.classes)
        n_examples = min(self.examples, max(MIN_EXAMPLES, MAX_VALUES // math.prod(components.data.input_shape)))
        examples = stratified_head(components.data.train, n_classes, n_examples).to(device)
        labels = examples.labels
        inputs = components.preprocessing.on(device)(examples.pixels)
        signals: dict[str, Any] = {"classes": n_classes, "examples": len(labels)}
        if components.data.task != CLASSIFICATION:
            signals["task"] = components.data.task
        signals["data"] = data_signals_for(components)
        if epochs := getattr(components.stages.get("train"), "epochs", None):
            signals |= planned_schedule(components, epochs=epochs)
        network = make_training_network(components)
        signals |= option_signals(components.config, network, outputs=n_classes)
        signals["ignored_options"] = ignored_options(context.overrides, signals, network)
        images = {}
        if context.save_images:
            filters = sample_images.first_layer_filters(network, inputs.shape[1:])
            images = {**sample_images.data_images(components), **filters}
        with without_dropout(network):
            signals |= output_shape_signals(network, inputs)
            if not any(tensor.requires_grad for _, tensor in find_tensors(network)):
                raise UserError("the network has no parameter that could be trained.", field="model")
            if list(signals["output_shape"]) == [len(labels), n_classes]:
                signals |= self._network_signals(components, context, network, inputs, labels)
                if context.save_images:
                    signals |= activation_histograms(network, inputs)
        findings = components.checks.evaluate(signals, stage="sanity", earlier=all_findings(earlier))
        return Outcome(
            name="sanity",
            passed=not components.checks.has_failure(findings),
            seconds=time.perf_counter() - started,
            headline=_headline(signals),
            metrics={key: value for key, value in signals.items() if key not in _LONG_SIGNALS},
            findings=tuple(findings),
            signals=signals,
            images=images,
        )

    def _network_signals(
        self, components: Components, context: RunContext, network: nn.Module, inputs: Tensor, labels: Tensor
    ) -> dict[str, Any]:
        """Measure the network on preprocessed `inputs`; the order of the signals is that of signals.json."""
        loss, few = components.loss, slice(0, self.fit_examples)
        signals = config_signals(components, network) | {"batch_size": components.batch_size}
        signals |= layer_graph_signals(make_training_network(components), inputs[few]) | parameter_signals(network)
        has_classes = components.data.task == CLASSIFICATION
        outputs = outputs_that_loss_takes(network, loss, inputs, labels)
        signals |= pairing_signals(loss, outputs, labels)
        signals |= first_loss(network, loss, inputs, labels, has_classes=has_classes)
        if not has_classes:
            signals |= target_signals(loss, outputs, labels)
        expected = loss.initial_loss_on(labels, len(components.data.classes))
        has_trained_head = (components.weights or {}).get("head") == "loaded"
        signals["expected_first_loss"] = None if has_trained_head else expected
        signals |= penalty_signals(network, signals["first_loss"], components.l2, self.penalty_factors)
        context.progress(1, 4, unit="")
        signals |= gradient_signals(network, loss, inputs, labels)
        signals |= evaluation_signals(make_training_network(components), inputs[few])  # with its dropout
        signals |= batch_leak(network, inputs[few])
        another = make_training_network(components)  # since the update changes it
        with without_dropout(another):
            signals |= trainability_signals(components, another, inputs[few], labels[few])
            signals |= update_direction(another, loss, inputs, labels, components.make_optimizer)
        if components.device_config.may_emulate_precision:
            signals |= self._reduced_precision_signals(components, inputs, labels)
        context.progress(2, 4, unit="")
        learns = len(signals["zero_gradients"]) < signals["trainable_parameters"]
        if learns and not signals["nonfinite"]:
            signals |= self._short_fits(components, context, inputs[few], labels[few], signals["zero_gradients"])
        return signals

    def _short_fits(
        self,
        components: Components,
        context: RunContext,
        inputs: Tensor,
        labels: Tensor,
        zero_gradients: Sequence[str],
    ) -> dict[str, Any]:
        """Fit real inputs and zeros in the same few steps, in rounds until the real ones are clearly ahead.

        `zero_gradients` names the parameters without a gradient at init; those that have one after the fit are dropped.
        """
        network = make_training_network(components)
        with without_dropout(network):
            return fit_signals(
                network,
                components.loss,
                inputs,
                labels,
                zero_gradients,
                steps=self.fit_steps,
                rounds=self.fit_rounds,
                lr=self.fit_lr,
                seed=lambda step: derive_seed(components.seed, 2, step),
                has_classes=components.data.task == CLASSIFICATION,
                on_round=lambda done: context.progress(2 + 2 * done / self.fit_rounds, 4, unit=""),
            )

    def _reduced_precision_signals(self, components: Components, inputs: Tensor, labels: Tensor) -> SanitySignals:
        memory_format = torch.channels_last if components.channels_last else torch.contiguous_format
        times = time_reduced_precision(
            make_training_network(components).to(memory_format=memory_format),
            components.loss,
            inputs.contiguous(memory_format=memory_format),
            labels,
            autocast=components.device_config.autocast,
        )
        return {"precision": components.device_config.number_format} | times


def make_training_network(components: Components) -> nn.Module:
    """Return a new network on the device, in training mode."""
    return components.make_network().to(components.device_config.device).train()


def data_signals_for(components: Components, *, with_test: bool | None = None) -> Data:
    """Measure the data as the network gets them.

    By default, test images are looked at where the run will evaluate on them, so that what cannot be cured afterwards
    is said before. The trials of a sweep do not touch them.
    """
    with_test = "evaluate" in components.stages if with_test is None else with_test
    allowed = {"train", "val", *(("test",) if with_test else ())}
    splits = {
        name: (cast(Tensor, images.pixels), images.labels)  # which samples of stored pixels are too
        for name, images in components.data.splits.items()
        if name in allowed
    }
    classes = components.data.classes if components.data.task == CLASSIFICATION else None
    measured = data_signals(splits, components.preprocessing.on("cpu"), classes)
    return {**measured, **loading_signals(components, allowed)}


def output_shape_signals(network: nn.Module, inputs: Tensor) -> dict[str, Any]:
    """Return the shape of the output. Raises `UserError` where the network cannot run or returns no tensor."""
    before, dtype = inputs.clone(), torch.get_default_dtype()
    try:
        with torch.no_grad():
            output = network(inputs)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        left_behind = [name for name, p in find_tensors(network) if p.requires_grad and p.device != inputs.device]
        if left_behind:
            raise UserError(
                f"layers that are not registered stay on the CPU: {list_names(left_behind)}. Hold them in "
                "nn.ModuleList or nn.ModuleDict, or as attributes of the module.",
                field="model",
            ) from error
        raise UserError(
            f"the network cannot take a batch of shape {tuple(inputs.shape)}: {error}{user_frames(error)}",
            field="model",
        ) from error
    if not isinstance(output, Tensor):
        kind, keys = describe_parts(output)
        hint = f" Say which of its parts are the logits: {', '.join(f'model.output={key}' for key in keys)}."
        raise UserError(f"the network returned {kind}, not a tensor of logits.{hint if keys else ''}", field="model")
    if not torch.equal(before.nan_to_num(), inputs.nan_to_num()):
        raise UserError(
            "the network changes its input in place, so that every pass would get another one. Write x = x - mean in "
            "place of x -= mean, or begin with x = x.clone().",
            field="model",
        )
    if torch.get_default_dtype() != dtype:
        torch.set_default_dtype(dtype)
        raise UserError(
            "its forward pass changes torch's default number format, which holds for all that follows. Name the format "
            "where a tensor is made.",
            field="model",
        )
    return {"output_shape": list(output.shape)}


def outputs_that_loss_takes(network: nn.Module, loss: Loss, inputs: Tensor, labels: Tensor) -> Tensor:
    """Return the network's outputs. Raises `UserError` where the loss cannot be called with them and the labels."""
    with torch.no_grad():
        outputs = network(inputs)
        try:
            loss(outputs, labels)
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, ValueError, TypeError, IndexError, KeyError, AttributeError) as error:
            raise UserError(
                f"the loss is called with outputs of shape {tuple(outputs.shape)} and labels of shape "
                f"{tuple(labels.shape)}, numbers from {float(labels.min()):g} to {float(labels.max()):g}; it raised "
                f"{type(error).__name__}: {error}{user_frames(error)}",
                field="loss",
            ) from error
    return outputs


def penalty_signals(network: nn.Module, loss: float, l2: float, factors: Sequence[float]) -> dict[str, Any]:
    """Return the penalty, and the data loss plus the penalty times each factor; without L2 only a penalty of 0."""
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
    guess, outputs = ("zeros give", "outputs") if signals.get("task") == REGRESSION else ("chance gives", "logits")
    chance = f", {guess} {expected:.3f}" if expected is not None else ""
    return f"first loss {signals['first_loss']:.3f}{chance}; {outputs} spread {signals['logit_std']:.2g}"
