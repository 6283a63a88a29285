"""Names for tensors that a module holds where PyTorch does not look: in lists, dictionaries, plain objects, closures.

`nn.Module` registers parameters and submodules that are its own attributes. What lies deeper has no name there, so the
name is the path through the attributes: `blocks[0].weight`.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

MAX_DEPTH = 8
"""Steps of a path; beyond that an object is part of some library, not a place for layers."""
_REGISTRIES = frozenset(vars(nn.Module()))
"""Attributes that every module has, where it keeps what is registered, and its hooks."""


def tensor_paths(root: Any, name: str = "") -> dict[int, str]:
    """Return the shortest found path of each tensor that can be reached from `root`, by the tensor's `id`.

    `name` stands before all paths. Registered parameters and buffers have the names that PyTorch gives them. Besides
    modules, these are looked into: containers, attributes of objects and classes, closures, partials, and the global
    variables that a function names; objects of libraries are not.
    """
    paths: dict[int, str] = {}
    for path, tensor in find_tensors(root, name):
        paths.setdefault(id(tensor), path)
    return paths


def find_tensors(root: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yield the path and the tensor wherever one is found, as `tensor_paths` describes; short paths come first."""
    seen: dict[int, Any] = {}  # with the objects, so that no id is given twice
    waiting: list[tuple[str, Any]] = [(name, root)]
    for _ in range(MAX_DEPTH):
        found: list[tuple[str, Any]] = []
        for path, value in waiting:
            if isinstance(value, Tensor):
                yield path, value
            elif id(value) not in seen:
                seen[id(value)] = value
                found += _parts(path, value)
        waiting = found


def _parts(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the parts of `value` with their paths, those first whose names PyTorch knows."""
    if isinstance(value, nn.Module):
        yield from _parts_of_module(path, value)
    elif isinstance(value, dict):
        yield from ((f"{path}[{key!r}]", part) for key, part in list(value.items()))
    elif isinstance(value, (list, tuple, set, frozenset)):
        yield from ((f"{path}[{index}]", part) for index, part in enumerate(value))
    elif isinstance(value, functools.partial):
        yield from ((path, value.func), (path, value.args), (path, value.keywords))
    elif isinstance(value, types.MethodType):
        yield from ((path, value.__self__), (path, value.__func__))
    elif isinstance(value, types.FunctionType):
        yield from ((f"{path}.{name}".lstrip("."), part) for name, part in _variables(value))
    elif hasattr(value, "__dict__") and not isinstance(value, (type, types.ModuleType)) and not _is_library(value):
        yield from ((f"{path}.{name}".lstrip("."), part) for name, part in list(vars(value).items()))


def _parts_of_module(path: str, module: nn.Module) -> Iterator[tuple[str, Any]]:
    """Yield what is registered under `module` at once, and then whatever each of its modules holds besides."""
    prefix = f"{path}." if path else ""
    for named in (module.named_parameters(), module.named_buffers()):
        yield from ((prefix + name, tensor) for name, tensor in named)
    for name, inner in module.named_modules():
        below = prefix + (f"{name}." if name else "")
        own = {key: part for key, part in vars(inner).items() if key not in _REGISTRIES}
        kinds = [] if _is_library(inner) else type(inner).__mro__[: type(inner).__mro__.index(nn.Module)]
        inherited = {key: part for kind in reversed(kinds) for key, part in vars(kind).items() if key[:2] != "__"}
        for key, part in (inherited | own).items():
            is_view = isinstance(part, nn.Module) and part._modules is inner._modules
            if not isinstance(part, (types.FunctionType, types.MethodType)):
                yield below[:-1] if is_view else below + key, part
            else:  # its variables are named as in the code, without the method
                yield below[:-1], part


def _variables(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    """Yield names and values of a function's closure, defaults, and the global variables that may hold layers."""
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        if name != "__class__":
            with_value = [cell.cell_contents] if _has_contents(cell) else []
            yield from ((name, part) for part in with_value)
    yield from ((name, part) for name, part in (function.__kwdefaults__ or {}).items())
    yield from (("defaults", part) for part in function.__defaults__ or ())
    for name in function.__code__.co_names:
        part = function.__globals__.get(name)
        if isinstance(part, (Tensor, nn.Module, list, dict, tuple)):
            yield name, part


def _has_contents(cell: types.CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - an empty cell raises
    except ValueError:
        return False
    return True


def _is_library(value: Any) -> bool:
    """Return whether the class of `value` is one of torch's own, which hold no layers of users where nobody looks."""
    return type(value).__module__.partition(".")[0] in ("torch", "torchvision", "builtins", "numpy")
