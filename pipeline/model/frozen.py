"""Parts of a network that are frozen on purpose: `model.frozen`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from pipeline.errors import UserError, did_you_mean
from pipeline.model.batchnorm import recompute_batchnorm_statistics


def frozen_names(node: Mapping[str, Any]) -> list[str]:
    """Return the names in `frozen` of a `model` node.

    Empty where the node has none, or another value than a list, which is an argument of the user's own network.
    """
    names = node.get("frozen")
    return list(names) if isinstance(names, (list, tuple)) else []


def freeze(network: nn.Module, names: Sequence[str], batch: Tensor | None = None) -> None:
    """Let the parameters that `names` choose keep their values, and the batchnorms there their running statistics.

    What names choose says `FrozenNames`. A batchnorm is frozen if it, a module around it, or all of its parameters are
    chosen: it then normalizes by its running statistics also in training mode. Where it has not seen any batch, its
    statistics are first computed on the images `batch`, if there are any: a mean of 0 and a variance of 1 would not
    normalize at all. Names and entries of the state dict stay as they are.

    Raises `UserError` naming `frozen` for an unknown name, one without parameters, and where nothing is left to train.
    """
    parameters = dict(network.named_parameters(remove_duplicate=False))
    norms = _norms(network)
    chosen = FrozenNames(names, network)
    for key, parameter in parameters.items():
        if key in chosen:
            parameter.requires_grad_(False)
    if names and not any(parameter.requires_grad for parameter in parameters.values()):
        raise UserError("no parameter is left to train. Leave out the part that should learn.", field="frozen")
    kept = []
    for key, norm in norms.items():
        own = [f"{key}.{part}" for part, _ in norm.named_parameters()]
        if key in chosen or (own and all(part in chosen for part in own)):
            kept.append(norm)
    if batch is not None and any(map(_has_seen_nothing, kept)):
        _estimate_statistics(network, kept, batch)
    for norm in kept:
        _keep_statistics(norm)


def unfreeze(network: nn.Module, frozen: Sequence[str], names: Sequence[str] | None) -> None:
    """Let what `frozen` keeps learn again, where `names` choose it as in `freeze` (None: all of it).

    A batchnorm updates its statistics again if it, a module around it, or all of its parameters are chosen. Raises
    `UserError` naming `unfreeze` for an unknown name, and where `names` choose nothing that is frozen.
    """
    kept = FrozenNames(frozen, network)
    try:
        released = FrozenNames(["*"] if names is None else names, network)
    except UserError as error:
        raise UserError(error.message, field="unfreeze") from error
    chosen = {k: p for k, p in network.named_parameters(remove_duplicate=False) if k in kept and k in released}
    if names and not chosen:
        frozen_now = f"model.frozen is [{', '.join(frozen)}]" if frozen else "model.frozen is empty"
        raise UserError(
            f"[{', '.join(names)}] chooses nothing that is frozen: {frozen_now}. Leave it out to train everything.",
            field="unfreeze",
        )
    for parameter in chosen.values():
        parameter.requires_grad_(True)
    for key, norm in _norms(network).items():
        own = [f"{key}.{part}" for part, _ in norm.named_parameters()]
        if isinstance(norm, _StaysInEvaluation) and (key in released or (own and all(part in chosen for part in own))):
            norm.__class__ = type(norm).__bases__[1]
    network.train()


def frozen_parts(network: nn.Module, names: Sequence[str]) -> list[str]:
    """Return the parameters of `network` that `names` choose."""
    chosen = FrozenNames(names, network)
    return [key for key, _ in network.named_parameters(remove_duplicate=False) if key in chosen]


class FrozenNames:
    """What a list of names chooses: `key in FrozenNames(names, network)`, for parameters and modules.

    A name is that of a submodule or parameter, such as `backbone` or `head.bias`, and stands for all below it. It may
    be a pattern as of a shell: `layer[12]`, `*.bias`. With `!` in front it takes back what the names before it chose;
    a list that begins with one starts from everything, so `[!head]` is all but the head.

    Raises `UserError` naming `frozen` for a name that no parameter is at or below.
    """

    def __init__(self, names: Sequence[str], network: nn.Module):
        self.names = list(names)
        for name in self.names:
            self._check(name, network)

    def __contains__(self, key: str) -> bool:
        chosen = bool(self.names) and self.names[0].startswith("!")
        for name in self.names:
            if _is_at_or_below(key, name.removeprefix("!")):
                chosen = not name.startswith("!")
        return chosen

    def _check(self, name: Any, network: nn.Module) -> None:
        modules = dict(network.named_modules())
        parameters = dict(network.named_parameters(remove_duplicate=False))
        part = name.removeprefix("!") if isinstance(name, str) else name
        if isinstance(name, str) and any(_is_at_or_below(key, part) for key in (*parameters, *_norms(network))):
            return
        options = [key for key in (*modules, *parameters) if key]
        reason = "has no parameters" if part in modules else "is no submodule or parameter of this network"
        closest = did_you_mean(str(part), options)
        known = "" if closest else f" It has {', '.join(key for key, _ in network.named_children())}."
        raise UserError(f"{part!r} {reason}.{closest}{known}", field="frozen")


def _is_at_or_below(key: str, pattern: str) -> bool:
    parts = key.split(".")
    return any(fnmatchcase(".".join(parts[:depth]), pattern) for depth in range(1, len(parts) + 1))


def _norms(network: nn.Module) -> dict[str, Any]:
    """Return the batchnorms with running statistics, by name."""
    return {
        key: module
        for key, module in network.named_modules()
        if isinstance(module, _NormBase) and module.running_mean is not None
    }


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
