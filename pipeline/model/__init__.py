"""Networks and their components: activations, weight initialization, the hidden block, losses, regularization.

Conventions: N batch, C channels (of an image) or classes (of logits), H W pixels; losses in nats.
Importing this room imports neither torchvision nor Lightning; the LightningModule is in `pipeline.training`.
`torchvision_model` is the function here, which hides the module of that name.
"""

from pipeline.model.activations import Maxout, channel_multiplier, gain
from pipeline.model.batchnorm import BatchNorm, recompute_batchnorm_statistics
from pipeline.model.block import HiddenBlock
from pipeline.model.convnet import ConvNet
from pipeline.model.init import Init, initialize
from pipeline.model.losses import (
    CrossEntropy,
    CustomLoss,
    Hinge,
    Loss,
    MeanSquaredError,
)
from pipeline.model.mlp import MLP
from pipeline.model.regularization import decay_groups, penalty, without_dropout
from pipeline.model.resnet import ResNet
from pipeline.model.target_losses import BinaryCrossEntropy, RegressionLoss
from pipeline.model.torchvision_model import torchvision_model
from pipeline.model.user_model import build_user_model

__all__ = [
    "MLP",
    "BatchNorm",
    "BinaryCrossEntropy",
    "ConvNet",
    "CrossEntropy",
    "CustomLoss",
    "HiddenBlock",
    "Hinge",
    "Init",
    "Loss",
    "Maxout",
    "MeanSquaredError",
    "RegressionLoss",
    "ResNet",
    "build_user_model",
    "channel_multiplier",
    "decay_groups",
    "gain",
    "initialize",
    "penalty",
    "recompute_batchnorm_statistics",
    "torchvision_model",
    "without_dropout",
]
