"""The stage `sanity`: the first loss, the first gradient, and the activations before training."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from pipeline.report.blocks import Block
from pipeline.report.figures import data, layers
from pipeline.report.stage_view import ExpectedValue, Metrics, Signals, StageData, Tile, format_number, numbers

CHART_PRIORITY = 10


def headline_tile(stage: StageData) -> Tile | None:
    """Return the first loss against the one of a network that guesses."""
    if "first_loss" not in stage.metrics:
        return None
    loss, expected = stage.metrics["first_loss"], stage.metrics.get("expected_first_loss")
    is_far = expected and isinstance(loss, float) and not 0.5 < loss / expected < 1.5
    warned = {finding["check"] for finding in stage.findings if finding["severity"] != "info"}
    is_judged = is_far or warned & {"initial_loss", "nonfinite", "output_activation"}
    note = f"expected {expected:.3f}" if expected else ""
    return Tile("first loss", format_number(loss), note, stage.tile_status if is_judged else "passed")


def expected_values(signals: Signals) -> list[ExpectedValue]:
    """Return the expectations of an untrained network; only the output's shape where it cannot be trained."""
    if "first_loss" not in signals:
        classes = f"one per class: {signals.get('classes')}"
        return [ExpectedValue("output", f"{signals.get('output_shape')}", classes, None, ("wrong_output_count",))]
    return [*_losses(signals), *_gradients(signals), *_short_fit(signals), *_inputs(signals)]


def charts(stage: StageData) -> Sequence[Block | None]:
    """Return activations, gradients and filters before training."""
    return [
        layers.activation_ridgeline(
            stage.signals.get("histograms") or {},
            chart_id="activations-before",
            title="Activations before training",
            ill=stage.has_finding(*layers.ACTIVATION_CHECKS),
            note=layers.RIDGELINE_NOTE,
        ),
        layers.first_gradients(stage.signals.get("gradients") or {}),
        data.filters(stage.images, "First-layer filters before training"),
    ]


def metric_rows(metrics: Metrics) -> dict[str, float]:
    """Return the first loss."""
    return numbers(metrics, "first_loss")


def _losses(s: Signals) -> list[ExpectedValue]:
    loss, chance = s["first_loss"], s.get("expected_first_loss")
    is_near = bool(chance) and 0.5 < loss / chance < 1.5
    expected = "unknown" if chance is None else f"{chance:.4g}, as by chance"
    checks = ("initial_loss", "output_activation", "nonfinite")
    rows = [ExpectedValue("first loss", f"{loss:.4g}", expected, is_near, checks)]
    if penalized := s.get("penalized_losses"):
        factors = ", ".join(f"{factor:g}" for factor in s["penalty_factors"])
        is_rising = all(a < b for a, b in pairwise([loss, *penalized]))
        losses = ", ".join(f"{value:.4g}" for value in penalized)
        what = f"loss with the penalty x {factors}"
        rows.append(ExpectedValue(what, losses, "rising", is_rising, ("regularization_raises_loss",)))
    return rows


def _gradients(s: Signals) -> list[ExpectedValue]:
    rows = []
    if "zero_gradients" in s:
        unreached, symmetric, leaks = len(s["zero_gradients"]), len(s["symmetric_layers"]), s["leaking_examples"]
        counts = (
            ("parameters without a gradient", unreached, s["trainable_parameters"],
             ("unreachable_parameters", "dead_units")),
            ("layers whose units are copies", symmetric, s["weight_layers"], ("symmetric_units",)),
            ("examples on which another's loss depends", leaks, s["leak_examples"], ("batch_leak",)),
        )  # fmt: skip
        rows = [ExpectedValue(what, f"{n} of {total}", "0", not n, checks) for what, n, total, checks in counts]
    if "update_direction" in s:
        cosine = s["update_direction"]
        what = "first update against the gradient (cosine)"
        rows.append(ExpectedValue(what, f"{cosine:.3g}", "below 0", cosine < 0, ("wrong_direction",)))
    return rows


def _short_fit(s: Signals) -> list[ExpectedValue]:
    if "fit_loss" not in s:
        return []
    real, zeroed = s["fit_loss"], s["fit_loss_zeroed"]
    what = f"loss after {s['fit_steps']} steps on real inputs"
    expected = f"below {zeroed:.4g}, that on zeros"
    return [ExpectedValue(what, f"{real:.4g}", expected, real < zeroed, ("input_ignored",))]


def _inputs(s: Signals) -> list[ExpectedValue]:
    checks = ("inputs_not_centred", "inputs_not_scaled", "split_shift")
    return [
        ExpectedValue(
            f"{split} inputs: mean, standard deviation",
            f"{moments['mean']:.3g}, {moments['std']:.3g}",
            "near 0, near 1",
            None,
            checks,
        )
        for split, moments in s.get("data", {}).get("inputs", {}).items()
    ]
