"""Trainers of other projects, where the extra `bench` is installed: skorch, and Keras on torch.

They train the same network on the same batches, without validation, bar and checkpoint, which is in their favour.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from tests.bench.card import wait_for


def skorch(
    network: Callable[[], nn.Module], x: Tensor, y: Tensor, epochs: int, batch: int, device: torch.device
) -> float:
    """Return the seconds of `fit` with the default callbacks, but without the printed table."""
    from skorch import NeuralNetClassifier

    net = NeuralNetClassifier(
        network(), criterion=nn.CrossEntropyLoss, optimizer=torch.optim.SGD, lr=0.01, optimizer__momentum=0.9,
        optimizer__weight_decay=5e-4, max_epochs=epochs, batch_size=batch, iterator_train__shuffle=True,
        train_split=None, verbose=0, device=str(device),
    )  # fmt: skip
    started = time.perf_counter()
    net.fit(x, y)
    wait_for(device)
    return time.perf_counter() - started


def keras(
    network: Callable[[], nn.Module], x: Tensor, y: Tensor, epochs: int, batch: int, device: torch.device
) -> float:
    """Return the seconds of `fit` on the torch backend, with the network wrapped as a Keras layer.

    Keras itself chooses the device: the GPU if there is one, as the pipeline does.
    """
    os.environ["KERAS_BACKEND"] = "torch"
    import keras as library
    from keras.layers import TorchModuleWrapper

    model = library.Sequential([library.Input(tuple(x.shape[1:])), TorchModuleWrapper(network())])
    loss = library.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(library.optimizers.SGD(0.01, momentum=0.9, weight_decay=5e-4), loss, metrics=["accuracy"])
    started = time.perf_counter()
    model.fit(x, y, epochs=epochs, batch_size=batch, verbose=0)
    wait_for(device)
    return time.perf_counter() - started
