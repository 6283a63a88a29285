"""Tar files in the layout of WebDataset: `<key>.jpg` beside `<key>.cls`, `<key>.txt` or `<key>.json`.

A shard is indexed once by its headers; an image is read from its offset when it is needed, so nothing is unpacked and
any order is possible.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipeline.data.dataset import Source
from pipeline.data.sources.example_source import Examples, PictureOptions, make_source
from pipeline.data.sources.split_names import group_by_split
from pipeline.data.storage.progress import show_progress
from pipeline.errors import UserError
from pipeline.validation import require_package

LABEL_ENDINGS = ("cls", "txt", "json")


@dataclass(frozen=True)
class _Place:
    """Where the bytes of an image are."""

    shard: Path
    offset: int
    size: int
    ending: str


@dataclass
class _Split:
    labels: list[Any] = field(default_factory=list)
    places: list[_Place] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)


def shards(
    *,
    path: str,
    image_key: str | None,
    label_key: str | None,
    task: str,
    size: Any,
    fit: str,
    background: Any,
    grayscale: bool | None,
    on_error: str,
    scale: float | None,
) -> Source:
    """Return the examples of the tar files that `path` names: a file, a folder, or names as `train-{000..003}.tar`.

    Files whose names begin with val or test are official splits, if others begin with train. An example is all members
    with one key, the path up to the first dot of the file name: an image that Pillow knows, or an array (`.npy`), and
    a label in `.cls`, `.txt` or `.json`. `image_key` chooses the ending of the image where there are several, and
    `label_key` the entry of a JSON object. Order is that of the files and of their members. Images are read as files of
    `image_folder` are.

    Raises `UserError` (`path`) with the shard and the key for damaged files and for examples without image or label.
    """
    require_package("webdataset", extra="webdataset")
    pictures = PictureOptions(size, fit, background, grayscale, on_error)
    root, files = _find_shards(path)
    digest = hashlib.sha256()
    splits: dict[str, _Split] = {}
    for name, group in group_by_split(files, root).items():
        splits[name] = _Split()
        for shard in show_progress(group, len(group), "indexing shards"):
            status = shard.stat()
            digest.update(f"{shard.resolve()}\0{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}\n".encode())
            _index_shard(shard, splits[name], image_key, label_key)
    return make_source(
        {name: _examples(split) for name, split in splits.items()},
        name=root.resolve().name,
        path=path,
        pictures=pictures,
        scale=scale,
        task=task,
        label_field="label_key",
        key=digest.hexdigest(),
    )


def _find_shards(path: str) -> tuple[Path, list[Path]]:
    """Return the folder and the tar files in it, sorted."""
    from braceexpand import braceexpand  # which webdataset brings along

    if "://" in path or path.startswith("pipe:"):
        raise UserError(f"shards are read from this machine, not from {path!r}. Copy them first.", field="path")
    root = Path(path).expanduser()
    if root.is_dir():
        files = sorted(file for file in root.rglob("*.tar") if not file.name.startswith("."))
        packed = [file for file in root.rglob("*") if file.name.endswith((".tar.gz", ".tgz", ".tar.zst", ".tar.xz"))]
        if packed and not files:
            raise _compressed(packed[0])
        if not files:
            raise UserError(f"{root} holds no .tar files.", field="path")
        return root, files
    try:
        files = [root] if root.is_file() else [Path(name).expanduser() for name in braceexpand(path)]
    except ValueError as error:
        raise UserError(f"expected names such as 'DIR/train-{{000..003}}.tar', got {path!r}.", field="path") from error
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise UserError(f"{len(missing)} of {len(files)} shard(s) are missing: {missing[0]} is no file.", field="path")
    return files[0].parent, files


def _index_shard(shard: Path, split: _Split, image_key: str | None, label_key: str | None) -> None:
    """Add the examples of a shard to `split`."""
    from webdataset.tariterators import base_plus_ext

    members: dict[str, dict[str, tarfile.TarInfo]] = {}
    with shard.open("rb") as opened:
        if opened.read(2) == b"\x1f\x8b":
            raise _compressed(shard)
        opened.seek(0)
        try:
            # "r:" refuses what is compressed; members() stops without a word at a torn header
            with tarfile.open(fileobj=opened, mode="r:") as archive:
                for member in archive:
                    key, ending = base_plus_ext(member.name)
                    if member.isreg() and key and not Path(key).name.startswith((".", "__")):
                        parts = members.setdefault(key, {})
                        if ending.lower() in parts:
                            raise UserError(f"{shard} holds {member.name} twice. Keys must be unique.", field="path")
                        parts[ending.lower()] = member
                _check_end(archive, opened, shard)
        except (tarfile.TarError, EOFError, ValueError) as error:
            raise UserError(f"{shard} is damaged or no tar file ({error}). Make it anew.", field="path") from error
        if not members:
            raise UserError(f"{shard} holds no examples (<key>.jpg beside <key>.cls).", field="path")
        for key, parts in members.items():
            image = _image_member(shard, key, parts, image_key)
            split.labels.append(_label(opened, shard, key, parts, label_key))
            split.places.append(_Place(shard, parts[image].offset_data, parts[image].size, image))
            split.keys.append(key)


def _check_end(archive: tarfile.TarFile, opened: Any, shard: Path) -> None:
    """Raise `UserError` for a file that ends within a member, or goes on after a header that cannot be read."""
    length = opened.seek(0, io.SEEK_END)
    last = archive.getmembers()[-1] if archive.getmembers() else None
    if last is not None and last.offset_data + last.size > length:
        raise UserError(f"{shard} is cut off within {last.name}. Copy or make it anew.", field="path")
    opened.seek(archive.offset)
    while chunk := opened.read(1 << 20):
        if chunk.strip(b"\0"):
            raise UserError(
                f"{shard} is damaged behind {last.name if last else 'its beginning'}: what follows is no member. Make "
                "it anew.",
                field="path",
            )


def _compressed(file: Path) -> UserError:
    return UserError(
        f"{file} is compressed, so that no image in it can be read by itself. Decompress it once (gunzip); images are "
        "compressed already.",
        field="path",
    )


def _image_member(shard: Path, key: str, parts: Mapping[str, tarfile.TarInfo], wanted: str | None) -> str:
    """Return the ending of the image of an example."""
    known = {*Image.registered_extensions(), ".npy"}
    images = [ending for ending in parts if f".{ending.rpartition('.')[2]}" in known]
    if wanted is not None:
        images = [ending for ending in images if ending == wanted.lower().removeprefix(".")]
    if len(images) != 1:
        found = f"{len(images)} images ({', '.join(images)})" if images else f"no image, only {', '.join(parts)}"
        advice = " Choose the ending of one: data.image_key=..." if len(images) > 1 or wanted is not None else ""
        raise UserError(f"an example must have one image, but {key} in {shard} has {found}.{advice}", field="path")
    return images[0]


def _label(opened: Any, shard: Path, key: str, parts: Mapping[str, tarfile.TarInfo], label_key: str | None) -> Any:
    """Return the label of an example as plain data."""
    ending = next(
        (ending for ending in LABEL_ENDINGS if ending in parts and (label_key is None or ending == "json")), None
    )
    if ending is None:
        wanted = "json" if label_key is not None else "cls, .txt or .json"
        raise UserError(
            f"an example must have a label in .{wanted}, but {key} in {shard} has only {', '.join(parts)}.",
            field="path",
        )
    opened.seek(parts[ending].offset_data)
    content = opened.read(parts[ending].size)
    try:
        text = content.decode().strip()
        if ending == "json":
            return _entry(json.loads(text), label_key, f"{key}.json in {shard}")
        if not text:
            raise ValueError("it is empty")
        return int(text) if ending == "cls" and text.lstrip("-").isdigit() else text
    except ValueError as error:  # of decoding and of JSON too
        raise UserError(f"the label {key}.{ending} in {shard} cannot be read ({error}).", field="path") from error


def _entry(value: Any, label_key: str | None, name: str) -> Any:
    if not isinstance(value, dict):
        return value
    wanted = (
        label_key
        if label_key is not None
        else next((word for word in ("label", "cls", "class") if word in value), None)
    )
    if wanted not in value:
        raise UserError(
            f"{name} has the entries {', '.join(value)}, and none is the label. Name it: data.label_key=...",
            field="label_key",
        )
    return value[wanted]


def _examples(split: _Split) -> Examples:
    def read(i: int) -> Any:
        place = split.places[i]
        with place.shard.open("rb") as opened:
            opened.seek(place.offset)
            content = opened.read(place.size)
        return np.load(io.BytesIO(content), allow_pickle=False) if place.ending == "npy" else content

    return Examples(split.labels, read, lambda i: f"{split.places[i].shard.name}: {split.keys[i]}")
