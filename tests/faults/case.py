"""A case of the benchmark: one command with what it is expected to be told; read from cases/*.yaml.

A healthy case is a whole command. A fault is its healthy twin plus the one mistake: `change` is appended to the twin's
overrides, and `module`, `loss` and `data` replace the twin's. So what differs in the score is the mistake's doing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
PACKAGE = "tests.faults"
CONFIGURATION_ERROR = "configuration_error"
"""Stands among `expect` where the pipeline is right to refuse the command itself (exit code 2)."""


@dataclass(frozen=True)
class Case:
    """`expect` empty: healthy, must stay silent and reach the test accuracy `floor` in every seed."""

    name: str
    family: str
    source: str = "seeded"
    """Where the mistake was seen: a Stack Overflow question, or 'seeded'."""
    overrides: tuple[str, ...] = ()
    module: str | None = None
    """`file.Name` under networks/: the user's own network."""
    loss: str | None = None
    """`file.name` under networks/: the user's own loss function."""
    data: Mapping[str, Any] | None = None
    """A builder of datasets.py with its arguments: `{of: shuffled_labels, share: 1.0}`."""
    expect: frozenset[str] = frozenset()
    """Checks that are equally right as the first finding."""
    also_right: frozenset[str] = frozenset()
    """Checks that are true consequences and may be told beside the first."""
    seeds: int = 3
    must_detect: str = "always"
    """`always`, or `if_shown`: a run that scores as its twin does and is told nothing does not count."""
    twin: str | None = None
    harmless: bool = False
    """The score survives, and a finding is right all the same."""
    fix: bool = False
    """The first remedy is expected to repair it."""
    floor: float = 0.0
    note: str = ""

    @property
    def healthy(self) -> bool:
        return not self.expect

    def command(self, seed: int, data_file: Path | None) -> list[str]:
        """The overrides of one run, as they would be typed."""
        words = []
        if self.data is not None:
            assert data_file is not None
            words += ["data=npz", f"data.path={data_file}"]
        if self.module:
            words += ["model=custom", f"model._target_={dotted(self.module)}"]
        if self.loss:
            words += ["loss=custom", f"loss.function._target_={dotted(self.loss)}"]
        return [*words, *self.overrides, f"seed={seed}"]

    def allowed(self) -> set[str]:
        """Names that the configuration must be allowed to call."""
        typed = [word.partition("=")[2] for word in self.overrides]
        named = [dotted(own) for own in (self.module, self.loss) if own]
        return {*named, *(word for word in typed if word.startswith(f"{PACKAGE}."))}


def dotted(own: str) -> str:
    return f"{PACKAGE}.networks.{own}"


def read_cases(folder: Path = HERE / "cases") -> dict[str, Case]:
    """Every case by name, faults merged with their twins. Raises `ValueError` for what is not well-formed."""
    found: dict[str, tuple[str, dict[str, Any]]] = {}
    for file in sorted(folder.glob("*.yaml")):
        for name, node in yaml.safe_load(file.read_text()).items():
            if name in found:
                raise ValueError(f"{file.name}: {name} stands in {found[name][0]} as well")
            found[name] = (file.stem, node)
    healthy = {name: _case(name, *found[name]) for name in found if "twin" not in found[name][1]}
    return {name: healthy[name] if name in healthy else _fault(name, *found[name], healthy) for name in found}


def _fault(name: str, family: str, node: dict[str, Any], healthy: Mapping[str, Case]) -> Case:
    twin = healthy.get(node["twin"])
    if twin is None or not twin.healthy:
        raise ValueError(f"{family}: {name}: there is no healthy case {node['twin']!r}")
    own = {key: value for key, value in node.items() if key != "change"}
    case = _case(name, family, own)
    replaced = ["data"] * (case.data is not None) + ["model", "init"] * bool(case.module) + ["loss"] * bool(case.loss)
    kept = [word for word in twin.overrides if not _chooses(word, replaced)]
    return replace(
        case,
        overrides=(*kept, *map(str, node.get("change", ()))),
        module=case.module or twin.module,
        loss=case.loss or twin.loss,
        data=case.data if case.data is not None else twin.data,
    )


def _chooses(word: str, groups: Iterable[str]) -> bool:
    """Whether an override chooses an option of one of the groups, or a key of an option that is no longer there."""
    key = word.partition("=")[0]
    return any(key == group or (group != "data" and key.startswith(f"{group}.")) for group in groups)


def _case(name: str, family: str, node: Mapping[str, Any]) -> Case:
    known = {each.name for each in fields(Case)}
    if odd := node.keys() - known:
        raise ValueError(f"{family}: {name}: unknown {', '.join(sorted(odd))}")
    plain = dict(node)
    for key in ("expect", "also_right"):
        plain[key] = frozenset(plain.get(key) or ())
    plain["overrides"] = tuple(map(str, plain.get("overrides", ())))
    if plain.get("must_detect", "always") not in ("always", "if_shown"):
        raise ValueError(f"{family}: {name}: must_detect is always or if_shown")
    return Case(name=name, family=family, **plain)


def allowed_names(cases: Iterable[Case]) -> str:
    """The value of PIPELINE_ALLOW for all of them."""
    return ",".join(sorted(set().union(*(case.allowed() for case in cases))))
