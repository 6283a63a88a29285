"""docs/watch.md: the first block runs as it is, and the table names every way in."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import pipeline

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "watch.md").read_text()


def test_the_first_block_runs() -> None:
    block = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)[0]
    names: dict[str, Any] = {}
    with pytest.raises(pipeline.CheckFailed, match="output_activation"):
        exec(compile(block, "docs/watch.md", "exec"), names)


def test_every_name_of_the_package_is_in_the_page() -> None:
    names = set(pipeline.__all__) - {"run", "load", "Findings"}
    assert [name for name in names if f"pipeline.{name}" not in TEXT] == []
