"""Rows of weights from elsewhere and of fine-tuning."""

from __future__ import annotations

import torch

from tests.field.case import Trial, case, passed, refused, want, want_no_crash
from tests.field.cases.arrays import save, some_digits
from tests.field.cases.networks import DIGITS
from tests.field.program import Ended

SMALL = ("model.width=8", "stage=[sanity,train]", "stages.train.epochs=2", "data.batch_size=32")


def first_run(trial: Trial) -> Ended:
    """Train on five digits."""
    x, y = some_digits(900)
    path = save(trial.folder / "first.npz", x_train=x[y < 5], y_train=y[y < 5])
    passed(ended := trial.run("data=npz", path, *SMALL))
    return ended


def other_data(trial: Trial) -> tuple[str, str]:
    """Return data of six other classes."""
    x, y = some_digits(900)
    chosen = y > 3
    classes = [f"digit {i}" for i in range(4, 10)]
    return "data=npz", save(trial.folder / "other.npz", x_train=x[chosen], y_train=y[chosen] - 4, classes=classes)


@case(84, "weights from a run, .safetensors, .pth", "loaded, with a new head; mismatches listed")
def start_weights(trial: Trial) -> str:
    from safetensors.torch import save_file

    first, data = first_run(trial), other_data(trial)
    state = torch.load(first.directory / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    network = {key.removeprefix("network."): value for key, value in state.items() if key.startswith("network.")}
    save_file({key: value.contiguous() for key, value in network.items()}, trial.folder / "w.safetensors")
    torch.save({"model": network}, trial.folder / "w.pth")
    for source in (first.directory, trial.folder / "w.safetensors", trial.folder / "w.pth"):
        ended = trial.run(*data, *SMALL, f"init.from={source}")
        want_no_crash(ended)
        want(ended.record["weights"]["head"] == "new", f"{ended.record['weights']}")
        want(len(ended.record["weights"]["sha256"]) == 64, "no checksum")
    refused(
        trial.run(*data, "model=resnet", "stage=[sanity]", f"init.from={first.directory}"),
        "init.from",
        "model options with which",
    )
    refused(trial.run(*data, *SMALL, "init.from=nowhere.pth"), "init.from", "nowhere.pth")
    torch.save({"model": Payload()}, trial.folder / "bad.pth")
    refused(trial.run(*data, *SMALL, f"init.from={trial.folder}/bad.pth"), "init.from", without=("weights_only=False",))
    return f"{ended.record['weights']['summary'][:100]}"


class Payload:
    """An object that a file of weights must not hold."""

    def __reduce__(self) -> tuple[object, ...]:
        return print, ("code of the file was run",)


@case(85, "fine-tuning with frozen layers", "by name, pattern and all but; they stay as they were")
def frozen_layers(trial: Trial) -> str:
    first, data = first_run(trial), other_data(trial)
    before = torch.load(first.directory / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    for frozen in ('model.frozen=["!output"]', "model.frozen=[hidden]"):
        ended = trial.run(*data, *SMALL, f"init.from={first.directory}", frozen, "preprocessing=network")
        passed(ended)
        after = torch.load(ended.directory / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
        moved = [key for key in after if "hidden" in key and not torch.equal(after[key], before[key])]
        want(not moved, f"{frozen}: {moved} changed")
    got = refused(trial.run(*data, *SMALL, "model.frozen=[backbone]"), "model.frozen", "hidden|output")
    return f"the frozen layers and their statistics stay; {got[:70]}"


@case(86, "optimizer.layer_decay=0.3", "layers near the input move less, the head as before")
def layer_decay(trial: Trial) -> str:
    words = (*DIGITS, "model.width=8", "stage=[train]", "stages.train.epochs=1", "optimizer=sgd", "schedule=constant")
    words = (*words, "regularization=none", "optimizer.lr=0.001")

    def weights_after(*more: str) -> dict[str, torch.Tensor]:
        ended = trial.run(*words, *more)
        want_no_crash(ended)
        start.setdefault("directory", str(ended.directory))
        return torch.load(ended.directory / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]

    start: dict[str, str] = {}
    before = weights_after()
    source = f"init.from={start['directory']}/checkpoints/last.ckpt"
    plain, decayed = weights_after(source), weights_after(source, "optimizer.layer_decay=0.3")
    keys = [key for key in before if key.startswith("network.") and key.endswith("weight") and before[key].ndim > 1]
    moved = [float((decayed[key] - before[key]).norm() / (plain[key] - before[key]).norm()) for key in keys]
    want(moved == sorted(moved) and moved[0] < 0.1 and moved[-1] > 0.8, f"{dict(zip(keys, moved, strict=True))}")
    refused(trial.run(*words, "optimizer.layer_decay=1.5"), "optimizer.layer_decay")
    return f"movement of each layer beside that without: {', '.join(f'{share:.3f}' for share in moved)}"


def forbid_network() -> None:
    """Let every connection fail, at once."""
    import socket

    import huggingface_hub.constants

    huggingface_hub.constants.HF_HUB_OFFLINE = True  # else it tries again for 50 s

    def refuse(*arguments: object, **named: object) -> None:
        raise OSError("no network in this test")

    socket.socket.connect = socket.create_connection = refuse  # type: ignore[assignment, method-assign]


@case(89, "model=timm, with weights of a file", "trains; nothing is downloaded unasked")
def timm_model(trial: Trial) -> str:
    import timm

    torch.save(timm.create_model("resnet10t", num_classes=7).state_dict(), trial.folder / "w.pth")
    words = (*DIGITS, "model=timm", "model.name=resnet10t", "model.resize=16")
    words = (*words, "stage=[train]", "stages.train.epochs=1")
    ended = trial.run(*words, f"model.weights={trial.folder}/w.pth", prepare=forbid_network)
    want_no_crash(ended)
    want(ended.record["weights"]["head"] == "new", f"{ended.record['weights']}")
    want_no_crash(trial.run(*words, prepare=forbid_network))
    got = refused(
        trial.run(*DIGITS, "model=timm", "model.name=resnet1O", "stage=[train]"), "model.name", "Did you mean"
    )
    refused(trial.run(*words, "model.pretrained=true", prepare=forbid_network), "model.pretrained|download")
    return f"{ended.record['weights']['summary'][:60]}; {got[:60]}"
