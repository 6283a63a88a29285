from __future__ import annotations

from dataclasses import dataclass

from pipeline.checks.consequences import AT_INIT, FAILS_TO_GENERALIZE, LEARNING_RATE
from pipeline.checks.finding import Finding
from pipeline.checks.rule import Rule
from pipeline.errors import list_names
from pipeline.signals.schema import Signals


@dataclass(frozen=True)
class UnregisteredParameters(Rule):
    """Anti-pattern: layers in a plain list, a dictionary or a closure, which no `parameters()` has.

    Fires when a leaf of the loss's graph that requires a gradient is no parameter of the network. It is a failure.
    Parameters of the loss that the optimizer does not have are a warning: they may be meant to stay as they are.
    """

    check = "unregistered_parameters"
    reads = ("unregistered_parameters", "loss_parameters", "parameters")
    severities = ("failure", "warning")
    why = (
        "The optimizer, the checkpoint and `to(device)` know registered parameters only: these layers stay random, and "
        "are lost when the network is saved."
    )
    source = "torch.nn.Module registers its own attributes, and what ModuleList, ModuleDict and ParameterList hold"
    advice = (
        "Hold layers in nn.ModuleList or nn.ModuleDict, single tensors as nn.Parameter in an attribute of the module, "
        "and make all of them in __init__."
    )
    code = "self.blocks = nn.ModuleList(blocks)"
    explains = (
        "optimizer_parameters",
        "batch_leak",
        "missing_nonlinearity",
        "redundant_bias",
        "symmetric_units",
        *LEARNING_RATE,
        *AT_INIT,
        *FAILS_TO_GENERALIZE,
    )

    def __call__(self, signals: Signals) -> Finding | None:
        names = signals.get("unregistered_parameters")
        if names:
            return self.finding(
                "failure",
                measured={"unregistered": float(len(names)), "parameters": float(signals.get("parameters", 0))},
                expected="every leaf that gets a gradient among the parameters of the network",
                message=f"{len(names)} tensors that the loss depends on get a gradient and are no parameters of the "
                f"network, so they are never trained: {list_names(names)}.",
                where=names[0],
                step=0,
            )
        names = signals.get("loss_parameters")
        if names:
            return self.finding(
                "warning",
                measured={"in_loss": float(len(names))},
                expected="parameters of the loss that the optimizer has, or that require no gradient",
                message=f"{len(names)} parameters of the loss get a gradient and the optimizer does not have them, so "
                f"they keep their first values: {list_names(names)}.",
                where=names[0],
                step=0,
                advice="If they should learn, make them parameters of the network and let the optimizer have them; "
                "if they should not, switch their gradient off.",
                code="loss.requires_grad_(False)",
            )
        return None
