from __future__ import annotations

from dataclasses import dataclass

from pipeline.checks.finding import Finding
from pipeline.checks.rule import Rule
from pipeline.checks.training_curves import to_floats
from pipeline.signals.schema import Signals
from pipeline.validation import integer, number

BUILT_FOR = ("total_steps", "T_max", "total_iters")
"""Arguments that say how many moves a whole schedule has; the others say when it makes a jump."""
JUMPS = ("milestones", "step_size")
MIN_STEPS = 10
"""Steps of an epoch, below which numbers of steps and of epochs cannot be told apart."""


@dataclass(frozen=True)
class ScheduleLength(Rule):
    """Anti-pattern: a schedule that counts epochs and is moved after each step, or the other way round.

    Fires when the run (1) moves the schedule on after its end, where torch refuses or the rate turns negative (a
    failure), (2) makes less than `min_share` of the moves that the schedule was built for; a schedule of jumps must
    also fit the other way of counting, since one that is longer than a short run is no mistake, (3) makes more than
    `max_share` of the moves of a cosine, so that the rate rises again, or has done with a decay that counts epochs
    within as many steps, or (4) ends while the rate still rises, after at least `min_moves` moves, at `min_rise` times
    the first rate or more.
    """

    check = "schedule_length"
    reads = (
        "schedule_moves",
        "schedule_other_moves",
        "schedule_length",
        "schedule_argument",
        "schedule_error",
        "schedule_error_move",
        "schedule",
        "planned_rates",
    )
    severities = ("failure", "warning")
    why = (
        "A schedule is a shape over the whole run. A small part of it never reaches the rate that was chosen or never "
        "lowers it, and one that is over too early leaves a rate that nobody chose."
    )
    source = "torch: a scheduler counts its own calls of step(), whatever they are called after"
    remedies = ("schedule.interval=step", "schedule.interval=epoch", "schedule.length_argument=...")
    advice = "Build the schedule for as many moves as the loop makes: steps if it moves after each step, else epochs."
    code = "scheduler = OneCycleLR(optimizer, max_lr=max_lr, total_steps=epochs * len(loader))  # moved after each step"
    explains = (
        "rate_vanishes",
        "rate_too_high",
        "rate_too_low",
        "late_start",
        "oscillating_loss",
        "loss_plateau",
        "update_ratio_low",
        "undertrained",
        "underfitting",
    )

    min_share: float
    max_share: float
    min_moves: int
    min_rise: float

    def __post_init__(self) -> None:
        number("min_share", self.min_share, above=0, below=1)
        number("max_share", self.max_share, above=1)
        integer("min_moves", self.min_moves, at_least=2)
        number("min_rise", self.min_rise, above=1)

    def __call__(self, signals: Signals) -> Finding | None:
        if not signals.get("schedule_moves"):
            return None
        if "schedule_error" in signals:
            return self._breaks_down(signals)
        if "schedule_length" in signals and self._has_other_length(signals):
            return self._other_length(signals)
        return self._ends_rising(signals)

    def _has_other_length(self, signals: Signals) -> bool:
        moves, length, argument = signals["schedule_moves"], signals["schedule_length"], signals["schedule_argument"]
        other = signals.get("schedule_other_moves") or moves
        if moves < self.min_share * length:
            fits_other = MIN_STEPS * moves <= other and self.min_share * other <= length <= other
            return argument in BUILT_FOR or fits_other
        rates = to_floats(signals.get("planned_rates", ()))
        falls = bool(rates) and rates[-1] < rates[0] / 2
        if argument == "T_max":
            return moves > self.max_share * length and max(rates, default=0) > 2 * min(rates, default=0)
        return argument in ("total_iters", *JUMPS) and length <= other < moves and falls

    def _other_length(self, signals: Signals) -> Finding:
        moves, length, argument = signals["schedule_moves"], signals["schedule_length"], signals["schedule_argument"]
        rates = to_floats(signals.get("planned_rates", ()))
        counts = "" if argument == "T_0" else f" ({argument})"
        path = f" The rate goes from {rates[0]:.3g} over {max(rates):.3g} to {rates[-1]:.3g}." if rates else ""
        return self.finding(
            "warning",
            measured={"moves": float(moves), "length": float(length)},
            expected=f"between {self.min_share:g} and {self.max_share:g} times the {length} moves",
            message=f"The schedule is made for {length} moves{counts} and gets {moves}.{path}",
            remedy=self._remedy(signals),
        )

    def _remedy(self, signals: Signals) -> tuple[str, ...]:
        """Return the other interval where the length fits it, else the argument that gets the run's own length."""
        moves, other = signals["schedule_moves"], signals.get("schedule_other_moves")
        length, argument = signals["schedule_length"], signals["schedule_argument"]
        if other and (self.min_share * length <= other <= length or argument in JUMPS):
            return ("schedule.interval=step" if other > moves else "schedule.interval=epoch",)
        return (f"schedule.length_argument={argument}",) if argument in BUILT_FOR else ()

    def _breaks_down(self, signals: Signals) -> Finding:
        moves, move = signals["schedule_moves"], signals["schedule_error_move"]
        return self.finding(
            "failure",
            measured={"moves": float(moves), "breaks_down_at": float(move)},
            expected=f"a schedule that can be moved {moves} times",
            message=f"At move {move} of {moves} {signals['schedule']} breaks down: {signals['schedule_error']}.",
            remedy=self._remedy(signals) if "schedule_length" in signals else (),
        )

    def _ends_rising(self, signals: Signals) -> Finding | None:
        moves, rates = signals["schedule_moves"], to_floats(signals.get("planned_rates", ()))
        if moves < self.min_moves or not rates or not rates[-1] > 0:
            return None
        still_rises = rates[-1] == max(rates) > rates[-1 - max(1, len(rates) // 10)]
        if not still_rises or rates[-1] < self.min_rise * rates[0]:
            return None
        return self.finding(
            "warning",
            measured={"moves": float(moves), "first_rate": rates[0], "last_rate": rates[-1]},
            expected="a rate that has stopped rising before the run ends",
            message=f"In {moves} moves {signals['schedule']} raises the rate from {rates[0]:.3g} to {rates[-1]:.3g}, "
            "and the run ends while it still rises.",
            remedy=(),
        )
