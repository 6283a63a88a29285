"""Processes that train trials: the scheduler, the pool, the worker and its tasks."""
