"""docs/options.md is generated from conf/."""

from __future__ import annotations

from pathlib import Path

from pipeline.cli.options_docs import render_options_docs
from pipeline.config.options import CONF, groups, keys

ROOT = Path(__file__).parents[2]


def test_up_to_date() -> None:
    """`python -m pipeline.cli.options_docs docs/options.md` writes it again."""
    assert (ROOT / "docs" / "options.md").read_text() == render_options_docs()


def test_complete() -> None:
    """Every option and every key with a comment has a row; thresholds of checks have a page of their own."""
    page = render_options_docs()
    for group in groups().values():
        assert f"### {group.name}\n" in page
        for option in group.options:
            assert f"| `{option.name}` | " in page
            for name, key in keys(option.path).items():
                if key.value and key.description and group.name not in ("checks", "experiment"):
                    assert f"| `{option.package or group.name}.{name}` | " in page
    for name, key in keys(CONF / "config.yaml").items():
        if key.value and key.description and not name.startswith("defaults"):
            assert f"| `{name}` | " in page
