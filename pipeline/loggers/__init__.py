"""Logs that people look at elsewhere, several at once. A log's library is imported only where that log was chosen."""

from pipeline.loggers.csv import CSV
from pipeline.loggers.log import Log, opened
from pipeline.loggers.mlflow import MLflow
from pipeline.loggers.tensorboard import TensorBoard
from pipeline.loggers.wandb import WandB
from pipeline.loggers.writer import LoggedRun, Logger, Writer

__all__ = ["CSV", "Log", "LoggedRun", "Logger", "MLflow", "TensorBoard", "WandB", "Writer", "opened"]
