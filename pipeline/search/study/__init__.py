"""The study that all workers of a search share. Only this package imports Optuna."""
