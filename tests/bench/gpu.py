"""What a GPU makes of the same networks: bare loops, compiled ones, the usual template, and the pipeline.

The measure is steps a second as a ratio to the bare eager loop of the same round. A round lets each contestant train
once, for some seconds, in a rotated order. The bare loops and the template have one process, the pipeline has another;
one sleeps while the other trains. All signals, the progress bar, checks and checkpoints are on.
"""

from __future__ import annotations

import dataclasses
import functools
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.bench.budget import rounds
from tests.bench.contestants import Case, write_images
from tests.bench.gpu_cases import BARE, BARE_CHANNELS_LAST, DETERMINISTIC, PIPELINES, shrink
from tests.bench.gpu_process import OTHERS, ContestantFailed, TrainingProcess

RUN_SECONDS = 2.0
"""A contestant trains for about so long in a round, beside what its run takes before and after."""
MIN_EPOCHS, MAX_EPOCHS = 3, 40
"""Epochs of a pipeline; the first does not count."""
TIMEOUT = 300.0
"""Seconds of one training after which its process is given up. Compiling may take two minutes."""


class Contest:
    """The processes in which contestants train, and the images that they train on.

    `is_dry` shrinks the networks' data to a second of a CPU's work and trains once for each contestant.
    """

    def __init__(self, folder: Path, *, trainer: str, is_dry: bool = False):
        self._folder, self._trainer, self.is_dry = folder, trainer, is_dry
        # determinism is a setting of a whole process; a dry run shares its machine, and needs no second thread
        environment = {"OMP_NUM_THREADS": "1"} if is_dry else {}
        groups = (OTHERS, "pipeline", "deterministic")
        self._processes = {group: TrainingProcess(group, folder, environment=environment) for group in groups}

    def close(self) -> None:
        for process in self._processes.values():
            process.close()

    def __enter__(self) -> Contest:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def measure(self, case: Case, names: Sequence[str], *, seconds: float, base: str = BARE) -> dict[str, Any]:
        """Return the table of one network: for each contestant steps a second, and ratios to `base` with quartiles.

        As many rounds as `seconds` allow, at least two. A contestant that fails has `failed`, the end of its output,
        and no numbers.
        """
        ends, case = time.perf_counter() + seconds, shrink(case) if self.is_dry else case
        answers: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
        failed: dict[str, str] = {}
        epochs = {name: MIN_EPOCHS if name in PIPELINES else 1 for name in names}
        if not self.is_dry:
            for name in names:  # the first training imports and compiles, and tells how many epochs are enough
                if answer := self._train(case, name, epochs[name], failed):
                    epochs[name] = _count_epochs(name, answer["seconds_a_step"] * case.steps)
        at_least, time_left = (1, 0.0) if self.is_dry else (2, ends - time.perf_counter())
        for i in rounds(time_left, at_least=at_least):
            for name in (*names[i % len(names) :], *names[: i % len(names)]):
                if name not in failed and (answer := self._train(case, name, epochs[name], failed)):
                    answers[name].append(answer)
        rows = {name: summarize(name, answers, base) for name in names if name not in failed}
        return {
            "batch": case.batch,
            "steps": case.steps,
            "rounds": i + 1,
            "base": base,
            "contestants": {name: rows.get(name) or {"failed": failed[name]} for name in names},
        }

    def _train(self, case: Case, name: str, epochs: int, failed: dict[str, str]) -> dict[str, Any] | None:
        """Return the answer of the contestant; None where it fails, with the reason in `failed`."""
        group = "deterministic" if name == DETERMINISTIC else "pipeline" if name in PIPELINES else OTHERS
        request = {
            "case": dataclasses.asdict(case), "data": str(self._images(case.train, case.shape)), "name": name,
            "epochs": epochs, "trainer": self._trainer,
        }  # fmt: skip
        try:
            return self._processes[group].train(request, timeout=TIMEOUT)
        except ContestantFailed as failure:
            failed[name] = str(failure)
            return None

    @functools.cache  # noqa: B019 - as long as the folder is there
    def _images(self, train: int, shape: tuple[int, int, int]) -> Path:
        folder = self._folder / "x".join(map(str, (train, *shape)))
        folder.mkdir()
        return write_images(folder, train, shape)


def measure(
    plan: Mapping[Case, Sequence[str]], *, seconds: float, trainer: str, is_dry: bool = False, base: str = BARE
) -> dict[str, Any]:
    """Return network -> table (`Contest.measure`). `trainer` is gpu or cpu."""
    share = seconds / len(plan)
    with (
        tempfile.TemporaryDirectory(prefix="bench_gpu_") as folder,
        Contest(Path(folder), trainer=trainer, is_dry=is_dry) as contest,
    ):
        return {case.name: contest.measure(case, names, seconds=share, base=base) for case, names in plan.items()}


def _count_epochs(name: str, epoch_seconds: float) -> int:
    """Return the epochs that take about `RUN_SECONDS`."""
    epochs = round(RUN_SECONDS / epoch_seconds)
    return min(max(epochs + 1, MIN_EPOCHS), MAX_EPOCHS) if name in PIPELINES else min(max(epochs, 1), MAX_EPOCHS)


def summarize(name: str, answers: Mapping[str, Sequence[dict[str, Any]]], base: str) -> dict[str, Any]:
    """Return the numbers of a contestant that did not fail. Where `base` failed there are no ratios.

    `ratio_to_faster` is the ratio to the faster one of the two bare eager loops, contiguous and channels_last.
    """
    seconds = {other: [answer["seconds_a_step"] for answer in given] for other, given in answers.items()}
    stage = [answer["stage_seconds_a_step"] for answer in answers[name] if "stage_seconds_a_step" in answer]
    row = {
        "steps_a_second": 1 / statistics.median(seconds[name]),
        "stage_steps_a_second": 1 / statistics.median(stage) if stage else None,
        "seconds_a_step": seconds[name],
        **_ratios(seconds[base], seconds[name]),
        **{key: answers[name][-1].get(key) for key in ("first_epoch_seconds", "steps", "graph_steps", "graph_refused")},
    }
    if base == BARE:
        loops = [times for loop, times in seconds.items() if loop in (BARE, BARE_CHANNELS_LAST)]
        fastest = [min(times) for times in zip(*loops, strict=False)]
        row["ratio_to_faster"] = _ratios(fastest, seconds[name]).get("ratio")
    return row


def _ratios(base: Sequence[float], seconds: Sequence[float]) -> dict[str, Any]:
    """Return the median of the rounds' ratios and their quartiles; {} where `base` did not train in each of them."""
    if len(base) != len(seconds):
        return {}
    ratios = [bare / own for bare, own in zip(base, seconds, strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    return {"ratio": middle, "quartiles": [low, high]}
