"""What a configuration may call: exact names, nothing more, whatever the configuration says."""

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
    "pipeline.config.instantiate.locate",
    "pipeline.checks.Checks",
    "pipeline.workflow.runner",
    "",
]


@pytest.fixture(autouse=True)
def nothing_of_the_users_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIPELINE_ALLOW", raising=False)


def refused(target: Any) -> UserError:
    with pytest.raises(UserError) as error:
        import_allowed(target, "optimizer._target_")
    assert error.value.field == "optimizer._target_"
    return error.value


@pytest.mark.parametrize("name", sorted(allowed_targets()))
def test_every_name_on_the_list_leads_to_something_callable(name: str) -> None:
    assert callable(import_allowed(name, "x"))


@pytest.mark.parametrize("name", DANGEROUS)
def test_nothing_else_is_called(name: str) -> None:
    assert "not on the list" in refused(name).message


@pytest.mark.parametrize("target", [None, "???"])
def test_a_target_that_is_not_given(target: Any) -> None:
    assert "give the dotted name" in refused(target).message


@pytest.mark.parametrize("target", [3, True, 1.5, ["torch.nn.ReLU"], {"a": 1}])
def test_a_target_that_is_no_name(target: Any) -> None:
    refused(target)


def test_the_nearest_name_and_the_way_to_allow_it_are_said() -> None:
    problem = refused("torch.optim.Adm").message
    assert "Did you mean 'torch.optim.Adam'" in problem
    assert "PIPELINE_ALLOW=torch.optim.Adm" in problem


def test_the_variable_opens_exactly_the_names_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_ALLOW", " os.path.join , os.path.split,, ")
    assert import_allowed("os.path.join", "x") is os.path.join
    assert import_allowed("os.path.split", "x") is os.path.split
    for name in ("os.path.joinpath", "os.path", "os.path.join.x", "os.system", "", " "):
        refused(name)


@pytest.mark.parametrize("opened", ["os", "os.*", "*", "os.path.", "os.path.join;os.system"])
def test_the_variable_knows_no_prefixes(opened: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_ALLOW", opened)
    refused("os.path.join")
    refused("os.system")


@pytest.mark.parametrize("name", ["no_such_module.Net", "os.no_such_name", "lonely", "os..path", ".os.path"])
def test_an_allowed_name_that_leads_nowhere(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_ALLOW", name)
    problem = refused(name).message
    assert "cannot import" in problem
    assert "PYTHONPATH" in problem


def test_a_node_is_built_from_the_inside() -> None:
    node = {"_target_": RULE, "warning": 0.5, "warning_below": 0.25, "failure": 1.0}
    assert instantiate(node, "rule") == InitialLoss(0.5, 0.25, 1.0)
    later = instantiate(node | {"_partial_": True}, "rule")
    assert isinstance(later, functools.partial)
    assert later.func is InitialLoss
    assert later.keywords == {"warning": 0.5, "warning_below": 0.25, "failure": 1.0}


def test_inner_nodes_are_built_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_ALLOW", "builtins.dict")
    inner = {"_target_": RULE, "warning": 0.5, "warning_below": 0.25, "failure": 1.0}
    built = instantiate({"_target_": "builtins.dict", "rule": inner, "others": {"again": inner}, "n": 3}, "x")
    assert built == {"rule": InitialLoss(0.5, 0.25, 1.0), "others": {"again": InitialLoss(0.5, 0.25, 1.0)}, "n": 3}


@pytest.mark.parametrize("partial", [True, False])
def test_an_unknown_argument_is_named_as_typed(partial: bool) -> None:
    node = {"_target_": RULE, "warnign": 0.5, "warning_below": 0.25, "failure": 1.0, "_partial_": partial}
    with pytest.raises(UserError) as error:
        instantiate(node, "checks.rules.initial_loss")
    assert error.value.field == "checks.rules.initial_loss.warnign"
    assert "Did you mean 'warning'" in error.value.message
    assert "It takes: warning, warning_below, failure." in error.value.message


def test_a_missing_argument_is_named() -> None:
    with pytest.raises(UserError) as error:
        instantiate({"_target_": RULE, "warning": 0.5, "warning_below": 0.25}, "rule")
    assert error.value.field == "rule.failure"
    assert callable(instantiate({"_target_": RULE, "warning": 0.5, "_partial_": True}, "rule"))  # may come later


def test_the_fields_of_inner_nodes_are_seen_from_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_ALLOW", "builtins.dict")
    wrong = {
        "_target_": "builtins.dict",
        "rule": {"_target_": RULE, "warning": -1, "warning_below": 0.25, "failure": 1.0},
    }
    with pytest.raises(UserError) as error:
        instantiate(wrong, "checks")
    assert error.value.field == "checks.rule.warning"
    with pytest.raises(UserError) as error:
        instantiate({"_target_": "builtins.dict", "a": {"b": {"_target_": "os.system"}}}, "checks")
    assert error.value.field == "checks.a.b._target_"


def test_an_inner_call_is_refused_before_anything_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PIPELINE_ALLOW", "builtins.dict")
    made = tmp_path / "made"
    with pytest.raises(UserError):
        instantiate({"_target_": "builtins.dict", "x": {"_target_": "os.mkdir", "path": str(made)}}, "x")
    assert not made.exists()


def test_build_prefixes_the_users_errors_and_lets_bugs_through() -> None:
    def wrong(value: int, *, path: str) -> None:
        raise UserError(f"{value} {path}", field="width")

    with pytest.raises(UserError) as error:
        call_with_path(wrong, "model", 3, path="p")  # `path` is the function's own
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
def test_a_configuration_cannot_open_the_list(typed: list[str], tmp_path: Path) -> None:
    """Hydra sets variables and calls targets of its own from the configuration, before the run looks at anything."""
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
