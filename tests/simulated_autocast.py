"""Mixed precision on the simulated device: which operators torch.autocast runs in which type, as on a GPU.

The lists are those of CUDA (docs.pytorch.org/docs/stable/amp.html#cuda-op-specific-behavior), without what no
classifier of images calls.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

KEY = "AutocastPrivateUse1"
_KEYS = torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastPrivateUse1)
_REDUCED = (
    "convolution", "conv1d", "conv2d", "conv3d", "prelu", "addmm", "addmv", "addr", "matmul", "einsum", "mm", "mv",
    "linear", "addbmm", "baddbmm", "bmm",
)  # fmt: skip
_FLOAT32 = (
    "acos", "asin", "cosh", "erfinv", "exp", "expm1", "log", "log10", "log2", "log1p", "reciprocal", "rsqrt", "sinh",
    "tan", "pow", "softplus", "layer_norm", "group_norm", "nll_loss", "nll_loss_nd", "kl_div", "l1_loss",
    "smooth_l1_loss", "huber_loss", "mse_loss", "multi_margin_loss", "binary_cross_entropy_with_logits", "dist",
    "renorm", "logsumexp", "prod", "softmax", "log_softmax", "cumprod", "cumsum", "sum", "norm",
)  # fmt: skip
_WIDEST = ("addcdiv", "addcmul", "atan2", "bilinear", "cross", "dot", "grid_sampler", "index_put", "tensordot", "vdot")


def register_autocast(everything: torch.library.Library, aten: torch.library.Library) -> None:
    """Register a kernel for each operator of the lists, and none for the others."""
    everything.fallback(torch.library.fallthrough_kernel, KEY)
    for names, choose_type in ((_REDUCED, _reduced), (_FLOAT32, _float32), (_WIDEST, _widest)):
        for name in names:
            packet = getattr(torch.ops.aten, name)
            for overload in packet.overloads():
                op = getattr(packet, overload)
                if not op._schema.is_mutable:
                    aten.impl(op, functools.partial(_run, op, choose_type), KEY)


def _run(op: Any, choose_type: Any, *args: Any, **kwargs: Any) -> Any:
    """Cast the floating-point tensors among the arguments, and run the operator without autocast."""
    with torch._C._ExcludeDispatchKeyGuard(_KEYS):
        dtype = choose_type([value for value in tree_leaves((args, kwargs)) if _is_cast(value)])
        args, kwargs = tree_map(lambda value: value.to(dtype) if _is_cast(value) else value, (args, kwargs))
        return op(*args, **kwargs)


def _is_cast(value: object) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point() and value.dtype != torch.float64


def _reduced(tensors: list[Tensor]) -> torch.dtype:
    return torch.get_autocast_dtype("simulated")


def _float32(tensors: list[Tensor]) -> torch.dtype:
    return torch.float32


def _widest(tensors: list[Tensor]) -> torch.dtype:
    return functools.reduce(torch.promote_types, (tensor.dtype for tensor in tensors), torch.get_autocast_dtype(KEY))
