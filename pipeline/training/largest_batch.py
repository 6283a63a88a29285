"""Finds the largest batch that fits memory and still makes each example cheaper, by running passes of a network."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from pipeline.data import Images

MIN_SIZE = 16
MIN_SPEEDUP = 1.1
"""Factor in examples per second that doubling the size must bring."""
MEMORY_FRACTION = 0.5
"""Share of the free memory that a pass may need. The rest is for the optimizer, the evaluation and other programs."""
BACKWARD_FACTOR = 3.0
"""A pass needs about this many times the memory of what it saves for its backward half: the saved tensors, their
gradients, and temporary ones."""

MEMINFO, CGROUP = Path("/proc/meminfo"), Path("/sys/fs/cgroup")
"""Where Linux says how much memory is free, and the limits of this process."""

LossOf = Callable[[Tensor, Tensor], Tensor]


def largest_batch(
    network: nn.Module,
    loss_of: LossOf,
    images: Images,
    *,
    device: torch.device,
    is_allowed: Callable[[int], bool],
    processes: int = 1,
) -> int:
    """Return the largest of 16, 32, ... that fits memory and is `MIN_SPEEDUP` times as fast as the allowed size before.

    Returns 0 where no size is allowed. `loss_of(pixels, labels)` is the mean loss of `network`, which is on `device`.
    `processes` share the device's memory. The result depends on the machine and on what else runs there, so that the
    caller must record it.
    """
    parameters = [p for p in network.parameters() if p.requires_grad]
    best_size, best_speed = 0, 0.0
    bytes_per_example = 0.0
    free = free_bytes(device) / processes
    size = MIN_SIZE
    while size <= len(images) and BACKWARD_FACTOR * bytes_per_example * size <= MEMORY_FRACTION * free:
        if is_allowed(size):
            try:
                bytes_per_example, seconds = _measure_pass(loss_of, images, size, device, parameters)
            except torch.OutOfMemoryError:
                break
            if size / seconds < MIN_SPEEDUP * best_speed:
                break
            best_size, best_speed = size, size / seconds
        size *= 2
    return best_size


def _measure_pass(
    loss_of: LossOf, images: Images, size: int, device: torch.device, parameters: list[nn.Parameter]
) -> tuple[float, float]:
    """Return the bytes that a pass saves for its backward half per example, and the seconds of the fastest of five."""
    batch = images.select(torch.arange(size)).to(device)  # a copy, as in a step: of a view all its storage would count
    pixels, labels = batch.pixels, batch.labels
    saved: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        torch.autograd.grad(loss_of(pixels, labels), parameters, allow_unused=True)
    for parameter in parameters:
        saved.pop(parameter.untyped_storage().data_ptr(), None)
    seconds = []
    for _ in range(5):
        _synchronize(device)
        started = time.perf_counter()
        torch.autograd.grad(loss_of(pixels, labels), parameters, allow_unused=True)
        _synchronize(device)
        seconds.append(time.perf_counter() - started)
    return sum(saved.values()) / size, min(seconds)


def free_bytes(device: torch.device) -> float:
    """Return the free memory of `device`; for the CPU within the limit of this process's cgroup."""
    if device.type != "cpu":
        return float(torch.accelerator.get_memory_info(device)[0])
    free = float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    with contextlib.suppress(OSError):  # also counts caches that the system would give up
        lines = MEMINFO.read_text().splitlines()
        free = next(float(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    with contextlib.suppress(OSError, ValueError):  # "max" means no limit
        limit, used = ((CGROUP / name).read_text() for name in ("memory.max", "memory.current"))
        free = min(free, float(int(limit) - int(used)))
    return free


def _synchronize(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
