from __future__ import annotations

from dataclasses import dataclass
from statistics import median

from pipeline.checks.consequences import FAILS_TO_FIT
from pipeline.checks.finding import Finding
from pipeline.checks.rule import Rule
from pipeline.checks.training_curves import to_floats
from pipeline.signals.schema import Numbers, SampledWeights, Samples, Signals
from pipeline.validation import integer, number


@dataclass(frozen=True)
class GradientsClipped(Rule):
    """Anti-pattern: gradients that are clipped, or scaled, to next to nothing before the optimizer gets them.

    Fires when, in nine of ten sampled steps (of `min_samples` or more), the optimizer gets a gradient whose norm is
    below `max_share` of that after the backward pass, no sampled update is above `min_ratio` of its layer's weights,
    and even a learning rate of 1 would not make it so in a typical step. A high rate makes up for a low
    threshold, and Adam for any scale. It is a failure where the training is over and such updates, made at every
    step, would have changed no layer by `min_moved` of its weights.
    """

    check = "gradients_clipped"
    reads = ("samples", "running")
    needs = ("samples.applied_gradient",)
    severities = ("failure", "warning")
    why = (
        "Clipping is for the rare gradient that is far too large. A threshold far below all of them, or clipping "
        "before gradients are unscaled, leaves steps that no learning rate makes up for."
    )
    source = "Pascanu et al. 2013: a threshold near the usual norm; torch: unscale_ comes before clip_grad_norm_"
    remedies = ("trainer.clip_norm=null", "trainer.clip_value=null")
    advice = "Raise the threshold to the usual norm of the gradient, and unscale gradients before they are clipped."
    code = "torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)  # with a scaler, after scaler.unscale_(optimizer)"
    explains = ("frozen_weights", *FAILS_TO_FIT)

    max_share: float
    min_ratio: float
    min_moved: float
    min_samples: int

    def __post_init__(self) -> None:
        number("max_share", self.max_share, above=0, below=1)
        number("min_ratio", self.min_ratio, above=0)
        number("min_moved", self.min_moved, above=0, below=1)
        integer("min_samples", self.min_samples, at_least=2)

    def __call__(self, signals: Signals) -> Finding | None:
        samples: Samples = signals.get("samples") or {}
        applied = samples.get("applied_gradient") or ()
        steps = to_floats(samples.get("step", ()))
        weights: SampledWeights = samples.get("weights") or {}
        columns = (weights.get("gradient", ()), weights.get("weight", ()), weights.get("update", ()))
        rows = list(zip(to_floats(applied), to_floats(samples.get("lr", ())), *columns, strict=False))
        rows = [row for row in rows if row[0] > 0 and row[1] > 0]  # a gradient of zero was cleared, not clipped
        shrunk = [row for row in rows if row[0] < self.max_share]
        if not steps or len(rows) < self.min_samples or len(shrunk) < 0.9 * len(rows):
            return None
        update = max(_largest_share(row[4], row[3]) for row in rows)
        reach = median(row[0] * _largest_share(row[2], row[3]) for row in rows)
        if update >= self.min_ratio or reach >= self.min_ratio:
            return None
        share = median(row[0] for row in rows)
        return self.finding(
            "failure" if update * steps[-1] < self.min_moved and not signals.get("running") else "warning",
            measured={"applied_gradient": share, "largest_update": update, "samples": float(len(rows))},
            expected=f"gradients that keep more than {self.max_share:g} of their size in most steps",
            message=f"In {len(shrunk)} of {len(rows)} sampled steps the optimizer gets less than {self.max_share:g} of "
            f"the gradient, typically {share:.1e} of it; the largest update is {update:.1e} of a layer's weights.",
            remedy=self.remedies,
        )


def _largest_share(part: Numbers, whole: Numbers) -> float:
    """Return the largest ratio of two norms of a layer; 0 without layers that have weights."""
    pairs = zip(to_floats(part), to_floats(whole), strict=False)
    return max((one / other for one, other in pairs if other > 0), default=0.0)
