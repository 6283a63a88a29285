"""Which parameters are frozen, where they lie, and whether the batchnorms among them keep their statistics."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from pipeline.signals.restoring import restored
from pipeline.signals.schema import SanitySignals


def frozen_signals(network: nn.Module, inputs: Any, *, declared: Sequence[str] = ()) -> SanitySignals:
    """Return what tells freezing on purpose from an accident, by one pass of `inputs` in training mode.

    `declared_frozen` names the frozen parameters at or below the names in `declared`, and `frozen_prefixes` the fewest
    modules and parameters that cover exactly the frozen ones. `frozen_inside` names those that do not lie at the input
    side as whole layers: a layer before them is trained, or part of their own layer. `trained_share` is the share of
    numbers that are trained. `moving_statistics` names the batchnorms whose parameters are all frozen (of one without
    parameters, those of the module around it) and whose running statistics the pass changed.

    Buffers, modes and random numbers are left as they were found. Where nothing is frozen no pass is made.
    """
    named = dict(network.named_parameters())
    frozen = [name for name, p in named.items() if not p.requires_grad]
    if not frozen:
        return {"moving_statistics": [], "trained_share": 1.0}
    before = {name: norm.running_mean.clone() for name, norm in _frozen_norms(network)}
    with restored(network), torch.random.fork_rng(devices=[]):
        network.train()
        fed_by_trained = _modules_fed_by_trained(network, inputs)
        moving = [name for name, norm in _frozen_norms(network) if not torch.equal(norm.running_mean, before[name])]
    trained = sum(p.numel() for p in named.values() if p.requires_grad)
    return {
        "declared_frozen": [name for name in frozen if any(is_below(name, prefix) for prefix in declared)],
        "frozen_prefixes": frozen_prefixes(network),
        "frozen_inside": [name for name in frozen if name.rpartition(".")[0] in fed_by_trained],
        "trained_share": trained / sum(p.numel() for p in named.values()),
        "moving_statistics": moving,
    }


def is_below(name: str, prefix: str) -> bool:
    """Return whether the dotted `name` is `prefix` or lies below it."""
    return name == prefix or name.startswith(f"{prefix}.")


def frozen_prefixes(network: nn.Module) -> list[str]:
    """Return the fewest names of modules and parameters that cover exactly the frozen parameters, in their order."""
    prefixes: list[str] = []

    def add(module: nn.Module, name: str) -> None:
        if name and _is_frozen(module):
            prefixes.append(name)
            return
        below = f"{name}." if name else ""
        prefixes.extend(below + key for key, p in module.named_parameters(recurse=False) if not p.requires_grad)
        for key, child in module.named_children():
            if any(True for _ in child.parameters()):
                add(child, below + key)

    add(network, "")
    return prefixes


def _is_frozen(module: nn.Module) -> bool:
    """Return whether `module` has parameters, and none of them is trained."""
    trained = [p.requires_grad for p in module.parameters()]
    return bool(trained) and not any(trained)


def _frozen_norms(network: nn.Module) -> Iterator[tuple[str, Any]]:
    """Yield the batchnorms with running statistics that belong to what is frozen, with their names."""
    modules = dict(network.named_modules())
    for name, norm in modules.items():
        if not isinstance(norm, _NormBase) or norm.running_mean is None:
            continue
        owner = name
        while owner and not any(True for _ in modules[owner].parameters()):
            owner = owner.rpartition(".")[0]
        if _is_frozen(modules[owner]):
            yield name, norm


def _modules_fed_by_trained(network: nn.Module, inputs: Any) -> set[str]:
    """Return the modules with frozen parameters of their own whose inputs depend on trained ones.

    Modules that hold trained parameters beside frozen ones are among them.
    """
    found: set[str] = set()
    hooks = []
    for name, module in network.named_modules():
        own = [p.requires_grad for p in module.parameters(recurse=False)]
        if any(own) and not all(own):
            found.add(name)
        elif own and not any(own):

            def look(_: nn.Module, args: Any, kwargs: Any, name: str = name) -> None:
                if any(isinstance(value, Tensor) and value.requires_grad for value in [*args, *kwargs.values()]):
                    found.add(name)

            hooks.append(module.register_forward_pre_hook(look, with_kwargs=True))
    try:
        with torch.enable_grad():
            network(inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return found
