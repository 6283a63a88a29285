"""Parts of a network that are frozen on purpose: `model.frozen`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from pipeline.errors import UserError, did_you_mean
from pipeline.model.batchnorm import recompute_batchnorm_statistics
from pipeline.signals.frozen import is_below


def frozen_names(node: Mapping[str, Any]) -> list[str]:
    """Return the names in `frozen` of a `model` node.

    Empty where the node has none, or another value than a list, which is an argument of the user's own network.
    """
    names = node.get("frozen")
    return list(names) if isinstance(names, (list, tuple)) else []


def freeze(network: nn.Module, names: Sequence[str], batch: Tensor | None = None) -> None:
    """Let the parameters at and below `names` keep their values, and the batchnorms there their running statistics.

    A name is that of a submodule or parameter of `network`, such as `backbone` or `head.bias`. A batchnorm is frozen if
    it, a module around it, or all of its parameters are named: it then normalizes by its running statistics also
    in training mode. Where it has not seen any batch, its statistics are first computed on the images `batch`, if
    there are any: a mean of 0 and a variance of 1 would not normalize at all. Names and entries of the state dict stay
    as they are.

    Raises `UserError` naming `frozen` for an unknown name, one without parameters, and where nothing is left to train.
    """
    modules = dict(network.named_modules())
    parameters = dict(network.named_parameters(remove_duplicate=False))
    norms = {key: m for key, m in modules.items() if isinstance(m, _NormBase) and m.running_mean is not None}
    for name in names:
        if not isinstance(name, str) or not any(is_below(key, name) for key in (*parameters, *norms)):
            options = [key for key in (*modules, *parameters) if key]
            reason = "has no parameters" if name in modules else "is no submodule or parameter of this network"
            closest = did_you_mean(str(name), options)
            known = "" if closest else f" It has {', '.join(key for key, _ in network.named_children())}."
            raise UserError(f"{name!r} {reason}.{closest}{known}", field="frozen")

    def is_frozen(key: str) -> bool:
        return any(is_below(key, name) for name in names)

    for key, parameter in parameters.items():
        if is_frozen(key):
            parameter.requires_grad_(False)
    if names and not any(parameter.requires_grad for parameter in parameters.values()):
        raise UserError("no parameter is left to train. Leave out the part that should learn.", field="frozen")
    kept = []
    for key, norm in norms.items():
        own = [f"{key}.{part}" for part, _ in norm.named_parameters()]
        if is_frozen(key) or (own and all(map(is_frozen, own))):
            kept.append(norm)
    if batch is not None and any(map(_has_seen_nothing, kept)):
        _estimate_statistics(network, kept, batch)
    for norm in kept:
        _keep_statistics(norm)


def _has_seen_nothing(norm: Any) -> bool:
    return not norm.running_mean.any() and bool((norm.running_var == 1).all())


def _estimate_statistics(network: nn.Module, kept: Sequence[nn.Module], batch: Tensor) -> None:
    """Compute the running statistics of those of `kept` that have seen nothing, on `batch`; others stay."""
    new = [norm for norm in kept if _has_seen_nothing(norm)]
    others = [module for module in network.modules() if isinstance(module, _NormBase) and module not in new]
    buffers = [(buffer, buffer.clone()) for norm in others for buffer in norm.buffers()]
    recompute_batchnorm_statistics(network, [batch])
    for buffer, value in buffers:
        buffer.copy_(value)


def _keep_statistics(norm: nn.Module) -> None:
    """Let `norm` stay in evaluation mode.

    Its class changes to one that refuses training mode. A hook or another `train` of the instance would be lost, or
    stay with the original, when a network is copied; and a hook would change the mode inside compiled code.
    """
    kind = type(norm)
    if not issubclass(kind, _StaysInEvaluation):
        norm.__class__ = type(f"Frozen{kind.__name__}", (_StaysInEvaluation, kind), {"__module__": __name__})
    norm.eval()


class _StaysInEvaluation(nn.Module):
    """The part of a frozen batchnorm's class that keeps it in evaluation mode."""

    def train(self, mode: bool = True) -> _StaysInEvaluation:
        """Stay in evaluation mode, whatever the network around it does."""
        return super().train(False)
