"""How a network is put together, seen from one forward pass: which weights follow which, and what ends it."""

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
    SQUASHING,
    WEIGHTED,
    OperationTracer,
    tensors,
)


def layer_graph_signals(network: nn.Module, inputs: Tensor) -> dict[str, Any]:
    """`output_operations`, `output_sums_to_one`, `linear_pairs`, `weight_pairs`, `batchnorm_layers`,
    `bias_before_batchnorm` of docs/signals.md, from one pass of `inputs` (N, C, H, W) in the mode the network is in."""
    watch = _LayerTracer(network)
    with torch.no_grad(), watch.trace(network):
        watch.begin(inputs)
        output = network(inputs)
    words = watch.operations_after_last_weights(output)
    return {
        "output_operations": words,
        "output_sums_to_one": _sums_to_one(output),
        "linear_pairs": [list(pair) for pair in watch.pairs],
        "weight_pairs": watch.neighbours,
        "weight_operations": len(watch.layers),
        "batchnorm_layers": watch.norms,
        "bias_before_batchnorm": watch.wasted_biases,
    }


@dataclass(frozen=True)
class _Layer:
    name: str
    fan_in: int
    fan_out: int
    structured: bool
    """Grouped or depthwise: its map has not the full freedom of a matrix."""
    has_bias: bool


@dataclass(frozen=True)
class _State:
    """What is known of a value that depends on the input."""

    layer: int | None
    """The weights of which it is a linear function, with nothing else since; None where something was."""
    last: int | None
    """The weights that it passed last, whatever came since."""
    words: tuple[str, ...] = ()
    """What happened since `last`."""


class _LayerTracer(OperationTracer):
    """Follows values from the input to the output by the identity of tensors, all of which it keeps alive meanwhile."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.layers: list[_Layer] = []
        self.pairs: list[tuple[str, str]] = []
        self.neighbours = 0
        self.norms = 0
        self.wasted_biases: list[str] = []
        self._states: dict[int, _State] = {}
        self._weights = {id(p): name for name, p in network.named_parameters()}
        self._masks: set[int] = set()
        self._kept: list[Tensor] = list(network.parameters())

    def begin(self, inputs: Tensor) -> None:
        self._keep(inputs, _State(None, None))

    def operations_after_last_weights(self, output: Tensor) -> list[str]:
        state = self._states.get(id(output))
        return list(state.words) if state is not None and state.last is not None else []

    def _keep(self, value: Tensor, state: _State) -> None:
        self._kept.append(value)
        self._states[id(value)] = state

    def on_operation(self, operation: str, args: Sequence[Any], output: Any) -> None:
        inputs, outputs = list(tensors(args)), list(tensors(output))
        states = [self._states[id(t)] for t in inputs if id(t) in self._states]
        weights = [self._weights[id(t)] for t in inputs if id(t) in self._weights]
        if operation == "bernoulli_" or (operation.startswith("div") and id(inputs[0]) in self._masks):
            self._masks.update(id(t) for t in outputs)
            self._kept += outputs
        if operation in CONSTRUCTORS:  # takes an example of a tensor, not its values
            return
        if not states:
            for t in outputs if weights else ():  # a view or a function of a parameter
                self._weights[id(t)] = weights[0]
                self._kept.append(t)
            return
        if operation in WEIGHTED and weights:
            state = self._pass_weights(operation, inputs, outputs[0], weights, states)
        else:
            state = self._combine(operation, inputs, states)
        for t in outputs:
            self._keep(t, state)

    def _pass_weights(
        self, operation: str, inputs: list[Tensor], output: Tensor, weights: list[str], states: list[_State]
    ) -> _State:
        weight = next(t for t in reversed(inputs) if id(t) in self._weights and t.ndim >= 2)
        data = next(t for t in inputs if id(t) in self._states)
        convolution = "convolution" in operation
        fan_out = output.shape[1] if convolution else output.shape[-1]
        fan_in = data.shape[1] if convolution else data.shape[-1]
        layer = _Layer(
            name=self._weights[id(weight)],
            fan_in=fan_in,
            fan_out=fan_out,
            structured=convolution and weight.shape[1] != data.shape[1],
            has_bias=len(weights) > 1,
        )
        self.layers.append(layer)
        before = states[0]
        if before.last is not None:
            self.neighbours += 1
        if before.layer is not None and _redundant(self.layers[before.layer], layer):
            self.pairs.append((self.layers[before.layer].name, layer.name))
        index = len(self.layers) - 1
        return _State(index, index)

    def _combine(self, operation: str, inputs: list[Tensor], states: list[_State]) -> _State:
        last = max((s.last for s in states if s.last is not None), default=None)
        newest = next(s for s in states if s.last == last)
        words = newest.words
        if operation in BATCH_NORMS:
            self.norms += 1
            words = (*words, "batch_norm")
            if newest.layer is not None and not newest.words and self.layers[newest.layer].has_bias:
                self.wasted_biases.append(self.layers[newest.layer].name)
        elif operation.startswith("mul") and any(id(t) in self._masks for t in inputs):
            words = (*words, "dropout")
        elif word := SQUASHING.get(operation) or SQUASHING.get(operation.removesuffix("_")):
            words = (*words, word)
        elif operation in AVERAGES:
            words = (*words, "average")
        product = operation in ("mul", "mul_", "bmm", "matmul", "div", "div_") and len(states) > 1
        mixed = (
            len({s.layer for s in states}) > 1
        )  # a sum of a layer's values and of others is no map of that layer alone
        linear = operation in LINEAR and not product and not mixed
        return _State(newest.layer if linear else None, last, words)


def _redundant(first: _Layer, second: _Layer) -> bool:
    """Two linear maps in a row are worth one of them, unless the first is narrow enough to limit the rank (the linear
    bottleneck of MobileNetV2) or one is structured (depthwise-separable convolutions)."""
    narrow = first.fan_out < min(first.fan_in, second.fan_out)
    return not (narrow or first.structured or second.structured)


def _sums_to_one(output: Tensor) -> bool:
    if output.ndim != 2 or output.shape[1] < 2:
        return False
    rows = output.float()
    return bool((rows >= 0).all()) and bool(((rows.sum(1) - 1).abs() < 1e-3).all())
