"""The public names of the room, and the cost of importing it."""

from __future__ import annotations

import subprocess
import sys

import pipeline.model


def test_public_names() -> None:
    assert len(set(pipeline.model.__all__)) == len(pipeline.model.__all__)
    for name in pipeline.model.__all__:
        assert callable(getattr(pipeline.model, name)), name


def test_imports() -> None:
    code = "import pipeline.model, sys; print(*(m.partition('.')[0] for m in sys.modules))"
    imported = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "torch" in imported
    assert not {"torchvision", "pytorch_lightning", "lightning", "hydra", "omegaconf"} & set(imported)
