"""The stage `data`: planted faults are found and shown, without a network; test images are looked at too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

import pipeline


def write_data(path: Path) -> None:
    """Write images of two classes with a blank one, one that is in two splits, and one with three wrong labels."""
    random = np.random.default_rng(0)
    labels = np.arange(300) % 2
    images = random.integers(0, 60, (300, 12, 12)) + 120 * labels[:, None, None]
    images[4] = 7
    images[200] = images[10]
    labels[[21, 41, 61]] = 0
    train, test = slice(0, 200), slice(200, 300)
    x = images.astype(np.uint8)
    np.savez(path, x_train=x[train], y_train=labels[train], x_test=x[test], y_test=labels[test])


def test_suspects(tmp_path: Path) -> None:
    write_data(tmp_path / "mine.npz")
    overrides = ["data=npz", f"data.path={tmp_path / 'mine.npz'}", f"outputs={tmp_path / 'out'}", "stage=data"]
    result = pipeline.run([*overrides, "stages.data.pictures=5"])
    assert [outcome.name for outcome in result.outcomes] == ["data"]
    suspects = result.metrics["data"]["suspects"]
    assert [one["note"] for one in suspects["blank"]] == ["one colour"]
    assert [one["split"] for one in suspects["repeated"]] == ["test"]
    assert 1 <= len(suspects["class"]) <= 3
    assert suspects["class"][0]["label"] == "0"
    page = (result.directory / "report.html").read_text()
    assert "Images of a single colour" in page
    assert "Images unlike their class" in page
    assert page.count("<h2>data") == 1  # with what the data look like


def test_needs_no_loss(tmp_path: Path) -> None:
    """Targets are looked at with the default loss, which is not for them, and fewer examples than a batch has."""
    random = np.random.default_rng(0)
    np.savez(tmp_path / "t.npz", x_train=random.normal(size=(60, 4)), y_train=random.normal(size=60))
    result = pipeline.run(["data=npz", f"data.path={tmp_path / 't.npz'}", f"outputs={tmp_path / 'out'}", "stage=data"])
    assert result.status == "passed"


def test_files_are_named(tmp_path: Path) -> None:
    """A suspect has the name of its file, whichever split and place it went to."""
    random = np.random.default_rng(0)
    for name, shade in (("dark", 40), ("light", 180)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(30):
            pixels = (shade + random.integers(0, 40, (9, 9, 3))).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{number:02}.png")
    Image.new("RGB", (9, 9)).save(tmp_path / "photos" / "light" / "17.png")
    words = ["data=image_folder", f"data.path={tmp_path / 'photos'}", f"outputs={tmp_path / 'out'}", "report=false"]
    result = pipeline.run([*words, "stage=data"])
    (blank,) = result.metrics["data"]["suspects"]["blank"]
    assert blank["file"] == "light/17.png"
    assert blank["label"] == "light"
