"""MLflow: parameters, metrics, and the run's files as artifacts."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import UserError
from pipeline.loggers.base import LoggedRun, Writer
from pipeline.loggers.hyperparameters import flatten_config
from pipeline.validation import require_package

if TYPE_CHECKING:
    from mlflow import MlflowClient

_STATUS = {"passed": "FINISHED", "failed": "FAILED", "error": "FAILED", "interrupted": "KILLED", "mended": "KILLED"}
ARTIFACTS = ("outcome.json", "signals.json", "history.csv", "report.html", ".hydra/config.yaml")
"""Files of the run's directory; each is uploaded if it is there."""


@dataclass(frozen=True)
class MLflow:
    """A store of the run's own, or one that many runs share; in a shared one a resumed run goes on where it was."""

    tracking_uri: str | None
    experiment: str

    def __post_init__(self) -> None:
        # MLflow's default is to try for minutes; a training does not wait that long for its log
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
        uri = self.tracking_uri
        if uri is not None and "://" not in str(uri):
            raise UserError(
                f"{uri!r} is no address of a store. Try sqlite:///{str(uri).removesuffix('/')}/mlflow.db (MLflow no "
                "longer writes to plain folders), or http://host:port.",
                field="tracking_uri",
            )
        require_package("mlflow", extra="loggers")

    def open(self, run: LoggedRun, before: Mapping[str, Any] | None) -> Writer:
        shared = self.tracking_uri is not None
        uri = str(self.tracking_uri) if shared else f"sqlite:///{run.logs.resolve() / 'mlflow.db'}"
        try:
            return _Store(run, before if shared else None, uri=uri, experiment=str(self.experiment))
        except Exception as error:  # MLflow, SQLAlchemy, its drivers, the lock: each raises its own
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise UserError(f"MLflow cannot open {uri!r} ({reason}).", field="logger.mlflow.tracking_uri") from error


class _Store(Writer):
    def __init__(self, run: LoggedRun, before: Mapping[str, Any] | None, *, uri: str, experiment: str):
        from mlflow import MlflowClient
        from pytorch_lightning.loggers import MLFlowLogger

        super().__init__(before)
        self.run = run
        with _quiet():
            run_id = self.state.get("run_id")
            with _alone(uri):
                client = MlflowClient(uri)
                if run_id is None:
                    _experiment(client, experiment, uri)
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
        with _quiet():
            run_id = self.state["run_id"]
            self.store.log_metrics(scores)
            self.client.set_tag(run_id, "pipeline.status", status)
            for name in ARTIFACTS:
                if (path := self.run.directory / name).exists():
                    self.client.log_artifact(run_id, str(path))
            self.store.finalize(_STATUS[status])


def _experiment(client: MlflowClient, name: str, uri: str) -> None:
    """Make the experiment unless it is there; two runs that start together may both try."""
    from mlflow.exceptions import MlflowException

    if client.get_experiment_by_name(name) is None:
        try:
            client.create_experiment(name, artifact_location=_artifacts(uri))
        except MlflowException:
            if client.get_experiment_by_name(name) is None:
                raise


def _artifacts(uri: str) -> str | None:
    """Beside a SQLite file; MLflow would put them into a folder of wherever one started. A server has its own place."""
    file = _file(uri)
    return None if file is None else str(file.with_name("mlflow-artifacts"))


@contextmanager
def _alone(uri: str) -> Iterator[None]:
    """Of runs that start together, one after the other makes the tables of a SQLite file: SQLite keeps them apart for
    single statements only, and MLflow would find half of them."""
    from filelock import FileLock  # which torch needs too

    file = _file(uri)
    if file is None:
        yield
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(file.with_name(f".{file.name}.lock"), timeout=300):
        yield


def _file(uri: str) -> Path | None:
    return Path(uri.removeprefix("sqlite:///")).resolve() if uri.startswith("sqlite:///") else None


@contextmanager
def _quiet() -> Iterator[None]:
    """Without a word about tables that are made and functions of SQLAlchemy that MLflow should not use."""
    for name in ("mlflow", "alembic", "pytorch_lightning.loggers.mlflow"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
