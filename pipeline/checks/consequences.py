"""What follows from what, for the `explains` of rules: whatever spoils the start spoils the training that follows."""

FAILS_TO_FIT = (
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

FAILS_TO_GENERALIZE = (*FAILS_TO_FIT, "train_eval_mismatch", "overfitting", "overtrained")
"""A training ends with less than it should."""

LEARNING_RATE = ("over_regularized", "loss_exploding", "rate_too_high")
"""Steps of training that are too much; they stand before what they do to units (dead ones, for example)."""

AT_INIT = (
    "saturated_units",
    "dead_units",
    "vanishing_activations",
    "exploding_activations",
    "vanishing_gradients",
    "exploding_gradients",
    "nonfinite",
    "initial_loss",
    "unreachable_parameters",
    "frozen_weights",
    "input_ignored",
)
"""Anything that a network can show before it is trained."""
