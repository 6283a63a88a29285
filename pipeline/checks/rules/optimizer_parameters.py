from __future__ import annotations

from dataclasses import dataclass

from pipeline.checks.consequences import FAILS_TO_GENERALIZE
from pipeline.checks.finding import Finding
from pipeline.checks.rule import Rule
from pipeline.errors import list_names
from pipeline.signals.schema import Signals


@dataclass(frozen=True)
class OptimizerParameters(Rule):
    """Anti-pattern: an optimizer that was built before a layer was replaced, or for another copy of the network.

    Fires when a trainable parameter is in no group of the optimizer, or a tensor in a group is no parameter of the
    network or the loss. An optimizer that keeps copies and writes them back is silent: a step of it moves the network.
    """

    check = "optimizer_parameters"
    reads = ("optimizer_missing", "optimizer_foreign", "trainable_parameters")
    severities = ("failure",)
    why = "A step changes only the tensors that the optimizer was built with; other parameters keep their first values."
    source = "torch.optim: an optimizer updates the tensors in its param_groups"
    advice = (
        "Build the optimizer last, from the parameters of the network that is trained; switch requires_grad off for "
        "those that should not learn."
    )
    code = "optimizer = torch.optim.SGD(network.parameters(), lr=0.01)"
    explains = (
        "gradients_not_cleared",
        "wrong_direction",
        "frozen_weights",
        "unreachable_parameters",
        "input_ignored",
        *FAILS_TO_GENERALIZE,
    )

    def __call__(self, signals: Signals) -> Finding | None:
        missing, foreign = signals.get("optimizer_missing", ()), signals.get("optimizer_foreign", 0)
        if not missing and not foreign:
            return None
        total = signals.get("trainable_parameters", len(missing))
        share = f"{len(missing)} of {total}" if "trainable_parameters" in signals else f"{len(missing)}"
        lacks = f"The optimizer does not have {share} trainable parameters: {list_names(missing)}."
        holds = f"It holds {foreign} tensors that are no parameters of this network."
        return self.finding(
            "failure",
            measured={"missing": float(len(missing)), "foreign": float(foreign), "parameters": float(total)},
            expected="every trainable parameter of the network in the optimizer, and nothing else",
            message=" ".join([*([lacks] if missing else []), *([holds] if foreign else [])]),
            where=missing[0] if missing else None,
            step=0,
        )
