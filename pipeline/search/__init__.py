"""Hyperparameter search: spaces, rounds from coarse to fine, the study that workers share, and what it comes to."""
