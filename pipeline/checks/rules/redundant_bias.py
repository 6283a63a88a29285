from __future__ import annotations

from dataclasses import dataclass

from pipeline.checks.finding import Finding
from pipeline.checks.rule import Rule
from pipeline.errors import list_names
from pipeline.signals.schema import Signals


@dataclass(frozen=True)
class RedundantBias(Rule):
    """Anti-pattern: a bias right before batch normalization, which subtracts it again with the mean.

    Fires when a weight layer that batchnorm follows directly has a bias. It is `info`: the bias costs memory and does
    no harm.
    """

    check = "redundant_bias"
    reads = ("bias_before_batchnorm",)
    severities = ("info",)
    why = "The mean that batchnorm subtracts contains the bias, so it gets no gradient; batchnorm's beta replaces it."
    source = "Ioffe & Szegedy 2015, Batch Normalization, section 3.2"
    advice = "Leave out the bias of a layer that batchnorm follows."
    code = "layer = nn.Conv2d(channels_in, channels_out, 3, bias=False)"

    def __call__(self, signals: Signals) -> Finding | None:
        layers = signals.get("bias_before_batchnorm")
        if not layers:
            return None
        return self.finding(
            "info",
            measured={"layers": float(len(layers))},
            expected="bias=False in layers that batchnorm follows",
            message=f"{len(layers)} layer{'s have' if len(layers) > 1 else ' has'} a bias that the next batchnorm "
            f"subtracts again: {list_names(layers)}.",
            where=layers[0],
            step=0,
        )
