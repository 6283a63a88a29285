from __future__ import annotations

from dataclasses import dataclass

from pipeline.checks.finding import Finding
from pipeline.checks.rule import Rule
from pipeline.errors import list_names
from pipeline.signals.schema import Signals


@dataclass(frozen=True)
class FrozenBatchnorm(Rule):
    """Anti-pattern: a frozen part whose batchnorms still learn the statistics of each batch.

    Fires when a pass in training mode changes the running statistics of a batchnorm whose parameters are all frozen
    (for one without parameters: those of the module around it), while other parameters are trained.
    """

    check = "frozen_batchnorm"
    reads = ("moving_statistics", "frozen_prefixes", "trained_share")
    severities = ("warning",)
    why = (
        "`requires_grad=False` does not reach running statistics: the frozen part normalizes by the batch in training, "
        "drifts away from what it was trained with, and computes something else in evaluation."
    )
    source = "torch.nn.BatchNorm: running statistics are buffers, updated by every pass in training mode"
    remedies = ("model.frozen=[...]",)
    advice = "Keep frozen batchnorms in evaluation mode: call eval() on the frozen part in the network's own train()."
    code = "def train(self, mode=True): super().train(mode); self.backbone.eval(); return self"
    explains = ("frozen_weights", "train_eval_mismatch")

    def __call__(self, signals: Signals) -> Finding | None:
        names = signals.get("moving_statistics")
        if not names or not signals["trained_share"]:
            return None
        return self.finding(
            "warning",
            measured={"batchnorms": float(len(names))},
            expected="running statistics that stay as they are where the parameters do",
            message=f"The running statistics of {len(names)} batchnorms in frozen parts still move: "
            f"{list_names(names)}. model.frozen keeps both parameters and statistics; if these layers should learn, "
            "switch requires_grad on again.",
            remedy=(f"model.frozen=[{','.join(signals['frozen_prefixes'])}]",),
            where=names[0],
            step=0,
        )
