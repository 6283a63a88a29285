"""A configuration may call exact names and nothing more, whatever it contains."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline.checks.rules.initial_loss import InitialLoss
from pipeline.config.instantiate import allowed_targets, call_with_path, import_allowed, instantiate
from pipeline.errors import UserError

ROOT = Path(__file__).parents[2]
RULE = "pipeline.checks.rules.initial_loss.InitialLoss"
VALUES = {"warning": 0.5, "warning_below": 0.25, "failure": 1.0}

DANGEROUS = [
    "os.system",
    "os.path.join",
    "subprocess.Popen",
    "builtins.eval",
    "builtins.exec",
    "builtins.getattr",
    "importlib.import_module",
    "pickle.load",
    "numpy.load",
    "torch.load",
    "torch.hub.load",
    "torch.utils.cpp_extension.load",
    "torch.jit.load",
    "torch.nn",
    "torch.nn.",
    "torch.nn.Linear",
    "torch.nn.relu",
    "torch.nn.ReLU.__init__",
    "torch.nn.ReLU.forward.__globals__",
    "torch.nn.ReLU ",
    " torch.nn.ReLU",
    "torch.nn.ReLU,os.system",
    "torch.*",
    "*",
    "nn.ReLU",
    "ReLU",
    "hydra.utils.instantiate",
    "hydra.utils.get_method",
    "pipeline.config.instantiate.import_allowed",
    "pipeline.checks.CheckSuite",
    "pipeline.workflow.runner",
    "",
]


@pytest.fixture(autouse=True)
def _nothing_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIPELINE_ALLOW", raising=False)


def refused(target: Any) -> UserError:
    with pytest.raises(UserError) as error:
        import_allowed(target, "optimizer._target_")
    assert error.value.field == "optimizer._target_", target
    return error.value


def test_allowed_names() -> None:
    not_callable = [name for name in allowed_targets() if not callable(import_allowed(name, "x"))]
    assert not_callable == []


def test_other_names() -> None:
    for target in (*DANGEROUS, None, "???", 3, True, 1.5, ["torch.nn.ReLU"], {"a": 1}):
        refused(target)


def test_suggestion() -> None:
    """The error names the closest target, and how to allow the user's own."""
    message = refused("torch.optim.Adm").message
    assert "'torch.optim.Adam'" in message
    assert "PIPELINE_ALLOW=torch.optim.Adm" in message


def test_environment_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """PIPELINE_ALLOW allows exactly the names in it, and no prefixes."""
    monkeypatch.setenv("PIPELINE_ALLOW", " os.path.join , os.path.split,, ")
    assert import_allowed("os.path.join", "x") is os.path.join
    assert import_allowed("os.path.split", "x") is os.path.split
    for name in ("os.path.joinpath", "os.path", "os.path.join.x", "os.system", "", " "):
        refused(name)
    for value in ("os", "os.*", "*", "os.path.", "os.path.join;os.system"):
        monkeypatch.setenv("PIPELINE_ALLOW", value)
        refused("os.path.join")
        refused("os.system")


def test_name_that_cannot_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_such_module.Net", "lonely", "os..path", ".os.path"):
        monkeypatch.setenv("PIPELINE_ALLOW", name)
        assert "PYTHONPATH" in refused(name).message
    monkeypatch.setenv("PIPELINE_ALLOW", "json.Encoder")
    message = refused("json.Encoder").message
    assert "PYTHONPATH" not in message  # the module was found
    assert "'JSONEncoder'" in message


def test_instantiate() -> None:
    assert instantiate({"_target_": RULE, **VALUES}, "rule") == InitialLoss(0.5, 0.25, 1.0)
    partial = instantiate({"_target_": RULE, **VALUES, "_partial_": True}, "rule")
    assert isinstance(partial, functools.partial)
    assert partial.func is InitialLoss
    assert partial.keywords == VALUES


