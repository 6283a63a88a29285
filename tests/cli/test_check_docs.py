"""docs/checks.md says what the code says."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from pipeline.cli.check_docs import _comments, check_docs, render_check_docs
from pipeline.cli.rule_source import KEYS, RuleSource

ROOT = Path(__file__).resolve().parents[2]
PAGES = check_docs()


def _documented() -> dict[str, set[str]]:
    """The keys in the first column of each stage's own table (that of its data set is below `data`)."""
    text = (ROOT / "docs" / "signals.md").read_text()
    sections = {part.split()[0]: part.split("\n###")[0] for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:]}
    sections = {name: part for name, part in sections.items() if "." not in name}  # files have sections too
    lines = {
        stage: [line for line in part.splitlines() if line.startswith(("|", "`"))] for stage, part in sections.items()
    }
    cells = {stage: [line.lstrip("|").partition("|")[0] for line in lines[stage]] for stage in lines}
    return {stage: set(re.findall(r"`(\w+)`", " ".join(cells[stage]))) for stage in cells}


DOCUMENTED = _documented()


def test_the_catalogue_is_what_the_code_generates() -> None:
    assert (ROOT / "docs" / "checks.md").read_text() == render_check_docs(), "make catalogue"


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_every_page_is_whole(page: Any) -> None:
    assert page.anti_pattern
    assert page.rule
    assert page.source.whys
    assert page.source.sources
    assert page.source.severities
    assert page.source.stages, "a key of docs/signals.md is missing in KEYS of pipeline/cli/rule_source.py"
    for threshold in page.thresholds:
        assert threshold.comment, f"{threshold.name} needs a comment in conf/checks/default.yaml"


@pytest.mark.parametrize("stage", KEYS)
def test_the_keys_that_tell_a_stage_are_documented_as_its_alone(stage: str) -> None:
    assert set(KEYS) == DOCUMENTED.keys()
    for name, documented in DOCUMENTED.items():
        if name == stage:
            assert set(KEYS[stage].split()) <= documented
        else:
            assert not set(KEYS[stage].split()) & documented


def test_graph_of_explanations_is_told_from_both_sides() -> None:
    for page in PAGES.values():
        for other in page.explains:
            assert page.check in PAGES[other].explained_by


def test_a_page_has_what_the_rule_and_the_menu_say() -> None:
    said = PAGES["initial_loss"].markdown()
    assert said.startswith("## initial_loss\n\nAnti-pattern: A network that is sure of its answers")
    assert "\nRule: Without regularization the first loss is what chance gives" in said
    assert re.search(r"\| `warning` \| 0\.5 \| \\\|first loss", said)
    assert "- Reads: sanity\n" in said
    assert "- Remedies: `init=he`, `init.output_scale=0.1`\n" in said
    assert PAGES["nonfinite"].source.stages == ("sanity", "overfit", "train")
    assert PAGES["batch_leak"].markdown().count("Remedies: none that a configuration has") == 1


MODULE = """
from pipeline.checks.training_curves import scaled_rate
TABLE = {"a": "because of a", "b": "because of b"}

class Rule:
    def __call__(self, signals):
        if "fit_loss" in signals and signals["losses"] and value(signals, "overfit_loss"):
            why = "because " + ("x" if signals else "y")
            return self.found(severity="warning", why=why, source=f"page {1}", remedy=("init=he",))
        return {"severity": "info", "why": TABLE.get("a", "because"), "remedy": (f"stages.overfit.steps={4 * 2}",)}
"""


def test_texts_are_read_off_whatever_the_rule_looks_like(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "invented.py").write_text(MODULE.replace("from pipeline.checks.training_curves import scaled_rate", ""))
    module = types.ModuleType("invented")
    module.__file__ = str(tmp_path / "invented.py")
    exec(compile((tmp_path / "invented.py").read_text(), module.__file__, "exec"), module.__dict__)
    monkeypatch.setitem(sys.modules, "invented", module)
    assert RuleSource.of(module.Rule) == RuleSource(
        whys=("because x", "because y", "because of a", "because of b", "because"),
        sources=("page ...",),
        remedies=("init=he", "stages.overfit.steps=..."),
        severities=("warning", "info"),
        stages=("sanity", "overfit"),
    )


def test_remedies_of_functions_that_rules_share_are_found() -> None:
    assert "optimizer.lr=..." in PAGES["rate_too_high"].source.remedies


def test_comments_that_go_on_belong_to_their_threshold() -> None:
    text = "rules:\n  a:\n    # of the rule\n    x: 1  # one\n      # two\n    y: 2\n  b:\n    x: 3  # three\n"
    assert _comments(text) == {("a", "x"): "one two", ("b", "x"): "three"}
