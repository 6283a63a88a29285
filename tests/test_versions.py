"""The versions that the package says it runs with: the lock is exact and within them, and the lowest ones run.

The slow tests install several GB for each claimed Python that is on PATH (`python3.10`, `python3.11`, ...), and remove
them afterwards. `UV_CACHE_DIR` names a folder that keeps the downloads for the next time.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PYTHONS = [name.rpartition(" ")[2] for name in PROJECT["classifiers"] if "Python :: 3." in name]
DEPENDENCIES = [Requirement(line) for line in PROJECT["dependencies"]]
COMPILED = ("numpy", "pillow", "scipy")
"""Packages whose lowest versions have no wheels for a newer Python; there the lowest version with a wheel is taken."""
SMALL = ["data=digits", "model=mlp", "stages.train.epochs=4"]
SEARCH = ["-m", "search=coarse", "search.rounds.coarse.trials=2", "search.rounds.coarse.epochs=1"]


def call(*command: str | Path, cwd: Path = ROOT) -> str:
    """Run a program that must succeed, and return what it prints."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


# ---------------------------------------------------------------- the lock


def locked_versions(python: str) -> dict[str, str]:
    """Return the version of each package that the lock installs for a Python on Linux."""
    lines = [line for line in (ROOT / "requirements.lock").read_text().splitlines() if line[0] not in " #"]
    pins = [Requirement(line.rstrip(" \\")) for line in lines]
    target = {"python_version": python, "python_full_version": f"{python}.0", "sys_platform": "linux"}
    chosen = [pin for pin in pins if pin.marker is None or pin.marker.evaluate(target)]
    assert all([bound.operator for bound in pin.specifier] == ["=="] for pin in chosen)
    return {pin.name: next(iter(pin.specifier)).version for pin in chosen}


@pytest.mark.parametrize("python", PYTHONS)
def test_lock_is_within_requirements(python: str) -> None:
    locked = locked_versions(python)
    extras = [line for name, lines in PROJECT["optional-dependencies"].items() if name != "bench" for line in lines]
    required = [*DEPENDENCIES, *map(Requirement, extras)]
    outside = [
        f"{requirement}, not {locked.get(requirement.name)}"
        for requirement in required
        if requirement.name != PROJECT["name"] and locked.get(requirement.name, "nothing") not in requirement.specifier
    ]
    assert outside == []


# ---------------------------------------------------------------- the lowest versions


def lower_bound(requirement: Requirement) -> Version:
    return Version(next(bound.version for bound in requirement.specifier if bound.operator == ">="))


@pytest.fixture(scope="module")
def uv() -> Iterator[Path]:
    """Return the program that can resolve to the lowest versions, in a folder that is removed afterwards."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        venv.create(folder, with_pip=True)
        pip = [f"{folder}/bin/python", "-m", "pip", "install", "--quiet", "uv"]
        done = subprocess.run(pip, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"no index to install from: pip install uv says {done.stderr[-300:]}")
        patch.setenv("UV_CACHE_DIR", os.environ.get("UV_CACHE_DIR", f"{folder}/cache"))
        yield Path(folder) / "bin" / "uv"


@pytest.fixture(scope="module", params=PYTHONS)
def lowest(uv: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """Return the programs of an environment with the built package and the lowest versions that it admits."""
    if subprocess.run([uv, "python", "find", "--no-python-downloads", request.param], capture_output=True).returncode:
        pytest.skip(f"no python{request.param} on PATH")
    folder = uv.parents[1] / f"python{request.param}"
    call(uv, "venv", "--no-python-downloads", "--python", request.param, folder)
    install = [uv, "pip", "install", "--python", folder / "bin" / "python"]
    wheels = [f"--only-binary={name}" for name in COMPILED]
    call(*install, "--resolution=lowest-direct", *wheels, "-r", ROOT / "pyproject.toml")
    call(*install, "--no-deps", ROOT)
    call(*install, "pytest", "pytest-timeout", "jsonschema")
    yield folder / "bin"
    shutil.rmtree(folder)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_lowest_versions_are_installed(lowest: Path, uv: Path) -> None:
    listed = json.loads(call(uv, "pip", "list", "--format=json", "--python", lowest / "python"))
    installed = {package["name"]: Version(package["version"]) for package in listed}
    higher = [
        f"{dependency}, not {installed[dependency.name]}"
        for dependency in DEPENDENCIES
        if dependency.name not in COMPILED and Version(installed[dependency.name].public) != lower_bound(dependency)
    ]
    assert higher == []


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_fast_path(lowest: Path, tmp_path: Path) -> None:
    call(lowest / "pipeline", *SMALL, f"outputs={tmp_path}", cwd=tmp_path)
    record = json.loads((tmp_path / "latest" / "outcome.json").read_text())
    assert record["status"] == "passed"
    assert [stage["name"] for stage in record["stages"]] == ["sanity", "overfit", "train", "evaluate"]
    assert record["stages"][-1]["metrics"]["test_accuracy"] > 0.9


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_search(lowest: Path, tmp_path: Path) -> None:
    call(lowest / "pipeline", *SEARCH, *SMALL, f"outputs={tmp_path}", cwd=tmp_path)
    (search,) = tmp_path.glob("run/search_*/search.json")
    assert [trial["state"] for trial in json.loads(search.read_text())["trials"]] == ["complete"] * 2
    assert len(json.loads(search.with_name("final.json").read_text())["trained"]) == 2


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_fast_tests(lowest: Path) -> None:
    """Warnings are errors there."""
    options = ["-m", "not slow and not nightly", "-p", "no:cacheprovider"]
    rooms = ["tests/training", "tests/device", "tests/loggers/test_confusion_image.py"]
    call(lowest / "python", "-m", "pytest", *options, *rooms)
