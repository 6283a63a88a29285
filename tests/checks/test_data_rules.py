"""Thresholds of the rules about data are refused when built wrongly, and named as the user typed them."""

from __future__ import annotations

from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import pytest
import yaml

from pipeline.errors import UserError

MENU = yaml.safe_load((Path(__file__).parents[2] / "conf" / "checks" / "default.yaml").read_text())["rules"]


@pytest.mark.parametrize(
    ("check", "changes", "field"),
    [
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
        ("duplicate_examples", {"min_bits": -1}, "min_bits"),
        ("class_imbalance", {"max_ratio": 1}, "max_ratio"),
        ("class_imbalance", {"max_share": 1}, "max_share"),
        ("split_shift", {"mean_warning": 0}, "mean_warning"),
        ("split_shift", {"spread_warning": 1}, "spread_warning"),
        ("split_shift", {"mean_warning": 4}, "mean_failure"),
        ("split_shift", {"spread_warning": 11}, "spread_failure"),
        ("split_shift", {"max_class_distance": 1.5}, "max_class_distance"),
        ("split_shift", {"sigmas": "4"}, "sigmas"),
        ("label_noise", {"sigmas": 0}, "sigmas"),
        ("label_noise", {"max_standard_error": 0}, "max_standard_error"),
        ("label_noise", {"min_per_class": 0.5}, "min_per_class"),
        ("label_noise", {"min_images": 0}, "min_images"),
        ("label_noise", {"max_renamed": 1}, "max_renamed"),
        ("label_noise", {"max_disagreement": 0}, "max_disagreement"),
        ("label_noise", {"max_evenness": 1}, "max_evenness"),
        ("label_noise", {"min_clear": float("nan")}, "min_clear"),
        ("label_noise", {"min_classes": 2}, "min_classes"),
        ("label_noise", {"min_features": 0}, "min_features"),
    ],
)
def test_thresholds_are_validated_when_built(check: str, changes: dict[str, Any], field: str) -> None:
    node = {key: value for key, value in (MENU[check] | changes).items() if not key.startswith("_")}
    with pytest.raises(UserError) as error:
        resolve_name(MENU[check]["_target_"])(**node)
    assert error.value.field == field
