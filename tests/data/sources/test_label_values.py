"""What values of labels mean, and what is refused because it could mean two things."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from pipeline.data.dataset import CLASSIFICATION, MULTILABEL, REGRESSION
from pipeline.data.sources.label_values import encode_labels
from pipeline.errors import UserError


def encode(labels: Any, **options: Any) -> tuple[str, list[Any], tuple[str, ...]]:
    """Return the task, the labels and the names for one split."""
    encoded = encode_labels({"train": labels}, **options)
    return encoded.task, encoded.splits["train"].tolist(), encoded.classes


@pytest.mark.parametrize(
    ("labels", "options", "expected"),
    [
        ([0, 2, 1], {}, (CLASSIFICATION, [0, 2, 1], ("0", "1", "2"))),
        ([np.int64(1), torch.tensor(0)], {}, (CLASSIFICATION, [1, 0], ("0", "1"))),
        ([torch.tensor([1]), torch.tensor([0])], {}, (CLASSIFICATION, [1, 0], ("0", "1"))),
        ([True, False], {}, (CLASSIFICATION, [1, 0], ("False", "True"))),
        (["b", "a", "b"], {}, (CLASSIFICATION, [1, 0, 1], ("a", "b"))),
        ([b"b", np.str_("a")], {}, (CLASSIFICATION, [1, 0], ("a", "b"))),
        (["b", "a"], {"names": ["b", "a"]}, (CLASSIFICATION, [0, 1], ("b", "a"))),
        ([1, 0], {"names": ["x", "y", "z"]}, (CLASSIFICATION, [1, 0], ("x", "y", "z"))),
        ([1.0, 0.0], {"task": "classification"}, (CLASSIFICATION, [1, 0], ("0", "1"))),
        ([1.0, 3.0], {"task": "regression"}, (REGRESSION, [[1.0], [3.0]], ("target",))),
        ([1, 3], {"task": "regression"}, (REGRESSION, [[1.0], [3.0]], ("target",))),
        ([0.5, -1.0], {}, (REGRESSION, [[0.5], [-1.0]], ("target",))),
        ([[0.5, 2.0], [1.0, 3.0]], {"names": ["a", "b"]}, (REGRESSION, [[0.5, 2.0], [1.0, 3.0]], ("a", "b"))),
        ([[1, 1], [0, 0]], {}, (MULTILABEL, [[1, 1], [0, 0]], ("0", "1"))),
        ([[1, 0], [0, 1]], {"task": "multilabel"}, (MULTILABEL, [[1, 0], [0, 1]], ("0", "1"))),
        ([[1, 0], [0, 1]], {"task": "classification"}, (CLASSIFICATION, [0, 1], ("0", "1"))),
        ([["b"], [], ["a", "b"]], {}, (MULTILABEL, [[0, 1], [0, 0], [1, 1]], ("a", "b"))),
        ([[0], [], [2, 0]], {}, (MULTILABEL, [[1, 0, 0], [0, 0, 0], [1, 0, 1]], ("0", "1", "2"))),
        (["a", "b"], {"task": "multilabel"}, (MULTILABEL, [[1, 0], [0, 1]], ("a", "b"))),
    ],
)
def test_values(labels: Any, options: Any, expected: Any) -> None:
    assert encode(labels, **options) == expected


def test_types_and_names_of_all_splits() -> None:
    encoded = encode_labels({"train": ["b", "c"], "test": ["a"]})
    assert encoded.classes == ("a", "b", "c")
    assert encoded.splits["train"].dtype == torch.int64
    assert encoded.splits["test"].tolist() == [0]
    assert encode_labels({"train": [[1, 1], [0, 1]]}).splits["train"].dtype == torch.float32


@pytest.mark.parametrize(
    ("labels", "options"),
    [
        ([0, None], {}),
        ([None, None], {}),
        ([0.5, float("nan")], {}),
        ([[0.5, float("nan")], [0.1, 0.7]], {}),
        ([0, "a"], {}),
        ([0, [1]], {}),
        ([-1, 0], {}),
        ([5, 0], {}),
        ([0.0, 1.0], {}),
        ([0.5, 1.0], {"task": "classification"}),
        ([[1, 0], [0, 1]], {}),
        ([[0.25, 0.75], [0.5, 0.5]], {}),
        ([[0.5], [0.5, 0.25]], {}),
        ([[[1, 0]], [[0, 1]]], {}),
        ([["a", 1]], {}),
        ([[-1], [0, 1]], {}),
        ([[10**9], [0, 1]], {}),
        ([[1, 1], [0, 1]], {"task": "classification"}),
        ([[0.5, 1], [0, 1]], {"task": "multilabel"}),
        ([1, 2], {"task": "multilabel"}),
        (["a", "b"], {"task": "regression"}),
        (["a", "x"], {"names": ["a", "b"]}),
        ([object(), object()], {}),
    ],
)
def test_refused(labels: Any, options: Any) -> None:
    with pytest.raises(UserError) as raised:
        encode(labels, field="label_column", **options)
    assert raised.value.field == "label_column"
