"""Any map-style `Dataset` of PyTorch: what has a length and an item for each index."""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import ConcatDataset, IterableDataset, Subset, TensorDataset

from pipeline.data.dataset import Source
from pipeline.data.sources.example_source import Examples, PictureOptions, make_source, sample_indices
from pipeline.data.storage.progress import show_progress
from pipeline.errors import UserError, list_names, user_frames
from pipeline.validation import integer

IMAGE_KEYS = ("image", "img", "pixel_values", "images", "picture", "x", "input")
LABEL_KEYS = ("label", "labels", "target", "targets", "fine_label", "class", "y")
"""Names of columns and of entries of an item, in the order in which they are looked for."""
_KEPT_BYTES = 512 << 20  # of images that are kept when all items have to be read for their labels
_ABSENT = object()


def torch_dataset(
    *,
    dataset: Callable[[], Any],
    val_dataset: Callable[[], Any] | Mapping[str, Any],
    test_dataset: Callable[[], Any] | Mapping[str, Any],
    image_key: str | int | None,
    label_key: str | int | None,
    task: str,
    size: Any,
    fit: str,
    background: Any,
    grayscale: bool | None,
    on_error: str,
    scale: float | None,
    cache: Any,
    threads: int,
) -> Source:
    """Return the items of the map-style `Dataset` that `dataset()` returns, and of those for validation and testing.

    An item is a pair (image, label), or a sequence or mapping from which `image_key` and `label_key` choose; null takes
    the first two, or the entries that are called as images and labels usually are. Images are pictures of Pillow,
    tensors or arrays (see `make_source`). Labels are known without reading the images for `TensorDataset` and what has
    `.targets`; otherwise all items are read for them, and as many images as fit in 512 MB are kept. Names of classes
    are those of `.classes` or `.class_to_idx`. A function that returns a `Source` is taken as it is.

    While items are read into memory or a cache, item i finds the random generators in a state that only i decides:
    what varies at random is the same in every run. `threads` items are read at once.

    Raises `UserError` with the user's own lines for whatever the user's code raises; with `on_error` skip, an item that
    raises is left out.
    """
    threads = integer("threads", threads, at_least=1)
    pictures = PictureOptions(size, fit, background, grayscale, on_error)
    functions = {"train": dataset, "val": val_dataset, "test": test_dataset}
    readers: dict[str, _ItemReader] = {}
    for split, function in functions.items():
        field = "dataset" if split == "train" else f"{split}_dataset"
        if isinstance(function, Mapping):  # of which no class or function was named
            if function.keys() - {"_partial_"}:
                raise UserError(f"has arguments but no class or function: +data.{field}._target_=...", field=field)
            continue
        built = _call(function, field)
        if isinstance(built, Source):
            return built
        _check_map_style(built, field)
        readers[split] = _ItemReader(
            built,
            split,
            field,
            (image_key, label_key),
            is_seeded=cache != "off",
            is_locked=threads == 1,
            skips=on_error == "skip",
        )
    train = readers["train"]
    source = make_source(
        {split: Examples(reader.labels(), reader.image, reader.name) for split, reader in readers.items()},
        name=type(train.dataset).__name__,
        path=None,
        pictures=pictures,
        scale=scale,
        task=task,
        classes=class_names(train.dataset),
        label_field="label_key",
        threads=threads,
    )
    notes = [note for reader in readers.values() if (note := reader.describe_skipped())]
    if varying := train.count_varying():
        notes.append(_varying_note(varying, len(train), cache))
    return replace(source, loading={"notes": notes}) if notes else source


def _call(function: Callable[[], Any], field: str) -> Any:
    """Return what the user's function or class returns, called in a known state of the random generators."""
    if not callable(function):
        return function
    try:
        with _seeded(0):
            return function()
    except UserError:
        raise
    except Exception as error:  # a user's function may raise anything
        name = getattr(getattr(function, "func", function), "__name__", repr(function))
        raise UserError(f"{name} raised {type(error).__name__}: {error}{user_frames(error)}", field=field) from error


