"""Measured against expected: each stage's numbers beside what they should be, in a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pipeline.report.blocks import Table

Signals = Mapping[str, Any]
Row = tuple[str, str, str, tuple[str, ...]]
"""What, measured, expected, and the checks that judge it."""


def table(stage: str, signals: Signals, found: Mapping[str, str]) -> Table | None:
    """`found`: check -> severity, of all that the stage found. A row is marked by what its own checks said."""
    if not signals:
        return None
    rows = [
        (next((_MARKS[found[check]] for check in checks if check in found), "✓"), what, measured, expected)
        for what, measured, expected, checks in _ROWS.get(stage, lambda signals: [])(signals)
    ]
    return Table(["", "what", "measured", "expected"], rows, sortable=False, wide=False) if rows else None


_MARKS = {"failure": "✕ failure", "warning": "! warning", "info": "i note"}


def _sanity(s: Signals) -> list[Row]:
    rows: list[Row] = []
    if "first_loss" not in s:
        return [("output", f"{s.get('output_shape')}", f"one per class: {s.get('classes')}", ("wrong_output_count",))]
    chance = s.get("expected_first_loss")
    rows.append(("first loss", f"{s['first_loss']:.4g}", "unknown" if chance is None else f"{chance:.4g}, as by chance",
                 ("initial_loss", "output_activation", "nonfinite")))  # fmt: skip
    if s.get("penalized_losses"):
        times = ", ".join(f"{factor:g}" for factor in s["penalty_factors"])
        losses = ", ".join(f"{loss:.4g}" for loss in s["penalized_losses"])
        rows.append((f"loss with the penalty x {times}", losses, "rising", ("regularization_raises_loss",)))
    if "zero_gradients" in s:
        share = f"{len(s['zero_gradients'])} of {s['trainable_parameters']}"
        rows.append(("parameters that get no gradient", share, "0", ("unreachable_parameters", "dead_units")))
        alike = f"{len(s['symmetric_layers'])} of {s['weight_layers']}"
        rows.append(("layers whose units are copies", alike, "0", ("symmetric_units",)))
        leaks = f"{s['leaking_examples']} of {s['leak_examples']}"
        rows.append(("examples that another's loss depends on", leaks, "0", ("batch_leak",)))
    if "update_direction" in s:
        rows.append(("first update against the gradient (cosine)", f"{s['update_direction']:.3g}", "below 0",
                     ("wrong_direction",)))  # fmt: skip
    if "fit_loss" in s:
        rows.append((f"loss after {s['fit_steps']} steps on real inputs", f"{s['fit_loss']:.4g}",
                     f"below {s['fit_loss_zeroed']:.4g}, that on zeros", ("input_ignored",)))  # fmt: skip
    for name, moments in s.get("data", {}).get("inputs", {}).items():
        rows.append((f"{name} inputs: mean, spread", f"{moments['mean']:.3g}, {moments['std']:.3g}", "near 0, near 1",
                     ("inputs_not_centred", "inputs_not_scaled", "split_shift")))  # fmt: skip
    return rows


def _overfit(s: Signals) -> list[Row]:
    target, judges = s["overfit_target"], ("cannot_overfit",)
    return [
        (
            f"lowest loss on {s['overfit_examples']} examples",
            f"{s['overfit_best_loss']:.4g}",
            f"below {target:g}",
            judges,
        ),
        ("of them wrong at the end", f"{s['overfit_wrong']}", "0", judges),
    ]


def _train(s: Signals) -> list[Row]:
    rows: list[Row] = []
    epochs = s.get("epochs") or {}
    if epochs.get("val_accuracy"):
        known = (epochs.get("probe_accuracy") or epochs["accuracy"])[-1]
        rows.append(
            (
                "training accuracy, last epoch",
                f"{known:.4f}",
                f"far above chance, {s['chance_accuracy']:.3g}",
                ("underfitting", "over_regularized"),
            )
        )
        rows.append(("validation accuracy, last epoch", f"{epochs['val_accuracy'][-1]:.4f}", "little below that",
                     ("overfitting",)))  # fmt: skip
    weights = (s.get("samples") or {}).get("weights") or {}
    ratios = sorted(u / w for us, ws in zip(weights.get("update", []), weights.get("weight", []), strict=True)
                    for u, w in zip(us, ws, strict=True) if w)  # fmt: skip
    if ratios:
        rows.append(("update / weight, median", f"{ratios[len(ratios) // 2]:.2g}", "about 0.001",
                     ("update_ratio_high", "update_ratio_low", "rate_too_high", "rate_too_low")))  # fmt: skip
    if s.get("exploded"):
        limit = s["break_factor"] * s["original_cost"]
        rows.append((f"cost at step {s['exploded_step']}", f"{s['exploded_cost']:.4g}", f"below {limit:.4g}",
                     ("loss_exploding",)))  # fmt: skip
    dead = [share for share in ((s.get("units") or {}).get("dead") or [[]])[-1] if share is not None]
    if dead:
        rows.append(("dead units, worst layer", f"{100 * max(dead):.1f} %", "few", ("dead_units",)))
    return rows


_ROWS: dict[str, Callable[[Signals], list[Row]]] = {"sanity": _sanity, "overfit": _overfit, "train": _train}
