"""Writes outcome.json, signals.json and pictures.npz while a run goes on."""

from __future__ import annotations

import functools
import platform
import time
from collections.abc import Callable, Sequence
from typing import Any

from pipeline.config.override_keys import override_key
from pipeline.config.unused_options import unused_keys
from pipeline.data import Splits
from pipeline.runs.images import write_pictures
from pipeline.runs.json_files import SCHEMA, command_line, config_hash, write_outcome, write_signals
from pipeline.runs.versions import installed_versions
from pipeline.workflow.attempt import FixAttempt
from pipeline.workflow.components import Components, RunContext
from pipeline.workflow.outcome import Outcome
from pipeline.workflow.result import diagnose_outcomes, list_not_checked


class OutcomeWriter:
    """Keeps outcome.json whole at any time; its status is `running` until the end of the run is known.

    `arguments` are flags and overrides of the command as it was typed. `config_hash_as_typed` is given where a resumed
    run begins with a configuration that remedies have changed. `fixes` returns the remedies tried so far.
    """

    def __init__(
        self,
        components: Components,
        context: RunContext,
        arguments: Sequence[str],
        *,
        config_hash_as_typed: str | None = None,
        fixes: Callable[[], Sequence[FixAttempt]] = tuple,
    ):
        self.directory, self.arguments, self.fixes = context.directory, arguments, fixes
        self._started = time.perf_counter()
        self._fixed_fields = {
            "schema": SCHEMA,
            "name": components.name,
            "tags": list(components.config.get("tags", [])),
            "seed": components.seed,
            "typed_hash": config_hash_as_typed or config_hash(components.config),
            "resumed_from": str(context.resume_from) if context.resume_from else None,
            "versions": versions(),
        }
        self._written_images: dict[str, Any] = {}
        self._cached_data_summary: tuple[Splits, dict[str, Any]] | None = None

    def write(
        self, components: Components, outcomes: Sequence[Outcome], status: str = "running", exit_code: int | None = None
    ) -> float:
        """Write all files and return the seconds since the run began.

        signals.json comes first, so that no stage is in outcome.json whose signals are missing.
        """
        write_signals(self.directory, {o.name: o.signals for o in outcomes if o.signals is not None})
        self._write_images({o.name: o.images for o in outcomes if o.images})
        content = self.to_dict(components, outcomes, status, exit_code)
        write_outcome(self.directory, content)
        return content["seconds"]

    def to_dict(
        self, components: Components, outcomes: Sequence[Outcome], status: str, exit_code: int | None
    ) -> dict[str, Any]:
        """Return the content of outcome.json (docs/outcome.schema.json)."""
        checks = components.checks
        not_checked = list_not_checked(outcomes, checks)
        return self._fixed_fields | {
            "status": status,
            "exit_code": exit_code,
            "seconds": round(time.perf_counter() - self._started, 3),
            "command": command_line(self._current_arguments()),
            "config_hash": config_hash(components.config),
            "data": self._data_summary(components.data),
            "weights": dict(components.weights) if components.weights else None,
            "unused_options": _unused_options(components, outcomes),
            "stages": [outcome.to_dict() for outcome in outcomes],
            "diagnosis": [
                {
                    "check": f.check,
                    "severity": f.severity,
                    "stage": f.stage,
                    "where": f.where,
                    "also_in": list(f.also_in),
                }
                for f in diagnose_outcomes(outcomes, checks)
            ],
            "judged": len(checks.rules) - len(not_checked),
            "not_checked": [entry.to_dict() for entry in not_checked],
            "fixes": [attempt.to_dict() for attempt in self.fixes()],
        }

    def _write_images(self, images: dict[str, Any]) -> None:
        written = self._written_images
        if images.keys() != written.keys() or any(images[name] is not written[name] for name in images):
            write_pictures(self.directory, images)
            self._written_images = images

    def _current_arguments(self) -> list[str]:
        """Return the arguments as typed, or those that give the run as remedies have changed it, without `fix`."""
        applied = [override for attempt in self.fixes() if attempt.kept for override in attempt.remedy]
        typed = [argument for argument in self.arguments if not applied or override_key(argument) != "fix"]
        return [*typed, *applied]

    def _data_summary(self, data: Splits) -> dict[str, Any]:
        if self._cached_data_summary is None or self._cached_data_summary[0] is not data:
            summary = {
                "name": data.name,
                "fingerprint": data.fingerprint(),
                "sizes": data.sizes,
                "classes": list(data.classes),
                "class_counts": data.class_counts(),
                "task": data.task,
            }
            self._cached_data_summary = data, summary
        return self._cached_data_summary[1]


def _unused_options(components: Components, outcomes: Sequence[Outcome]) -> list[str]:
    """Return the keys of the configuration that the network does not use: as stages found, or by its signature."""
    found = [outcome.signals for outcome in outcomes if outcome.signals and "ignored_keys" in outcome.signals]
    if not found:
        return unused_keys(components.config)
    # an init that does not reach the logits has drawn other weights all the same
    return [key for key in found[-1]["ignored_keys"] if key in found[-1]["options"] and key != "init"]


@functools.cache
def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide what a run computes."""
    return {"python": platform.python_version(), **installed_versions()}
