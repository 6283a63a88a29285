from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.data import validate_data
from pipeline.data.sources.image_folder import image_folder
from pipeline.errors import UserError

RED = np.array([200, 10, 30], np.uint8)


def plain(height: int = 4, width: int = 6, colour: np.ndarray = RED) -> Image.Image:
    return Image.fromarray(np.broadcast_to(colour, (height, width, 3)).copy())


def write(image: Image.Image, file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    image.save(file)
    return file


def two_classes(root: Path) -> None:
    for label in ("a", "b"):
        for i in range(3):
            write(plain(colour=RED + i), root / label / f"{i}.png")


def test_one_folder_per_class(tmp_path: Path) -> None:
    two_classes(tmp_path)
    (tmp_path / "a" / ".hidden.png").write_bytes(b"")
    (tmp_path / "a" / "notes.txt").write_text("not an image")
    source = image_folder(path=str(tmp_path), size=None, grayscale=False)
    validate_data(source)
    assert source.test is None
    assert source.val is None
    assert source.train.pixels.shape == (6, 3, 4, 6)
    assert source.train.pixels.dtype == torch.uint8
    assert source.train.pixels[:, :, 0, 0].tolist() == [(RED + i).tolist() for _ in "ab" for i in range(3)]
    assert source.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert source.classes == ("a", "b")
    assert source.scale == 1 / 255
    assert source.name == tmp_path.name
    assert source.path == str(tmp_path)


def test_official_splits_share_one_numbering_of_classes(tmp_path: Path) -> None:
    names = ["zebra", "<b>å</b>", "a b"]
    for part, count in (("train", 2), ("val", 1), ("test", 1)):
        for name in names if part == "train" else names[:1]:
            for i in range(count):
                write(plain(), tmp_path / part / name.replace("/", "∕") / f"{i}.png")
    source = image_folder(path=str(tmp_path), size=None, grayscale=False)
    validate_data(source)
    assert source.classes == ("<b>å<∕b>", "a b", "zebra")
    assert source.train.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert source.val is not None
    assert source.val.labels.tolist() == [2]
    assert source.test is not None
    assert source.test.labels.tolist() == [2]


def test_modes_become_rgb_or_grey(tmp_path: Path) -> None:
    for i, mode in enumerate(["RGB", "RGBA", "L", "LA", "P", "1", "CMYK"]):
        write(plain().convert(mode), tmp_path / "a" / f"{i}.{'tiff' if mode == 'CMYK' else 'png'}")
    palette = plain().convert("P")
    palette.save(tmp_path / "a" / "transparent.png", transparency=b"\x00\x01")
    for grayscale, channels in ((False, 3), (True, 1)):
        source = image_folder(path=str(tmp_path), size=None, grayscale=grayscale)
        assert source.train.pixels.shape == (8, channels, 4, 6)
    grey = np.asarray(plain().convert("L"))[0, 0]
    assert (source.train.pixels[[0, 1, 2, 3]] == int(grey)).all()


def test_size_takes_the_centre_square(tmp_path: Path) -> None:
    wide = np.zeros((8, 24, 3), np.uint8)
    wide[:, 8:16] = RED
    write(Image.fromarray(wide), tmp_path / "a" / "wide.png")
    write(Image.fromarray(wide.transpose(1, 0, 2)), tmp_path / "a" / "tall.png")
    for size in (4, 8, 16):
        pixels = image_folder(path=str(tmp_path), size=size, grayscale=False).train.pixels
        assert pixels.shape == (2, 3, size, size)
        inside = pixels[:, :, 1:-1, 1:-1]  # at its rim the bilinear filter sees a neighbour
        assert (inside == torch.from_numpy(RED).view(3, 1, 1)).all()


def test_downscaling_averages_instead_of_dropping_pixels(tmp_path: Path) -> None:
    checkers = (np.indices((32, 32)).sum(0) % 2 * 255).astype(np.uint8)
    write(Image.fromarray(checkers), tmp_path / "a" / "0.png")
    pixels = image_folder(path=str(tmp_path), size=4, grayscale=True).train.pixels
    assert (pixels.int() - 127).abs().max() <= 2


def test_photos_are_turned_upright(tmp_path: Path) -> None:
    stored = np.zeros((4, 6, 3), np.uint8)
    stored[:, 0] = RED
    image = Image.fromarray(stored)
    exif = image.getexif()
    exif[0x0112] = 6  # the camera was held on its side: the stored left column is the top row
    (tmp_path / "a").mkdir()
    image.save(tmp_path / "a" / "0.png", exif=exif)
    pixels = image_folder(path=str(tmp_path), size=None, grayscale=False).train.pixels
    assert pixels.shape == (1, 3, 6, 4)
    assert (pixels[0, 0, 0] == 200).all()
    assert (pixels[0, :, 1:] == 0).all()


@pytest.mark.parametrize("size", [None, 5])
def test_16_bits_are_kept_whole(size: int | None, tmp_path: Path) -> None:
    values = np.full((5, 5), 40_000, np.uint16)
    values[2, 2] = 65_535
    write(Image.fromarray(values), tmp_path / "a" / "16.png")
    write(Image.fromarray(values.astype(np.int32)), tmp_path / "a" / "32.tiff")
    write(Image.fromarray(np.full((5, 5), 255, np.uint8)), tmp_path / "b" / "8.png")
    source = image_folder(path=str(tmp_path), size=size, grayscale=True)
    assert source.train.pixels.dtype == torch.int32
    assert source.scale == 1 / 65535
    assert (source.train.pixels[:2, 0].numpy() == values).all()
    assert (source.train.pixels[2] == 65_535).all(), "white is white in both"
    coloured = image_folder(path=str(tmp_path), size=size, grayscale=False).train.pixels
    assert torch.equal(coloured, source.train.pixels.expand(-1, 3, -1, -1))


def test_every_broken_file_is_named_at_once(tmp_path: Path) -> None:
    two_classes(tmp_path)
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8))
    for suffix in (".png", ".jpg"):
        file = write(noise, tmp_path / "a" / f"truncated{suffix}")
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    (tmp_path / "b" / "empty.png").write_bytes(b"")
    (tmp_path / "b" / "text.jpg").write_text("no image")
    write(Image.fromarray(np.ones((4, 6), np.float32)), tmp_path / "b" / "float.tiff")
    write(Image.fromarray(np.full((4, 6), 70_000, np.int32)), tmp_path / "b" / "deep.tiff")
    with pytest.raises(UserError) as refused:
        image_folder(path=str(tmp_path), size=8, grayscale=False)
    assert refused.value.field == "path"
    assert "6 file(s)" in refused.value.message
    for name in ("a/truncated.png", "a/truncated.jpg", "b/empty.png", "b/text.jpg", "b/float.tiff", "b/deep.tiff"):
        assert name in refused.value.message


