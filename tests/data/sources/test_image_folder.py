"""Folders of images in every mode, size and layout that is read, and those that are refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.data import Images, Source, Splits, validate_data
from pipeline.data.sources.image_folder import image_folder
from pipeline.data.storage import settle
from pipeline.errors import UserError

RED = np.array([200, 10, 30], np.uint8)


def load(**options: Any) -> Source:
    """Return the source, its images read, with the options of conf/data/image_folder.yaml, changed by `options`."""
    defaults = {"size": None, "grayscale": False, "fit": "crop", "background": "white", "groups": None}
    source = image_folder(**{**defaults, "on_error": "refuse", **options})
    none = Images(torch.zeros(0, *source.train.pixels.shape[1:]), torch.zeros(0, dtype=torch.long))
    splits = {"train": none, "val": none, "test": none, **source.splits}
    names = {"name": source.name, "classes": source.classes, "scale": source.scale, "loading": source.loading}
    settled = settle(Splits(**splits, **names), cache="memory")
    parts = {name: images for name, images in settled.splits.items() if name in source.splits}
    return replace(source, **parts, scale=settled.scale, loading=settled.loading)


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
    source = load(path=str(tmp_path), size=None, grayscale=False)
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


def test_classes_of_all_splits(tmp_path: Path) -> None:
    names = ["zebra", "<b>å</b>", "a b"]
    for split, count in (("train", 2), ("val", 1), ("test", 1)):
        for name in names if split == "train" else names[:1]:
            for i in range(count):
                write(plain(), tmp_path / split / name.replace("/", "∕") / f"{i}.png")
    source = load(path=str(tmp_path), size=None, grayscale=False)
    validate_data(source)
    assert source.classes == ("<b>å<∕b>", "a b", "zebra")
    assert source.train.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert source.val is not None
    assert source.val.labels.tolist() == [2]
    assert source.test is not None
    assert source.test.labels.tolist() == [2]


def test_modes(tmp_path: Path) -> None:
    for i, mode in enumerate(["RGB", "RGBA", "L", "LA", "P", "1", "CMYK"]):
        write(plain().convert(mode), tmp_path / "a" / f"{i}.{'tiff' if mode == 'CMYK' else 'png'}")
    palette = plain().convert("P")
    palette.save(tmp_path / "a" / "transparent.png", transparency=b"\x00\x01")
    for grayscale, channels in ((False, 3), (True, 1)):
        source = load(path=str(tmp_path), size=None, grayscale=grayscale)
        assert source.train.pixels.shape == (8, channels, 4, 6)
    grey = np.asarray(plain().convert("L"))[0, 0]
    assert (source.train.pixels[[0, 1, 2, 3]] == int(grey)).all()


def test_size_crops_the_centre(tmp_path: Path) -> None:
    wide = np.zeros((8, 24, 3), np.uint8)
    wide[:, 8:16] = RED
    write(Image.fromarray(wide), tmp_path / "a" / "wide.png")
    write(Image.fromarray(wide.transpose(1, 0, 2)), tmp_path / "a" / "tall.png")
    for size in (4, 8, 16):
        pixels = load(path=str(tmp_path), size=size, grayscale=False).train.pixels
        assert pixels.shape == (2, 3, size, size)
        inside = pixels[:, :, 1:-1, 1:-1]  # at its rim the bilinear filter sees a neighbour
        assert (inside == torch.from_numpy(RED).view(3, 1, 1)).all()


def test_downscaling_averages(tmp_path: Path) -> None:
    checkers = (np.indices((32, 32)).sum(0) % 2 * 255).astype(np.uint8)
    write(Image.fromarray(checkers), tmp_path / "a" / "0.png")
    pixels = load(path=str(tmp_path), size=4, grayscale=True).train.pixels
    assert (pixels.int() - 127).abs().max() <= 2


def test_exif_orientation(tmp_path: Path) -> None:
    stored = np.zeros((4, 6, 3), np.uint8)
    stored[:, 0] = RED
    image = Image.fromarray(stored)
    exif = image.getexif()
    exif[0x0112] = 6  # the camera was held on its side: the stored left column is the top row
    (tmp_path / "a").mkdir()
    image.save(tmp_path / "a" / "0.png", exif=exif)
    pixels = load(path=str(tmp_path), size=None, grayscale=False).train.pixels
    assert pixels.shape == (1, 3, 6, 4)
    assert (pixels[0, 0, 0] == 200).all()
    assert (pixels[0, :, 1:] == 0).all()


@pytest.mark.parametrize("size", [None, 5])
def test_16_bits(size: int | None, tmp_path: Path) -> None:
    values = np.full((5, 5), 40_000, np.uint16)
    values[2, 2] = 65_535
    write(Image.fromarray(values), tmp_path / "a" / "16.png")
    write(Image.fromarray(values.astype(np.int32)), tmp_path / "a" / "32.tiff")
    write(Image.fromarray(np.full((5, 5), 255, np.uint8)), tmp_path / "b" / "8.png")
    source = load(path=str(tmp_path), size=size, grayscale=True)
    assert source.train.pixels.dtype == torch.int32
    assert source.scale == 1 / 65535
    assert (source.train.pixels[:2, 0].numpy() == values).all()
    assert (source.train.pixels[2] == 65_535).all()  # white in 8 bits is white in 16
    coloured = load(path=str(tmp_path), size=size, grayscale=False).train.pixels
    assert torch.equal(coloured, source.train.pixels.expand(-1, 3, -1, -1))


def test_broken_files(tmp_path: Path) -> None:
    two_classes(tmp_path)
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8))
    for suffix in (".png", ".jpg"):
        file = write(noise, tmp_path / "a" / f"truncated{suffix}")
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    (tmp_path / "b" / "empty.png").write_bytes(b"")
    (tmp_path / "b" / "text.jpg").write_text("no image")
    write(Image.fromarray(np.ones((4, 6), np.float32)), tmp_path / "b" / "float.tiff")
    write(Image.fromarray(np.full((4, 6), 70_000, np.int32)), tmp_path / "b" / "deep.tiff")
    with pytest.raises(UserError) as error:
        load(path=str(tmp_path), size=8, grayscale=False)
    assert error.value.field == "path"
    assert error.value.message.startswith("6 ")
    for name in ("a/truncated.png", "a/truncated.jpg", "b/empty.png", "b/text.jpg", "b/float.tiff", "b/deep.tiff"):
        assert name in error.value.message


def test_many_broken_files(tmp_path: Path) -> None:
    """Ten are named, the others counted."""
    (tmp_path / "a").mkdir()
    for i in range(13):
        (tmp_path / "a" / f"{i:02}.png").write_bytes(b"?")
    with pytest.raises(UserError, match=r"13 .*09.png.* 3 ") as error:
        load(path=str(tmp_path), size=None, grayscale=False)
    assert "10.png" not in error.value.message


def test_differing_sizes(tmp_path: Path) -> None:
    two_classes(tmp_path)
    write(plain(9, 7), tmp_path / "b" / "odd.png")
    with pytest.raises(UserError, match=r"6 x 4 .*b/odd.png \(7 x 9\).*data.size"):
        load(path=str(tmp_path), size=None, grayscale=False)
    assert len(load(path=str(tmp_path), size=4, grayscale=False).train) == 7


def test_empty_class_or_split(tmp_path: Path) -> None:
    two_classes(tmp_path / "train")
    (tmp_path / "train" / "c").mkdir()
    with pytest.raises(UserError, match="'c'"):
        validate_data(load(path=str(tmp_path), size=None, grayscale=False))
    (tmp_path / "train" / "c").rmdir()
    write(plain(), tmp_path / "val" / "c" / "0.png")  # a class that only validation has
    with pytest.raises(UserError, match="'c'"):
        validate_data(load(path=str(tmp_path), size=None, grayscale=False))
    (tmp_path / "test").mkdir()
    with pytest.raises(UserError, match="test split"):
        validate_data(load(path=str(tmp_path), size=None, grayscale=False))


def test_unknown_split(tmp_path: Path) -> None:
    two_classes(tmp_path / "train")
    two_classes(tmp_path / "valid")
    with pytest.raises(UserError, match=r"'valid'.*'val'"):
        load(path=str(tmp_path), size=None, grayscale=False)


def test_no_images(tmp_path: Path) -> None:
    write(plain(), tmp_path / "loose.png")
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(UserError, match=str(path)) as error:
            load(path=str(path), size=None, grayscale=False)
        assert error.value.field == "path"


@pytest.mark.parametrize("size", [0, -1, 2.5])
def test_invalid_size(size: int, tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        load(path=str(tmp_path), size=size, grayscale=False)
    assert error.value.field == "size"


def drawing(mode: str, colour: int) -> Image.Image:
    """Return a square of one colour on a clear ground, 8 x 8 pixels of which 16 are opaque."""
    alpha = np.zeros((8, 8), np.uint8)
    alpha[2:6, 2:6] = 255
    if mode == "P":
        image = Image.fromarray((alpha > 0).astype(np.uint8))
        image.putpalette([0, 0, 0, colour, colour, colour])
        image.info["transparency"] = b"\x00\xff"
        return image
    grey = Image.new("L", (8, 8), colour)
    return Image.merge(mode, [grey] * (len(mode) - 1) + [Image.fromarray(alpha)])


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
@pytest.mark.parametrize("grayscale", [True, False])
def test_transparent_images_get_a_ground(mode: str, grayscale: bool, tmp_path: Path) -> None:
    write(drawing(mode, 0), tmp_path / "a" / "0.png")
    write(drawing(mode, 250), tmp_path / "b" / "0.png")
    for background, level in (("white", 255), ("black", 0), (100, 100), ("#646464", 100)):
        source = load(path=str(tmp_path), size=None, grayscale=grayscale, background=background)
        assert (source.train.pixels[:, :, 0, 0] == level).all()
        assert source.train.pixels[:, 0, 3, 3].tolist() == [0, 250]
        transparency = source.loading["transparency"]
        assert (transparency["images"], transparency["transparent"]) == (2, 2)
        assert transparency["lost"] == {"white": 1, "black": 1, "128": 0, str(background): int(level in (0, 255))}


def test_half_transparent_pixels_are_mixed(tmp_path: Path) -> None:
    image = Image.fromarray(np.broadcast_to(np.array([200, 100, 0, 128], np.uint8), (4, 4, 4)).copy())
    write(image, tmp_path / "a" / "0.png")
    source = load(path=str(tmp_path), size=None, grayscale=False, background="#0000ff")
    assert source.train.pixels[0, :, 0, 0].tolist() == pytest.approx([100, 50, 127], abs=1)
    assert source.loading["transparency"]["lost"]["#0000ff"] == 0  # one opacity hides nothing


def test_opaque_images_are_not_transparent(tmp_path: Path) -> None:
    for i, mode in enumerate(["RGBA", "LA", "RGB"]):
        write(plain().convert(mode), tmp_path / "a" / f"{i}.png")
    assert list(load(path=str(tmp_path)).loading) == ["files"]


@pytest.mark.parametrize("background", ["red", "#12345", 256, -1, True, 0.5, None])
def test_invalid_background(background: object, tmp_path: Path) -> None:
    two_classes(tmp_path)
    with pytest.raises(UserError) as error:
        load(path=str(tmp_path), size=None, grayscale=False, background=background)
    assert error.value.field == "background"


def test_fits(tmp_path: Path) -> None:
    wide = np.zeros((8, 24, 3), np.uint8)
    wide[:, :8] = RED
    write(Image.fromarray(wide), tmp_path / "a" / "0.png")
    write(Image.fromarray(wide), tmp_path / "b" / "0.png")
    crop, pad, stretch = (
        load(path=str(tmp_path), size=12, grayscale=False, fit=fit).train.pixels[0]
        for fit in ("crop", "pad", "stretch")
    )
    assert int(crop[:, :, 1:].max()) == 0  # but for the rim, where the filter sees a neighbour
    assert (pad[:, :4] == 255).all()
    assert (pad[:, 8:] == 255).all()
    for whole in (pad[:, 4:8], stretch):
        assert (whole[:, :, :3] == torch.from_numpy(RED).view(3, 1, 1)).all()
        assert (whole[:, :, 5:] == 0).all()
    with pytest.raises(UserError, match="'stretch'") as error:
        load(path=str(tmp_path), size=12, grayscale=False, fit="strech")
    assert error.value.field == "fit"


def test_16_bits_are_padded_in_16_bits(tmp_path: Path) -> None:
    write(Image.fromarray(np.full((4, 8), 40_000, np.uint16)), tmp_path / "a" / "0.png")
    pixels = load(path=str(tmp_path), size=8, grayscale=True, fit="pad").train.pixels[0, 0]
    assert pixels[:, 0].tolist() == [65_535] * 2 + [40_000] * 4 + [65_535] * 2


def test_crop_is_compared_with_the_whole(tmp_path: Path) -> None:
    """A spot on the left or on the right, outside of the centre, decides; in the middle it does not get lost."""
    random = np.random.default_rng(0)
    for i in range(120):
        label = i % 2
        for name, column in (("rim", 1 + 20 * label), ("centre", 8 + 4 * label)):
            image = random.integers(0, 60, (8, 24, 3)).astype(np.uint8)
            image[2:6, column : column + 3] = 255
            write(Image.fromarray(image), tmp_path / name / "ab"[label] / f"{i}.png")
    rim, centre = (
        load(path=str(tmp_path / name), size=8, grayscale=False).loading["crop"] for name in ("rim", "centre")
    )
    assert rim["examples"] == centre["examples"] == 120
    assert rim["cut"] == pytest.approx(2 / 3)
    assert rim["whole_accuracy"] > 0.95
    assert rim["crop_accuracy"] < 0.7
    assert rim["whole_only"] - rim["crop_only"] == round(120 * (rim["whole_accuracy"] - rim["crop_accuracy"]))
    assert centre["crop_accuracy"] > 0.95
    for options in ({"fit": "pad"}, {"fit": "stretch"}):
        assert "crop" not in load(path=str(tmp_path / "rim"), size=8, grayscale=False, **options).loading


def test_folders_in_class_folders(tmp_path: Path) -> None:
    two_classes(tmp_path)
    write(plain(colour=RED + 9), tmp_path / "a" / "site 1" / "deep" / "9.png")
    (tmp_path / "a" / ".git").mkdir()
    (tmp_path / "a" / ".git" / "0.png").write_bytes(b"")
    source = load(path=str(tmp_path), size=None, grayscale=False)
    assert source.train.labels.tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert source.train.pixels[3, 0, 0, 0] == 209
    assert source.train.groups is None


def test_groups(tmp_path: Path) -> None:
    names = ["ann/1.png", "ann/2.png", "bob/1.png", "bob/x_3.png"]
    for label in "ab":
        for name in names:
            write(plain(), tmp_path / "train" / label / name)
    write(plain(), tmp_path / "test" / "a" / "bob" / "5.png")
    write(plain(), tmp_path / "test" / "b" / "cid" / "5.png")
    for groups in ("parent", r"^(\w+)/", "([abc])[a-z]+/"):
        source = load(path=str(tmp_path), size=None, grayscale=False, groups=groups)
        assert source.train.groups is not None
        assert source.train.groups.tolist() == [0, 0, 1, 1, 0, 0, 1, 1]  # Ann is Ann in both classes
        assert source.test is not None
        assert source.test.groups is not None
        assert source.test.groups.tolist() == [1, 2]


@pytest.mark.parametrize("groups", ["parents", "[", "(x)", 3, "(ann)/"])
def test_invalid_groups(groups: Any, tmp_path: Path) -> None:
    for name in ("ann/1.png", "bob/1.png"):
        write(plain(), tmp_path / "a" / name)
    with pytest.raises(UserError) as error:
        load(path=str(tmp_path), size=None, grayscale=False, groups=groups)
    assert error.value.field == "groups"


def test_one_group_only(tmp_path: Path) -> None:
    two_classes(tmp_path)
    with pytest.raises(UserError, match="6 examples") as error:
        load(path=str(tmp_path), size=None, grayscale=False, groups=r"\.(png)$")
    assert error.value.field == "groups"
    with pytest.raises(UserError, match=r"0\.png"):  # the files are in no folder of their class folder
        load(path=str(tmp_path), size=None, grayscale=False, groups="parent")
