"""Logs of trainings that other programs wrote: each reader turns one kind into the signals of the stage `train`.

Nothing here loads torch, and a log's own library is imported only where such a log is read.
"""

from pipeline.log_readers.detect import read_log
from pipeline.log_readers.log import Log
from pipeline.log_readers.to_signals import MIN_POINTS, LogFacts, Reading, to_signals

__all__ = ["MIN_POINTS", "Log", "LogFacts", "Reading", "read_log", "to_signals"]
