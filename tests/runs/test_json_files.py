"""outcome.json and signals.json: what was written comes back, numbers that JSON does not know included."""

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
    read_outcome,
    read_signals,
    write_outcome,
    write_signals,
)


def test_signals_come_back_as_they_were_measured(tmp_path: Path) -> None:
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


def test_a_number_that_json_does_not_know_is_a_word(tmp_path: Path) -> None:
    write_signals(tmp_path, {"train": {"losses": (math.nan, math.inf, -math.inf)}})
    text = (tmp_path / SIGNALS).read_text()
    strict = json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert strict == {"schema": 1, "stages": {"train": {"losses": ["nan", "inf", "-inf"]}}}


def test_names_stay_words_whatever_they_are(tmp_path: Path) -> None:
    signals = {"data": {"class_names": ["nan", "inf"]}, "units": {"name": ["inf"], "kind": ["nan"]}}
    write_signals(tmp_path, {"train": signals})
    assert read_signals(tmp_path) == {"train": signals}


@pytest.mark.parametrize("content", ["", "{", "[]", '{"schema": 2, "stages": {}}', '{"stages": {}}', '{"schema": 1}'])
def test_what_is_no_signals_file_is_none(content: str, tmp_path: Path) -> None:
    assert read_signals(tmp_path) is None
    (tmp_path / SIGNALS).write_text(content)
    assert read_signals(tmp_path) is None


def test_the_outcome_keeps_its_words_and_is_none_where_it_cannot_be_read(tmp_path: Path) -> None:
    assert read_outcome(tmp_path) is None
    write_outcome(tmp_path, {"schema": 1, "seconds": math.inf})
    assert read_outcome(tmp_path) == {"schema": 1, "seconds": "inf"}
    (tmp_path / OUTCOME).write_bytes(b"\xff\xfe")
    assert read_outcome(tmp_path) is None


def test_a_folder_of_options_is_named_as_it_can_be_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert config_dir_flag(None) == []
    (tmp_path / "here" / "my conf").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    assert config_dir_flag(str(tmp_path / "here" / "my conf")) == ["--config-dir=my conf"]
    assert config_dir_flag("my conf") == ["--config-dir=my conf"]
    assert config_dir_flag(str(tmp_path / "conf")) == [f"--config-dir={tmp_path / 'conf'}"]
    words = [*config_dir_flag("my conf"), "optimizer=mine"]
    assert shlex.split(command_line(words)) == ["python", "-m", "pipeline", *words]
