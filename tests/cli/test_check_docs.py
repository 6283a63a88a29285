"""docs/checks.md and docs/signals.md are what the code generates."""

from __future__ import annotations

from pathlib import Path

from pipeline.cli.check_docs import NO_REMEDY, check_docs, render_check_docs, threshold_comments
from pipeline.cli.signal_docs import render_signal_docs

DOCS_DIR = Path(__file__).resolve().parents[2] / "docs"
DOCS = check_docs()


def test_generated_pages_are_up_to_date() -> None:
    assert (DOCS_DIR / "checks.md").read_text() == render_check_docs(), "run `make docs`"
    assert (DOCS_DIR / "signals.md").read_text() == render_signal_docs(), "run `make docs`"


def test_every_section_is_complete() -> None:
    for check, doc in DOCS.items():
        assert doc.anti_pattern, check
        assert doc.rule.startswith("Fires "), check
        assert doc.stages, check
        assert [threshold.name for threshold in doc.thresholds if not threshold.comment] == [], check
        assert all(check in DOCS[other].explained_by for other in doc.explains)


def test_thresholds_are_named_in_the_rule() -> None:
    """Whoever reads when a check fires learns what each of its thresholds does."""
    unnamed = [
        (check, threshold.name)
        for check, doc in DOCS.items()
        for threshold in doc.thresholds
        if f"`{threshold.name}`" not in doc.rule
    ]
    assert unnamed == []


def test_a_section_has_the_declarations_of_the_rule() -> None:
    section = DOCS["initial_loss"].markdown()
    assert section.startswith("## initial_loss\n\nAnti-pattern: ")
    assert "\n| `warning` | 0.5 | " in section
    assert "\n- Stages: sanity\n- Reads: `expected_first_loss`, `first_loss`, `logit_std`, `ignored_keys`\n" in section
    assert "\n- Severities: failure, warning\n" in section
    assert "\n- Remedies: `init=he`, `init.output_scale=0.1`\n" in section
    assert f"\n- Remedies: {NO_REMEDY}\n" in DOCS["batch_leak"].markdown()


def test_stages_of_a_check() -> None:
    """Keys that one stage alone has decide; for a check without such keys its first key."""
    stages = {check: DOCS[check].stages for check in ("loss_disagrees", "nonfinite", "small_batch_batchnorm")}
    assert stages == {
        "loss_disagrees": ("sanity", "overfit", "train"),
        "nonfinite": ("sanity", "overfit", "train"),
        "small_batch_batchnorm": ("sanity", "train"),
    }


def test_comments_may_continue_on_the_next_line() -> None:
    text = "rules:\n  a:\n    # of the rule\n    x: 1  # one\n      # two\n    y: 2\n  b:\n    x: 3  # three\n"
    assert threshold_comments(text) == {("a", "x"): "one two", ("b", "x"): "three"}
