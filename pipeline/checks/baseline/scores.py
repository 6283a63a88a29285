"""Two trainings compared: validation scores, seconds, and length."""

from __future__ import annotations

import math
from itertools import pairwise

from pipeline.checks.baseline.curves import MIN_POINTS, column_of, have_steps
from pipeline.checks.baseline.docs import SIGMAS, Signals, baseline_finding
from pipeline.checks.finding import Finding
from pipeline.checks.log_curves import noise
from pipeline.checks.training_curves import standard_error

ACCURACY_MARGIN = 0.01
"""Accuracy that seeds may differ by, beside the noise of the examples."""
MAX_SLOWDOWN = 2
"""Time of a step in the fastest epoch / that of the good run; other programs on the machine slow all the others."""
MAX_SPREAD = 1.3
"""Upper / lower quartile of a run's seconds of a step; beyond it they say more of other programs than of the run."""


def compare_validation(new: Signals, good: Signals) -> Finding | str | None:
    """Compare the best and the last validation accuracy, else loss."""
    pair = _score_pair(new, good, "val_accuracy")
    name, sign = ("accuracy", 1) if pair else ("loss", -1)
    pair = pair or _score_pair(new, good, "val_loss")
    if pair is None:
        return "not both have validation scores"
    ours, theirs = pair
    pick = max if sign > 0 else min
    worse = {}
    for kind, a, b in (("best", pick(ours), pick(theirs)), ("last", ours[-1], theirs[-1])):
        error = math.hypot(_score_error(new, ours, a, sign), _score_error(good, theirs, b, sign))
        margin = ACCURACY_MARGIN if sign > 0 else 0.1 * (max(theirs) - min(theirs))
        if sign * (b - a) > SIGMAS * error + margin:
            worse[kind] = (a, b, SIGMAS * error + margin)
    if not worse:
        return None
    kind, (a, b, allowed) = next(iter(worse.items()))
    return baseline_finding(
        "baseline_validation",
        "failure" if kind == "best" else "warning",
        measured={kind: a, f"good_{kind}": b, "allowed": allowed},
        expected=f"a {kind} validation {name} within {allowed:.3g} of the good one",
        message=f"The {kind} validation {name} is {a:.4g}, and {b:.4g} in the good run.",
    )


def _score_error(signals: Signals, scores: tuple[float, ...], score: float, sign: int) -> float:
    """Return the standard error of a score: that of its examples, if it is an accuracy, and that of its curve."""
    scatter = noise(scores[len(scores) // 2 :]) or noise(scores)
    examples = signals.get("val_examples") if sign > 0 else None
    return math.hypot(scatter, standard_error(score, examples)) if examples else scatter


def _score_pair(new: Signals, good: Signals, name: str) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Return the scores of both up to where the shorter run ends; None where one has none."""
    by_step = have_steps(new, good)
    ours, theirs = (column_of(signals, name, by_step=by_step) for signals in (new, good))
    if not ours.positions or not theirs.positions:
        return None
    end = min(ours.positions[-1], theirs.positions[-1])
    scores = ours.until(end).values, theirs.until(end).values
    return scores if all(scores) else None


def compare_speed(new: Signals, good: Signals) -> Finding | str | None:
    """Compare the seconds of a step."""
    ours, theirs = _step_seconds(new), _step_seconds(good)
    if not have_steps(new, good) or len(ours) < MIN_POINTS or len(theirs) < MIN_POINTS:
        return f"not both have the seconds of {MIN_POINTS} epochs"
    if max(map(_spread, (ours, theirs))) > MAX_SPREAD:
        return "the seconds of the epochs differ too much: other programs were busy"
    a, b = min(ours), min(theirs)
    if not a > MAX_SLOWDOWN * b:
        return None
    return baseline_finding(
        "baseline_speed",
        "info",
        measured={"step_seconds": a, "good_step_seconds": b},
        expected=f"at most {MAX_SLOWDOWN:g} times the time of the good run",
        message=f"In its fastest epoch a step takes {a:.3g} s, {a / b:.2g} times the {b:.3g} s of the good run.",
    )


def _step_seconds(signals: Signals) -> list[float]:
    """Return the seconds of a step in each epoch but the first, which has the costs of starting."""
    curve = column_of(signals, "seconds", by_step=True)
    points = list(zip(curve.positions, curve.values, strict=True))
    return [(b[1] - a[1]) / (b[0] - a[0]) for a, b in pairwise(points) if b[0] > a[0]]


def _spread(seconds: list[float]) -> float:
    ordered = sorted(seconds)
    return ordered[3 * len(ordered) // 4] / max(ordered[len(ordered) // 4], 1e-12)


def compare_length(new: Signals, good: Signals) -> Finding | str | None:
    """Compare how many steps, or epochs, were made."""
    by_step = have_steps(new, good)
    ends = [column_of(signals, "loss", by_step=by_step).positions for signals in (new, good)]
    if not all(ends):
        return "not both have epochs"
    ours, theirs = (positions[-1] for positions in ends)
    if ours >= 0.9 * theirs:
        return None
    unit = "steps" if by_step else "epochs"
    return baseline_finding(
        "baseline_length",
        "info",
        measured={"length": ours, "good_length": theirs},
        expected="about as many steps as the good run",
        message=f"The run has {ours:.0f} {unit}, the good one {theirs:.0f}.",
    )
