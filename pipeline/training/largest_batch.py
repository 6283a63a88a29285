"""Finds the largest batch that fits memory and still makes each example cheaper, by running passes of a network."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from pipeline.data import Images
from pipeline.training.device_memory import AllocatorMemory, HostMemory, memory_of

MIN_SIZE = 16
MIN_SPEEDUP = 1.1
"""Factor in examples per second that doubling the size must bring."""
MEMORY_FRACTION = 0.5
"""Share of the memory that a pass may need. The rest is for the optimizer, the evaluation and other programs on the
CPU; on a GPU for the memory that a captured step (a CUDA graph) has of its own, as much as the pass."""
BACKWARD_FACTOR = 3.0
"""On the CPU a pass needs about this many times the memory of what it saves for its backward half: the saved tensors,
their gradients, and temporary ones."""
OPTIMIZER_FACTOR = 2
"""Values that an optimizer keeps for each parameter, at most: Adam's two moments."""

LossOf = Callable[[Tensor, Tensor], Tensor]
RunPass = Callable[[], object]


def largest_batch(
    network: nn.Module,
    loss_of: LossOf,
    images: Images,
    *,
    device: torch.device,
    is_allowed: Callable[[int], bool],
    processes: int = 1,
    resident_bytes: int = 0,
    evaluation_size: int = 0,
) -> int:
    """Return the largest of 16, 32, ... that fits memory and is `MIN_SPEEDUP` times as fast as the allowed size before.

    Returns 0 where no size is allowed. `loss_of(pixels, labels)` is the mean loss of `network`, which is on `device`.
    `processes` share the CPU's memory. On a GPU there must also be room for images of `resident_bytes`, and for a pass
    without gradients over `evaluation_size` examples. The result depends on the machine and on what else runs there,
    so that the caller must record it. Raises `torch.OutOfMemoryError` where the smallest size is too large.
    """
    parameters = [p for p in network.parameters() if p.requires_grad]
    memory = memory_of(device)
    if isinstance(memory, HostMemory):
        return _search(_HostNeed(memory, parameters, processes), loss_of, images, device, is_allowed, parameters)
    try:
        need = _DeviceNeed(memory, parameters, resident_bytes)
        if evaluation_size:
            need.leave_room_for(lambda: _evaluate(loss_of, images, min(evaluation_size, len(images)), device))
        return _search(need, loss_of, images, device, is_allowed, parameters)
    finally:  # the blocks of these sizes do not fit those of the training
        memory.release_cache()


def _search(
    need: _MemoryNeed,
    loss_of: LossOf,
    images: Images,
    device: torch.device,
    is_allowed: Callable[[int], bool],
    parameters: Sequence[nn.Parameter],
) -> int:
    """Double the size while it pays and the next one is expected to fit."""
    best_size, best_speed = 0, 0.0
    bytes_per_example = 0.0
    size = MIN_SIZE
    while size <= len(images) and bytes_per_example * size <= need.room:
        if is_allowed(size):
            try:
                measured, seconds = _measure_pass(need, loss_of, images, size, device, parameters)
            except torch.OutOfMemoryError:
                if not best_size:
                    raise
                break
            bytes_per_example = measured / size
            if size / seconds < MIN_SPEEDUP * best_speed:
                break
            best_size, best_speed = size, size / seconds
        size *= 2
    return best_size


def _measure_pass(
    need: _MemoryNeed,
    loss_of: LossOf,
    images: Images,
    size: int,
    device: torch.device,
    parameters: Sequence[nn.Parameter],
) -> tuple[float, float]:
    """Return the bytes that a pass over `size` examples needs, and the seconds of the fastest of five."""

    def run_pass() -> object:
        return torch.autograd.grad(loss_of(cast(Tensor, batch.pixels), batch.labels), parameters, allow_unused=True)

    batch = _first(images, size, device)
    measured = need.measure(run_pass)
    seconds = []
    for _ in range(5):
        _synchronize(device)
        started = time.perf_counter()
        run_pass()
        _synchronize(device)
        seconds.append(time.perf_counter() - started)
    return measured, min(seconds)


class _MemoryNeed(ABC):
    """Interface: the bytes that a pass needs, of the `room` that there is for it."""

    room: float

    @abstractmethod
    def measure(self, run_pass: RunPass) -> float:
        """Run the pass, and return the bytes that it needs."""


class _HostNeed(_MemoryNeed):
    """On the CPU nothing counts what a pass allocates. It is estimated by what the pass saves for its backward half."""

    def __init__(self, memory: HostMemory, parameters: Sequence[nn.Parameter], processes: int):
        self.room = MEMORY_FRACTION * (memory.free() / processes)
        self._parameters = parameters

    def measure(self, run_pass: RunPass) -> float:
        saved: dict[int, int] = {}

        def note(tensor: Tensor) -> Tensor:
            saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            run_pass()
        for parameter in self._parameters:
            saved.pop(parameter.untyped_storage().data_ptr(), None)
        return BACKWARD_FACTOR * sum(saved.values())


class _DeviceNeed(_MemoryNeed):
    """On a GPU torch's allocator says how much more than before was allocated at most."""

    def __init__(self, memory: AllocatorMemory, parameters: Sequence[nn.Parameter], resident_bytes: int):
        self._memory = memory
        free = memory.free()
        state = OPTIMIZER_FACTOR * sum(p.numel() * p.element_size() for p in parameters)
        resident = min(resident_bytes, free / 2)  # more is left in the host's memory
        self.room = MEMORY_FRACTION * (free - state - resident)

    def leave_room_for(self, run_pass: RunPass) -> None:
        """Run another kind of pass, and leave out of the room what it needs."""
        self.room -= MEMORY_FRACTION * self.measure(run_pass)

    def measure(self, run_pass: RunPass) -> float:
        before = self._memory.allocated()
        self._memory.reset_peak()
        run_pass()
        return float(self._memory.peak() - before)


def _evaluate(loss_of: LossOf, images: Images, size: int, device: torch.device) -> None:
    batch = _first(images, size, device)
    with torch.no_grad():
        loss_of(cast(Tensor, batch.pixels), batch.labels)


def _first(images: Images, size: int, device: torch.device) -> Images:
    """Return a copy of the first images, as in a step: of a view all its storage would count."""
    return images.select(torch.arange(size)).to(device)


def _synchronize(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
