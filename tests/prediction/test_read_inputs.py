"""Reading what a user names: folders, images as in training, arrays and tables, and what cannot be read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import pipeline
from pipeline.data.sources.image_files import ImageReader
from pipeline.errors import UserError
from pipeline.prediction.input_format import InputFormat, check_fit
from pipeline.prediction.predictor import Predictor
from pipeline.prediction.read_csv import InputBatch
from pipeline.prediction.read_inputs import read_inputs
from tests.prediction.small_inputs import write_picture, write_table

RGB = InputFormat(
    (3, 6, 8),
    1 / 255,
    "uint8",
    {"kind": "image", "size": [6, 8], "fit": "pad", "background": "black", "grayscale": False},
)


def read(input_format: InputFormat, *paths: Path) -> tuple[list[InputBatch], dict[str, str]]:
    unreadable: dict[str, str] = {}
    return [*read_inputs(paths, input_format, on_unreadable=unreadable.__setitem__)], unreadable


def test_reading_of_the_run(tmp_path: Path) -> None:
    """Size, fit, ground and channels are those of the run, and the picture is turned upright."""
    image = Image.open(write_picture(tmp_path / "a.png", (10, 200, 30), size=(30, 10)))
    exif = image.getexif()
    exif[0x0112] = 6  # the camera lay on its side
    image.putalpha(128)
    image.save(tmp_path / "turned.png", exif=exif)
    reader = ImageReader(size=[6, 8], fit="pad", background="black", grayscale=False)
    expected = reader(tmp_path / "turned.png").pixels
    ((_, pixels),), _ = read(RGB, tmp_path / "turned.png")
    assert pixels.dtype == torch.uint8
    assert (pixels[0].numpy() == expected).all()
    assert (pixels[0, :, :, 0] == 0).all()  # upright it is narrow, so that black is added at its sides
    assert (RGB.from_picture(Image.open(tmp_path / "turned.png")).numpy() == expected).all()


@pytest.mark.parametrize(
    ("stored", "scale", "factor"), [("uint8", 1 / 255, 1), ("int32", 1 / 65535, 257), ("float32", 1.0, 1 / 255)]
)
def test_scale(stored: str, scale: float, factor: float, tmp_path: Path) -> None:
    """A file of 8 bits is brought to what the run stored: 16 bits, or floats."""
    Image.fromarray(np.arange(48, dtype=np.uint8).reshape(6, 8)).save(tmp_path / "grey.png")
    Image.fromarray(np.arange(48, dtype=np.uint16).reshape(6, 8) * 257).save(tmp_path / "deep.png")
    input_format = InputFormat((1, 6, 8), scale, stored, {"kind": "array"})
    (batch,), _ = read(input_format, tmp_path / "grey.png", tmp_path / "deep.png")
    expected = torch.arange(48).view(6, 8) * factor
    for pixels in batch.pixels:
        torch.testing.assert_close(pixels[0].double(), expected.double(), rtol=1e-6, atol=0)


def test_other_size(tmp_path: Path) -> None:
    """Where the run resized nothing, images of another size are refused, unless a fit is chosen."""
    file = write_picture(tmp_path / "large.png", (9, 9, 9), size=(20, 20))
    same = InputFormat((3, 6, 8), 1 / 255, "uint8", {"kind": "image", "size": None, "fit": "crop"})
    batches, unreadable = read(same, file)
    assert not batches
    assert "(3, 20, 20)" in unreadable[str(file)]
    fitted = InputFormat(**{**vars(same), "fit": "stretch"})
    assert read(fitted, file)[0][0].pixels.shape == (1, 3, 6, 8)
    check_fit("stretch", same)
    with pytest.raises(UserError) as error:
        check_fit("stretch", RGB)
    assert error.value.field == "--fit"


def test_folder(tmp_path: Path) -> None:
    """All images below it in order; hidden and foreign files are passed over, and broken ones reported."""
    names = ["b.png", "sub/a.png", "sub/deep/c.PNG"]
    for name in [*names, ".hidden.png", "__MACOSX/d.png"]:
        write_picture(tmp_path / name, (1, 2, 3))
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    batches, unreadable = read(RGB, tmp_path)
    assert [name for batch in batches for name in batch.names] == [str(tmp_path / name) for name in names]
    assert list(unreadable) == [str(tmp_path / "broken.jpg")]
    (tmp_path / "empty").mkdir()
    for wrong in ("empty", "nothing"):
        with pytest.raises(UserError, match=wrong):
            read(RGB, tmp_path / wrong)


def test_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more than a batch is in memory, of images, arrays and tables."""
    for module in ("read_inputs", "read_csv"):
        monkeypatch.setattr(f"pipeline.prediction.{module}.EVALUATION_BATCH", 4)
    for i in range(10):
        write_picture(tmp_path / "images" / f"{i}.png", (1, 2, 3))
    np.save(tmp_path / "x.npy", np.zeros((10, 6, 8, 3), np.uint8))
    for path in (tmp_path / "images", tmp_path / "x.npy"):
        assert [len(batch.names) for batch in read(RGB, path)[0]] == [4, 4, 2]


