"""The two ways into a search: the program that was typed, and the job that a launcher started for it."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from omegaconf import DictConfig

from pipeline.errors import CRASHED, FAILED, PASSED, USER_ERROR, Stopped, UserError
from pipeline.menu.overrides import composed
from pipeline.plain import to_plain
from pipeline.search.configurations import Configurations
from pipeline.search.engine import Ended
from pipeline.search.part import Launch, Part
from pipeline.search.plan import parsed, plan_from, planned
from pipeline.search.pool import cool_down
from pipeline.search.sampling import in_advance
from pipeline.search.settings import Settings, read_settings
from pipeline.search.space import parameters
from pipeline.search.storage import opened
from pipeline.search.telling import Quiet
from pipeline.search.trial import BROKEN, Round, round_from


def search(config: DictConfig, arguments: Sequence[str], *, launch: Launch) -> int:
    """Run the search that was typed; returns the exit code. `launch` starts jobs with the configured launcher."""
    with _told() as ended:
        settings = read_settings(to_plain(config.search))
        plan, configurations, space = planned(config, arguments, settings)
        stretch = settings.rounds[0]
        first = Round(stretch.name, space, stretch.trials, stretch.epochs)
        if settings.dry_run:
            _list(first, settings, configurations)
        else:
            run = Part(config, settings, plan, configurations, first)
            basic = str(config.hydra.launcher._target_).endswith(".BasicLauncher")
            ended.code = run.to_its_end(None if basic else launch)
    return ended.code


def work(config: DictConfig) -> int:
    """The part of a launcher's job: join the study that `search.storage` and `search.study` name, until it is done."""
    with _told() as ended:
        wish = config.search
        storage = opened(wish.storage, Path())
        noted = storage.get_study_user_attrs(storage.get_study_id_from_name(f"{wish.study}.0"))
        plan = plan_from(noted["plan"])
        joined = composed(plan.typed, config_dir=plan.config_dir)
        settings = dataclasses.replace(read_settings(to_plain(joined.search)), storage=wish.storage, study=wish.study)
        space = parameters(parsed(plan.sweeps))
        configurations = Configurations(plan.base, space, config_dir=plan.config_dir)
        first = round_from(noted["round"])
        run = Part(joined, settings, plan, configurations, first)
        run.storage = storage
        run.take_part(noted["examples"], Quiet())
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
        cool_down()
        print(f"error: {error}", file=sys.stderr)
        ended.code = USER_ERROR
    except Ended as end:
        print(f"ended at the first trial that broke (search.fail_fast): {end}", file=sys.stderr)
        ended.code = FAILED if end.state == BROKEN else CRASHED
    except (Stopped, KeyboardInterrupt) as stop:
        print("stopped; the same command goes on", file=sys.stderr)
        ended.code = 128 + (stop.signal if isinstance(stop, Stopped) else 2)


def _list(first: Round, settings: Settings, configurations: Configurations) -> None:
    """The trials of the first round, one a line, as they would be typed."""
    for sampler in settings.samplers(0):
        planned = in_advance(
            sampler, first.parameters, first.trials, seed=settings.seed, round=0, applying=configurations.applying
        )
        if planned is None:
            print(f"# {sampler}: {first.trials} trials, each chosen when the scores of those before are known")
        for params in planned or []:
            print(" ".join(configurations.overrides(first, params)))
