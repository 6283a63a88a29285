"""Part 4: memory, batch size, searches, precision, and every stage on the device."""

from __future__ import annotations

import statistics

from tests.gpu.bits import CONVNET, DETERMINISTIC, TRAIN, small_data
from tests.gpu.commands import Done, Machine, differences
from tests.gpu.row import NOT_RUN, Row, judge

SEEDS = 3
T_QUANTILE = 2.78
"""97.5 % quantile of Student's t with 2 x 3 - 2 degrees of freedom."""
RESOLUTION = 0.005
"""Difference of accuracy that 1000 test images cannot show, whatever the seeds say."""
PREDICT = """
import sys, torch, pipeline
from pipeline.config.compose import compose_config
from pipeline.workflow.build import build_components
predictor = pipeline.load(sys.argv[1])
test = build_components(compose_config(sys.argv[3:])).data.test
logits = predictor(test.pixels.to(sys.argv[2]))
print("accuracy", (logits.argmax(1) == test.labels).float().mean().item(), flush=True)
"""
DIGITS = ("data=digits", "model=mlp")


def images_on_host(machine: Machine) -> list[Row]:
    epochs = f"stages.train.epochs={4 if machine.is_gpu else 2}"
    done = machine.run("host", "-m", "trainer.images_on=device,host", *CONVNET, *TRAIN, DETERMINISTIC, epochs,
                       *small_data(machine))  # fmt: skip
    target, runs = "trainer.images_on=host and device give the same bits", done.runs()
    if done.code != 0 or len(runs) != 2:
        return [judge(4, target, f"exit code {done.code}", False, done.tail)]
    found = differences(runs[0].bits(), runs[1].bits())
    return [judge(4, target, "the same bits" if not found else f"{len(found)} values differ", not found,
                  "\n".join(found[:15]))]  # fmt: skip


def automatic_batch_size(machine: Machine) -> list[Row]:
    done = machine.run("auto", "data.batch_size=auto", *TRAIN, "stages.train.epochs=1", *small_data(machine))
    chosen = [word for run in done.runs() for word in run.overrides if word.startswith("data.batch_size=")]
    measured = chosen[0] if chosen else f"exit code {done.code}"
    return [judge(4, "data.batch_size=auto finds a size", measured, done.code == 0 and bool(chosen), done.tail)]


def out_of_memory(machine: Machine) -> list[Row]:
    target = "a run that needs too much memory ends with exit code 1 or 2 and names data.batch_size"
    if not machine.is_gpu:
        return [Row(4, target, "", NOT_RUN)]
    done = machine.run("memory", "model=custom", "model._target_=tests.gpu.networks.NeedsMemory", *TRAIN,
                       "data.batch_size=4000", "stages.train.epochs=1")  # fmt: skip
    measured = f"exit code {done.code}, data.batch_size {'named' if 'data.batch_size' in done.output else 'not named'}"
    return [judge(4, target, measured, done.code in (1, 2) and "data.batch_size" in done.output, done.tail)]


def searches(machine: Machine) -> list[Row]:
    return [_search(machine, workers) for workers in ((1, 4) if machine.is_gpu else (2,))]


def _search(machine: Machine, workers: int) -> Row:
    trials = 8 if machine.is_gpu else 2
    search = ("search=coarse", "search.rounds.coarse.epochs=1", "search.max_widenings=0", "search.retrain_seeds=0")
    chosen = (f"search.trials={trials}", f"search.workers={workers}", "stage=train")
    done = machine.run(f"search{workers}", *DIGITS, *search, *chosen)
    target = f"a search of {trials} trials with search.workers={workers} passes"
    return judge(4, target, f"exit code {done.code} after {done.seconds:.0f} s", done.code == 0, done.tail)


def accuracy_of_bf16(machine: Machine) -> list[Row]:
    """Train the default recipe with some seeds in both precisions."""
    target = f"bf16-mixed is as accurate as 32-true on the embedded recipe, within the noise of {SEEDS} seeds"
    length = () if machine.is_gpu else ("stages.train.epochs=1", "data.limit=600")
    seeds = f"seed={','.join(map(str, range(SEEDS)))}"
    commands = {
        precision: machine.start(precision, "-m", seeds, f"trainer.precision={precision}", "stage=[train,evaluate]",
                                 "report=false", *length)
        for precision in ("32-true", "bf16-mixed")
    }  # fmt: skip
    texts, means, variances = [], [], []
    for precision, command in commands.items():
        done = machine.finish(command)
        accuracies = [run.metrics("evaluate").get("test_accuracy") for run in done.runs()]
        if done.code != 0 or len(accuracies) != SEEDS or None in accuracies:
            return [judge(4, target, f"{precision}: exit code {done.code}", False, done.tail)]
        means.append(statistics.mean(accuracies))
        variances.append(statistics.variance(accuracies))
        texts.append(f"{precision} {means[-1]:.4f} +- {variances[-1] ** 0.5:.4f}")
    noise = max(T_QUANTILE * (sum(variances) / SEEDS) ** 0.5, RESOLUTION)
    return [judge(4, target, f"{', '.join(texts)}; noise {noise:.4f}", means[0] - means[1] <= noise)]


def every_stage(machine: Machine) -> list[Row]:
    """Run all stages, and predict with the network that they have trained."""
    done = machine.run("stages", *DIGITS, "stage=[sanity,overfit,lr_range,train,ensemble,evaluate]",
                       "stages.ensemble.members=2", "stages.train.epochs=10")  # fmt: skip
    rows = [_passes("all six stages pass", done)]
    if done.code != 0 or not done.runs():
        return rows
    run = done.runs()[-1]
    target, expected = "the predictor is as accurate as the stage evaluate", run.metrics("evaluate")["test_accuracy"]
    predicted = machine.run_python("predict", "-c", PREDICT, str(run.directory), machine.device, *DIGITS)
    words = predicted.output.split()
    if predicted.code != 0 or "accuracy" not in words:
        return [*rows, judge(4, target, f"exit code {predicted.code}", False, predicted.tail)]
    accuracy = float(words[words.index("accuracy") + 1])
    # a logit that is nearly a tie may change sides: evaluate may compute in bf16, the predictor on the CPU
    return [*rows, judge(4, target, f"{accuracy:.4f} and {expected:.4f}", abs(accuracy - expected) < 0.02)]


def fixing(machine: Machine) -> list[Row]:
    done = machine.run("fix", *DIGITS, "fix=true", "init=zeros", "stages.train.epochs=10")
    return [_passes("fix=true repairs init=zeros", done)]


def two_devices(machine: Machine, cards: int) -> list[Row]:
    target = "trainer.devices=2 passes"
    if cards < 2:
        return [Row(4, target, f"{cards} GPUs", NOT_RUN)]
    done = machine.run("devices", "trainer.devices=2", "stages.train.epochs=10", "report=false")
    return [_passes(target, done)]


def quiet_output(machine: Machine) -> list[Row]:
    """No line of Lightning's own in what the program printed."""
    noisy = [line for done in machine.ended for line in done.output.splitlines() if "LOCAL_RANK" in line]
    measured = f"{len(noisy)} lines in {len(machine.ended)} outputs"
    return [judge(4, "no line with LOCAL_RANK in any output", measured, not noisy, "\n".join(noisy[:5]))]


def _passes(target: str, done: Done) -> Row:
    return judge(4, target, f"exit code {done.code} after {done.seconds:.0f} s", done.code == 0, done.tail)
