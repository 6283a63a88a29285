"""`new`: a project outside this repository, and the page that describes it."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from pipeline.cli.new import TEMPLATE, new
from pipeline.config.compose import compose_config
from pipeline.config.instantiate import import_allowed
from pipeline.errors import UserError
from tests.small_run import ROOT

PAGE = (ROOT / "docs" / "own_project.md").read_text()


def files_below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def lines_of_code(path: Path) -> int:
    """Count lines that are neither empty, comments nor docstrings."""
    tree = ast.parse(path.read_text())
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    docstrings = [node.body[0] for node in ast.walk(tree) if isinstance(node, documented) and ast.get_docstring(node)]
    words = {n for node in docstrings for n in range(node.lineno, (node.end_lineno or node.lineno) + 1)}
    lines = enumerate(path.read_text().splitlines(), 1)
    return sum(bool(line.strip()) and not line.strip().startswith("#") and n not in words for n, line in lines)


@pytest.mark.parametrize("existing", [False, True])
def test_makes_the_project(existing: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "my shapes"
    if existing:
        folder.mkdir()
    assert new([str(folder)]) == 0
    made = files_below(folder)
    assert {"README.md", "pipeline.allow", "mine/data.py", "conf/experiment/first.yaml"} <= made
    assert f"cd '{folder}'" in capsys.readouterr().out
    assert len((folder / "README.md").read_text().splitlines()) <= 15
    allowed = (folder / "pipeline.allow").read_text()
    targets = re.findall(r"_target_: (\S+)", "".join(path.read_text() for path in folder.rglob("*.yaml")))
    assert len(targets) == 3
    assert all(f"\n{target}\n" in allowed for target in targets)


def test_the_users_code_is_short() -> None:
    total = sum(lines_of_code(path) for path in (TEMPLATE / "mine").glob("*.py"))
    assert total < 40
    assert f"have {total} lines of code" in PAGE


def test_refuses_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / ".hidden").touch()
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    before = files_below(tmp_path)
    for name in ("full", "file", "link", "file/below"):
        with pytest.raises(UserError) as error:
            new([str(tmp_path / name)])
        assert error.value.field == "DIR"
    assert files_below(tmp_path) == before


def test_leaves_nothing_of_a_copy_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill_disk(source: str, to: str) -> None:
        Path(to).write_text("")
        if len(list(tmp_path.rglob("*.*"))) > 3:
            raise OSError("No space left on device")

    monkeypatch.setattr(shutil, "copyfile", fill_disk)
    (tmp_path / "empty").mkdir()
    for name in ("empty", "fresh"):
        with pytest.raises(UserError):
            new([str(tmp_path / name)])
    assert [path.name for path in tmp_path.rglob("*")] == ["empty"]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a module of a name that no other test has imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PIPELINE_ALLOW", raising=False)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    (tmp_path / f"own_{tmp_path.name}").mkdir()
    (tmp_path / f"own_{tmp_path.name}" / "code.py").write_text("def f(): return 7\nclass Net: pass\n")
    return tmp_path


def test_allow_file(project: Path) -> None:
    name = f"own_{project.name}.code.f"
    with pytest.raises(UserError) as error:
        import_allowed(name, "model._target_")
    assert error.value.field == "model._target_"
    (project / "pipeline.allow").write_text(f"# mine\n\n  {name}  # a function\n")
    assert import_allowed(name, "model._target_")() == 7
    with pytest.raises(UserError):
        import_allowed(f"own_{project.name}.code.Net", "model._target_")  # a name allows no other


def test_allow_file_of_options_does_not_count(project: Path) -> None:
    """A configuration cannot allow itself."""
    (project / "conf").mkdir()
    name = f"own_{project.name}.code.f"
    (project / "conf" / "pipeline.allow").write_text(f"{name}\n")
    compose_config([], config_dir="conf")
    with pytest.raises(UserError):
        import_allowed(name, "model._target_")


@pytest.mark.parametrize("name", ["os.system", "sys.exit", "subprocess.run", "torch.load", "json.loads"])
def test_allow_file_allows_its_own_folder_only(name: str, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "pipeline.allow").write_text(f"{name}\n")
    with pytest.raises(UserError) as error:
        import_allowed(name, "x")
    assert error.value.field == "x"
    monkeypatch.setenv("PIPELINE_ALLOW", name)
    assert callable(import_allowed(name, "x"))


@pytest.mark.parametrize("line", ["mine/network.py", "mine", "mine.*", "a.b, c.d", "mine.network:Net"])
def test_allow_file_that_cannot_be_read(line: str, project: Path) -> None:
    (project / "pipeline.allow").write_text(f"{line}\n")
    with pytest.raises(UserError) as error:
        import_allowed("a.b", "x")
    assert error.value.field == "pipeline.allow"


@pytest.mark.slow
@pytest.mark.timeout(280)
def test_page(tmp_path: Path) -> None:
    """Every command of the page runs, in a fresh environment that has the wheel and not this checkout.

    The other packages come from the environment of the tests; nothing is downloaded.
    """
    clone, venv = tmp_path / "clone", tmp_path / "venv"
    clone.mkdir()
    for name in ("pipeline", "conf", "hydra_plugins", "docs/examples"):
        shutil.copytree(ROOT / name, clone / name, ignore=shutil.ignore_patterns("__pycache__", "outputs"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, clone)
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    site = next(venv.glob("lib/python*/site-packages"))
    (site / "tests.pth").write_text(sysconfig.get_paths()["purelib"])  # paths in it are not followed further
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "PIPELINE"))}
    environment |= {
        "PATH": f"{venv / 'bin'}:{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
        **{f"PIP_{name}": "1" for name in ("NO_INDEX", "NO_DEPS", "IGNORE_INSTALLED", "DISABLE_PIP_VERSION_CHECK")},
        "PIP_NO_BUILD_ISOLATION": "0",  # which means that there is none
    }
    script = ["set -e"]
    for kind, text in re.findall(r"```(console|python)\n(.*?)```", PAGE, re.DOTALL):
        if kind == "python":
            script += ["python - <<'EOF'", text, "EOF"]
        else:
            script += [line.removeprefix("$ ") for line in text.splitlines()]
    assert len(script) > 12
    script.append("pipeline --config-dir conf experiment=first stage=sanity model.width=4")  # the installed script
    (tmp_path / "page.sh").write_text("\n".join(script))
    done = subprocess.run(
        ["bash", "-x", tmp_path / "page.sh"], cwd=clone, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    shapes = clone / "shapes"
    records = [json.loads(path.read_text()) for path in sorted(shapes.glob("outputs/first/*/outcome.json"))]
    assert [record["status"] for record in records] == ["passed"] * 6
    assert records[0]["command"] == "python -m pipeline --config-dir=conf experiment=first"
    assert [stage["name"] for stage in records[0]["stages"]] == ["sanity", "overfit", "train", "evaluate"]
    where = "import pipeline; print(pipeline.__file__)"
    place = subprocess.run([venv / "bin" / "python", "-c", where], env=environment, cwd=shapes, capture_output=True)
    assert str(site) in place.stdout.decode()
