"""Turn configuration nodes with a `_target_` into objects, and decide which targets are allowed.

A configuration may come from anybody, so it may call exact names only:

- every `_target_` in the package's own `conf/`, which is as trusted as its code,
- a short list of torch's names that have no option of their own, and
- names in the environment variable PIPELINE_ALLOW, separated by commas.

Prefixes are not enough: `torch.` alone contains `torch.load`, `torch.hub.load` and `torch.utils.cpp_extension.load`.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import re
from collections.abc import Callable, Mapping
from typing import Any

from pipeline.config.options import CONF
from pipeline.errors import UserError, did_you_mean

_TORCH = {
    "torch.nn": ("Hardswish", "Mish", "Softplus", "Softsign", "CELU", "ReLU6", "RReLU", "Hardtanh", "Identity"),
    "torch.optim": ("NAdam", "RAdam", "Adamax", "Adadelta", "ASGD"),
    "torch.optim.lr_scheduler": ("MultiStepLR", "CosineAnnealingWarmRestarts", "LinearLR", "PolynomialLR", "CyclicLR"),
    "torchvision.datasets": ("KMNIST",),
}
"""Names that a user may set as `_target_` although no option of `conf/` does."""

_TARGET = re.compile(r"_target_: *([A-Za-z_][\w.]*)")


@functools.cache
def allowed_targets() -> frozenset[str]:
    """Return the names that any configuration may call: those of `conf/`, and torch's without an option.

    Folders given by `--config-dir` are not read for it.
    """
    files = [path for path in CONF.rglob("*.yaml") if path.relative_to(CONF).parts[0] != "hydra"]
    targets = {target for path in files for target in _TARGET.findall(path.read_text())}
    return frozenset(targets) | {f"{module}.{name}" for module, names in _TORCH.items() for name in names}


def instantiate(node: Mapping[str, Any], path: str) -> Any:
    """Build what a configuration node describes: call its `_target_` with its other keys, inner nodes first.

    With `_partial_: true` the call is only prepared (`functools.partial`). `path` is the node's place in the
    configuration, for errors. This is the only place where a name from a configuration becomes code.
    Raises `UserError` for a target that is not allowed, cannot be imported, or does not take an argument.
    """
    if not isinstance(node, Mapping):
        raise UserError(f"{node!r} stands where a whole node with a _target_ belongs.", field=path)
    arguments = {
        key: _instantiate_nested(value, f"{path}.{key}")
        for key, value in node.items()
        if key not in ("_target_", "_partial_")
    }
    target = node.get("_target_")
    function = import_allowed(target, f"{path}._target_")
    partial = bool(node.get("_partial_", False))
    _check_arguments(function, arguments, path=path, complete=not partial)
    if partial:
        return functools.partial(function, **arguments)
    return call_with_path(function, path, **arguments)


def call_with_path(function: Callable[..., Any], path: str, /, *args: Any, **kwargs: Any) -> Any:
    """function(*args, **kwargs), with the field of a `UserError` seen from the whole configuration."""
    try:
        return function(*args, **kwargs)
    except UserError as error:
        raise error.with_prefix(path) from error


def import_allowed(target: object, field: str) -> Callable[..., Any]:
    """The object behind an allowed dotted name."""
    if target in (None, "???"):
        raise UserError("give the dotted name of your class or function, such as my_module.MyNet.", field=field)
    yours = frozenset(name.strip() for name in os.environ.get("PIPELINE_ALLOW", "").split(",") if name.strip())
    if not isinstance(target, str) or target not in allowed_targets() | yours:
        meant = did_you_mean(str(target), allowed_targets() | yours)
        raise UserError(
            f"{target!r} is not on the list of what a configuration may call.{meant} "
            f"If it is your own code, allow it: PIPELINE_ALLOW={target} in the environment.",
            field=field,
        )
    module, _, name = str(target).rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise UserError(
            f"cannot import {target!r} ({error}). It must be importable from the folder you start in, or PYTHONPATH.",
            field=field,
        ) from error
    return found


def _instantiate_nested(value: Any, path: str) -> Any:
    if isinstance(value, Mapping):
        if "_target_" in value:
            return instantiate(value, path)
        return {key: _instantiate_nested(inner, f"{path}.{key}") for key, inner in value.items()}
    return value


_signature = functools.lru_cache(maxsize=256)(inspect.signature)
"""Reading one takes 0.3 ms, and every trial of a search asks for the same dozen."""


def _check_arguments(function: Callable[..., Any], arguments: Mapping[str, Any], *, path: str, complete: bool) -> None:
    """Unknown arguments are named as the user typed them, instead of Python's TypeError."""
    try:
        parameters = _signature(function).parameters
    except (TypeError, ValueError):
        return
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return
    named = [p.name for p in parameters.values() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    title = getattr(function, "__qualname__", repr(function))
    for key in arguments:
        if key not in named:
            meant = did_you_mean(key, named)
            raise UserError(
                f"{title} takes no such argument.{meant} It takes: {', '.join(named)}.", field=f"{path}.{key}"
            )
    if complete:
        needed = [p.name for p in parameters.values() if p.name in named and p.default is p.empty]
        for key in needed:
            if key not in arguments:
                raise UserError(f"{title} needs this argument.", field=f"{path}.{key}")
