"""The image of a confusion matrix: cells by their fraction of the row, names and counts where there is room."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.loggers.confusion_image import draw_confusion_matrix


def test_cells_are_darker_with_their_fraction() -> None:
    image = draw_confusion_matrix([[9, 1, 0], [5, 5, 0], [0, 0, 0]], ["a", "b", "c"])
    assert image.dtype == np.uint8
    assert image.shape == (120 + 3 * 28, 120 + 3 * 28, 3)
    corners = image[120 + 1 :: 28, 120 + 1 :: 28].sum(-1).astype(int)  # beside the counts, which are in the middle
    assert corners.shape == (3, 3)
    assert corners[0, 0] < corners[1, 0] == corners[1, 1] < corners[0, 1] < corners[0, 2] == corners[2, 2]


def test_names_and_counts() -> None:
    diagonal = [[1, 0], [0, 1]]
    named, unnamed = (draw_confusion_matrix(diagonal, names) for names in (["cat", "dog"], ["", ""]))
    assert (named[:, :120] != unnamed[:, :120]).any(), "rows have names"
    assert (named[:120] != unnamed[:120]).any(), "columns have names"
    assert (unnamed != draw_confusion_matrix([[7, 0], [0, 7]], ["", ""])).any(), "cells have counts"


@pytest.mark.parametrize("classes", [2, 30, 31, 100, 1000])
def test_size_with_many_classes(classes: int) -> None:
    image = draw_confusion_matrix(np.eye(classes, dtype=int).tolist(), [f"class number {i}" for i in range(classes)])
    assert max(image.shape) <= 2000
    assert image.min() < 50
