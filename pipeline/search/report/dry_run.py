"""The trials of the first round as commands, for `search.dry_run=true`."""

from __future__ import annotations

from pipeline.search.plan import SearchPlan
from pipeline.search.study.samplers import presample


def print_trials(plan: SearchPlan) -> None:
    """Print the overrides of each trial of the first round on a line."""
    first_round = plan.first_round
    for sampler in plan.settings.samplers(0):
        points = presample(
            sampler,
            first_round.parameters,
            first_round.trials,
            seed=plan.settings.seed,
            round_index=0,
            active=plan.trial_configs.active_parameters,
        )
        if points is None:
            print(f"# {sampler}: {first_round.trials} trials, each chosen from the scores of the trials before it")
        for params in points or []:
            print(" ".join(plan.trial_configs.overrides(first_round, params)))
