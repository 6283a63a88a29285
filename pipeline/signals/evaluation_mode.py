"""Measurements of a network's two modes: is evaluation repeatable, and does every module follow `train` and `eval`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd

from pipeline.signals.aten_ops import OperationTracer
from pipeline.signals.restoring import restored, seeded
from pipeline.signals.schema import SanitySignals

RANDOM_OPERATIONS = (
    "native_dropout", "_fused_dropout", "bernoulli", "bernoulli_", "rand", "rand_like", "randn", "randn_like",
    "randint", "randint_like", "randperm", "normal", "normal_", "normal_functional", "uniform", "uniform_",
    "multinomial", "exponential_", "poisson", "rrelu_with_noise", "random_", "log_normal_", "cauchy_", "geometric_",
)  # fmt: skip

MASKS = dict.fromkeys(("native_dropout", "fused_dropout", "bernoulli"), "a dropout mask")
"""Operation -> its name in a message, where ATen's says little."""


def evaluation_signals(network: nn.Module, inputs: Any) -> SanitySignals:
    """Compare passes of `network(inputs)` in evaluation mode, and list the modules that do not follow the mode.

    Returns, of docs/signals.md, `training_in_evaluation`, `evaluation_in_training`, `unused_statistics`,
    `evaluation_spread`, `repeated_spread`, `evaluation_rounding`, `random_operations` and `changed_buffers`. The
    outputs may be a tensor, or tensors in tuples, lists and mappings. Modes, buffers and random states are restored.
    """
    device = next((tensor.device for tensor in iter_outputs(inputs)), torch.device("cpu"))
    with restored(network), torch.no_grad():
        network.train()
        unused = {name for name, module in network.named_modules() if _has_unused_statistics(module)}
        training = _PassTracer(network)
        with seeded(0, device), training.trace(network):
            network(inputs)
        ignoring = {name: m for name, (m, mode) in training.modes.items() if not mode and _takes_part(m)}
        network.eval()
        evaluation = _PassTracer(network)
        signals = _repeatability(network, inputs, evaluation, device)
        still_training = {name: m for name, (m, mode) in evaluation.modes.items() if mode}
    return {
        "training_in_evaluation": _describe(still_training),
        "evaluation_in_training": _describe(ignoring),
        "unused_statistics": _describe({n: m for n, m in ignoring.items() if n in unused or isinstance(m, _DropoutNd)}),
        **signals,
    }


def _repeatability(network: nn.Module, inputs: Any, tracer: _PassTracer, device: torch.device) -> SanitySignals:
    """Compare three passes, of which two have the same random numbers. The network is in evaluation mode."""
    buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
    outputs = []
    for seed in (0, 0, 1):
        with seeded(seed, device), tracer.trace(network):
            outputs.append([tensor.detach() for tensor in iter_outputs(network(inputs))])
    changed = [name for name, buffer in network.named_buffers() if not _is_equal(buffers.get(name), buffer)]
    formats = [tensor.dtype for tensor in outputs[0] if tensor.is_floating_point()]
    return {
        "evaluation_spread": _spread(outputs[0], outputs[2]),
        "repeated_spread": _spread(outputs[0], outputs[1]),
        "evaluation_rounding": max((torch.finfo(dtype).eps for dtype in formats), default=0.0),
        "random_operations": list(dict.fromkeys(tracer.random_operations)),
        "changed_buffers": changed,
    }


def iter_outputs(value: Any) -> Iterator[Tensor]:
    """Yield the tensors of a network's output (or input), also those in tuples, lists and mappings."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from iter_outputs(inner)
    elif isinstance(value, (tuple, list)):
        for inner in value:
            yield from iter_outputs(inner)


def _spread(first: Sequence[Tensor], second: Sequence[Tensor]) -> float:
    """Return the largest difference / the standard deviation of the output, the largest of all outputs."""
    spreads = [0.0]
    for a, b in zip(first, second, strict=False):
        if a.shape != b.shape:
            return float("inf")
        a, b = a.double(), b.double()
        known = a.isfinite() & b.isfinite()
        if bool(known.any()):
            difference = float((a - b)[known].abs().max())
            deviation = float(a[known].std(correction=0))
            size = float(a[known].abs().max())
            scale = deviation if deviation > 1e-6 * size else size  # a constant output has no deviation
            spreads.append(difference / scale if scale else float(difference > 0))
    return max(spreads)


def _is_equal(before: Tensor | None, after: Tensor) -> bool:
    return before is not None and before.shape == after.shape and torch.equal(before, after)


class _PassTracer(OperationTracer):
    """Records the modes in which modules run that depend on them, and the operations that draw random numbers.

    `modes` has a module and its mode by name: as they are before a pass, then as they are in it, since a `forward` may
    set the mode of its submodules.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.modes = {name: (m, m.training) for name, m in network.named_modules() if _follows_mode(m)}
        self.random_operations: list[str] = []

    def on_module_exit(self, module: nn.Module, name: str, output: Any) -> None:
        if name in self.modes and self.modes[name][0] is module:
            self.modes[name] = (module, module.training)

    def on_operation(self, operation: str, args: Sequence[Any], output: Any) -> None:
        draws = operation in RANDOM_OPERATIONS
        if operation in ("native_dropout", "rrelu_with_noise"):
            draws = any(value is True for value in args)  # its flag `training`
        if draws:
            name = MASKS.get(operation.strip("_"), operation.strip("_"))
            self.random_operations.append(f"{name} in {self.module or 'the network'}")


def _follows_mode(module: nn.Module) -> bool:
    """Return whether the forward pass of this module itself depends on its mode."""
    if isinstance(module, _DropoutNd):
        return module.p > 0
    if isinstance(module, _NormBase):
        return module.track_running_stats
    if isinstance(module, (nn.RNNBase, nn.MultiheadAttention)):
        return module.dropout > 0
    if isinstance(module, nn.RReLU):
        return True
    forward = getattr(type(module), "forward", None)
    is_of_torch = type(module).__module__.startswith("torch.nn")
    return not is_of_torch and "training" in getattr(getattr(forward, "__code__", None), "co_names", ())


def _takes_part(module: nn.Module) -> bool:
    """Return whether a module should be in training mode: dropout, and norms whose gamma and beta are not frozen."""
    if isinstance(module, _NormBase):
        parameters = list(module.parameters(recurse=False))
        return any(p.requires_grad for p in parameters) or not parameters
    return isinstance(module, _DropoutNd)


def _has_unused_statistics(module: nn.Module) -> bool:
    """Return whether running statistics are still those of the first moment, so that nothing is normalized."""
    if not isinstance(module, _NormBase) or module.running_mean is None or module.running_var is None:
        return False
    return not bool(module.running_mean.any()) and bool((module.running_var == 1).all())


def _describe(modules: Mapping[str, nn.Module]) -> list[str]:
    return [f"{name or 'the network'} ({type(module).__name__})" for name, module in modules.items()]
