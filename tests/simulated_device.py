"""A second device in pure Python, so that a mix of devices fails on a machine without a GPU, too.

Its tensors are torch's own, of the device `simulated`, and lie in the memory of the host. Every operator runs on the
CPU, and refuses tensors of two devices where it does so on a GPU. The device has draws of its own, as a GPU has. It
does not compute in the background and has no streams, and nothing on it is faster.

`register()` is for good, and must come before the first backward pass of a process, since torch then starts a thread
for each device that it knows. Other tests would see a machine with an accelerator afterwards. Tests of this device
therefore run in a process of their own (tests/device).
"""

from __future__ import annotations

import collections
import functools
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

from tests.simulated_autocast import register_autocast
from tests.simulated_operators import NAME, WITHOUT_FALLBACK, on_device, run_operator

__all__ = ["NAME", "SimulatedModule", "register"]


class SimulatedModule:
    """What `torch.simulated` is, as `torch.cuda` is for a GPU."""

    def __init__(self) -> None:
        self.default_generators = (torch.Generator(),)
        self.calls: collections.Counter[str] = collections.Counter()
        """How often each operator has run on the device."""
        self.total_memory, self.free_memory = 4 * 2**30, 3 * 2**30
        """Bytes that the device says it has. Nothing is counted: its tensors lie in the memory of the host."""
        self.memory = {name: {"current": 2**26, "peak": 2**27} for name in ("allocated", "reserved")}
        self.libraries = torch.library.Library("_", "IMPL"), torch.library.Library("aten", "IMPL")
        """What is registered with a library ends with it."""

    def is_available(self) -> bool:
        return True

    is_initialized = is_available

    def device_count(self) -> int:
        return 1

    def current_device(self) -> int:
        return 0

    def _is_in_bad_fork(self) -> bool:
        return False

    def synchronize(self, device: Any = None) -> None:
        """Wait for nothing: every operator has ended when it returns."""

    def manual_seed(self, seed: int) -> None:
        self.default_generators[0].manual_seed(seed)

    manual_seed_all = manual_seed

    def get_rng_state(self, device: Any = None) -> Tensor:
        return self.default_generators[0].get_state()

    def set_rng_state(self, state: Tensor, device: Any = None) -> None:
        self.default_generators[0].set_state(state)

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]


@functools.cache
def register() -> SimulatedModule:
    """Let torch know the device, and return its module. Further calls return the same."""
    module = SimulatedModule()
    _setup_privateuseone_for_python_backend(NAME, backend_module=module)
    everything, aten = module.libraries
    run = functools.partial(run_operator, module.default_generators[0], module.calls)
    everything.fallback(run, "PrivateUse1")
    for name in WITHOUT_FALLBACK:
        aten.impl(name, functools.partial(run, getattr(torch.ops.aten, name).default), "PrivateUse1")
    register_autocast(everything, aten)
    _replace_what_needs_cpp(module)
    try:
        torch.zeros(1, device=NAME, requires_grad=True).sum().backward()
    except RuntimeError as error:
        raise RuntimeError("The device was registered after a backward pass. Run its tests by themselves.") from error
    return module


def _replace_what_needs_cpp(module: SimulatedModule) -> None:
    """Do in Python what torch does by classes in C++ that a device in Python cannot have: allocators and streams."""
    torch.UntypedStorage.clone = _clone_storage  # type: ignore[method-assign]
    torch.UntypedStorage.to = _move_storage  # type: ignore[method-assign]
    torch.Tensor.pin_memory = lambda self, device=None: self.clone()  # type: ignore[method-assign]
    torch.accelerator.synchronize = lambda device=None: None
    for name, function in {
        "isAllocatorInitialized": lambda: True,
        "getDeviceStats": lambda index: {f"{kind}_bytes": {"all": sizes} for kind, sizes in module.memory.items()},
        "getMemoryInfo": lambda index: (module.free_memory, module.total_memory),
        "resetPeakStats": lambda index: None,
        "emptyCache": lambda: None,
    }.items():
        setattr(torch._C, f"_accelerator_{name}", function)
    torch.__future__.set_swap_module_params_on_conversion(True)  # `module.to` keeps its parameters, as on a GPU
    torch.utils.swap_tensors = functools.partial(_swap_tensors, torch.utils.swap_tensors)


def _swap_tensors(swap: Callable[[Tensor, Tensor], None], one: Tensor, other: Tensor) -> None:
    """Swap two tensors, or leave them while an error is handled whose traceback holds their graph: it counts more."""
    is_handling = sys.exc_info()[0] is not None
    try:
        swap(one, other)
    except RuntimeError:
        if not is_handling:
            raise


def _clone_storage(storage: torch.UntypedStorage) -> torch.UntypedStorage:
    """Return a copy on the same device; for `copy.deepcopy`."""
    return _move_storage(torch.UntypedStorage(storage.nbytes()).copy_(storage), device=storage.device)


def _move_storage(
    storage: torch.UntypedStorage, *, device: torch.device | str, non_blocking: bool = False
) -> torch.UntypedStorage:
    """Return the storage on `device`, in the same memory where that is possible; for `torch.load`."""
    if torch.device(device).type == storage.device.type:
        return storage
    if torch.device(device).type == NAME:
        return on_device(torch.empty(0, dtype=torch.uint8).set_(storage)).untyped_storage()
    return torch.UntypedStorage(storage.nbytes()).copy_(storage)
