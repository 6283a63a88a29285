"""Folders and files that cannot be used: each is refused with one message that names the file or the key, or said.

Every case begins with a sound folder of two classes, `cat` and `dog`, and breaks it.
"""

from __future__ import annotations

import functools
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.config.compose import compose_config
from pipeline.config.to_dict import to_dict
from pipeline.data import Splits
from pipeline.errors import UserError
from pipeline.workflow.build import load_data

Break = Callable[[Path], object]


def write(file: Path, *, size: tuple[int, int] = (6, 6), level: int = 90) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size, 3), level, np.uint8)).save(file)
    return file


def sound(root: Path, *, images: int = 6) -> Path:
    for name, level in (("cat", 60), ("dog", 200)):
        for i in range(images):
            write(root / name / f"{i}.png", level=level + i)
    return root


@functools.cache
def options() -> dict[str, Any]:
    node: dict[str, Any] = to_dict(compose_config(["data=image_folder", "data.path=x", "data.cache=memory"]))["data"]
    return node | {"validation": 0.25, "test": 0.25}


def load(root: Path, **changes: Any) -> Splits:
    """Return the splits with the options of conf/data/image_folder.yaml and `changes`."""
    node = options()
    return load_data(node | {"path": str(root), "source": {**node["source"], "path": str(root), **changes}})


def rename(root: Path, **names: str) -> None:
    for old, new in names.items():
        (root / old).rename(root / new)


def into(root: Path, *splits: str) -> None:
    """Make of a sound folder one with splits, each with a sound folder in it."""
    for name in ("cat", "dog"):
        for file in (root / name).iterdir():
            file.unlink()
        (root / name).rmdir()
    for split in splits:
        sound(root / split)


def without_endings(root: Path) -> None:
    for file in (root / "cat").iterdir():
        file.rename(file.with_suffix(""))


def broken(root: Path, name: str, content: bytes) -> None:
    (root / "cat" / name).write_bytes(content)


