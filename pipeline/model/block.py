"""The hidden block of the built-in networks: linear layer, batch norm, activation, dropout."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from pipeline import validation
from pipeline.errors import UserError
from pipeline.model.activations import channel_multiplier
from pipeline.model.batchnorm import BatchNorm


@dataclass(frozen=True)
class HiddenBlock:
    """linear or convolution -> batch norm -> activation -> dropout, or batch norm after the activation.

    The modules are named `linear`, `batchnorm`, `activation`, `dropout`; those that are off are absent. A convolution
    may be followed by a `pool`. The linear layer has no bias when batch norm follows, which would subtract it again.
    Before a Maxout of k pieces it has k times the width. `dropout` is the probability of dropping a value.
    Raises `UserError` naming the field.
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

    def make_dense(self, fan_in: int, fan_out: int) -> nn.Sequential:
        """Build a block (N, fan_in) -> (N, fan_out)."""
        linear = nn.Linear(fan_in, fan_out * self.pieces, bias=not self._normalizes_before)
        norm = self.batchnorm.make_1d
        return nn.Sequential(self._linear_half(linear, fan_out, norm) | self._activation_half(fan_out, norm))

    def make_conv(
        self, channels_in: int, channels_out: int, *, kernel: int, stride: int = 1, pool: bool = False
    ) -> nn.Sequential:
        """Build a block (N, channels_in, H, W) -> (N, channels_out, ceil(H / stride), ceil(W / stride)).

        `kernel` is odd. With `pool`, a 2x2 max pooling named `pool` follows the convolution directly and halves both
        sizes, rounding down. The modules after it then process a quarter of the values, and batch norm normalizes the
        values that reach the activation.
        """
        before = self.make_conv_preactivation(channels_in, channels_out, kernel=kernel, stride=stride)
        linear, *norm = before.named_children()
        pools = [("pool", nn.MaxPool2d(2))] if pool else []
        after = self.make_conv_activation(channels_out).named_children()
        return nn.Sequential(OrderedDict([linear, *pools, *norm, *after]))

    def make_conv_preactivation(
        self, channels_in: int, channels_out: int, *, kernel: int, stride: int
    ) -> nn.Sequential:
        """Build the first half of `make_conv`, which gives pieces * channels_out channels.

        Between the halves a residual network adds its shortcut.
        """
        channels, bias = channels_out * self.pieces, not self._normalizes_before
        linear = nn.Conv2d(channels_in, channels, kernel, stride=stride, padding=kernel // 2, bias=bias)
        return nn.Sequential(self._linear_half(linear, channels_out, self.batchnorm.make_2d))

    def make_conv_activation(self, channels: int) -> nn.Sequential:
        """Build the second half of `make_conv`: pieces * channels channels -> channels."""
        return nn.Sequential(self._activation_half(channels, self.batchnorm.make_2d))

    @property
    def _normalizes_before(self) -> bool:
        return self.batchnorm.position == "before_activation"

    def _linear_half(
        self, linear: nn.Module, channels: int, norm: Callable[[int], nn.Module]
    ) -> OrderedDict[str, nn.Module]:
        modules = OrderedDict(linear=linear)
        if self._normalizes_before:
            modules["batchnorm"] = norm(channels * self.pieces)
        return modules

    def _activation_half(self, channels: int, norm: Callable[[int], nn.Module]) -> OrderedDict[str, nn.Module]:
        modules = OrderedDict(activation=self.activation())
        if self.batchnorm.position == "after_activation":
            modules["batchnorm"] = norm(channels)
        if self.dropout > 0:
            modules["dropout"] = nn.Dropout(self.dropout)
        return modules


class ObservedBlock(HiddenBlock):
    """A hidden block that knows whether anything has been built with it: `is_used`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "is_used", False)

    def __getattribute__(self, name: str) -> Any:
        if name in ("activation", "batchnorm", "dropout"):
            object.__setattr__(self, "is_used", True)
        return super().__getattribute__(name)
