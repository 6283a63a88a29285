"""trainer_state.json of `transformers.Trainer`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import UserError
from pipeline.log_readers.columns import Meaning, map_columns
from pipeline.log_readers.log import Log
from pipeline.log_readers.rows import add_rows
from pipeline.log_readers.table import parse_number

TRAINER_STATE = "trainer_state.json"
MAX_BYTES = 500_000_000
SUMMARY = "train_runtime"
"""A key of the last entry, which sums the training up: its `train_loss` is a mean over all steps."""


def read_trainer_state(path: Path, typed: Mapping[str, str]) -> Log:
    """Return the log in a trainer_state.json. Raises `UserError` for a file that is none."""
    state = _load(path)
    history = [entry for entry in state["log_history"] if isinstance(entry, dict)]
    log = Log("a trainer_state.json of transformers", path)
    entries = [entry for entry in history if SUMMARY not in entry]
    names = list(dict.fromkeys(name for entry in entries for name in entry))
    meanings = map_columns(names, typed)
    log.pass_over(name for name in names if name not in meanings and _is_news(name))
    add_rows(log, _rows(entries, meanings), meanings)
    log.epochs_planned = _positive_int(state.get("num_train_epochs"))
    log.val_examples = _examples(entries, "eval")
    log.train_examples = _train_examples(history)
    return log.finish()


def _load(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UserError(f"{str(path)!r} has more than {MAX_BYTES // 10**6} MB: it is no {TRAINER_STATE}.")
        state = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(
            f"{str(path)!r} cannot be read ({error}). Expected the whole {TRAINER_STATE} of a checkpoint; an earlier "
            "checkpoint has one too."
        ) from error
    if not isinstance(state, dict) or not isinstance(state.get("log_history"), list):
        raise UserError(f"{str(path)!r} is no {TRAINER_STATE}: it has no list log_history.")
    return state


def _rows(entries: list[dict[str, Any]], meanings: Mapping[str, Meaning]) -> Iterator[dict[str, float]]:
    for entry in entries:
        row = {}
        for name in meanings:
            value = entry.get(name)
            value = parse_number(value) if isinstance(value, str) else value
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                row[name] = float(value)
        yield row


def _is_news(name: str) -> bool:
    """Return whether a column is worth a word; those of the evaluation's speed are in every log."""
    return not name.endswith(("_runtime", "_per_second", "_tokens_seen", "total_flos"))


def _examples(entries: list[dict[str, Any]], split: str) -> int | None:
    """Return the examples of a pass: its seconds times the examples in a second, which are rounded to 3 digits."""
    for entry in entries:
        seconds, rate = entry.get(f"{split}_runtime"), entry.get(f"{split}_samples_per_second")
        if isinstance(seconds, (int, float)) and isinstance(rate, (int, float)) and seconds * rate >= 1:
            return round(seconds * rate)
    return None


def _train_examples(history: list[dict[str, Any]]) -> int | None:
    """Return the examples of an epoch, from the entry that sums up a training of whole epochs."""
    summaries = [entry for entry in history if SUMMARY in entry]
    total, epochs = _examples(summaries, "train"), summaries[-1].get("epoch") if summaries else None
    return round(total / epochs) if total and isinstance(epochs, (int, float)) and epochs >= 1 else None


def _positive_int(value: Any) -> int | None:
    return int(value) if isinstance(value, (int, float)) and value >= 1 else None
