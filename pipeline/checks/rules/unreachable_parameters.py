from __future__ import annotations

from dataclasses import dataclass

from pipeline.checks.consequences import FAILS_TO_GENERALIZE
from pipeline.checks.finding import Finding
from pipeline.checks.rule import Rule
from pipeline.errors import list_names
from pipeline.signals.schema import Signals


@dataclass(frozen=True)
class UnreachableParameters(Rule):
    """Anti-pattern: a layer that is defined and never used, detached, or dead from the start.

    Fires when a trainable parameter has a gradient of exactly zero, or none, at the first step, for the whole batch and
    for parts of it (where gradients do not cancel), and also after a short fit (with which a residual branch that
    starts at zero gets its gradient).
    """

    check = "unreachable_parameters"
    reads = ("zero_gradients", "trainable_parameters", "output_requires_grad", "loss_requires_grad")
    severities = ("failure",)
    why = (
        "A parameter without gradient never learns: its layer is unused, detached from the loss, or every unit behind "
        "it is off."
    )
    source = "backpropagation: no path to the loss, no gradient"
    remedies = ("init=he",)
    advice = "Use the layer in forward, and return what depends on it without detach or no_grad."
    code = "print([name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()])"
    explains = ("frozen_weights", *FAILS_TO_GENERALIZE)

    def __call__(self, signals: Signals) -> Finding | None:
        names = signals.get("zero_gradients")
        if not names:
            return None
        total = signals["trainable_parameters"]
        message = f"{len(names)} of {total} trainable parameters get no gradient: {list_names(names)}."
        cut = self._cut(signals)
        return self.finding(
            "failure",
            measured={"without_gradient": float(len(names)), "parameters": float(total)},
            expected="a finite, non-zero gradient for every trainable parameter",
            message=f"{message} {cut[0]}" if cut else message,
            remedy=self.remedies if len(names) == total and not cut else (),
            where=names[0],
            step=0,
            advice=cut[1] if cut else None,
            code=cut[2] if cut else None,
        )

    def _cut(self, signals: Signals) -> tuple[str, str, str] | None:
        """Return what cuts the path from the loss to all parameters, with advice and code; None where nothing does."""
        if signals.get("output_requires_grad") is False:
            return (
                "The network's output itself has no path back to them: it is detached, computed under no_grad, or "
                "made from numbers that left autograd.",
                "Return the output as the last layer gives it, without detach, .data, no_grad, numpy, item or argmax.",
                "return self.output(x)",
            )
        if signals.get("loss_requires_grad") is False:
            return (
                "The output has a path back to them, and the loss has none to the output: it is detached, or made from "
                "numbers that left autograd.",
                "Compute the loss from the logits with differentiable operations, without detach, item, numpy or "
                "argmax.",
                "return torch.nn.functional.cross_entropy(logits, labels)",
            )
        return None
