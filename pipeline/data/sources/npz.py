"""A user's own arrays in one NumPy .npz file: images, or rows of numbers."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.data.dataset import Images, Source
from pipeline.data.groups import number_groups
from pipeline.data.sources.npz_labels import AUTO, read_labels
from pipeline.data.sources.npz_pixels import describe_layout, infer_scale, read_pixels
from pipeline.errors import UserError, did_you_mean
from pipeline.validation import boolean, number

_GROUPS = "groups"  # the usual name, which a file need not have
_KEYS = ("x_train", "y_train", "x_val", "y_val", "x_test", "y_test", "classes")
_SPLITS = ("train", "val", "test")


def npz(
    *,
    path: str,
    scale: float | None,
    groups: str | None = None,
    task: str = AUTO,
    channels_last: bool | None = None,
) -> Source:
    """Return the arrays `x_train` and `y_train` of a .npz file.

    The file may also hold the splits `x_val`, `y_val` and `x_test`, `y_test`, and `classes`, the names of the classes,
    labels or targets; by default these are numbers.

    x is (N, H, W), (N, H, W, C) or (N, C, H, W), or (N, D), which becomes (N, D, 1, 1). C is the last or the second
    dimension as `channels_last` says; with None the one of size 1, 3 or 4, the last if both are, and otherwise the one
    that is smaller than height and width. Pixels are kept as uint8, int32 for other integers, or float32 for floats.
    What y means, `read_labels` says.

    `groups` names arrays (`groups_train` or `groups`, `groups_val`, `groups_test`) with an integer or a word for each
    example that says what it shows: examples of one group are never cut into two splits. None passes them over.

    `scale` multiplies the stored values. None stands for 1/255 for integers up to 255, 1/65535 for larger ones, and 1
    for floats.

    Raises `UserError` (`path`) when the file does not exist, is no .npz file, or lacks a key; when an array holds
    objects or has a wrong shape; when floats look like 0 .. 255 pixels while `scale` is None. Raises `UserError`
    (`scale`) when `scale` is not above 0, and (`groups`) when groups have a wrong type or number.
    """
    if scale is not None:
        scale = number("scale", scale, above=0)
    if channels_last is not None:
        boolean("channels_last", channels_last)
    file = Path(path).expanduser()
    names, arrays = _load(file, groups)
    if missing := [key for key in _KEYS[:2] if key not in arrays]:
        meant = did_you_mean(missing[0], [key for key in names if key not in _KEYS])
        raise _error(file, f"has no {' and no '.join(missing)}; it has {', '.join(names) or 'nothing'}.{meant}")
    if unpaired := [f"x_{split}" for split in ("val", "test") if (f"x_{split}" in arrays) != (f"y_{split}" in arrays)]:
        raise _error(file, f"has only one of {unpaired[0]} and y{unpaired[0][1:]}; both are needed, or neither.")
    found = [split for split in _SPLITS if f"x_{split}" in arrays]
    labels = read_labels(
        {split: arrays[f"y_{split}"] for split in found}, file=str(file), names=arrays.get("classes"), task=task
    )
    splits = {
        split: Images(
            read_pixels(arrays[f"x_{split}"], f"x_{split}", channels_last=channels_last, file=str(file)),
            labels.splits[split],
        )
        for split in found
    }
    if groups is not None:
        splits = _with_groups(splits, arrays, groups, file, names)
    notes = [*labels.notes, *describe_layout(arrays["x_train"], channels_last)]
    return Source(
        name=file.stem,
        train=splits["train"],
        val=splits.get("val"),
        test=splits.get("test"),
        classes=labels.classes,
        scale=infer_scale(splits, str(file)) if scale is None else scale,
        path=str(file),
        loading={"notes": notes} if notes else {},
        task=labels.task,
        reading={"kind": "array", "channels_last": channels_last},
    )


def _load(file: Path, groups: str | None) -> tuple[list[str], dict[str, NDArray[Any]]]:
    """Return the names of all arrays, and those arrays that are used."""
    try:
        with file.open("rb") as stream:  # numpy does not close a file that it cannot read
            _check_kind(file, stream.read(4096))
            stream.seek(0)
            loaded = np.load(stream, allow_pickle=False)
            if not isinstance(loaded, np.lib.npyio.NpzFile):
                raise _error(file, "is a single array (.npy). Save with numpy.savez(path, x_train=.., y_train=..).")
            names = list(loaded.files)
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise _error(file, f"has more than one array of the name {', '.join(twice)}.")
            used = [name for name in names if name in _KEYS or (groups and name.startswith(groups))]
            return names, {name: _read_array(file, loaded, name) for name in used}
    except FileNotFoundError:
        meant = did_you_mean(file.name, [other.name for other in file.parent.glob("*.npz")])
        raise _error(file, f"does not exist.{meant} Set data.path to a .npz file.") from None
    except (OSError, ValueError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        raise _error(file, f"cannot be read as .npz ({type(error).__name__}: {error}).") from error


def _check_kind(file: Path, start: bytes) -> None:
    """Raise `UserError` where the first bytes are those of another kind of file."""
    if start.startswith((b"PK\x03\x04", b"PK\x05\x06", b"\x93NUMPY")):
        return
    if not start:
        raise _error(file, "is empty.")
    if start.startswith(b"\x80"):
        raise _error(file, "is a pickle. It is not read, since unpickling runs code: save with numpy.savez.")
    if start.startswith(b"\x89HDF"):
        raise _error(file, "is an HDF5 file. Save its arrays with numpy.savez(path, x_train=.., y_train=..).")
    try:
        start[:-4].decode()  # the last character may be cut in two
    except UnicodeDecodeError:
        raise _error(file, "is no .npz file. Save with numpy.savez(path, x_train=.., y_train=..).") from None
    if b"\0" in start:
        raise _error(file, "is no .npz file. Save with numpy.savez(path, x_train=.., y_train=..).")
    raise _error(file, "is not a .npz file but text; data=csv reads tables in text files.")


def _read_array(file: Path, loaded: Any, name: str) -> NDArray[Any]:
    try:
        array = loaded[name]
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
        raise _error(
            file,
            f"holds Python objects in {name}, which are pickled and not read, since unpickling runs code. Save an "
            "array of numbers or words of one shape.",
        ) from None
    except MemoryError as error:
        raise _error(file, f"has an array {name} that does not fit in memory ({error}).") from None
    if not isinstance(array, np.ndarray):
        raise _error(file, f"has a file {name} that is no array.")
    return array


def _with_groups(
    splits: Mapping[str, Images], arrays: Mapping[str, NDArray[Any]], name: str, file: Path, names: list[str]
) -> dict[str, Images]:
    """Return the splits with the groups that the file has for them; those of training must be among them."""
    keys = {split: f"{name}_{split}" for split in splits}
    if name in arrays and keys["train"] not in arrays:
        keys["train"] = name
    found = {split: arrays[key] for split, key in keys.items() if key in arrays}
    if not found and name == _GROUPS:
        return dict(splits)
    if "train" not in found:
        meant = did_you_mean(keys["train"], [key for key in names if key not in _KEYS])
        raise UserError(f"{file} has no {keys['train']}; it has {', '.join(names)}.{meant}", field="groups")
    for split, values in found.items():
        if values.dtype.kind not in "iuUS" or values.shape not in ((len(splits[split]),), (len(splits[split]), 1)):
            raise UserError(
                f"{file}: {keys[split]} must hold an integer or a word for each of the {len(splits[split])} examples, "
                f"but it is {values.dtype} of shape {values.shape}.",
                field="groups",
            )
    flat = {split: values.reshape(-1).astype(str) for split, values in found.items()}
    numbers = number_groups(np.concatenate([*flat.values()])).split([len(values) for values in flat.values()])
    by_split = dict(zip(flat, numbers, strict=True))
    return {split: replace(images, groups=by_split.get(split)) for split, images in splits.items()}


def _error(file: Path, problem: str) -> UserError:
    return UserError(f"{file} {problem}", field="path")
