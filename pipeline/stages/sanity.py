"""Is the loss reasonable, and does every part of the network take part? Asked before any training."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pipeline import fields
from pipeline.data import seed_from
from pipeline.data.splits import first
from pipeline.errors import UserError
from pipeline.model import Loss, penalty, without_dropout
from pipeline.parts import Outcome, Parts

CLEARLY_BELOW = 0.9
"""Real inputs with less than this share of the loss on zeros need no further rounds."""


@dataclass(frozen=True)
class Sanity:
    """Measurements on fresh copies of the network, with dropout and augmentation off; then the checks judge."""

    examples: int
    fit_examples: int
    fit_steps: int
    fit_rounds: int
    fit_lr: float
    penalty_factors: Sequence[float]

    def __post_init__(self) -> None:
        fields.whole("examples", self.examples, at_least=2)
        fields.whole("fit_examples", self.fit_examples, at_least=2, at_most=self.examples)
        fields.whole("fit_steps", self.fit_steps, at_least=1)
        fields.whole("fit_rounds", self.fit_rounds, at_least=1)
        fields.real("fit_lr", self.fit_lr, above=0)
        fields.reals("penalty_factors", self.penalty_factors, above=0)

    def __call__(self, parts: Parts, earlier: Sequence[Outcome]) -> Outcome:
        started = time.perf_counter()
        train = parts.data.train
        chosen = first(train, len(parts.data.classes), self.examples)
        images, labels = chosen.pixels.to(parts.engine.device), chosen.labels.to(parts.engine.device)
        inputs = parts.preprocessing.to(parts.engine.device)(images)
        signals: dict[str, Any] = {"classes": len(parts.data.classes), "examples": len(labels)}
        network = self._fresh(parts)
        with without_dropout(network):
            signals |= first_output(network, inputs)
            if list(signals["output_shape"]) == [len(labels), len(parts.data.classes)]:
                self._measure(parts, network, inputs, labels, signals)
        findings = parts.checks.judge(signals, stage="sanity")
        return Outcome(
            name="sanity",
            passed=not parts.checks.fails(findings),
            seconds=time.perf_counter() - started,
            headline=_headline(signals),
            metrics=signals,
            findings=tuple(findings),
        )

    def _measure(
        self, parts: Parts, network: nn.Module, inputs: Tensor, labels: Tensor, signals: dict[str, Any]
    ) -> None:
        few = slice(0, self.fit_examples)
        signals |= first_loss(network, parts.loss, inputs, labels)
        signals["expected_first_loss"] = parts.loss.expected_first(len(parts.data.classes))
        signals |= penalized(network, signals["first_loss"], parts.l2, self.penalty_factors)
        parts.progress(1, 4)
        signals |= gradients(network, parts.loss, inputs, labels)
        signals |= batch_leak(network, parts.loss, inputs[few], labels[few])
        parts.progress(2, 4)
        learns = len(signals["zero_gradients"]) < signals["trainable_parameters"]
        if learns and not signals["nonfinite"]:
            signals |= self._short_fits(parts, inputs[few], labels[few], signals)

    def _short_fits(self, parts: Parts, inputs: Tensor, labels: Tensor, signals: dict[str, Any]) -> dict[str, Any]:
        """The same few steps on real inputs and on zeros, in rounds until the real ones are clearly ahead."""
        networks = [self._fresh(parts), self._fresh(parts)]
        with without_dropout(networks[0]), without_dropout(networks[1]):
            fits = [
                short_fit(network, parts.loss, pixels, labels, steps=self.fit_steps, lr=self.fit_lr, seed=parts.seed)
                for network, pixels in zip(networks, (inputs, torch.zeros_like(inputs)), strict=True)
            ]
            for rounds in range(1, self.fit_rounds + 1):
                real, zeroed = (next(fit) for fit in fits)
                parts.progress(2 + 2 * rounds / self.fit_rounds, 4)
                if real < CLEARLY_BELOW * zeroed:
                    break
            asleep = signals["zero_gradients"]
            if asleep:  # a gradient that woke up on the way is no dead one
                still = gradients(networks[0], parts.loss, inputs, labels)["zero_gradients"]
                asleep = [name for name in still if name in asleep]
        return {
            "fit_loss": real,
            "fit_loss_zeroed": zeroed,
            "fit_steps": rounds * self.fit_steps,
            "zero_gradients": asleep,
        }

    def _fresh(self, parts: Parts) -> nn.Module:
        return parts.network().to(parts.engine.device).train()


def first_output(network: nn.Module, inputs: Tensor) -> dict[str, Any]:
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


def first_loss(network: nn.Module, loss: Loss, inputs: Tensor, labels: Tensor) -> dict[str, Any]:
    """Loss (nats), mean and standard deviation of the logits about their mean over classes, before any step."""
    with torch.no_grad():
        logits = network(inputs).detach()
        value = loss(logits, labels)
        spread = (logits - logits.mean(1, keepdim=True)).square().mean().sqrt()
    numbers = {"first_loss": float(value), "logit_mean": float(logits.mean()), "logit_std": float(spread)}
    return numbers | {"nonfinite": [] if math.isfinite(numbers["first_loss"]) else ["the first loss"]}


def penalized(network: nn.Module, loss: float, l2: float, factors: Sequence[float]) -> dict[str, Any]:
    """Data loss plus penalty, the penalty times each factor. Nothing where no penalty is configured."""
    if l2 == 0:
        return {"penalty": 0.0}
    once = float(penalty(network, l2).detach())
    return {
        "penalty": once,
        "penalty_factors": list(factors),
        "penalized_losses": [loss + once * factor for factor in factors],
    }


def gradients(network: nn.Module, loss: Loss, inputs: Tensor, labels: Tensor) -> dict[str, Any]:
    """Which parameters get no gradient, which a non-finite one, and in which layers all units are alike."""
    network.zero_grad()
    value = loss(network(inputs), labels)
    if value.requires_grad:  # an output that is detached reaches no parameter
        value.backward()
    named = [(name, p) for name, p in network.named_parameters() if p.requires_grad]
    zero = [name for name, p in named if p.grad is None or not bool(p.grad.any())]
    bad = [f"gradient of {name}" for name, p in named if p.grad is not None and not bool(p.grad.isfinite().all())]
    weights = [(name, p) for name, p in named if p.ndim >= 2 and len(p) > 1]
    alike = [name for name, p in weights if _rows_equal(p.detach()) and (p.grad is None or _rows_equal(p.grad))]
    network.zero_grad()
    result: dict[str, Any] = {
        "zero_gradients": zero,
        "trainable_parameters": len(named),
        "symmetric_layers": alike,
        "weight_layers": len(weights),
    }
    return result | ({"nonfinite": bad} if bad else {})


def batch_leak(network: nn.Module, loss: Loss, inputs: Tensor, labels: Tensor) -> dict[str, Any]:
    """How many other examples the loss of the first one depends on, in evaluation mode: batchnorm mixes by intent."""
    was_training = network.training
    network.eval()
    inputs = inputs.detach().clone().requires_grad_()
    try:
        value = loss.per_example(network(inputs), labels)[0]
        if value.requires_grad:
            value.backward()
    finally:
        network.train(was_training)
        network.zero_grad()
    gradient = torch.zeros_like(inputs) if inputs.grad is None else inputs.grad
    others = gradient[1:].flatten(1).abs().amax(1)
    return {
        "leaking_examples": int((others > 0).sum()),
        "leak_examples": len(others),
        "leak_gradient": float(others.max()),
    }


def short_fit(
    network: nn.Module, loss: Loss, inputs: Tensor, labels: Tensor, *, steps: int, lr: float, seed: int
) -> Iterator[float]:
    """The loss after each further `steps` of Adam on one batch. Adam, since its steps hardly depend on the gradient's
    scale: the question is what the network can use, not whether the chosen rate suits it."""
    optimizer = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], lr=lr)
    for step in itertools.count():
        torch.manual_seed(seed_from(seed, 2, step))
        optimizer.zero_grad()
        value = loss(network(inputs), labels)
        if step and step % steps == 0:
            yield float(value.detach())
        value.backward()
        optimizer.step()


def _rows_equal(rows: Tensor) -> bool:
    return bool((rows == rows[0]).all())


def _headline(signals: dict[str, Any]) -> str:
    if "first_loss" not in signals:
        return f"output of shape {tuple(signals['output_shape'])} for {signals['classes']} classes"
    expected = signals.get("expected_first_loss")
    chance = f", chance gives {expected:.3f}" if expected is not None else ""
    return f"first loss {signals['first_loss']:.3f}{chance}; logits spread {signals['logit_std']:.2g}"
