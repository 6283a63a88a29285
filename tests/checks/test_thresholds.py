"""A wrong threshold is refused when the rule is built, and the error names its key."""

from __future__ import annotations

import math
from typing import Any

from pipeline.errors import UserError
from tests.checks.rule_cases import MENU, rule_of, thresholds

OUT_OF_RANGE: list[tuple[str, dict[str, Any], str]] = [
    ("constant_features", {"warning": 0}, "warning"),
    ("constant_features", {"warning": 0.5, "failure": 0.4}, "failure"),
    ("constant_features", {"failure": 1.1}, "failure"),
    ("constant_features", {"min_examples": 1}, "min_examples"),
    ("inputs_not_scaled", {"min_std": 0}, "min_std"),
    ("inputs_not_scaled", {"min_std": 2, "warning": 2}, "warning"),
    ("inputs_not_scaled", {"warning": 10, "failure": 9}, "failure"),
    ("inputs_not_centred", {"info": 0}, "info"),
    ("inputs_not_centred", {"info": 2, "warning": 1}, "warning"),
    ("duplicate_examples", {"warning": 1}, "warning"),
    ("duplicate_examples", {"warning": 0.3, "failure": 0.2}, "failure"),
    ("duplicate_examples", {"min_copies": 0}, "min_copies"),
    ("near_duplicates", {"warning": 0}, "warning"),
    ("near_duplicates", {"warning": 0.3, "failure": 0.2}, "failure"),
    ("near_duplicates", {"max_unlike": 0}, "max_unlike"),
    ("near_duplicates", {"max_ratio": 1}, "max_ratio"),
    ("near_duplicates", {"chance": 1}, "chance"),
    ("near_duplicates", {"min_detailed": 0}, "min_detailed"),
    ("near_duplicates", {"min_faint_agreement": 1}, "min_faint_agreement"),
    ("near_duplicates", {"sigmas": 0}, "sigmas"),
    ("scrambled_pixels", {"warning": 1}, "warning"),
    ("scrambled_pixels", {"warning": 5}, "failure"),
    ("scrambled_pixels", {"max_roughness": 1}, "max_roughness"),
    ("scrambled_pixels", {"max_correlation": 0}, "max_correlation"),
    ("scrambled_pixels", {"grey_correlation": 0.4}, "grey_correlation"),
    ("scrambled_pixels", {"sigmas": 0}, "sigmas"),
    ("channel_order", {"sigmas": 0}, "sigmas"),
    ("channel_order", {"max_left": 1}, "max_left"),
    ("channel_order", {"min_share": 0}, "min_share"),
    ("channel_order", {"min_share": 0.6}, "failure"),
    ("class_imbalance", {"max_ratio": 1}, "max_ratio"),
    ("class_imbalance", {"max_share": 1}, "max_share"),
    ("split_shift", {"mean_warning": 0}, "mean_warning"),
    ("split_shift", {"spread_warning": 1}, "spread_warning"),
    ("split_shift", {"mean_warning": 4}, "mean_failure"),
    ("split_shift", {"spread_warning": 11}, "spread_failure"),
    ("split_shift", {"max_class_distance": 1.5}, "max_class_distance"),
    ("label_noise", {"sigmas": 0}, "sigmas"),
    ("label_noise", {"max_standard_error": 0}, "max_standard_error"),
    ("label_noise", {"min_per_class": 0.5}, "min_per_class"),
    ("label_noise", {"min_images": 0}, "min_images"),
    ("label_noise", {"max_renamed": 1}, "max_renamed"),
    ("label_noise", {"max_disagreement": 0}, "max_disagreement"),
    ("label_noise", {"max_evenness": 1}, "max_evenness"),
    ("label_noise", {"min_classes": 2}, "min_classes"),
    ("label_noise", {"min_features": 0}, "min_features"),
    ("initial_loss", {"warning": 0}, "warning"),
    ("initial_loss", {"warning": 0.5, "failure": 0.4}, "failure"),
    ("initial_loss", {"warning_below": 0}, "warning_below"),
    ("input_ignored", {"min_margin": 1}, "min_margin"),
    ("schedule_length", {"min_share": 1}, "min_share"),
    ("schedule_length", {"max_share": 1}, "max_share"),
    ("schedule_length", {"min_moves": 1}, "min_moves"),
    ("schedule_length", {"min_rise": 1}, "min_rise"),
    ("rate_vanishes", {"min_share": 0.5}, "min_share"),
    ("rate_falls_early", {"min_improvement": 1}, "min_improvement"),
    ("rate_falls_early", {"max_share": 1}, "max_share"),
    ("rate_too_low", {"min_moved": 1}, "min_moved"),
    ("rate_too_low", {"min_memorized": 0}, "min_memorized"),
    ("rate_too_high", {"max_peak_ratio": 1}, "max_peak_ratio"),
]


def field_of_error(check: str, changes: dict[str, Any]) -> str | None:
    """The key that the error names; None if the rule is built."""
    try:
        rule_of(check, **changes)
    except UserError as error:
        return error.field
    return None


def test_every_threshold_of_every_rule_is_validated() -> None:
    """A negative number, a string and NaN are no threshold."""
    wrong = [(check, name, value) for check in MENU for name in thresholds(check) for value in (-1, "0.1", math.nan)]
    assert len(wrong) > 250
    assert [(check, name, value) for check, name, value in wrong if field_of_error(check, {name: value}) != name] == []


def test_thresholds_stay_within_their_bounds() -> None:
    refused = [(check, changes, field_of_error(check, changes)) for check, changes, _ in OUT_OF_RANGE]
    assert refused == OUT_OF_RANGE
