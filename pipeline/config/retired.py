"""Keys and options that were renamed. Whoever uses an old name gets one message that gives the new one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.errors import UserError

RENAMED_OPTIONS = {"init": {"own": "model_default"}}
"""New names of options, by group and old name."""
RENAMED_KEYS = {
    "init": {"after": "data_dependent_step", "own": "model_default"},
    "schedule": {"length": "length_argument"},
    "search": {
        "compare": "compare_samplers",
        "final_seeds": "retrain_seeds",
        "keep": "top_fraction",
        "widenings": "max_widenings",
    },
    "signals": {
        "every": "every_n_steps",
        "most": "max_samples",
        "probe": "probe_fraction",
        "recorded": "enabled",
    },
    "checks.rules.cannot_overfit": {"falling": "still_falling_ratio", "nearly": "near_loss_ratio"},
    "checks.rules.class_imbalance": {"ratio": "max_ratio", "share": "max_share"},
    "checks.rules.constant_features": {"examples": "min_examples"},
    "checks.rules.dead_units": {"share": "warning", "units": "min_units"},
    "checks.rules.duplicate_examples": {"bits": "min_bits", "copies": "min_copies"},
    "checks.rules.exploding_activations": {"huge": "failure", "large": "warning"},
    "checks.rules.exploding_gradients": {"ratio": "max_ratio"},
    "checks.rules.frozen_weights": {"samples": "min_samples"},
    "checks.rules.initial_loss": {"below": "warning_below"},
    "checks.rules.input_ignored": {"margin": "min_margin"},
    "checks.rules.inputs_not_scaled": {"high": "warning", "low": "min_std"},
    "checks.rules.label_noise": {
        "classes": "min_classes",
        "clear": "min_clear",
        "disagreement": "max_disagreement",
        "errors": "sigmas",
        "evenness": "max_evenness",
        "features": "min_features",
        "images": "min_images",
        "per_class": "min_per_class",
        "renamed": "max_renamed",
        "resolution": "max_standard_error",
    },
    "checks.rules.late_start": {
        "flat": "flat_tolerance",
        "share": "max_flat_fraction",
        "steps": "min_steps",
        "sudden": "min_sudden_drop",
    },
    "checks.rules.loss_disagrees": {
        "bottomless": "unbounded_nats",
        "examples": "min_examples",
        "moved": "min_loss_change",
    },
    "checks.rules.loss_plateau": {
        "flat": "max_late_drop",
        "learned": "min_learned",
        "ratio": "min_ratio",
        "steps": "min_steps",
    },
    "checks.rules.missing_nonlinearity": {"share": "max_share"},
    "checks.rules.oscillating_loss": {"epochs": "min_epochs", "ratio": "min_ratio", "rises": "max_rises"},
    "checks.rules.over_regularized": {
        "dropout": "max_dropout",
        "epochs": "min_epochs",
        "heavy": "suspect_dropout",
        "held_back": "max_eval_gain",
        "learned": "min_learned",
        "pull": "max_penalty_ratio",
        "shrunk": "min_norm_ratio",
        "usual": "typical_l2",
    },
    "checks.rules.overfitting": {
        "few": "few_per_class",
        "gap": "max_gap",
        "gap_few": "max_gap_few",
        "rise": "max_val_loss_rise",
    },
    "checks.rules.overtrained": {"share": "max_wasted_fraction", "wasted": "max_wasted_epochs"},
    "checks.rules.rate_too_high": {
        "collapse": "max_accuracy_drop",
        "explosion": "max_overfit_loss_ratio",
        "ratio": "max_ratio",
        "regress": "max_loss_regression",
        "spike": "max_smoothed_loss_ratio",
    },
    "checks.rules.rate_too_low": {
        "fall": "min_drop",
        "ratio": "min_ratio",
        "steady": "linearity",
        "steps": "min_steps",
    },
    "checks.rules.saturated_units": {"share": "warning"},
    "checks.rules.slow_precision": {"slower": "max_slowdown"},
    "checks.rules.small_batch_batchnorm": {"examples": "min_examples"},
    "checks.rules.split_shift": {
        "classes": "max_class_distance",
        "errors": "sigmas",
        "mean": "mean_warning",
        "spread": "spread_warning",
    },
    "checks.rules.train_eval_mismatch": {
        "accuracy_drop": "max_accuracy_drop",
        "hint_ratio": "info",
        "loss_ratio": "warning",
        "loss_share": "min_loss_share",
    },
    "checks.rules.underfitting": {"gap": "max_gap", "learned": "min_learned"},
    "checks.rules.undertrained": {
        "few": "min_epochs",
        "learned": "min_learned",
        "least": "last_quarter_floor",
        "left": "max_last_quarter",
        "moved": "min_drop",
        "steps": "min_steps",
    },
    "checks.rules.update_ratio_high": {"first": "max_first_ratio", "ratio": "max_ratio", "samples": "min_samples"},
    "checks.rules.update_ratio_low": {"ratio": "min_ratio", "samples": "min_samples"},
    "checks.rules.validation_above_training": {"gap": "max_gap"},
    "checks.rules.vanishing_activations": {"faint": "warning", "gone": "failure", "late": "max_fraction_at_chance"},
    "checks.rules.vanishing_gradients": {"ratio": "min_ratio"},
}
"""New names of keys, by the node they are in and old name."""


def refuse_renamed_key(key: str) -> None:
    """Raise `UserError` with the new name if `key`, or a key above it, was renamed."""
    parts = key.split(".")
    for n in range(1, len(parts)):
        node, old = ".".join(parts[:n]), parts[n]
        if new := RENAMED_KEYS.get(node, {}).get(old):
            raise UserError(f"this key was renamed to {node}.{new}.", field=f"{node}.{old}")


def refuse_renamed_option(group: str, option: str) -> None:
    """Raise `UserError` with the new name if the option of the group was renamed."""
    if new := RENAMED_OPTIONS.get(group, {}).get(option):
        raise UserError(f"the option {option!r} was renamed: {group}={new}.", field=group)


def refuse_renamed_keys(config: Mapping[str, Any]) -> None:
    """Raise `UserError` with the new name of the first renamed key that `config`, a whole configuration, has.

    An experiment file or the recorded configuration of an older run may have one.
    """
    for path, renamed in RENAMED_KEYS.items():
        node: Any = config
        for part in path.split("."):
            node = node.get(part) if isinstance(node, Mapping) else None
        for old in renamed:
            if isinstance(node, Mapping) and old in node:
                refuse_renamed_key(f"{path}.{old}")
