"""A watched loop in two processes: rank 0 measures, and both stop at the same epoch."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import json, os, sys
import torch
from torch import nn, distributed
from torch.nn import functional as F
import pipeline

distributed.init_process_group("gloo")
rank = distributed.get_rank()
torch.manual_seed(0)
x, y = torch.randn(256, 8), torch.arange(256) % 2
x[:, 0] += 3 * y
model = nn.parallel.DistributedDataParallel(nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2)))
optimizer = torch.optim.SGD(model.parameters(), lr=float(sys.argv[1]))
clears = sys.argv[2] == "clears"
epochs = 0
with pipeline.watch(model, optimizer, classes=2, every=4, policy="stop", out=sys.argv[3] + str(rank)) as w:
    for epoch in range(4):
        for index in torch.arange(rank, 256, 2).split(16):
            with w.step():
                if clears:
                    optimizer.zero_grad()
                logits = model(x[index])
                loss = F.cross_entropy(logits, y[index])
                loss.backward()
                w.backward_done(loss, logits, y[index])
                optimizer.step()
        w.epoch(val_loss=1.0)
        epochs += 1
        if w.should_stop:
            break
print(json.dumps({"rank": rank, "epochs": epochs, "checks": [f.check for f in w.findings],
                  "names": w.recorder.samples["weights"]["name"], "steps": len(w.curves.losses)}))
distributed.destroy_process_group()
"""


def run(folder: Path, rate: float, clears: str) -> list[dict]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"
    }  # fmt: skip
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(rate), clears, str(folder / "rank")],
            env=environment | {"RANK": str(rank)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    shown = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    return [json.loads(text.strip().splitlines()[-1]) for text in shown]


@pytest.mark.slow
def test_sound_and_faulty(tmp_path: Path) -> None:
    first, second = run(tmp_path, 0.1, "clears")
    assert (first["epochs"], second["epochs"]) == (4, 4)
    assert first["names"] == ["0.weight", "2.weight"]  # of the module inside
    assert (first["steps"], second["steps"]) == (32, 0)
    assert (tmp_path / "rank0" / "report.html").exists()
    assert not (tmp_path / "rank1").exists()
    first, second = run(tmp_path, 0.1, "never clears")
    assert first["checks"][0] == "gradients_not_cleared"
    assert (first["epochs"], second["epochs"]) == (1, 1)
