"""What a predictor takes: arrays, tensors, pictures, paths and lists, in any layout, and nothing of another kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import pipeline
from pipeline.data.sources.embedded import digits as digits_source
from pipeline.errors import UserError
from pipeline.prediction.predictor import Predictor, load_predictor
from pipeline.workflow.build import load_data
from tests.prediction.small_inputs import COLOURS

PIXELS = digits_source().train.pixels[:5]


@pytest.mark.parametrize(
    "inputs",
    [
        PIXELS,
        PIXELS[:, 0],
        PIXELS.float(),
        PIXELS.numpy(),
        PIXELS[:, 0].numpy(),
        PIXELS.numpy().transpose(0, 2, 3, 1),
        PIXELS.numpy().transpose(0, 2, 3, 1)[:, ::-1, ::-1][:, ::-1, ::-1],
        PIXELS.numpy().astype(np.uint16),
        PIXELS.numpy().astype(np.float64),
        list(PIXELS),
        [image[0].numpy() for image in PIXELS],
        [PIXELS[:2], PIXELS[2].numpy(), PIXELS[3:]],
        tuple(PIXELS),
    ],
)
def test_layouts(digits: Predictor, inputs: Any) -> None:
    torch.testing.assert_close(digits(inputs), digits(PIXELS))


def test_one_input(digits: Predictor) -> None:
    for one in (PIXELS[0], PIXELS[0, 0], PIXELS[0].numpy(), PIXELS[0].numpy().transpose(1, 2, 0)):
        torch.testing.assert_close(digits(one), digits(PIXELS)[:1])


def test_channels(colours: Predictor) -> None:
    """Where both layouts fit, a tensor has its channels first and an array of NumPy last."""
    image = np.random.default_rng(0).integers(0, 255, (2, 6, 8, 3), dtype=np.uint8)
    first = torch.from_numpy(image).permute(0, 3, 1, 2)
    torch.testing.assert_close(colours(image), colours(first))
    square = Predictor(**{**vars(colours), "input_format": type(colours.input_format)((3, 3, 3), 1 / 255)})
    cube = np.arange(27, dtype=np.uint8).reshape(3, 3, 3)
    assert (square.input_format.from_array(cube)[0].numpy() == cube.transpose(2, 0, 1)).all()
    assert (square.input_format.from_array(torch.from_numpy(cube))[0].numpy() == cube).all()


def test_answers(digits: Predictor) -> None:
    probabilities = digits.probabilities(PIXELS)
    torch.testing.assert_close(probabilities, digits(PIXELS).softmax(1))
    names = [digits.classes[index] for index in probabilities.argmax(1).tolist()]
    assert digits.predict_classes(PIXELS) == digits.classify(PIXELS) == names
    assert digits([]).shape == (0, 10)
    assert digits.predict_classes([]) == []
    torch.testing.assert_close(digits(PIXELS), digits(PIXELS.flip(-1)))  # the augmentation averages both views
    with pytest.raises(ValueError, match="probabilities"):
        digits.predict_values(PIXELS)


@pytest.mark.parametrize(
    ("inputs", "shown"),
    [
        (np.zeros((8, 9)), r"\(8, 9\).*\(1, 8, 8\)"),
        (np.zeros((2, 3, 8, 8)), r"\(2, 3, 8, 8\).*\(1, 8, 8\)"),
        (np.zeros((8,)), r"\(8,\)"),
        (np.zeros((1, 1, 1, 8, 8)), r"\(1, 1, 1, 8, 8\)"),
        (3, r"\(\)"),
        (None, "object"),
        ({"x": 1}, "object"),
        (np.array(["a"]), "U1"),
        (np.full((8, 8), np.nan), "finite"),
        (torch.full((1, 8, 8), torch.inf), "finite"),
        (PIXELS.float() / 16.5, "16"),
        (np.zeros((8, 8), complex), "complex"),
    ],
)
def test_wrong_inputs(digits: Predictor, inputs: Any, shown: str) -> None:
    with pytest.raises(ValueError, match=shown):
        digits(inputs)


def test_integers_for_floats(digits: Predictor) -> None:
    """Bytes are no pixels of a run whose pixels were floats."""
    format_ = type(digits.input_format)((1, 8, 8), 1.0, "float32")
    with pytest.raises(ValueError, match="255"):
        format_.from_array(PIXELS)
    assert format_.from_array(PIXELS.float() / 16).shape == PIXELS.shape


def test_pictures_and_paths(colours: Predictor, pictures: Path) -> None:
    """A picture of Pillow, its path as text or not, and lists of them give the same as the file did in training."""
    files = [pictures / name / "3.png" for name in COLOURS]
    expected = colours(files)
    for inputs in (
        [str(file) for file in files],
        [Image.open(file) for file in files],
        [*files[:1], Image.open(files[1]), files[2]],
    ):
        torch.testing.assert_close(colours(inputs), expected)
    torch.testing.assert_close(colours(files[1]), expected[1:2])
    torch.testing.assert_close(colours(Image.open(files[1])), expected[1:2])
    assert colours.classify(files) == list(COLOURS)
    assert colours.classify(pictures / "red") == ["red"] * 20
    with pytest.raises(UserError, match="nowhere"):
        colours("nowhere.png")
    (pictures.parent / "broken.png").write_text("no image")
    with pytest.raises(UserError, match=r"broken\.png"):
        colours(pictures.parent / "broken.png")


def test_same_as_in_training(colour_run: Path, colours: Predictor, pictures: Path) -> None:
    """A file becomes exactly the pixels that the training had of it."""
    config = torch.load(colour_run / "checkpoints" / "best.ckpt", weights_only=True)["pipeline"]["config"]
    data = load_data(config["data"])
    read = colours.input_format.from_file(pictures / "green" / "0.png")
    assert (
        (data.train.pixels[:] == read).flatten(1).all(1).any()
        or (data.test.pixels[:] == read).flatten(1).all(1).any()
        or (data.val.pixels[:] == read).flatten(1).all(1).any()
    )


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "1", "HSV"])
def test_modes(colours: Predictor, pictures: Path, mode: str) -> None:
    picture = Image.open(pictures / "red" / "0.png").convert("RGB").convert(mode)
    assert colours(picture).shape == (1, 3)


def test_values(values_run: Path) -> None:
    """Predicted numbers are in the units of the targets, near those that the network was trained on."""
    predictor = pipeline.load(values_run)
    with np.load(values_run.parents[2] / "rows.npz") as arrays:
        x, y = arrays["x_train"], arrays["y_train"]
    values = predictor.predict_values(x)
    assert predictor.target_moments is not None
    torch.testing.assert_close(
        values, predictor(x) * predictor.target_moments[1].float() + predictor.target_moments[0].float()
    )
    assert np.corrcoef(values[:, 0], y[:, 0])[0, 1] > 0.6
    assert abs(values.mean().item() - 100) < 10
    torch.testing.assert_close(predictor.as_module()(torch.from_numpy(x)[:, :, None, None]), values)
    for ask in (predictor.probabilities, predictor.predict_classes):
        with pytest.raises(ValueError, match="predict_values"):
            ask(x)
    torch.testing.assert_close(predictor(x[0]), predictor(x)[:1])
    torch.testing.assert_close(predictor([row.tolist() for row in x[:3]]), predictor(x)[:3])


def test_labels(labels_run: Path) -> None:
    predictor = pipeline.load(labels_run)
    x = np.random.default_rng(0).normal(size=(20, 6)).astype(np.float32)
    probabilities = predictor.probabilities(x)
    torch.testing.assert_close(probabilities, predictor(x).sigmoid())
    for names, row in zip(predictor.predict_classes(x), probabilities.tolist(), strict=True):
        assert names == tuple(name for name, p in zip("abcd", row, strict=True) if p >= 0.5)


def test_as_module(digits: Predictor) -> None:
    module, logits = digits.as_module(), digits.as_module(logits=True)
    torch.testing.assert_close(module(PIXELS), digits.probabilities(PIXELS))
    torch.testing.assert_close(logits(PIXELS), digits(PIXELS))
    assert not module.training


def test_load(digits_run: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A run is found by its folder, its checkpoint, its name, and as the latest one."""
    expected = pipeline.load(digits_run)(PIXELS)
    monkeypatch.chdir(digits_run.parents[2])
    for reference in (digits_run / "checkpoints" / "best.ckpt", "digits", "latest", str(digits_run)):
        torch.testing.assert_close(pipeline.load(reference)(PIXELS), expected)
    with pytest.raises(UserError, match="nothing"):
        pipeline.load("nothing")
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    with pytest.raises(UserError, match=r"other\.ckpt"):
        load_predictor(tmp_path / "other.ckpt")


def test_older_checkpoint(colour_run: Path, digits_run: Path, pictures: Path, tmp_path: Path) -> None:
    """One without the record of how inputs are read: the configuration says it, or files are refused."""
    added = ("task", "reading", "scale", "pixel_type", "target_moments")
    for run in (colour_run, digits_run):
        state = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
        state["pipeline"] = {key: value for key, value in state["pipeline"].items() if key not in added}
        torch.save(state, tmp_path / f"{run.parent.name}.ckpt")
    file = pictures / "red" / "0.png"
    torch.testing.assert_close(load_predictor(tmp_path / "colours.ckpt")(file), pipeline.load(colour_run)(file))
    older = load_predictor(tmp_path / "digits.ckpt")
    torch.testing.assert_close(older(PIXELS), pipeline.load(digits_run)(PIXELS))
    with pytest.raises(UserError, match="scaled"):
        older(file)
