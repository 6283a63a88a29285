"""outcome.json and signals.json: what was written comes back, also the numbers that JSON does not have."""

from __future__ import annotations

import json
import math
import shlex
from pathlib import Path

import pytest

from pipeline.runs.json_files import (
    OUTCOME,
    SIGNALS,
    command_line,
    config_dir_flag,
    load_signals,
    read_outcome,
    read_signals,
    write_outcome,
    write_signals,
)
from pipeline.runs.paths import UnreadableFileError


def test_signals_come_back(tmp_path: Path) -> None:
    signals = {
        "losses": [1.5, math.inf, -math.inf],
        "lr": 0.1,
        "data": {"class_counts": {"train": [3, 4]}},
        "none": None,
    }
    write_signals(tmp_path, {"sanity": {}, "train": signals})
    assert read_signals(tmp_path) == {"sanity": {}, "train": signals}
    write_signals(tmp_path, {"train": {"columns": {"rms": [[math.nan]]}}})
    (row,) = (read_signals(tmp_path) or {})["train"]["columns"]["rms"]
    assert math.isnan(row[0])


def test_nonfinite_numbers_are_strings(tmp_path: Path) -> None:
    write_signals(tmp_path, {"train": {"losses": (math.nan, math.inf, -math.inf)}})
    text = (tmp_path / SIGNALS).read_text()
    strict = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert strict == {"schema": 1, "stages": {"train": {"losses": ["nan", "inf", "-inf"]}}}


def test_names_stay_strings(tmp_path: Path) -> None:
    signals = {"data": {"class_names": ["nan", "inf"]}, "units": {"name": ["inf"], "kind": ["nan"]}}
    write_signals(tmp_path, {"train": signals})
    assert read_signals(tmp_path) == {"train": signals}


@pytest.mark.parametrize("content", ["", "{", "[]", '{"schema": 2, "stages": {}}', '{"stages": {}}', '{"schema": 1}'])
def test_unreadable_signals(content: str, tmp_path: Path) -> None:
    """`read_signals` returns None, `load_signals` says what is wrong with the file."""
    assert read_signals(tmp_path) is None
    with pytest.raises(FileNotFoundError):
        load_signals(tmp_path)
    (tmp_path / SIGNALS).write_text(content)
    assert read_signals(tmp_path) is None
    with pytest.raises(UnreadableFileError) as error:
        load_signals(tmp_path)
    assert error.value.path == tmp_path / SIGNALS


def test_outcome(tmp_path: Path) -> None:
    assert read_outcome(tmp_path) is None
    write_outcome(tmp_path, {"schema": 1, "seconds": math.inf})
    assert read_outcome(tmp_path) == {"schema": 1, "seconds": "inf"}
    (tmp_path / OUTCOME).write_bytes(b"\xff\xfe")
    assert read_outcome(tmp_path) is None


def test_config_dir_flag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert config_dir_flag(None) == []
    (tmp_path / "here" / "my conf").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    assert config_dir_flag(str(tmp_path / "here" / "my conf")) == ["--config-dir=my conf"]
    assert config_dir_flag("my conf") == ["--config-dir=my conf"]
    assert config_dir_flag(str(tmp_path / "conf")) == [f"--config-dir={tmp_path / 'conf'}"]
    arguments = [*config_dir_flag("my conf"), "optimizer=mine"]
    assert shlex.split(command_line(arguments)) == ["python", "-m", "pipeline", *arguments]
