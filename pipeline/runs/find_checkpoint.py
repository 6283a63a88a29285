"""The checkpoint that the name or the folder of a run means."""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import UserError
from pipeline.runs.index import SEARCH, resolve_run
from pipeline.runs.json_files import read_outcome
from pipeline.runs.paths import checkpoint_file


def find_checkpoint(reference: str, outputs: Path, name: str) -> Path:
    """Return the checkpoint `name` (best or last) of the run that `reference` means, or the .ckpt file that it names.

    `reference` is a folder, or what `resolve_run` understands. A run that only evaluated another one stands for that
    one. Raises `UserError` where there is no checkpoint.
    """
    path = Path(reference)
    if path.suffix == ".ckpt" and path.is_file():
        return path
    if (inside := checkpoint_file(path, name)).is_file():
        return inside
    directory = resolve_run(reference, outputs)
    found = checkpoint_file(directory, name)
    if found.is_file():
        return found
    stages = (read_outcome(directory) or {}).get("stages", [])
    evaluated = [Path(str(stage["metrics"].get("checkpoint"))) for stage in stages if stage["name"] == "evaluate"]
    if evaluated and evaluated[0].is_file():
        return evaluated[0]
    what = "a search; name one of its trials" if (directory / SEARCH).is_file() else "a run that trained no network"
    raise UserError(f"there is no checkpoint {str(found)!r}: it is {what}. `python -m pipeline runs` lists the runs.")
