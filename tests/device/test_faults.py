"""Four faults that no test on the CPU can see, and that stopped every run on a GPU: each of them is found here.

Two moved the preprocessing that all stages of a run share, and two left a tensor where it was.
"""

from __future__ import annotations

import pytest
import torch

from pipeline.data import Preprocessing
from pipeline.stages.sanity import Sanity
from pipeline.stages.signals_of_training import measure_input_std
from pipeline.training import lightning_module
from pipeline.workflow.build import build_from_dict
from pipeline.workflow.components import Components
from tests.resumed_training import train
from tests.simulated_device import NAME as DEVICE
from tests.small_run import MakeRun, SmallRun

SMALL = ("trainer=gpu", "trainer.precision=32-true", "init=lsuv")
SANITY = Sanity(examples=32, fit_examples=8, fit_steps=1, fit_rounds=1, fit_lr=0.002, penalty_factors=[1])
MIX = "Expected all tensors to be on the same device"


def place_of(small: SmallRun) -> set[str]:
    """Return the kinds of device that the preprocessing of the run is on."""
    return {buffer.device.type for buffer in small.components.preprocessing.buffers()}


@pytest.fixture
def _on_moves_the_original(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `preprocessing.on(device)` do what `preprocessing.to(device)` does."""
    copy_to = Preprocessing.on
    monkeypatch.setattr(Preprocessing, "on", lambda self, to: (copy_to if to == "cpu" else Preprocessing.to)(self, to))


def test_sanity_moves_nothing(small_run: MakeRun) -> None:
    small = small_run(*SMALL)
    SANITY(*small, [])
    assert place_of(small) == {"cpu"}


@pytest.mark.usefixtures("_on_moves_the_original")
def test_sanity_that_moves_it(small_run: MakeRun) -> None:
    small = small_run(*SMALL)
    SANITY(*small, [])
    assert place_of(small) == {DEVICE}


def test_signals_move_nothing(small_run: MakeRun) -> None:
    small = small_run(*SMALL)
    assert measure_input_std(small.components) == measure_input_std(small_run("trainer=cpu").components)
    assert place_of(small) == {"cpu"}


@pytest.mark.usefixtures("_on_moves_the_original")
def test_signals_that_move_it(small_run: MakeRun) -> None:
    small = small_run(*SMALL)
    measure_input_std(small.components)
    assert place_of(small) == {DEVICE}


@pytest.fixture
def moved(small_run: MakeRun) -> Components:
    """Return components whose preprocessing someone has moved to the device."""
    components = build_from_dict(small_run(*SMALL).components.config)
    components.preprocessing.to(DEVICE)
    return components


def test_network_is_made_wherever_the_preprocessing_is(small_run: MakeRun, moved: Components) -> None:
    """An init that looks at data gets images of the host."""
    expected = small_run(*SMALL).components.make_network()
    network = moved.make_network()
    assert all(map(torch.equal, network.state_dict().values(), expected.state_dict().values()))


def test_network_of_moved_preprocessing(moved: Components, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Preprocessing, "on", lambda self, device: self)
    with pytest.raises(RuntimeError, match=MIX):
        moved.make_network()


def test_index_of_the_host(small_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """Examples of the device are scored by an index that is moved there."""
    split = lightning_module.split_batches
    monkeypatch.setattr(lightning_module, "split_batches", lambda index, size: split(index.cpu(), size))
    with pytest.raises(RuntimeError, match=MIX):
        train(1)(*small_run(*SMALL), [])
