from __future__ import annotations

from dataclasses import dataclass

from pipeline.checks.finding import Finding
from pipeline.checks.rule import Rule
from pipeline.signals.schema import Signals


@dataclass(frozen=True)
class EagerSteps(Rule):
    """Anti-pattern: a training step that launches each of its kernels anew, where one launch would do.

    Fires when the training runs on a GPU, and its step could not be captured as a CUDA graph. It is `info`: the results
    are the same, only slower.
    """

    check = "eager_steps"
    reads = ("graph_refused", "graph_steps")
    needs = ("graph_steps|graph_refused",)
    severities = ("info",)
    why = (
        "A small network's step is a hundred kernels that take microseconds each; launching them one by one takes "
        "longer than running them."
    )
    source = "PyTorch documentation, CUDA semantics, CUDA Graphs"
    remedies = ("trainer.cuda_graph=false",)
    advice = "Leave out of a step what needs a number on the host, such as .item() or a print."
    code = "losses.append(loss.detach())"

    def __call__(self, signals: Signals) -> Finding | None:
        reason = signals.get("graph_refused")
        if not reason:
            return None
        return self.finding(
            "info",
            measured={"graph_steps": float(signals.get("graph_steps", 0))},
            expected="a step without Python's decisions in it, which a graph can repeat (docs/speed.md)",
            message=f"The training step is not replayed as a CUDA graph: {reason}.",
            remedy=self.remedies,
        )
