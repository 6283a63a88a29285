"""What must never get worse: which room may import which, and what importing costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "pipeline"
FILES = sorted(
    path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py"
)  # which offers, lazily, the top

FLOORS = [
    {"errors"},
    {"validation"},
    {"workflow.interrupt"},
    {"runs", "checks", "signals"},
    {"search.records"},
    {"runs.index"},
    {"config"},
    {"data", "loggers"},
    {"model"},
    {"training.device", "training.schedule", "training.optimizer_args", "training.compile", "training.largest_batch"},
    {"training.batch_size", "training.lightning_module"},
    {"workflow.components", "workflow.build"},
    {"training"},
    {"workflow.memory"},
    {"stages"},
    {"workflow.attempt", "workflow.autofix"},
    {"workflow.sequence", "predictor"},
    {"report"},
    {"workflow"},
    {"search"},
    {"training.ddp_worker"},
    {"cli"},
    {"__main__"},
]
"""From the ground up: a room, or a file of one, imports from its own floor and those below."""
HEIGHT = {room: height for height, rooms in enumerate(FLOORS) for room in rooms}
CONFIGURATION = {"hydra", "omegaconf"}
KNOW_HYDRA = {
    *("workflow/build.py", "workflow/runner.py", "__main__.py"),
    *(f"config/{name}.py" for name in ("plain", "experiments", "compose")),
    *(f"cli/{name}.py" for name in ("completion", "diagnose", "check_docs")),
    *(f"search/{name}.py" for name in ("space/space", "space/trial_configs", "plan", "run", "session")),
}


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def module_of(path: Path) -> str:
    return name_of(path).removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def room_of(path: Path) -> str:
    return module_of(path).partition(".")[0]


def floor_of(module: str) -> str:
    """The entry of `FLOORS` that holds a module: its own, or its room's."""
    own = ".".join(module.split(".")[:2])
    return own if own in HEIGHT else module.partition(".")[0]


def imports(path: Path) -> Iterator[str]:
    """Dotted names of all modules imported anywhere in the file, also inside functions and for types only."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def modules_imported(path: Path) -> set[str]:
    return {name.removeprefix("pipeline.") for name in imports(path) if name.startswith("pipeline.")}


def rooms_imported(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in modules_imported(path)}


def packages_imported(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imports(path)}


each_file = pytest.mark.parametrize("path", FILES, ids=name_of)


def test_the_plan_knows_every_room() -> None:
    assert {floor_of(module_of(path)) for path in FILES} <= HEIGHT.keys()


@each_file
def test_imports_point_downwards(path: Path) -> None:
    here = HEIGHT[floor_of(module_of(path))]
    upwards = {name for name in modules_imported(path) if HEIGHT[floor_of(name)] > here}
    assert not upwards


@each_file
def test_rooms_of_numbers_know_no_networks(path: Path) -> None:
    if room_of(path) in ("checks", "signals"):
        assert not rooms_imported(path) & {"data", "model", "training", "workflow", "stages"}
    quick = ("checks", "errors", "validation", "runs", "config", "cli", "__main__")
    if room_of(path) in quick and name_of(path) != "runs/images.py":
        assert not packages_imported(path) & {"torch", "torchvision", "pytorch_lightning", "numpy"}


@each_file
def test_only_the_top_knows_hydra(path: Path) -> None:
    if name_of(path) not in KNOW_HYDRA:
        assert not packages_imported(path) & CONFIGURATION


@each_file
def test_only_one_file_turns_names_into_code(path: Path) -> None:
    if name_of(path) != "config/instantiate.py":
        assert not packages_imported(path) & {"importlib", "pkgutil", "runpy"} - _metadata(path)
        assert not {"hydra.utils", "hydra.utils.instantiate", "hydra.utils.get_class"} & set(imports(path))


def _metadata(path: Path) -> set[str]:
    """What reads versions, looks for packages or opens files loads nothing."""
    names = {name for name in imports(path) if name.split(".")[0] == "importlib"}
    return (
        {"importlib"}
        if all(
            name.startswith(("importlib.metadata", "importlib.resources", "importlib.util.find_spec")) for name in names
        )
        else set()
    )


@each_file
def test_no_room_for_odds_and_ends(path: Path) -> None:
    parts = {part.removesuffix(".py").strip("_") for part in path.relative_to(PACKAGE).parts}
    assert not parts & {"utils", "util", "common", "helpers", "helper", "misc"}


@each_file
def test_the_device_is_never_written_down(path: Path) -> None:
    called = {
        node.func.attr
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }
    assert "cuda" not in called


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import pipeline", {"torch", "numpy", "hydra", "rich"}),
        ("import pipeline.__main__", {"torch", "torchvision", "pytorch_lightning", "numpy", "hydra", "omegaconf"}),
        (
            "from pipeline.config.compose import compose_config; compose_config(['data=digits'])",
            {"torch", "pytorch_lightning", "numpy"},
        ),
        ("import pipeline.cli.diagnose", {"torch", "torchvision", "pytorch_lightning", "numpy"}),
        ("import pipeline.checks", {"torch", "numpy", "hydra", "omegaconf"}),
        ("import pipeline.workflow.build", {"torchvision", "pytorch_lightning", "torchmetrics"}),
    ],
)
def test_what_importing_does_not_cost(code: str, absent: set[str]) -> None:
    told = f"{code}; import sys; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, cwd=ROOT, check=True)
    assert not absent & set(done.stdout.split())
