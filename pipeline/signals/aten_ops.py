"""Tables of torch's operations, and a tracer that sees every operation of a forward pass.

A network that calls `F.relu` in its `forward` has no ReLU module, and a module that is called "softmax" may be none.
Networks are therefore observed at the level of ATen operations, where one computation has one name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.nn.modules import module as hooks
from torch.utils._python_dispatch import TorchDispatchMode

ACTIVATIONS = {
    "relu": "relu", "clamp_min": "relu", "threshold": "relu", "leaky_relu": "leaky_relu",
    "rrelu_with_noise": "leaky_relu", "_prelu_kernel": "prelu", "sigmoid": "sigmoid",
    "tanh": "tanh", "elu": "elu", "gelu": "gelu", "silu": "silu",
    "mish": "mish", "softplus": "softplus", "hardtanh": "hardtanh", "hardsigmoid": "hardsigmoid",
    "hardswish": "hardswish", "_softmax": "softmax", "amax": "maxout",
}  # fmt: skip
"""Operation -> kind of activation."""

RELU_LIKE = ("relu",)
"""Kinds that are exactly 0 for half of all inputs: their units can die."""

BOUNDED = {"sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0), "hardsigmoid": (0.0, 1.0), "softmax": (0.0, 1.0)}
"""Kinds with two bounds, near which no gradient passes."""

OUTPUT_OPERATIONS = {
    "_softmax": "softmax", "_log_softmax": "log_softmax", "relu": "relu", "clamp_min": "relu", "sigmoid": "sigmoid",
    "tanh": "tanh", "leaky_relu": "leaky_relu", "elu": "elu", "gelu": "gelu", "silu": "silu", "softplus": "softplus",
    "hardtanh": "hardtanh", "native_dropout": "dropout",
}  # fmt: skip
"""Operation -> its name in the signal `output_operations`, for operations between the last weights and the output."""

BATCH_NORMS = (
    "native_batch_norm",
    "_native_batch_norm_legit",
    "_batch_norm_with_update",
    "_native_batch_norm_legit_no_training",
    "cudnn_batch_norm",
    "miopen_batch_norm",
)

WEIGHTED = (
    "convolution",
    "_convolution",
    "mkldnn_convolution",
    "addmm",
    "mm",
    "bmm",
    "baddbmm",
    "matmul",
    "linear",
    "mv",
)
"""Operations that multiply by weights when one of their inputs is a parameter."""

LINEAR = (
    "view", "_unsafe_view", "reshape", "t", "transpose", "permute", "expand", "clone", "copy_", "_to_copy",
    "contiguous", "detach", "alias", "as_strided", "select", "slice", "split",
    "split_with_sizes", "unbind", "squeeze", "unsqueeze",
    "cat", "stack", "flip", "index", "index_select", "constant_pad_nd", "avg_pool2d", "_adaptive_avg_pool2d", "mean",
    "sum", "add", "add_", "sub", "sub_", "mul", "mul_", "div", "div_", "neg", "rsub", "upsample_nearest2d", "roll",
    "pixel_shuffle", *BATCH_NORMS,
)  # fmt: skip
"""Operations that are linear (or affine) in each of their inputs; all others count as non-linear."""

AVERAGES = ("mean", "avg_pool2d", "_adaptive_avg_pool2d")

CONSTRUCTORS = ("empty_like", "zeros_like", "ones_like", "full_like", "rand_like", "randn_like", "new_zeros",
                "new_ones", "new_empty", "new_full")  # fmt: skip
"""Operations that take the shape and type of a tensor, but not its values."""


class OperationTracer(TorchDispatchMode):
    """Calls `on_operation` for every operation of the forward passes inside `trace(network)`."""

    def __init__(self) -> None:
        super().__init__()
        self._names: Mapping[nn.Module, str] = {}
        self._running: list[str] = []

    @property
    def module(self) -> str:
        """Dotted name of the innermost module that is running; empty for the network itself."""
        return self._running[-1] if self._running else ""

    @contextmanager
    def trace(self, network: nn.Module) -> Iterator[None]:
        """Observe the forward passes of `network` inside the context."""
        self._names = {module: name for name, module in network.named_modules()}
        self._running = []
        before = hooks.register_module_forward_pre_hook(self._enter)
        after = hooks.register_module_forward_hook(self._leave)
        try:
            with self:
                yield
        finally:
            before.remove()
            after.remove()

    def _enter(self, module: nn.Module, _inputs: Any) -> None:
        self._running.append(self._names.get(module, self.module))

    def _leave(self, module: nn.Module, _inputs: Any, output: Any) -> None:
        if self._running:  # a trace that began inside a module sees only its end
            self.on_module_exit(module, self._running.pop(), output)

    def on_module_exit(self, module: nn.Module, name: str, output: Any) -> None:
        """Handle the end of a module's forward pass; does nothing by default."""

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        output = function(*args, **(kwargs or {}))
        self.on_operation(function.overloadpacket.__name__, args, output)
        return output

    def on_operation(self, operation: str, args: Sequence[Any], output: Any) -> None:
        """Handle an operation that has run; `operation` is ATen's name without namespace, such as `addmm`."""
        raise NotImplementedError


def activation_kind(operation: str, args: Sequence[Any], output: Any) -> str | None:
    """Return the kind of activation that an operation is, or None.

    The arguments decide, too: ATen has one name for a rectifier and for other clamps.
    """
    kind = ACTIVATIONS.get(operation) or ACTIVATIONS.get(operation.removesuffix("_"))
    if kind is None or not isinstance(output, Tensor) or output.ndim < 2 or not output.is_floating_point():
        return None
    if kind == "relu" and operation.startswith(("clamp", "threshold")) and any(a not in (0, 0.0) for a in args[1:]):
        return None
    if kind == "maxout" and next(iter_tensors(args)).ndim != output.ndim + 1:
        return None
    return kind


def iter_tensors(value: Any) -> Iterator[Tensor]:
    """Yield the tensors of arguments or results in order, those of nested lists included."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from iter_tensors(inner)


def unique_namer() -> Callable[[str], str]:
    """Return a function that makes names unique: `a`, `a#2`, `a#3`."""
    counts: dict[str, int] = {}

    def unique(name: str) -> str:
        counts[name] = counts.get(name, 0) + 1
        return name if counts[name] == 1 else f"{name}#{counts[name]}"

    return unique
