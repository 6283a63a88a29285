"""The page of `predict`."""

from __future__ import annotations

import numpy as np

from pipeline.prediction.answers import Answer, Answers
from pipeline.report.prediction_page import prediction_page
from tests.report.pages import PageParser


def picture() -> np.ndarray:
    return np.zeros((4, 6, 3), np.uint8)


def test_pictures() -> None:
    """A section for each class, the most frequent first, and in it the least certain picture first."""
    answers = [
        Answer("x/a.png", ("<cat>",), {"<cat>": 0.6, "dog": 0.4}, picture()),
        Answer("x/b.png", ("dog",), {"dog": 0.9, "<cat>": 0.1}, picture()),
        Answer("x/c.png", ("dog",), {"dog": 0.7, "<cat>": 0.3}, picture()),
    ]
    page = prediction_page(Answers("classification", answers, {"x/d.png": "broken"}), run="outputs/run")
    parsed = PageParser(page)
    assert parsed.by_tag["h2"] == ["dog", "<cat>", "Could not be read"]
    assert parsed.tags.count("img") == 3
    assert page.index("c.png: dog") < page.index("b.png: dog")
    assert "http:" not in page.replace("http://www.w3.org", "")
    assert "broken" in parsed.texts


def test_labels_and_values() -> None:
    labels = [Answer("a", (), {"x": 0.1}, picture()), Answer("b", ("x",), {"x": 0.8}, picture())]
    assert PageParser(prediction_page(Answers("multilabel", labels), run="r")).by_tag["h2"] == ["No label", "x"]
    values = [Answer("a", (), {"cm": 3.5}, picture())]
    assert PageParser(prediction_page(Answers("regression", values), run="r")).by_tag["h2"] == ["Values"]


def test_rows_of_a_table() -> None:
    rows = [Answer("t.csv:2", ("old",), {"old": 0.75, "young": 0.25})]
    parsed = PageParser(prediction_page(Answers("classification", rows), run="r"))
    assert "t.csv:2" in parsed.texts
    assert parsed.tags.count("img") == 0
