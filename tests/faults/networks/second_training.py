"""More losses and optimizers of users, written without a look at the rules: sound ones first, then mistaken ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from tests.faults.networks.optimizers import Parameters, run


def squared_hinge(logits: Tensor, labels: Tensor) -> Tensor:
    """The squared multi-class hinge with a margin of 1."""
    return F.multi_margin_loss(logits, labels, p=2)


def confidence_penalty(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy less 0.1 times the entropy of the answer (Pereyra et al. 2017)."""
    return F.cross_entropy(logits, labels) - 0.1 * _entropy(logits)


def divergence_of_smoothed(logits: Tensor, labels: Tensor) -> Tensor:
    """The divergence from smoothed labels, which is not 0 at its best."""
    smoothed = 0.9 * F.one_hot(labels, logits.shape[1]) + 0.1 / logits.shape[1]
    return F.kl_div(F.log_softmax(logits, 1), smoothed, reduction="batchmean")


def _entropy(logits: Tensor) -> Tensor:
    logs = F.log_softmax(logits, 1)
    return -(logs.exp() * logs).sum(1).mean()


def softmax_over_all(logits: Tensor, labels: Tensor) -> Tensor:
    """One softmax over all examples and classes together."""
    logs = F.log_softmax(logits.flatten(), 0).view_as(logits)
    return F.nll_loss(logs, labels)


def hinge_turned(logits: Tensor, labels: Tensor) -> Tensor:
    """The hinge with its difference turned: right classes are pushed below wrong ones."""
    return F.multi_margin_loss(-logits, labels)


def entropy_rewarded(logits: Tensor, labels: Tensor) -> Tensor:
    """Five times the entropy is subtracted: the best answer is to be sure of nothing."""
    return F.cross_entropy(logits, labels) - 5 * _entropy(logits)


def reversed_labels(logits: Tensor, labels: Tensor) -> Tensor:
    """The first prediction meets the last label."""
    return F.cross_entropy(logits, labels.flip(0))


class _Own(torch.optim.Optimizer):
    """Calls `update` for each parameter."""

    def __init__(self, params: Parameters, lr: float, **_: Any):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = run(closure)
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self.update(p, p.grad, group["lr"])
        return loss

    def update(self, p: Tensor, gradient: Tensor, lr: float) -> None:
        raise NotImplementedError


class HeavyBall(_Own):
    """v = 0.9 v + g; w -= lr v, written out."""

    sign = 1.0

    def update(self, p: Tensor, gradient: Tensor, lr: float) -> None:
        velocity = self.state[p].setdefault("velocity", torch.zeros_like(p))
        velocity.mul_(0.9).add_(self.sign * gradient)
        p.sub_(lr * velocity)


class DecoupledDecay(HeavyBall):
    """w -= lr 0.01 w beside the gradient."""

    def update(self, p: Tensor, gradient: Tensor, lr: float) -> None:
        p.mul_(1 - lr * 0.01)
        super().update(p, gradient, lr)


class Lookahead(HeavyBall):
    """Every fifth step the weights go back half of the way to where they were (Zhang et al. 2019)."""

    def update(self, p: Tensor, gradient: Tensor, lr: float) -> None:
        state = self.state[p]
        slow = state.setdefault("slow", p.detach().clone())
        super().update(p, gradient, lr)
        state["steps"] = state.get("steps", 0) + 1
        if state["steps"] % 5 == 0:
            p.copy_(slow.lerp_(p, 0.5))


class BallUphill(HeavyBall):
    """The sign is taken into account twice."""

    sign = -1.0


class DecayWithoutRate(HeavyBall):
    """A decay of 0.3 in each step, whatever the rate."""

    def update(self, p: Tensor, gradient: Tensor, lr: float) -> None:
        p.mul_(1 - 0.3)
        super().update(p, gradient, lr)


class Rebinds(_Own):
    """`p = p - lr * g` makes a new tensor and leaves the parameter as it is."""

    def update(self, p: Tensor, gradient: Tensor, lr: float) -> None:
        p = p - lr * gradient


class NoisyStep(HeavyBall):
    """Noise for each weight, many times as large as the gradient."""

    def update(self, p: Tensor, gradient: Tensor, lr: float) -> None:
        super().update(p, gradient + torch.randn_like(gradient), lr)
