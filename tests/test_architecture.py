"""What must never get worse: which room may import which, and what importing costs.

Each test collects every offender, so that one failure shows the whole list.
"""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "pipeline"
FLOORS = [
    {"errors"},
    {"validation"},
    {"workflow.process_setup", "workflow.interrupt"},
    {"runs", "checks", "signals", "log_readers"},
    {"search.records"},
    {"runs.index", "runs.find_checkpoint"},
    {"config"},
    {"data", "loggers"},
    {"model"},
    {"training"},
    {"prediction"},
    {"workflow.outcome"},
    {"workflow.components", "workflow.attempt"},
    {"report.notebook"},
    {"workflow.result"},
    {"workflow.reporter"},
    {"stages"},
    {"report"},
    {"workflow", "watching"},
    {"pytest_plugin"},
    {"training.ddp_worker"},
    {"search"},
    {"cli"},
    {"__main__"},
]
"""From the ground up: a room, or a file of one, imports from its own floor and from those below."""
HEIGHT = {name: height for height, names in enumerate(FLOORS) for name in names}
LOOSE_FILES = {"__init__.py", "__main__.py", "errors.py", "pytest_plugin.py", "validation.py"}
HYDRA_ALLOWED = ("config.", "cli.", "workflow.build", "workflow.runner", "search.", "__main__")
"""Modules (or their prefixes) that may know Hydra and OmegaConf."""
OPTUNA_ALLOWED = "search.study."
NUMBERS_ONLY = ("checks", "signals")
QUICK = ("checks", "cli", "config", "errors", "log_readers", "runs", "validation", "__main__")
"""Rooms that load neither torch nor numpy."""
HEAVY = {"torch", "torchvision", "pytorch_lightning", "numpy"}
INSTANTIATES = "config.instantiate"
"""The only module that turns names into code."""
TUNES_PROCESS = "workflow.process_setup"
"""The only module that changes how the process runs."""


@functools.cache
def modules() -> dict[str, Path]:
    """All modules of the package by their dotted name below `pipeline`; the package itself is ``."""
    named = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        named[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return named


@functools.cache
def tree_of(module: str) -> ast.Module:
    return ast.parse(modules()[module].read_text())


def imported_names(module: str) -> Iterator[str]:
    """Dotted names of everything imported in the file, also inside functions and for types only."""
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}:{node.lineno}: imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@functools.cache
def imported_modules(module: str) -> frozenset[str]:
    """Modules of the package that the file imports."""
    found = set()
    for name in imported_names(module):
        if name.startswith("pipeline."):
            below = name.removeprefix("pipeline.")
            found.add(below if below in modules() else below.rpartition(".")[0])
    return frozenset(found - {module})


def imported_packages(module: str) -> set[str]:
    return {name.split(".")[0] for name in imported_names(module)}


def height_of(module: str) -> int | None:
    """The floor of a module: its own, or that of the room it is in."""
    parts = module.split(".")
    return next((HEIGHT[name] for n in range(len(parts), 0, -1) if (name := ".".join(parts[:n])) in HEIGHT), None)


def test_imports_point_downwards() -> None:
    inner = [module for module in modules() if module]
    assert [module for module in inner if height_of(module) is None] == []
    upwards = [
        f"{module} -> {other}"
        for module in inner
        for other in imported_modules(module)
        if other and (height_of(other) or 0) > (height_of(module) or 0)
    ]
    assert upwards == []


def test_no_import_cycles() -> None:
    """Type imports and imports inside functions count."""
    remaining = {module: {other for other in imported_modules(module) if other} for module in modules() if module}
    while leaves := {module for module, others in remaining.items() if not others & remaining.keys()}:
        remaining = {module: others for module, others in remaining.items() if module not in leaves}
    assert sorted(remaining) == []


def test_rooms_know_only_their_own() -> None:
    """Rules and probes see numbers; Hydra, Optuna and names that become code have their places."""
    offenders = []
    for module in filter(None, modules()):
        room, packages, names = module.split(".")[0], imported_packages(module), set(imported_names(module))
        rooms = {other.split(".")[0] for other in imported_modules(module)}
        if room in NUMBERS_ONLY and rooms & {"data", "model", "training", "workflow", "stages"}:
            offenders.append(f"{module} knows networks")
        if room in QUICK and packages & HEAVY and module != "runs.images":
            offenders.append(f"{module} loads {packages & HEAVY}")
        if packages & {"hydra", "omegaconf"} and not module.startswith(HYDRA_ALLOWED):
            offenders.append(f"{module} knows Hydra")
        if "optuna" in packages and not module.startswith(OPTUNA_ALLOWED):
            offenders.append(f"{module} knows Optuna")
        harmless = ("importlib.metadata", "importlib.resources", "importlib.util.find_spec")
        loading = {name for name in names if name.split(".")[0] in ("importlib", "pkgutil", "runpy")}
        instantiating = {"hydra.utils", "hydra.utils.instantiate", "hydra.utils.get_class"} & names
        if module != INSTANTIATES and (instantiating or any(not name.startswith(harmless) for name in loading)):
            offenders.append(f"{module} turns names into code")
    assert offenders == []


def test_calls_that_have_one_place() -> None:
    """No device is named in code, and one file alone tunes the process."""
    offenders = []
    for module in filter(None, modules()):
        for node in ast.walk(tree_of(module)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                call = ast.unparse(node.func)
                if node.func.attr == "cuda":
                    offenders.append(f"{module}:{node.lineno} {call}")
                if call in ("gc.set_threshold", "ctypes.CDLL", "gc.freeze") and module != TUNES_PROCESS:
                    offenders.append(f"{module}:{node.lineno} {call}")
    assert offenders == []


def test_the_tree() -> None:
    """Four loose files, no room for odds and ends, and a main program of one page."""
    assert {path.name for path in PACKAGE.glob("*.py")} == LOOSE_FILES
    banned = {"utils", "util", "common", "helpers", "helper", "misc"}
    assert [module for module in modules() if banned & {part.strip("_") for part in module.split(".")}] == []
    assert len((PACKAGE / "__main__.py").read_text().splitlines()) < 60


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import pipeline", {"torch", "numpy", "hydra", "rich"}),
        ("import pipeline.__main__", {*HEAVY, "hydra", "omegaconf"}),
        ("from pipeline.config.compose import compose_config; compose_config(['data=digits'])", HEAVY),
        ("import pipeline.cli.diagnose", HEAVY),
        ("import pipeline.checks", {"torch", "numpy", "hydra", "omegaconf"}),
        ("import pipeline.workflow.build", {"torchvision", "pytorch_lightning", "torchmetrics", "scipy"}),
    ],
)
def test_what_importing_costs(code: str, absent: set[str]) -> None:
    code = f"{code}; import sys; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert not absent & set(done.stdout.split())