def _check_map_style(dataset: Any, field: str) -> None:
    name = type(dataset).__name__
    if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__getitem__"):
        kind = "is an IterableDataset" if isinstance(dataset, IterableDataset) else "has no __getitem__"
        raise UserError(
            f"{name} {kind}: the order of training follows from the seed, so any item must be at hand. Define "
            "__getitem__(i) and __len__(), or write its items into tar files once and use data=shards.",
            field=field,
        )
    try:
        count = len(dataset)
    except Exception as error:  # a user's __len__ may raise anything
        raise UserError(
            f"{name} must have a length: len(dataset) raised {type(error).__name__}: {error}{user_frames(error)}",
            field=field,
        ) from error
    if not count:
        raise UserError(f"{name} has no items: len(dataset) is 0.", field=field)


class _ItemReader:
    """The images and labels of one `Dataset`."""

    def __init__(
        self,
        dataset: Any,
        split: str,
        field: str,
        keys: tuple[str | int | None, str | int | None],
        *,
        is_seeded: bool,
        is_locked: bool,
        skips: bool,
    ):
        self.dataset, self._split, self._field, self._keys = dataset, split, field, keys
        self._is_seeded, self._skips = is_seeded, skips
        self._lock: Any = threading.Lock() if is_locked else contextlib.nullcontext()
        self._kept: dict[int, Any] = {}
        self._labels: Sequence[Any] = ()
        self._items: Sequence[int] = range(len(dataset))
        self._skipped: list[str] = []

    def __len__(self) -> int:
        return len(self._items)

    def name(self, i: int) -> str:
        return f"item {self._items[i]} of {type(self.dataset).__name__} ({self._split})"

    def labels(self) -> Sequence[Any]:
        """Return the label of each item; without `.targets` or the like, all items are read."""
        stored = None if self._skips else stored_labels(self.dataset)
        if stored is not None and all(_equal(self._item(i)[1], stored[i]) for i in sample_indices(len(self))):
            self._labels = stored
        else:
            self._read_labels()
        return self._labels

    def image(self, i: int) -> Any:
        """Return the image of item i."""
        if i in self._kept:
            return self._kept.pop(i)
        image, label = self._item(i)
        if not _equal(label, self._labels[i]):
            raise UserError(
                f"the label of {self.name(i)} is {label!r}, and was {self._labels[i]!r} before. An item must have one "
                "label.",
                field=self._field,
            )
        return image

    def count_varying(self) -> int:
        """Return how many of a sample of items differ when they are read in two states of the random generators."""
        pairs = ((self._item(i, seed=i)[0], self._item(i, seed=len(self) + i)[0]) for i in sample_indices(len(self)))
        return sum(not _equal(first, second) for first, second in pairs)

    def describe_skipped(self) -> str:
        """Return a sentence on the items that raised and were left out, or ""."""
        if not self._skipped:
            return ""
        return f"left out {len(self._skipped):,} item(s) that cannot be read: {list_names(self._skipped, most=3)}"

    def _read_labels(self) -> None:
        """Read all items, and keep their labels and what has room of their images."""
        labels: list[Any] = []
        items: list[int] = []
        kept: dict[int, Any] = {}
        free = _KEPT_BYTES
        for i in show_progress(range(len(self)), len(self), f"reading items of {type(self.dataset).__name__}"):
            try:
                image, label = self._item(i)
            except UserError as error:
                if not self._skips:
                    raise
                self._skipped.append(error.message.splitlines()[0])
                continue
            free -= _byte_count(image)
            if free > 0:
                kept[len(items)] = _copied(image)
            labels.append(label)
            items.append(i)
        if not items:
            raise UserError(f"no item can be read: {self._skipped[0]}", field=self._field)
        self._labels, self._kept, self._items = labels, kept, items

    def _item(self, i: int, *, seed: int | None = None) -> tuple[Any, Any]:
        index = self._items[i]
        seed = index if seed is None and self._is_seeded else seed
        try:
            with self._lock, contextlib.nullcontext() if seed is None else _seeded(seed):
                item = self.dataset[index]
        except Exception as error:  # a user's __getitem__ may raise anything
            raise UserError(
                f"{self.name(i)} raised {type(error).__name__}: {error}{user_frames(error)}", field=self._field
            ) from error
        if not isinstance(item, (Mapping, tuple, list)):
            raise UserError(
                f"an item must be a pair (image, label) or a mapping, but {self.name(i)} is a {type(item).__name__}. "
                "Return both from __getitem__.",
                field=self._field,
            )
        return _entry(item, self._keys[0], 0, self.name(i)), _entry(item, self._keys[1], 1, self.name(i))


