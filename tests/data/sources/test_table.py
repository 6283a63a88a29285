"""data=csv: tables of numbers and of images, with their splits, groups and weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.data import Source, split, validate_data
from pipeline.data.sources.table import table
from pipeline.data.tables.encoder import TableEncoder
from pipeline.data.tables.text_file import read_table
from pipeline.errors import UserError

DEFAULTS: dict[str, Any] = {
    "label": None, "task": "auto", "label_separator": None, "split_column": None, "groups": None, "weights": None,
    "drop": "auto", "categories": [], "path_column": None, "images": None, "size": None, "fit": "crop",
    "background": "white", "grayscale": False, "on_error": "refuse", "validation": 0.1, "test": 0.2, "split_seed": 0,
}  # fmt: skip
N = 100


def load(folder: Path, header: str, rows: list[str], **changes: Any) -> Source:
    (folder / "t.csv").write_text("\n".join([header, *rows]) + "\n")
    source = table(**{**DEFAULTS, **changes, "path": str(folder / "t.csv")})
    validate_data(source)
    return source


def test_what_is_fitted_is_fitted_to_the_training_rows(tmp_path: Path) -> None:
    """The missing number becomes the mean of the training rows of the split that the seed decides."""
    rows = [f"{i if i else ''},{'uv'[i % 2]}" for i in range(N)]
    source = load(tmp_path, "a,label", [f"{row}" for row in rows], drop=[])
    assert (source.val, source.test) != (None, None)
    assert [len(images) for images in source.splits.values()] == [70, 10, 20]
    values = {name: images.pixels.flatten(1) for name, images in source.splits.items()}
    train = values["train"]
    missing_in_training = train.shape[1] == 2
    known = train[train[:, 1] == 0, 0] if missing_in_training else train[:, 0]
    every = torch.cat([part[:, 0] for part in values.values()])
    filled = every[every != every.round()] if float(known.mean()) % 1 else every[every == known.mean()]
    assert filled.tolist() == pytest.approx([float(known.mean())], abs=1e-4)
    encoder = TableEncoder.from_state(source.reading)
    everything = encoder(read_table(tmp_path / "t.csv").columns)
    assert sorted(everything[:, 0].tolist()) == sorted(every.tolist())


def test_splits_groups_and_weights(tmp_path: Path) -> None:
    names = ["Train", "train", "validation", "TEST"]
    rows = [f"{i % 7 / 3},{names[i % 4]},p{i // 10},{i % 3 / 2},{'uv'[i % 3 == 0]}" for i in range(N)]
    source = load(tmp_path, "a,split,patient,w,label", rows, groups="patient", weights="w")
    assert source.classes == ("u", "v")
    assert source.train.pixels.shape == (50, 1, 1, 1)  # the other columns are no inputs
    assert source.val is not None
    assert source.val.weights is not None
    assert source.val.weights.tolist() == [i % 3 / 2 for i in range(2, N, 4)]
    assert source.train.groups is not None
    assert source.train.groups.tolist() == [i // 10 for i in range(N) if i % 4 < 2]
    chosen = source.train.select(torch.tensor([3, 1]))
    assert chosen.weights is not None
    assert chosen.weights.tolist() == [source.train.weights[3], source.train.weights[1]]  # type: ignore[index]


def test_groups_are_on_one_side(tmp_path: Path) -> None:
    rows = [f"{i % 7},{i // 5},{'uv'[i % 2]}" for i in range(N)]
    source = load(tmp_path, "a,patient,label", rows, groups="patient")
    found = [set(images.groups.tolist()) for images in source.splits.values() if images.groups is not None]
    assert len(found) == 3
    assert not found[0] & found[1] | found[0] & found[2] | found[1] & found[2]


def test_targets(tmp_path: Path) -> None:
    rows = [f"{i % 7},{1.7e9 + i}" for i in range(N)]
    source = load(tmp_path, "a,target", rows)
    data = split(source, validation=0.1, test=0.1, seed=0, limit=None)
    assert (data.task, data.train.labels.shape) == ("regression", (70, 1))
    assert float(data.train.labels.std(correction=0)) == pytest.approx(1, abs=1e-5)
    assert len(set(data.train.labels.flatten().tolist())) == 70  # no two times became one


def save_images(folder: Path, n: int) -> None:
    (folder / "pictures").mkdir()
    for i in range(n):
        Image.fromarray(np.full((6, 5), i, np.uint8)).save(folder / "pictures" / f"{i}.png")


@pytest.mark.parametrize(
    ("cell", "changes"),
    [
        ("pictures/{}.png", {}),
        ("{}.png", {"images": "pictures"}),
        ("pictures\\{}.png", {}),
        ("{}", {"images": "pictures", "path_column": "file"}),
    ],
)
def test_images(cell: str, changes: dict[str, Any], tmp_path: Path) -> None:
    save_images(tmp_path, 20)
    rows = [f"{cell.format(i)},{'uv'[i % 2]},{i}" for i in range(19, -1, -1)]
    if "images" in changes:
        changes = {**changes, "images": str(tmp_path / changes["images"])}
    source = load(tmp_path, "file,label,other", rows, grayscale=True, **changes)
    assert source.train.pixels.shape == (20, 1, 6, 5)
    assert source.train.pixels[:][:, 0, 0, 0].tolist() == list(range(19, -1, -1))
    assert source.train.labels.tolist() == [i % 2 for i in range(19, -1, -1)]
    assert source.reading["kind"] == "image"
    assert source.reading["grayscale"] is True


def test_images_that_do_not_exist(tmp_path: Path) -> None:
    save_images(tmp_path, 20)
    rows = [f"pictures/{i}.png,{'uv'[i % 2]}" for i in range(22)]
    with pytest.raises(UserError, match="2 of 22") as error:
        load(tmp_path, "file,label", rows)
    assert error.value.field == "path_column"
    source = load(tmp_path, "file,label", rows, on_error="skip")
    assert len(source.train) == 20
    assert source.loading["notes"][0].startswith("2 files")


def test_notes(tmp_path: Path) -> None:
    """What was decided is said."""
    source = load(tmp_path, "id,a,label", [f"{i},{i % 7 or ''},{i % 2}" for i in range(N)])
    notes = " ".join(source.loading["notes"])
    for fact in ("label are 2 classes", "id (data.drop=[]", "missing in a"):
        assert fact in notes
