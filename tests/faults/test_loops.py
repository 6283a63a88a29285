"""The watched loops are well-formed and train, and a fault and its twin run under preflight and watch."""

from __future__ import annotations

import inspect

import pytest

from tests.faults.__main__ import main
from tests.faults.case import Case
from tests.faults.loops.cases import loop_cases, loops, module_cases
from tests.faults.loops.loop import Loop, NoWatcher
from tests.faults.loops.run import build_loop, run_watched
from tests.faults.run import Record
from tests.faults.score import rows_of, totals_by_group
from tests.faults.table import missed_targets
from tests.faults.test_cases import CASES, CHECKS

LOOPS = loops()
WATCHED = loop_cases()


class Counting(NoWatcher):
    """Counts the calls that a loop makes."""

    def __init__(self) -> None:
        self.steps = self.backwards = self.epochs = 0

    def step(self):  # type: ignore[no-untyped-def]
        self.steps += 1
        return super().step()

    def backward_done(self, loss, outputs, labels) -> None:  # type: ignore[no-untyped-def]
        self.backwards += 1

    def epoch(self, **values: float) -> None:
        self.epochs += 1


def test_loops_are_well_formed() -> None:
    """There are many faults; each says what is expected, and derives from a sound loop that is a case too."""
    faults = {name: case for name, case in WATCHED.items() if not case.healthy}
    assert len(faults) >= 20
    assert len(WATCHED) - len(faults) >= 10
    for name, case in WATCHED.items():
        assert inspect.getdoc(LOOPS[name]), name
        if case.healthy:
            assert 0.6 <= case.floor < 1, name
            continue
        assert WATCHED[str(case.twin)].healthy, name
        assert not LOOPS[name].visible or case.expect <= CHECKS, name
        assert case.also_right <= CHECKS, name


@pytest.mark.parametrize("name", list(WATCHED))
def test_loop_trains(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One epoch of 96 examples calls the watcher at each step and at the end."""
    loop: type[Loop] = LOOPS[name]
    monkeypatch.setattr(loop, "epochs", 1)
    watcher, built = Counting(), loop(0)
    x, y = built.training_set
    built.training_set = (x[:96], y[:96])
    score = built.train(watcher)
    assert isinstance(score, float)
    assert watcher.steps == 96 // loop.batch_size
    assert watcher.backwards >= watcher.steps
    assert watcher.epochs == 1


def test_sound_loop_learns_and_its_fault_does_not() -> None:
    scores = {
        name: run_watched(WATCHED[name], 0, None, ("checks=off",)).score for name in ("Regression", "BroadcastHuber")
    }
    assert (scores["Regression"] or 0) >= WATCHED["Regression"].floor
    assert (scores["BroadcastHuber"] or 0) < 0.2


def test_networks_of_other_cases_can_be_watched() -> None:
    """Faults of the network or the loss alone come along, with their twins; those of options and data do not."""
    cases = module_cases()
    assert {"softmax_before_loss_mlp", "module_mlp", "summed_loss_mlp", "tower_in_a_list"} <= cases.keys()
    assert not {"rate_x100_momentum", "labels_shuffled", "zeros_mlp", "relu_output_small_rate"} & cases.keys()
    loop = build_loop(cases["summed_loss_mlp"], 0)
    x, y = loop.training_set
    assert loop.loss(loop.network(x[:8]), y[:8]).item() > 8.0  # the case's own loss: a sum of eight


def test_targets_of_seen_and_unseen_cases() -> None:
    """9 of 10 unseen faults found are enough, and of the seen ones they are not."""

    def rows(*, seen: bool):  # type: ignore[no-untyped-def]
        case = Case("one", "f", expect=frozenset({"dead_units"}), set="old" if seen else "new", seen=seen, seeds=10)
        found = (("dead_units", "warning", "train"),)
        records = [Record("one", seed, "passed", found if seed else (), 0.5, 1.0) for seed in range(10)]
        return rows_of({"one": case}, records)

    assert missed_targets(rows(seen=False)) == []
    assert [missed.partition(" ")[0] for missed in missed_targets(rows(seen=True))] == ["seen:"]
    assert totals_by_group(rows(seen=True)).keys() == {"old", "seen"}


def test_lists(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list", "--watched", "--only", "ZeroGradBefore"]) == 0
    assert capsys.readouterr().out.split() == ["loops", "Clothes", "loops", "ZeroGradBeforeStep"]
    assert main(["--list", "--sets", "world"]) == 0
    listed = {line.split()[1] for line in capsys.readouterr().out.splitlines()}
    assert {name for name, case in CASES.items() if case.set == "world"} <= listed
    assert "zeros_mlp" not in listed


def test_fault_and_twin_under_preflight_and_watch() -> None:
    """A loop without `zero_grad` is found, its twin has no finding, and both train to the end."""
    fault, twin = (run_watched(WATCHED[name], 0) for name in ("ZeroGradMissing", "PlainDigits"))
    assert fault.first_check in WATCHED["ZeroGradMissing"].expect
    assert fault.ended == twin.ended == "passed"
    assert twin.findings == ()
    assert (twin.score or 0) >= WATCHED["PlainDigits"].floor


def test_loop_that_stops_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the loop is a crash unless a finding has named the cause, and what was found before it counts."""

    def raise_error(self: Loop, watcher: object) -> float:
        raise IndexError("of the loop")

    monkeypatch.setattr(Loop, "train", raise_error)
    sound, fault = (run_watched(WATCHED[name], 0) for name in ("PlainDigits", "ZeroStart"))
    assert (sound.ended, sound.findings) == ("crashed", ())
    assert fault.ended == "failed"
    assert fault.first_check == "symmetric_units"
