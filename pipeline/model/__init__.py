"""Networks and what they are made of: activations, inits, the hidden block, losses, regularization, optimizer fields.

Conventions: N batch, C channels (of an image) or classes (of logits), H W pixels; losses in nats.
Importing this room imports neither torchvision nor Lightning; the LightningModule is in `pipeline.model.classifier`.
The names `custom` and `torchvision_model` are the functions here, and hide the files of that name.
"""

from pipeline.model.activations import Maxout, gain, multiplier
from pipeline.model.batchnorm import BatchNorm, recompute_statistics
from pipeline.model.block import HiddenBlock
from pipeline.model.convnet import ConvNet
from pipeline.model.custom import custom
from pipeline.model.init import Init, initialize
from pipeline.model.losses import CrossEntropy, CustomLoss, Hinge, Loss, MeanSquaredError
from pipeline.model.mlp import MLP
from pipeline.model.regularization import decay_groups, penalty, without_dropout
from pipeline.model.resnet import ResNet
from pipeline.model.schedule import Schedule
from pipeline.model.torchvision_model import torchvision_model

__all__ = [
    "MLP",
    "BatchNorm",
    "ConvNet",
    "CrossEntropy",
    "CustomLoss",
    "HiddenBlock",
    "Hinge",
    "Init",
    "Loss",
    "Maxout",
    "MeanSquaredError",
    "ResNet",
    "Schedule",
    "custom",
    "decay_groups",
    "gain",
    "initialize",
    "multiplier",
    "penalty",
    "recompute_statistics",
    "torchvision_model",
    "without_dropout",
]
