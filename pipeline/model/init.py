"""Weight initialization. A rule is a function `rule(weight, *, fan_in, fan_out, gain, generator)` that fills `weight`.

`weight` is (out, in) or (out, in, H, W). `fan_in` = in H W inputs reach one output, `fan_out` = out H W outputs are
reached by one input. `gain` undoes what the activation does to the mean square (`activations.gain`). Every random
number comes from `generator`. A rule takes all of these and uses what it needs; its own options come as a partial.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipeline import validation
from pipeline.errors import UserError
from pipeline.model import activations
from pipeline.model.batchnorm import batch_statistics_mode

Rule = Callable[..., None]
_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def zeros(weight: Tensor, *, fan_in: int, fan_out: int, gain: float, generator: torch.Generator) -> None:
    """Fill with 0: all units compute the same and get the same gradient."""
    weight.zero_()


def gaussian(weight: Tensor, *, std: float, fan_in: int, fan_out: int, gain: float, generator: torch.Generator) -> None:
    """Fill with std * randn, whatever the fans. Raises `UserError` unless `std` is finite and at least 0."""
    weight.normal_(0, validation.number("std", std, at_least=0), generator=generator)


def xavier(weight: Tensor, *, fan_in: int, fan_out: int, gain: float, generator: torch.Generator) -> None:
    """Fill with randn / sqrt(fan_in), which keeps the variance through a linear activation."""
    weight.normal_(0, 1 / math.sqrt(fan_in), generator=generator)


def he(weight: Tensor, *, fan_in: int, fan_out: int, gain: float, generator: torch.Generator) -> None:
    """Fill with randn / sqrt(fan_in / 2), since ReLU halves the mean square (He et al. 2015, eq. 10)."""
    weight.normal_(0, 1 / math.sqrt(fan_in / 2), generator=generator)


def glorot_normal(weight: Tensor, *, fan_in: int, fan_out: int, gain: float, generator: torch.Generator) -> None:
    """Fill with gain * sqrt(2 / (fan_in + fan_out)) * randn (Glorot & Bengio 2010, eq. 12)."""
    weight.normal_(0, gain * math.sqrt(2 / (fan_in + fan_out)), generator=generator)


def glorot_uniform(weight: Tensor, *, fan_in: int, fan_out: int, gain: float, generator: torch.Generator) -> None:
    """Fill uniformly in +-gain * sqrt(6 / (fan_in + fan_out)) (Glorot & Bengio 2010, eq. 16): the same variance."""
    bound = gain * math.sqrt(6 / (fan_in + fan_out))
    weight.uniform_(-bound, bound, generator=generator)


def orthogonal(weight: Tensor, *, fan_in: int, fan_out: int, gain: float, generator: torch.Generator) -> None:
    """Fill with gain * Q, Q (out, rest): its rows, or its columns if fewer, are orthonormal (Saxe et al. 2014)."""
    nn.init.orthogonal_(weight, gain, generator=generator)


def lsuv(network: nn.Module, layers: Sequence[nn.Module], init_batch: Tensor) -> None:
    """Scale the weight of each layer so that its output on `init_batch` has variance 1 (Mishkin & Matas 2016).

    The variance is over all elements of the layer's output, before any batch norm. Layers are scaled in forward order,
    each after those before it. The paper iterates to a tolerance; as an output with a constant bias scales with its
    weight, one division is exact. A layer whose output does not vary is not changed. Batch norm normalizes by the
    batch and dropout is off; modes and running statistics are restored.
    """
    scaled: set[nn.Module] = set()

    def scale(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        std = output.std(correction=0)
        if layer in scaled or not (torch.isfinite(std) and std > 0):
            return output
        scaled.add(layer)  # a layer used twice is scaled for its first use
        layer.weight.div_(std)  # type: ignore[operator]
        return layer.forward(*inputs)

    hooks = [layer.register_forward_hook(scale) for layer in layers]
    try:
        with batch_statistics_mode(network):
            network(init_batch)
    finally:
        for hook in hooks:
            hook.remove()


@dataclass(frozen=True)
class Init:
    """Initial weights and biases of a network.

    `weight` is the rule for hidden weights and `bias` the value of hidden biases. The bias of the output layer is 0 and
    its weights are output_scale * randn / sqrt(fan_in), so that the first logits are small; with `output_scale` None
    they follow `weight`. `gain` None stands for the gain of the activation.
    `data_dependent_step(network, layers, init_batch)`, such as `lsuv`, corrects the drawn weights on data.
    Raises `UserError` naming the field.
    """

    weight: Rule
    bias: float
    output_scale: float | None
    gain: float | None
    data_dependent_step: Callable[[nn.Module, Sequence[nn.Module], Tensor], None] | None = None

    def __post_init__(self) -> None:
        if not callable(self.weight):
            raise UserError(
                f"{self.weight!r} is not a rule. To choose one, use its option: init={self.weight}.", field="weight"
            )
        validation.number("bias", self.bias)
        if self.output_scale is not None:
            validation.number("output_scale", self.output_scale, at_least=0)
        if self.gain is not None:
            validation.number("gain", self.gain, above=0)


def initialize(
    network: nn.Module,
    init: Init,
    *,
    activation: Callable[[], nn.Module],
    output: nn.Module | None,
    seed: int,
    init_batch: Tensor | None,
) -> None:
    """Draw the weights of every linear and convolutional layer of `network`, in place, and set the biases.

    `output` is the last linear layer; with None all layers are hidden. `init_batch` (N, C, H, W) is the batch for
    `init.data_dependent_step`. Each piece of a Maxout layer is drawn as a layer of its own. Norm layers, other
    parameters and frozen ones are not changed. The same `seed` gives the same bits on every device, and torch's global
    generator is not changed.

    Raises `UserError` for an option of the rule, and `ValueError` when `init_batch` is needed and missing.
    """
    generator = torch.Generator().manual_seed(seed)
    gain = activations.gain(activation) if init.gain is None else init.gain
    pieces = activations.channel_multiplier(activation())
    layers = [module for module in network.modules() if isinstance(module, _LAYERS)]
    layers = [layer for layer in layers if layer.weight.requires_grad]
    with torch.no_grad():
        for layer in layers:
            is_output = layer is output
            output_scale = init.output_scale if is_output else None
            try:
                _draw(layer, init.weight, output_scale, 1 if is_output else pieces, gain, generator)
            except UserError as error:  # an option of the rule
                raise error.with_prefix("weight") from error
            if layer.bias is not None:
                layer.bias.fill_(0 if is_output else init.bias)
    if init.data_dependent_step is not None:
        if init_batch is None:
            raise ValueError("this init corrects the weights on data: it needs `init_batch`")
        scaled = [layer for layer in layers if layer is not output or init.output_scale is None]
        init.data_dependent_step(network, scaled, init_batch)


def _draw(
    layer: nn.Module, rule: Rule, output_scale: float | None, pieces: int, gain: float, generator: torch.Generator
) -> None:
    """Fill the weight of `layer`, drawn on the CPU in float32: neither device nor precision changes the draw."""
    weight = torch.empty(layer.weight.shape)  # type: ignore[arg-type]
    groups = getattr(layer, "groups", 1)
    for piece in weight.chunk(pieces):  # Maxout is piece-major
        fan_in, fan_out = piece[0].numel(), piece.shape[0] * piece[0, 0].numel() // groups
        if output_scale is None:
            rule(piece, fan_in=fan_in, fan_out=max(fan_out, 1), gain=gain, generator=generator)
        else:
            piece.normal_(0, output_scale / math.sqrt(fan_in), generator=generator)
    layer.weight.copy_(weight)  # type: ignore[operator]
