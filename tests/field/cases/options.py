"""Rows of what trainers expect: weights of classes, scores, tasks, augmentation, clipping, averages, schedules."""

from __future__ import annotations

from tests.field.case import Trial, case, flat, passed, refused, want, want_no_crash
from tests.field.cases.arrays import SHORT, rare, save, some_digits
from tests.field.cases.networks import DIGITS
from tests.field.program import Ended

TRAIN = ("stage=[train]", "stages.train.epochs=2")
CONV = (*DIGITS, "model.width=8", "optimizer.lr=0.005")


def losses(ended: Ended) -> list[float]:
    return [epoch["loss"] for epoch in ended.stages["train"]["metrics"]["history"]]


@case(79, "loss.weight=[1,50], =balanced; data.sampling", "accepted, and it changes the training")
def class_weights(trial: Trial) -> str:
    words = ("data=npz", rare(trial), "model=mlp", "optimizer.lr=0.001", *TRAIN)
    got = {}
    for option in ("loss.weight=null", "loss.weight=[1,50]", "loss.weight=balanced", "data.sampling=balanced"):
        ended = trial.run(*words, option)
        want_no_crash(ended)
        got[option] = losses(ended)[-1]
    want(len(set(got.values())) == 4, f"losses {got}")
    refused(trial.run(*words, "loss.weight=[1,50,2]"), "loss.weight", "2")
    hint = refused(trial.run(*words, "data.balanced=true"), "data.balanced", "data.sampling")
    return f"four different losses; {hint[:80]}"


@case(80, "stages.train.monitor=val_f1 and others", "chooses the best checkpoint; in the record")
def scores(trial: Trial) -> str:
    path = rare(trial)
    for name in ("val_f1", "val_balanced_accuracy", "val_precision", "val_recall", "val_auc"):
        words = (
            "data=npz",
            path,
            "model=mlp",
            "optimizer.lr=0.001",
            "loss.weight=balanced",
            f"stages.train.monitor={name}",
        )
        ended = trial.run(*words, "stage=[train,evaluate]", "stages.train.epochs=3")
        want_no_crash(ended)
        history = ended.stages["train"]["metrics"]["history"]
        want(all(name in epoch for epoch in history), f"{name} is not in the history: {list(history[0])}")
        tested = ended.stages["evaluate"]["metrics"]
        want(f"test_{name[4:]}" in tested, f"test_{name[4:]} is not among {list(tested)}")
    refused(trial.run("data=npz", path, "model=mlp", "stages.train.monitor=val_f2"), "monitor", "val_f1")
    return f"test {', '.join(f'{key[5:]} {value:.3f}' for key, value in tested.items() if isinstance(value, float))}"[
        :110
    ]


@case(81, "loss=bce on labels, loss=mse on targets", "trained and scored; the wrong loss is refused")
def tasks(trial: Trial) -> str:
    x, y = some_digits()
    labels = save(trial.folder / "labels.npz", x_train=x, y_train=(y[:, None] > [2, 5]).astype(int) ^ (y % 2)[:, None])
    numbers = save(trial.folder / "numbers.npz", x_train=x, y_train=x.mean((1, 2)) / 7.0 + 0.25)
    words = ("data=npz", "model=mlp", "model.width=64", *SHORT)
    got = []
    for path, loss, score in ((labels, "bce", "test_accuracy"), (numbers, "regression", "test_r2")):
        ended = trial.run(*words, path, f"loss={loss}")
        passed(ended)
        got.append(f"{loss} {score} {ended.stages['evaluate']['metrics'][score]:.3f}")
    for kind in ("mae", "huber"):
        passed(trial.run(*words, numbers, "loss=regression", f"loss.kind={kind}"))
    refused(trial.run(*words, numbers, "loss=mse"), "loss", "loss=regression")
    refused(trial.run(*words, labels), "loss", "loss=bce")
    return ", ".join(got)


@case(82, "augmentation=randaugment, mixup, cutmix, ...", "accepted, and it changes the training")
def augmentations(trial: Trial) -> str:
    got = {"none": losses(trial.run(*CONV, *TRAIN, "augmentation=none"))[-1]}
    for name in ("randaugment", "trivial", "erasing", "mixup", "cutmix", "strong"):
        ended = trial.run(*CONV, *TRAIN, f"augmentation={name}")
        want_no_crash(ended)
        again = losses(trial.run(*CONV, *TRAIN, f"augmentation={name}")) if name == "strong" else losses(ended)
        want(again == losses(ended), f"{name}: {again} after {losses(ended)}")
        got[name] = losses(ended)[-1]
    want(len(set(got.values())) == len(got), f"losses {got}")
    return ", ".join(f"{name} {loss:.2f}" for name, loss in got.items())


@case(83, "torchvision's RandAugment by _target_", "runs, or is refused at assembly")
def own_augmentation(trial: Trial) -> str:
    trial.allow |= {"torchvision.transforms.RandAugment", "tests.field.networks.Drawn"}
    words = (
        *CONV,
        *TRAIN,
        "checks=off",
        "augmentation=custom",
        "augmentation._target_=torchvision.transforms.RandAugment",
    )
    ended = trial.run(*words)
    want_no_crash(ended)
    want(ended.code == 0, f"exit {ended.code}: {flat(ended.text)[-200:]}")
    want(losses(ended) == losses(trial.run(*words)), "a second run has other losses")
    wrong = (*CONV, *TRAIN, "augmentation=custom", "augmentation._target_=tests.field.networks.Drawn")
    got = refused(trial.run(*wrong, "+augmentation.n=3"), "augmentation")
    return f"runs, the same twice; a Dataset in its place: {got[:80]}"


@case(87, "trainer.gradient_clip_val=1", "did you mean trainer.clip_norm, which clips")
def clipping(trial: Trial) -> str:
    got = refused(trial.run(*CONV, *TRAIN, "trainer.gradient_clip_val=1"), "trainer.clip_norm")
    plain = losses(trial.run(*CONV, *TRAIN))
    for option in ("trainer.clip_norm=0.1", "trainer.clip_value=0.001"):
        ended = trial.run(*CONV, *TRAIN, option)
        want_no_crash(ended)
        want(losses(ended) != plain, f"{option} changes nothing")
    refused(trial.run(*CONV, *TRAIN, "trainer.clip_norm=-1"), "trainer.clip_norm")
    return got[:110]


@case(88, "EMA of weights; warm-up + cosine", "both there; the average is evaluated")
def averages(trial: Trial) -> str:
    words = (*CONV, "stage=[train,evaluate]", "stages.train.epochs=3")
    found = {}
    for option in ("trainer.ema=null", "trainer.ema=0.99", "schedule=warmup_cosine"):
        ended = trial.run(*words, option)
        want_no_crash(ended)
        found[option] = (losses(ended), ended.stages["train"]["metrics"]["val_loss"])
    plain, averaged, cosine = found.values()
    want(plain[0] == averaged[0] and plain[1] != averaged[1], f"EMA: {plain} and {averaged}")
    want(plain[0] != cosine[0], "the schedule changes nothing")
    refused(trial.run(*words, "trainer.ema=1.5"), "trainer.ema")
    return f"validation loss {plain[1]:.3f}, of the average {averaged[1]:.3f}, with warmup_cosine {cosine[1]:.3f}"
