"""`data.batch_size=auto`: the largest power of two that fits memory and still makes each example cheaper."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from pipeline.data import Images

SMALLEST = 16
MIN_SPEEDUP = 1.1
"""Times more examples a second that a doubling must bring."""
MEMORY_FRACTION = 0.5
"""Of the free memory that a pass may need: the rest is for the optimizer, the evaluation and others."""
BACKWARD_FACTOR = 3.0
"""A pass needs about so many times what it keeps for its backward half: that, its gradients, what comes and goes."""

MEMORY, GROUP = Path("/proc/meminfo"), Path("/sys/fs/cgroup")
"""Where Linux says what is free, and what limits this process."""

Step = Callable[[Tensor, Tensor], Tensor]


def largest_batch(
    network: nn.Module,
    loss_of: Step,
    images: Images,
    *,
    device: torch.device,
    allowed: Callable[[int], bool],
    processes: int = 1,
) -> int:
    """The last of 16, 32, .. that is `allowed`, fits, and brings `GAIN` over the allowed size before it; 0: none.

    `loss_of(pixels, labels)` is the mean loss by `network`, which is on the device; `processes` share its memory. The
    passes are tried out, and so depend on the machine and what else it does: the caller records the result.
    """
    parameters = [p for p in network.parameters() if p.requires_grad]
    best, best_speed = 0, 0.0
    size = SMALLEST
    bytes_each = 0.0
    free = free_bytes(device) / processes
    while size <= len(images) and BACKWARD_FACTOR * bytes_each * size <= MEMORY_FRACTION * free:
        if allowed(size):
            try:
                bytes_each, seconds = _measure_pass(loss_of, images, size, device, parameters)
            except torch.OutOfMemoryError:
                break
            if size / seconds < MIN_SPEEDUP * best_speed:
                break
            best, best_speed = size, size / seconds
        size *= 2
    return best


def _measure_pass(
    loss_of: Step, images: Images, size: int, device: torch.device, parameters: list[nn.Parameter]
) -> tuple[float, float]:
    """Bytes that an example's pass keeps for the backward pass; seconds that a pass over `size` takes undisturbed."""
    batch = images.select(torch.arange(size)).to(device)  # copied, as for a step: what is kept of a view counts whole
    pixels, labels = batch.pixels, batch.labels
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        torch.autograd.grad(loss_of(pixels, labels), parameters, allow_unused=True)
    for parameter in parameters:
        kept.pop(parameter.untyped_storage().data_ptr(), None)
    seconds = []
    for _ in range(5):
        _synchronize(device)
        started = time.perf_counter()
        torch.autograd.grad(loss_of(pixels, labels), parameters, allow_unused=True)
        _synchronize(device)
        seconds.append(time.perf_counter() - started)
    return sum(kept.values()) / size, min(seconds)


def free_bytes(device: torch.device) -> float:
    """Memory that is free on the device; for the processor also within the limit of this process's cgroup."""
    if device.type != "cpu":
        return float(torch.accelerator.get_memory_info(device)[0])
    free = float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    with contextlib.suppress(OSError):  # counts what the system would give up as free
        lines = MEMORY.read_text().splitlines()
        free = next(float(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    with contextlib.suppress(OSError, ValueError):  # "max" is no limit
        limit, used = ((GROUP / name).read_text() for name in ("memory.max", "memory.current"))
        free = min(free, float(int(limit) - int(used)))
    return free


def _synchronize(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
