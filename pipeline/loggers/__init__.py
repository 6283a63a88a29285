"""Loggers that mirror a run's numbers in other viewers. A logger's library is imported only where it was chosen."""

from pipeline.loggers.base import LoggedRun, Logger, Writer
from pipeline.loggers.multi_logger import MultiLogger, open_loggers

__all__ = ["LoggedRun", "Logger", "MultiLogger", "Writer", "open_loggers"]
