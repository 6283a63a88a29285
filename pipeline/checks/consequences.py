"""What follows from what, for the `explains` of rules: whatever spoils the start spoils the training that follows."""

FIT = (
    "loss_exploding",
    "rate_too_high",
    "rate_too_low",
    "cannot_overfit",
    "late_start",
    "oscillating_loss",
    "loss_plateau",
    "update_ratio_high",
    "update_ratio_low",
    "undertrained",
    "underfitting",
)
"""The training does not get where it should."""

HARM = (*FIT, "over_regularized", "train_eval_mismatch", "overfitting", "overtrained")
"""Anything that a training can show."""

START = (
    "saturated_units",
    "vanishing_activations",
    "exploding_activations",
    "dead_units",
    "vanishing_gradients",
    "exploding_gradients",
    "nonfinite",
    "initial_loss",
    "unreachable_parameters",
    "frozen_weights",
    "input_ignored",
)
"""Anything that a network can show before it is trained."""