@pytest.mark.parametrize(
    ("array", "count"),
    [
        (np.zeros((5, 6, 8, 3), np.uint8), 5),
        (np.zeros((5, 3, 6, 8), np.uint8), 5),
        (np.zeros((6, 8, 3), np.uint8), 1),
        (np.zeros((3, 6, 8), np.uint8), 1),
        (np.zeros((0, 6, 8, 3), np.uint8), 0),
    ],
)
def test_arrays(array: np.ndarray, count: int, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", array)
    np.savez(tmp_path / "x.npz", x_test=array, y_test=np.zeros(1))
    for path, label in ((tmp_path / "x.npy", "x.npy"), (tmp_path / "x.npz", "x.npz:x_test")):
        batches, _ = read(RGB, path)
        names = [name for batch in batches for name in batch.names]
        assert names == [f"{tmp_path / label}[{i}]" for i in range(count)]
        assert sum(len(batch.pixels) for batch in batches) == count


def test_rows_of_numbers(tmp_path: Path) -> None:
    rows = InputFormat((4, 1, 1), 1.0, "float32", {"kind": "array"})
    for array, count in ((np.zeros((3, 4)), 3), (np.zeros(4), 1)):
        np.save(tmp_path / "x.npy", array)
        assert sum(len(batch.pixels) for batch in read(rows, tmp_path / "x.npy")[0]) == count
    write_picture(tmp_path / "a.png", (1, 1, 1))
    assert "4 numbers" in read(rows, tmp_path / "a.png")[1][str(tmp_path / "a.png")]


@pytest.mark.parametrize("kind", ["objects", "two", "shape", "text", "empty", "cut", "words", "nan"])
def test_broken_arrays(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"{kind}.npz"
    good = np.zeros((2, 6, 8, 3))
    arrays = {
        "objects": {"x": np.array([{}, []], dtype=object)},
        "two": {"a": good, "b": good},
        "shape": {"x": np.zeros((2, 5, 8, 3))},
        "words": {"x": np.array(["a", "b"])},
        "nan": {"x": good * np.nan},
        "empty": {},
        "cut": {"x": good},
    }
    if kind == "text":
        path.write_text("x,y\n1,2\n")
    else:
        np.savez(path, **arrays[kind])  # type: ignore[arg-type]
    if kind == "cut":
        path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(UserError, match=rf"{kind}\.npz"):
        read(RGB, path)


def test_table_of_images(tmp_path: Path) -> None:
    """A column of paths, seen from the folder of the table; what does not exist is reported."""
    write_picture(tmp_path / "images" / "a.png", (1, 2, 3))
    (tmp_path / "list.csv").write_text("label;file\nx;images/a.png\ny;images/b.png\n")
    (batch,), unreadable = read(RGB, tmp_path / "list.csv")
    assert batch.names == [str(tmp_path / "images" / "a.png")]
    assert list(unreadable) == [str(tmp_path / "images" / "b.png")]
    (tmp_path / "none.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match=r"none\.csv"):
        read(RGB, tmp_path / "none.csv")


def test_table(table_run: Path, tmp_path: Path) -> None:
    """New rows are encoded as those of the run: by their columns' names, with its categories and its mean.

    What training never had is told.
    """
    predictor = pipeline.load(table_run)
    (tmp_path / "new.csv").write_text("age,extra,town\n70,x,Rome\n25,y,Rome\n,z,Paris\n")
    with pytest.warns(UserWarning, match="Paris"):
        (batch,), _ = read(predictor.input_format, tmp_path / "new.csv")
    assert batch.names == [f"{tmp_path / 'new.csv'}:{line}" for line in (2, 3, 4)]
    columns = predictor.input_format.reading["inputs"]
    rows = [dict(zip(columns, row, strict=True)) for row in batch.pixels.flatten(1).tolist()]
    assert [row["age"] for row in rows[:2]] == [70, 25]
    assert [row["town=Rome"] for row in rows] == [1, 1, 0]
    assert rows[2]["age is missing"] == 1
    with pytest.warns(UserWarning, match="Paris"):
        assert predictor.predict_classes(tmp_path / "new.csv")[:2] == ["old", "young"]
    (tmp_path / "lacks.csv").write_text("town,aeg\nRome,3\n")
    with pytest.raises(UserError, match=r"lacks\.csv.*'age'"):
        read(predictor.input_format, tmp_path / "lacks.csv")


def test_table_for_a_run_on_arrays(digits: Predictor, values_run: Path, tmp_path: Path) -> None:
    for predictor in (digits, pipeline.load(values_run)):
        with pytest.raises(UserError, match=r"people\.csv"):
            read(predictor.input_format, write_table(tmp_path / "people.csv", 20))
