"""What the parent of the workers imports before it forks the first: everything that a trial needs.

Without looking for garbage among a million new objects that all stay, which takes a fifth of the time.
"""
# ruff: noqa: E402, F401

import gc

gc.disable()

import pytorch_lightning
import torch.optim

import pipeline.search.workers.worker
import pipeline.stages.train
