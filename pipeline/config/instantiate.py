"""Build objects from configuration nodes with a `_target_`, and decide which targets are allowed.

A configuration may come from anybody, so it may call these exact names only:

- every `_target_` in the package's own conf/, which is as trusted as its code,
- some names of torch that have no option (`_TORCH`),
- the names in the environment variable PIPELINE_ALLOW, separated by commas, and
- those that the file pipeline.allow of the working folder lists of that folder's own modules (`allowed_names`).

Prefixes would allow too much: `torch.` contains `torch.load`, `torch.hub.load` and `torch.utils.cpp_extension.load`.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import re
import sys
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from pipeline import validation
from pipeline.config.allowed_names import ALLOW_FILE, names_in_allow_file
from pipeline.config.options import CONF
from pipeline.config.retired import refuse_renamed_key
from pipeline.errors import UserError, did_you_mean, user_frames

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
    """Return the names that any configuration may call: those in conf/, and those of torch without an option.

    Folders given by `--config-dir` are not read for it.
    """
    files = [path for path in CONF.rglob("*.yaml") if path.relative_to(CONF).parts[0] != "hydra"]
    targets = {target for path in files for target in _TARGET.findall(path.read_text())}
    return frozenset(targets) | {f"{module}.{name}" for module, names in _TORCH.items() for name in names}


def instantiate(node: Mapping[str, Any], path: str) -> Any:
    """Build the object that a configuration node describes.

    Call its `_target_` with its other keys as arguments, after the nodes inside it are built. With `_partial_: true`
    return a `functools.partial` instead of calling. `path` is the dotted path of the node, for errors. This is the only
    place where a name from a configuration becomes code. Raises `UserError` for a target that is not allowed, cannot be
    imported, or does not take an argument; and with the user's own lines where these raise something with arguments.
    """
    validation.mapping(path, node)
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
    try:
        return call_with_path(function, path, **arguments)
    except (UserError, MemoryError):
        raise
    except Exception as error:  # a user's code may raise anything; what is not from it is raised again
        frames = user_frames(error)
        if not arguments or not frames:
            raise
        given = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
        problem = f"{target} with {given} raised {type(error).__name__}: {error}{frames}"
        raise UserError(problem, field=path) from error


def call_with_path(function: Callable[..., Any], path: str, /, *args: Any, **kwargs: Any) -> Any:
    """Return `function(*args, **kwargs)`. A `UserError` from it gets the dotted path of its node before its field."""
    try:
        return function(*args, **kwargs)
    except UserError as error:
        raise error.with_prefix(path) from error


def import_allowed(target: object, field: str) -> Callable[..., Any]:
    """Return the object with the dotted name `target`.

    Raises `UserError` with `field` if the name is missing or not allowed, or cannot be imported.
    """
    if target in (None, "???"):
        raise UserError("give the dotted name of your class or function, such as my_module.MyNet.", field=field)
    if isinstance(target, str) and target in allowed_targets():
        return _import(target, field)
    in_environment = {name.strip() for name in os.environ.get("PIPELINE_ALLOW", "").split(",")} - {""}
    by_user = in_environment | names_in_allow_file()
    if not isinstance(target, str) or target not in by_user:
        raise UserError(
            f"{target!r} is not on the list of what a configuration may call."
            f"{did_you_mean(str(target), allowed_targets() | by_user)} If it is your own code, allow it: "
            f"PIPELINE_ALLOW={target} in the environment, or a line {target} in the file {ALLOW_FILE} of the folder "
            "that you start in.",
            field=field,
        )
    if not {"", str(Path.cwd())} & set(sys.path):
        sys.path.append(str(Path.cwd()))  # where `python -m` looks, and an installed script does not
    if target not in in_environment:
        _check_is_in_folder(target, field)
    return _import(target, field)


def _check_is_in_folder(target: str, field: str) -> None:
    """Raise `UserError` if the module of `target` is not one of the working folder. Nothing is imported."""
    try:
        spec = find_spec(target.partition(".")[0])
    except ValueError:  # as for __main__
        spec = None
    places = [Path(place) for place in spec.submodule_search_locations or [str(spec.origin)]] if spec else []
    if any(not place.is_absolute() or place.resolve().parent != Path.cwd() for place in places):
        raise UserError(
            f"{ALLOW_FILE} allows code of its own folder only, and {target!r} is found elsewhere ({places[0]}).",
            field=field,
        )


def _import(target: str, field: str) -> Callable[..., Any]:
    module_name, _, name = target.rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # a module of the user may raise anything
        missing = isinstance(error, ModuleNotFoundError) and f"{module_name}.".startswith(f"{error.name}.")
        missing = missing or not all(part.isidentifier() for part in f"{module_name}.{name}".split("."))
        hint = ". It must be importable from the folder that you start in, or PYTHONPATH." if missing else ""
        raise UserError(
            f"cannot import {target!r}: {type(error).__name__}: {error}{hint}{user_frames(error)}", field=field
        ) from error
    if not hasattr(module, name):
        public = [other for other in vars(module) if not other.startswith("_")]
        raise UserError(
            f"cannot import {target!r}: {module_name} has no {name!r}.{did_you_mean(name, public)}", field=field
        )
    return getattr(module, name)


def find_submodule(package: str, name: str) -> ModuleType | None:
    """Return the module `name` of one of this program's own packages, or None if the package has no such module."""
    if not package.startswith("pipeline.") or not name.isidentifier() or find_spec(f"{package}.{name}") is None:
        return None
    return importlib.import_module(f"{package}.{name}")


def _instantiate_nested(value: Any, path: str) -> Any:
    if isinstance(value, Mapping):
        if "_target_" in value:
            return instantiate(value, path)
        return {key: _instantiate_nested(inner, f"{path}.{key}") for key, inner in value.items()}
    return value


_signature = functools.lru_cache(maxsize=256)(inspect.signature)
"""`inspect.signature`, cached: it takes 0.3 ms, and every trial of a search needs the same dozen."""


def _check_arguments(function: Callable[..., Any], arguments: Mapping[str, Any], *, path: str, complete: bool) -> None:
    """Raise `UserError` with the key as the user typed it for an unknown argument.

    If `complete`, raise it for a missing one as well.
    """
    if inspect.isabstract(function):
        lacking = ", ".join(sorted(getattr(function, "__abstractmethods__", ())))
        raise UserError(f"{getattr(function, '__name__', function)} must define {lacking}.", field=f"{path}._target_")
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
            refuse_renamed_key(f"{path}.{key}")
            closest = did_you_mean(key, named)
            raise UserError(
                f"{title} takes no such argument.{closest} It takes: {', '.join(named)}.", field=f"{path}.{key}"
            )
    if complete:
        required = [p.name for p in parameters.values() if p.name in named and p.default is p.empty]
        for key in required:
            if key not in arguments:
                raise UserError(f"{title} needs this argument.", field=f"{path}.{key}")
