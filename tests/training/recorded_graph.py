"""A capture for machines without a GPU: records the operations of a function, and replays them on the same memory.

Like a CUDA graph it runs no Python at a replay, so a number that Python computed stays what it was, hooks are not
called, and a value that is read back cannot be captured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

READS = {torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default}


class _RefuseReads(TorchDispatchMode):
    """Raises an error like torch's where a value is read back from the device."""

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if operation in READS:
            raise RuntimeError("called a synchronizing operation")
        return operation(*args, **(kwargs or {}))


class _Record(_RefuseReads):
    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, dict[str, Any], list[tuple[int, Tensor]]]] = []

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = super().__torch_dispatch__(operation, types, args, kwargs)
        inputs = {memory(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        fresh = [
            (number, leaf)
            for number, leaf in enumerate(tree_leaves(output))
            if isinstance(leaf, Tensor) and memory(leaf) not in inputs
        ]
        self.calls.append((operation, args, kwargs or {}, fresh))
        return output


def memory(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


class RecordingCapturer:
    """Stands in for `CudaCapturer`."""

    def __init__(self) -> None:
        self.captures = 0
        self.replays = 0

    @contextmanager
    def warm_up(self, *, strict: bool) -> Iterator[None]:
        if not strict:
            yield
            return
        with _RefuseReads():
            yield

    def capture(self, function: Callable[[], None]) -> Callable[[], None]:
        self.captures += 1
        with _Record() as record:
            function()
        with torch.no_grad():
            for *_, fresh in record.calls:  # a capture computes nothing: what was made is undefined until a replay
                for _, tensor in fresh:
                    if tensor.is_floating_point():
                        tensor.fill_(torch.nan)

        def replay() -> None:
            self.replays += 1
            with torch.no_grad(), torch.autocast("cpu", enabled=False):
                for operation, args, kwargs, fresh in record.calls:
                    output = tree_leaves(operation(*args, **kwargs))
                    for number, tensor in fresh:
                        tensor.copy_(output[number])

        return replay
