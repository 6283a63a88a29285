"""`evaluate`: measure the network of a run on its own test split, or on other data."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from pipeline.cli.parser import CommandParser
from pipeline.cli.run_arguments import add_run_arguments
from pipeline.config.compose import compose_config
from pipeline.config.override_keys import override_key
from pipeline.config.overrides import swept_keys
from pipeline.errors import UserError
from pipeline.runs.find_checkpoint import find_checkpoint
from pipeline.runs.json_files import read_outcome
from pipeline.runs.paths import run_of_checkpoint

OTHER_DATA = ("data.path", "data.dataset")
"""Keys that name other data, as the option `data` does; a key below them counts as well."""
_OF_THE_STAGES = ("stage", "stages", "resume", "fix", "search", "compile", "hydra", "data.batch_size")
_OF_THE_NETWORK = (
    *("model", "activation", "init", "batchnorm", "preprocessing", "augmentation", "regularization"),
    *("optimizer", "schedule"),
)
"""What the checkpoint decides."""


def evaluate(args: Sequence[str]) -> int:
    """Evaluate, write the record and the report of a run of its own, and return its exit code."""
    parser = CommandParser(
        "evaluate",
        "Measure a trained network on the test split of its run, or with data.path=OTHER on other data of the same "
        "classes: on their test split, or on all of them where they have none. The options are those of the run; "
        "KEY=VALUE changes one.",
    )
    add_run_arguments(parser)
    parser.add_argument("overrides", metavar="KEY=VALUE", nargs="*", help="options to change: data.path=OTHER")
    parsed = parser.parse(args, intermixed=True)
    typed = list(parsed.overrides)
    if keys := swept_keys(typed):
        raise UserError("takes one value; evaluate the data sets one by one.", field=keys[0])
    keys_typed = [override_key(override) for override in typed]
    for key in keys_typed:
        if _is_below(key, (*_OF_THE_STAGES, *_OF_THE_NETWORK)):
            raise UserError("belongs to the training, which is over.", field=key)
    checkpoint = find_checkpoint(parsed.run, parsed.outputs, parsed.checkpoint)
    other_option = "data" in keys_typed
    other = other_option or any(_is_below(key, OTHER_DATA) for key in keys_typed)
    overrides, config_dir = recorded_overrides(run_of_checkpoint(checkpoint))
    if other_option:
        overrides = [override for override in overrides if not _is_below(override_key(override), ("data",))]
    stage = ["stage=[evaluate]", f"stages.evaluate.checkpoint={_quoted(str(checkpoint))}"]
    config = compose_config([*overrides, *typed, *stage], config_dir=config_dir)

    from pipeline.workflow import runner  # imports torch, so it comes last
    from pipeline.workflow.evaluation import evaluation_builder

    build = evaluation_builder(checkpoint, other_data=other)
    return runner.run(config, overrides=["evaluate", parsed.run, *typed], build=build).exit_code


def recorded_overrides(directory: Path) -> tuple[list[str], str | None]:
    """Return the overrides of a run that still matter once it is trained, and its folder of options.

    Raises `UserError` where the run has no record that can be read.
    """
    record = read_outcome(directory)
    if record is None or not str(record.get("command", "")).startswith("python -m pipeline"):
        raise UserError(f"{str(directory)!r} has no record that says how it was trained (outcome.json).")
    words = shlex.split(record["command"])[3:]
    folders = [word.partition("=")[2] for word in words if word.startswith("--config-dir=")]
    overrides = [word for word in words if not word.startswith("-") and "=" in word]
    kept = [word for word in overrides if not _is_below(override_key(word), _OF_THE_STAGES)]
    return kept, next(iter(folders), None)


def _is_below(key: str, nodes: Sequence[str]) -> bool:
    return any(f"{key}.".startswith(f"{node}.") for node in nodes)


def _quoted(text: str) -> str:
    """Return `text` as a value of Hydra's grammar."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