def test_nested_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_ALLOW", "builtins.dict")
    inner = {"_target_": RULE, **VALUES}
    built = instantiate({"_target_": "builtins.dict", "rule": inner, "others": {"again": inner}, "n": 3}, "x")
    assert built == {"rule": InitialLoss(0.5, 0.25, 1.0), "others": {"again": InitialLoss(0.5, 0.25, 1.0)}, "n": 3}


@pytest.mark.parametrize("node", [5, "he", None, [1]])
def test_not_a_mapping(node: Any) -> None:
    with pytest.raises(UserError) as error:
        instantiate(node, "init.weight")
    assert error.value.field == "init.weight"
    assert repr(node) in error.value.message


@pytest.mark.parametrize("partial", [True, False])
def test_unknown_argument(partial: bool) -> None:
    node = {"_target_": RULE, "warnign": 0.5, "warning_below": 0.25, "failure": 1.0, "_partial_": partial}
    with pytest.raises(UserError) as error:
        instantiate(node, "checks.rules.initial_loss")
    assert error.value.field == "checks.rules.initial_loss.warnign"
    assert "'warning'" in error.value.message
    assert "warning, warning_below, failure" in error.value.message


def test_missing_argument() -> None:
    with pytest.raises(UserError) as error:
        instantiate({"_target_": RULE, "warning": 0.5, "warning_below": 0.25}, "rule")
    assert error.value.field == "rule.failure"
    assert callable(instantiate({"_target_": RULE, "warning": 0.5, "_partial_": True}, "rule"))  # it may come later


def test_field_of_nested_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_ALLOW", "builtins.dict")
    wrong = {"_target_": RULE, **VALUES, "warning": -1}
    with pytest.raises(UserError) as error:
        instantiate({"_target_": "builtins.dict", "rule": wrong}, "checks")
    assert error.value.field == "checks.rule.warning"
    with pytest.raises(UserError) as error:
        instantiate({"_target_": "builtins.dict", "a": {"b": {"_target_": "os.system"}}}, "checks")
    assert error.value.field == "checks.a.b._target_"


def test_nested_call_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PIPELINE_ALLOW", "builtins.dict")
    made = tmp_path / "made"
    with pytest.raises(UserError):
        instantiate({"_target_": "builtins.dict", "x": {"_target_": "os.mkdir", "path": str(made)}}, "x")
    assert not made.exists()


def test_call_with_path() -> None:
    """A mistake of the user gets its path, and a bug stays what it is."""

    def wrong(value: int, *, path: str) -> None:
        raise UserError(f"{value} {path}", field="width")

    with pytest.raises(UserError) as error:
        call_with_path(wrong, "model", 3, path="p")  # `path` is an argument of the function itself
    assert str(error.value) == "model.width: 3 p"
    with pytest.raises(ZeroDivisionError):
        call_with_path(lambda: 1 / 0, "model")
    assert call_with_path(lambda a, *, b: (a, b), "model", 1, b=2) == (1, 2)


EVIL = """# @package _global_
hydra:
  job:
    env_set: {PIPELINE_ALLOW: os.mkdir}
"""


@pytest.mark.parametrize(
    "typed",
    [
        ["+hydra.job.env_set.PIPELINE_ALLOW=os.mkdir"],
        ["--config-dir", "given", "+experiment=evil"],
        ["+hydra.callbacks.mine._target_=os.mkdir", "+hydra.callbacks.mine.path=made"],
        ["--multirun", "hydra.launcher._target_=os.mkdir", "+hydra.launcher.path=made"],
    ],
    ids=["variable", "file", "callback", "launcher"],
)
def test_hydra_calls_nothing(typed: list[str], tmp_path: Path) -> None:
    """Hydra sets variables and calls targets of its own from a configuration, before the run checks anything."""
    (tmp_path / "given" / "experiment").mkdir(parents=True)
    (tmp_path / "given" / "experiment" / "evil.yaml").write_text(EVIL)
    target = ["loss.function._target_=os.mkdir", "loss.function._partial_=false", "+loss.function.path=made"]
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", *typed, "data=digits", "stage=sanity", "loss=custom", *target],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert not (tmp_path / "made").exists()
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
