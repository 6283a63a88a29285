"""Weights from elsewhere: what is read, which names agree, what becomes of the head, and what is refused."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pipeline.errors import UserError
from pipeline.model.load_weights import WeightLoader, adapt_channels, head_names
from pipeline.model.pretrained import PretrainedWeights, library_moments, read_weights


def network(outputs: int = 3, channels: int = 3, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(channels, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, outputs))


def weights(state: dict[str, Tensor], classes: tuple[str, ...] | None = None) -> PretrainedWeights:
    return PretrainedWeights(state, "file.pth", "init.from", classes=classes)


def load(state: dict[str, Tensor], into: nn.Module, classes: str = "abc", known: str | None = None) -> WeightLoader:
    loader = WeightLoader(weights(state, tuple(known) if known else None), tuple(classes))
    loader(into)
    return loader


def changed(before: nn.Module, after: nn.Module) -> set[str]:
    theirs = after.state_dict()
    return {name for name, value in before.state_dict().items() if not torch.equal(value, theirs[name])}


@pytest.mark.parametrize("added", ["", "module.", "model.", "_orig_mod.", "module.encoder_q.", "state.model.net."])
def test_any_prefix_is_found(added: str) -> None:
    trained, fresh = network(seed=1), network(seed=2)
    loader = load({added + name: value for name, value in trained.state_dict().items()}, fresh)
    assert changed(trained, fresh) == set()
    assert loader.report["head"] == "loaded"
    assert set(loader.report["counts"].values()) == {0}


@pytest.mark.parametrize("own", ["backbone", "network"])
def test_a_prefix_is_added(own: str) -> None:
    trained = network(seed=1)

    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.add_module(own, network(seed=2))

    wrapped = Wrapped()
    load({f"model.{name}": value for name, value in trained.state_dict().items()}, wrapped)
    assert changed(trained, getattr(wrapped, own)) == set()


def test_head_of_other_classes_stays_new() -> None:
    trained, fresh, before = network(5, seed=1), network(seed=2), network(seed=2)
    loader = load(trained.state_dict(), fresh)
    assert changed(before, fresh) == {"0.weight", "0.bias"}  # the batchnorm is as at its start in both
    assert loader.report["head"] == "new"
    assert loader.report["head_names"] == ["4.weight", "4.bias"]
    assert not loader.has_trained_head


@pytest.mark.parametrize(("known", "head"), [("abc", "loaded"), ("xyz", "new"), (None, "loaded")])
def test_head_of_as_many_classes_is_kept_for_the_same_names(known: str | None, head: str) -> None:
    fresh = network(seed=2)
    loader = load(network(seed=1).state_dict(), fresh, known=known)
    assert loader.report["head"] == head
    assert torch.equal(fresh[4].weight, network(seed=1 if head == "loaded" else 2)[4].weight)


def test_a_file_without_a_head() -> None:
    state = {name: value for name, value in network(seed=1).state_dict().items() if not name.startswith("4.")}
    loader = load(state, network(seed=2))
    assert loader.report["head"] == "new"
    assert loader.report["counts"] == {"missing": 0, "other_shape": 0, "unexpected": 0}


def test_mismatches_are_counted_and_named() -> None:
    state = network(seed=1).state_dict() | {"aux.weight": torch.zeros(2)}
    state["1.running_mean"] = torch.zeros(9)
    del state["1.weight"]
    report = load(state, network(seed=2)).report
    assert report["counts"] == {"missing": 1, "other_shape": 1, "unexpected": 1}
    assert (report["missing"], report["other_shape"]) == (["1.weight"], ["1.running_mean"])
    assert report["unexpected"] == ["aux.weight"]
    assert "aux.weight" in report["summary"]


def test_another_network_is_refused() -> None:
    other = nn.Sequential(nn.Linear(7, 9), nn.Linear(9, 3))
    with pytest.raises(UserError) as error:
        load(other.state_dict(), network())
    assert error.value.field == "init.from"
    assert "0%" in error.value.message
    assert "0.weight" in error.value.message


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_first_layer_of_other_channels(channels: int) -> None:
    """Equal channels give what they gave."""
    trained, fresh = network(channels=3, seed=1), network(channels=channels, seed=2)
    report = load(trained.state_dict(), fresh).report
    assert report["adapted"] == ["0.weight"]
    image = torch.randn(2, 1, 8, 8)
    for net in (trained, fresh):
        net.eval()
    torch.testing.assert_close(fresh(image.expand(-1, channels, -1, -1)), trained(image.expand(-1, 3, -1, -1)))


def test_adapted_weights_have_their_shape() -> None:
    assert adapt_channels(torch.randn(5, 3, 3, 3), 4).shape == (5, 4, 3, 3)


def test_head_is_the_last_layer_with_a_row_for_each_class() -> None:
    assert head_names(network(3), 3) == ["4.weight", "4.bias"]
    assert head_names(network(3), 7) == []

    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.output, self.last_made = nn.Linear(4, 3), nn.Linear(4, 3)

    assert head_names(Named(), 3) == ["output.weight", "output.bias"]


def test_every_network_of_a_factory_gets_the_same_weights() -> None:
    loader = WeightLoader(weights(network(seed=1).state_dict()), tuple("abc"))
    first, second = loader(network(seed=2)), loader(network(seed=3))
    assert changed(first, second) == set()


# ------------------------------------------------------------------ files


@pytest.mark.parametrize("wrap", [None, "state_dict", "model", "model_state_dict"])
def test_files_of_torch(tmp_path: Path, wrap: str | None) -> None:
    state, path = network(seed=1).state_dict(), tmp_path / "net.pth"
    torch.save({wrap: state, "epoch": 3, "args": {"lr": 0.1}} if wrap else state, path)
    read = read_weights(path, field="init.from")
    assert set(read.state) == set(state)
    assert read.source == str(path.resolve())
    assert read.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("name", ["net.safetensors", "net.bin"])
def test_files_of_safetensors(tmp_path: Path, name: str) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    state = network(seed=1).state_dict()
    safetensors.save_file(state, tmp_path / name)
    read = read_weights(tmp_path / name, field="init.from").state
    assert all(torch.equal(read[key], value) for key, value in state.items())


def test_safetensors_that_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "net.safetensors").write_bytes(b"\2" + bytes(7) + b"{}")
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    with pytest.raises(UserError, match="staged-training-pipeline"):
        read_weights(tmp_path / "net.safetensors", field="init.from")


class Canary:
    def __reduce__(self) -> Any:
        return Path.touch, (Path("/tmp/unpickled-by-weights"),)


@pytest.mark.parametrize(
    "content", ["missing", "empty", "text", "module", "canary", "list", "numbers", "cut", "cut_safetensors", "folder"]
)
def test_what_holds_no_tensors_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / ("net.safetensors" if content == "cut_safetensors" else "net.pth")
    saved: dict[str, Any] = {
        "module": network(), "canary": {"x": Canary()}, "list": [torch.zeros(2)], "numbers": {"a": 1}
    }  # fmt: skip
    if content in saved:
        torch.save(saved[content], path)
    elif content == "folder":
        path.mkdir()
    elif content != "missing":
        torch.save(network().state_dict(), path)
        whole = path.read_bytes()
        path.write_bytes({"empty": b"", "text": b"label,file\n", "cut": whole[: len(whole) // 2]}.get(content, whole))
    with pytest.raises(UserError) as error:
        read_weights(path, field="init.from")
    assert error.value.field == "init.from"
    assert str(path) in error.value.message
    assert not Path("/tmp/unpickled-by-weights").exists()


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "best.ckpt"
    torch.save(network().state_dict(), path)
    (tmp_path / "best.ckpt.sha256").write_text("0" * 64 + "\n")
    with pytest.raises(UserError, match="damaged"):
        read_weights(path, field="init.from")


def test_moments_for_other_channels() -> None:
    assert library_moments((0.2, 0.4, 0.6), (1, 2, 3), channels=3) == ((0.2, 0.4, 0.6), (1, 2, 3))
    mean, std = library_moments((0.2, 0.4, 0.6), (1, 2, 3), channels=1)
    assert (mean, std) == (pytest.approx((0.4,)), (2.0,))
