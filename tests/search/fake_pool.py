"""A pool without processes, whose trials have scores in closed form."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.search.records import BROKEN, COMPLETE, CRASHED, PRUNED
from pipeline.search.workers.pool import Event, PruneRequest, TaskDone, WorkerDied
from pipeline.search.workers.task import Task

EXAMPLES = 100
BEST_RATE = 0.03
EPOCH_SECONDS = 0.01


@dataclass(frozen=True)
class Death:
    """The result of a task that ends its worker."""

    reason: str = "its worker was killed by SIGKILL"


class Answers(list[bool]):
    """A connection that keeps what a trial is answered."""

    def send(self, should_prune: bool) -> None:
        self.append(should_prune)


def train(task: Task) -> dict[str, Any]:
    """Return the result of a training: best at `BEST_RATE`, broken above 0.3, crashed below 0."""
    rate, epochs = task.config["optimizer"]["lr"], task.config["stages"]["train"]["epochs"]
    result: dict[str, Any] = {"seconds": epochs * EPOCH_SECONDS, "seed": task.config["seed"], "scores": []}
    if rate <= 0:
        return result | {"state": CRASHED, "reason": "optimizer.lr: not positive"}
    if rate > 0.3:
        return result | {"state": BROKEN, "reason": "cost not finite at step 3"}
    score = 0.9 - 0.1 * abs(math.log10(rate / BEST_RATE)) - 0.01 / epochs + 0.0001 * (task.config["seed"] % 3)
    scores = [score * (1 - 0.5 ** (epoch + 1)) for epoch in range(epochs - 1)] + [score]
    directory = f"{task.directory.parent.name}/{task.directory.name}" if task.directory else ""
    metrics = {"val_accuracy": score, "val_loss": 1 - score}
    complete = {"state": COMPLETE, "score": score, "scores": scores, "metrics": metrics, "directory": directory}
    return result | complete


class FakePool:
    """Has the interface of a `WorkerPool` of two workers. `run(task)` returns the result of a trial, or a `Death`."""

    def __init__(self, run: Callable[[Task], Any] = train, *, sanity: Any = None, n: int = 2, threads: int = 1):
        self.run, self.n = run, n
        self.sanity = {"stage": None, "examples": EXAMPLES} if sanity is None else sanity
        self.tasks: list[Task] = []
        """All trials so far."""
        self._queue: deque[tuple[Any, Task, Any]] = deque()

    def has_capacity(self, depth: int) -> bool:
        return len(self._queue) < self.n * depth

    def is_busy(self) -> bool:
        return bool(self._queue)

    def submit(self, tag: Any, task: Task) -> None:
        self.tasks.append(task)
        self._queue.append((tag, task, self.run(task)))  # at once, since the configuration is used again

    def poll(self, timeout: float) -> Iterator[Event]:
        if not self._queue:
            return
        tag, task, result = self._queue.popleft()
        if isinstance(result, Death):
            yield WorkerDied(tag, (), result.reason)
            return
        for epoch, score in enumerate(result["scores"][:-1] if task.asks_pruner else ()):
            answers: Any = Answers()
            yield PruneRequest(tag, epoch, score, answers)
            if answers == [True]:
                result = result | {"state": PRUNED, "score": score, "scores": result["scores"][: epoch + 1]}
                break
        yield TaskDone(tag, "worker", result)

    def map(self, tasks: Sequence[Task]) -> list[Any]:
        return [self.sanity if task.is_sanity_check else self.run(task) for task in tasks]

    def close(self) -> None:
        self._queue.clear()
