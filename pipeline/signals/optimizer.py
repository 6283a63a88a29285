"""Whether an optimizer trains this network: what it holds, whether it clears gradients, and whether it uses them.

What an optimizer does is tried on copies of it and of the parameters, with gradients that are drawn at random, so that
neither is changed and no pass through the network is needed.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from pipeline.signals.schema import SanitySignals

TRIED_STEPS = 32
"""Steps before an optimizer counts as one that ignores gradients: some update once in several steps, on purpose."""
TRIED_RATE = 1.0
"""Learning rate of these steps, so that neither a rate of zero nor rounding hides the effect of a gradient."""
BLOCK = 4099
"""Numbers that are drawn for gradients; larger ones repeat them. A prime: no row of a weight equals another."""
_SEED = 0


def optimizer_signals(network: nn.Module, optimizer: Optimizer, loss: object = None) -> SanitySignals:
    """Return `optimizer_missing` and `optimizer_foreign`: what the optimizer lacks of the network, and holds besides.

    `optimizer_missing` names the trainable parameters that are in no group of `optimizer`, `optimizer_foreign` counts
    the tensors in its groups that belong neither to `network` nor to `loss`. Where there are both, the optimizer may
    work on copies and write them back, as those with weights of higher precision do: a parameter that moves in a
    step of its copy is not missing.
    """
    named = {name: p for name, p in network.named_parameters() if p.requires_grad}
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    known = {id(p) for module in (network, loss) if isinstance(module, nn.Module) for p in module.parameters()}
    missing, foreign = [name for name, p in named.items() if id(p) not in held], len(held - known)
    if missing and foreign:
        still = _still_parameters(optimizer, named)
        missing = [name for name in missing if name in still]
        foreign = foreign if missing else 0
    return {"optimizer_missing": missing, "optimizer_foreign": foreign}


def clearing_signals(network: nn.Module, optimizer: Optimizer) -> SanitySignals:
    """Return `gradients_kept` and `gradients_lost`, names of trainable parameters in the groups of `optimizer`.

    `gradients_kept` have a gradient after a step and `zero_grad`. `gradients_lost` are updated by a step as if their
    gradient were zero: the optimizer clears gradients before it uses them, or does not use them. A signal is absent
    where the optimizer cannot be copied, or makes no step with such gradients (those that need sparse ones).
    """
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    named = {name: p for name, p in network.named_parameters() if p.requires_grad and id(p) in held}
    signals: SanitySignals = {}
    if not named or (twins := _pair(optimizer, named)) is None:
        return signals
    lost = _without_effect(*twins)
    twin = twins[0]
    if lost is None:
        twin.set_gradients(1.0, seed=_SEED)
    try:
        twin.optimizer.zero_grad()  # after a step, as in every loop: some optimizers clear in it
    except Exception:  # noqa: BLE001 - a stranger's optimizer may fail in any way
        return signals
    signals["gradients_kept"] = [
        name for name, p in twin.parameters.items() if p.grad is not None and bool(p.grad.any())
    ]
    if lost and (twins := _pair(optimizer, named, at_zero=True)):
        lost &= _without_effect(*twins) or set()  # of large weights, rounding swallows the updates
    if lost is not None:
        signals["gradients_lost"] = [name for name in named if name in lost]
    return signals


class _Twin:
    """A copy of an optimizer with copies of the named parameters, at the rate `TRIED_RATE`."""

    def __init__(self, optimizer: Optimizer, parameters: dict[str, Tensor]):
        self.optimizer, self.parameters = optimizer, parameters

    @classmethod
    def of(cls, optimizer: Optimizer, named: dict[str, nn.Parameter]) -> _Twin | None:
        """Return the copy, or None where something in the optimizer cannot be copied."""
        memo: dict[int, Any] = {}
        try:
            parameters = {name: copy.deepcopy(p, memo) for name, p in named.items()}
            # not `deepcopy(optimizer)`: torch's version leaves out what a user's class keeps in attributes of its own,
            # and keeps a `step` that a schedule has bound to the original
            own = {key: value for key, value in vars(optimizer).items() if key != "step"}
            twin = object.__new__(type(optimizer))
            twin.__dict__.update(copy.deepcopy(own, memo))
        except Exception:  # noqa: BLE001 - what a stranger's class holds may fail in any way
            return None
        for group in twin.param_groups:
            if isinstance(group.get("lr"), Tensor):
                group["lr"].fill_(TRIED_RATE)
            elif "lr" in group:
                group["lr"] = TRIED_RATE
        return cls(twin, dict(parameters))

    def set_gradients(self, scale: float, *, seed: int) -> Tensor:
        """Give each parameter a gradient of `scale` x standard normal numbers; return a loss, of which some read."""
        drawn = scale * torch.randn(BLOCK, generator=torch.Generator().manual_seed(seed))
        for parameter in self.parameters.values():
            repeated = drawn.repeat(-(-parameter.numel() // BLOCK))[: parameter.numel()]
            parameter.grad = torch.empty_like(parameter).copy_(repeated.view(parameter.shape))
        return drawn.sum()

    def step(self, scale: float, *, seed: int) -> bool:
        """Make one step; return whether the optimizer makes one with such gradients."""

        def closure() -> Any:
            return self.set_gradients(scale, seed=seed)

        attempts: list[Callable[[], Any]] = [self.optimizer.step, lambda: self.optimizer.step(closure)]
        for attempt in attempts:  # most need no closure
            closure()
            try:
                with torch.random.fork_rng(devices=[]):  # both copies add the same noise, if they add any
                    attempt()
            except Exception:  # noqa: BLE001 - a stranger's optimizer may fail in any way
                continue
            return True
        return False


def _pair(optimizer: Optimizer, named: dict[str, nn.Parameter], *, at_zero: bool = False) -> tuple[_Twin, _Twin] | None:
    """Return two copies, with parameters of zero if `at_zero`; None where something cannot be copied."""
    first, second = (_Twin.of(optimizer, named) for _ in range(2))
    if first is None or second is None:
        return None
    for parameter in [*first.parameters.values(), *second.parameters.values()] if at_zero else []:
        parameter.detach().zero_()
    return first, second


def _without_effect(with_gradient: _Twin, without: _Twin) -> set[str] | None:
    """Return the parameters whose updates do not depend on their gradients; None where no step can be made."""
    same = set(with_gradient.parameters)
    for step in range(TRIED_STEPS):
        if not (with_gradient.step(1.0, seed=_SEED + step) and without.step(0.0, seed=_SEED + step)):
            return None
        same = {name for name in same if torch.equal(with_gradient.parameters[name], without.parameters[name])}
        if not same:
            break
    return same


def _still_parameters(optimizer: Optimizer, named: dict[str, nn.Parameter]) -> set[str]:
    """Return the parameters that a step of a copy of the optimizer does not move; all where it makes none."""
    twin = _Twin.of(optimizer, named)
    if twin is None or not twin.step(1.0, seed=_SEED):
        return set(named)
    return {name for name, p in named.items() if torch.equal(twin.parameters[name], p)}
