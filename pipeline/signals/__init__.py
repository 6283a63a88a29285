"""What is measured: numbers only, one probe a file. What they mean is judged in `pipeline.checks`.

Here networks are `nn.Module`s and images are tensors; nothing is known of this project's data or models.
"""

from pipeline.signals.layer_graph import layer_graph_signals
from pipeline.signals.recorder import LAST_PROBE, Recorder, RecorderConfig, StepProbe

__all__ = ["LAST_PROBE", "Recorder", "RecorderConfig", "StepProbe", "layer_graph_signals"]
