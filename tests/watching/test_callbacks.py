"""`LightningWatch`, `HFWatch` and the pytest plugin, beyond the examples of docs/examples."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import pipeline
from tests.watching.models import ListedLayers, batch, mlp

pytestmark = pytest.mark.filterwarnings("ignore")
HAS_TRANSFORMERS = importlib.util.find_spec("transformers") is not None


class Module(pl.LightningModule):
    def __init__(self, model: nn.Module | None = None, *, lr: float = 0.1, manual: bool = False):
        super().__init__()
        self.model, self.rate = model or mlp(), lr
        self.automatic_optimization = not manual

    def training_step(self, data: tuple[Tensor, Tensor], _: int) -> dict[str, Tensor]:
        x, y = data
        logits = self.model(x)
        loss = F.cross_entropy(logits, y)
        if not self.automatic_optimization:
            optimizer: Any = self.optimizers()
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()
        return {"loss": loss, "logits": logits.detach(), "labels": y}

    def validation_step(self, data: tuple[Tensor, Tensor], _: int) -> None:
        logits = self.model(data[0])
        self.log("my_loss", F.cross_entropy(logits, data[1]))
        self.log("my_score", (logits.argmax(1) == data[1]).float().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=self.rate)


def fit(
    module: Module, watch: Any, *, epochs: int = 4, path: Path | None = None, resume: Path | None = None, **more: Any
) -> pl.Trainer:
    torch.manual_seed(0)
    x, y = batch(512)
    trainer = pl.Trainer(
        max_epochs=epochs, callbacks=[watch], accelerator="cpu", logger=False, enable_progress_bar=False,
        enable_checkpointing=False, enable_model_summary=False, **more,
    )  # fmt: skip
    trainer.fit(module, DataLoader(TensorDataset(x, y), 32), DataLoader(TensorDataset(*batch(100, seed=3)), 100),
                ckpt_path=resume)  # fmt: skip
    if path is not None:
        trainer.save_checkpoint(path)
    return trainer


def watch_of(**arguments: Any) -> pipeline.LightningWatch:
    names = {"classes": 4, "every": 10, "policy": "silent", "val_loss": "my_loss", "val_accuracy": "my_score"}
    return pipeline.LightningWatch(**names | arguments)


@pytest.mark.parametrize("manual", [False, True])
def test_a_sound_module(manual: bool) -> None:
    watch = watch_of()
    fit(Module(manual=manual), watch)
    assert [f.check for f in watch.findings if f.severity != "info"] == []
    signals = watch.watch.signals(running=False)
    assert signals["epochs"]["step"] == [16, 32, 48, 64]
    assert len(signals["epochs"]["val_accuracy"]) == len(signals["epochs"]["val_loss"]) == 4
    assert len(signals["accuracies"]) == 64
    assert signals["train_examples"] == 512
    assert signals["samples"]["activations"]["name"] == ["model.1"]


def test_the_training_is_the_same_with_and_without() -> None:
    modules = [Module(), Module()]
    for module, watch in zip(modules, [watch_of(), pl.Callback()], strict=True):
        fit(module, watch)
    for first, second in zip(*(m.state_dict().values() for m in modules), strict=True):
        assert torch.equal(first, second)


def test_accumulated_batches_are_measured_at_the_update() -> None:
    watch = watch_of()
    fit(Module(), watch, accumulate_grad_batches=4, epochs=6)
    signals = watch.watch.signals(running=False)
    assert [f.check for f in watch.findings if f.severity != "info"] == []
    assert signals["gradients_kept"] == []
    assert all(ratio > 0 for row in signals["samples"]["weights"]["update"] for ratio in row)
    assert signals["losses"][0] == pytest.approx(1.5, abs=0.5)  # not divided by four


def test_a_fault_and_the_policy_stop() -> None:
    watch = watch_of(policy="stop")
    trainer = fit(Module(ListedLayers()), watch)
    assert watch.findings[0].check == "unregistered_parameters"
    assert trainer.current_epoch == 1


def test_the_state_is_in_the_checkpoint(tmp_path: Path) -> None:
    whole = watch_of()
    fit(Module(), whole, epochs=4)
    fit(Module(), watch_of(), epochs=2, path=tmp_path / "half.ckpt")
    rest = watch_of()
    fit(Module(), rest, epochs=4, resume=tmp_path / "half.ckpt")
    assert rest.watch.curves.losses == pytest.approx(whole.watch.curves.losses)
    assert rest.watch.recorder.samples["step"] == whole.watch.recorder.samples["step"]


def test_an_exception_leaves_the_files(tmp_path: Path) -> None:
    class Breaking(Module):
        def on_train_epoch_start(self) -> None:
            if self.current_epoch == 2:
                raise RuntimeError("the module breaks")

    with pytest.raises(RuntimeError, match="the module breaks"):
        fit(Breaking(), watch_of(out=tmp_path))
    assert '"status": "error"' in (tmp_path / "outcome.json").read_text()


# ------------------------------------------------------------------ transformers


@pytest.mark.slow
@pytest.mark.skipif(not HAS_TRANSFORMERS, reason="transformers is an extra")
def test_hf_accumulation_and_stop(tmp_path: Path) -> None:
    path = Path(__file__).resolve().parents[2] / "docs" / "examples" / "transformers_trainer.py"
    spec = importlib.util.spec_from_file_location("transformers_trainer", path)
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    from transformers import Trainer, TrainingArguments

    def train(lr: float, policy: str) -> Any:
        torch.manual_seed(0)
        config = example.BertConfig(
            vocab_size=example.WORDS, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
            max_position_embeddings=example.LENGTH, num_labels=2,
        )  # fmt: skip
        watch = pipeline.HFWatch(classes=2, policy=policy)
        arguments = TrainingArguments(
            str(tmp_path), num_train_epochs=3, per_device_train_batch_size=16, gradient_accumulation_steps=2,
            learning_rate=lr, report_to=[], save_strategy="no", disable_tqdm=True, use_cpu=True, max_grad_norm=0.0,
        )  # fmt: skip
        model = example.BertForSequenceClassification(config)
        trainer = Trainer(model, arguments, train_dataset=example.Sentences(256, 0), callbacks=[watch])
        trainer.train()
        return watch, trainer

    watch, trainer = train(1e-3, "silent")
    signals = watch.watch.signals(running=False)
    assert (len(signals["losses"]), signals["train_examples"]) == (24, 256)
    assert (signals["gradients_kept"], signals["gradients_lost"]) == ([], [])
    assert signals["lr"] == pytest.approx(1e-3)
    watch, trainer = train(1e6, "stop")
    assert watch.findings.at_least("failure")
    assert trainer.state.epoch == 1


# ------------------------------------------------------------------ pytest


def test_the_plugin(tmp_path: Path) -> None:
    (tmp_path / "test_net.py").write_text(
        "import torch\n"
        "from torch import nn\n"
        "def check(training_checks, model):\n"
        "    batch = torch.randn(32, 6), torch.arange(32) % 3\n"
        "    training_checks(model, batch=batch, loss=nn.functional.cross_entropy).ok()\n"
        "def test_sound(training_checks):\n"
        "    check(training_checks, nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3)))\n"
        "def test_broken(training_checks):\n"
        "    check(training_checks, nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3), nn.Softmax(1)))\n"
    )
    shown = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)], capture_output=True, text=True
    )
    assert "1 failed, 1 passed" in shown.stdout
    assert "AssertionError: output_activation" in shown.stdout


def test_the_plugin_loads_no_torch() -> None:
    code = "import sys, pipeline.pytest_plugin; print('torch' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "False"
