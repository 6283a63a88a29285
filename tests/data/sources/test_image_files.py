"""Sizes of any proportions, colours of 16 bits, and what is lost of files that hold more than a picture."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.data.sources.image_files import EIGHT_BITS, ENLARGED, FIRST_FRAME, ImageReader, ReadImage
from pipeline.errors import UserError


def read(file: Path, **options: Any) -> ReadImage:
    return ImageReader(**{"size": None, "grayscale": False, "fit": "crop", "background": "white", **options})(file)


def deep(channels: int, height: int = 5, width: int = 7) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 65_536, (height, width, channels)).astype(np.uint16)


def write_png(array: np.ndarray, file: Path) -> Path:
    """Write (H, W, 1 to 4) with 16 bits, which Pillow cannot."""
    height, width, channels = array.shape

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)
    header = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + parts)
    return file


def write_tiff(array: np.ndarray, file: Path, *, order: str, compress: bool) -> Path:
    """Write (H, W, 3) with 16 bits, of the byte order < or >."""
    height, width, channels = array.shape
    pixels = array.astype(f"{order}u2").tobytes()
    pixels = zlib.compress(pixels) if compress else pixels
    bits_at = 8 + 2 + 10 * 12 + 4
    pixels_at = bits_at + 2 * channels
    long, short = 4, 3
    tags = [
        (256, long, 1, width), (257, long, 1, height), (258, short, channels, bits_at),
        (259, short, 1, 8 if compress else 1), (262, short, 1, 2), (273, long, 1, pixels_at),
        (277, short, 1, channels), (278, long, 1, height), (279, long, 1, len(pixels)), (284, short, 1, 1),
    ]  # fmt: skip
    entries = b""
    for tag, kind, count, value in tags:
        fits_short = kind == short and count == 1
        packed = struct.pack(f"{order}HH", value, 0) if fits_short else struct.pack(f"{order}I", value)
        entries += struct.pack(f"{order}HHI", tag, kind, count) + packed
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, len(tags))
    bits = struct.pack(f"{order}{channels}H", *[16] * channels)
    file.write_bytes(head + entries + struct.pack(f"{order}I", 0) + bits + pixels)
    return file


def test_png_colours_keep_16_bits(tmp_path: Path) -> None:
    array = deep(3)
    image = read(write_png(array, tmp_path / "0.png"))
    assert image.pixels.dtype == np.int32
    assert (image.pixels == array.transpose(2, 0, 1)).all()
    assert (image.lost, image.notes) == (None, ())
    grey = read(tmp_path / "0.png", grayscale=True).pixels
    assert np.abs(grey[0] - array @ [0.299, 0.587, 0.114]).max() < 1


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compress", [False, True])
def test_tiff_colours_keep_16_bits(order: str, compress: bool, tmp_path: Path) -> None:
    array = deep(3)
    image = read(write_tiff(array, tmp_path / "0.tif", order=order, compress=compress))
    assert (image.pixels == array.transpose(2, 0, 1)).all()
    resized = read(tmp_path / "0.tif", size=[10, 14], fit="stretch").pixels
    assert resized.shape == (3, 10, 14)
    assert abs(resized.mean() / array.mean() - 1) < 0.05


def test_16_bits_are_composed_in_16_bits(tmp_path: Path) -> None:
    array = deep(4)
    array[0, 0] = (1001, 30_003, 65_535, 65_535)
    array[0, 1, 3] = 0
    image = read(write_png(array, tmp_path / "0.png"), background="#ff8000")
    assert image.pixels[:, 0, 0].tolist() == [1001, 30_003, 65_535]
    assert image.pixels[:, 0, 1].tolist() == [65_535, 128 * 257, 0]
    assert image.lost is not None


def test_what_is_read_with_8_bits_is_noted(tmp_path: Path) -> None:
    image = read(write_png(deep(2), tmp_path / "0.png"))
    assert (image.pixels.dtype, image.notes) == (np.uint8, (EIGHT_BITS,))
    pixels = deep(3).astype(">u2").tobytes()
    (tmp_path / "0.ppm").write_bytes(b"P6 7 5 65535\n" + pixels)
    assert read(tmp_path / "0.ppm").notes == (EIGHT_BITS,)
    (tmp_path / "1.ppm").write_bytes(b"P6 7 5 255\n" + pixels)
    (tmp_path / "2.pbm").write_bytes(b"P1\n2 1\n0 1\n")
    assert read(tmp_path / "1.ppm").notes == read(tmp_path / "2.pbm").notes == ()


@pytest.mark.parametrize("ending", ["gif", "png", "tiff", "webp"])
def test_the_first_of_several_pictures(ending: str, tmp_path: Path) -> None:
    frames = [Image.new("L", (4, 4), level) for level in (10, 200)]
    frames[0].save(tmp_path / f"0.{ending}", save_all=True, append_images=frames[1:], lossless=True)
    image = read(tmp_path / f"0.{ending}")
    assert image.notes == (FIRST_FRAME,)
    assert (image.pixels == 10).all()
    frames[0].save(tmp_path / f"1.{ending}")
    assert read(tmp_path / f"1.{ending}").notes == ()


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_rectangles(fit: str, tmp_path: Path) -> None:
    array = np.zeros((20, 20, 3), np.uint8)
    array[:10] = 240
    Image.fromarray(array).save(tmp_path / "0.png")
    pixels = read(tmp_path / "0.png", size=[10, 30], fit=fit, background=100).pixels
    assert pixels.shape == (3, 10, 30)
    assert (pixels[:, 0, 15], pixels[:, -1, 15]) == (pytest.approx(240), pytest.approx(0))
    middle = pixels[0, :, 0]
    assert (middle == 100).all() == (fit == "pad")
    tall = read(tmp_path / "0.png", size=(30, 10), fit=fit).pixels
    assert tall.shape == (3, 30, 10)


@pytest.mark.parametrize("size", [0, -1, 2.5, "7", [4], [4, 5, 6], [4, 0], True])
def test_invalid_size(size: Any) -> None:
    with pytest.raises(UserError) as error:
        ImageReader(size, False, "crop", "white")
    assert error.value.field == "size"


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "LAB", "1", "P", "PA", "La", "RGBX", "I;16B"])
def test_rare_modes(mode: str, tmp_path: Path) -> None:
    grey = Image.new("L", (4, 4), 255)
    if mode in ("La", "PA", "I;16B"):
        grey = grey.convert({"La": "LA", "PA": "LA", "I;16B": "I;16"}[mode])
    else:
        grey = Image.new(mode, (4, 4)) if mode == "LAB" else grey.convert("RGB").convert(mode)
    grey.save(tmp_path / "0.tiff")
    image = read(tmp_path / "0.tiff", grayscale=True)
    assert image.pixels.shape == (1, 4, 4)


def test_enlarged(tmp_path: Path) -> None:
    """A file of less than a quarter of the wanted side is said to be enlarged; one of a quarter is not."""
    for side, notes in ((15, (ENLARGED,)), (16, ()), (64, ())):
        Image.new("RGB", (64, side)).save(tmp_path / "a.png")
        reader = ImageReader(size=[64, 64], grayscale=False, fit="stretch", background="white")
        assert reader(tmp_path / "a.png").notes == notes
