"""Decides where the images of a data set are kept, once its splits are cut, and puts them there."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from pipeline.data.dataset import Splits
from pipeline.data.pixels import DecodedPixels, MappedPixels, Pixels
from pipeline.data.storage.cache_files import CachedImages, cache_folder, default_cache, open_cached, write_cache
from pipeline.data.storage.decoding import Decoding, Row, decode_rows
from pipeline.data.storage.progress import say
from pipeline.data.storage.room import free_disk, free_memory, gigabytes
from pipeline.errors import UserError
from pipeline.signals.schema import Data

AUTO, MEMORY, OFF = "auto", "memory", "off"
_MEMORY_SHARE = 0.5
"""Most of the free memory that images may take by themselves; the rest is for the training."""
_MAPPED_FROM = 1 << 30
"""Bytes from which on images of a file are mapped even where they fit: copying them would take longer to start."""
_CACHED_FROM = 2_000
"""Images from which on decoding takes long enough for a file that the next run finds."""


@dataclass(frozen=True)
class _Plan:
    """Whether the images end in memory, and the folder of their file; None for no file."""

    in_memory: bool
    folder: Path | None
    cached: CachedImages | None = None
    """What is in the folder already."""


def settle(data: Splits, *, cache: Any) -> Splits:
    """Return `data` with the images that are not decoded yet in memory, in a mapped file, or left as they are.

    `cache` is auto, memory, off or a folder. With auto, small sets that take at most half of the free memory are
    decoded into it. Sets of `_CACHED_FROM` images or more, and those that do not fit, are decoded into a file below the
    user's cache folder, from which they are copied into memory, or mapped (from `_MAPPED_FROM` bytes on, or where they
    do not fit). With a folder, the file is there; with off, images are decoded whenever they are asked for. Rows that
    may be skipped and cannot be read are left out; 16-bit images change `scale`; what the images show of themselves is
    added to `loading`.

    Raises `UserError` for images that cannot be read or have several sizes (`path`), and where images do not fit
    (`cache`), before anything is decoded.
    """
    if not isinstance(cache, str) or not cache.strip():
        raise UserError(f"expected auto, memory, off or a folder, got {cache!r}.", field="cache")
    names = [name for name, images in data.splits.items() if isinstance(images.pixels, DecodedPixels)]
    if not names:
        return data
    return _Settling(data, names).settle(cache.strip())


class _Settling:
    """The decoded splits of one data set, `names`, as one list of rows in the order of the splits."""

    def __init__(self, data: Splits, names: Sequence[str]):
        self.data, self.names = data, names
        self.sets = {name: cast(DecodedPixels, data.splits[name].pixels) for name in names}
        self.rows = [Row(pixels, row) for pixels in self.sets.values() for row in pixels.rows.tolist()]
        first = self.rows[0].pixels
        self.shape = (len(self.rows), *first.shape[1:])
        self.n_bytes = sum(pixels.nbytes for pixels in self.sets.values())

    def settle(self, cache: str) -> Splits:
        plan = self._plan(cache)
        if plan.folder is None and not plan.in_memory:
            return self._keep_decoding()
        if plan.folder is None:
            return self._into_memory()
        return self._from_file(plan)

    # ------------------------------------------------------------------ where to

    def _plan(self, cache: str) -> _Plan:
        """Return where the images go; say so, or raise, before anything is decoded."""
        free = free_memory()
        fits = self.n_bytes <= _MEMORY_SHARE * free
        size = f"{len(self.rows):,} images, {gigabytes(self.n_bytes)} decoded"
        if cache == OFF:
            return _Plan(in_memory=False, folder=None)
        if cache == MEMORY:
            if self.n_bytes > free:
                raise UserError(
                    f"{size}, do not fit into the {gigabytes(free)} of memory that are free. Use data.cache=auto, "
                    "which maps larger sets from a file, a smaller data.size, or data.limit.",
                    field="cache",
                )
            return _Plan(in_memory=True, folder=None)
        key = self._key()
        if cache == AUTO and (key is None or (fits and len(self.rows) < _CACHED_FROM)):
            if not fits:
                say(f"{size}: more than half of the {gigabytes(free)} of memory that are free; decoded when needed")
            return _Plan(in_memory=fits, folder=None)
        if key is None:
            raise UserError(
                "these images cannot be cached in a folder, since nothing tells when they change. Use data.cache=auto, "
                "memory or off.",
                field="cache",
            )
        return self._plan_file(cache, key, size, fits=fits, free=free)

    def _plan_file(self, cache: str, key: str, size: str, *, fits: bool, free: int) -> _Plan:
        in_memory = fits and self.n_bytes < _MAPPED_FROM
        parent = default_cache() if cache == AUTO else Path(cache).expanduser()
        if parent.exists() and not parent.is_dir():
            raise UserError(f"{parent} is a file, not a folder.", field="cache")
        folder = cache_folder(parent, key, self.shape)
        if (cached := open_cached(folder)) is not None:
            return _Plan(in_memory, folder, cached)
        room = free_disk(parent)
        if self.n_bytes > 0.95 * room:
            if cache != AUTO:
                raise UserError(
                    f"{size}, do not fit into the {gigabytes(room)} that are free in {parent}. Give a folder with more "
                    "room, a smaller data.size, or data.cache=off, which decodes images whenever they are needed.",
                    field="cache",
                )
            kept = "kept in memory" if fits else "decoded when needed"
            say(f"{size}: {parent} has {gigabytes(room)} free, too little for a cache; {kept} (data.cache=FOLDER)")
            return _Plan(fits, None)
        how = f"{'copied into memory' if in_memory else 'mapped'}; {gigabytes(free)} of memory are free"
        say(f"{size}: decoded once into {folder}, then {how} (data.cache=off for none)")
        return _Plan(in_memory, folder)

    def _key(self) -> str | None:
        """Return a word for all rows and how they are read; None where one set has none."""
        keys = [pixels.key_of(rows) for pixels, rows in self._file_rows()]
        return None if None in keys else " ".join(map(str, keys))

    def _file_rows(self) -> list[tuple[DecodedPixels, list[int]]]:
        """Return the rows of each set in the order of its files, whatever split they are in."""
        found: dict[int, tuple[DecodedPixels, list[int]]] = {}
        for pixels in self.sets.values():
            found.setdefault(id(pixels.facts), (pixels, []))[1].extend(pixels.rows.tolist())
        return [(pixels, sorted(rows)) for pixels, rows in found.values()]

    # ------------------------------------------------------------------ going there

    def _into_memory(self) -> Splits:
        array = np.empty(0)

        def allocate(dtype: np.dtype) -> np.ndarray:
            nonlocal array
            array = np.empty(self.shape, dtype)
            return array

        decoding = decode_rows(self.rows, allocate, title="decoding images")
        whole = torch.from_numpy(array)
        return self._finished(decoding, {name: whole[part] for name, part in self._parts().items()})

    def _keep_decoding(self) -> Splits:
        say(f"{len(self.rows):,} images are looked at once, and decoded again whenever they are needed")
        decoding = decode_rows(self.rows, None, title="checking images")
        digests = torch.from_numpy(decoding.digests)
        pixels: dict[str, Pixels] = {}
        for name, part in self._parts().items():
            stored = self.sets[name].select(torch.arange(len(self.sets[name])))
            stored.dtype, stored.digests = torch.from_numpy(np.empty(0, decoding.dtype)).dtype, digests[part]
            pixels[name] = stored
        return self._finished(decoding, pixels)

    def _from_file(self, plan: _Plan) -> Splits:
        assert plan.folder is not None
        ordered = [Row(pixels, row) for pixels, rows in self._file_rows() for row in rows]
        cached = plan.cached
        if cached is None:
            try:
                cached = write_cache(plan.folder, lambda path: self._write(path, ordered))
            except OSError as error:
                raise UserError(f"{plan.folder.parent} cannot hold the images: {error}.", field="cache") from error
        for row, fact in zip(ordered, cached.facts["rows"], strict=True):
            row.pixels.facts[row.index] = fact
        places = {(id(row.pixels.facts), row.index): place for place, row in enumerate(ordered)}
        place = torch.tensor([places[id(row.pixels.facts), row.index] for row in self.rows])
        by_place = {int(row): reason for row, reason in cached.facts["errors"].items()}
        errors = {i: by_place[p] for i, p in enumerate(place.tolist()) if p in by_place}
        stored = MappedPixels(cached.pixels, digests=torch.from_numpy(cached.digests)).select(place)
        pixels: dict[str, Pixels] = {name: stored.select(_range(part)) for name, part in self._parts().items()}
        if plan.in_memory:
            pixels = {name: part[:] for name, part in pixels.items()}
        decoding = Decoding(cached.pixels.dtype, cached.digests[place.numpy()], errors)
        return self._finished(decoding, pixels, cached)

    def _write(self, path: Path, rows: Sequence[Row]) -> tuple[np.ndarray, Mapping[str, Any]]:
        def allocate(dtype: np.dtype) -> np.ndarray:
            return np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=self.shape)

        decoding = decode_rows(rows, allocate, title="decoding images")
        facts = [row.pixels.facts.get(row.index) for row in rows]
        return decoding.digests, {"rows": facts, "errors": {str(row): text for row, text in decoding.errors.items()}}

    # ------------------------------------------------------------------ what it showed

    def _parts(self) -> dict[str, slice]:
        """Return which rows each split has."""
        ends = np.cumsum([len(pixels) for pixels in self.sets.values()]).tolist()
        return {name: slice(end - len(self.sets[name]), end) for name, end in zip(self.names, ends, strict=True)}

    def _finished(self, decoding: Decoding, pixels: Mapping[str, Pixels], cached: CachedImages | None = None) -> Splits:
        parts = self._parts()
        splits: dict[str, Any] = dict(self.data.splits)
        rows: dict[str, Tensor] = {}
        for name, part in parts.items():
            read = torch.tensor([i - part.start for i in range(part.start, part.stop) if i not in decoding.errors])
            images = replace(splits[name], pixels=pixels[name])
            complete = len(read) == len(images)
            splits[name] = images if complete else images.select(read.long())
            rows[name] = self.sets[name].rows if complete else self.sets[name].rows[read.long()]
            splits[name] = replace(splits[name], names=self.sets[name].names_of(rows[name].tolist()))
        data = replace(self.data, **splits)
        if decoding.dtype == np.int32 and self.rows[0].pixels.dtype == torch.uint8:
            data = replace(data, scale=1 / 65535)
        return replace(data, loading=self._loading(data, rows, decoding, cached))

    def _loading(
        self, data: Splits, rows: Mapping[str, Tensor], decoding: Decoding, cached: CachedImages | None
    ) -> Data:
        """Return the signals of loading, with those that each set finds in its images."""
        errors = {self.rows[i].name: reason for i, reason in decoding.errors.items()}
        content = hashlib.sha256(data.train.labels.numpy().tobytes())
        for name in self.names:
            content.update(rows[name].numpy().tobytes())

        def remember(name: str, measure: Callable[[], Any]) -> Any:
            return measure() if cached is None else cached.remember(f"{name} {content.hexdigest()}", measure)

        loading: Data = {**data.loading}
        for pixels, _ in self._file_rows():
            own = {name: split for name, split in rows.items() if self.sets[name].facts is pixels.facts}
            found = pixels.describe(own, (data.train.pixels, data.train.labels), errors, remember)
            notes = [*loading.get("notes", ()), *found.get("notes", ())]
            loading |= found
            if notes:
                loading["notes"] = notes
        return loading


def _range(part: slice) -> Tensor:
    return torch.arange(part.start, part.stop)
