"""The two files in which a run's directory says what happened: outcome.json, what it came to, and signals.json, what
was measured (docs/signals.md). Plain JSON; the numbers that JSON does not know are the words "nan", "inf", "-inf"."""

from __future__ import annotations

import hashlib
import json
import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.runs.paths import write_text

SCHEMA = 1
OUTCOME, SIGNALS = "outcome.json", "signals.json"

_NUMBERS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
_NAMES = ("class_names", "name", "kind", "nonfinite")
"""Keys of signals under which words are names: a class may be called "nan"."""


def write_outcome(folder: Path, content: Mapping[str, Any]) -> None:
    write_text(folder / OUTCOME, to_json(content, indent=1) + "\n")


def read_outcome(folder: Path) -> dict[str, Any] | None:
    """The record, or None where there is none that can be read."""
    return _read(folder / OUTCOME)


def write_signals(folder: Path, stages: Mapping[str, Mapping[str, Any]]) -> None:
    write_text(folder / SIGNALS, to_json({"schema": SCHEMA, "stages": stages}) + "\n")


def read_signals(folder: Path) -> dict[str, dict[str, Any]] | None:
    """Each stage's signals by the stage's name, or None where there are none that can be read."""
    content = _read(folder / SIGNALS)
    if content is None or not isinstance(content.get("stages"), dict):
        return None
    return {name: decode_nonfinite(signals) for name, signals in content["stages"].items() if isinstance(signals, dict)}


def command_line(words: Sequence[str]) -> str:
    """The command of flags and overrides."""
    return shlex.join(["python", "-m", "pipeline", *words])


def config_dir_flag(folder: str | None) -> list[str]:
    """The flag that adds the options of a user's folder, shorter where it lies below; none without a folder."""
    if folder is None:
        return []
    here = Path.cwd()
    path = Path(folder).resolve()
    return [f"--config-dir={path.relative_to(here) if path.is_relative_to(here) else path}"]


def config_hash(config: dict[str, Any]) -> str:
    """Of all that decides a run's result: two runs with one hash compute the same thing."""
    apart = ("resume", "verbose", "outputs", "name", "tags", "fix", "report", "logger", "search")
    decisive = {key: value for key, value in config.items() if key not in apart}
    how = ("devices", "strategy", "timeout")  # a run may go on with another number of processes
    if isinstance(config.get("trainer"), dict):
        decisive["trainer"] = {key: value for key, value in config["trainer"].items() if key not in how}
    return hashlib.sha256(json.dumps(decisive, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) and content.get("schema") == SCHEMA else None


def to_json(value: Any, **options: Any) -> str:
    """JSON, in which the numbers that JSON does not know are words. Most values have none, and need no copy."""
    try:
        return json.dumps(value, allow_nan=False, **options)
    except ValueError:
        return json.dumps(encode_nonfinite(value), **options)


def encode_nonfinite(value: Any) -> Any:
    """`value` with the numbers that JSON does not know as words."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {key: encode_nonfinite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [encode_nonfinite(inner) for inner in value]
    return value


def decode_nonfinite(value: Any) -> Any:
    """The inverse of `in_words`, but for words under keys that are names."""
    if isinstance(value, str):
        return _NUMBERS.get(value, value)
    if isinstance(value, dict):
        return {key: inner if key in _NAMES else decode_nonfinite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [decode_nonfinite(inner) for inner in value]
    return value
