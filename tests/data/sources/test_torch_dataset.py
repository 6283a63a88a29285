"""Datasets of torch: layouts, labels, names, randomness, and the user's mistakes."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import ConcatDataset, Subset, TensorDataset
from torchvision.datasets import FakeData, ImageFolder

from pipeline.config.compose import compose_config
from pipeline.config.to_dict import to_dict
from pipeline.data.dataset import CLASSIFICATION, MULTILABEL, REGRESSION, Source
from pipeline.data.sources.torch_dataset import torch_dataset
from pipeline.errors import UserError
from pipeline.workflow.build import load_data
from tests.data.sources import user_datasets
from tests.data.sources.user_datasets import Bars, Items, NoLength, Relabelled, Stream, Varied, picture

MODULE = user_datasets.__name__
DEFAULTS: dict[str, Any] = {
    "val_dataset": {"_partial_": True},
    "test_dataset": {"_partial_": True},
    "image_key": None,
    "label_key": None,
    "task": "auto",
    "size": None,
    "fit": "crop",
    "background": "white",
    "grayscale": None,
    "on_error": "refuse",
    "scale": None,
    "cache": "auto",
    "threads": 1,
}


def load(dataset: Any, **options: Any) -> Source:
    """Return the source of a Dataset, with the options of conf/data/custom.yaml changed by `options`."""
    return torch_dataset(dataset=lambda: dataset, **{**DEFAULTS, **options})


def read_all(dataset: Any, **options: Any) -> None:
    for images in load(dataset, **options).splits.values():
        images.pixels[:]


def pixels_of(source: Source) -> torch.Tensor:
    return source.train.pixels[:]


def test_tensors_and_whole_numbers() -> None:
    bars = Bars()
    source = load(bars, test_dataset=lambda: Bars(12, seed=1))
    assert torch.equal(pixels_of(source), bars.x)
    assert source.train.labels.tolist() == bars.y.tolist()
    assert (source.task, source.classes, source.scale, source.name) == (CLASSIFICATION, ("0", "1", "2"), 1.0, "Bars")
    assert source.reading == {"kind": "array"}
    assert source.val is None
    assert source.test is not None
    assert torch.equal(source.test.pixels[:], Bars(12, seed=1).x)


@pytest.mark.parametrize(
    ("image", "shape", "dtype", "scale"),
    [
        (torch.full((3, 4, 5), 0.5), (3, 4, 5), torch.float32, 1.0),
        (torch.full((4, 5), 7, dtype=torch.uint8), (1, 4, 5), torch.uint8, 1 / 255),
        (torch.zeros(10), (10, 1, 1), torch.float32, 1.0),
        (torch.zeros(9, 12, 3), (3, 9, 12), torch.float32, 1.0),
        (torch.zeros(3, 12, 3), (3, 12, 3), torch.float32, 1.0),
        (torch.zeros(6, 4, 5, dtype=torch.float64), (6, 4, 5), torch.float32, 1.0),
        (torch.zeros(1, 4, 5, dtype=torch.bool), (1, 4, 5), torch.float32, 1.0),
        (torch.full((1, 4, 5), 300), (1, 4, 5), torch.int32, 1 / 65535),
        (torch.full((1, 4, 5), 200), (1, 4, 5), torch.int32, 1 / 255),
        (np.zeros((6, 7, 3), np.uint8), (3, 6, 7), torch.uint8, 1 / 255),
        (np.zeros((3, 6, 7), np.uint8), (3, 6, 7), torch.uint8, 1 / 255),
        (np.zeros((6, 7, 5), np.float16), (5, 6, 7), torch.float32, 1.0),
        (np.zeros((6, 7), np.uint16), (1, 6, 7), torch.int32, 1 / 255),
    ],
)
def test_layouts_of_arrays(image: Any, shape: tuple[int, ...], dtype: torch.dtype, scale: float) -> None:
    source = load(Items([(image, i % 2) for i in range(4)]))
    pixels = pixels_of(source)
    assert (tuple(pixels.shape[1:]), pixels.dtype, source.scale) == (shape, dtype, scale)
    assert source.train.pixels.dtype == dtype


def test_pictures() -> None:
    items = [(picture(i % 3, i), "abc"[i % 3]) for i in range(6)]
    source = load(Items(items))
    expected = [np.asarray(image).transpose(2, 0, 1) for image, _ in items]
    assert np.array_equal(pixels_of(source).numpy(), np.stack(expected))
    assert source.classes == ("a", "b", "c")
    assert source.reading["kind"] == "image"
    assert source.reading["grayscale"] is False


def test_grey_pictures_have_one_channel() -> None:
    grey = [(picture(i % 2, i, mode="L"), i % 2) for i in range(20)]
    source = load(Items(grey))
    assert source.train.pixels.shape == (20, 1, 8, 8)
    assert source.reading["grayscale"] is True
    grey[11] = (picture(1, 11), 1)
    with pytest.raises(UserError, match="item 11") as raised:
        pixels_of(load(Items(grey)))
    assert raised.value.field == "grayscale"
    assert load(Items(grey), grayscale=False).train.pixels[:].shape == (20, 3, 8, 8)
    assert load(Items(grey), grayscale=True).train.pixels[:].shape == (20, 1, 8, 8)


def test_pictures_of_several_sizes() -> None:
    items = [(picture(i % 2, i, side=8 + i), i % 2) for i in range(4)]
    assert load(Items(items), size=6, fit="pad").train.pixels[:].shape == (4, 3, 6, 6)
    assert load(Items(items), size=[4, 6]).train.pixels[:].shape == (4, 3, 4, 6)
    arrays = [(np.asarray(image), label) for image, label in items]
    resized = load(Items(arrays), size=6).train.pixels[:]
    assert torch.equal(resized, load(Items(items), size=6).train.pixels[:])
    with pytest.raises(UserError) as raised:
        load(Items([(np.asarray(image) / 255.0, label) for image, label in items]), size=6)
    assert "data.size" in raised.value.message


def test_transparent_pictures_are_composed() -> None:
    clear = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    source = load(Items([(clear, 0), (clear, 1)]), background="#102030")
    assert source.train.pixels[:][0, :, 0, 0].tolist() == [16, 32, 48]


def test_turned_pictures_are_upright() -> None:
    image = picture(0)
    image.getexif()[0x0112] = 3  # half a turn
    source = load(Items([(image, 0), (image, 1)]))
    assert np.array_equal(pixels_of(source)[0].numpy(), np.asarray(picture(0)).transpose(2, 0, 1)[:, ::-1, ::-1])


def test_names_of_classes() -> None:
    bars = Bars()
    bars.classes = ["x", "y", "z"]  # type: ignore[attr-defined]
    assert load(ConcatDataset([Subset(bars, range(9)), bars])).classes == ("x", "y", "z")
    other = Bars()
    other.class_to_idx = {"z": 2, "x": 0, "y": 1}  # type: ignore[attr-defined]
    assert load(other).classes == ("x", "y", "z")


def test_mappings_and_keys() -> None:
    image = torch.zeros(1, 4, 4)
    assert load(Items([{"image": image, "label": i % 2} for i in range(4)])).classes == ("0", "1")
    named = Items([{"scan": image, "kind": "ab"[i % 2], "id": i} for i in range(4)])
    assert load(named, image_key="scan", label_key="kind").classes == ("a", "b")
    triple = Items([(i, i % 2, image) for i in range(4)])
    assert load(triple, image_key=2, label_key=1).train.pixels.shape == (4, 1, 4, 4)
    for wrong, options, field in (
        (named, {}, "image_key"),
        (named, {"image_key": "scan"}, "label_key"),
        (triple, {}, "image_key"),
        (Items([image] * 4), {}, "dataset"),
        (Items([None] * 4), {}, "dataset"),
    ):
        with pytest.raises(UserError) as raised:
            load(wrong, **options)
        assert raised.value.field == field


def test_tasks() -> None:
    image = torch.zeros(1, 4, 4)
    several = load(Items([(image, torch.tensor([i % 2, 1, i // 2])) for i in range(4)]))
    assert (several.task, several.classes) == (MULTILABEL, ("0", "1", "2"))
    assert several.train.labels.tolist() == [[0, 1, 0], [1, 1, 0], [0, 1, 1], [1, 1, 1]]
    numbers = load(Items([(image, 0.5 * i + 0.25) for i in range(4)]))
    assert (numbers.task, numbers.train.labels.tolist()) == (REGRESSION, [[0.25], [0.75], [1.25], [1.75]])
    assert numbers.train.labels.dtype == torch.float32
    classes = load(Items([(image, torch.tensor(float(i % 2))) for i in range(4)]), task="classification")
    assert (classes.task, classes.train.labels.tolist()) == (CLASSIFICATION, [0, 1, 0, 1])


def test_datasets_of_torch() -> None:
    bars = Bars()
    tensors = TensorDataset(bars.x, bars.y)
    part = Subset(tensors, [5, 3, 1, 9])
    assert torch.equal(pixels_of(load(part)), bars.x[[5, 3, 1, 9]])
    assert load(part).train.labels.tolist() == bars.y[[5, 3, 1, 9]].tolist()
    joined = load(ConcatDataset([part, tensors]))
    assert joined.train.labels.tolist() == [*bars.y[[5, 3, 1, 9]].tolist(), *bars.y.tolist()]
    fake = load(FakeData(size=20, image_size=(3, 6, 6), num_classes=3))
    assert fake.train.pixels[:].shape == (20, 3, 6, 6)
    assert len(fake.classes) == 3


def test_image_folder_of_torchvision(tmp_path: Path) -> None:
    for i in range(6):
        folder = tmp_path / ("cat", "dog")[i % 2]
        folder.mkdir(exist_ok=True)
        picture(i % 2, i).save(folder / f"{i}.png")
    source = load(ImageFolder(tmp_path))
    assert source.classes == ("cat", "dog")
    assert source.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert pixels_of(source)[1].tolist() == np.asarray(picture(0, 2)).transpose(2, 0, 1).tolist()
    shifted = ImageFolder(tmp_path, target_transform=lambda label: 1 - label)
    assert load(shifted).train.labels.tolist() == [1, 1, 1, 0, 0, 0]


def test_labels_beside_the_images_are_not_read_from_items() -> None:
    class Counting(Bars):
        reads = 0

        @property
        def targets(self) -> torch.Tensor:
            return self.y

        def __getitem__(self, i: int) -> Any:
            Counting.reads += 1
            return super().__getitem__(i)

    source = load(Counting(600))
    assert Counting.reads < 60
    source.train.pixels.gather(torch.tensor([1, 2]))
    assert Counting.reads < 62
    Counting.reads = 0
    with pytest.raises(UserError, match="item 599") as raised:
        pixels_of(load(Relabelled(600)))
    assert raised.value.field == "dataset"


def test_all_items_are_read_once() -> None:
    reads = []

    def item(i: int) -> Any:
        reads.append(i)
        return torch.full((1, 4, 4), 0.01 * i), i % 2

    source = load(Items([lambda i=i: item(i) for i in range(100)]))
    pixels_of(source)
    assert len(reads) < 140


def test_random_variation_is_said_and_repeatable() -> None:
    state, python, legacy = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002
    first, second = load(Varied()), load(Varied())
    assert torch.equal(pixels_of(first), pixels_of(second))
    assert len(first.loading["notes"]) == 1
    assert "cache=off" in first.loading["notes"][0]
    assert load(Bars()).loading == {}
    unkept = load(Varied(), cache="off")
    pixels_of(unkept)
    assert not torch.equal(pixels_of(unkept), pixels_of(unkept))
    torch.set_rng_state(state)
    load(Varied())
    assert torch.equal(torch.get_rng_state(), state)
    assert random.getstate() == python
    assert np.array_equal(np.random.get_state()[1], legacy)  # noqa: NPY002


def test_items_that_raise_may_be_left_out() -> None:
    items: list[Any] = [(torch.full((1, 4, 4), i / 40), i % 2) for i in range(40)]
    items[2], items[25] = ValueError("torn"), OSError("gone")
    source = load(Items(items), on_error="skip")
    left = [i for i in range(40) if i not in (2, 25)]
    assert pixels_of(source)[:, 0, 0, 0].tolist() == pytest.approx([i / 40 for i in left])
    assert source.train.labels.tolist() == [i % 2 for i in left]
    assert "item 2 " in source.loading["notes"][0]
    assert "item 25 " in source.loading["notes"][0]
    with pytest.raises(UserError, match="torn"):
        load(Items([ValueError("torn")] * 3), on_error="skip")


def test_a_source_of_the_user_is_taken_as_it_is() -> None:
    assert load(user_datasets.whole_source()).name == "own"


@pytest.mark.parametrize(
    ("dataset", "options", "field", "word"),
    [
        (Stream(), {}, "dataset", "IterableDataset"),
        (NoLength(), {}, "dataset", "length"),
        (5, {}, "dataset", "__getitem__"),
        (Items([]), {}, "dataset", "no items"),
        (Items([(torch.zeros(1, 4, 4), 0), ValueError("bad file 7")]), {}, "dataset", "bad file 7"),
        (Items([(torch.zeros(1, 4, 4), i) for i in range(3)] + [(torch.zeros(1, 4, 5), 1)]), {}, "size", "item 3"),
        (Items([(torch.zeros(1, 4, 4), 0)] * 3 + [(torch.zeros(3, 4, 4), 1)]), {}, "size", "item 3"),
        (Items([(torch.zeros(1, 4, 4), 0)] * 3 + [(torch.ones(1, 4, 4).byte(), 1)]), {}, "size", "uint8"),
        (Items([(torch.zeros(2, 1, 4, 4), i % 2) for i in range(4)]), {}, "path", "(2, 1, 4, 4)"),
        (Items([(torch.zeros(1, 4, 4).cfloat(), i % 2) for i in range(4)]), {}, "path", "complex"),
        (Items([({"a": 1}, i % 2) for i in range(4)]), {}, "path", "item 0"),
        (Items([(torch.rand(1, 4, 4) * 255, i % 2) for i in range(4)]), {}, "scale", "255"),
        (Items([(torch.zeros(1, 4, 4), label) for label in (0, 1, None, 1)]), {}, "label_key", "1 of 4"),
        (Items([(torch.zeros(1, 4, 4), label) for label in (0, "a", 1)]), {}, "label_key", "'a'"),
        (Items([(torch.zeros(1, 4, 4), label) for label in (0, -1, 1)]), {}, "label_key", "-1"),
        (Items([(torch.zeros(1, 4, 4), label) for label in (0.5, float("nan"))]), {}, "label_key", "1 of 2"),
        (Items([(torch.zeros(1, 4, 4), label) for label in (0.5, float("inf"))]), {}, "label_key", "infinite"),
        (Items([(torch.zeros(1, 4, 4), label) for label in (0.0, 1.0)]), {}, "label_key", "data.task"),
        (Items([(torch.zeros(1, 4, 4), [1, 0]), (torch.zeros(1, 4, 4), [0, 1])]), {}, "label_key", "one-hot"),
        (Items([(torch.zeros(1, 4, 4), [0.5]), (torch.zeros(1, 4, 4), [0.1, 1])]), {}, "label_key", "length"),
        (Items([(torch.zeros(1, 4, 4), {"id": 3})] * 2), {}, "label_key", "id"),
        (Items([(torch.zeros(1, 4, 4), 10**9), (torch.zeros(1, 4, 4), 0)]), {}, "label_key", "1000000000"),
        (Bars(), {"task": "clasification"}, "task", "classification"),
        (Bars(), {"task": "multilabel"}, "label_key", "vector"),
        (Bars(), {"threads": 0}, "threads", "0"),
        (Bars(), {"fit": "squash"}, "fit", "squash"),
        (Bars(), {"test_dataset": lambda: Items([])}, "test_dataset", "no items"),
        (Bars(), {"test_dataset": lambda: Items([(torch.zeros(1, 8, 8), "a")] * 2)}, "label_key", "'a'"),
    ],
)
def test_mistakes(dataset: Any, options: dict[str, Any], field: str, word: str) -> None:
    with pytest.raises(UserError) as raised:
        read_all(dataset, **options)
    assert raised.value.field == field
    assert word in raised.value.message


def test_the_users_own_lines_are_shown() -> None:
    with pytest.raises(UserError) as raised:
        torch_dataset(dataset=user_datasets.broken_constructor, **DEFAULTS)
    assert raised.value.field == "dataset"
    assert "no table 'images'" in raised.value.message
    assert "user_datasets.py" in raised.value.message
    with pytest.raises(UserError) as raised:
        load(Items([(torch.zeros(1, 4, 4), 0), KeyError("age")]))
    assert "item 1" in raised.value.message
    assert "user_datasets.py" in raised.value.message


def test_by_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_ALLOW", f"{MODULE}.Bars,{MODULE}.whole_source")
    overrides = [f"data.dataset._target_={MODULE}.Bars", "+data.dataset.n=90", "+data.test_dataset.seed=3"]
    composed = compose_config(["data=custom", *overrides, f"+data.test_dataset._target_={MODULE}.Bars"])
    node = to_dict(composed)["data"]
    data = load_data(node)
    assert data.sizes == {"train": 81, "val": 9, "test": 60}
    assert torch.equal(data.test.pixels[:], Bars(60, seed=3).x)
    for changes, field in (
        ({"dataset": {"_target_": f"{MODULE}.Items", "_partial_": True}}, "data.dataset._target_"),
        ({"dataset": {"_target_": "???", "_partial_": True}}, "data.dataset._target_"),
        ({"dataset": {"_target_": f"{MODULE}.Bars", "_partial_": True, "m": 3}}, "data.dataset.m"),
        ({"grayscale": 3}, "data.grayscale"),
        ({"val_dataset": {"_partial_": True, "n": 3}}, "data.val_dataset"),
    ):
        with pytest.raises(UserError) as raised:
            load_data(node | {"source": node["source"] | changes})
        assert raised.value.field == field
    own = {"_target_": f"{MODULE}.whole_source", "n": 60}
    assert load_data(node | {"source": own}).name == "own"
    with pytest.raises(UserError, match=r"data\.dataset\._target_") as raised:
        load_data(node | {"source": own | {"_target_": f"{MODULE}.Bars"}})
    assert raised.value.field == "data.source"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_tensors_that_numpy_cannot_take(dtype: torch.dtype) -> None:
    """They have gradients, or a type that NumPy lacks; read twice, they are equal."""
    source = load(Items([(torch.full((1, 4, 4), i / 40, dtype=dtype).requires_grad_(), i % 2) for i in range(40)]))
    assert len(pixels_of(source)) == 40
    assert source.loading == {}
