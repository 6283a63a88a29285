"""Does the output for one example depend on the other examples of the batch, and which operation mixes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.instancenorm import _InstanceNorm

from pipeline.signals.aten_ops import BATCH_NORMS, WEIGHTED, OperationTracer, iter_tensors
from pipeline.signals.restoring import restored, seeded
from pipeline.signals.schema import SanitySignals

SHAPES = {"view": "view", "_unsafe_view": "view", "t": "transpose", "transpose": "transpose", "permute": "permute"}
"""Operations that give values another place, but combine none."""

ALONG_AXES = ("_softmax", "_log_softmax", "mean", "sum", "var", "std", "amax", "amin", "max", "min", "cumsum", "prod")
"""Operations whose second argument is the axis that they combine."""

SOURCE_EXAMPLES = 4
"""Examples of the two passes whose every value is kept, to find the operation."""


def batch_leak(network: nn.Module, inputs: Tensor) -> SanitySignals:
    """Measure on how many other examples the output for one depends, and find what mixes them.

    The network is in evaluation mode, since batch norm mixes examples by design; modes, buffers and gradients are
    restored. `leaking_examples` of `leak_examples` others have an input gradient, of at most `leak_gradient` in
    absolute value; it is that of the outputs for the first or the last example, whichever depends on more of the
    others. Where there are any, `leaking_operation` names the first operation that mixes examples, and
    `leaks_by_design` tells whether that is a batchnorm layer that was built without running statistics.
    """
    inputs = inputs.detach().clone().requires_grad_()
    with restored(network), seeded(0, inputs.device), torch.enable_grad():
        network.eval()
        outputs = network(inputs.clone())  # which a network may change in place
        gradients = [_influence(outputs, inputs, index) for index in (0, len(inputs) - 1)]
        others = max(gradients, key=lambda gradient: int((gradient > 0).sum()))
        signals: SanitySignals = {
            "leaking_examples": int((others > 0).sum()),
            "leak_examples": len(others),
            "leak_gradient": float(others.max()),
        }
        if signals["leaking_examples"]:
            signals |= _find_source(network, inputs[:SOURCE_EXAMPLES].detach())
    return signals


def _influence(outputs: Tensor, inputs: Tensor, index: int) -> Tensor:
    """Return the largest gradient, for each other example, of the outputs for example `index` (weighted at random)."""
    one = outputs[index]
    value = (one * torch.randn(one.shape, generator=torch.Generator().manual_seed(0)).to(one)).sum()
    gradient = None
    if value.requires_grad:
        gradient = torch.autograd.grad(value, inputs, retain_graph=True, allow_unused=True)[0]
    gradient = torch.zeros_like(inputs) if gradient is None else gradient
    return torch.cat([gradient[:index], gradient[index + 1 :]]).flatten(1).abs().amax(1)


def _find_source(network: nn.Module, inputs: Tensor) -> SanitySignals:
    """Change one example, and look for the first operation after which more than a part of the values has changed."""
    changed = inputs.clone()
    changed[1] = 0.9 * changed[1] + 0.1 * inputs.std()
    passes = []
    for images in (inputs, changed):
        tracer = _PassRecorder()
        with torch.no_grad(), seeded(0, inputs.device), tracer.trace(network):
            network(images)
        passes.append(tracer.operations)
    share, shapes = 1.5 / len(inputs), list[str]()
    for before, after in zip(*passes, strict=False):
        spread = _changed_share(before.output, after.output)
        inputs_spread = (_changed_share(a, b) for a, b in zip(before.inputs, after.inputs, strict=False))
        if before.name in SHAPES and spread:
            shapes.append(f"{SHAPES[before.name]} to {tuple(before.output.shape)}")
        if spread > share >= max(inputs_spread, default=0.0):
            by_design = before.name in BATCH_NORMS and before.module in _without_statistics(network)
            return {"leaking_operation": _describe(before, shapes[-2:]), "leaks_by_design": by_design}
    return {}


@dataclass(frozen=True)
class _Operation:
    """An operation of a pass: copies of its arguments, as they were before it, and of its first result."""

    name: str
    module: str
    inputs: list[Tensor]
    axis: Any
    output: Tensor


class _PassRecorder(OperationTracer):
    """Records the operations of a pass."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[_Operation] = []
        self._inputs: list[Tensor] = []

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        tensors = (tensor for tensor in iter_tensors(args) if not isinstance(tensor, nn.Parameter))
        self._inputs = [tensor.clone() for tensor in tensors]  # an operation may change them in place
        return super().__torch_dispatch__(function, types, args, kwargs)

    def on_operation(self, operation: str, args: Sequence[Any], output: Any) -> None:
        first = next(iter_tensors(output), None)
        if first is not None:
            axis = args[1] if len(args) > 1 else None
            self.operations.append(_Operation(operation, self.module, self._inputs, axis, first.clone()))


def _changed_share(before: Tensor, after: Tensor) -> float:
    """Return the share of values that differ between two passes."""
    if before.shape != after.shape or not before.numel():
        return 0.0
    return float((before != after).double().mean())


def _without_statistics(network: nn.Module) -> set[str]:
    """Return the names of batchnorm layers that normalize by the batch in both modes."""
    norms = [(name, m) for name, m in network.named_modules() if isinstance(m, _NormBase)]
    return {name for name, m in norms if not isinstance(m, _InstanceNorm) and m.running_mean is None}


def _describe(operation: _Operation, shapes: Sequence[str]) -> str:
    """Return words such as `softmax over axis 0 in head`; a product mixes what a reshape before it has misplaced."""
    place = f" in {operation.module}" if operation.module else ""
    if operation.name in WEIGHTED and shapes:
        return f"{' and '.join(shapes)} before the weights{place}"
    if operation.name in BATCH_NORMS:
        return f"batch normalization by the batch{place}"
    axis = operation.axis[0] if isinstance(operation.axis, list) and len(operation.axis) == 1 else operation.axis
    along = f" over axis {axis}" if isinstance(axis, int) and operation.name in ALONG_AXES else ""
    return f"{operation.name.strip('_')}{along}{place}"
