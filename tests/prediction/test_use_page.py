"""Everything that docs/use.md shows runs, in order."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.data.sources.embedded import digits
from tests.small_run import ROOT

PAGE = (ROOT / "docs" / "use.md").read_text()


@pytest.mark.slow
def test_page(tmp_path: Path) -> None:
    """One process runs all commands and all code, since importing takes most of the time."""
    train = digits().train
    x, y = train.pixels[:200, 0].numpy(), train.labels[:200].numpy()
    np.savez(tmp_path / "x.npz", x=x)
    np.savez(tmp_path / "other.npz", x_train=x, y_train=y)
    for name in ("a.png", "more/b.png"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(x[0] * 15).save(tmp_path / "photos" / name)
    script = ["import sys", "from pipeline.__main__ import _run", "from pipeline.cli.command import command_name"]
    blocks = re.findall(r"```(console|python)\n(.*?)```", PAGE, re.DOTALL)
    commands = 0
    for kind, text in blocks:
        if kind == "python":
            script.append(text)
            continue
        for line in text.splitlines():
            words = shlex.split(line.removeprefix("$ pipeline "))
            script.append(f"assert _run(command_name({words!r}), {words!r}) == 0, {line!r}")
            commands += 1
    assert commands >= 11
    (tmp_path / "page.py").write_text("\n".join(script))
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "page.py"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    for name in ("predictions.csv", "predictions.html", "digits.pt2", "digits.onnx"):
        assert (tmp_path / name).stat().st_size > 500
