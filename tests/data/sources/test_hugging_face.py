"""Data sets of `datasets` on disk and Parquet files: columns, splits, images that nobody decoded, and mistakes."""

from __future__ import annotations

import io
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Picture

from pipeline.data.dataset import CLASSIFICATION, MULTILABEL, REGRESSION, Source, Splits
from pipeline.data.sources.hugging_face import hugging_face
from pipeline.data.splits import split
from pipeline.data.storage import settle
from pipeline.errors import UserError
from tests.data.sources.user_datasets import picture

datasets = pytest.importorskip("datasets")
pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

DEFAULTS: dict[str, Any] = {
    "splits": None,
    "image_column": None,
    "label_column": None,
    "task": "auto",
    "size": None,
    "fit": "crop",
    "background": "white",
    "grayscale": None,
    "on_error": "refuse",
    "scale": None,
}


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Fail for every attempt to reach another machine, and keep the cache of `datasets` out of the user's."""
    tried: list[Any] = []

    def refuse(*args: Any, **_: Any) -> None:
        tried.append(args)
        raise OSError("no network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
    datasets.disable_progress_bars()
    yield
    assert tried == []


def load(path: Path, **options: Any) -> Source:
    """Return the source with the options of conf/data/huggingface.yaml, changed by `options`."""
    return hugging_face(path=str(path), **{**DEFAULTS, **options})


def table(count: int = 6, **columns: Any) -> Any:
    """Return a data set of pictures with the feature Image, and names of classes."""
    features = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=["cat", "dog", "owl"]))
    rows = {"image": [picture(i % 3, i) for i in range(count)], "label": [i % 3 for i in range(count)]}
    return datasets.Dataset.from_dict(rows | columns, features=features)


def expected(count: int = 6) -> np.ndarray:
    return np.stack([np.asarray(picture(i % 3, i)).transpose(2, 0, 1) for i in range(count)])