def test_of_many_broken_files_ten_are_named(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for i in range(13):
        (tmp_path / "a" / f"{i:02}.png").write_bytes(b"?")
    with pytest.raises(UserError, match=r"13 file\(s\).*09.png.*and 3 more") as refused:
        image_folder(path=str(tmp_path), size=None, grayscale=False)
    assert "10.png" not in refused.value.message


def test_differing_sizes_are_named(tmp_path: Path) -> None:
    two_classes(tmp_path)
    write(plain(9, 7), tmp_path / "b" / "odd.png")
    with pytest.raises(UserError, match=r"1 in .* are not 6 x 4 .*b/odd.png \(7 x 9\).*data.size"):
        image_folder(path=str(tmp_path), size=None, grayscale=False)
    assert len(image_folder(path=str(tmp_path), size=4, grayscale=False).train) == 7


def test_an_empty_class_or_split_reaches_the_inspection(tmp_path: Path) -> None:
    two_classes(tmp_path / "train")
    (tmp_path / "train" / "c").mkdir()
    with pytest.raises(UserError, match="no training example of class 'c'"):
        validate_data(image_folder(path=str(tmp_path), size=None, grayscale=False))
    (tmp_path / "train" / "c").rmdir()
    write(plain(), tmp_path / "val" / "c" / "0.png")  # a class that only validation has
    with pytest.raises(UserError, match="no training example of class 'c'"):
        validate_data(image_folder(path=str(tmp_path), size=None, grayscale=False))
    (tmp_path / "test").mkdir()
    with pytest.raises(UserError, match="test split is empty"):
        validate_data(image_folder(path=str(tmp_path), size=None, grayscale=False))


def test_folders_that_would_be_passed_over_are_refused(tmp_path: Path) -> None:
    two_classes(tmp_path / "train")
    two_classes(tmp_path / "valid")
    with pytest.raises(UserError, match=r"not 'valid'\. Did you mean 'val'"):
        image_folder(path=str(tmp_path), size=None, grayscale=False)


def test_a_path_without_images_is_refused(tmp_path: Path) -> None:
    write(plain(), tmp_path / "loose.png")
    for path, message in ((tmp_path, "no images in folders"), (tmp_path / "none", "not a folder")):
        with pytest.raises(UserError, match=message) as refused:
            image_folder(path=str(path), size=None, grayscale=False)
        assert refused.value.field == "path"


@pytest.mark.parametrize("size", [0, -1, 2.5])
def test_a_size_that_is_none_is_refused(size: int, tmp_path: Path) -> None:
    with pytest.raises(UserError) as refused:
        image_folder(path=str(tmp_path), size=size, grayscale=False)
    assert refused.value.field == "size"
