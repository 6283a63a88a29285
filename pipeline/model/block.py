"""The hidden block that every network here is built of: linear layer, batch norm, activation, dropout."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from pipeline import validation
from pipeline.errors import UserError
from pipeline.model.activations import channel_multiplier
from pipeline.model.batchnorm import BatchNorm


@dataclass(frozen=True)
class HiddenBlock:
    """linear or convolution -> batch norm -> activation -> dropout, or batch norm after the activation.

    The parts are named `linear`, `batchnorm`, `activation`, `dropout`; those that are off are absent. Between a
    convolution and the rest there can be a `pool`. The linear layer has no bias when batch norm follows, which would
    subtract it again. Before a Maxout of k pieces it has k times the width. `dropout` is the probability of dropping a
    value. Raises `UserError` naming the field.
    """

    activation: Callable[[], nn.Module]
    batchnorm: BatchNorm
    dropout: float

    def __post_init__(self) -> None:
        validation.number(
            "dropout", self.dropout, at_least=0, below=1, hint="It is the probability of dropping a value."
        )
        try:
            builds_module = isinstance(self.activation(), nn.Module)
        except TypeError:  # not callable, or a module that is built already and wants its input
            builds_module = False
        if not builds_module:
            problem = f"{self.activation!r} does not build an nn.Module. Give a class such as torch.nn.ReLU."
            raise UserError(problem, field="activation")

    @property
    def pieces(self) -> int:
        """Channels before the activation for each channel after it: k for a Maxout of k pieces, otherwise 1."""
        return channel_multiplier(self.activation())

    def make_dense(self, fan_in: int, out: int) -> nn.Sequential:
        """(N, fan_in) -> (N, out)."""
        linear = nn.Linear(fan_in, out * self.pieces, bias=not self._normalized_before)
        norm = self.batchnorm.make_1d
        return nn.Sequential(self._linear_half(linear, out, norm) | self._activation_half(out, norm))

    def make_conv(
        self, channels_in: int, channels_out: int, *, kernel: int, stride: int = 1, pool: bool = False
    ) -> nn.Sequential:
        """(N, channels_in, H, W) -> (N, channels_out, ceil(H / stride), ceil(W / stride)), for an odd kernel.

        With `pool` a 2x2 max-pool, named `pool`, follows the convolution directly and halves both sizes, rounding down:
        what comes after has a quarter of the values to work on, and batch norm sees those that reach the activation.
        """
        before = self.make_conv_preactivation(channels_in, channels_out, kernel=kernel, stride=stride)
        linear, *norm = before.named_children()
        pools = [("pool", nn.MaxPool2d(2))] if pool else []
        after = self.make_conv_activation(channels_out).named_children()
        return nn.Sequential(OrderedDict([linear, *pools, *norm, *after]))

    def make_conv_preactivation(
        self, channels_in: int, channels_out: int, *, kernel: int, stride: int
    ) -> nn.Sequential:
        """The first half of `conv`, where a residual sum is taken: it gives pieces * channels_out channels."""
        channels, bias = channels_out * self.pieces, not self._normalized_before
        linear = nn.Conv2d(channels_in, channels, kernel, stride=stride, padding=kernel // 2, bias=bias)
        return nn.Sequential(self._linear_half(linear, channels_out, self.batchnorm.make_2d))

    def make_conv_activation(self, channels: int) -> nn.Sequential:
        """The second half of `conv`: pieces * channels channels -> channels."""
        return nn.Sequential(self._activation_half(channels, self.batchnorm.make_2d))

    @property
    def _normalized_before(self) -> bool:
        return self.batchnorm.position == "before_activation"

    def _linear_half(
        self, linear: nn.Module, out: int, norm: Callable[[int], nn.Module]
    ) -> OrderedDict[str, nn.Module]:
        parts = OrderedDict(linear=linear)
        if self._normalized_before:
            parts["batchnorm"] = norm(out * self.pieces)
        return parts

    def _activation_half(self, out: int, norm: Callable[[int], nn.Module]) -> OrderedDict[str, nn.Module]:
        parts = OrderedDict(activation=self.activation())
        if self.batchnorm.position == "after_activation":
            parts["batchnorm"] = norm(out)
        if self.dropout > 0:
            parts["dropout"] = nn.Dropout(self.dropout)
        return parts
