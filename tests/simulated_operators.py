"""How an operator runs on the simulated device: on the CPU, in the same memory, unless an argument is elsewhere."""

from __future__ import annotations

import collections
import contextlib
import ctypes
import functools
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

NAME = "simulated"
_CPU, _SIMULATED = 1, 12
"""Numbers of DLPack: kDLCPU, and kDLExtDev, a device that a library defines."""
_CPU_KERNEL = torch._C.DispatchKeySet(torch._C.DispatchKey.CPU)
_VIEWS = ("as_strided", "view", "_reshape_alias", "unfold", "set_")
"""Operators that return another view of a storage. Those of the CPU never look at the device."""
_OTHER_KERNELS = {
    "convolution_overrideable": torch.ops.aten.convolution.default,
    "convolution_backward_overrideable": torch.ops.aten.convolution_backward.default,
}
WITHOUT_FALLBACK = (*_OTHER_KERNELS, "_to_copy")
"""Operators for which torch has kernels of any device that do not work here: errors, and a copy to pinned memory."""

_get_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_get_pointer.restype, _get_pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]


def is_simulated(value: object) -> bool:
    """Return whether `value` is a tensor of the device."""
    return isinstance(value, Tensor) and value.device.type == NAME


def on_host(value: Any) -> Any:
    """Return a tensor of the CPU in the same memory. What is no tensor of the device is returned as it is."""
    return _relabel(value, _CPU) if is_simulated(value) else value


def on_device(value: Any) -> Any:
    """Return a tensor of the device in the same memory, or a list of them. Anything else is returned as it is."""
    if isinstance(value, list):
        return [on_device(item) for item in value]
    return _relabel(value, _SIMULATED) if isinstance(value, Tensor) else value


def _relabel(tensor: Tensor, device: int) -> Tensor:
    """Return a tensor in the same memory on another device: in a DLTensor that comes after the pointer to the data."""
    capsule = torch._C._to_dlpack(tensor)  # type: ignore[attr-defined]
    ctypes.c_int32.from_address(_get_pointer(capsule, b"dltensor") + ctypes.sizeof(ctypes.c_void_p)).value = device
    return torch._C._from_dlpack(capsule)  # type: ignore[attr-defined]


class _Operator:
    """What the schema of an operator says about its arguments and results."""

    def __init__(self, op: Any):
        self.name = op._schema.name.removeprefix("aten::")
        self.kernel = _OTHER_KERNELS.get(self.name, op)
        self.arguments = [argument.name for argument in op._schema.arguments]
        self.written = [a.name for a in op._schema.arguments if a.alias_info and a.alias_info.is_write]
        self.returns_written = [result.alias_info is not None for result in op._schema.returns]
        self.takes_tensors = {a.name for a in op._schema.arguments if str(a.type) == "Tensor"}
        self.takes_numbers = torch.Tag.pointwise in op.tags
        self.draws = torch.Tag.nondeterministic_seeded in op.tags
        self.takes_host_index = self.name in ("index", "_index_put_impl_")


_operator = functools.cache(_Operator)


def run_operator(
    generator: torch.Generator, calls: collections.Counter[str], op: Any, /, *args: Any, **kwargs: Any
) -> Any:
    """Run an operator of the device, count it in `calls`, and let it draw from `generator`."""
    known = _operator(op)
    calls[known.name] += 1
    if known.name in _VIEWS:
        return op.redispatch(_CPU_KERNEL, *args, **kwargs)
    if known.name == "_copy_from":  # this and the next are the ways from device to device
        on_host(args[1]).copy_(on_host(args[0]))
        return args[1]
    if known.name == "_to_copy":
        copy = op(on_host(args[0]), **(kwargs | {"device": None, "non_blocking": False}))
        return copy if kwargs.get("device") == torch.device("cpu") else on_device(copy)
    given = dict(zip(known.arguments, args, strict=False)) | kwargs
    host = {name: _to_host(known, name, value) for name, value in given.items()}
    if known.name == "convolution_backward_overrideable":
        host["bias_sizes"] = [args[0].shape[1]]
    with _draws_from(generator, given.get("generator")) if known.draws else contextlib.nullcontext():
        result = known.kernel(**host)
    for name in known.written:
        if isinstance(given.get(name), Tensor) and not given[name].numel():  # it may have got elements
            given[name].data = on_device(host[name])
    return _results_on_device(known, result, [given[name] for name in known.written if name in given])


def _to_host(known: _Operator, name: str, value: Any) -> Any:
    """Return an argument for the CPU. Raises what a GPU raises where it is a tensor of the CPU already.

    A single number may be, for an operator that works on each element, and the index of `tensor[index]`.
    """
    if isinstance(value, (list, tuple)):
        return [_to_host(known, name, item) for item in value]
    if isinstance(value, torch.device):
        return torch.device("cpu")
    if not isinstance(value, Tensor):
        # a kernel that writes into `out` takes no number for a tensor; a float would be rounded in another way
        return torch.tensor(value) if type(value) is int and name in known.takes_tensors else value
    if is_simulated(value):  # memory that has another owner cannot grow
        return on_host(value) if value.numel() else torch.empty_like(on_host(value))
    if (known.takes_numbers and value.ndim == 0) or (known.takes_host_index and name == "indices"):
        return value
    raise RuntimeError(
        f"Expected all tensors to be on the same device, but found at least two devices, {NAME}:0 and {value.device}! "
        f"(when checking argument {name} of {known.name})"
    )


@contextlib.contextmanager
def _draws_from(generator: torch.Generator, given: torch.Generator | None) -> Iterator[None]:
    """Let operators of the CPU draw from the generator of the device, and leave that of the CPU as it was."""
    if given is not None and given._cdata != generator._cdata:  # type: ignore[attr-defined]
        raise RuntimeError(f"Expected a {NAME!r} device type for generator but found {str(given.device)!r}")
    if given is not None:
        yield
        return
    before = torch.default_generator.get_state()
    torch.default_generator.set_state(generator.get_state())
    try:
        yield
    finally:
        generator.set_state(torch.default_generator.get_state())
        torch.default_generator.set_state(before)


def _results_on_device(known: _Operator, result: Any, written: list[Any]) -> Any:
    """Return the results of the CPU on the device, and tensors that were written into themselves."""
    results, remaining = result if isinstance(result, tuple) else (result,), iter(written)
    values = [
        next(remaining) if is_written else on_device(value)
        for is_written, value in zip(known.returns_written, results, strict=False)
    ]
    return tuple(values) if len(values) > 1 else values[0] if values else None
