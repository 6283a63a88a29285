"""The two ways into a search: the program that was typed, and the job that a launcher started for it."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from omegaconf import DictConfig

from pipeline.config.compose import compose_config
from pipeline.config.plain import to_dict
from pipeline.errors import CRASHED, FAILED, PASSED, USER_ERROR, Interrupted, UserError
from pipeline.search.plan import make_plan, parse_overrides, plan_from_dict
from pipeline.search.records import BROKEN, Round, round_from
from pipeline.search.report.terminal import NullReporter
from pipeline.search.session import Launch, SearchSession
from pipeline.search.settings import SearchSettings, read_settings
from pipeline.search.space.sampling import presample
from pipeline.search.space.space import parameters
from pipeline.search.space.trial_configs import TrialConfigs
from pipeline.search.study.storage import open_storage
from pipeline.search.workers.pool import kill_forkserver
from pipeline.search.workers.scheduler import FailFast


def search(config: DictConfig, arguments: Sequence[str], *, launch: Launch) -> int:
    """Run the search that was typed; returns the exit code. `launch` starts jobs with the configured launcher."""
    with _told() as ended:
        settings = read_settings(to_dict(config.search))
        plan, configurations, space = make_plan(config, arguments, settings)
        stretch = settings.rounds[0]
        first = Round(stretch.name, space, stretch.trials, stretch.epochs)
        if settings.dry_run:
            _list(first, settings, configurations)
        else:
            run = SearchSession(config, settings, plan, configurations, first)
            basic = str(config.hydra.launcher._target_).endswith(".BasicLauncher")
            ended.code = run.run(None if basic else launch)
    return ended.code


def work(config: DictConfig) -> int:
    """The part of a launcher's job: join the study that `search.storage` and `search.study` name, until it is done."""
    with _told() as ended:
        wish = config.search
        storage = open_storage(wish.storage, Path())
        noted = storage.get_study_user_attrs(storage.get_study_id_from_name(f"{wish.study}.0"))
        plan = plan_from_dict(noted["plan"])
        joined = compose_config(plan.typed, config_dir=plan.config_dir)
        settings = dataclasses.replace(read_settings(to_dict(joined.search)), storage=wish.storage, study=wish.study)
        space = parameters(parse_overrides(plan.sweeps))
        configurations = TrialConfigs(plan.base, space, config_dir=plan.config_dir)
        first = round_from(noted["round"])
        run = SearchSession(joined, settings, plan, configurations, first)
        run.storage = storage
        run.run_as_worker(noted["examples"], NullReporter())
    return ended.code


@dataclasses.dataclass
class _Ended:
    code: int = PASSED


@contextlib.contextmanager
def _told() -> Iterator[_Ended]:
    """What ends a search early, as one line and an exit code."""
    ended = _Ended()
    try:
        yield ended
    except UserError as error:
        kill_forkserver()
        print(f"error: {error}", file=sys.stderr)
        ended.code = USER_ERROR
    except FailFast as end:
        print(f"ended at the first trial that broke (search.fail_fast): {end}", file=sys.stderr)
        ended.code = FAILED if end.state == BROKEN else CRASHED
    except (Interrupted, KeyboardInterrupt) as stop:
        print("stopped; the same command goes on", file=sys.stderr)
        ended.code = 128 + (stop.signal if isinstance(stop, Interrupted) else 2)


def _list(first: Round, settings: SearchSettings, configurations: TrialConfigs) -> None:
    """The trials of the first round, one a line, as they would be typed."""
    for sampler in settings.samplers(0):
        planned = presample(
            sampler,
            first.parameters,
            first.trials,
            seed=settings.seed,
            round=0,
            applying=configurations.active_parameters,
        )
        if planned is None:
            print(f"# {sampler}: {first.trials} trials, each chosen when the scores of those before are known")
        for params in planned or []:
            print(" ".join(configurations.overrides(first, params)))
