"""outcome.json, the result of a run, and signals.json, everything that was measured (docs/signals.md).

Both are plain JSON. The numbers that JSON does not have are the strings "nan", "inf" and "-inf".
"""

from __future__ import annotations

import hashlib
import json
import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.runs.paths import UnreadableFileError, write_text

SCHEMA = 1
OUTCOME, SIGNALS = "outcome.json", "signals.json"

_NONFINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
_NAME_KEYS = ("class_names", "name", "kind", "nonfinite")
"""Keys of signals whose strings are names, never numbers: a class may be called "nan"."""
_INDECISIVE_KEYS = ("resume", "verbose", "outputs", "name", "tags", "fix", "report", "logger", "search")
_INDECISIVE_TRAINER_KEYS = ("devices", "strategy", "timeout")
"""A run may be resumed with another number of processes."""


def write_outcome(folder: Path, content: Mapping[str, Any]) -> None:
    """Write outcome.json into a run's directory, in one move."""
    write_text(folder / OUTCOME, to_json(content, indent=1) + "\n")


def read_outcome(folder: Path) -> dict[str, Any] | None:
    """Return the content of outcome.json, or None if there is no file that can be read."""
    try:
        return load_json(folder / OUTCOME)
    except (FileNotFoundError, UnreadableFileError):
        return None


def write_signals(folder: Path, stages: Mapping[str, Mapping[str, Any]]) -> None:
    """Write the signals of each stage into a run's directory, in one move."""
    write_text(folder / SIGNALS, to_json({"schema": SCHEMA, "stages": stages}) + "\n")


def read_signals(folder: Path) -> dict[str, dict[str, Any]] | None:
    """Return the signals of each stage by the stage's name, or None if there is no file that can be read."""
    try:
        return load_signals(folder)
    except (FileNotFoundError, UnreadableFileError):
        return None


def load_signals(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the signals of each stage by the stage's name.

    Raise `FileNotFoundError` if there is no file, and `UnreadableFileError` if it cannot be read.
    """
    stages = load_json(folder / SIGNALS).get("stages")
    if not isinstance(stages, dict):
        raise UnreadableFileError(folder / SIGNALS, "it has no stages")
    return {name: decode_nonfinite(signals) for name, signals in stages.items() if isinstance(signals, dict)}


def load_json(path: Path) -> dict[str, Any]:
    """Return the content of a JSON file of this `SCHEMA`.

    Raise `FileNotFoundError` if there is no file, and `UnreadableFileError` if it cannot be read.
    """
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise UnreadableFileError(path, error) from error
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise UnreadableFileError(path, f"it is not of schema {SCHEMA}")
    return content


def command_line(arguments: Sequence[str]) -> str:
    """Return the shell command that runs the program with flags and overrides."""
    return shlex.join(["python", "-m", "pipeline", *arguments])


def config_dir_flag(folder: str | None) -> list[str]:
    """Return the flag that adds a folder of options, relative if it is inside the working directory; [] for None."""
    if folder is None:
        return []
    path = Path(folder).resolve()
    return [f"--config-dir={path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}"]


def config_dir_of(record: Mapping[str, Any] | None) -> str | None:
    """Return the folder of options with which the run of `record` was started, if it is there, else None."""
    words = shlex.split(str((record or {}).get("command", "")))
    folders = [word.removeprefix("--config-dir=") for word in words if word.startswith("--config-dir=")]
    return next((folder for folder in folders if Path(folder).is_dir()), None)


def config_hash(config: dict[str, Any]) -> str:
    """Return a hash of all keys that decide a run's result: two runs with one hash compute the same thing."""
    return hashlib.sha256(json.dumps(decisive_keys(config), sort_keys=True, default=str).encode()).hexdigest()[:16]


def decisive_keys(config: dict[str, Any]) -> dict[str, Any]:
    """Return `config` without the keys that leave the result as it is."""
    decisive = {key: value for key, value in config.items() if key not in _INDECISIVE_KEYS}
    if isinstance(config.get("trainer"), dict):
        trainer = config["trainer"].items()
        decisive["trainer"] = {key: value for key, value in trainer if key not in _INDECISIVE_TRAINER_KEYS}
    init = decisive.get("init")
    if isinstance(init, dict) and init.get("sha256"):  # the same weights from another place
        decisive["init"] = {key: value for key, value in init.items() if key != "from"}
    return decisive


def to_json(value: Any, **options: Any) -> str:
    """Return strict JSON. Only a value with numbers that JSON does not have is copied to make them strings."""
    try:
        return json.dumps(value, allow_nan=False, **options)
    except ValueError:
        return json.dumps(encode_nonfinite(value), **options)


def encode_nonfinite(value: Any) -> Any:
    """Return `value` with the numbers that JSON does not have as strings."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {key: encode_nonfinite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [encode_nonfinite(inner) for inner in value]
    return value


def decode_nonfinite(value: Any) -> Any:
    """Undo `encode_nonfinite`, except for strings under keys that hold names."""
    if isinstance(value, str):
        return _NONFINITE.get(value, value)
    if isinstance(value, dict):
        return {key: inner if key in _NAME_KEYS else decode_nonfinite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [decode_nonfinite(inner) for inner in value]
    return value
