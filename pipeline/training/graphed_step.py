"""Which steps of a training are replayed as a CUDA graph, and why others are not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pipeline.errors import UserError
from pipeline.signals.recorder import StepSampler
from pipeline.training.device_rates import make_capturable
from pipeline.training.step import SeedOfPart, StepResult, TrainingStep
from pipeline.training.step_graph import CannotCapture, Capturer, CudaCapturer, StepGraph

MIN_STEPS = 100
"""Steps that must remain where `trainer.cuda_graph=auto` captures; the capture is estimated to take as long as 50."""


def capturer_for(device: torch.device) -> Capturer | None:
    """Return what captures steps on `device`, or None where nothing does."""
    return CudaCapturer(device) if device.type == "cuda" else None


class GraphedStep:
    """Makes steps: replays those over a full batch that nobody looks into, once one could be captured.

    `wanted` is `trainer.cuda_graph`. `replayed` counts the replayed steps, and `refusal` says why there is no graph
    (None: there is one, or none was asked for). With `wanted=True` a refusal raises `UserError` on
    `trainer.cuda_graph`. `step_size` is the number of examples of a full step.
    """

    def __init__(
        self,
        step: TrainingStep,
        *,
        wanted: bool | str,
        capturer: Capturer | None,
        buffers: Sequence[Tensor],
        step_size: int,
        steps_to_come: int,
    ):
        self._step, self._capturer, self._buffers, self._step_size = step, capturer, buffers, step_size
        self._graph: StepGraph | None = None
        self._made_steps = 0
        self._wanted = wanted is True or (wanted == "auto" and steps_to_come >= MIN_STEPS)
        self._is_required = wanted is True
        self.replayed = 0
        self.refusal: str | None = None
        if self._wanted and capturer is not None:
            self._refuse(self._find_obstacle())

    def __call__(self, index: Tensor, seed_of: SeedOfPart, probe: StepSampler | None) -> StepResult:
        """Make the step over the examples at `index` (B,)."""
        # a replayed step leaves clipped gradients, which are not those that a probe asks for
        sees_gradients = probe is not None and probe.needs_gradients_only and not self._step.clipping
        graph = self._graph_for(index) if probe is None or sees_gradients else None
        self._made_steps += 1
        if graph is None:
            loss, hits = self._step(index, seed_of, probe)
            # one value, as from a graph, so that those of some steps are added up at once
            return loss, hits.sum(0, keepdim=True) if self._graph else hits
        result = graph(index, seed_of)
        self.replayed += 1
        if probe is not None:
            graph.adopt_gradients()
            probe.before_update(result[0])
        return result

    def signals(self) -> dict[str, Any]:
        """Return the signals of docs/signals.md about graphs: none on a device that cannot capture."""
        if self._capturer is None:
            return {}
        return {"graph_steps": self.replayed} | ({"graph_refused": self.refusal} if self.refusal else {})

    def release(self) -> None:
        """Give up the graph with its memory; the counts stay."""
        self._graph, self._wanted = None, False

    def _graph_for(self, index: Tensor) -> StepGraph | None:
        """Return the graph of the step over `index`, captured now if it is time, or None for an eager step."""
        # the first step is eager: it creates the optimizer's state, and chooses convolution algorithms
        if not self._wanted or self._capturer is None or self.refusal is not None or self._made_steps == 0:
            return None
        if self._graph is None:
            if len(index) != self._step_size:
                return None
            try:
                self._graph = StepGraph(self._step, index, self._capturer, self._buffers)
            except CannotCapture as error:
                self._refuse(str(error))
                return None
        if self._graph.matches(index):
            return self._graph
        if len(index) == self._step_size:
            self._graph = None
            self._refuse("the schedule changes more than the learning rate")
        return None

    def _find_obstacle(self) -> str | None:
        """Return why no step of this training can be captured, as far as that is known before."""
        if self._step.trainer.world_size > 1:
            return "several processes exchange gradients"
        if self._step.has_scaler:
            return "16-mixed decides after each step whether to update"
        return None if self._step.rates else make_capturable(self._step.torch_optimizer)

    def _refuse(self, reason: str | None) -> None:
        self.refusal = reason
        if reason is not None and self._is_required:
            raise UserError(f"the training step cannot be captured: {reason}. Try auto.", field="trainer.cuda_graph")
