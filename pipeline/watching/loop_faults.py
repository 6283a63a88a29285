"""What a loop does wrong around a step, seen by hooks: gradients that stay or go too early, and wrong modes.

A hook does nothing at a step that is not measured, apart from counting.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd
from torch.optim import Optimizer

MIN_EVALUATIONS = 2
"""Passes without gradients that are judged; one alone may be a look at an output."""

MOST = 0.5
"""Share of the measured passes whose gradient was cleared without an update; a scaler leaves out a few."""


class LoopFaults:
    """Watches optimizers, gradients and modes of a loop. `signals()` returns what it found."""

    def __init__(self, network: nn.Module, optimizers: Sequence[Optimizer]):
        self.network, self.optimizers = network, list(optimizers)
        self.updates = 0
        self.backwards_since_update = 0
        self.accumulates = False
        """Whether an update followed several backward passes."""
        self.is_measuring = False
        self._stale: list[tuple[str, Tensor]] = []
        self._kept: list[str] = []
        self._looks = 0
        self._later_passes = self._dropped_passes = 0
        self._dropped: list[Tensor] = []
        self._lost: list[str] = []
        self._measured_updates = 0
        self._lost_updates = 0
        self._training_passes_in_evaluation_mode = 0
        self._training_passes = 0
        self._evaluations_in_training_mode = 0
        self._evaluations = 0
        self._handles: list[Any] = [network.register_forward_pre_hook(self._before_forward)]
        for optimizer in self.optimizers:
            self._handles += [optimizer.register_step_pre_hook(self._before_update)]
        self._gradient_handles: list[Any] = []
        self.is_in_step = False

    def close(self) -> None:
        """Remove all hooks."""
        for handle in (*self._handles, *self._gradient_handles):
            handle.remove()
        self._handles, self._gradient_handles = [], []

    def begin_measuring(self) -> None:
        """Look at the gradients that are there when the next backward pass arrives."""
        self.is_measuring = True
        named = [(name, p) for name, p in self.network.named_parameters() if p.requires_grad]
        for name, parameter in dict([*named[:1], *named[-1:]]).items():
            self._gradient_handles.append(parameter.register_hook(self._gradient_hook(name, parameter)))

    def end_measuring(self) -> None:
        """Read what the hooks noted, in one transfer."""
        for handle in self._gradient_handles:
            handle.remove()
        self._gradient_handles, self.is_measuring = [], False
        if self._dropped:
            self._dropped_passes += int(torch.stack(self._dropped).sum())
            self._dropped = []
        if self._stale:
            flags = torch.stack([flag for _, flag in self._stale]).tolist()
            self._kept += [name for (name, _), is_stale in zip(self._stale, flags, strict=True) if is_stale]
            self._stale = []

    def after_backward(self) -> None:
        """Count a backward pass."""
        self.backwards_since_update += 1

    def after_update(self) -> None:
        """Count an update."""
        self.updates += 1
        self.accumulates |= self.backwards_since_update > 1
        self.backwards_since_update = 0

    def signals(self) -> dict[str, Any]:
        """Return the signals of docs/signals.md about the loop; absent where nothing could be seen."""
        found: dict[str, Any] = {"updates_made": self.updates} if self.optimizers else {}
        if self._looks:
            found["gradients_kept"] = list(dict.fromkeys(self._kept))
        if self.updates and self._dropped_passes > MOST * (self._later_passes + self._looks):
            found["gradients_lost"] = [name for name, p in self.network.named_parameters() if p.requires_grad]
        elif self._measured_updates:
            is_lost = self._lost_updates > 0.5 * self._measured_updates
            found["gradients_lost"] = list(dict.fromkeys(self._lost)) if is_lost else []
        modal = [name for name, module in self.network.named_modules() if isinstance(module, (_DropoutNd, _NormBase))]
        if modal and self._training_passes:
            share = self._training_passes_in_evaluation_mode / self._training_passes
            found |= {"mode_modules": modal, "steps_in_evaluation_mode": share}
        if modal and self._evaluations >= MIN_EVALUATIONS:
            share = self._evaluations_in_training_mode / self._evaluations
            found |= {"mode_modules": modal, "evaluations_in_training_mode": share}
        return found

    def _gradient_hook(self, name: str, parameter: nn.Parameter) -> Any:
        has_arrived = False

        def look(_: Tensor) -> None:
            # called before the new gradient is added: what is there at the first pass after an update is left over
            nonlocal has_arrived
            before = parameter.grad
            if self.backwards_since_update and not has_arrived:
                self._later_passes += 1
                self._dropped.append(self._is_clear(before))
            if self.updates and not self.backwards_since_update and not has_arrived:
                self._looks += 1
                if before is not None:
                    self._stale.append((name, before.detach().ne(0).any()))
            has_arrived = True

        return look

    @staticmethod
    def _is_clear(gradient: Tensor | None) -> Tensor:
        """Return whether nothing is left of the passes since the last update."""
        return torch.tensor(True) if gradient is None else gradient.detach().eq(0).all().cpu()

    def _before_update(self, optimizer: Optimizer, _args: Any, _kwargs: Any) -> None:
        if not self.is_measuring or not self.backwards_since_update:
            return
        self._measured_updates += 1
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        if all(p.grad is None or not bool(p.grad.any()) for p in parameters):
            self._lost_updates += 1
            held = {id(p) for p in parameters}
            self._lost += [name for name, p in self.network.named_parameters() if id(p) in held]

    def _before_forward(self, module: nn.Module, _inputs: Any) -> None:
        if self.is_in_step:
            if torch.is_grad_enabled():
                self._training_passes += 1
                self._training_passes_in_evaluation_mode += not module.training
        elif not torch.is_grad_enabled():
            self._evaluations += 1
            self._evaluations_in_training_mode += module.training
