"""The page of `--help`."""

from __future__ import annotations

import io
import re
import shlex
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from rich.console import Console

import pipeline.cli.help
from pipeline.cli import COMMANDS
from pipeline.cli.help import COMMON_KEYS, EXAMPLES, EXIT_CODES, FLAGS, SECTIONS, print_help
from pipeline.config.check_overrides import has_key
from pipeline.config.compose import compose_config
from pipeline.config.options import CONF, groups, key
from pipeline.errors import UserError

GROUPS = groups()


@pytest.fixture
def page(capsys: pytest.CaptureFixture[str]) -> str:
    assert print_help([], COMMANDS) == 0
    return capsys.readouterr().out


def test_every_option(page: str) -> None:
    """Each option is on a line with the first comment of its file."""
    for path in CONF.glob("*/*.yaml"):
        if path.stem != "base":
            description = next(line for line in path.read_text().splitlines() if re.match("# (?!@)", line))[2:]
            assert re.search(rf"^    {path.stem} +{re.escape(description)}$", page, re.MULTILINE), path


def test_groups(page: str) -> None:
    """The groups are the folders of conf/, and the default option comes first."""
    shown = re.findall(r"^  (\w+)=", page.partition("Common keys")[0], re.MULTILINE)
    assert all("base" not in [option.name for option in group.options] for group in GROUPS.values())
    assert sorted(shown) == sorted({path.parent.name for path in CONF.glob("*/*.yaml")})
    assert page.index("    momentum ") < page.index("    adagrad ")
    assert GROUPS["optimizer"].chosen == ("momentum",)
    assert GROUPS["experiment"].chosen == ()
    assert "'search=[coarse,fine]'" in page
    assert "'logger=[csv,mlflow,tensorboard,wandb]'" in page


def test_new_group(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A group of no section is shown at the end."""
    monkeypatch.setattr(pipeline.cli.help, "SECTIONS", {"Network": SECTIONS["Network"]})
    print_help([], COMMANDS)
    assert re.search(r"^More\n", capsys.readouterr().out, re.MULTILINE)


def test_common_keys(page: str) -> None:
    """Each has a comment, its default is shown, and it exists in the configuration."""
    config = compose_config(["stage=[sanity,overfit,train,evaluate,lr_range]"])
    assert list(GROUPS["stage"].chosen) == list(config.stages)[:4]
    for name in COMMON_KEYS:
        found = key(name)
        assert found is not None, name
        assert found.description, name
        assert f"  {name}={found.value} " in page
        assert has_key(config, name), name


def test_other_sections(page: str) -> None:
    for name in (*COMMANDS, *FLAGS, *EXAMPLES, *EXIT_CODES):
        assert f"  {name}" in page


def test_examples() -> None:
    for example in EXAMPLES:
        compose_config([word for word in shlex.split(example)[1:] if word != "-m"])


@pytest.mark.parametrize("width", [20, 40, 80, 120])
def test_width(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """No line is wider than the terminal, and nothing is cut."""
    text = io.StringIO()
    terminal = Console(file=text, width=width, force_terminal=True, color_system=None, highlight=False, _environ={})
    monkeypatch.setattr(pipeline.cli.help, "console", lambda: terminal)
    print_help([], COMMANDS)
    assert max(len(line.rstrip()) for line in text.getvalue().splitlines()) <= width
    assert "…" not in text.getvalue()


@pytest.mark.parametrize("flag", [["--config-dir", "{}"], ["--config-dir={}"], ["-cd", "{}"]])
def test_config_dir(flag: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The options of the user's own folder are shown with the others."""
    (tmp_path / "optimizer").mkdir()
    (tmp_path / "optimizer" / "slow.yaml").write_text("# Very slow.\nlr: 1.0e-6\n")
    print_help([word.format(tmp_path) for word in flag], COMMANDS)
    page = capsys.readouterr().out
    assert re.search(r"^    slow +Very slow\.$", page, re.MULTILINE)
    assert "    adam " in page


def test_missing_config_dir(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        print_help(["--config-dir", str(tmp_path / "nowhere")], COMMANDS)
    assert error.value.field == "--config-dir"


def test_choices() -> None:
    """The choices of a key are read from its comment."""
    expected = {
        "checks.fail_on": ("failure", "warning", "never"),
        "trainer.precision": ("auto", "32-true", "bf16-mixed", "16-mixed"),
        "fix": ("true", "false"),
        "seed": (),
        "verbose": ("0", "1", "2"),
        "search.sampler": ("random", "quasi_random", "grid", "tpe", "gp"),
        "init.output_scale": (),
    }
    assert {name: found.choices for name in expected if (found := key(name))} == expected


def test_choices_of_every_key() -> None:
    """A default is among the choices that the comment of its key lists."""
    for path in CONF.glob("**/*.yaml"):
        for name, found in pipeline.config.options.keys(path).items():
            if " | " in found.description and found.value and not found.value.startswith("["):
                assert str(found.value) in (*found.choices, "null"), (path, name)
    assert OmegaConf.load(CONF / "config.yaml").search.sampler in key("search.sampler").choices  # type: ignore[union-attr]
