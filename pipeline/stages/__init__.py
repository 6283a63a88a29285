"""What is done, one stage a file: (parts, earlier outcomes) -> Outcome."""

from pipeline.stages.ensemble import Ensemble
from pipeline.stages.evaluate import Evaluate
from pipeline.stages.lr_range import LrRange
from pipeline.stages.overfit import Overfit
from pipeline.stages.sanity import Sanity
from pipeline.stages.train import Train

__all__ = ["Ensemble", "Evaluate", "LrRange", "Overfit", "Sanity", "Train"]
