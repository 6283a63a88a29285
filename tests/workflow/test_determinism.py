"""What `trainer.deterministic=true` sets, and what it cannot hold."""

from __future__ import annotations

import os
import warnings

import pytest
import torch

from pipeline.stages.train import Train
from pipeline.workflow.process_setup import deterministic_algorithms, fix_cublas_workspace
from tests.small_run import MakeRun


def test_deterministic_algorithms() -> None:
    """torch's settings hold inside the block alone, and operations without a deterministic form are named once."""

    def settings() -> tuple[bool, ...]:
        cudnn = torch.backends.cudnn
        return torch.are_deterministic_algorithms_enabled(), cudnn.deterministic, cudnn.benchmark

    before = settings()
    with deterministic_algorithms(False) as operations:
        assert settings() == before
    with deterministic_algorithms(True) as operations:
        assert settings() == (True, True, False)
        for _ in range(2):
            torch.zeros(3).put_(torch.tensor([0]), torch.ones(1), accumulate=False)
        with pytest.warns(UserWarning, match="mine"):
            warnings.warn("mine", stacklevel=1)
        with deterministic_algorithms(True) as inner:
            torch.zeros(3).put_(torch.tensor([0]), torch.ones(1), accumulate=False)
        assert settings() == (True, True, False)
    assert (operations, inner) == (["put_"], ["put_"])
    assert settings() == before


def test_cublas_workspace_is_the_users_where_it_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    fix_cublas_workspace()
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    fix_cublas_workspace()
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"


class Puts(torch.nn.Module):
    """A network with an operation that torch cannot compute in a fixed order."""

    def __init__(self, shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        self.output = torch.nn.Linear(shape[0] * shape[1] * shape[2], classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        torch.zeros(3).put_(torch.tensor([0]), torch.ones(1), accumulate=False)
        return self.output(x.flatten(1))


def test_the_training_names_such_operations(small_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    stage = Train(epochs=1, break_factor=3.0, patience=None, monitor="val_accuracy")
    small = small_run("trainer.deterministic=true", make_network=lambda: Puts((1, 8, 8), 10))
    outcome = stage(*small, [])
    assert outcome.signals["nondeterministic_operations"] == ["put_"]
    assert [finding.where for finding in outcome.findings if finding.check == "nondeterministic_operations"] == ["put_"]
    assert not torch.are_deterministic_algorithms_enabled()
    plain = stage(*small_run(make_network=lambda: Puts((1, 8, 8), 10)), [])
    assert "nondeterministic_operations" not in plain.signals
