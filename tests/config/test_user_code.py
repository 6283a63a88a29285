"""Networks, losses, arrays and images of the user."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

from pipeline.config.compose import compose_config
from pipeline.errors import UserError
from pipeline.workflow.build import build_components
from tests.config.one_step import take_one_step

MINE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, input_shape, classes, hidden=3):
        super().__init__()
        size = input_shape[0] * input_shape[1] * input_shape[2]
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(size, hidden), nn.Linear(hidden, classes))

    def forward(self, x):
        return self.layers(x)

def loss(logits, labels, power=2):
    hot = nn.functional.one_hot(labels, logits.shape[1])
    return (logits - hot).abs().pow(power).mean()

loss.initial_loss = lambda classes: 1 / classes
"""


@pytest.fixture
def my_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of the user, with a name that no other test has imported."""
    name = f"mine_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(MINE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PIPELINE_ALLOW", f"{name}.Net,{name}.loss")
    return name


def test_network(my_module: str) -> None:
    config = compose_config(["data=digits", "model=custom", f"model._target_={my_module}.Net", "+model.hidden=7"])
    components = build_components(config)
    assert any(p.shape == (7, 64) for p in components.make_network().parameters())
    take_one_step(components)
    OmegaConf.update(config, "model.hiden", 7, force_add=True)
    with pytest.raises(UserError, match="'hidden'") as error:
        build_components(config)
    assert error.value.field == "model.hiden"


def test_loss(my_module: str) -> None:
    config = compose_config(
        ["data=digits", "loss=custom", f"loss.function._target_={my_module}.loss", "+loss.function.power=1"]
    )
    components = build_components(config)
    assert components.loss(torch.zeros(1, 4), torch.zeros(1, dtype=torch.long)).item() == 0.25
    assert components.loss.initial_loss(10) == 0.1
    take_one_step(components)
    OmegaConf.update(config, "loss.function.powr", 1, force_add=True)
    with pytest.raises(UserError, match="'power'") as error:
        build_components(config)
    assert error.value.field == "loss.function.powr"


@pytest.mark.parametrize(("group", "key"), [("model", "model._target_"), ("loss", "loss.function._target_")])
def test_not_allowed(group: str, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIPELINE_ALLOW", raising=False)
    config = compose_config(["data=digits", f"{group}=custom"])
    for name in ("???", "nowhere.Thing"):
        OmegaConf.update(config, key, name)
        with pytest.raises(UserError) as error:
            build_components(config)
        assert error.value.field == key


def test_torchvision_network() -> None:
    take_one_step(build_components(compose_config(["data=digits", "model=torchvision", "model.resize=null"])))


def test_arrays(tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 256, (60, 8, 8, 3), dtype=np.uint8)
    np.savez(tmp_path / "mine.npz", x_train=x, y_train=np.arange(60) % 3, classes=np.array(["a", "b", "c"]))
    config = compose_config(["data=npz", f"data.path={tmp_path / 'mine.npz'}", "data.batch_size=16"])
    components = build_components(config)
    assert components.data.input_shape == (3, 8, 8)
    assert tuple(components.data.classes) == ("a", "b", "c")
    take_one_step(components)


def test_images(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 9, 11, 3), dtype=np.uint8)
    for i, image in enumerate(pixels):
        folder = tmp_path / "photos" / "ab"[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{i}.png")
    overrides = ["data=image_folder", f"data.path={tmp_path / 'photos'}", "data.batch_size=8", "data.size=8"]
    components = build_components(compose_config([*overrides, "stages.overfit.examples=8", "data.grayscale=true"]))
    assert components.data.input_shape == (1, 8, 8)
    take_one_step(components)


@pytest.mark.parametrize("option", ["npz", "image_folder"])
def test_missing_path(option: str, tmp_path: Path) -> None:
    config = compose_config([f"data={option}"])
    for path in (None, str(tmp_path / "nothing")):
        config.data.path = path
        with pytest.raises(UserError) as error:
            build_components(config)
        assert error.value.field == "data.path"
