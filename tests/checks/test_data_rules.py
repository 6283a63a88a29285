"""Thresholds of the rules about data are refused when built wrongly, and named as the user typed them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

import pipeline.checks
from pipeline.errors import UserError

MENU = yaml.safe_load((Path(__file__).parents[2] / "conf" / "checks" / "default.yaml").read_text())["rules"]


@pytest.mark.parametrize(
    ("check", "changes", "field"),
    [
        ("constant_features", {"warning": 0}, "warning"),
        ("constant_features", {"warning": 0.5, "failure": 0.4}, "failure"),
        ("constant_features", {"failure": 1.1}, "failure"),
        ("constant_features", {"examples": 1}, "examples"),
        ("inputs_not_scaled", {"low": 0}, "low"),
        ("inputs_not_scaled", {"low": 2, "high": 2}, "high"),
        ("inputs_not_scaled", {"high": 10, "failure": 9}, "failure"),
        ("inputs_not_centred", {"info": 0}, "info"),
        ("inputs_not_centred", {"info": 2, "warning": 1}, "warning"),
        ("duplicate_examples", {"warning": 1}, "warning"),
        ("duplicate_examples", {"warning": 0.3, "failure": 0.2}, "failure"),
        ("duplicate_examples", {"copies": 0}, "copies"),
        ("duplicate_examples", {"bits": -1}, "bits"),
        ("class_imbalance", {"ratio": 1}, "ratio"),
        ("class_imbalance", {"share": 1}, "share"),
        ("split_shift", {"mean": 0}, "mean"),
        ("split_shift", {"spread": 1}, "spread"),
        ("split_shift", {"mean": 4}, "mean_failure"),
        ("split_shift", {"spread": 11}, "spread_failure"),
        ("split_shift", {"classes": 1.5}, "classes"),
        ("split_shift", {"errors": "4"}, "errors"),
        ("label_noise", {"errors": 0}, "errors"),
        ("label_noise", {"resolution": 0}, "resolution"),
        ("label_noise", {"per_class": 0.5}, "per_class"),
        ("label_noise", {"images": 0}, "images"),
        ("label_noise", {"renamed": 1}, "renamed"),
        ("label_noise", {"disagreement": 0}, "disagreement"),
        ("label_noise", {"evenness": 1}, "evenness"),
        ("label_noise", {"clear": float("nan")}, "clear"),
        ("label_noise", {"classes": 2}, "classes"),
        ("label_noise", {"features": 0}, "features"),
    ],
)
def test_thresholds_are_validated_when_built(check: str, changes: dict[str, Any], field: str) -> None:
    node = {key: value for key, value in (MENU[check] | changes).items() if not key.startswith("_")}
    with pytest.raises(UserError) as error:
        getattr(pipeline.checks, MENU[check]["_target_"].rpartition(".")[2])(**node)
    assert error.value.field == field
