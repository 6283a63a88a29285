"""What the room shows, and what importing it does not cost."""

from __future__ import annotations

import subprocess
import sys

import pipeline.model


def test_every_public_name_is_there() -> None:
    assert len(set(pipeline.model.__all__)) == len(pipeline.model.__all__)
    for name in pipeline.model.__all__:
        assert callable(getattr(pipeline.model, name)), name


def test_importing_the_room_imports_neither_torchvision_nor_lightning() -> None:
    code = "import pipeline.model, sys; print(*(m.partition('.')[0] for m in sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "torch" in found
    assert not {"torchvision", "pytorch_lightning", "lightning", "hydra", "omegaconf"} & set(found)
