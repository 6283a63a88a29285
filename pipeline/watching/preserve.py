"""A context that leaves a model as it was found."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.watching.errors import PreflightError


@contextmanager
def preserved(*modules: nn.Module) -> Iterator[None]:
    """Restore weights, buffers, gradients, `requires_grad`, modes and all random states on leaving the context.

    The values are copied once, on the device that they are on.
    """
    everything = [module for root in modules for module in root.modules()]
    parameters = list(dict.fromkeys(p for root in modules for p in root.parameters()))
    buffers = {id(b): b for root in modules for b in root.buffers()}
    tensors: list[Tensor] = [*parameters, *buffers.values()]
    for tensor in tensors:
        if isinstance(tensor, (nn.UninitializedParameter, nn.UninitializedBuffer)):
            raise PreflightError(
                "a lazy module has no weights yet. Run one batch through the model first.", field="model"
            )
    values = [tensor.detach().clone() for tensor in tensors]
    gradients = [(p, p.grad, None if p.grad is None else p.grad.detach().clone()) for p in parameters]
    trainable = [p.requires_grad for p in parameters]
    modes = [(module, module.training) for module in everything]
    devices = sorted({t.device.index for t in tensors if t.device.type == "cuda" and t.device.index is not None})
    python_state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002 - a model may use the global numbers
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)  # noqa: NPY002 - the same
        with torch.no_grad():
            for tensor, value in zip(tensors, values, strict=True):
                if not torch.equal(tensor, value):  # an equal value keeps the version that autograd knows
                    tensor.copy_(value)
            for parameter, gradient, kept in gradients:
                parameter.grad = gradient
                if gradient is not None and kept is not None:
                    gradient.copy_(kept)
        for parameter, requires_grad in zip(parameters, trainable, strict=True):
            parameter.requires_grad_(requires_grad)
        for module, mode in modes:
            module.training = mode
