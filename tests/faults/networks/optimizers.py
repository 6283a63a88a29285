"""Users' own optimizers: the sound ones first, then those with a mistake of the training loop."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

Parameters = Iterable[Tensor] | Iterable[dict[str, Any]]


class GroupedAdamW(torch.optim.AdamW):
    """Weights with decay and biases without, in two groups."""

    def __init__(self, params: Parameters, lr: float, **options: Any):
        each = all_of(params)
        groups = [
            {"params": [p for p in each if p.ndim > 1], "weight_decay": 0.01},
            {"params": [p for p in each if p.ndim <= 1], "weight_decay": 0.0},
        ]
        super().__init__([group for group in groups if group["params"]], lr=lr, **options)


class ClippedAdam(torch.optim.Adam):
    """Gradients clipped to a norm before each step."""

    def __init__(self, params: Parameters, lr: float, clip: float = 1.0, **options: Any):
        super().__init__(params, lr=lr, **options)
        self.clip = clip

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = run(closure)
        nn.utils.clip_grad_norm_([p for group in self.param_groups for p in group["params"]], self.clip)
        super().step()
        return loss


class SignDescent(torch.optim.Optimizer):
    """w -= lr sign(mean of gradients), as Lion does (Chen et al. 2023)."""

    def __init__(self, params: Parameters, lr: float, **_: Any):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = run(closure)
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    mean = self.state[p].setdefault("mean", torch.zeros_like(p))
                    p.sub_(group["lr"] * torch.sign(0.9 * mean + 0.1 * p.grad))
                    mean.lerp_(p.grad, 0.01)
        return loss


def all_of(params: Parameters) -> list[Tensor]:
    """Return the tensors of `params`, which are tensors or groups of them."""
    return [p for each in params for p in (each["params"] if isinstance(each, dict) else [each])]


def run(closure: Callable[[], Any] | None) -> Any:
    if closure is None:
        return None
    with torch.enable_grad():
        return closure()


class ForgetsOneGroup(torch.optim.AdamW):
    """Only the weights got a group; biases and the scales of normalizations are in none."""

    def __init__(self, params: Parameters, lr: float, **options: Any):
        each = all_of(params)
        super().__init__([p for p in each if p.ndim > 1] or each, lr=lr, **options)


class HeadAlone(torch.optim.SGD):
    """The last two tensors only, as for fine-tuning, though nothing was trained before."""

    def __init__(self, params: Parameters, lr: float, **options: Any):
        super().__init__(all_of(params)[-2:], lr=lr, **options)


class TrainsCopies(torch.optim.Optimizer):
    """Steps on copies in double precision that are never written back, for every tensor but the last two."""

    def __init__(self, params: Parameters, lr: float, **_: Any):
        each = all_of(params)
        self.sources = each
        super().__init__([p.detach().double().requires_grad_() for p in each[:-2]] + each[-2:], {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = run(closure)
        for p, source in zip(self.param_groups[0]["params"], self.sources, strict=True):
            if source.grad is not None:
                p.sub_(self.param_groups[0]["lr"] * source.grad)
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:
        for source in self.sources:
            source.grad = None


class ClearsFirstTensorOnly(torch.optim.SGD):
    """`zero_grad` returns from inside its loop: one tensor is cleared."""

    def zero_grad(self, set_to_none: bool = True) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                p.grad = None
                return


class ClearsEveryEighth(torch.optim.Adam):
    """`zero_grad` does its work on every eighth call, left over from an accumulation that is gone."""

    def __init__(self, params: Parameters, lr: float, **options: Any):
        super().__init__(params, lr=lr, **options)
        self.calls = 0

    def zero_grad(self, set_to_none: bool = True) -> None:
        self.calls += 1
        if self.calls % 8 == 0:
            super().zero_grad(set_to_none)


class ClearsAnotherName(torch.optim.RMSprop):
    """`zero_grad` sets an attribute that nobody reads: `p.gradient`."""

    def zero_grad(self, set_to_none: bool = True) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                p.gradient = None


class ClearsBeforeStep(torch.optim.SGD):
    """The gradients are cleared between `backward` and the step."""

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = run(closure)
        self.zero_grad()
        super().step()
        return loss


class ZeroesBeforeStep(torch.optim.AdamW):
    """The gradients are set to zero, not to None, just before the step: only the weight decay is left."""

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = run(closure)
        for p in all_of(self.param_groups):
            if p.grad is not None:
                p.grad.zero_()
        super().step()
        return loss


class ClearsMatricesBeforeStep(torch.optim.Adam):
    """The gradients of all weights are cleared before the step, and those of the biases remain."""

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = run(closure)
        for p in all_of(self.param_groups):
            if p.ndim > 1:
                p.grad = None
        super().step()
        return loss


class ClippedToNothing(torch.optim.SGD):
    """Gradients clipped to a norm of 1e-5: a unit was mistaken."""

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = run(closure)
        nn.utils.clip_grad_norm_(all_of(self.param_groups), 1e-5)
        super().step()
        return loss
