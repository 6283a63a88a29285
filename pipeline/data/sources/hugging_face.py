"""Data sets of the Hugging Face library `datasets` on this machine, and Parquet files. Nothing is downloaded."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.data.dataset import Source
from pipeline.data.sources.example_source import Examples, PictureOptions, make_source
from pipeline.data.sources.split_names import SPLITS, group_by_split, split_of
from pipeline.data.sources.torch_dataset import IMAGE_KEYS, LABEL_KEYS
from pipeline.errors import UserError, did_you_mean
from pipeline.validation import mapping, require_package


def hugging_face(
    *,
    path: str,
    splits: Mapping[str, str] | None,
    image_column: str | None,
    label_column: str | None,
    task: str,
    size: Any,
    fit: str,
    background: Any,
    grayscale: bool | None,
    on_error: str,
    scale: float | None,
) -> Source:
    """Return the data set in `path`: a folder that `save_to_disk` wrote, a Parquet file, or a folder of such files.

    `splits` says which part of the data set is train, val and test; null goes by their names. `image_column` holds
    encoded images, paths of files below the folder, or arrays; `label_column` holds classes, words, lists of them, or
    numbers. Null takes the columns that are called so, or the only ones of that kind. Images in encoded form are read
    as files of `image_folder` are. The names of classes are those of the feature `ClassLabel`, whose -1 means no label.

    Raises `UserError` (`path`) for what cannot be read, and naming the field for columns and splits that are not there.
    """
    require_package("datasets", extra="datasets")
    root = Path(path).expanduser()
    pictures = PictureOptions(size, fit, background, grayscale, on_error)
    with _offline():
        found = _load(root)
    parts = _choose_splits(found, splits, root)
    features = parts["train"].features
    image = _column(features, image_column, IMAGE_KEYS, _is_image, "image_column", root)
    label = _column(features, label_column, LABEL_KEYS, _is_label, "label_column", root)
    for split, part in parts.items():
        for name in (image, label):
            if name not in part.column_names:
                raise UserError(f"the split {split} of {root} has no column {name!r}.", field="path")
    names = _class_names(features[label])
    return make_source(
        {split: _examples(part, split, image, label, root) for split, part in parts.items()},
        name=root.resolve().name,
        path=str(root),
        pictures=pictures,
        scale=scale,
        task=task,
        classes=names,
        label_field="label_column",
        key=" ".join(_fingerprint(part) for part in parts.values()),
    )


@contextlib.contextmanager
def _offline() -> Iterator[None]:
    """Keep `datasets` from the network, which it would else tell what it loads, and from printing."""
    import datasets

    wanted = {"HF_HUB_OFFLINE": True, "HF_DATASETS_OFFLINE": True, "HF_UPDATE_DOWNLOAD_COUNTS": False}
    before = {name: getattr(datasets.config, name) for name in wanted}
    had_bars, verbosity = datasets.is_progress_bar_enabled(), datasets.logging.get_verbosity()
    try:
        for name, value in wanted.items():
            setattr(datasets.config, name, value)
        datasets.disable_progress_bars()
        datasets.logging.set_verbosity(datasets.logging.CRITICAL)  # what it would print is raised as well
        yield
    finally:
        for name, value in before.items():
            setattr(datasets.config, name, value)
        datasets.logging.set_verbosity(verbosity)
        if had_bars:
            datasets.enable_progress_bars()


def _load(root: Path) -> dict[str, Any]:
    """Return the parts of the data set by their names."""
    import datasets

    if not root.exists():
        raise UserError(
            f"there is no file or folder {root}. Data sets of the Hub are not downloaded: once, with a network, run "
            f"datasets.load_dataset(NAME).save_to_disk({str(root)!r}).",
            field="path",
        )
    try:
        if root.is_file():
            return _load_parquet({"train": [root]})
        if (root / "state.json").is_file() or (root / "dataset_dict.json").is_file():
            loaded = datasets.load_from_disk(str(root))
            return dict(loaded) if isinstance(loaded, datasets.DatasetDict) else {"train": loaded}
        files = sorted(file for file in root.rglob("*.parquet") if not file.name.startswith("."))
        if files:
            return _load_parquet(group_by_split(files, root))
    except UserError:
        raise
    except Exception as error:  # pyarrow and datasets raise many types, and all of them are about the files
        reason = str(error.__cause__ or error).strip().splitlines() or [""]
        raise UserError(
            f"{root} cannot be read ({type(error.__cause__ or error).__name__}: {reason[0]}). It must be a folder that "
            "save_to_disk wrote, or hold Parquet files.",
            field="path",
        ) from error
    raise UserError(
        f"{root} holds no data set: expected what save_to_disk writes (dataset_dict.json or state.json), or .parquet "
        "files. Folders of images are read with data=image_folder.",
        field="path",
    )


def _load_parquet(files: Mapping[str, Sequence[Path]]) -> dict[str, Any]:
    """Return Parquet files as data sets, which `datasets` maps from files in its own cache folder."""
    import datasets
    from pyarrow import parquet

    for file in (file for group in files.values() for file in group):
        with file.open("rb") as opened:
            if opened.read(4) != b"PAR1":
                raise UserError(f"{file} is not a Parquet file.", field="path")
        try:
            n_rows = parquet.read_metadata(file).num_rows
        except Exception as error:  # pyarrow raises several types
            raise UserError(f"{file} is damaged ({error}). Copy or make it anew.", field="path") from error
        if not n_rows:
            raise UserError(f"{file} holds no rows. Remove it.", field="path")
    loaded = datasets.load_dataset(
        "parquet", data_files={split: [str(file.resolve()) for file in group] for split, group in files.items()}
    )
    return dict(loaded)


def _choose_splits(found: Mapping[str, Any], wanted: Mapping[str, str] | None, root: Path) -> dict[str, Any]:
    """Return the data sets for train, val and test."""
    if wanted is not None:
        for split, name in mapping("splits", wanted).items():
            if split not in SPLITS or name not in found:
                raise UserError(
                    f"expected train, val and test with names of {', '.join(map(str, found))}, got {split}: {name}."
                    f"{did_you_mean(str(name), map(str, found))}",
                    field="splits",
                )
        chosen = {split: found[wanted[split]] for split in SPLITS if split in wanted}
    else:
        known = {name: split_of(str(name)) for name in found}
        unknown = [name for name, split in known.items() if split is None]
        if unknown or len(set(known.values())) < len(known):
            raise UserError(
                f"the parts of {root} are {', '.join(map(str, found))}, which are not just train, validation and test. "
                "Say which to use: 'data.splits={train: NAME, test: NAME}'.",
                field="splits",
            )
        chosen = {split: found[name] for split in SPLITS for name in found if known[name] == split}
    if "train" not in chosen:
        raise UserError(f"{root} has no part for training; it has: {', '.join(map(str, found))}.", field="splits")
    return chosen


def _column(
    features: Mapping[str, Any], wanted: str | None, usual: Sequence[str], is_kind: Any, field: str, root: Path
) -> str:
    """Return the name of a column."""
    listed = ", ".join(f"{name} ({_kind(feature)})" for name, feature in features.items())
    if wanted is not None:
        if wanted not in features:
            raise UserError(
                f"{root} has no column {wanted!r}.{did_you_mean(wanted, features)} Columns: {listed}.", field=field
            )
        return wanted
    named = [name for name in usual if name in features] or [name for name in features if is_kind(features[name])][:2]
    if not named or (len(named) > 1 and named[0] not in usual):
        raise UserError(f"which column of {root} is meant? Set data.{field}. Columns: {listed}.", field=field)
    return named[0]


def _kind(feature: Any) -> str:
    return str(getattr(feature, "dtype", None) or type(feature).__name__)


def _is_image(feature: Any) -> bool:
    import datasets

    is_array = isinstance(feature, (datasets.Image, datasets.Array2D, datasets.Array3D))
    return is_array or (isinstance(feature, Mapping) and "bytes" in feature)


def _is_encoded(feature: Any) -> bool:
    """Return whether a column holds encoded images or their paths, instead of numbers."""
    return isinstance(feature, Mapping) or getattr(feature, "dtype", "") in (
        "binary",
        "large_binary",
        "string",
        "large_string",
    )


def _is_label(feature: Any) -> bool:
    import datasets

    return isinstance(getattr(feature, "feature", feature), datasets.ClassLabel)


def _number_type(feature: Any) -> np.dtype | None:
    """Return the type of the numbers in a column of arrays, which the format numpy does not keep; None for others."""
    while hasattr(feature, "feature"):
        feature = feature.feature
    with contextlib.suppress(TypeError):
        return np.dtype(getattr(feature, "dtype", None) or "object") if not _is_encoded(feature) else None
    return None


def _class_names(feature: Any) -> list[str] | None:
    return list(getattr(feature, "feature", feature).names) if _is_label(feature) else None


def _examples(part: Any, split: str, image: str, label: str, root: Path) -> Examples:
    import datasets

    labels = list(part[label][:])
    if isinstance(part.features[label], datasets.ClassLabel):
        labels = [None if value == -1 else value for value in labels]
    images = part.select_columns([image])
    feature = images.features[image]
    if isinstance(feature, datasets.Image):
        images = images.cast_column(image, datasets.Image(decode=False))
    elif not _is_encoded(feature):
        images = images.with_format("numpy")
    folder, dtype = root.parent if root.is_file() else root, _number_type(feature)

    def read(i: int) -> Any:
        value = _raw_image(images[i][image], folder)
        return value.astype(dtype) if isinstance(value, np.ndarray) and dtype is not None else value

    return Examples(labels, read, lambda i: f"row {i} of {root.name} ({split})")


def _raw_image(value: Any, folder: Path) -> Any:
    """Return the encoded image, its path, or the array in a cell of the column of images."""
    if isinstance(value, Mapping):
        value = value.get("bytes") or value.get("path")
    if value is None:
        raise ValueError("there is no image")
    if isinstance(value, str):
        if "://" in value:
            raise ValueError(f"the image is at {value}, and nothing is downloaded")
        return folder / value
    return value if isinstance(value, bytes) else np.asarray(value)


def _fingerprint(part: Any) -> str:
    """Return words that change when the rows or the files of the data set do."""
    files = [Path(entry["filename"]) for entry in part.cache_files]
    times = [f"{file}:{file.stat().st_size}:{file.stat().st_mtime_ns}" for file in files]
    return " ".join([part._fingerprint, *times])
