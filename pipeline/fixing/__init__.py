"""`fix=true`: apply the remedy of a run's first finding, run again what it may change, and keep what mends."""

from pipeline.fixing.fix import Fix, Verdict
from pipeline.fixing.mender import Mender

__all__ = ["Fix", "Mender", "Verdict"]
