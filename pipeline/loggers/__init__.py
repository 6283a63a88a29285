"""Loggers, which send a run's numbers to other viewers. The library of a logger is imported only if it is chosen."""

from pipeline.loggers.base import LoggedRun, Logger, Writer
from pipeline.loggers.multi_logger import MultiLogger, open_loggers

__all__ = ["LoggedRun", "Logger", "MultiLogger", "Writer", "open_loggers"]
