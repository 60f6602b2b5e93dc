"""The documents describe what the program does."""

import re
import tomllib
from pathlib import Path

import pytest
import typer

from imagegen_cli.cli import app
from imagegen_cli.core import errors
from imagegen_cli.core.errors import HINTS, QUESTION_HINTS, Reason
from imagegen_cli.core.task import FOLLOWS
from imagegen_cli.providers import kinds
from imagegen_cli.settings.as_toml import example

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")


def test_the_table_of_states_is_drawn_from_the_code() -> None:
    rows = dict(re.findall(r"^\| (\w+) \| ([\w, ]*) ?\|$", ARCHITECTURE.partition("## States")[2], re.MULTILINE))
    drawn = {
        name: tuple(part for part in after.strip().split(", ") if part)
        for name, after in rows.items()
        if name != "from"
    }
    real = {state.__name__.lower(): tuple(one.__name__.lower() for one in after) for state, after in FOLLOWS.items()}
    assert drawn == real


def test_the_example_of_the_settings_is_written_from_their_declarations() -> None:
    path = ROOT / "config.example.toml"
    assert path.read_text(encoding="utf-8") == example(), (
        "python -m imagegen_cli.settings.as_toml > config.example.toml"
    )


def test_the_example_is_toml_with_every_kind_when_its_comments_are_taken_away() -> None:
    text = re.sub(r"^# (?=\[|\w+ = )", "", example(), flags=re.MULTILINE)
    assert set(tomllib.loads(text)["providers"]) == set(kinds())


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_is_in_the_readme_and_says_what_to_do(reason: Reason) -> None:
    assert f"`{reason}`" in README
    assert HINTS[reason]
    assert QUESTION_HINTS[reason]


@pytest.mark.parametrize("command", sorted(typer.main.get_command(app).commands))  # type: ignore[attr-defined]  # a group
def test_every_command_is_in_the_readme(command: str) -> None:
    """The table of commands, where one row names commands of one family."""
    rows = README.partition("| command |")[2].partition("\n\n")[0].splitlines()
    assert any(re.search(rf"`{command}\b", row.split(" | ")[0]) for row in rows)


def test_the_first_two_code_blocks_are_one_line_each() -> None:
    blocks = re.findall(r"^```.*?\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert all(block.count("\n") == 1 for block in blocks[:2])
    assert "imagegen run" in blocks[0]
    assert "pytest" in blocks[1]


def test_architecture_fits_three_screens() -> None:
    assert len(ARCHITECTURE.splitlines()) <= 140


def test_the_tree_of_errors_is_the_tree_of_classes() -> None:
    drawn = dict(re.findall(r"[├└]── (\w+) +(\d)", errors.__doc__ or ""))
    assert {name: getattr(errors, name).exit_code for name in drawn} == {
        name: int(code) for name, code in drawn.items()
    }
    named = set(re.findall(r"\b[A-Z]\w+", re.sub(r"exit.*", "", errors.__doc__ or ""))) - {"What"}
    real = {
        name for name, one in vars(errors).items() if isinstance(one, type) and issubclass(one, errors.ImagegenError)
    }
    assert real <= named


@pytest.mark.parametrize("file", sorted(ROOT.glob("*.md")), ids=lambda path: path.name)
def test_links_to_files_lead_somewhere(file: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", file.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (ROOT / target).exists(), target