def truncate(root: Path, name: str) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8)
    Image.fromarray(noise).save(root / "cat" / name)
    content = (root / "cat" / name).read_bytes()
    broken(root, name, content[: len(content) // 2])


def flat(root: Path) -> None:
    for name in ("cat", "dog"):
        for file in (root / name).iterdir():
            file.rename(root / f"{name}{file.name}")
        (root / name).rmdir()


def png_bomb() -> bytes:
    """Return a PNG of a few bytes that says to have 30,000 x 30,000 pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def save_array(root: Path, array: np.ndarray, name: str = "odd.tiff") -> None:
    Image.fromarray(array).save(root / "cat" / name)


REFUSED: dict[str, tuple[Break, str]] = {
    "nothing there": (lambda root: root.rename(root.with_name("elsewhere")), "does not exist"),
    "empty": (lambda root: into(root), "no images in folders"),
    "images without class folders": (flat, "12 image"),
    "one class": (lambda root: rename(root, dog=".dog"), "at least two classes"),
    "one level too high": (lambda root: into(root, "animals"), "/animals"),
    "a class folder without files": (lambda root: (root / "fox").mkdir(), "'fox'"),
    "a class folder of other files": (
        lambda root: write(root / "fox" / "a.png").rename(root / "fox" / "a.pdf"),
        "1 .pdf; the first is fox/a.pdf",
    ),
    "a class without endings": (without_endings, "6 without ending; the first is cat/0"),
    "Train and Test": (lambda root: into(root, "Train", "Test"), "'train' for 'Train'"),
    "training and testing": (lambda root: into(root, "training", "testing"), "'test' for 'testing'"),
    "a split beside classes": (lambda root: write(root / "Validation" / "0.png"), "'val' for 'Validation'"),
    "valid beside train": (lambda root: into(root, "train", "valid"), "'valid'. Did you mean 'val'"),
    "a stranger beside train": (lambda root: into(root, "train", "more"), "'more'"),
    "splits without class folders": (
        lambda root: (into(root), write(root / "train" / "0.png"), write(root / "test" / "0.png")),
        "train holds 1 image",
    ),
    "an empty test split": (lambda root: (into(root, "train"), (root / "test").mkdir()), "test split is empty"),
    "another spelling of a class": (
        lambda root: (into(root, "train", "test"), rename(root / "test", cat="Cat")),
        "Did you mean 'cat'",
    ),
    "a name that is no text": (
        lambda root: os.rename(root / "cat", os.fsencode(root) + b"/\xff"),  # noqa: PTH104 - a Path hides the bytes
        r"\xff",
    ),
    "an empty file": (lambda root: broken(root, "9.png", b""), "cat/9.png"),
    "text in an image": (lambda root: broken(root, "9.jpg", b"<html>404</html>"), "cat/9.jpg"),
    "half a PNG": (lambda root: truncate(root, "9.png"), "cat/9.png"),
    "half a JPEG": (lambda root: truncate(root, "9.jpg"), "cat/9.jpg"),
    "half a GIF": (lambda root: truncate(root, "9.gif"), "cat/9.gif"),
    "a link to nothing": (lambda root: (root / "cat" / "9.png").symlink_to("gone.png"), "cat/9.png"),
    "a link to itself": (lambda root: (root / "cat" / "9.png").symlink_to("9.png"), "cat/9.png"),
    "more pixels than memory": (lambda root: broken(root, "9.png", png_bomb()), "cat/9.png"),
    "floats": (lambda root: save_array(root, np.ones((6, 6), np.float32)), "floating-point"),
    "more than 16 bits": (lambda root: save_array(root, np.full((6, 6), 70_000, np.int32)), "16 bits"),
    "another size": (lambda root: write(root / "cat" / "9.png", size=(6, 9)), "data.size"),
    "too few for the splits": (lambda root: write(root / "fox" / "0.png"), "'fox'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str, tmp_path: Path) -> None:
    root = sound(tmp_path / "photos")
    break_it, named = REFUSED[case]
    break_it(root)
    with pytest.raises(UserError) as error:
        load(root)
    assert (error.value.field or "").startswith("data.")
    assert named in str(error.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("size", 0),
        ("size", [6]),
        ("size", [6, 0]),
        ("size", [6, 6, 3]),
        ("size", "6x6"),
        ("fit", "squash"),
        ("background", "red"),
        ("on_error", "ignore"),
        ("grayscale", 1),
        ("groups", "["),
    ],
)
def test_refused_values(key: str, value: object, tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        load(sound(tmp_path), **{key: value})
    assert error.value.field == f"data.{key}"


@pytest.mark.parametrize(("name", "option"), [("a.npz", "data=npz"), ("a.csv", "data=csv"), ("a.zip", "Unpack")])
def test_files_instead_of_a_folder(name: str, option: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"PK")
    with pytest.raises(UserError, match=option) as error:
        load(tmp_path / name)
    assert error.value.field == "data.path"


PASSED_OVER: dict[str, tuple[Break, int]] = {
    "documents beside images": (lambda root: [broken(root, f"a.{end}", b"x") for end in ("pdf", "mpg", "hdf")], 3),
    "notes and tables": (lambda root: [(root / name).write_text("x") for name in ("labels.csv", "README")], 2),
    "a pipe that never ends": (lambda root: os.mkfifo(root / "cat" / "9.png"), 1),
    "what systems leave": (lambda root: [broken(root, name, b"") for name in ("Thumbs.db", ".DS_Store", "._0.png")], 0),
    "a Mac's archive": (lambda root: write(root / "__MACOSX" / "cat" / "0.png"), 0),
    "a folder that holds itself": (lambda root: (root / "cat" / "again").symlink_to(root), 0),
}


@pytest.mark.parametrize("case", PASSED_OVER)
def test_passed_over(case: str, tmp_path: Path) -> None:
    root = sound(tmp_path)
    break_it, foreign = PASSED_OVER[case]
    break_it(root)
    data = load(root)
    assert sum(data.sizes.values()) == 12
    assert sum(data.loading["files"]["foreign"].values()) == foreign
    assert len(data.loading.get("notes", ())) == int(foreign > 0)


def test_nothing_readable_cannot_be_skipped(tmp_path: Path) -> None:
    for file in sound(tmp_path).glob("*/*.png"):
        file.write_bytes(b"?")
    with pytest.raises(UserError) as error:
        load(tmp_path, on_error="skip")
    assert error.value.field == "data.path"
    assert "on_error" not in str(error.value)  # which is what was done


def test_a_class_that_skipping_empties(tmp_path: Path) -> None:
    for file in (sound(tmp_path) / "dog").iterdir():
        file.write_bytes(b"?")
    with pytest.raises(UserError, match="'dog'"):
        load(tmp_path, on_error="skip")


def test_skipped_files_are_listed(tmp_path: Path) -> None:
    root = sound(tmp_path)
    broken(root, "7.png", b"?")
    truncate(root, "8.jpg")
    Image.fromarray(np.zeros((6, 6, 3), np.uint8)).save(root / "dog" / "9.png")
    data = load(root, on_error="skip", size=6)
    assert sum(data.sizes.values()) == 13
    files = data.loading["files"]
    assert (files["images"], files["unreadable"]) == (15, 2)
    assert sorted(name.partition(" ")[0] for name in files["unreadable_names"]) == ["cat/7.png", "cat/8.jpg"]
    assert len(data.loading["notes"]) == 1


def test_a_link_to_nothing(tmp_path: Path) -> None:
    (cached := tmp_path / "cache").mkdir()
    root = tmp_path / "images"
    root.mkdir()
    (sound(root) / "dog" / "7.png").symlink_to(tmp_path / "gone.png")
    node = options()
    source = node["source"] | {"path": str(root), "on_error": "skip"}
    assert sum(load_data(node | {"path": str(root), "cache": str(cached), "source": source}).sizes.values()) == 12