def encoded(image: Picture.Image, form: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def test_saved_to_disk(tmp_path: Path) -> None:
    table().save_to_disk(tmp_path / "one")
    source = load(tmp_path / "one")
    assert np.array_equal(source.train.pixels[:].numpy(), expected())
    assert (source.classes, source.task, source.scale) == (("cat", "dog", "owl"), CLASSIFICATION, 1 / 255)
    assert source.train.labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert source.reading["kind"] == "image"
    assert (source.name, source.path, source.test) == ("one", str(tmp_path / "one"), None)
    parts = datasets.DatasetDict(train=table(9), validation=table(3), test=table(6))
    parts.save_to_disk(tmp_path / "three")
    source = load(tmp_path / "three")
    assert {name: len(images) for name, images in source.splits.items()} == {"train": 9, "val": 3, "test": 6}
    assert source.test is not None
    assert np.array_equal(source.test.pixels[:].numpy(), expected())


def test_chosen_rows_keep_their_images(tmp_path: Path) -> None:
    table().select([4, 1, 3]).save_to_disk(tmp_path / "set")
    source = load(tmp_path / "set")
    assert np.array_equal(source.train.pixels[:].numpy(), expected()[[4, 1, 3]])


def test_parquet(tmp_path: Path) -> None:
    table().to_parquet(tmp_path / "all.parquet")
    source = load(tmp_path / "all.parquet")
    assert np.array_equal(source.train.pixels[:].numpy(), expected())
    assert source.classes == ("cat", "dog", "owl")
    folder = tmp_path / "folder" / "data"
    folder.mkdir(parents=True)
    table(6).to_parquet(folder / "train-00000-of-00002.parquet")
    table(3).to_parquet(folder / "train-00001-of-00002.parquet")
    table(3).to_parquet(folder / "validation-00000-of-00001.parquet")
    source = load(tmp_path / "folder")
    assert {name: len(images) for name, images in source.splits.items()} == {"train": 9, "val": 3}


def test_parquet_of_other_programs(tmp_path: Path) -> None:
    cells = [{"bytes": encoded(picture(i % 3, i)), "path": f"{i}.png"} for i in range(6)]
    words = ["cat", "dog", "owl"] * 2
    parquet.write_table(pyarrow.table({"img": cells, "labels": words, "id": list(range(6))}), tmp_path / "a.parquet")
    source = load(tmp_path / "a.parquet")
    assert np.array_equal(source.train.pixels[:].numpy(), expected())
    assert source.classes == ("cat", "dog", "owl")
    raw = pyarrow.table({"scan": [cell["bytes"] for cell in cells], "kind": words})
    parquet.write_table(raw, tmp_path / "b.parquet")
    source = load(tmp_path / "b.parquet", image_column="scan", label_column="kind")
    assert np.array_equal(source.train.pixels[:].numpy(), expected())
    numbers = pyarrow.table({"x": [[0.5 * i, 1.0] for i in range(4)], "y": [0.25, 0.5, 0.75, 1.5]})
    parquet.write_table(numbers, tmp_path / "c.parquet")
    source = load(tmp_path / "c.parquet")
    assert (source.task, source.train.pixels.shape) == (REGRESSION, (4, 2, 1, 1))
    assert source.reading == {"kind": "array"}


def test_arrays(tmp_path: Path) -> None:
    arrays = np.arange(6 * 3 * 4 * 5, dtype=np.uint8).reshape(6, 3, 4, 5)
    features = datasets.Features(pixel_values=datasets.Array3D((3, 4, 5), "uint8"), label=datasets.Value("int64"))
    rows = {"pixel_values": list(arrays), "label": [0, 1] * 3}
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(tmp_path / "set")
    source = load(tmp_path / "set")
    assert source.train.pixels.dtype == torch.uint8
    assert np.array_equal(source.train.pixels[:].numpy(), arrays)
    assert source.classes == ("0", "1")


def test_several_labels(tmp_path: Path) -> None:
    names = datasets.List(datasets.ClassLabel(names=["red", "round"]))
    features = datasets.Features(image=datasets.Image(), label=names)
    rows = {"image": [picture(0, i) for i in range(3)], "label": [[0], [], [0, 1]]}
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(tmp_path / "set")
    source = load(tmp_path / "set")
    assert (source.task, source.classes) == (MULTILABEL, ("red", "round"))
    assert source.train.labels.tolist() == [[1, 0], [0, 0], [1, 1]]


def test_images_are_read_as_files_are(tmp_path: Path) -> None:
    wide = Picture.fromarray(np.arange(4 * 8 * 3, dtype=np.uint8).reshape(4, 8, 3))
    turned = Picture.Exif()
    turned[0x0112] = 6  # a quarter to the right
    clear = Picture.new("RGBA", (4, 4), (0, 0, 0, 0))
    cells = [encoded(wide, exif=turned), encoded(wide), encoded(clear)]
    parquet.write_table(
        pyarrow.table({"image": [{"bytes": cell, "path": None} for cell in cells], "label": [0, 1, 0]}),
        tmp_path / "a.parquet",
    )
    source = load(tmp_path / "a.parquet", size=4, fit="stretch", background="black")
    pixels = source.train.pixels[:]
    upright = wide.transpose(Picture.Transpose.ROTATE_270).resize((4, 4), Picture.Resampling.BILINEAR)
    assert np.array_equal(pixels[0].numpy(), np.asarray(upright).transpose(2, 0, 1))
    assert pixels[2].unique().tolist() == [0]
    assert source.reading == {
        "kind": "image",
        "size": 4,
        "fit": "stretch",
        "background": "black",
        "grayscale": False,
    }


def test_a_key_for_the_cache(tmp_path: Path) -> None:
    table().save_to_disk(tmp_path / "a")
    table(7).save_to_disk(tmp_path / "b")
    rows = range(6)
    keys = [
        load(tmp_path / name, **options).train.pixels.key_of(rows)  # type: ignore[union-attr]
        for name, options in (("a", {}), ("a", {}), ("b", {}), ("a", {"size": 4}))
    ]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3


def decode_all(load_source: Callable[[Path], Source], path: Path) -> Splits:
    """Load, split and decode as a run does."""
    return settle(split(load_source(path), validation=0.25, test=0.25, seed=0, limit=None), cache="memory")


def broken(folder: Path, kind: str) -> Path:
    """Write a set that is broken in the way `kind`; return the path to load."""
    file = folder / "a.parquet"
    image = [encoded(picture(i % 2, i)) for i in range(12)]
    columns: dict[str, Any] = {"image": image, "label": [0, 1] * 6}
    if kind == "absent":
        return folder / "user" / "set"
    if kind == "empty folder":
        (folder / "notes.txt").write_text("nothing")
        return folder
    if kind == "text":
        file.write_text("image,label\n")
        return file
    if kind == "cut off":
        parquet.write_table(pyarrow.table(columns), file)
        file.write_bytes(file.read_bytes()[:-100])
        return file
    if kind == "saved, then cut off":
        table().save_to_disk(folder / "set")
        arrow = next((folder / "set").glob("*.arrow"))
        arrow.write_bytes(arrow.read_bytes()[:300])
        return folder / "set"
    if kind == "saved, then lost":
        table().save_to_disk(folder / "set")
        next((folder / "set").glob("*.arrow")).unlink()
        return folder / "set"
    if kind == "no training":
        datasets.DatasetDict(test=table()).save_to_disk(folder / "set")
        return folder / "set"
    if kind == "other parts":
        datasets.DatasetDict(train=table(), unseen=table()).save_to_disk(folder / "set")
        return folder / "set"
    if kind == "no labels in the test part":
        datasets.DatasetDict(train=table(), test=table(3, label=[-1] * 3)).save_to_disk(folder / "set")
        return folder / "set"
    if kind == "some names say a split":
        for name in ("train-0.parquet", "more.parquet"):
            parquet.write_table(pyarrow.table(columns), folder / name)
        return folder
    changes: dict[str, Any] = {
        "no image column": {"image": None, "photo": image},
        "no label column": {"label": None, "kind": [0, 1] * 6},
        "no rows": {"image": pyarrow.array([], "binary"), "label": pyarrow.array([], "int64")},
        "a damaged image": {"image": [*image[:3], image[3][:60], *image[4:]]},
        "no image at all": {"image": [b"this is text"] * 12},
        "a missing image": {"image": [*image[:3], None, *image[4:]]},
        "a missing label": {"label": [0, 1, None, 1] * 3},
        "an address": {"image": ["https://example.org/1.png"] * 12},
        "a lost file": {"image": ["1.png"] * 12},
        "several sizes": {"image": [*image[:3], encoded(picture(1, side=9)), *image[4:]]},
        "a label that is a record": {"label": [{"id": 1}] * 12},
    }
    columns = {name: values for name, values in (columns | changes[kind]).items() if values is not None}
    parquet.write_table(pyarrow.table(columns), file)
    return file


@pytest.mark.parametrize(
    ("kind", "field", "word"),
    [
        ("absent", "path", "save_to_disk"),
        ("empty folder", "path", "holds no data set"),
        ("text", "path", "not a Parquet file"),
        ("cut off", "path", "a.parquet"),
        ("saved, then cut off", "path", "set"),
        ("saved, then lost", "path", "set"),
        ("no training", "splits", "test"),
        ("other parts", "splits", "unseen"),
        ("no labels in the test part", "label_column", "test"),
        ("some names say a split", "path", "more.parquet"),
        ("no image column", "image_column", "photo"),
        ("no label column", "label_column", "kind"),
        ("no rows", "path", "no rows"),
        ("a damaged image", "path", "row 3"),
        ("no image at all", "path", "row 0"),
        ("a missing image", "path", "row 3"),
        ("a missing label", "label_column", "3 of 12"),
        ("an address", "path", "nothing is downloaded"),
        ("a lost file", "path", "1.png"),
        ("several sizes", "path", "data.size"),
        ("a label that is a record", "label_column", "id"),
    ],
)
def test_broken_sets(tmp_path: Path, kind: str, field: str, word: str) -> None:
    path = broken(tmp_path, kind)
    with pytest.raises(UserError) as raised:
        decode_all(load, path)
    assert raised.value.field == field
    assert word in raised.value.message


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"image_column": "imgae"}, "image_column"),
        ({"label_column": "lable"}, "label_column"),
        ({"splits": {"train": "trian"}}, "splits"),
        ({"splits": {"training": "train"}}, "splits"),
        ({"splits": 3}, "splits"),
        ({"on_error": "ignore"}, "on_error"),
        ({"grayscale": 1}, "grayscale"),
        ({"size": "big"}, "size"),
    ],
)
def test_mistyped_options(tmp_path: Path, options: dict[str, Any], field: str) -> None:
    table().save_to_disk(tmp_path / "set")
    with pytest.raises(UserError) as raised:
        load(tmp_path / "set", **options)
    assert raised.value.field == field