def _entry(item: Any, key: str | int | None, position: int, name: str) -> Any:
    """Return the image (`position` 0) or the label (1) of an item."""
    field, usual = ("image_key", IMAGE_KEYS) if position == 0 else ("label_key", LABEL_KEYS)
    if isinstance(item, Mapping):
        key = next((word for word in usual if word in item), None) if key is None else key
        if key in item:
            return item[key]
        found = f"a mapping with the keys {', '.join(map(str, item))}"
    else:
        if key is None and len(item) == 2:
            return item[position]
        if isinstance(key, int) and -len(item) <= key < len(item):
            return item[key]
        found = f"a {type(item).__name__} of {len(item)}"
    raise UserError(
        f"an item must be a pair (image, label) or a mapping, but {name} is {found}. Name the entry: data.{field}=..., "
        "a key, or a number from 0 for a sequence.",
        field=field,
    )


def stored_labels(dataset: Any) -> Sequence[Any] | None:
    """Return the labels of a `Dataset` that has them beside its images, or None."""
    if type(dataset) is TensorDataset:
        return dataset.tensors[1].tolist() if len(dataset.tensors) == 2 else None
    if type(dataset) is Subset:
        inner = stored_labels(dataset.dataset)
        return None if inner is None else [inner[i] for i in dataset.indices]
    if type(dataset) is ConcatDataset:
        parts = [stored_labels(part) for part in dataset.datasets]
        return None if any(part is None for part in parts) else [label for part in parts for label in part or ()]
    targets = getattr(dataset, "targets", None)
    if getattr(dataset, "target_transform", None) is not None or not isinstance(targets, (list, Tensor, np.ndarray)):
        return None
    targets = targets if isinstance(targets, list) else targets.tolist()
    return targets if len(targets) == len(dataset) else None


def class_names(dataset: Any) -> Sequence[str] | None:
    """Return the names in `.classes` or `.class_to_idx` of a `Dataset`, or of the one that it is a part of."""
    if isinstance(dataset, Subset):
        return class_names(dataset.dataset)
    if isinstance(dataset, ConcatDataset):
        return class_names(dataset.datasets[0])
    classes = getattr(dataset, "classes", None)
    if isinstance(classes, (list, tuple)) and classes:
        return [str(name) for name in classes]
    numbers = getattr(dataset, "class_to_idx", None)
    if isinstance(numbers, Mapping) and sorted(numbers.values()) == list(range(len(numbers))):
        return [str(name) for name in sorted(numbers, key=lambda name: numbers[name])]
    return None


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Set the random generators of Python, NumPy and torch to `seed`, and restore their states afterwards."""
    python, legacy = random.getstate(), np.random.get_state()  # noqa: NPY002 - what the user's code may draw from
    try:
        with torch.random.fork_rng(devices=[]):
            random.seed(seed)
            np.random.seed(seed % 2**32)  # noqa: NPY002
            torch.default_generator.manual_seed(seed)
            yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)  # noqa: NPY002


def _equal(first: Any, second: Any) -> bool:
    """Return whether two images, or two labels, have the same values."""
    if isinstance(first, str) or isinstance(second, str):
        return bool(first == second)
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return first.dtype == second.dtype and torch.equal(first, second)
    with contextlib.suppress(Exception):
        return np.array_equal(np.asarray(first), np.asarray(second))
    return bool(first == second)


def _byte_count(image: Any) -> int:
    if isinstance(image, Image.Image):
        return image.width * image.height * len(image.getbands())
    return int(getattr(image, "nbytes", 1000))


def _copied(image: Any) -> Any:
    """Return a copy: a `Dataset` may hand out one buffer again and again, or files that are still open."""
    if isinstance(image, Tensor):
        return image.clone()
    return image.copy() if isinstance(image, (np.ndarray, Image.Image)) else image


def _varying_note(varying: int, count: int, cache: Any) -> str:
    compared = len(sample_indices(count))
    found = f"The Dataset varies its images at random ({varying} of {compared} items differ when they are read twice)"
    if cache == "off":
        return f"{found}. With data.cache=off they are read anew each time, so that no run repeats another exactly."
    return (
        f"{found}. Each is read once and kept, the same in every epoch. Take the variation out and use "
        "augmentation=..., or set data.cache=off to read anew each time."
    )
