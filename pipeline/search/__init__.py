"""Hyperparameter search.

`run.py` reads from top to bottom: plan, study, check of the configuration, rounds, comparison of the best two, results.
"""
