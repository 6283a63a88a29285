"""The picture of a confusion matrix: its cells by their share, names and counts where there is room."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.loggers.confusion_image import draw_confusion_matrix


def test_cells_are_darker_the_more_of_the_row_is_in_them() -> None:
    picture = draw_confusion_matrix([[9, 1, 0], [5, 5, 0], [0, 0, 0]], ["a", "b", "c"])
    assert picture.dtype == np.uint8
    assert picture.shape == (120 + 3 * 28, 120 + 3 * 28, 3)
    corners = picture[120 + 1 :: 28, 120 + 1 :: 28].sum(-1).astype(int)  # beside the counts, which are in the middle
    assert corners.shape == (3, 3)
    assert corners[0, 0] < corners[1, 0] == corners[1, 1] < corners[0, 1] < corners[0, 2] == corners[2, 2]


def test_names_and_counts_are_written() -> None:
    with_names, without = (
        draw_confusion_matrix([[1, 0], [0, 1]], ["cat", "dog"]),
        draw_confusion_matrix([[1, 0], [0, 1]], ["", ""]),
    )
    assert (with_names[:, :120] != without[:, :120]).any()  # rows
    assert (with_names[:120] != without[:120]).any()  # columns
    assert (
        draw_confusion_matrix([[1, 0], [0, 1]], ["", ""]) != draw_confusion_matrix([[7, 0], [0, 7]], ["", ""])
    ).any()


@pytest.mark.parametrize("classes", [2, 30, 31, 100, 1000])
def test_many_classes_make_no_huge_picture(classes: int) -> None:
    picture = draw_confusion_matrix(np.eye(classes, dtype=int).tolist(), [f"class number {i}" for i in range(classes)])
    assert max(picture.shape) <= 2000
    assert picture.min() < 50
