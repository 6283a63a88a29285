"""`pipeline.watch` in bare loops: what it finds, what it costs the loop, and what it leaves behind."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import pipeline
from pipeline.report.run_page import write_report
from pipeline.watching import Watch
from tests.watching.models import CLASSES, ListedLayers, batch, convnet, images, mlp

SCHEMA = json.loads((Path(__file__).resolve().parents[2] / "docs" / "outcome.schema.json").read_text())


class Loop:
    """A plain training loop, every line of which a test can replace."""

    def __init__(self, model: nn.Module | None = None, *, lr: float = 0.1, epochs: int = 6, **watch: Any):
        self.model = model or mlp()
        self.x, self.y = batch(512)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=lr, momentum=0.5)
        self.epochs, self.arguments = epochs, {"classes": CLASSES, "every": 10, "policy": "silent"} | watch
        self.logits = torch.zeros(0)

    def clear(self) -> None:
        self.optimizer.zero_grad()

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        self.logits = self.model(x)
        return F.cross_entropy(self.logits, y)

    def backward(self, loss: Tensor) -> None:
        loss.backward()

    def update(self) -> None:
        self.optimizer.step()

    def before_epoch(self) -> None:
        self.model.train()

    def evaluate(self) -> dict[str, float]:
        self.model.eval()
        x, y = batch(200, seed=5)
        with torch.no_grad():
            outputs = self.model(x)
        return {
            "val_loss": float(F.cross_entropy(outputs, y)),
            "val_accuracy": float((outputs.argmax(1) == y).float().mean()),
            "val_examples": 200,
        }

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.randperm(len(self.x), generator=torch.Generator().manual_seed(0))
        for index in order.split(32):
            yield self.x[index], self.y[index]

    def run(self, watched: bool = True) -> Watch:
        torch.manual_seed(0)
        w = pipeline.watch(self.model, self.optimizer, epochs=self.epochs, **self.arguments)
        with w if watched else nullcontext():
            for _ in range(self.epochs):
                self.before_epoch()
                for x, y in self.batches():
                    with w.step() if watched else nullcontext():
                        self.step(w if watched else None, x, y)
                metrics = self.evaluate()
                if watched:
                    w.epoch(**metrics)
                    if w.should_stop:
                        break
        return w

    def step(self, w: Watch | None, x: Tensor, y: Tensor) -> None:
        self.clear()
        loss = self.forward(x, y)
        self.backward(loss)
        if w:
            w.backward_done(loss, self.logits, y)
        self.update()


def first(w: Watch) -> str | None:
    serious = [finding.check for finding in w.findings if finding.severity != "info"]
    return serious[0] if serious else None


# ------------------------------------------------------------------ sound loops


def test_a_sound_loop_has_no_finding() -> None:
    w = Loop().run()
    assert [f.check for f in w.findings if f.severity != "info"] == []
    signals = w.signals(running=False)
    assert len(signals["losses"]) == len(signals["accuracies"]) == 6 * 16
    assert signals["train_examples"] == 512
    assert signals["samples"]["step"] == [1, 10, 20, 25, 30, 40, 50, 60, 70, 80, 90]
    assert signals["epochs"]["step"] == [16, 32, 48, 64, 80, 96]
    assert signals["chance_loss"] == pytest.approx(1.386, abs=0.01)


@pytest.mark.parametrize("watched", [True, False])
def test_the_training_is_the_same_with_and_without(watched: bool) -> None:
    reference = Loop(convnet_of_rows())
    reference.run(watched=False)
    loop = Loop(convnet_of_rows())
    loop.run(watched=watched)
    for before, after in zip(reference.model.state_dict().values(), loop.model.state_dict().values(), strict=True):
        assert torch.equal(before, after)
    assert all(not module._forward_hooks and not module._forward_pre_hooks for module in loop.model.modules())
    assert not loop.optimizer._optimizer_step_pre_hooks


def convnet_of_rows() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Unflatten(1, (1, 4, 5)), nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4),
                         nn.ReLU(), nn.Flatten(), nn.Dropout(0.1), nn.Linear(80, CLASSES))  # fmt: skip


def accumulating() -> Loop:
    class Accumulating(Loop):
        passes = 0

        def clear(self) -> None:
            if self.passes % 4 == 0:
                self.optimizer.zero_grad()
            self.passes += 1

        def backward(self, loss: Tensor) -> None:
            (loss / 4).backward()

        def update(self) -> None:
            if self.passes % 4 == 0:
                self.optimizer.step()

    return Accumulating(epochs=12)


def two_passes_in_a_step() -> Loop:
    class TwoPasses(Loop):
        def step(self, w: Watch | None, x: Tensor, y: Tensor) -> None:
            self.clear()
            for part, labels in zip(x.split(16), y.split(16), strict=True):
                loss = self.forward(part, labels)
                self.backward(loss / 2)
                assert w is not None
                w.backward_done(loss, self.logits, labels)
            self.update()

    return TwoPasses()


def clearing_after_the_step() -> Loop:
    class ClearingAfter(Loop):
        def clear(self) -> None:
            pass

        def update(self) -> None:
            self.optimizer.step()
            self.optimizer.zero_grad()

    return ClearingAfter()


def without_optimizer() -> Loop:
    loop = Loop()
    own, loop.arguments = loop.optimizer, loop.arguments
    loop.update = own.step  # type: ignore[method-assign]
    run = loop.run

    def run_without(watched: bool = True) -> Watch:
        loop.optimizer = None  # type: ignore[assignment]
        loop.clear = own.zero_grad  # type: ignore[method-assign]
        return run(watched)

    loop.run = run_without  # type: ignore[method-assign]
    return loop


def with_scaler() -> Loop:
    class Scaled(Loop):
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**30, enabled=True)

        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            with torch.autocast("cpu", torch.bfloat16):
                return super().forward(x, y)

        def backward(self, loss: Tensor) -> None:
            self.scaler.scale(loss).backward()

        def update(self) -> None:
            self.scaler.step(self.optimizer)
            self.scaler.update()

    return Scaled()


SOUND = {
    "accumulating": accumulating,
    "two passes in a step": two_passes_in_a_step,
    "clearing after the step": clearing_after_the_step,
    "without an optimizer": without_optimizer,
    "mixed precision": with_scaler,
    "batchnorm and dropout": lambda: Loop(convnet_of_rows(), epochs=8),
}


@pytest.mark.parametrize("name", SOUND)
def test_other_sound_loops(name: str) -> None:
    w = SOUND[name]().run()
    assert [f.check for f in w.findings if f.severity != "info"] == []
    assert len(w.recorder.samples["step"]) >= 3


# ------------------------------------------------------------------ faults of the loop


class NeverClears(Loop):
    def clear(self) -> None:
        pass


class ClearsEarly(Loop):
    def update(self) -> None:
        self.optimizer.zero_grad()
        self.optimizer.step()


class StepsBeforeBackward(Loop):
    def step(self, w: Watch | None, x: Tensor, y: Tensor) -> None:
        self.clear()
        loss = self.forward(x, y)
        self.update()
        self.backward(loss)
        if w:
            w.backward_done(loss, self.logits, y)


class ClearsBetweenParts(Loop):
    """Gradients are cleared before each of the four passes of an update."""

    passes = 0

    def update(self) -> None:
        self.passes += 1
        if self.passes % 4 == 0:
            self.optimizer.step()


class NeverSteps(Loop):
    def update(self) -> None:
        pass


class StaysInEvaluation(Loop):
    def before_epoch(self) -> None:
        pass


class EvaluatesInTraining(Loop):
    def evaluate(self) -> dict[str, float]:
        return super().evaluate()


def evaluates_in_training() -> Loop:
    loop = Loop(convnet_of_rows())
    loop.model.eval = lambda: loop.model  # type: ignore[method-assign, assignment]
    return loop


def stays_in_evaluation() -> Loop:
    return StaysInEvaluation(convnet_of_rows())


def head_replaced() -> Loop:
    loop = Loop()
    loop.model[2] = nn.Linear(32, CLASSES)  # type: ignore[index]
    return loop


FAULTS: dict[str, tuple[Callable[[], Loop], set[str]]] = {
    "gradients never cleared": (lambda: NeverClears(lr=0.02), {"gradients_not_cleared"}),
    "gradients cleared before the step": (ClearsEarly, {"gradients_cleared_early"}),
    "the step before the backward pass": (StepsBeforeBackward, {"gradients_cleared_early"}),
    "gradients cleared between the parts of a step": (ClearsBetweenParts, {"gradients_cleared_early"}),
    "no step at all": (NeverSteps, {"frozen_weights"}),
    "layers in a list": (lambda: Loop(ListedLayers()), {"unregistered_parameters"}),
    "head replaced": (head_replaced, {"optimizer_parameters"}),
    "model.eval() left on": (stays_in_evaluation, {"wrong_mode"}),
    "model.eval() forgotten": (evaluates_in_training, {"wrong_mode"}),
    "rate too high": (lambda: Loop(lr=30.0), {"loss_exploding", "rate_too_high"}),
    "rate zero": (lambda: Loop(lr=0.0), {"frozen_weights", "rate_too_low", "update_ratio_low"}),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_of_the_loop_comes_first(name: str) -> None:
    make, expected = FAULTS[name]
    w = make().run()
    assert first(w) in expected
    assert w.findings[0].advice
    assert w.findings[0].remedy == ()


# ------------------------------------------------------------------ policy, files, errors


def test_the_policy_stop_ends_the_loop() -> None:
    w = NeverClears(lr=0.02, policy="stop").run()
    assert w.should_stop
    assert len(w.curves.rows) == 1


def test_a_finding_is_printed_when_it_comes_and_once(capsys: pytest.CaptureFixture[str]) -> None:
    loop = NeverClears(lr=0.02, policy="warn", epochs=3)
    loop.run()
    shown = capsys.readouterr().out
    assert shown.index("watch: step") < shown.index("gradients_not_cleared")
    assert shown.count("watch: step") == 1
    assert shown.count("  code     optimizer.zero_grad()") == 1
    assert shown.rindex("failure: gradients_not_cleared") > shown.index("optimizer.zero_grad()")  # the title at the end


def test_files(tmp_path: Path) -> None:
    w = Loop(out=tmp_path / "run").run()
    record = json.loads((tmp_path / "run" / "outcome.json").read_text())
    jsonschema.validate(record, SCHEMA)
    assert record["status"] == "passed"
    assert record["stages"][0]["metrics"]["val_accuracy"] > 0.8
    signals = json.loads((tmp_path / "run" / "signals.json").read_text())["stages"]["train"]
    assert signals["losses"] == w.curves.losses
    page = (tmp_path / "run" / "report.html").read_text()
    assert write_report(tmp_path / "run").read_text() == page  # `pipeline report RUN` works


def test_files_after_an_exception(tmp_path: Path) -> None:
    class Breaking(Loop):
        def update(self) -> None:
            super().update()
            if self.count > 20:
                raise RuntimeError("the loop breaks")
            self.count += 1

        count = 0

    with pytest.raises(RuntimeError, match="the loop breaks"):
        Breaking(out=tmp_path).run()
    record = json.loads((tmp_path / "outcome.json").read_text())
    assert (record["status"], record["exit_code"]) == ("error", 1)
    assert len(json.loads((tmp_path / "signals.json").read_text())["stages"]["train"]["losses"]) == 22
    assert (tmp_path / "report.html").exists()


def test_files_after_ctrl_c(tmp_path: Path) -> None:
    class Stopped(Loop):
        def before_epoch(self) -> None:
            if self.model[0].weight.grad is not None:  # type: ignore[index]
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Stopped(out=tmp_path).run()
    record = json.loads((tmp_path / "outcome.json").read_text())
    assert (record["status"], record["exit_code"]) == ("interrupted", 130)


def test_a_loss_that_is_not_finite_is_named_with_its_step() -> None:
    class Poisoned(Loop):
        count = 0

        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            self.count += 1
            return super().forward(x, y) * (float("nan") if self.count > 24 else 1.0)

    w = Poisoned().run()
    assert first(w) == "nonfinite"
    assert w.signals(running=False)["nonfinite_step"] == 25


def test_a_loop_that_continues_from_a_checkpoint() -> None:
    whole = Loop(epochs=4).run()
    begun = Loop(epochs=2).run()
    rest = pipeline.watch(mlp(), classes=CLASSES, policy="silent")
    rest.load_state_dict(begun.state_dict())
    assert rest.curves.losses == whole.curves.losses[:32]
    assert rest.recorder.samples["step"] == [1, 10, 20, 25, 30]


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"every": 0}, "every"),
        ({"policy": "shout"}, "policy"),
        ({"optimizer": "adam"}, "optimizer"),
        ({"classes": "10"}, "classes"),
        ({"classes": 1}, "classes"),
        ({"ignore": ["overfiting"]}, "ignore"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], field: str) -> None:
    with pytest.raises(Exception, match=field) as caught:
        pipeline.watch(mlp(), **arguments)
    assert caught.value.field == field  # type: ignore[attr-defined]


def test_images_with_a_compiled_model() -> None:
    x, y = images(64)
    model = convnet()
    compiled = torch.compile(model, backend="eager")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    with pipeline.watch(compiled, optimizer, classes=CLASSES, every=5, policy="silent") as w:
        for _ in range(20):
            with w.step():
                optimizer.zero_grad()
                logits = compiled(x)
                loss = F.cross_entropy(logits, y)
                loss.backward()
                w.backward_done(loss, logits, y)
                optimizer.step()
        w.epoch()
    assert w.recorder.samples["weights"]["name"] == ["0.weight", "5.weight"]
    assert w.recorder.samples["step"] == [1, 5, 10, 15, 20]
    assert "activations" in w.recorder.samples


def test_wrong_calls() -> None:
    loop = Loop()
    w = pipeline.watch(loop.model, loop.optimizer, policy="silent")
    with pytest.raises(pipeline.PreflightError, match="around the loop"):
        w.begin_step()
    with w, w.step(), pytest.raises(pipeline.PreflightError) as caught:
        w.backward_done(2.3)  # type: ignore[arg-type]
    assert caught.value.field == "loss"
    with w, pytest.raises(pipeline.PreflightError) as caught:
        w.epoch(val_accuracy=93.0)
    assert caught.value.field == "val_accuracy"


def test_checks_that_are_left_out() -> None:
    assert "gradients_not_cleared" not in [
        f.check for f in NeverClears(lr=0.02, ignore=["gradients_not_cleared"]).run().findings
    ]


def test_a_step_without_backward_done_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    loop = Loop()
    with pipeline.watch(loop.model, loop.optimizer) as w, w.step():
        loop.forward(loop.x, loop.y).backward()
    assert "backward_done" in capsys.readouterr().out


def test_an_error_of_the_watch_does_not_end_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("pipeline.watching.verdicts.judge", broken)
    with pytest.warns(UserWarning, match="ZeroDivisionError"):
        w = Loop(epochs=2).run()
    assert len(w.curves.rows) == 2


class Experts(nn.Module):
    """Each example goes to one of three layers; one of them may get none."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.experts = nn.ModuleList(nn.Sequential(nn.Linear(20, 16), nn.ReLU()) for _ in range(3))
        self.output = nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        chosen = (x[:, 0] > 0).long()  # never the third
        hidden = torch.zeros(len(x), 16)
        for i, expert in enumerate(self.experts):
            hidden = hidden.index_put((torch.nonzero(chosen == i)[:, 0],), expert(x[chosen == i]))
        return self.output(hidden)


def test_a_layer_that_gets_no_example() -> None:
    w = Loop(Experts()).run()
    assert len(w.curves.losses) == 96


def test_a_frozen_part_in_evaluation_mode_stays_there() -> None:
    model, (x, y) = convnet_of_rows(), batch(48)
    model[:3].requires_grad_(False)
    model.train()
    model[2].eval()
    found = pipeline.preflight(model, (x, y), F.cross_entropy, quiet=True)
    assert "frozen_batchnorm" not in [f.check for f in found]
    model[2].train()
    found = pipeline.preflight(model, (x, y), F.cross_entropy, quiet=True)
    assert "frozen_batchnorm" in [f.check for f in found]
