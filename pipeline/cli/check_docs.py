"""The catalogue of checks, docs/checks.md, read off the rules' own code and the menu; no rule is described twice.

`python -m pipeline explain dead_units` prints one page; `make catalogue` writes all of them.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from pipeline.cli.rule_source import RuleSource
from pipeline.config.instantiate import import_allowed
from pipeline.config.options import CONF
from pipeline.runs.paths import write_text

MENU = Path("checks") / "default.yaml"
HEAD = """# Checks

Written by `make catalogue` from the rules in [pipeline/checks/](../pipeline/checks) and their thresholds in
[conf/checks/default.yaml](../conf/checks/default.yaml); change it there. `python -m pipeline explain <check>` prints
one page. What the rules look at is in [signals.md](signals.md).

Causes stand before their consequences. A warning or a failure explains what stands under its *Explains*, and what that
explains in turn: a consequence that is no worse than its cause is not told, not even by a later stage. Every threshold
is a key: `checks.rules.<check>.<threshold>=...`.
"""


@dataclass(frozen=True)
class Threshold:
    name: str
    value: Any
    comment: str


@dataclass(frozen=True)
class CheckDoc:
    """What is said of one check."""

    check: str
    anti_pattern: str
    rule: str
    thresholds: tuple[Threshold, ...]
    explains: tuple[str, ...]
    explained_by: tuple[str, ...]
    rule_class: Any

    @cached_property
    def source(self) -> RuleSource:
        """What the rule's code says; reading it is the slow part of a page."""
        return RuleSource.of(self.rule_class)

    def markdown(self) -> str:
        lines = [f"## {self.check}", "", f"Anti-pattern: {self.anti_pattern}", "", f"Rule: {self.rule}", ""]
        if self.thresholds:
            lines += ["| threshold | default | what |", "|---|---|---|"]
            lines += [f"| `{t.name}` | {t.value} | {_cell(t.comment)} |" for t in self.thresholds]
            lines += [""]
        lines += [f"- Reads: {', '.join(self.source.stages)}", f"- Severities: {', '.join(self.source.severities)}"]
        lines += [f"- Why: {why}" for why in self.source.whys]
        remedies = ", ".join(f"`{remedy}`" for remedy in self.source.remedies)
        lines += [f"- Remedies: {remedies or 'none that a configuration has'}"]
        lines += [f"- Source: {source}" for source in self.source.sources]
        for title, checks in (("Explains", self.explains), ("Explained by", self.explained_by)):
            lines += [f"- {title}: {', '.join(f'[{check}](#{check})' for check in checks)}"] if checks else []
        return "\n".join(lines) + "\n"


def render_check_docs() -> str:
    """The whole of docs/checks.md."""
    checks = check_docs()
    index = ["| check | reads | anti-pattern |", "|---|---|---|"]
    index += [
        f"| [{p.check}](#{p.check}) | {', '.join(p.source.stages)} | {_cell(p.anti_pattern)} |" for p in checks.values()
    ]
    return "\n".join([HEAD, *index, "", *(page.markdown() for page in checks.values())])


def check_docs() -> dict[str, CheckDoc]:
    """Each check of the menu, in its order."""
    text = (CONF / MENU).read_text()
    menu: Any = OmegaConf.to_container(OmegaConf.create(text))
    comments = _comments(text)
    rules: dict[str, Any] = {
        n: import_allowed(node["_target_"], f"checks.rules.{n}") for n, node in menu["rules"].items()
    }
    found = {}
    for name, rule in rules.items():
        against, said = _docstring(rule)
        values = {key: value for key, value in menu["rules"][name].items() if not key.startswith("_")}
        found[name] = CheckDoc(
            check=name,
            anti_pattern=against,
            rule=said,
            thresholds=tuple(Threshold(key, value, comments.get((name, key), "")) for key, value in values.items()),
            explains=tuple(other for other in rules if other in rule.explains),
            explained_by=tuple(other for other in rules if name in rules[other].explains),
            rule_class=rule,
        )
    return found


def _docstring(rule: Any) -> tuple[str, str]:
    """What stands behind `Anti-pattern:` and behind `Rule:`."""
    words = " ".join((rule.__doc__ or "").split()).removeprefix("Anti-pattern:")
    against, _, asked = words.partition(" Rule")
    return _sentence(against), _sentence(asked.lstrip(":, "))


def _sentence(text: str) -> str:
    return text.strip()[:1].upper() + text.strip()[1:]


def _comments(text: str) -> Mapping[tuple[str, str], str]:
    """The comment of each threshold, by check and key: what stands behind `#` on its line and on lines that go on."""
    comments: dict[tuple[str, str], str] = {}
    rule, key = "", ""
    for line in text.splitlines():
        code, _, comment = line.partition("#")
        if match := re.fullmatch(r"  (\w+):\s*", code):
            rule, key = match[1], ""
        elif match := re.match(r"    (\w+):", code):
            key = match[1]
        if comment and rule and key and (not code.strip() or match):
            comments[rule, key] = f"{comments.get((rule, key), '')} {comment.strip()}".strip()
    return comments


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    write_text(Path(sys.argv[1]), render_check_docs())
