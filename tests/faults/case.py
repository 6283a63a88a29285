"""A case of the benchmark: one command and the checks that should find its fault; read from cases/*.yaml.

A healthy case is a whole command. A fault is its healthy twin plus the one mistake: `change` is appended to the twin's
overrides, and `module`, `loss` and `data` replace the twin's. Any difference in the score is due to the mistake.

The entry `defaults` of a file has fields that all its cases share.
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
"""Listed in `expect` where the pipeline rightly refuses the command itself (exit code 2)."""
SETS = ("old", "world", "new", "second")


@dataclass(frozen=True)
class Case:
    """With `expect` empty the case is healthy: no finding, and a test accuracy of `floor` with every seed."""

    name: str
    family: str
    source: str = "seeded"
    """Where the mistake comes from: a Stack Overflow question, or 'seeded'."""
    overrides: tuple[str, ...] = ()
    module: str | None = None
    """`file.Name` under networks/: the user's own network."""
    loss: str | None = None
    """`file.name` under networks/: the user's own loss function."""
    data: Mapping[str, Any] | None = None
    """A builder of datasets.py and its arguments: `{of: shuffled_labels, share: 1.0}`."""
    expect: frozenset[str] = frozenset()
    """Checks of which any is right as the first finding."""
    also_right: frozenset[str] = frozenset()
    """Checks that are true consequences, and may follow the first finding."""
    seeds: int = 3
    must_detect: str = "always"
    """`always`, or `if_shown`: a run without findings that scores as its twin does is not counted."""
    twin: str | None = None
    set: str = "old"
    """`old`; `world`: public reports that have been looked at; `new`, `second`: written without a look at the rules."""
    seen: bool = True
    """Whether rules were written or changed with the case in sight."""
    harmless: bool = False
    """The score does not suffer, but a finding is right all the same."""
    fix: bool = False
    """Whether the first remedy should repair it."""
    floor: float = 0.0
    note: str = ""

    @property
    def healthy(self) -> bool:
        return not self.expect

    def command(self, seed: int, data_file: Path | None) -> list[str]:
        """Return the overrides of one run."""
        overrides = []
        if self.data is not None:
            assert data_file is not None
            overrides += ["data=npz" if data_file.suffix == ".npz" else "data=image_folder", f"data.path={data_file}"]
        if self.module:
            overrides += ["model=custom", f"model._target_={dotted(self.module)}"]
        if self.loss:
            overrides += ["loss=custom", f"loss.function._target_={dotted(self.loss)}"]
        return [*overrides, *self.overrides, f"seed={seed}"]

    def allowed(self) -> set[str]:
        """Return the names that the configuration must be allowed to call."""
        values = [override.partition("=")[2] for override in self.overrides]
        names = [dotted(name) for name in (self.module, self.loss) if name]
        return {*names, *(value for value in values if value.startswith(f"{PACKAGE}."))}


def dotted(name: str) -> str:
    """Return the full path of `file.Name` in networks/."""
    return f"{PACKAGE}.networks.{name}"


def read_cases(folder: Path = HERE / "cases") -> dict[str, Case]:
    """Return every case by name, faults merged with their twins. Raises `ValueError` for a malformed case."""
    nodes: dict[str, tuple[str, dict[str, Any]]] = {}
    for file in sorted(folder.glob("*.yaml")):
        cases = yaml.safe_load(file.read_text())
        defaults = cases.pop("defaults", {})
        for name, node in cases.items():
            if name in nodes:
                raise ValueError(f"{file.name}: {name} is in {nodes[name][0]} as well")
            nodes[name] = (file.stem, defaults | node)
    healthy = {name: _case(name, *nodes[name]) for name in nodes if "twin" not in nodes[name][1]}
    return {name: healthy[name] if name in healthy else _fault(name, *nodes[name], healthy) for name in nodes}


def _fault(name: str, family: str, node: dict[str, Any], healthy: Mapping[str, Case]) -> Case:
    twin = healthy.get(node["twin"])
    if twin is None or not twin.healthy:
        raise ValueError(f"{family}: {name}: there is no healthy case {node['twin']!r}")
    fields_of_fault = {key: value for key, value in node.items() if key != "change"}
    case = _case(name, family, fields_of_fault)
    of_network = ["model", "init", "activation", "batchnorm"]  # a module of one's own does not take the last two
    replaced = ["data"] * (case.data is not None) + of_network * bool(case.module) + ["loss"] * bool(case.loss)
    remaining = [override for override in twin.overrides if not _belongs_to(override, replaced)]
    return replace(
        case,
        overrides=(*remaining, *map(str, node.get("change", ()))),
        module=case.module or twin.module,
        loss=case.loss or twin.loss,
        data=case.data if case.data is not None else twin.data,
    )


def _belongs_to(override: str, groups: Iterable[str]) -> bool:
    """Return whether an override chooses an option of one of the groups, or sets a key of such an option."""
    key = override.partition("=")[0]
    return any(key == group or (group != "data" and key.startswith(f"{group}.")) for group in groups)


def _case(name: str, family: str, node: Mapping[str, Any]) -> Case:
    known = {each.name for each in fields(Case)}
    if unknown := node.keys() - known:
        raise ValueError(f"{family}: {name}: unknown {', '.join(sorted(unknown))}")
    values = dict(node)
    for key in ("expect", "also_right"):
        values[key] = frozenset(values.get(key) or ())
    values["overrides"] = tuple(map(str, values.get("overrides", ())))
    if values.get("must_detect", "always") not in ("always", "if_shown"):
        raise ValueError(f"{family}: {name}: must_detect is always or if_shown")
    if values.get("set", "old") not in SETS:
        raise ValueError(f"{family}: {name}: set is one of {', '.join(SETS)}")
    return Case(name=name, family=family, **values)


def allowed_names(cases: Iterable[Case]) -> str:
    """Return the value of PIPELINE_ALLOW for all `cases`."""
    return ",".join(sorted(set().union(*(case.allowed() for case in cases))))
