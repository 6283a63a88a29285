"""Parts 1 and 2: graphs give the bits of eager steps, and determinism gives the same bits each time."""

from __future__ import annotations

import time

from tests.gpu.commands import TIMEOUT, Command, Done, Machine, Run, differences
from tests.gpu.row import OK, Row, judge

TRAIN = ("stage=train", "report=false")
DETERMINISTIC = "trainer.deterministic=true"
CONVNET = ("augmentation=crop_flip",)
"""The default network has batchnorm and dropout."""


def small_data(machine: Machine) -> tuple[str, ...]:
    """Return overrides that keep a dry run short."""
    return () if machine.is_gpu else ("data.limit=600",)


def graphs_of_optimizers(machine: Machine) -> list[Row]:
    fixed = ("model=mlp", "trainer.precision=32-true")
    return _compare_graphs(machine, "MLP with dropout", fixed, "optimizer", "adam,nesterov,rmsprop,adagrad")


def graphs_of_precisions(machine: Machine) -> list[Row]:
    title = "convnet with batchnorm, augmentation, one_cycle"
    return _compare_graphs(machine, title, CONVNET, "trainer.precision", "32-true,bf16-mixed")


def graphs_of_accumulated_steps(machine: Machine) -> list[Row]:
    fixed = ("model=mlp", "schedule=plateau", "trainer.precision=32-true")
    return _compare_graphs(machine, "MLP, plateau", fixed, "trainer.accumulate", "1,2")


def _compare_graphs(machine: Machine, title: str, fixed: tuple[str, ...], key: str, values: str) -> list[Row]:
    """Train with and without a graph, for each of the `values` of `key`, in one multirun."""
    graph = "true" if machine.is_gpu else "auto"
    epochs = f"stages.train.epochs={4 if machine.is_gpu else 2}"
    done = machine.run(f"graphs_{key}", "-m", f"{key}={values}", f"trainer.cuda_graph=false,{graph}", *fixed, *TRAIN,
                       DETERMINISTIC, epochs, *small_data(machine))  # fmt: skip
    rows = []
    for value in values.split(","):
        target = f"{title}, {key}={value}: a graph gives the bits of eager steps"
        runs = [run for run in done.runs() if run.has(f"{key}={value}")]
        eager = [run for run in runs if run.has("trainer.cuda_graph=false")]
        replayed = [run for run in runs if run.has(f"trainer.cuda_graph={graph}")]
        if len(eager) == len(replayed) == 1:
            row = _same_bits(1, target, eager[0], replayed[0], done)
            rows.append(_with_replays(row, replayed[0]) if machine.is_gpu else row)
        else:
            rows.append(judge(1, target, "did not run", False, done.tail))
    return rows


def _same_bits(part: int, target: str, first: Run, second: Run, done: Done) -> Row:
    """Compare two runs, both of which must have passed."""
    for run in (first, second):
        if (status := run.outcome["status"]) != "passed":
            return judge(part, target, f"a run {status}", False, done.tail)
    found = differences(first.bits(), second.bits())
    measured = "the same bits" if not found else f"{len(found)} values differ"
    return judge(part, target, measured, not found, "\n".join(found[:15]))


def _with_replays(row: Row, run: Run) -> Row:
    """Add how many steps were replayed: without any, eager steps were compared with themselves."""
    signals = run.signals("train")
    replayed, refused = signals.get("graph_steps") or 0, signals.get("graph_refused")
    measured = f"{row.measured}, {replayed} steps replayed{f', refused: {refused}' if refused else ''}"
    return judge(1, row.target, measured, row.state == OK and replayed > 0, row.detail)


def network_without_graph(machine: Machine) -> list[Row]:
    """A network that reads a number back trains on, and the run says why it has no graph."""
    epochs = f"stages.train.epochs={3 if machine.is_gpu else 1}"
    done = machine.run("reads_number", "model=custom", "model._target_=tests.gpu.networks.ReadsNumber", *TRAIN, epochs,
                       "trainer.cuda_graph=auto", *small_data(machine))  # fmt: skip
    target = "a network with .item() trains on without a graph, and the run says why"
    if done.code != 0 or not machine.is_gpu:
        return [judge(1, target, f"exit code {done.code}", done.code == 0, done.tail)]
    signals = done.runs()[-1].signals("train")
    refused = signals.get("graph_refused") or ""
    measured = f"passed, {signals.get('graph_steps')} steps replayed, refused: {refused or 'nothing said'}"
    return [judge(1, target, measured, bool(refused) and not signals.get("graph_steps"), done.tail)]


def determinism(machine: Machine) -> list[Row]:
    """Train the default convnet twice, whose bits differ otherwise, and once more, killed and continued."""
    epochs = f"stages.train.epochs={150 if machine.is_gpu else 12}"
    arguments = (*CONVNET, *TRAIN, DETERMINISTIC, epochs, *small_data(machine))
    whole, killed = machine.start("first", *arguments), machine.start("killed", *arguments)
    was_killed = _kill_in_training(killed)
    first = machine.finish(whole)
    again = machine.start("second", *arguments)
    resumed = machine.run("killed", *arguments, "resume=auto")
    target = f"{DETERMINISTIC}: the same command twice gives the same bits"
    rows = [_compare_commands(target, first, machine.finish(again))]
    target = f"{DETERMINISTIC}: kill -9 and resume=auto give the bits of a run that was never stopped"
    if not was_killed:
        return [*rows, judge(2, target, "it had ended before it could be killed", False, killed.wait().tail)]
    row = _compare_commands(target, first, resumed)
    if row.state == OK and resumed.runs()[-1].outcome["resumed_from"] is None:
        row = judge(2, target, "started anew", False, resumed.tail)
    return [*rows, row]


def _kill_in_training(command: Command) -> bool:
    """Kill a run as soon as it has a checkpoint, and return whether that was before its end."""
    deadline = time.monotonic() + TIMEOUT
    while command.is_running() and time.monotonic() < deadline:
        if list(command.outputs.glob("run/*/checkpoints/last.ckpt")):
            command.kill()
            return True
        time.sleep(0.005)
    command.kill()
    return False


def _compare_commands(target: str, first: Done, second: Done) -> Row:
    """Compare the newest runs of two commands."""
    for done in (first, second):
        if done.code != 0 or not done.runs():
            return judge(2, target, f"exit code {done.code}", False, done.tail)
    return _same_bits(2, target, first.runs()[-1], second.runs()[-1], second)
