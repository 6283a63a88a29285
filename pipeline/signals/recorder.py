"""What happens inside the network while it trains: some steps looked at in full, and a probe after each epoch.

Looking costs a step's worth of small reductions, so few steps are looked at, but those with everything: activations,
gradients, weights and updates of one and the same step belong together. All numbers of a step travel in one transfer.
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

from pipeline.signals.activations import STATISTICS, Activations, Known
from pipeline.signals.weights import Weights, gradient_noise, norms
from pipeline.validation import integer, number

EARLY = (1, 10, 25, 50)
"""Steps that are looked at whatever `every_n_steps` is: the beginning shows what the init did."""

LAST_PROBE = 500
"""Examples in the probe after the last epoch, when it is asked once and the answer matters most."""

_WEIGHTS = ("gradient", "weight", "update")


@dataclass(frozen=True)
class RecorderConfig:
    """How much is recorded. `every_n_steps`: steps between two that are looked at; `max_samples`: such steps in a run, for which
    `every_n_steps` is stretched; `probe_fraction`: share of the training examples that the probe after each epoch uses, but the last."""

    every_n_steps: int
    max_samples: int
    probe_fraction: float

    def __post_init__(self) -> None:
        integer("every_n_steps", self.every_n_steps, at_least=1)
        integer("max_samples", self.max_samples, at_least=1)
        number("probe_fraction", self.probe_fraction, above=0, at_most=1)

    def probe_examples(self, n: int) -> int:
        """64 at least, so that a share means something; `LAST_PROBE` at most, since more would only cost."""
        return min(n, max(64, min(LAST_PROBE, round(self.probe_fraction * n))))


class Recorder:
    """Collects `samples` and `units` of docs/signals.md."""

    def __init__(self, recording: RecorderConfig, *, total_steps: int):
        self.config = recording
        self.every = max(recording.every_n_steps, math.ceil(total_steps / recording.max_samples))
        self.samples: dict[str, Any] = {
            "step": [],
            "lr": [],
            "logit_std": [],
            "gradient_noise": [],
            "gradient_ratio": [],
        }
        self.samples |= {"weights": {key: [] for key in ("name", *_WEIGHTS)}}
        self.samples |= {"activations": {key: [] for key in ("name", "kind", *STATISTICS)}}
        self.units: dict[str, Any] = {key: [] for key in ("epoch", "name", "kind", "units", "dead", "saturated")}
        self.activation_modules: Known | None = None
        """Where this network's activations are, once a look has found that they can be told by their modules."""
        self._previous: list[Tensor] | None = None
        self._probed_at = -math.inf  # the step at which activations were last watched in a probe

    def sample(self, step: int, network: nn.Module) -> StepProbe | None:
        """A look at `step` (from 1), or None for most steps. The step after a look is looked at for the noise only."""
        if step % self.every == 0 or step in EARLY:
            return StepProbe(self, step, network)
        if self._previous is not None:
            return _NoiseProbe(self, step, network)
        return None

    def probe_due(self, step: int) -> bool:
        """Whether a probe after `step` should watch activations: as seldom as steps are looked at, in short epochs."""
        return step - self._probed_at >= self.every

    @contextmanager
    def probe_epoch(self, network: nn.Module, *, epoch: int, step: int) -> Iterator[Callable[[], None]]:
        """Watch the passes inside; call what it yields before each. Then note each unit that was never active."""
        watch = Activations(limit=None, known=self.activation_modules, silent_only=True)
        with watch.trace(network):
            yield watch.next_batch
        self._probed_at = step
        columns = watch.columns()
        self.units |= {key: columns[key] for key in ("name", "kind", "units")}
        self.units["epoch"].append(epoch)
        for key in ("dead", "saturated"):
            self.units[key].append(columns[key])

    def state(self) -> dict[str, Any]:
        """Plain data for the checkpoint, so that a resumed run leaves whole signals. The numbers are one word of JSON:
        thousands of small objects would take longer to pickle than the weights of a small network."""
        numbers = {"samples": self.samples, "units": self.units, "probed_at": self._probed_at}
        return {"numbers": json.dumps(numbers), "previous": self._previous}

    def load(self, state: dict[str, Any]) -> None:
        numbers = json.loads(state["numbers"])
        self.samples, self.units, self._probed_at = numbers["samples"], numbers["units"], numbers["probed_at"]
        self._previous = state["previous"]

    def _add(self, row: dict[str, float | None], weights: Tensor, watch: Activations, names: list[str]) -> None:
        gradients, *_ = table = weights.tolist()
        row["gradient_ratio"] = gradients[0] / gradients[-1] if gradients and gradients[-1] else None
        for key, value in row.items():
            self.samples[key].append(value)
        self.samples["weights"]["name"] = names
        for key, values in zip(_WEIGHTS, table, strict=True):
            self.samples["weights"][key].append(values)
        columns = watch.columns()
        for key in ("name", "kind"):
            self.samples["activations"][key] = columns[key]
        for key in STATISTICS:
            self.samples["activations"][key].append(columns[key])


class StepProbe:
    """A look at one step: around the forward pass, after the backward pass, after the update."""

    def __init__(self, recorder: Recorder, step: int, network: nn.Module):
        self.recorder, self.step, self.network = recorder, step, network
        self.weights = Weights.from_network(network)
        self.activations = Activations(known=recorder.activation_modules)

    @contextmanager
    def forward(self) -> Iterator[None]:
        with self.activations.trace(self.network):
            yield
        self.recorder.activation_modules = self.activations.activation_modules()

    def before_update(self, logits: Tensor) -> None:
        logits = logits.detach().float()
        self.spread = (logits - logits.mean(1, keepdim=True)).square().mean().sqrt()
        gradients, values = self.weights.gradients(), self.weights.values()
        self._note_noise(gradients)  # of the look before, when this step follows it
        self.gradient_norms, self.weight_norms = norms(gradients), norms(values)
        self.before = [value.clone() for value in values]
        self.recorder._previous = [gradient.clone() for gradient in gradients]

    def _note_noise(self, gradients: list[Tensor]) -> None:
        previous, self.recorder._previous = self.recorder._previous, None
        if previous and gradients:
            self.recorder.samples["gradient_noise"][-1] = float(gradient_noise(previous, gradients))

    def after_update(self, lr: float) -> None:
        updates = norms(torch._foreach_sub(self.weights.values(), self.before)) if self.before else torch.zeros(0)
        row = {"step": self.step, "lr": lr, "logit_std": float(self.spread), "gradient_noise": None}
        table = torch.stack([self.gradient_norms, self.weight_norms, updates])
        self.recorder._add(row, table, self.activations, self.weights.names)


class _NoiseProbe(StepProbe):
    """The step after a look: its gradient against that of the step before."""

    @contextmanager
    def forward(self) -> Iterator[None]:
        yield

    def before_update(self, logits: Tensor) -> None:
        self._note_noise(self.weights.gradients())

    def after_update(self, lr: float) -> None:
        pass
