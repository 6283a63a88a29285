"""What `pipeline.watch` sees of updates: their direction, clipping on the way to the optimizer, and the schedule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import lr_scheduler as schedulers

import pipeline
from pipeline.watching import PreflightError
from tests.watching.models import CLASSES, mlp
from tests.watching.test_watch import Loop, first

EPOCHS, STEPS = 6, 16


# ------------------------------------------------------------------ clipping


def clipped(most: float, *, before_unscaling: bool = False, **options: Any) -> Loop:
    class Clipped(Loop):
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**24, enabled=options.pop("scaled", False))

        def backward(self, loss: Tensor) -> None:
            self.scaler.scale(loss).backward()

        def update(self) -> None:
            if not before_unscaling:
                self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), most)
            self.scaler.step(self.optimizer)
            self.scaler.update()

    return Clipped(**options)


def test_a_gradient_that_is_clipped_to_nothing() -> None:
    w = clipped(1e-9).run()
    assert first(w) == "gradients_clipped"
    assert w.findings[0].measured["applied_gradient"] < 1e-6
    assert "frozen_weights" not in [f.check for f in w.findings]


def test_a_gradient_that_is_clipped_before_it_is_unscaled() -> None:
    assert first(clipped(1.0, before_unscaling=True, scaled=True).run()) == "gradients_clipped"


@pytest.mark.parametrize("scaled", [False, True])
def test_usual_clipping_is_no_finding(scaled: bool) -> None:
    w = clipped(0.5, scaled=scaled).run()
    assert first(w) is None
    applied = w.recorder.samples["applied_gradient"]
    assert min(applied) < 0.9 * (2.0**-24 if scaled else 1)


def test_a_rate_that_is_too_low_behind_usual_clipping_and_scaling() -> None:
    assert first(clipped(1.0, scaled=True, lr=1e-9).run()) == "rate_too_low"


def test_adam_does_not_mind() -> None:
    loop = clipped(1e-4)
    loop.optimizer = torch.optim.Adam(loop.model.parameters(), lr=0.01)
    assert first(loop.run()) is None


# ------------------------------------------------------------------ direction


def with_optimizer(make: Callable[..., torch.optim.Optimizer], **options: Any) -> Loop:
    loop = Loop()
    loop.optimizer = make(loop.model.parameters(), **options)
    return loop


@pytest.mark.parametrize("make", [torch.optim.SGD, torch.optim.Adam, torch.optim.RMSprop])
def test_an_optimizer_that_climbs(make: Any) -> None:
    w = with_optimizer(make, lr=0.01, maximize=True).run()
    assert first(w) == "wrong_direction"
    assert w.findings[0].measured["update_direction"] > 0.5


class TurnedForBackward(Loop):
    def backward(self, loss: Tensor) -> None:
        (-loss).backward()


def test_a_loss_that_is_turned_for_the_backward_pass() -> None:
    w = TurnedForBackward(lr=0.01).run()
    assert first(w) == "wrong_direction"
    assert w.findings[0].measured["loss_direction"] == pytest.approx(-1)


SOUND: dict[str, Callable[[], Loop]] = {
    "adam": lambda: with_optimizer(torch.optim.Adam, lr=0.01),
    "adamw": lambda: with_optimizer(torch.optim.AdamW, lr=0.01, weight_decay=0.1),
    "nesterov": lambda: with_optimizer(torch.optim.SGD, lr=0.05, momentum=0.9, nesterov=True),
    "rprop": lambda: with_optimizer(torch.optim.Rprop, lr=0.01),
    "adafactor": lambda: with_optimizer(torch.optim.Adafactor, lr=0.05),
}


@pytest.mark.parametrize("name", SOUND)
def test_optimizers_that_descend(name: str) -> None:
    w = SOUND[name]().run()
    assert first(w) is None
    assert w.structure["update_direction"] < -0.1
    assert w.structure["loss_direction"] == pytest.approx(1)


def test_decay_has_a_direction_of_its_own() -> None:
    """What decay has a visible part in tells nothing of the gradient."""
    loop = with_optimizer(torch.optim.SGD, lr=0.05, weight_decay=0.5)
    with torch.no_grad():
        for parameter in loop.model.parameters():
            parameter.mul_(5)
    assert "update_direction" not in loop.run().structure


def test_a_random_update_has_no_direction() -> None:
    class Noise(torch.optim.SGD):
        def step(self, closure: Any = None) -> None:  # type: ignore[override]
            for group in self.param_groups:
                for parameter in group["params"]:
                    parameter.data += 0.01 * torch.randn_like(parameter)

    assert "update_direction" not in with_optimizer(Noise, lr=0.1).run().structure


def test_an_optimizer_with_a_memory_is_not_judged() -> None:
    """The first update after a checkpoint goes where earlier gradients pointed."""
    loop = Loop()
    loop.run(watched=False)
    assert "update_direction" not in loop.run().structure


class StepsBack(torch.optim.SGD):
    """Goes ten steps, looks at the loss there, and comes back nine of them."""

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        closure()
        moves = [(p, p.grad * group["lr"]) for group in self.param_groups for p in group["params"]]
        for parameter, move in moves:
            parameter.data -= 10 * move
        closure()
        for parameter, move in moves:
            parameter.data += 9 * move


LINE_SEARCHES: dict[str, tuple[Any, dict[str, Any]]] = {
    "LBFGS": (torch.optim.LBFGS, {"lr": 0.5, "max_iter": 4, "line_search_fn": "strong_wolfe"}),
    "a step back": (StepsBack, {"lr": 0.01}),
}


@pytest.mark.parametrize("name", LINE_SEARCHES)
def test_a_line_search_evaluates_several_points(name: str) -> None:
    make, options = LINE_SEARCHES[name]
    loop = with_optimizer(make, **options)

    def step(w: Any, x: Tensor, y: Tensor) -> None:
        def closure() -> Tensor:
            loop.optimizer.zero_grad()
            loss = loop.forward(x, y)
            loss.backward()
            w.backward_done(loss, loop.logits, y)
            return loss

        loop.optimizer.step(closure)

    loop.step = step  # type: ignore[method-assign, assignment]
    w = loop.run()
    assert "wrong_direction" not in [f.check for f in w.findings]
    assert "update_direction" not in w.structure


# ------------------------------------------------------------------ rates


def test_a_rate_of_zero() -> None:
    w = Loop(lr=0.0).run()
    assert first(w) == "rate_too_low"
    assert w.findings[0].measured["lr"] == 0


def test_layers_that_rest_at_a_rate_of_zero() -> None:
    loop = Loop()
    body, head = loop.model[0], loop.model[2]  # type: ignore[index]
    groups = [{"params": body.parameters(), "lr": 0.0}, {"params": head.parameters(), "lr": 0.1}]
    loop.optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.5)
    w = loop.run()
    assert w.recorder.samples["lr"][-1] == 0.1
    assert "rate_too_low" not in [f.check for f in w.findings]


# ------------------------------------------------------------------ schedules


def scheduled(make: Callable[[Any], Any], *, by: str, late: bool = False, **options: Any) -> Loop:
    """Move the schedule after each step, or after each epoch; `late`: after the watch was told of its end."""

    class Scheduled(Loop):
        begun = 0

        def update(self) -> None:
            super().update()
            if by == "step":
                self.scheduler.step()

        def before_epoch(self) -> None:
            super().before_epoch()
            if by == "epoch" and late and self.begun:
                self.scheduler.step()
            self.begun += 1

        def evaluate(self) -> dict[str, float]:
            if by == "epoch" and not late:
                self.scheduler.step()
            return super().evaluate()

    loop = Scheduled(epochs=EPOCHS, **options)
    loop.scheduler = make(loop.optimizer)  # type: ignore[attr-defined]
    loop.arguments |= {"scheduler": loop.scheduler}  # type: ignore[attr-defined]
    return loop


def one_cycle(total: int) -> Callable[[Any], Any]:
    return lambda optimizer: schedulers.OneCycleLR(optimizer, max_lr=0.3, total_steps=total)


@pytest.mark.parametrize("late", [False, True])
def test_a_schedule_of_steps_that_moves_by_epoch(late: bool) -> None:
    w = scheduled(one_cycle(EPOCHS * STEPS), by="epoch", late=late).run()
    assert first(w) == "schedule_length"
    assert w.findings[0].measured == {"moves": EPOCHS, "length": EPOCHS * STEPS}


def test_a_schedule_of_epochs_that_moves_by_step() -> None:
    w = scheduled(lambda o: schedulers.CosineAnnealingLR(o, T_max=EPOCHS), by="step").run()
    assert first(w) == "schedule_length"
    assert w.findings[0].measured == {"moves": EPOCHS * STEPS, "length": EPOCHS}


def warm_up_then_cosine(optimizer: Any) -> Any:
    parts = [schedulers.LinearLR(optimizer, 0.1, total_iters=10), schedulers.CosineAnnealingLR(optimizer, 86)]
    return schedulers.SequentialLR(optimizer, parts, [10])


def chain(optimizer: Any) -> Any:
    return schedulers.ChainedScheduler(
        [schedulers.ConstantLR(optimizer, 0.5, 2), schedulers.ExponentialLR(optimizer, 0.9)]
    )


def cosine(optimizer: Any) -> Any:
    return schedulers.CosineAnnealingLR(optimizer, EPOCHS)


SOUND_SCHEDULES: dict[str, tuple[Callable[[], Loop], int]] = {
    "one cycle": (lambda: scheduled(one_cycle(EPOCHS * STEPS), by="step"), EPOCHS * STEPS),
    "cosine by epoch, late": (lambda: scheduled(cosine, by="epoch", late=True), EPOCHS),
    "warm-up, then cosine": (lambda: scheduled(warm_up_then_cosine, by="step"), EPOCHS * STEPS),
    "a chain": (lambda: scheduled(chain, by="epoch"), EPOCHS),
}


@pytest.mark.parametrize("name", SOUND_SCHEDULES)
def test_schedules_that_fit(name: str) -> None:
    make, moves = SOUND_SCHEDULES[name]
    w = make().run()
    assert first(w) is None
    assert w.signals(running=False)["schedule_moves"] == moves


def test_a_loop_that_ends_within_its_last_epoch() -> None:
    """The schedule has 90 moves, five epochs make 80, and the sixth ends early: while it runs, 96 are expected."""

    class Cut(Loop):
        def batches(self) -> Any:
            yield from list(super().batches())[: 90 - self.made]

        def update(self) -> None:
            super().update()
            self.scheduler.step()
            self.made += 1

        made = 0

    loop = Cut(epochs=EPOCHS)
    loop.scheduler = one_cycle(90)(loop.optimizer)
    loop.arguments |= {"scheduler": loop.scheduler}
    w = loop.run()
    assert first(w) is None
    assert w.verdicts.reported == set()


def test_a_schedule_that_was_moved_before_is_not_judged() -> None:
    loop = scheduled(one_cycle(EPOCHS * STEPS * 2), by="step")
    loop.optimizer.step()
    loop.scheduler.step()  # type: ignore[attr-defined]
    assert "schedule" not in loop.run().signals(running=False)


def test_watching_leaves_the_schedule_as_it_was() -> None:
    bare, loop = (scheduled(one_cycle(EPOCHS * STEPS), by="step") for _ in range(2))
    bare.run(watched=False)
    loop.run()
    assert bare.scheduler.state_dict() == loop.scheduler.state_dict()  # type: ignore[attr-defined]
    assert bare.optimizer.param_groups[0]["lr"] == loop.optimizer.param_groups[0]["lr"]


def test_a_wrong_scheduler() -> None:
    with pytest.raises(PreflightError) as caught:
        pipeline.watch(mlp(), scheduler="cosine", classes=CLASSES)  # type: ignore[arg-type]
    assert caught.value.field == "scheduler"


# ------------------------------------------------------------------ optimizers and layers that come in parts


class TwoOptimizers(Loop):
    """One optimizer for each layer."""

    def __init__(self) -> None:
        super().__init__()
        layers = [self.model[0], self.model[2]]  # type: ignore[index]
        self.optimizer = [torch.optim.SGD(layer.parameters(), lr=0.1) for layer in layers]  # type: ignore[assignment]

    def clear(self) -> None:
        self.model.zero_grad()

    def update(self) -> None:
        for optimizer in self.optimizer:  # type: ignore[attr-defined]
            optimizer.step()


def test_a_step_of_two_optimizers_is_measured_after_both() -> None:
    w = TwoOptimizers().run()
    assert first(w) is None
    assert all(min(row) > 0 for row in w.recorder.samples["weights"]["update"])


def test_layers_that_are_unfrozen_later() -> None:
    class Unfreezing(Loop):
        epochs_begun = 0

        def before_epoch(self) -> None:
            super().before_epoch()
            self.model[0].requires_grad_(self.epochs_begun >= 2)  # type: ignore[index]
            self.epochs_begun += 1

    w = Unfreezing().run()
    weights = w.recorder.samples["weights"]
    assert weights["name"] == ["2.weight", "0.weight"]
    assert weights["update"][0][1] is None
    assert weights["update"][-1][1] > 0
    assert "frozen_weights" not in [f.check for f in w.findings]
