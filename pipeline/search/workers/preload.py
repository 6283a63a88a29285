"""Everything that a trial needs, imported by the fork server before it forks the first worker.

Garbage collection is off meanwhile: to search a million new objects, all of which stay, takes a fifth of the time.
"""
# ruff: noqa: E402, F401

import gc

gc.disable()

import pytorch_lightning
import torch.optim

import pipeline.search.workers.worker
import pipeline.stages.train
