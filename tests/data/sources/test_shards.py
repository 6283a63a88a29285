"""Tar files in the layout of WebDataset: what is read from them, and those that are broken."""

from __future__ import annotations

import gc
import gzip
import io
import json
import tarfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.data.dataset import CLASSIFICATION, MULTILABEL, REGRESSION, Source
from pipeline.data.sources.shards import shards
from pipeline.data.splits import split
from pipeline.data.storage import settle
from pipeline.errors import UserError
from tests.data.sources.user_datasets import picture

webdataset = pytest.importorskip("webdataset")

DEFAULTS: dict[str, Any] = {
    "image_key": None,
    "label_key": None,
    "task": "auto",
    "size": None,
    "fit": "crop",
    "background": "white",
    "grayscale": None,
    "on_error": "refuse",
    "scale": None,
}


def load(path: Any, **options: Any) -> Source:
    """Return the source with the options of conf/data/shards.yaml, changed by `options`."""
    return shards(path=str(path), **{**DEFAULTS, **options})


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def write(file: Path, members: Sequence[tuple[str, bytes]]) -> Path:
    """Write a tar file with these members."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, "w") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file


def members(count: int, *, start: int = 0, label: str = "cls") -> list[tuple[str, bytes]]:
    """Return pictures and labels for `write`."""
    texts = [str(i % 3) if label == "cls" else ("cat", "dog", "owl")[i % 3] for i in range(count)]
    pairs = [
        [(f"{start + i:04}.png", png(picture(i % 3, i))), (f"{start + i:04}.{label}", texts[i].encode())]
        for i in range(count)
    ]
    return [member for pair in pairs for member in pair]


def expected(count: int) -> np.ndarray:
    return np.stack([np.asarray(picture(i % 3, i)).transpose(2, 0, 1) for i in range(count)])


def test_a_folder_with_official_splits(tmp_path: Path) -> None:
    write(tmp_path / "train-000.tar", members(6, label="txt"))
    write(tmp_path / "train-001.tar", members(3, start=6, label="txt"))
    write(tmp_path / "val-000.tar", members(3, label="txt"))
    write(tmp_path / "test" / "a.tar", members(6, label="txt"))
    source = load(tmp_path)
    assert {name: len(images) for name, images in source.splits.items()} == {"train": 9, "val": 3, "test": 6}
    assert np.array_equal(source.train.pixels[:].numpy(), np.concatenate([expected(6), expected(3)]))
    assert source.test is not None
    assert np.array_equal(source.test.pixels[torch.tensor([4, 1])].numpy(), expected(6)[[4, 1]])
    assert (source.classes, source.task) == (("cat", "dog", "owl"), CLASSIFICATION)
    assert source.train.labels.tolist() == [0, 1, 2] * 3
    assert source.reading["kind"] == "image"
    assert source.path == str(tmp_path)


def test_names_with_braces(tmp_path: Path) -> None:
    for i in range(3):
        write(tmp_path / f"part-{i:03}.tar", members(3, start=3 * i))
    source = load(tmp_path / "part-{000..002}.tar")
    assert (len(source.train), source.val, source.test) == (9, None, None)
    assert load(tmp_path / "part-001.tar").train.labels.tolist() == [0, 1, 2]
    for name in ("part-{000..003}.tar", "part-{000..002.tar", "other.tar", "https://example.org/{0..1}.tar"):
        with pytest.raises(UserError) as raised:
            load(name if "://" in name else tmp_path / name)
        assert raised.value.field == "path"


def test_what_webdataset_writes(tmp_path: Path) -> None:
    with webdataset.ShardWriter(str(tmp_path / "train-%03d.tar"), maxcount=4, verbose=0) as writer:
        for i in range(6):
            label = {"label": ("cat", "dog")[i % 2], "source": "a"}
            writer.write({"__key__": f"{i:04}", "jpg": np.asarray(picture(i % 2, i)), "json": label})
    source = load(tmp_path)
    assert source.classes == ("cat", "dog")
    assert load(tmp_path, label_key="source", task="classification").classes == ("a",)
    urls = [str(file) for file in sorted(tmp_path.glob("*.tar"))]
    with warnings.catch_warnings():  # it leaves its files open
        warnings.simplefilter("ignore", ResourceWarning)
        reference = list(webdataset.WebDataset(urls, shardshuffle=False).decode("rgb8"))
        gc.collect()
    pixels = np.stack([sample["jpg"].transpose(2, 0, 1) for sample in reference])
    assert np.array_equal(source.train.pixels[:].numpy(), pixels)


def test_labels_in_json_and_arrays(tmp_path: Path) -> None:
    array = io.BytesIO()
    np.save(array, np.full((4, 5), 0.25, np.float32))
    labels = [[0.5, 1.5], [0.25, 0.75], [1.5, 2.5]]
    parts = [
        member
        for i, label in enumerate(labels)
        for member in ((f"{i}.npy", array.getvalue()), (f"{i}.json", json.dumps(label).encode()))
    ]
    source = load(write(tmp_path / "a.tar", parts))
    assert (source.task, source.train.labels.tolist()) == (REGRESSION, labels)
    assert source.train.pixels[:].unique().tolist() == [0.25]
    assert source.train.pixels.shape == (3, 1, 4, 5)
    tags = [["red"], [], ["red", "round"]]
    parts = [
        member
        for i, tag in enumerate(tags)
        for member in ((f"{i}.png", png(picture(0))), (f"{i}.json", json.dumps({"label": tag}).encode()))
    ]
    source = load(write(tmp_path / "b.tar", parts))
    assert (source.task, source.classes) == (MULTILABEL, ("red", "round"))
    assert source.train.labels.tolist() == [[1, 0], [0, 0], [1, 1]]


def test_one_of_several_images(tmp_path: Path) -> None:
    extra = [(f"{i:04}.mask.png", png(picture(0, i, mode="L"))) for i in range(3)]
    file = write(tmp_path / "a.tar", members(3) + extra)
    assert np.array_equal(load(file, image_key="png").train.pixels[:].numpy(), expected(3))
    assert load(file, image_key="mask.png").train.pixels.shape == (3, 1, 8, 8)
    for key in (None, "jpg"):
        with pytest.raises(UserError, match="0000"):
            load(file, image_key=key)


def test_images_are_read_from_their_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = load(write(tmp_path / "a.tar", members(30)))
    opened: list[str] = []
    original = Path.open

    def record(path: Path, *args: Any, **options: Any) -> Any:
        opened.append(path.name)
        return original(path, *args, **options)

    monkeypatch.setattr(Path, "open", record)
    assert np.array_equal(source.train.pixels[torch.tensor([17])].numpy(), expected(30)[[17]])
    assert opened == ["a.tar"]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.tar"]


def test_damaged_images_may_be_left_out(tmp_path: Path) -> None:
    parts = members(12)
    parts[8] = (parts[8][0], parts[8][1][:80])
    file = write(tmp_path / "a.tar", parts)
    data = decode_all(file, on_error="skip")
    assert sum(data.sizes.values()) == 11
    assert "a.tar: 0004" in data.loading["notes"][0]
    assert decode_all(file, on_error="skip").fingerprint() == data.fingerprint()


def test_a_key_for_the_cache(tmp_path: Path) -> None:
    write(tmp_path / "a.tar", members(6))
    keys = [load(tmp_path / "a.tar").train.pixels.key_of(range(6)) for _ in range(2)]  # type: ignore[union-attr]
    write(tmp_path / "a.tar", members(9))
    changed = load(tmp_path / "a.tar").train.pixels.key_of(range(6))  # type: ignore[union-attr]
    assert keys[0] == keys[1] != changed


def decode_all(path: Path, **options: Any) -> Any:
    """Load, split and decode as a run does."""
    source = load(path, **options)
    return settle(split(source, validation=0.25, test=0.25, seed=0, limit=None), cache="memory")


def broken(folder: Path, kind: str) -> Path:
    """Write shards that are broken in the way `kind`; return the path to load."""
    file = folder / "a.tar"
    parts = members(12)
    if kind == "absent":
        return folder / "none"
    if kind == "no shards":
        (folder / "a.txt").write_text("nothing")
        return folder
    if kind == "empty file":
        file.write_bytes(b"")
        return file
    if kind == "text":
        file.write_text("not a tar file\n" * 100)
        return file
    if kind == "compressed":
        content = write(file, parts).read_bytes()
        file.write_bytes(gzip.compress(content))
        return file
    if kind == "compressed names":
        (folder / "a.tar.gz").write_bytes(gzip.compress(b""))
        return folder
    if kind == "cut off":
        content = write(file, parts).read_bytes()
        file.write_bytes(content[: 512 * 9 + 100])
        return file
    if kind == "torn header":
        content = bytearray(write(file, parts).read_bytes())
        second = content.index(b"0006.png")
        content[second : second + 400] = b"x" * 400
        file.write_bytes(content)
        return file
    if kind == "only val":
        write(folder / "val-0.tar", parts)
        return folder
    if kind == "mixed names":
        write(folder / "train-0.tar", parts)
        write(folder / "more.tar", parts)
        return folder
    changes: Mapping[str, Any] = {
        "no members": [],
        "no label": parts[:-1],
        "no image": parts[:-2] + parts[-1:],
        "a key twice": parts + parts[:1],
        "an empty label": [*parts[:-1], ("0011.cls", b"")],
        "a binary label": [*parts[:-1], ("0011.cls", b"\xff\xfe\x00")],
        "broken json": [*parts[:-1], ("0011.json", b"{label: 1}")],
        "json without label": [*parts[:-1], ("0011.json", b'{"kind": 1}')],
        "words and numbers": [*parts[:-1], ("0011.cls", b"cat")],
        "a negative class": [*parts[:-1], ("0011.cls", b"-1")],
        "an empty image": [*parts[:-2], ("0011.png", b""), parts[-1]],
        "a pickled array": [("0000.npy", _pickled()), ("0000.cls", b"0")],
        "several sizes": [*parts[:-2], ("0011.png", png(picture(0, side=9))), parts[-1]],
    }
    return write(file, changes[kind])


def _pickled() -> bytes:
    file = io.BytesIO()
    np.save(file, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    return file.getvalue()


@pytest.mark.parametrize(
    ("kind", "field", "word"),
    [
        ("absent", "path", "none"),
        ("no shards", "path", "no .tar files"),
        ("empty file", "path", "a.tar"),
        ("text", "path", "a.tar"),
        ("compressed", "path", "gunzip"),
        ("compressed names", "path", "gunzip"),
        ("cut off", "path", "damaged"),
        ("torn header", "path", "0005.cls"),
        ("only val", "path", "training"),
        ("mixed names", "path", "more.tar"),
        ("no members", "path", "no examples"),
        ("no label", "path", "0011"),
        ("no image", "path", "0011"),
        ("a key twice", "path", "0000.png"),
        ("an empty label", "path", "0011.cls"),
        ("a binary label", "path", "0011.cls"),
        ("broken json", "path", "0011.json"),
        ("json without label", "label_key", "kind"),
        ("words and numbers", "label_key", "'cat'"),
        ("a negative class", "label_key", "-1"),
        ("an empty image", "path", "0011"),
        ("a pickled array", "path", "0000"),
        ("several sizes", "path", "data.size"),
    ],
)
def test_broken_shards(tmp_path: Path, kind: str, field: str, word: str) -> None:
    path = broken(tmp_path, kind)
    with pytest.raises(UserError) as raised:
        decode_all(path)
    assert raised.value.field == field
    assert word in raised.value.message


def test_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.validation.find_spec", lambda package: None)
    with pytest.raises(UserError, match=r"\[webdataset\]"):
        load(tmp_path)
