"""Two trainings compared: learning rates, gradient norms, and the training loss."""

from __future__ import annotations

import math
from statistics import mean

from pipeline.checks.baseline.curves import (
    MIN_POINTS,
    Level,
    common_pair,
    epoch_pair,
    levels,
    log_ratio,
    losses_of,
    samples_of,
)
from pipeline.checks.baseline.docs import SIGMAS, Signals, baseline_finding
from pipeline.checks.finding import Finding

LAG = 0.8
"""Share of the steps after which the good loss may be compared: seeds learn a little sooner or later."""
LOSS_MARGIN = 0.05
"""Share of the good loss's whole drop that seeds may differ by."""
MIN_PARTED = 3
"""Stretches of twenty that a difference must last."""
MAX_RATE_RATIO, MIN_RATE_SHARE = 1.1, 0.05
"""Ratio of two learning rates that differ, and the share of the points at which they must."""
MAX_NORM_RATIO = 3
"""Typical gradient norm / that of the good run; another seed changes it by less than a half."""


def compare_rates(new: Signals, good: Signals) -> Finding | str | None:
    """Compare the learning rates."""
    pair = common_pair(samples_of(new, "lr"), samples_of(good, "lr")) or epoch_pair(new, good, "lr")
    if pair is None:
        return "not both have learning rates"
    pairs = [(a, b) for a, b in levels(*pair) if max(a.value, b.value) > 0]
    parted = [(a, b) for a, b in pairs if max(a.value, b.value) > MAX_RATE_RATIO * min(a.value, b.value)]
    if len(parted) <= MIN_RATE_SHARE * len(pairs):
        return None
    ours, theirs = parted[0]
    return baseline_finding(
        "baseline_rate",
        "warning",
        measured={"lr": ours.value, "good_lr": theirs.value, "share": len(parted) / len(pairs)},
        expected="the learning rates of the good run",
        message=f"Up to {_place(new, ours.end)} the learning rate is {ours.value:.3g}, and {theirs.value:.3g} in the "
        f"good run; they differ in {len(parted)} of {len(pairs)} stretches.",
        step=round(ours.end),
    )


def compare_gradients(new: Signals, good: Signals) -> Finding | str | None:
    """Compare the norms of the whole gradient."""
    pair = common_pair(samples_of(new, "gradient_norm"), samples_of(good, "gradient_norm"))
    if pair is None:
        return "not both have gradient norms"
    ratio, error = log_ratio(levels(*pair))
    if abs(ratio) <= max(math.log(MAX_NORM_RATIO), SIGMAS * error):
        return None
    return baseline_finding(
        "baseline_gradients",
        "warning",
        measured={"ratio": math.exp(ratio)},
        expected=f"gradient norms within a factor of {MAX_NORM_RATIO} of the good run's",
        message=f"A typical gradient norm is {math.exp(ratio):.3g} times that of the good run.",
    )


def compare_losses(new: Signals, good: Signals) -> Finding | str | None:
    """Compare the training losses at equal steps, else at equal epochs."""
    pair = common_pair(losses_of(new), losses_of(good)) or epoch_pair(new, good, "loss")
    if pair is None:
        return f"not both have {MIN_POINTS} training losses"
    pairs = levels(*pair)
    values = [level.value for _, level in pairs]
    margin = LOSS_MARGIN * (max(values) - min(values))
    above = [_excess(pairs, i) > margin for i in range(len(pairs))]
    tail = _tail(pairs)
    ends_above = tail[0].value - tail[1].value - SIGMAS * math.hypot(tail[0].error, tail[1].error) > margin
    begin = _longest_run(above)
    if begin is None and not ends_above:
        return None
    begin = len(pairs) * 3 // 4 if begin is None else begin
    ours, theirs = pairs[begin]
    where = pairs[begin - 1][0].end if begin else 0.0
    return baseline_finding(
        "baseline_loss",
        "failure" if ends_above else "warning",
        measured={
            "loss": tail[0].value,
            "good_loss": tail[1].value,
            "parted": ours.value,
            "good_parted": theirs.value,
        },
        expected=f"a loss within {SIGMAS} standard errors and {margin:.2g} of the good one",
        message=f"From {_place(new, where)} on the loss is above that of the good run: {ours.value:.4g} there, and not "
        f"{theirs.value:.4g}; in the last quarter {tail[0].value:.4g}, and not {tail[1].value:.4g}.",
        step=round(where),
    )


def _excess(pairs: list[tuple[Level, Level]], index: int) -> float:
    """Return by how much the loss is above the good one of any stretch that a lag allows, less the noise of both."""
    ours = pairs[index][0]
    behind = [good for _, good in pairs[: index + 1] if good.end >= LAG * ours.end] + [pairs[max(index - 1, 0)][1]]
    return min(ours.value - good.value - SIGMAS * math.hypot(ours.error, good.error) for good in behind)


def _tail(pairs: list[tuple[Level, Level]]) -> tuple[Level, Level]:
    """Return the levels of both over the last quarter of the stretches."""
    last = pairs[-max(1, len(pairs) // 4) :]
    ours, theirs = zip(*last, strict=True)

    def merge(parts: tuple[Level, ...]) -> Level:
        error = math.sqrt(sum(part.error**2 for part in parts)) / len(parts)
        return Level(parts[-1].end, mean(part.value for part in parts), error)

    return merge(ours), merge(theirs)


def _longest_run(above: list[bool]) -> int | None:
    """Return where the longest run of stretches above begins; None if none lasts `MIN_PARTED`."""
    best, begin, length = None, 0, 0
    longest = MIN_PARTED - 1
    for i, is_above in enumerate(above):
        begin, length = (begin, length + 1) if is_above and length else (i, int(is_above))
        if length > longest:
            best, longest = begin, length
    return best


def _place(signals: Signals, position: float) -> str:
    return f"step {position:.0f}" if signals.get("losses") else f"epoch {position:.0f}"
