"""Measurements of a network while it trains: some steps in full, and a probe after each epoch.

A measurement costs small reductions worth about a step, so few steps are measured. Those are measured completely:
activations, gradients, weights and updates of one and the same step belong together. All numbers of a step are copied
from the device at once.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.signals.activation_statistics import STATISTICS
from pipeline.signals.activations import Activations, ModuleNames
from pipeline.signals.weights import Weights, gradient_noise, norms
from pipeline.validation import integer, number

EARLY_STEPS = (1, 10, 25, 50)
"""Steps that are measured whatever `every_n_steps` is: the beginning shows the effect of the init."""

MIN_PROBE = 64
"""Examples in a probe, so that a share of them means something."""
LAST_PROBE = 500
"""Examples in the probe after the last epoch, which matters most; other probes have at most as many."""

_WEIGHT_KEYS = ("gradient", "weight", "update")


@dataclass(frozen=True)
class RecorderConfig:
    """How much is recorded.

    `every_n_steps` is the distance between two measured steps, increased so that a run has at most `max_samples` of
    them. `probe_fraction` is the share of the training examples that the probe after each epoch but the last uses.
    Raises `UserError` naming the field.
    """

    every_n_steps: int
    max_samples: int
    probe_fraction: float

    def __post_init__(self) -> None:
        integer("every_n_steps", self.every_n_steps, at_least=1)
        integer("max_samples", self.max_samples, at_least=1)
        number("probe_fraction", self.probe_fraction, above=0, at_most=1)

    def probe_examples(self, n: int) -> int:
        """Return the number of examples of a probe, between `MIN_PROBE` and `LAST_PROBE`, of `n` training examples."""
        return min(n, max(MIN_PROBE, min(LAST_PROBE, round(self.probe_fraction * n))))


class Recorder:
    """Collects the signals `samples` and `units` of docs/signals.md."""

    def __init__(self, config: RecorderConfig, *, total_steps: int):
        self.config = config
        self.every_n_steps = max(config.every_n_steps, math.ceil(total_steps / config.max_samples))
        self.samples: dict[str, Any] = {
            "step": [],
            "lr": [],
            "logit_std": [],
            "gradient_noise": [],
            "gradient_ratio": [],
            "applied_gradient": [],
        }
        self.samples |= {"weights": {key: [] for key in ("name", *_WEIGHT_KEYS)}}
        self.samples |= {"activations": {key: [] for key in ("name", "kind", *STATISTICS)}}
        self.units: dict[str, Any] = {key: [] for key in ("epoch", "name", "kind", "units", "dead", "saturated")}
        self.activation_modules: ModuleNames | None = None
        """The modules whose outputs are this network's activations, once a probe has found that all are."""
        self._previous_gradients: list[Tensor] | None = None
        self._probed_at = -math.inf  # the step after which a probe last measured activations

    def sample(self, step: int, network: nn.Module) -> StepSampler | None:
        """Return a probe of `step` (from 1), or None for most steps.

        The step after a measured one is probed for the gradient noise alone.
        """
        if step % self.every_n_steps == 0 or step in EARLY_STEPS:
            return StepSampler(self, step, network)
        if self._previous_gradients is not None:
            return _NoiseSampler(self, step, network)
        return None

    def probe_due(self, step: int) -> bool:
        """Return whether a probe after `step` should measure activations: in short epochs not after each of them."""
        return step - self._probed_at >= self.every_n_steps

    @contextmanager
    def probe_epoch(self, network: nn.Module, *, epoch: int, step: int) -> Iterator[Callable[[], None]]:
        """Measure `dead` and `saturated` over the forward passes inside the context.

        Yields a function to be called before each pass.
        """
        tracer = Activations(limit=None, modules=self.activation_modules, silent_only=True)
        with tracer.trace(network):
            yield tracer.next_batch
        self._probed_at = step
        columns = tracer.columns()
        self.units |= {key: columns[key] for key in ("name", "kind", "units")}
        self.units["epoch"].append(epoch)
        for key in ("dead", "saturated"):
            self.units[key].append(columns[key])

    def forget_gradients(self) -> None:
        """Leave the noise of the latest sample unmeasured: the next gradient is not that of another whole step."""
        self._previous_gradients = None

    def thin_out(self) -> None:
        """Drop every second sample and measure half as many from now on: the length of the training was not known."""
        self.every_n_steps *= 2
        for table in (self.samples, self.samples["weights"], self.samples["activations"]):
            for key, rows in table.items():
                if isinstance(rows, list) and key not in ("name", "kind"):
                    table[key] = rows[::2]
        self.forget_gradients()

    def state(self) -> dict[str, Any]:
        """Return plain data for a checkpoint, so that a resumed run has complete signals.

        The numbers are one JSON string: thousands of small objects would take longer to pickle than the weights of a
        small network.
        """
        numbers = {"samples": self.samples, "units": self.units, "probed_at": self._probed_at}
        return {"numbers": json.dumps(numbers), "previous": self._previous_gradients}

    def load(self, state: dict[str, Any]) -> None:
        """Continue from a `state()`."""
        numbers = json.loads(state["numbers"])
        self.samples, self.units, self._probed_at = numbers["samples"], numbers["units"], numbers["probed_at"]
        self._previous_gradients = state["previous"]

    def _add(self, row: dict[str, float | None], weights: Tensor, activations: Activations, names: list[str]) -> None:
        """Add one sampled step; `weights` (3, len(names)) are norms of gradients, weights and updates."""
        gradients, *_ = table = weights.tolist()
        row["gradient_ratio"] = gradients[0] / gradients[-1] if gradients and gradients[-1] else None
        for key, value in row.items():
            self.samples[key].append(value)
        weights_table = self.samples["weights"]
        known = weights_table["name"]
        weights_table["name"] = [*known, *(name for name in names if name not in known)]  # a loop may unfreeze layers
        for key, values in zip(_WEIGHT_KEYS, table, strict=True):
            by_name = dict(zip(names, values, strict=True))
            weights_table[key].append([by_name.get(name) for name in weights_table["name"]])
            for row_of_step in weights_table[key]:
                row_of_step += [None] * (len(weights_table["name"]) - len(row_of_step))
        self._add_activations(activations.columns())

    def _add_activations(self, columns: dict[str, list[Any]]) -> None:
        """Add a row of the layers that the first measured pass had; a layer that this pass left out has None.

        Passes differ where a network leaves out blocks at random, or is measured in training mode alone.
        """
        table = self.samples["activations"]
        if not table["name"]:
            table |= {"name": columns["name"], "kind": columns["kind"]}
            for key in STATISTICS:
                table[key] = [[None] * len(columns["name"]) for _ in table[key]]
        for key in STATISTICS:
            values = dict(zip(columns["name"], columns[key], strict=True))
            table[key].append([values.get(name) for name in table["name"]])


