"""The page of `--help`: everything that can be chosen, in its own words, and nothing wider than the terminal."""

from __future__ import annotations

import io
import re
import shlex
from pathlib import Path

import pytest
from rich.console import Console

import pipeline.cli.help
from pipeline.cli import COMMANDS
from pipeline.cli.flags import FLAGS
from pipeline.cli.help import COMMON_KEYS, EXAMPLES, SECTIONS, print_help
from pipeline.config.compose import compose_config
from pipeline.config.options import CONF, groups, key
from pipeline.errors import UserError

MENU = groups()


@pytest.fixture
def page(capsys: pytest.CaptureFixture[str]) -> str:
    assert print_help() == 0
    return capsys.readouterr().out


def test_every_option_stands_in_a_line_with_the_words_of_its_file(page: str) -> None:
    for path in CONF.glob("*/*.yaml"):
        if path.stem != "base":
            says = next(line for line in path.read_text().splitlines() if re.match("# (?!@)", line))
            assert f"    {path.stem} " in page
            assert re.search(rf"^    {path.stem} +{re.escape(says[2:].removesuffix('.'))}$", page, re.MULTILINE)


def test_the_groups_are_those_of_the_configuration_and_the_default_stands_first(page: str) -> None:
    shown = re.findall(r"^  (\w+)=", page.partition("Keys typed most")[0], re.MULTILINE)
    assert all("base" not in [option.name for option in group.options] for group in MENU.values())
    assert sorted(shown) == sorted({path.parent.name for path in CONF.glob("*/*.yaml")})
    config = compose_config([])
    assert list(MENU["stage"].chosen) == list(config.stages)
    assert MENU["optimizer"].chosen == ("momentum",)
    assert page.index("    momentum ") < page.index("    adagrad ")
    assert MENU["experiment"].chosen == ()
    assert "experiment=  none unless you choose" in page
    assert "search=  one, or a list: 'search=[coarse,fine]'  none unless you choose" in page
    assert "logger=  one, or a list: 'logger=[csv,mlflow,tensorboard,wandb]'\n" in page


def test_a_group_of_no_room_comes_last_and_is_not_forgotten(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(pipeline.cli.help, "SECTIONS", {"The network": SECTIONS["The network"]})
    print_help()
    assert re.search(r"^More\n", capsys.readouterr().out, re.MULTILINE)


@pytest.mark.parametrize("name", COMMON_KEYS)
def test_a_key_is_explained_where_its_default_stands(name: str, page: str) -> None:
    found = key(name)
    assert found is not None, f"{name} stands in no file of the menu"
    assert found.says, f"{name} needs a comment behind its value"
    assert f"  {name}={found.value} " in page
    chosen = ["stage=[sanity,overfit,train,evaluate,lr_range]"]
    parent, _, last = name.rpartition(".")
    node = compose_config(chosen)
    for part in filter(None, parent.split(".")):
        node = node[part]
    assert last in node.keys()  # noqa: SIM118 - `in node` is false for a missing value


def test_commands_flags_examples_and_exit_codes_are_told(page: str) -> None:
    for words in (*COMMANDS, *FLAGS, *EXAMPLES, "130, 143"):
        assert f"  {words}" in page


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_composes(example: str) -> None:
    compose_config([word for word in shlex.split(example)[1:] if word != "-m"])


@pytest.mark.parametrize("width", [20, 40, 80, 120])
def test_no_line_is_wider_than_the_terminal(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    text = io.StringIO()
    made = Console(file=text, width=width, force_terminal=True, color_system=None, highlight=False, _environ={})
    monkeypatch.setattr(pipeline.cli.help, "console", lambda: made)
    print_help()
    lines = [line.rstrip() for line in text.getvalue().splitlines()]
    assert max(map(len, lines)) <= width
    assert "…" not in text.getvalue()


@pytest.mark.parametrize("flag", [["--config-dir", "{}"], ["--config-dir={}"], ["-cd", "{}"]])
def test_options_of_ones_own_folder_are_shown(
    flag: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "optimizer").mkdir()
    (tmp_path / "optimizer" / "slow.yaml").write_text("# Very slow.\nlr: 1.0e-6\n")
    print_help([word.format(tmp_path) for word in flag])
    said = capsys.readouterr().out
    assert re.search(r"^    slow +Very slow$", said, re.MULTILINE)
    assert "    adam " in said


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no folder"):
        print_help(["--config-dir", str(tmp_path / "nowhere")])


def test_choices_are_read_off_a_keys_comment() -> None:
    names = ("checks.fail_on", "trainer.precision", "fix", "seed", "verbose", "search.metric", "init.output_scale")
    found = {name: key(name) for name in names}
    choices = {name: one.choices for name, one in found.items() if one}
    assert choices == {
        "checks.fail_on": ("failure", "warning", "never"),
        "trainer.precision": ("32-true", "bf16-mixed", "16-mixed"),
        "fix": ("true", "false"),
        "seed": (),
        "verbose": ("0", "1", "2"),
        "search.metric": ("val_accuracy", "val_loss"),
        "init.output_scale": (),
    }
