from __future__ import annotations

from dataclasses import dataclass

from pipeline.checks.finding import Finding
from pipeline.checks.rule import Rule
from pipeline.errors import list_names
from pipeline.signals.schema import Signals


@dataclass(frozen=True)
class IgnoredOptions(Rule):
    """Anti-pattern: an option that is recorded with the run and has no effect, since the network does not ask for it.

    Fires when the command sets the activation, the batchnorm or the dropout of hidden layers for a network that is not
    built from the configured hidden block (torchvision's, or your own whose constructor does not name `block`), or
    `init.output_scale` for one without a layer named `output`. What holds all the same does not count: no batchnorm for
    a network that has none.
    """

    check = "ignored_options"
    reads = ("ignored_options",)
    severities = ("warning",)
    why = "Two runs that differ in such an option are the same run, and a comparison of them shows nothing but noise."
    source = "the constructor's signature: a network gets those of input_shape, classes and block that it names"
    advice = (
        "Take the argument `block` in the constructor, and build the hidden layers with it; or leave the option out."
    )
    code = "self.hidden = block.make_dense(inputs, units)"

    def __call__(self, signals: Signals) -> Finding | None:
        ignored = signals.get("ignored_options")
        if not ignored:
            return None
        return self.finding(
            "warning",
            measured={"ignored": float(len(ignored))},
            expected="options that the network uses",
            message=f"The network does not use {list_names(ignored)}: the run is the same without.",
            where=ignored[0].partition("=")[0],
            step=0,
        )
