"""What an addition costs: the files that one writes for it are all that has to change.

Each addition is made in a copy of the tree. One run then uses all of them.
"""

from __future__ import annotations

import filecmp
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]

ACTIVATION = {
    "conf/activation/tanhshrink.yaml": """
# x - tanh(x).
_target_: torch.nn.Tanhshrink
_partial_: true
"""
}
DATA_SET = {
    "conf/data/stripes.yaml": """
# Stripes, in a file that is laid out as data=npz wants it.
defaults: [base, {override /augmentation@_global_.augmentation: none}, _self_]
path: stripes.npz
source:
  _target_: pipeline.data.sources.npz.npz
  path: ${data.path}
  scale: ${data.scale}
"""
}
OPTIMIZER = {
    "conf/optimizer/rprop.yaml": """
# Rprop: steps by the sign of the gradient alone.
_target_: torch.optim.Rprop
_partial_: true
lr: 0.001                       # The first step.
"""
}
CHECK = {
    "pipeline/checks/rules/few_parameters.py": '''
from __future__ import annotations

from dataclasses import dataclass

from pipeline import validation
from pipeline.checks.finding import Finding
from pipeline.checks.rule import Rule
from pipeline.signals.schema import Signals


@dataclass(frozen=True)
class FewParameters(Rule):
    """Anti-pattern: a network with hardly any parameters.

    Fires when it has fewer than `min_parameters` tensors.
    """

    check = "few_parameters"
    reads = ("parameters",)
    severities = ("info",)
    why = "It cannot learn much."
    source = "a test"

    min_parameters: int

    def __post_init__(self) -> None:
        validation.integer("min_parameters", self.min_parameters, at_least=1)

    def __call__(self, signals: Signals) -> Finding | None:
        n = signals.get("parameters")
        if n is None or n >= self.min_parameters:
            return None
        return self.finding("info", measured={"parameters": float(n)}, expected="more", message=f"{n} tensors.")
''',
    "conf/checks/default.yaml": """  few_parameters:
    _target_: pipeline.checks.rules.few_parameters.FewParameters
    min_parameters: 1000        # tensors of the network
""",  # appended
}
STAGE = {
    "pipeline/stages/count.py": '''
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.workflow.components import Components, RunContext, Stage
from pipeline.workflow.outcome import Outcome


@dataclass(frozen=True)
class Count(Stage):
    """Count the training examples."""

    at_least: int

    def __call__(self, components: Components, context: RunContext, earlier: Sequence[Outcome]) -> Outcome:
        n = len(components.data.train)
        return Outcome("count", n >= self.at_least, 0.0, f"{n} training examples", {"examples": n})
''',
    "conf/stage/count.yaml": """
# @package stages.count
# Count the training examples.
_target_: pipeline.stages.count.Count
at_least: 10                    # The stage fails with fewer.
""",
}
LOGGER = {
    "pipeline/loggers/lines.py": '''
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.loggers.base import LoggedRun, Logger, Writer


@dataclass(frozen=True)
class Lines(Logger):
    """Write one line for each call."""

    def open(self, run: LoggedRun, state: Mapping[str, Any] | None) -> Writer:
        return LinesWriter(run)


class LinesWriter(Writer):
    def __init__(self, run: LoggedRun):
        super().__init__()
        run.logs.mkdir(parents=True, exist_ok=True)
        self.path = run.logs / "lines.txt"

    def log_scalars(self, values: Mapping[str, float], step: int) -> None:
        with self.path.open("a") as file:
            file.write(f"{step} {sorted(values)}\\n")

    def close(self, status: str, scores: Mapping[str, float]) -> None:
        self.path.open("a").write(f"end {status}\\n")
''',
    "conf/logger/lines.yaml": """
# @package logger.lines
# One line for each call.
_target_: pipeline.loggers.lines.Lines
""",
    # and an extra in pyproject.toml if the logger needs a package
}
ADDITIONS = {
    "activation": (ACTIVATION, 1),
    "data set": (DATA_SET, 1),
    "optimizer": (OPTIMIZER, 1),
    "check": (CHECK, 2),
    "stage": (STAGE, 2),
    "logger": (LOGGER, 2),
}
"""The files of each addition (text is appended to a file that exists), and how many there may be."""


class Tree(NamedTuple):
    """A copy of the program with all additions, and a run of it."""

    root: Path
    done: subprocess.CompletedProcess[str]

    @property
    def run_dir(self) -> Path:
        return (self.root / "work" / "outputs" / "latest").resolve()


def start(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pipeline", *arguments],
        cwd=root / "work",
        env=os.environ | {"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    root = tmp_path_factory.mktemp("tree")
    for folder in ("pipeline", "conf", "hydra_plugins"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for files, _ in ADDITIONS.values():
        for name, text in files.items():
            with (root / name).open("a") as file:
                file.write(text.removeprefix("\n"))
    (root / "work").mkdir()
    y = np.arange(120) % 2
    x = np.zeros((120, 8, 8), dtype=np.uint8)
    x[y == 0, ::2], x[y == 1, :, ::2] = 200, 200
    np.savez(root / "work" / "stripes.npz", x_train=x, y_train=y)
    options = ["activation=tanhshrink", "data=stripes", "optimizer=rprop", "logger=lines"]
    stages = ["stage=[sanity,count,train]", "stages.train.epochs=1", "schedule=constant"]
    small = ["model=mlp", "model.width=8", "trainer=cpu", "data.batch_size=16", "regularization=none", "verbose=0"]
    return Tree(root, start(root, *options, *stages, *small))


def changed_files(old: Path, new: Path) -> Iterator[str]:
    comparison = filecmp.dircmp(old, new, ignore=["__pycache__"])
    yield from (str(new / name) for name in (*comparison.right_only, *comparison.diff_files))
    for name in comparison.common_dirs:
        yield from changed_files(old / name, new / name)


def test_number_of_files(tree: Tree) -> None:
    """No other file has to change."""
    changed = {
        Path(path).relative_to(tree.root).as_posix()
        for folder in ("pipeline", "conf", "hydra_plugins")
        for path in changed_files(ROOT / folder, tree.root / folder)
    }
    assert changed == {name for files, _ in ADDITIONS.values() for name in files}
    for files, n in ADDITIONS.values():
        assert len(files) == n


def test_run(tree: Tree) -> None:
    assert tree.done.returncode in (0, 3), tree.done.stderr
    record = json.loads((tree.run_dir / "outcome.json").read_text())
    stages = {stage["name"]: stage for stage in record["stages"]}
    assert list(stages) == ["sanity", "count", "train"]
    assert stages["count"]["metrics"]["examples"] == record["data"]["sizes"]["train"]
    assert "few_parameters" in {finding["check"] for finding in stages["sanity"]["findings"]}
    assert "end " in (tree.run_dir / "logs" / "lines.txt").read_text()
    assert "count" in (tree.run_dir / "report.html").read_text()


def test_commands(tree: Tree) -> None:
    """Help, completion and the description of the check know the additions."""
    page = start(tree.root, "--help").stdout
    for option in ("tanhshrink", "stripes", "rprop", "count", "lines"):
        assert f"    {option} " in page
    assert start(tree.root, "completion", "--answer", "pipeline optimizer=rp").stdout == "optimizer=rprop\n"
    assert "min_parameters" in start(tree.root, "explain", "few_parameters").stdout
    assert start(tree.root, "diagnose", "latest", "checks.rules.few_parameters.min_parameters=1").returncode in (0, 3)
