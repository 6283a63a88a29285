"""Explains an error for want of memory: what needed it, what there is, and the overrides that need less."""

from __future__ import annotations

import contextlib
import gc
import re
import sysconfig
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from pipeline.data import Splits
from pipeline.data.shuffle import EVALUATION_BATCH, evaluation_batch
from pipeline.errors import UserError
from pipeline.training.device import DeviceConfig
from pipeline.training.device_memory import AllocatorMemory, HostMemory, memory_of
from pipeline.training.memory_overrides import MemoryUse, suggest_overrides

_HOST, _DEVICE = "DefaultCPUAllocator", ("out of memory", "_ALLOC_FAILED")
"""What a `RuntimeError` of torch says where the host's memory ran out; where that of a device or its libraries did."""
_REQUESTED = re.compile(r"allocate ([\d.]+) ?([KMGTPE]iB|bytes)")
_FREE = re.compile(r"of which ([\d.]+ \w+) is free")
EVALUATING_FUNCTIONS = ("score", "member_probabilities")
"""The functions that evaluate in passes of a fixed size, wherever they are called."""
_PACKAGE = Path(__file__).parents[1]
_LIBRARIES = {Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")}


class OutOfMemory(UserError):
    """The run needs more memory than there is. The message has the sizes and the overrides that help."""


@contextmanager
def explain_out_of_memory(
    config: Mapping[str, Any], *, stage: str | None = None, data: Splits | None = None, is_trial: bool = False
) -> Iterator[None]:
    """Raise `OutOfMemory` in the place of an error for want of memory, however deep in the block it arose.

    `config` is the whole configuration, `stage` what runs (None while the run is built), and `data` what it runs on. A
    trial of a search shares the memory with others. What the block had allocated is released, also for whoever keeps
    the error.
    """
    try:
        yield
    except OutOfMemory:
        raise
    except Exception as error:  # a library may have wrapped the one for want of memory; others pass unchanged
        chain = find_out_of_memory(error)
        if not chain:
            raise
        message = f"out of memory: {chain[-1]}"
        with contextlib.suppress(Exception):  # whatever goes wrong with little memory left must not hide the error
            message = _describe(chain, config, stage, data, is_trial)
        _release(chain, config)
        raise OutOfMemory(message) from error


def find_out_of_memory(error: BaseException) -> list[BaseException]:
    """Return `error` and the errors that it was raised from, down to one for want of memory; [] if there is none."""
    chain = [error]
    while not _is_out_of_memory(chain[-1]):
        cause = chain[-1].__cause__
        if cause is None or any(cause is error for error in chain):  # an error may be raised from itself
            return []
        chain.append(cause)
    return chain


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in (_HOST, *_DEVICE))


def _describe(
    chain: list[BaseException], config: Mapping[str, Any], stage: str | None, data: Splits | None, is_trial: bool
) -> str:
    device_config = DeviceConfig(**config["trainer"])
    is_of_host = isinstance(chain[-1], MemoryError) or _HOST in str(chain[-1])
    memory = HostMemory() if is_of_host else memory_of(device_config.device)
    frames = [frame for error in chain for frame, _ in traceback.walk_tb(error.__traceback__)]
    use = MemoryUse(
        config,
        device_config,
        data,
        stage,
        is_evaluation=stage == "evaluate" or any(f.f_code.co_name in EVALUATING_FUNCTIONS for f in frames),
        is_trial=is_trial,
        is_computing_memory=not is_of_host or device_config.kind == "cpu",
        total=memory.total(),
    )
    doing = f"in the stage {stage}" if stage else "while the run was built"
    lines = [
        f"out of memory {doing}{_place(chain[-1])}.",
        f"  memory   {_describe_memory(chain[-1], memory)}",
        *_describe_sizes(use, frames),
    ]
    suggestions = suggest_overrides(use)
    width = max((len(overrides) for overrides, _ in suggestions), default=0)
    advice = [f"{overrides:{width}}  {effect}" for overrides, effect in suggestions]
    advice = advice or ["a smaller network, smaller images, or a machine with more memory"]
    lines += [f"  {'' if number else 'try':8} {line}" for number, line in enumerate(advice)]
    return "\n".join(lines)


def _describe_memory(error: BaseException, memory: HostMemory | AllocatorMemory) -> str:
    """Say what was asked for, and what there is. torch's message knows what was free at that moment."""
    text = str(error)
    requested, free = _REQUESTED.search(text), _FREE.search(text)
    size = "more"
    if requested:
        number, unit = float(requested[1]), requested[2]
        size = format_size(number) if unit == "bytes" else f"{number:g} {unit}"
    owner, peak = "this machine", memory.peak()
    if isinstance(memory, AllocatorMemory):
        owner, peak = f"the device ({memory.device})", memory.peak_reserved()
    return (
        f"{size} was asked for; {owner} has {format_size(memory.total())}, of which this process used "
        f"{format_size(peak)} at most, and {free[1] if free else format_size(memory.free())} is free"
    )


def _describe_sizes(use: MemoryUse, frames: list[FrameType]) -> Iterator[str]:
    """Yield lines on the passes, the network and the images, as far as they are known."""
    if use.stage is not None:
        size = evaluation_batch(use.data.input_shape) if use.data else EVALUATION_BATCH
        fixed = f"{size} examples where the network is evaluated, whatever data.batch_size is"
        yield f"  passes   {fixed if use.is_evaluation else f'{use.examples} examples ({use.examples_key})'}"
    parameters, size = _largest_network(frames)
    if parameters:
        network = f"{parameters:,} parameters, {format_size(size)}"
        yield f"  network  {network}; their gradients and the optimizer's state take up to 3 times that"
    if use.data is not None:
        shape, n = "x".join(map(str, use.data.input_shape)), len(use.data.train) + len(use.data.val)
        yield f"  images   {n:,} of {shape} for training and validation, {format_size(use.image_bytes)}"


def _largest_network(frames: list[FrameType]) -> tuple[int, int]:
    """Return the number and the bytes of the parameters of the largest module that the functions had at hand."""
    variables = {id(value): value for value in gc.get_referents(*frames)}  # `f_locals` would keep a copy of them
    modules = [value for value in variables.values() if isinstance(value, nn.Module) and "_parameters" in vars(value)]
    networks = [[p for p in module.parameters() if not is_lazy(p)] for module in modules]
    sizes = [(sum(p.numel() for p in each), sum(p.numel() * p.element_size() for p in each)) for each in networks]
    return max(sizes, default=(0, 0))


def _place(error: BaseException) -> str:
    """Return, in brackets, the line of the user's code that asked for the memory, else the line of this package's."""
    places = {}
    for frame in traceback.extract_tb(error.__traceback__):
        path = Path(frame.filename)
        is_own = _PACKAGE in path.parents
        if is_own or not (_LIBRARIES & set(path.parents) or frame.filename.startswith("<")):
            places[is_own] = f" ({path.name}:{frame.lineno})"
    return places.get(False) or places.get(True, "")


def _release(chain: list[BaseException], config: Mapping[str, Any]) -> None:
    """Let go of what the functions had allocated: an error holds their variables, and a next run needs the memory."""
    for error in chain:
        traceback.clear_frames(error.__traceback__)
    gc.collect()
    with contextlib.suppress(Exception):
        memory_of(DeviceConfig(**config["trainer"]).device).release_cache()


def format_size(size: float) -> str:
    """Return a number of bytes in words: 1.5 GiB."""
    for unit in ("bytes", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.{0 if unit == 'bytes' else 1}f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"
