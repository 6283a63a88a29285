"""`pipeline.preflight`: what it finds, what it leaves as it was, and what it refuses."""

from __future__ import annotations

import copy
import functools
import random
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import pipeline
from tests.watching.models import AlwaysDropped, ListedLayers, batch, convnet, images, mlp, sgd

quiet_preflight = functools.partial(pipeline.preflight, quiet=True)


def checks(findings: Any) -> list[str]:
    return [finding.check for finding in findings if finding.severity != "info"]


def replaced_head() -> tuple[nn.Module, torch.optim.Optimizer]:
    model = mlp()
    optimizer = sgd(model.parameters())
    model[2] = nn.Linear(32, 4)
    return model, optimizer


# ------------------------------------------------------------------ what it finds


@pytest.mark.parametrize(
    ("model", "check"),
    [
        (ListedLayers(), "unregistered_parameters"),
        (AlwaysDropped(), "random_evaluation"),
        (mlp(nn.Softmax(1)), "output_activation"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_a_fault_of_the_model_comes_first(model: nn.Module, check: str) -> None:
    findings = quiet_preflight(model, batch(), F.cross_entropy, sgd)
    assert findings[0].check == check
    assert findings[0].advice
    assert findings[0].remedy == ()  # an override means nothing here


def test_an_optimizer_from_before_the_head_was_replaced() -> None:
    model, optimizer = replaced_head()
    findings = quiet_preflight(model, batch(), F.cross_entropy, optimizer)
    assert (findings[0].check, findings[0].where) == ("optimizer_parameters", "2.weight")


def test_the_path_of_a_layer_in_a_list_is_that_of_the_model() -> None:
    findings = quiet_preflight(ListedLayers(), batch(), F.cross_entropy, sgd)
    assert findings[0].where == "layers[0].bias"


def pinball(outputs: Tensor, labels: Tensor) -> Tensor:
    return torch.max(0.9 * (labels - outputs), 0.1 * (outputs - labels)).mean()


def dice(outputs: Tensor, labels: Tensor) -> Tensor:
    share = F.one_hot(labels, 3).movedim(-1, 1).float()
    return (1 - (2 * (outputs * share).sum((2, 3)) + 1) / ((outputs + share).sum((2, 3)) + 1)).mean()


@pytest.mark.parametrize(
    ("last", "labels", "loss", "is_wrong"),
    [
        (nn.Sigmoid(), torch.arange(48) % 2, nn.BCELoss(), False),
        (nn.Sigmoid(), torch.arange(48) / 48, nn.BCELoss(), False),
        (nn.Sigmoid(), torch.arange(48) % 2, nn.BCEWithLogitsLoss(), True),
        (nn.Sigmoid(), torch.arange(48) / 48, nn.BCEWithLogitsLoss(), True),
        (nn.Sigmoid(), torch.arange(48) / 48, nn.MSELoss(), False),
        (nn.Sigmoid(), torch.arange(48) / 4, nn.MSELoss(), True),
        (nn.Tanh(), torch.arange(48) / 24 - 1, nn.L1Loss(), False),
        (nn.ReLU(), torch.arange(48) % 7, nn.HuberLoss(), False),
        (nn.ReLU(), torch.arange(48) % 7, pinball, False),
        (nn.ReLU(), torch.arange(48) % 7 - 3, nn.MSELoss(), True),
        (nn.Softplus(), torch.arange(48) % 7, lambda a, b: F.mse_loss(a, b).sqrt(), False),
    ],
)
def test_activations_of_outputs_that_are_quantities(
    last: nn.Module, labels: Tensor, loss: Callable[[Tensor, Tensor], Tensor], is_wrong: bool
) -> None:
    x, _ = batch()
    findings = quiet_preflight(mlp(last, outputs=1), (x, labels[:, None].float()), loss, sgd)
    assert ("output_activation" in checks(findings)) == is_wrong


@pytest.mark.parametrize(("loss", "is_wrong"), [(dice, False), (F.cross_entropy, True)])
def test_a_softmax_over_the_classes_of_each_pixel(loss: Callable[..., Tensor], is_wrong: bool) -> None:
    pictures, _ = images()
    model = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 3, 1), nn.Softmax(1))
    findings = quiet_preflight(model, (pictures, (pictures[:, 0] * 3).long().clamp(0, 2)), loss, sgd)
    assert ("output_activation" in checks(findings)) == is_wrong


def test_an_optimizer_that_climbs() -> None:
    findings = quiet_preflight(mlp(), batch(), F.cross_entropy, lambda p: torch.optim.SGD(p, lr=0.1, maximize=True))
    assert findings[0].check == "wrong_direction"


def test_regression_that_broadcasts() -> None:
    x, _ = batch()
    targets = x.sum(1)
    model = mlp(outputs=1)
    with pytest.warns(UserWarning, match="target size") as warned:
        wrong = quiet_preflight(model, (x, targets), F.mse_loss, sgd)
    right = quiet_preflight(model, (x, targets[:, None]), F.mse_loss, sgd)
    assert checks(wrong) == ["loss_ignores_pairs"]
    assert len(warned) == 1  # by torch, of the batch itself, and not again for each measurement
    assert checks(right) == []


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = mlp()

    def forward(self, x: Tensor, scale: Tensor) -> dict[str, Tensor]:
        return {"features": self.net[0](x), "logits": self.net(x) * scale}


class OwnLoss(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = mlp()

    def forward(self, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
        logits = self.net(x)
        return {"loss": F.cross_entropy(logits, labels), "logits": logits}


def sound_cases() -> dict[str, tuple[nn.Module, Any, Any]]:
    x, y = batch()
    pictures, labels = images()
    tokens = torch.randint(0, 30, (48, 6), generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    embedding = nn.Sequential(nn.Embedding(30, 8), nn.Flatten(), nn.Linear(48, 4))
    segmenting = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 3, 1))
    autoencoder = nn.Sequential(nn.Linear(20, 8), nn.ReLU(), nn.Linear(8, 20))
    weighted = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 50.0, 2.0, 1.0]))
    binary = (y > 1).float()
    return {
        "rows": (mlp(), (x, y), F.cross_entropy),
        "the loss follows from the labels": (mlp(), (x, y), None),
        "images": (convnet(), (pictures, labels), F.cross_entropy),
        "weighted": (mlp(), (x, y), weighted),
        "tokens": (embedding, (tokens, y), F.cross_entropy),
        "two arguments": (TwoInputs(), (x, torch.ones(48, 1), y), F.cross_entropy),
        "the model's own loss": (OwnLoss(), {"x": x, "labels": y}, None),
        "a class for each pixel": (segmenting, (pictures, (pictures[:, 0] * 3).long().clamp(0, 2)), F.cross_entropy),
        "autoencoder": (autoencoder, (x, x), F.mse_loss),
        "one logit": (mlp(nn.Flatten(0), outputs=1), (x, binary), F.binary_cross_entropy_with_logits),
        "several labels": (mlp(), (x, F.one_hot(y).float()), F.binary_cross_entropy_with_logits),
        "sequences": (nn.LSTM(4, 8, batch_first=True), (x.view(48, 5, 4), torch.randn(48, 5, 8)), F.mse_loss),
    }


