"""Which run is continued, and with what of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import Interrupted, UserError
from pipeline.runs.json_files import config_hash
from pipeline.workflow.components import Components, RunContext
from pipeline.workflow.execution import execute
from pipeline.workflow.resume import ResumePoint, find_resume_point
from tests.workflow.test_execution import Act, make_components

CONFIG = {"optimizer": "sgd"}
HASH = config_hash(make_components({}, **CONFIG).config)


def interrupted_run(directory: Path) -> None:
    """Leave a run whose sanity and train had passed when it was stopped."""

    def stop(components: Components, context: RunContext) -> tuple[()]:
        raise Interrupted(15)

    acts: dict[str, Act] = {"sanity": lambda *_: (), "train": lambda *_: (), "evaluate": stop}
    (directory / "checkpoints").mkdir(parents=True)
    (directory / "checkpoints" / "last.ckpt").write_bytes(b"")
    with pytest.raises(Interrupted):
        execute(make_components(acts, **CONFIG), RunContext(directory), arguments=[])


def test_newest_unfinished_run(tmp_path: Path) -> None:
    """Its training runs again from the checkpoint, which says how far it was."""
    for name in ("2026-01-01_a", "2026-01-02_b"):
        interrupted_run(tmp_path / name)
    point = find_resume_point("auto", tmp_path, HASH, tmp_path / "current")
    assert point.checkpoint == tmp_path / "2026-01-02_b" / "checkpoints" / "last.ckpt"
    assert [outcome.name for outcome in point.outcomes] == ["sanity"]
    assert point.outcomes[0].signals == {"seen": "sanity"}
    assert find_resume_point("auto", tmp_path, HASH, tmp_path / "2026-01-02_b").checkpoint == (
        tmp_path / "2026-01-01_a" / "checkpoints" / "last.ckpt"
    )


def test_no_run_to_continue(tmp_path: Path) -> None:
    interrupted_run(tmp_path / "run")
    assert find_resume_point(None, tmp_path, HASH, tmp_path / "current") == ResumePoint()
    assert find_resume_point("auto", tmp_path, "another", tmp_path / "current") == ResumePoint()
    assert find_resume_point("auto", tmp_path / "empty", HASH, tmp_path / "current") == ResumePoint()


@pytest.mark.parametrize("name", ["run", "nothing"])
def test_named_run_must_fit(name: str, tmp_path: Path) -> None:
    interrupted_run(tmp_path / "run")
    with pytest.raises(UserError) as error:
        find_resume_point(str(tmp_path / name), tmp_path, "another", tmp_path / "current")
    assert error.value.field == "resume"
