"""Which kind of log a path holds, by its content, and where in a folder it lies."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from pipeline.errors import UserError
from pipeline.log_readers.hugging_face import TRAINER_STATE, read_trainer_state
from pipeline.log_readers.log import Log
from pipeline.log_readers.table import read_table
from pipeline.log_readers.tensorboard import EVENTS, read_events
from pipeline.log_readers.wandb_offline import HEADER, read_wandb

EXPECTED = (
    "a run of this program (outcome.json), TensorBoard events, a trainer_state.json, Lightning's metrics.csv, a "
    "run-*.wandb, or a table (.csv, .tsv)"
)
DEPTH = 4
"""Levels of folders that are searched."""
SPLIT_FOLDERS = frozenset({"train", "training", "val", "valid", "validation", "eval"})
"""Folders of TensorBoard events that belong to one training."""


Reader = Callable[[Mapping[str, str]], Log]


def read_log(path: Path, typed: Mapping[str, str]) -> Log:
    """Return the log in a file or a folder. `typed` maps roles to columns.

    Raises `UserError` if there is no log, or if a folder holds several.
    """
    if path.is_file():
        return _read_file(path, typed)
    if not path.is_dir():
        raise UserError(f"there is no file or folder {str(path)!r}. Give {EXPECTED}.")
    found = find_logs(path)
    if not found:
        raise UserError(f"{str(path)!r} holds no log of a training. Give {EXPECTED}.")
    if len(found) > 1:
        names = ", ".join(str(place) for place in list(found)[:6])
        raise UserError(f"{str(path)!r} holds {len(found)} logs; give one of them: {names}.")
    return next(iter(found.values()))(typed)


def find_logs(folder: Path, *, depth: int = DEPTH) -> dict[Path, Reader]:
    """Return each log in the folder, with the function that reads it. A folder with a log is not searched further."""
    if found := _log_in(folder):
        return dict([found])
    if depth == 0:
        return {}
    return {place: read for inner in _subfolders(folder) for place, read in find_logs(inner, depth=depth - 1).items()}


def _log_in(folder: Path) -> tuple[Path, Reader] | None:
    """Return the log that lies in the folder itself, and its reader."""
    places = (folder / TRAINER_STATE, *folder.glob(f"checkpoint-*/{TRAINER_STATE}"))
    states = [path for path in places if path.is_file()]
    if states:
        state = max(states, key=_checkpoint_step)
        return state, lambda typed: read_trainer_state(state, typed)
    if runs := sorted(folder.glob("run-*.wandb")):
        return runs[-1], lambda typed: read_wandb(runs[-1], typed)
    if (table := folder / "metrics.csv").is_file():
        return table, lambda typed: read_table(table, typed)
    if events := _events(folder):
        return folder, lambda typed: read_events(events, folder, typed)
    tables = sorted(path for ending in ("csv", "tsv") for path in folder.glob(f"*.{ending}"))
    if len(tables) == 1:
        return tables[0], lambda typed: read_table(tables[0], typed)
    if tables:
        names = ", ".join(path.name for path in tables[:6])
        raise UserError(f"{str(folder)!r} holds {len(tables)} tables; give one of them: {names}.")
    return None


def _events(folder: Path) -> list[Path]:
    """Return the event files of the folder, and of the folders of splits in it."""
    inner = (path for path in _subfolders(folder) if path.name.lower() in SPLIT_FOLDERS)
    return [file for place in (folder, *inner) for file in sorted(place.glob(EVENTS)) if file.is_file()]


def _read_file(path: Path, typed: Mapping[str, str]) -> Log:
    try:
        with path.open("rb") as file:
            head = file.read(256)
    except OSError as error:
        raise UserError(f"{str(path)!r} cannot be read ({error.strerror}).") from error
    if head.startswith(HEADER) or path.suffix == ".wandb":
        return read_wandb(path, typed)
    if "tfevents" in path.name:
        return read_events([path], path, typed)
    if head.lstrip()[:1] == b"{":
        return read_trainer_state(path, typed)
    if not head:
        raise UserError(f"{str(path)!r} is empty. Give {EXPECTED}.")
    if b"\0" in head:
        raise UserError(f"{str(path)!r} is no log that can be read. Give {EXPECTED}.")
    return read_table(path, typed)


def _checkpoint_step(path: Path) -> int:
    """Return the step of a checkpoint's folder; that of the folder of the whole run is the highest."""
    number = path.parent.name.removeprefix("checkpoint-")
    return int(number) if path.parent.name != number and number.isdigit() else 2**62


def _subfolders(folder: Path) -> Iterable[Path]:
    try:
        inner = sorted(path for path in folder.iterdir() if path.is_dir() and not path.is_symlink())
    except OSError:
        return []
    return [path for path in inner if not path.name.startswith(".")]
