"""The logger `mlflow`: parameters, metrics, and the run's files as artifacts."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pipeline.errors import UserError
from pipeline.loggers.base import LoggedRun, Logger, Writer
from pipeline.loggers.hyperparameters import flatten_config
from pipeline.validation import require_package

if TYPE_CHECKING:
    from mlflow import MlflowClient

ARTIFACTS = ("outcome.json", "signals.json", "history.csv", "report.html", ".hydra/config.yaml")
"""Files of the run's directory that are uploaded if they exist."""
LOCK_TIMEOUT = 300
"""Seconds to wait for another run that is creating the tables of a shared SQLite file."""
_STATUS = {"passed": "FINISHED", "failed": "FAILED", "error": "FAILED", "interrupted": "KILLED", "superseded": "KILLED"}


@dataclass(frozen=True)
class MLflow(Logger):
    """Writes to a store of the run's own, or to one that many runs share, where a resumed run continues its log."""

    quiet_modules: ClassVar[tuple[str, ...]] = ("mlflow", "sqlalchemy")

    tracking_uri: str | None
    experiment: str

    def __post_init__(self) -> None:
        # MLflow's default is to retry for minutes; a training does not wait that long for a log
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
        uri = self.tracking_uri
        if uri is not None and "://" not in str(uri):
            raise UserError(
                f"must be the address of a store, got {uri!r}. Try sqlite:///{str(uri).removesuffix('/')}/mlflow.db "
                "(MLflow no longer writes to plain folders), or http://host:port.",
                field="tracking_uri",
            )
        require_package("mlflow", extra="loggers")

    def open(self, run: LoggedRun, state: Mapping[str, Any] | None) -> Writer:
        """Begin an MLflow run, or continue the one in `state` if the store is shared."""
        is_shared = self.tracking_uri is not None
        uri = str(self.tracking_uri) if is_shared else f"sqlite:///{run.logs.resolve() / 'mlflow.db'}"
        try:
            return _MLflowWriter(run, state if is_shared else None, uri=uri, experiment=str(self.experiment))
        except Exception as error:  # MLflow, SQLAlchemy, its drivers and the lock each raise errors of their own
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise UserError(f"MLflow cannot open {uri!r} ({reason}).", field="logger.mlflow.tracking_uri") from error


class _MLflowWriter(Writer):
    def __init__(self, run: LoggedRun, state: Mapping[str, Any] | None, *, uri: str, experiment: str):
        from mlflow import MlflowClient
        from pytorch_lightning.loggers import MLFlowLogger

        super().__init__(state)
        self.run = run
        with _no_warnings():
            run_id = self.state.get("run_id")
            with _table_lock(uri):
                client = MlflowClient(uri)
                if run_id is None:
                    _create_experiment(client, experiment, uri)
            self.store = MLFlowLogger(
                experiment_name=experiment,
                run_name=run.title,
                tracking_uri=uri,
                run_id=run_id,
                tags={f"pipeline.{tag}": "true" for tag in run.config.get("tags", ())},
            )
            self.state["run_id"] = self.store.run_id  # begins the run
            self.client: MlflowClient = self.store.experiment
            if run_id is None:
                self.store.log_hyperparams(flatten_config(run.config))
            else:
                self.client.update_run(run_id, status="RUNNING")
            self.client.set_tag(self.state["run_id"], "pipeline.directory", str(run.directory.resolve()))

    def log_scalars(self, values: Mapping[str, float], step: int) -> None:
        self.store.log_metrics(values, step=step)

    def close(self, status: str, scores: Mapping[str, float]) -> None:
        with _no_warnings():
            run_id = self.state["run_id"]
            self.store.log_metrics(scores)
            self.client.set_tag(run_id, "pipeline.status", status)
            for name in ARTIFACTS:
                if (path := self.run.directory / name).exists():
                    self.client.log_artifact(run_id, str(path))
            self.store.finalize(_STATUS[status])


def _create_experiment(client: MlflowClient, name: str, uri: str) -> None:
    """Create the experiment unless it exists. Two runs that start together may both try."""
    from mlflow.exceptions import MlflowException

    if client.get_experiment_by_name(name) is None:
        try:
            client.create_experiment(name, artifact_location=_artifact_location(uri))
        except MlflowException:
            if client.get_experiment_by_name(name) is None:
                raise


def _artifact_location(uri: str) -> str | None:
    """Return a folder beside a SQLite file, where MLflow would take one in the working directory; None for a server."""
    file = _sqlite_file(uri)
    return None if file is None else str(file.with_name("mlflow-artifacts"))


@contextmanager
def _table_lock(uri: str) -> Iterator[None]:
    """Let runs that start together create the tables of a SQLite file one after the other.

    SQLite keeps only single statements apart, and MLflow would find half of the tables.
    """
    from filelock import FileLock  # torch requires it

    file = _sqlite_file(uri)
    if file is None:
        yield
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(file.with_name(f".{file.name}.lock"), timeout=LOCK_TIMEOUT):
        yield


def _sqlite_file(uri: str) -> Path | None:
    return Path(uri.removeprefix("sqlite:///")).resolve() if uri.startswith("sqlite:///") else None


@contextmanager
def _no_warnings() -> Iterator[None]:
    """Hide messages about new tables, and about functions of SQLAlchemy that MLflow should not use."""
    for name in ("mlflow", "alembic", "pytorch_lightning.loggers.mlflow"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
