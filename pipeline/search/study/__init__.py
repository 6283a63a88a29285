"""The trials of a search in an Optuna storage, which all its workers share. Only this package imports Optuna.

Optuna gives the storage, the samplers, the pruners and the importances. The engine that hands out trials is our own,
for two reasons:

1. The same trials for any number of workers. The trials of a round that do not depend on scores are rows of the study
   before the first one runs: the parameters of trial i follow from the seed, the round and i. `Study.optimize` with
   `n_jobs` draws parameters when a worker asks for a trial, so they depend on which worker asks first.
2. A search survives `kill -9` of any of its processes in a plain journal file. A row whose worker is gone is given to
   another worker with the same parameters, a line of the journal that a kill tore is cut off, and the lock is one that
   the kernel releases. Optuna's heartbeat with `RetryFailedTrialCallback` works with a database only, and its lock for
   journal files outlives its killed owner by 30 seconds.
"""
