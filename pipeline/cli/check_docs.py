"""Generate docs/checks.md from the rules and their thresholds: `python -m pipeline.cli.check_docs docs/checks.md`.

A rule declares everything that is written about it, and conf/checks/default.yaml has a comment on each threshold.
`python -m pipeline explain dead_units` prints the section of one check.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from pipeline.checks import Rule
from pipeline.config.instantiate import import_allowed
from pipeline.config.options import CONF
from pipeline.runs.paths import write_text
from pipeline.signals.schema import STAGES, stages_with

DEFAULT_CHECKS = CONF / "checks" / "default.yaml"
NO_REMEDY = "none in the configuration"
HEAD = """# Checks

`make docs` writes this page from the rules in [pipeline/checks/rules/](../pipeline/checks/rules) and their thresholds
in [conf/checks/default.yaml](../conf/checks/default.yaml); edit these. `python -m pipeline explain <check>` prints one
section. The measurements that rules read are described in [signals.md](signals.md).

Causes come before their consequences. A warning or a failure explains the checks in its line *Explains*, and what these
explain in turn: a consequence that is no worse than its cause is not reported, not even by a later stage. Every
threshold is a key of the configuration: `checks.rules.<check>.<threshold>=...`. *Remedies* are overrides; none is
proposed that is in force already or that the network ignores. Where none is left, a finding says what to *change* in
the code, with one line of it.
"""


@dataclass(frozen=True)
class Threshold:
    """A key of a rule, its default, and the comment on it."""

    name: str
    value: Any
    comment: str


@dataclass(frozen=True)
class CheckDoc:
    """The documentation of one check."""

    check: str
    """Its key in the configuration."""
    anti_pattern: str
    rule: str
    """When it fires: paragraphs, separated by empty lines."""
    thresholds: tuple[Threshold, ...]
    explains: tuple[str, ...]
    explained_by: tuple[str, ...]
    rule_class: type[Rule]

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages whose signals the rule reads: those that alone have one of its keys, else those of its first key.

        For example `lr` is a signal of three stages, and says nothing about where a rule can fire.
        """
        owners = [stages_with(key) for key in self.rule_class.reads]
        alone = {stages[0] for stages in owners if len(stages) == 1}
        return tuple(stage for stage in STAGES if stage in (alone or owners[0]))

    def markdown(self) -> str:
        """Return the section of docs/checks.md."""
        rule = self.rule_class
        lines = [f"## {self.check}", "", f"Anti-pattern: {self.anti_pattern}", "", self.rule, ""]
        if self.thresholds:
            lines += ["| threshold | default | what |", "|---|---|---|"]
            lines += [f"| `{t.name}` | {t.value} | {_cell(t.comment)} |" for t in self.thresholds]
            lines += [""]
        lines += [f"- Stages: {', '.join(self.stages)}", f"- Reads: {', '.join(f'`{key}`' for key in rule.reads)}"]
        lines += [f"- Severities: {', '.join(rule.severities)}", f"- Why: {rule.why}"]
        lines += [f"- Remedies: {', '.join(f'`{remedy}`' for remedy in rule.remedies) or NO_REMEDY}"]
        lines += [f"- Change: {rule.advice}"] if rule.advice else []
        lines += [f"- Code: `{rule.code}`"] if rule.code else []
        lines += [f"- Source: {rule.source}"]
        for title, checks in (("Explains", self.explains), ("Explained by", self.explained_by)):
            lines += [f"- {title}: {', '.join(f'[{check}](#{check})' for check in checks)}"] if checks else []
        return "\n".join(lines) + "\n"


def render_check_docs() -> str:
    """Return the whole of docs/checks.md."""
    checks = check_docs()
    index = ["| check | stages | anti-pattern |", "|---|---|---|"]
    index += [f"| [{d.check}](#{d.check}) | {', '.join(d.stages)} | {_cell(d.anti_pattern)} |" for d in checks.values()]
    return "\n".join([HEAD, *index, "", *(doc.markdown() for doc in checks.values())])


def check_docs(config_dir: Path | None = None) -> dict[str, CheckDoc]:
    """Return the documentation of each check of conf/checks/default.yaml, in its order, then of those of a user.

    `config_dir` is the user's folder of options, of which each file in `checks/` may have rules.
    """
    nodes: dict[str, Any] = {}
    comments: dict[tuple[str, str], str] = {}
    for path in (DEFAULT_CHECKS, *(sorted((config_dir / "checks").glob("*.yaml")) if config_dir else ())):
        text = path.read_text()
        menu: Any = OmegaConf.to_container(OmegaConf.create(text))  # unlike PyYAML it reads 1e-5 as a number
        new = {name: node for name, node in (menu.get("rules") or {}).items() if name not in nodes and node}
        nodes |= {name: node for name, node in new.items() if "_target_" in node}
        comments = {**threshold_comments(text), **comments}
    rules: dict[str, Any] = {
        name: import_allowed(node["_target_"], f"checks.rules.{name}") for name, node in nodes.items()
    }
    docs = {}
    for name, rule in rules.items():
        anti_pattern, fires_when = _split_docstring(rule)
        values = {key: value for key, value in nodes[name].items() if not key.startswith("_")}
        docs[name] = CheckDoc(
            check=name,
            anti_pattern=anti_pattern,
            rule=fires_when,
            thresholds=tuple(Threshold(key, value, comments.get((name, key), "")) for key, value in values.items()),
            explains=_in_order(rule.explains, rules),
            explained_by=tuple(other for other in rules if name in rules[other].explains),
            rule_class=rule,
        )
    return docs


def threshold_comments(text: str) -> Mapping[tuple[str, str], str]:
    """Return the comment on each threshold by (check, key); it may continue on lines that have nothing else."""
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


def _split_docstring(rule: type[Rule]) -> tuple[str, str]:
    """Return the first paragraph without its title `Anti-pattern:`, and the other paragraphs."""
    first, *others = (" ".join(text.split()) for text in re.split(r"\n\s*\n", inspect.getdoc(rule) or ""))
    anti_pattern = first.removeprefix("Anti-pattern: ")
    return anti_pattern[:1].upper() + anti_pattern[1:], "\n\n".join(others)


def _in_order(names: Sequence[str], order: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(name for name in order if name in names)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    write_text(Path(sys.argv[1]), render_check_docs())
