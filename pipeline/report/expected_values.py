"""Measured against expected: each stage's numbers beside what they should be, in a table."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import chain, pairwise
from typing import Any

from pipeline.report.blocks import Table

Signals = Mapping[str, Any]
Row = tuple[str, str, str, "bool | None", tuple[str, ...]]
"""What, measured, expected, whether it is so by the numbers alone (None: not for numbers to say), and the checks that
judge it."""

_MARKS = {"failure": "✕ failure", "warning": "! warning", "info": "i note"}


def table(stage: str, signals: Signals, found: Mapping[str, str]) -> Table | None:
    """`found`: check -> severity, of all that the stage found. A row is marked by what its own checks said; without a
    word from them it has a tick only where the numbers hold, since a finding's consequences are not told again."""
    if not signals or stage not in _ROWS:
        return None
    rows = [
        (next((_MARKS[found[check]] for check in checks if check in found), "✓" if holds else ""), *told)
        for *told, holds, checks in _ROWS[stage](signals)
    ]
    return Table(["", "what", "measured", "expected"], rows, sortable=False, wide=False) if rows else None


def _sanity(s: Signals) -> list[Row]:
    if "first_loss" not in s:
        told = f"one per class: {s.get('classes')}"
        return [("output", f"{s.get('output_shape')}", told, None, ("wrong_output_count",))]
    loss, chance = s["first_loss"], s.get("expected_first_loss")
    near = bool(chance) and 0.5 < loss / chance < 1.5
    told = "unknown" if chance is None else f"{chance:.4g}, as by chance"
    rows: list[Row] = [("first loss", f"{loss:.4g}", told, near, ("initial_loss", "output_activation", "nonfinite"))]
    if penalized := s.get("penalized_losses"):
        times = ", ".join(f"{factor:g}" for factor in s["penalty_factors"])
        rising = all(a < b for a, b in pairwise([loss, *penalized]))
        losses = ", ".join(f"{value:.4g}" for value in penalized)
        rows.append((f"loss with the penalty x {times}", losses, "rising", rising, ("regularization_raises_loss",)))
    if "zero_gradients" in s:
        none, alike, leaks = len(s["zero_gradients"]), len(s["symmetric_layers"]), s["leaking_examples"]
        idle = ("unreachable_parameters", "dead_units")
        rows += [
            ("parameters that get no gradient", f"{none} of {s['trainable_parameters']}", "0", not none, idle),
            ("layers whose units are copies", f"{alike} of {s['weight_layers']}", "0", not alike, ("symmetric_units",)),
            ("examples another's loss depends on", f"{leaks} of {s['leak_examples']}", "0", not leaks, ("batch_leak",)),
        ]
    if "update_direction" in s:
        cosine = s["update_direction"]
        what = "first update against the gradient (cosine)"
        rows.append((what, f"{cosine:.3g}", "below 0", cosine < 0, ("wrong_direction",)))
    if "fit_loss" in s:
        real, zeroed = s["fit_loss"], s["fit_loss_zeroed"]
        what = f"loss after {s['fit_steps']} steps on real inputs"
        rows.append((what, f"{real:.4g}", f"below {zeroed:.4g}, that on zeros", real < zeroed, ("input_ignored",)))
    judges = ("inputs_not_centred", "inputs_not_scaled", "split_shift")
    for name, moments in s.get("data", {}).get("inputs", {}).items():
        told = f"{moments['mean']:.3g}, {moments['std']:.3g}"
        rows.append((f"{name} inputs: mean, spread", told, "near 0, near 1", None, judges))
    return rows


def _overfit(s: Signals) -> list[Row]:
    best, wrong, target, judges = s["overfit_best_loss"], s["overfit_wrong"], s["overfit_target"], ("cannot_overfit",)
    what = f"lowest loss on {s['overfit_examples']} examples"
    return [
        (what, f"{best:.4g}", f"below {target:g}", best < target, judges),
        ("of them wrong at the end", f"{wrong}", "0", not wrong, judges),
    ]


def _train(s: Signals) -> list[Row]:
    rows: list[Row] = []
    epochs = s.get("epochs") or {}
    if epochs.get("val_accuracy") and "chance_accuracy" in s:
        known, chance = (epochs.get("probe_accuracy") or epochs["accuracy"])[-1], s["chance_accuracy"]
        judges = ("underfitting", "over_regularized")
        told = f"far above chance, {chance:.3g}"
        rows.append(("training accuracy, last epoch", f"{known:.4f}", told, known > 2 * chance, judges))
        unseen = epochs["val_accuracy"][-1]
        rows.append(("validation accuracy, last epoch", f"{unseen:.4f}", "little below that", None, ("overfitting",)))
    weights = (s.get("samples") or {}).get("weights") or {}
    pairs = zip(chain(*weights.get("update", [])), chain(*weights.get("weight", [])), strict=True)
    if ratios := sorted(ratio for u, w in pairs if w and math.isfinite(ratio := u / w)):
        middle = ratios[len(ratios) // 2]
        near, rated = 1e-4 < middle < 1e-2, ("update_ratio_high", "update_ratio_low", "rate_too_high", "rate_too_low")
        rows.append(("update / weight, median", f"{middle:.2g}", "about 0.001", near, rated))
    if s.get("exploded"):
        told = f"below {s['break_factor'] * s['original_cost']:.4g}"
        rows.append(
            (f"cost at step {s['exploded_step']}", f"{s['exploded_cost']:.4g}", told, False, ("loss_exploding",))
        )
    dead = [share for share in ((s.get("units") or {}).get("dead") or [[]])[-1] if share is not None]
    if dead:
        rows.append(("dead units, worst layer", f"{100 * max(dead):.1f} %", "few", max(dead) < 0.1, ("dead_units",)))
    return rows


_ROWS: dict[str, Callable[[Signals], list[Row]]] = {"sanity": _sanity, "overfit": _overfit, "train": _train}