@pytest.mark.parametrize("name", sound_cases())
def test_sound_training_of_any_shape_has_no_finding(name: str) -> None:
    model, data, loss = sound_cases()[name]
    findings = quiet_preflight(model, data, loss, sgd)
    assert checks(findings) == []
    assert findings.judged >= 10


def test_positions_of_an_image_are_not_fitted() -> None:
    """A network of small kernels cannot memorize a random class for each pixel, and need not."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 3, 1))
    labels = torch.randint(0, 3, (48, 8, 8), generator=torch.Generator().manual_seed(2))
    assert checks(quiet_preflight(model, (torch.rand(48, 1, 8, 8), labels), F.cross_entropy)) == []


def test_data_of_several_splits() -> None:
    x, y = images(400)
    swapped = {"train": (x, y), "val": (x[:100] * 50 + 30, y[:100])}
    assert checks(quiet_preflight(convnet(), images(), F.cross_entropy, data=swapped)) == ["split_shift"]
    arrays = (x.numpy(), y.numpy())
    assert checks(quiet_preflight(convnet(), images(), F.cross_entropy, data=arrays)) == []
    dataset = torch.utils.data.TensorDataset(x, y)
    assert checks(quiet_preflight(convnet(), images(), F.cross_entropy, data=dataset)) == []


def test_data_of_real_labels() -> None:
    x, _ = batch(400)
    data = {"train": (x * 3000 + 20000, x.sum(1)), "val": (x[:100], x[:100].sum(1))}
    found = checks(quiet_preflight(mlp(outputs=1), (x[:48], x[:48].sum(1, keepdim=True)), F.mse_loss, data=data))
    assert found[0] in ("split_shift", "inputs_not_scaled")
    assert "class_imbalance" not in found


def test_data_of_tokens_is_not_judged_as_amounts() -> None:
    tokens = torch.randint(0, 30, (400, 6), generator=torch.Generator().manual_seed(0))
    labels = tokens[:, 0] // 10
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(30, 8), nn.Flatten(), nn.Linear(48, 3))
    assert checks(quiet_preflight(model, (tokens[:48], labels[:48]), F.cross_entropy, data=(tokens, labels))) == []
    next_token = quiet_preflight(model, (tokens[:48], labels[:48]), F.cross_entropy, data=(tokens, tokens))
    assert checks(next_token) == []


def test_data_in_half_precision() -> None:
    x, y = batch(400)
    assert checks(quiet_preflight(mlp(), (x[:48], y[:48]), F.cross_entropy, data=(x.bfloat16(), y))) == []


def test_what_was_not_checked_is_listed() -> None:
    findings = quiet_preflight(mlp(), batch(), F.cross_entropy)
    names = {one.check for one in findings.not_checked}
    assert {"optimizer_parameters", "split_shift", "overfitting"} <= names
    assert "unregistered_parameters" not in names
    with_more = quiet_preflight(mlp(), batch(), F.cross_entropy, sgd, data=images(400))
    assert not {"optimizer_parameters", "split_shift"} & {one.check for one in with_more.not_checked}
    assert with_more.judged > findings.judged


# ------------------------------------------------------------------ the model stays as it was


def snapshot(model: nn.Module) -> dict[str, Any]:
    return {
        "state": {name: value.clone() for name, value in model.state_dict().items()},
        "gradients": [None if p.grad is None else p.grad.clone() for p in model.parameters()],
        "modes": [module.training for module in model.modules()],
        "trainable": [p.requires_grad for p in model.parameters()],
        "dropout": [module.p for module in model.modules() if isinstance(module, nn.Dropout)],
        "hooks": [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()],
    }


def same(first: Any, second: Any) -> bool:
    if isinstance(first, Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list):
        return len(first) == len(second) and all(map(same, first, second))
    return bool(first == second)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("fails", [False, True])
def test_the_model_stays_as_it_was(training: bool, fails: bool) -> None:
    model, (x, y) = convnet(), images()
    model[0].requires_grad_(False)
    F.cross_entropy(model(x), y).backward()
    model.train(training)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    optimizer.step()
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 3)
    before, state = snapshot(model), copy.deepcopy(optimizer.state_dict())
    random_states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002
    if fails:
        with pytest.raises(pipeline.PreflightError):
            quiet_preflight(model, (x, y + 4), F.cross_entropy, optimizer)
    else:
        quiet_preflight(model, (x, y), F.cross_entropy, optimizer)
    assert same(before, snapshot(model))
    assert same(state, optimizer.state_dict())
    assert scheduler.last_epoch == 0
    assert torch.equal(torch.get_rng_state(), random_states[0])
    assert random.getstate() == random_states[1]
    assert (np.random.get_state()[1] == random_states[2]).all()  # noqa: NPY002


# ------------------------------------------------------------------ what it refuses


def raises_here(*_: Tensor) -> Tensor:
    raise RuntimeError("inner dimensions do not match")


@pytest.mark.filterwarnings("ignore:Using a target size")
@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda a: a | {"model": "net"}, "model"),
        (lambda a: a | {"model": mlp(features=7)}, "model"),
        (lambda a: a | {"model": mlp().to("meta")}, "model"),
        (lambda a: a | {"model": nn.LazyLinear(4)}, "model"),
        (lambda a: a | {"batch": a["batch"][0]}, "batch"),
        (lambda a: a | {"batch": (a["batch"][0][:1], a["batch"][1][:1])}, "batch"),
        (lambda a: a | {"batch": (a["batch"][0], a["batch"][1][:7])}, "batch"),
        (lambda a: a | {"batch": (a["batch"][0], a["batch"][1] + 1)}, "batch"),
        (lambda a: a | {"batch": (a["batch"][0], a["batch"][1] - 1)}, "batch"),
        (lambda a: a | {"batch": (a["batch"][0].to("meta"), a["batch"][1])}, "batch"),
        (lambda a: a | {"batch": ([1, 2], a["batch"][1])}, "batch"),
        (lambda a: a | {"loss": lambda outputs: outputs.sum()}, "loss"),
        (lambda a: a | {"loss": functools.partial(F.cross_entropy, reduction="none")}, "loss"),
        (lambda a: a | {"loss": raises_here}, "loss"),
        (lambda a: a | {"loss": F.mse_loss, "batch": (a["batch"][0], torch.zeros(48, 7))}, "loss"),
        (lambda a: a | {"loss": 3}, "loss"),
        (lambda a: a | {"batch": (a["batch"][0], a["batch"][1].to("meta"))}, "batch"),
        (lambda a: a | {"optimizer": "adam"}, "optimizer"),
        (lambda a: a | {"optimizer": lambda parameters: parameters}, "optimizer"),
        (lambda a: a | {"data": {"training": a["batch"]}}, "data"),
        (lambda a: a | {"data": (a["batch"][0], torch.zeros(47))}, "data"),
        (lambda a: a | {"data": 5}, "data"),
    ],
)
def test_wrong_arguments(change: Callable[[dict[str, Any]], dict[str, Any]], field: str) -> None:
    arguments = change({"model": mlp(), "batch": batch(), "loss": F.cross_entropy, "optimizer": sgd})
    with pytest.raises(pipeline.PreflightError) as caught:
        quiet_preflight(**arguments)
    assert caught.value.field == field


# ------------------------------------------------------------------ how it shows itself


def test_findings_are_a_sequence_that_prints_itself(capsys: pytest.CaptureFixture[str]) -> None:
    findings = pipeline.preflight(ListedLayers(), batch(), F.cross_entropy, sgd)
    assert "unregistered_parameters" in capsys.readouterr().out
    assert "unregistered_parameters" in str(findings) == repr(findings)
    assert findings[0] in list(findings)
    assert len(findings[:1]) == 1
    html = findings._repr_html_()
    assert "unregistered_parameters" in html
    assert "<details>" in html


def test_text_of_a_module_is_escaped() -> None:
    model = ListedLayers()
    model.layers = {"<b>": model.layers[0]}  # type: ignore[assignment]
    model.forward = lambda x: model.output(F.relu(model.layers["<b>"](x)))  # type: ignore[method-assign, call-overload]
    html = quiet_preflight(model, batch(), F.cross_entropy, sgd)._repr_html_()
    assert "<b>']" not in html
    assert "&lt;b&gt;" in html


def test_raise_on() -> None:
    findings = quiet_preflight(ListedLayers(), batch(), F.cross_entropy, sgd)
    with pytest.raises(pipeline.CheckFailed, match="unregistered_parameters"):
        findings.raise_on("failure")
    with pytest.raises(ValueError, match="severity"):
        findings.raise_on("error")  # type: ignore[arg-type]
    sound = quiet_preflight(mlp(), batch(), F.cross_entropy, sgd)
    assert sound.raise_on("warning") is sound


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        (lambda y: y.float(), "labels.reshape(-1).long()"),
        (lambda y: y[:, None], "labels.reshape(-1).long()"),
        (lambda y: y.int(), "labels.reshape(-1).long()"),
        (lambda y: y.numpy(), "torch.as_tensor(labels)"),
    ],
)
def test_labels_of_another_form_come_with_a_cure(change: Callable[[Tensor], Any], hint: str) -> None:
    x, y = batch()
    with pytest.raises(pipeline.PreflightError, match=re.escape(hint)):
        quiet_preflight(mlp(), (x, change(y)), F.cross_entropy)


def test_the_class_of_a_loss_is_no_loss() -> None:
    with pytest.raises(pipeline.PreflightError, match=re.escape("CrossEntropyLoss()")):
        quiet_preflight(mlp(), batch(), nn.CrossEntropyLoss)


def test_a_loader_is_no_batch() -> None:
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*batch()))
    with pytest.raises(pipeline.PreflightError, match=re.escape("next(iter(loader))")):
        quiet_preflight(mlp(), loader, F.cross_entropy)


def test_ok_allows_by_name() -> None:
    findings = quiet_preflight(ListedLayers(), batch(), F.cross_entropy, sgd)
    with pytest.raises(AssertionError, match="unregistered_parameters"):
        findings.ok()
    with pytest.raises(ValueError, match="severity"):
        findings.ok("warn")  # type: ignore[arg-type]
    assert findings.ok(allow=["unregistered_parameters"]) is findings


def test_it_needs_neither_hydra_nor_lightning() -> None:
    code = (
        "import sys, torch, pipeline; from torch import nn; "
        "pipeline.preflight(nn.Linear(4, 3), (torch.randn(8, 4), torch.arange(8) % 3), quiet=True); "
        "print(*sorted({'hydra', 'omegaconf', 'pytorch_lightning', 'transformers'} & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.split() == []
