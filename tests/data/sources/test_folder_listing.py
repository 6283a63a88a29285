"""What a listing takes from a folder, what it passes over, and what it says about that."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.data.sources.folder_listing import list_folder
from pipeline.data.sources.folder_walk import image_endings
from pipeline.errors import UserError


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


def test_endings() -> None:
    assert {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".gif", ".bmp", ".webp", ".mpo"} <= image_endings()
    assert not {".pdf", ".svg", ".mpg", ".hdf", ".h5", ".eps", ".csv", ".txt", ".wmf", ""} & image_endings()


def test_foreign_and_hidden_files_are_told_apart(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.png", "a/2.PNG", "b/1.jpg", "a/x.pdf", "b/deep/y.PDF", "b/0001", "labels.csv")
    touch(tmp_path, "a/.DS_Store", "a/._1.png", "b/Thumbs.db", "desktop.ini", ".git/1.png", "__MACOSX/a/1.png")
    listing = list_folder(tmp_path)
    assert [(file.label, file.below_class) for file in listing.files] == [
        ("a", "1.png"),
        ("a", "2.PNG"),
        ("b", "1.jpg"),
    ]
    assert listing.counts == {
        "images": 3,
        "hidden": 6,
        "foreign": {".pdf": 2, ".csv": 1, "": 1},
        "unlabelled": {},
    }
    (note,) = listing.notes
    assert all(part in note for part in ("4 file", "2 .pdf", "1 .csv", "1 without ending", "first is labels.csv"))


def test_splits(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "val/b/1.png",
        "test/a/1.png",
        "train/b/1.png",
        "train/a/deep/er/1.png",
        "docs/readme.txt",
        "train/x.md",
    )
    listing = list_folder(tmp_path)
    assert [(file.split, file.label) for file in listing.files] == [
        ("train", "a"),
        ("train", "b"),
        ("val", "b"),
        ("test", "a"),
    ]
    assert listing.splits == ("train", "val", "test")
    assert listing.classes == ("a", "b")
    assert listing.counts["foreign"] == {".txt": 1, ".md": 1}
    assert [("val" in note, "'a'" in note) for note in listing.notes[1:]] == [(True, True), (False, False)]


def test_unlabelled_images(tmp_path: Path) -> None:
    touch(tmp_path, "train/a/1.png", "train/b/1.png", "train/2.png", "test/1.png", "test/2.png", "3.png")
    listing = list_folder(tmp_path)
    assert listing.splits == ("train",)
    assert listing.counts["unlabelled"] == {".": 1, "test": 2, "train": 1}
    assert [note for note in listing.notes if "2 unlabelled" in note and "the test split is cut off" in note]
    assert len(listing.notes) == 3


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    touch(tmp_path, "bus/1.png", "train/1.png", "car/1.png")
    assert list_folder(tmp_path).classes == ("bus", "car", "train")
    touch(tmp_path, "train/steam/1.png")
    with pytest.raises(UserError, match="'bus'"):  # now `train` looks like a split
        list_folder(tmp_path)


@pytest.mark.parametrize("names", [("test", "cat"), ("Test", "cat"), ("dev", "cat"), ("TRAIN/cat", "TRAIN/dog")])
def test_splits_are_not_taken_for_classes(names: tuple[str, ...], tmp_path: Path) -> None:
    touch(tmp_path, *(f"{name}/1.png" for name in names))
    with pytest.raises(UserError, match=names[0].partition("/")[0]) as error:
        list_folder(tmp_path)
    assert error.value.field == "path"


def test_names_are_in_composed_form(tmp_path: Path) -> None:
    """Some systems store an accent as a letter of its own."""
    touch(tmp_path, "train/caf\u00e9/1.png", "train/b/1.png", "test/cafe\u0301/1.png")
    listing = list_folder(tmp_path)
    assert listing.classes == ("b", "caf\u00e9")
    assert listing.files[-1].label == "caf\u00e9"


def test_links_are_followed_once(tmp_path: Path) -> None:
    touch(tmp_path, "store/1.png", "photos/b/1.png")
    (tmp_path / "photos" / "a").symlink_to(tmp_path / "store")
    (tmp_path / "store" / "more").symlink_to(tmp_path / "photos" / "b")
    (tmp_path / "photos" / "b" / "back").symlink_to(tmp_path / "store")
    listing = list_folder(tmp_path / "photos")
    assert [(file.label, file.below_class) for file in listing.files] == [
        ("a", "1.png"),
        ("a", "more/1.png"),
        ("b", "1.png"),
        ("b", "back/1.png"),
    ]
