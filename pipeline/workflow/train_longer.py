"""A run that goes on for more epochs than it was started with: what may differ, and what becomes of its schedule."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import UserError
from pipeline.runs.json_files import decisive_keys

EPOCHS = "stages.train.epochs"
MAY_CHANGE = {EPOCHS, "stages.train.patience"}
"""Keys that a longer training may have otherwise, besides all of `checks`, which only judge it."""


def check_train_longer(
    checkpoint: Path | None, config: Mapping[str, Any], *, ignore_batch_size: bool = False
) -> str | None:
    """Return a sentence about how the training of `checkpoint` goes on under `config`, or None where it cannot.

    It can where the number of epochs differs, and nothing else but `MAY_CHANGE`. Raises `UserError` where it is trained
    for that many epochs already.
    """
    changed = changed_keys(checkpoint, config, ignore_batch_size=ignore_batch_size)
    others = {key for key in changed if key not in MAY_CHANGE and not key.startswith("checks.")}
    if checkpoint is None or EPOCHS not in changed or others:
        return None
    done = _read(checkpoint)["epoch"]
    epochs = int(config["stages"]["train"]["epochs"])
    if epochs <= done:
        raise UserError(
            f"the run has trained for {done} epochs already, and {epochs} were asked for. Give a larger number, or "
            "leave out resume to start anew.",
            field=EPOCHS,
        )
    sentence = f"The training goes on from epoch {done} of {changed[EPOCHS][0]} to epoch {epochs}"
    if config["schedule"].get("length_argument"):
        return f"{sentence}; from here on the learning rate is that of a schedule over {epochs} epochs."
    return f"{sentence}; the learning rate continues as it was."


def changed_keys(
    checkpoint: Path | None, config: Mapping[str, Any], *, ignore_batch_size: bool = False
) -> dict[str, tuple[Any, Any]]:
    """Return the keys that decide a result and differ, with the value in `checkpoint` and the one in `config`.

    A key that is missing on one side counts as null. Without a checkpoint there is nothing to compare.
    """
    if checkpoint is None or not config:
        return {}
    before = dict(_flat(decisive_keys(_read(checkpoint)["config"])))
    now = dict(_flat(decisive_keys(dict(config))))
    ignored = {"data.batch_size"} if ignore_batch_size else set()
    keys = [key for key in {**before, **now} if key not in ignored and before.get(key) != now.get(key)]
    return {key: (before.get(key), now.get(key)) for key in keys}


def _read(checkpoint: Path) -> dict[str, Any]:
    """Return what the checkpoint holds besides weights."""
    from pipeline.training import checkpoints  # imports torch

    return checkpoints.load(checkpoint, field="resume")["pipeline"]


def _flat(node: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each value below `node` with its dotted key."""
    for name, value in node.items():
        key = f"{path}.{name}" if path else str(name)
        if isinstance(value, Mapping):
            yield from _flat(value, key)
        else:
            yield key, value
