"""Image files of a data set, which are read after the splits are cut: those that a run uses, and no others."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import PIL
import torch
from torch import Tensor

from pipeline.data.pixels import DecodedPixels, Pixels, Remember, Unreadable, count_cores
from pipeline.data.sources.image_files import EIGHT_BITS, ENLARGED, FIRST_FRAME, ImageReader, ReadImage
from pipeline.errors import UserError, list_names
from pipeline.signals.data.crop import crop_signals
from pipeline.signals.data.subsample import subsample_indices
from pipeline.signals.schema import Crop, Data, Transparency

_CROPS_COMPARED = 500  # training images that are read again as a whole
_MIN_ASPECT = 1.1  # longer side / shorter side, from which a crop cuts away more than 9 %


def decode_files(
    paths: Sequence[Path],
    reader: ImageReader,
    *,
    root: Path,
    on_error: str = "refuse",
    describe: Callable[[FilesRead], Data] | None = None,
) -> FilePixels:
    """Return the images in `paths` as pixels (N, C, H, W) that are not read yet; splits get `pixels.select(index)`.

    `load_data` cuts the splits and then calls `pipeline.data.storage.settle`, which reads the files that the splits
    use, in several threads and with a progress bar, into memory or a cache file. Everything that only reading can show
    is found there: files that cannot be read, images of several sizes, and files with 16 bits, for which all pixels
    become int32 and the scale 1/65535. The signals `transparency` and `crop` are then added to `loading`.

    With `on_error` refuse, one `UserError` (`path`) names the files that cannot be read, relative to `root`; with skip
    they are left out of the splits. What `describe` makes of the files goes to `loading` too; `notes` are appended.

    Raises `UserError` (`path`) when the first files have to be read to learn the shape, and none can be.
    """
    shape, dtype = _first_image(paths, reader, root)
    return FilePixels(paths, reader, root, (len(paths), *shape), dtype, on_error, describe)


@dataclass(frozen=True)
class FilesRead:
    """What reading the files of the splits showed: their `notes` (see `ReadImage`) and what could not be read."""

    notes: Mapping[str, tuple[str, ...]]
    """By the name of the file below the root, only of files that have some."""
    errors: Mapping[str, str]
    """The reason, by the name of the file that was left out."""

    def named(self, note: str) -> list[str]:
        """Return the names of the files that have `note`."""
        return [name for name, notes in self.notes.items() if note in notes]

    @property
    def reasons(self) -> list[str]:
        """Return the files that were left out, each with its reason."""
        return [f"{name} ({reason})" for name, reason in self.errors.items()]

    def sentences(self, *, shown: int) -> list[str]:
        """Return what a user should know; at most `shown` files are named."""
        found = {note: self.named(note) for note in (FIRST_FRAME, EIGHT_BITS, ENLARGED)}
        sentences = []
        if self.errors:
            listing = list_names(self.reasons, most=shown)
            sentences.append(f"left out {len(self.errors):,} image(s) that cannot be read: {listing}")
        if names := found[FIRST_FRAME]:
            sentences.append(f"took the first picture of {len(names):,} file(s) that hold several")
        if names := found[EIGHT_BITS]:
            sentences.append(f"read {len(names):,} file(s) with colours of 16 bits as 8 bits; data=npz keeps 16")
        if names := found[ENLARGED]:
            sentences.append(f"enlarged {len(names):,} image(s) more than four times: {list_names(names, most=shown)}")
        return sentences


class FilePixels(DecodedPixels):
    """The images in files; the shape is known, the type is that of the first file (see `decode_files`)."""

    def __init__(
        self,
        paths: Sequence[Path],
        reader: ImageReader,
        root: Path,
        shape: Sequence[int],
        dtype: torch.dtype,
        on_error: str,
        describe: Callable[[FilesRead], Data] | None,
    ):
        super().__init__(self._read, shape, dtype, on_error=on_error, name=self._name)
        self.paths, self.reader, self.root = paths, reader, root
        self._describe = describe

    def _name(self, row: int) -> str:
        return os.fspath(self.paths[row]).removeprefix(f"{self.root}{os.sep}")

    def _read(self, row: int) -> np.ndarray:
        image = _read_file(self.paths[row], self.reader)
        self.facts[row] = [image.aspect, image.lost, list(image.notes)]
        return image.pixels

    def key_of(self, rows: Sequence[int]) -> str | None:
        """Return a word for the names, sizes and times of the files at `rows` and for how they are read."""
        digest = hashlib.sha256(f"{self.reader} Pillow {PIL.__version__}".encode())
        for row in rows:
            try:
                status = os.stat(self.paths[row])  # noqa: PTH116 - three times as fast
                # with the time of the last change of the entry: a file that replaces another may bring its own age
                times = f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"
            except OSError:  # a link to nothing, for one; reading it says so
                times = "none"
            digest.update(f"{self._name(row)}\0{times}\n".encode(errors="surrogateescape"))
        return digest.hexdigest()[:32]

    def describe(
        self,
        rows: Mapping[str, Tensor],
        train: tuple[Pixels, Tensor],
        errors: Mapping[str, str],
        remember: Remember,
    ) -> Data:
        """Return the signals `transparency` and `crop`, and those of files that were left out."""
        loading: Data = {}
        used = [row for split in rows.values() for row in split.tolist()]
        if transparency := self._transparency(used):
            loading["transparency"] = transparency
        if "train" in rows and (crop := remember("crop", lambda: self._crop(rows["train"].tolist(), *train))):
            loading["crop"] = crop
        if self._describe is not None:
            notes = {self.name(row): tuple(self.facts[row][2]) for row in used if self.facts[row][2]}
            loading |= self._describe(FilesRead(notes, errors))
        return loading

    def _transparency(self, rows: Sequence[int]) -> Transparency | None:
        """Return the signal; None where all images are opaque."""
        lost: list[dict[str, bool]] = [fact[1] for row in rows if (fact := self.facts[row])[1] is not None]
        if not lost:
            return None
        counts = {ground: sum(one[ground] for one in lost) for ground in lost[0]}
        return {
            "images": len(rows),
            "transparent": len(lost),
            "background": str(self.reader.background),
            "lost": counts,
        }

    def _crop(self, rows: Sequence[int], train: Pixels, labels: Tensor) -> Crop | None:
        """Return the signal, for which a sample of the training images is read again as a whole."""
        if self.reader.size is None or self.reader.fit != "crop" or labels.is_floating_point():
            return None
        aspects = [self.facts[row][0] for row in rows]
        elongated = [i for i, aspect in enumerate(aspects) if max(aspect, 1 / aspect) > _MIN_ASPECT]
        chosen = torch.tensor([elongated[i] for i in subsample_indices(len(elongated), _CROPS_COMPARED).tolist()])
        if not len(chosen):
            return None
        squeezed = replace(self.reader, fit="stretch")
        with ThreadPoolExecutor(count_cores()) as pool:
            images = list(pool.map(squeezed, [self.paths[rows[i]] for i in chosen.tolist()]))
        wholes = torch.from_numpy(np.stack([image.pixels for image in images])).float()
        return crop_signals(
            wholes, train[chosen].float(), labels[chosen], torch.tensor([image.aspect for image in images])
        )


def _read_file(path: Path, reader: ImageReader) -> ReadImage:
    try:
        return reader(path)
    except Exception as error:  # Pillow raises OSError, SyntaxError, struct.error and others
        raise Unreadable(f"{type(error).__name__}: {error}") from error


def _first_image(paths: Sequence[Path], reader: ImageReader, root: Path) -> tuple[tuple[int, ...], torch.dtype]:
    """Return the shape (C, H, W) and the type of the first image that can be read."""
    errors = []
    for path in paths:
        try:
            pixels = _read_file(path, reader).pixels
        except Unreadable as error:
            errors.append(f"{path} ({error})")
            continue
        return pixels.shape, torch.int32 if pixels.dtype == np.int32 else torch.uint8
    raise UserError(
        f"none of the {len(errors)} image(s) in {root} can be read: {list_names(errors, most=10)}. Repair or "
        "remove them.",
        field="path",
    )
