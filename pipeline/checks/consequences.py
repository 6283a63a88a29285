"""Lists of checks for the `explains` of rules: what spoils the start also spoils the training that follows."""

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
"""The training does not reach a low loss."""

FAILS_TO_GENERALIZE = (*FAILS_TO_FIT, "train_eval_mismatch", "overfitting", "overtrained")
"""The training ends with a worse network than it could."""

LEARNING_RATE = ("over_regularized", "loss_exploding", "rate_too_high")
"""The steps are too large. These checks come before what large steps do to units, such as dead ones."""

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
"""Everything that a network can show before it is trained."""