class StepSampler:
    """The measurement of one step: around the forward pass, after the backward pass, after the update."""

    needs_gradients_only = False
    """Whether the gradients of the step are all that is measured."""

    def __init__(self, recorder: Recorder, step: int, network: nn.Module):
        self.recorder, self.step, self.network = recorder, step, network
        self.weights = Weights.from_network(network)
        self.activations = Activations(modules=recorder.activation_modules)

    @contextmanager
    def forward(self) -> Iterator[None]:
        """Measure the forward pass inside the context."""
        with self.activations.trace(self.network):
            yield
        self.recorder.activation_modules = self.activations.activation_modules()

    def before_update(self, logits: Tensor) -> None:
        """Measure `logits` (N, C), gradients and weights, after the backward pass."""
        self.applied_gradient: Tensor | None = None
        logits = logits.detach().float()
        self.logit_std = (logits - logits.mean(1, keepdim=True)).square().mean().sqrt()
        gradients, values = self.weights.gradients(), self.weights.values()
        self._add_noise(gradients)
        self.gradient_norms, self.weight_norms = norms(gradients), norms(values)
        self.values_before = [value.clone() for value in values]
        self.recorder._previous_gradients = [gradient.clone() for gradient in gradients]

    def at_update(self, *, scale: float = 1.0) -> None:
        """Measure what is left of the gradients when the optimizer gets them, in loops that may clip or scale them.

        `scale` is the factor of the loss in the backward pass that the gradients have been divided by since.
        """
        self.applied_gradient = norms(self.weights.gradients()).norm() * scale / self.gradient_norms.norm()

    def update_direction(self) -> float:
        """Return the cosine between the gradient after the backward pass and the update; NaN where one is zero."""
        gradients = self.recorder._previous_gradients
        if not gradients:
            return math.nan
        updates = torch._foreach_sub(self.weights.values(), self.values_before)
        dot = torch.stack([product.sum() for product in torch._foreach_mul(gradients, updates)]).sum()
        return float(dot / (norms(gradients).norm() * norms(updates).norm()))

    def _add_noise(self, gradients: list[Tensor]) -> None:
        """Complete the sample of the step before, if that was measured."""
        previous, self.recorder._previous_gradients = self.recorder._previous_gradients, None
        if previous and gradients and [g.shape for g in previous] == [g.shape for g in gradients]:
            previous = [before.to(gradients[0].device) for before in previous]  # a checkpoint has them on the CPU
            self.recorder.samples["gradient_noise"][-1] = float(gradient_noise(previous, gradients))

    def after_update(self, lr: float) -> None:
        """Measure the updates, and add the sample to the recorder; `lr` is the learning rate of the step."""
        before = self.values_before
        self.update_norms = norms(torch._foreach_sub(self.weights.values(), before)) if before else torch.zeros(0)
        row = {"step": self.step, "lr": lr, "logit_std": float(self.logit_std), "gradient_noise": None}
        row["applied_gradient"] = None if self.applied_gradient is None else float(self.applied_gradient)
        table = torch.stack([self.gradient_norms, self.weight_norms, self.update_norms])
        self.recorder._add(row, table, self.activations, self.weights.names)


class _NoiseSampler(StepSampler):
    """The probe of the step after a measured one: compares its gradient with that of the step before."""

    needs_gradients_only = True

    @contextmanager
    def forward(self) -> Iterator[None]:
        yield

    def before_update(self, logits: Tensor) -> None:
        self._add_noise(self.weights.gradients())

    def at_update(self, *, scale: float = 1.0) -> None:
        pass

    def after_update(self, lr: float) -> None:
        pass
