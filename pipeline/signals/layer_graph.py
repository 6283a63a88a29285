"""The graph of a network's weight layers, observed in one forward pass: which follow each other, and what ends it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.signals.aten_ops import (
    AVERAGES,
    BATCH_NORMS,
    CONSTRUCTORS,
    LINEAR,
    OUTPUT_OPERATIONS,
    WEIGHTED,
    OperationTracer,
    iter_tensors,
)
from pipeline.signals.schema import SanitySignals


def layer_graph_signals(network: nn.Module, inputs: Tensor) -> SanitySignals:
    """Measure the layer graph of `network` in one pass of `inputs` (N, C, H, W); its mode is not changed.

    Returns `output_operations`, `output_sums_to_one`, `linear_pairs`, `weight_pairs`, `weight_operations`,
    `batchnorm_layers` and `bias_before_batchnorm` of docs/signals.md.
    """
    tracer = _LayerTracer(network)
    with torch.no_grad(), tracer.trace(network):
        tracer.set_inputs(inputs)
        output = network(inputs)
    return {
        "output_operations": tracer.operations_after_last_weights(output),
        "output_sums_to_one": _sums_to_one(output),
        "linear_pairs": tracer.linear_pairs(),
        "weight_pairs": tracer.n_weight_pairs,
        "weight_operations": len(tracer.layers),
        "batchnorm_layers": tracer.n_norms,
        "bias_before_batchnorm": tracer.redundant_biases,
    }


@dataclass(frozen=True)
class _Layer:
    """One multiplication by weights. `is_structured`: grouped or depthwise, so it cannot be an arbitrary matrix."""

    name: str
    fan_in: int
    fan_out: int
    is_structured: bool
    has_bias: bool


@dataclass(frozen=True)
class _State:
    """The history of a value that depends on the input.

    `source` is the number of the input or of the last non-linear result, of which the value is a linear function.
    `linear_in` is the index of the newest layer that it passed since then, or None; `last` that of the last layer at
    all. `operations` are the names of the operations since `last`.
    """

    source: int
    linear_in: int | None
    last: int | None
    operations: tuple[str, ...] = ()


class _LayerTracer(OperationTracer):
    """Follows values from the input to the output by the identity of tensors, all of which it keeps alive meanwhile."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.layers: list[_Layer] = []
        self._pairs: list[tuple[int, int]] = []
        self._used_otherwise: set[int] = set()
        self._n_sources = 0
        self.n_weight_pairs = 0
        self.n_norms = 0
        self.redundant_biases: list[str] = []
        self._states: dict[int, _State] = {}
        self._weights = {id(p): name for name, p in network.named_parameters()}
        self._masks: set[int] = set()
        self._alive: list[Tensor] = list(network.parameters())

    def set_inputs(self, inputs: Tensor) -> None:
        """Begin to follow `inputs`."""
        self._follow(inputs, _State(self._new_source(), None, None))

    def _new_source(self) -> int:
        self._n_sources += 1
        return self._n_sources

    def linear_pairs(self) -> list[list[str]]:
        """Return the names of the pairs of layers that are worth one.

        A first layer whose output also goes elsewhere, past the second one into a shortcut or a non-linear function, is
        needed there.
        """
        return [[self.layers[i].name, self.layers[j].name] for i, j in self._pairs if i not in self._used_otherwise]

    def operations_after_last_weights(self, output: Tensor) -> list[str]:
        """Return the names of the operations between the last weights and `output`."""
        state = self._states.get(id(output))
        return list(state.operations) if state is not None and state.last is not None else []

    def _follow(self, value: Tensor, state: _State) -> None:
        self._alive.append(value)
        self._states[id(value)] = state

    def on_operation(self, operation: str, args: Sequence[Any], output: Any) -> None:
        """Derive the state of the outputs from those of the inputs."""
        inputs, outputs = list(iter_tensors(args)), list(iter_tensors(output))
        states = [self._states[id(t)] for t in inputs if id(t) in self._states]
        weights = [self._weights[id(t)] for t in inputs if id(t) in self._weights]
        if operation == "bernoulli_" or (operation.startswith("div") and id(inputs[0]) in self._masks):
            self._masks.update(id(t) for t in outputs)
            self._alive += outputs
        if operation in CONSTRUCTORS:
            return
        if not states:
            for t in outputs if weights else ():  # a view or a function of a parameter
                self._weights[id(t)] = weights[0]
                self._alive.append(t)
            return
        if operation in WEIGHTED and weights:
            state = self._pass_weights(operation, inputs, outputs[0], weights, states)
        else:
            state = self._combine(operation, inputs, states)
        for t in outputs:
            self._follow(t, state)

    def _pass_weights(
        self, operation: str, inputs: list[Tensor], output: Tensor, weights: list[str], states: list[_State]
    ) -> _State:
        weight = next(t for t in reversed(inputs) if id(t) in self._weights and t.ndim >= 2)
        data = next(t for t in inputs if id(t) in self._states)
        is_convolution = "convolution" in operation
        unit_axis = 1 if is_convolution else -1
        layer = _Layer(
            name=self._weights[id(weight)],
            fan_in=data.shape[unit_axis],
            fan_out=output.shape[unit_axis],
            is_structured=is_convolution and weight.shape[1] != data.shape[1],
            has_bias=len(weights) > 1,
        )
        self.layers.append(layer)
        before = states[0]
        if before.last is not None:
            self.n_weight_pairs += 1
        index = len(self.layers) - 1
        if before.linear_in is not None and _is_redundant(self.layers[before.linear_in], layer):
            self._pairs.append((before.linear_in, index))
        return _State(before.source, index, index)

    def _combine(self, operation: str, inputs: list[Tensor], states: list[_State]) -> _State:
        last = max((s.last for s in states if s.last is not None), default=None)
        newest = next(s for s in states if s.last == last)
        operations = newest.operations
        if operation in BATCH_NORMS:
            self.n_norms += 1
            operations = (*operations, "batch_norm")
            if newest.linear_in is not None and not newest.operations and self.layers[newest.linear_in].has_bias:
                self.redundant_biases.append(self.layers[newest.linear_in].name)
        elif operation.startswith("mul") and any(id(t) in self._masks for t in inputs):
            operations = (*operations, "dropout")
        elif name := OUTPUT_OPERATIONS.get(operation) or OUTPUT_OPERATIONS.get(operation.removesuffix("_")):
            operations = (*operations, name)
        elif operation in AVERAGES:
            operations = (*operations, "average")
        is_product = operation in ("mul", "mul_", "bmm", "matmul", "div", "div_") and len(states) > 1
        # a sum with what passed a non-linear function is no linear map; one of linear maps of the same values is
        is_mixed = len({s.source for s in states}) > 1
        if operation in LINEAR and not is_product and not is_mixed:
            return _State(newest.source, newest.linear_in, last, operations)
        self._used_otherwise.update(s.linear_in for s in states if s.linear_in is not None)
        return _State(self._new_source(), None, last, operations)


def _is_redundant(first: _Layer, second: _Layer) -> bool:
    """Return whether two successive linear maps are worth only one of them.

    They are not when the first is narrow enough to limit the rank (the linear bottleneck of MobileNetV2), or when one
    is structured (depthwise-separable convolutions).
    """
    is_narrow = first.fan_out < min(first.fan_in, second.fan_out)
    return not (is_narrow or first.is_structured or second.is_structured)


def _sums_to_one(output: Tensor) -> bool:
    """Return whether every row of `output` (N, C) is non-negative and sums to one."""
    if output.ndim != 2 or output.shape[1] < 2:
        return False
    rows = output.float()
    return bool((rows >= 0).all()) and bool(((rows.sum(1) - 1).abs() < 1e-3).all())
