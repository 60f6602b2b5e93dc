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
CHINESE = (ROOT / "README.zh-CN.md").read_text(encoding="utf-8")
COMMANDS = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
SCRIPTING = (ROOT / "docs" / "scripting.md").read_text(encoding="utf-8")
SERVICES = (ROOT / "docs" / "services.md").read_text(encoding="utf-8")
SKILL = (ROOT / "imagegen_cli" / "commands" / "SKILL.md").read_text(encoding="utf-8")
SCREENS_LINES = 120
"""Three screens of 40 lines."""
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
def test_every_reason_is_documented_and_says_what_to_do(reason: Reason) -> None:
    assert f"`{reason}`" in SCRIPTING
    assert f"`{reason}`" in SKILL.partition("## Reasons")[2]
    assert HINTS[reason]
    assert QUESTION_HINTS[reason]


@pytest.mark.parametrize("command", sorted(typer.main.get_command(app).commands))  # type: ignore[attr-defined]  # a group
def test_every_command_is_in_the_table_of_commands(command: str) -> None:
    """One row names the commands of one family."""
    rows = COMMANDS.partition("| command |")[2].partition("\n\n")[0].splitlines()
    assert any(re.search(rf"`{command}\b", row.split(" | ")[0]) for row in rows)


def test_the_first_two_code_blocks_are_one_line_each() -> None:
    blocks = re.findall(r"^```.*?\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert all(block.count("\n") == 1 for block in blocks[:2])
    assert "imagegen run" in blocks[0]
    assert "pytest" in blocks[1]


@pytest.mark.parametrize("kind", kinds())
def test_every_kind_of_service_is_in_the_table_of_services(kind: str) -> None:
    assert re.search(rf"^\| `{kind}` \|", SERVICES, re.MULTILINE)


def test_the_readme_fits_three_screens_and_installs_before_it_uses() -> None:
    assert len(README.splitlines()) <= SCREENS_LINES
    first = re.search("^imagegen ", README, re.MULTILINE)
    assert first
    assert all(README.index(how) < first.start() for how in ("pipx install", "uv tool install", "bin/pip install"))


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda path: path.name)
def test_the_readme_names_every_page(page: Path) -> None:
    assert f"(docs/{page.name})" in README.partition("## Read on")[2]
    assert f"(docs/{page.name})" in CHINESE.partition("## 继续阅读")[2]


def test_both_readmes_have_the_same_commands_sections_and_pictures() -> None:
    """They differ in the words of prompts and of comments."""

    def bones(text: str) -> list[str]:
        blocks = "".join(re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
        commands = re.sub(r'"[^"]*"|^#.*\n', "", blocks, flags=re.MULTILINE)
        signs = re.findall(r"^#{1,2} |^\* |^<!-- .* -->$|\]\([^)]+\.(?:webp|md)\)", text, re.MULTILINE)
        return [*commands.splitlines(), *(sign for sign in signs if "README" not in sign)]

    assert bones(README) == bones(CHINESE)
    assert len(CHINESE.splitlines()) <= SCREENS_LINES


@pytest.mark.parametrize(
    "picture",
    sorted(path for ending in ("svg", "webp") for path in (ROOT / "docs").rglob(f"*.{ending}")),
    ids=lambda path: str(path.relative_to(ROOT / "docs")),
)
def test_every_picture_is_shown(picture: Path) -> None:
    pages = [ROOT / "README.md", ROOT / "README.zh-CN.md", *(ROOT / "docs").rglob("*.md")]
    shown = {
        (page.parent / name).resolve()
        for page in pages
        for name in re.findall(r"!\[[^]]*\]\(([^)]+)\)", page.read_text(encoding="utf-8"))
    }
    assert picture in shown


def test_the_licence_of_everything_that_is_installed_is_listed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = [
        *project["dependencies"],
        *(one for name in ("socks", "c2pa") for one in project["optional-dependencies"][name]),
    ]
    listed = re.findall(r"^([a-z][a-z0-9-]+)  +\S", (ROOT / "NOTICE").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(re.split("[><=]", one)[0] for one in needed)
    assert {"LICENSE", "NOTICE"} == set(project["license-files"])


def test_all_that_the_wheel_ships_beside_code_is_known() -> None:
    """Something else needs a line in NOTICE."""
    package = ROOT / "imagegen_cli"
    files = [one.relative_to(package) for one in package.rglob("*") if one.is_file()]
    files = [one for one in files if "__pycache__" not in one.parts]  # programs of other tests compile there meanwhile
    shipped = {str(one) for one in files if one.suffix not in (".py", ".mo") and one.parts[0] != "docs"}
    known = {
        "py.typed",
        "commands/SKILL.md",
        "gallery/page.css",
        "gallery/page.html",
        "gallery/page.js",
        "locale/zh_CN/LC_MESSAGES/imagegen.po",
        "settings/prices.toml",
    }
    assert shipped == known


def test_the_changelog_has_the_form_and_says_nothing_twice() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall("^## (.*)$", text, re.MULTILINE)[0] == "[Unreleased]"
    allowed = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]
    used = re.findall("^### (.*)$", text.partition("\n## ")[2].partition("\n## ")[0], re.MULTILINE)
    assert used == [one for one in allowed if one in used]
    entries = re.split(r"^- ", text, flags=re.MULTILINE)[1:]
    assert len(entries) == len({entry.partition("\n")[0] for entry in entries})


def exit_codes(text: str) -> dict[str, str]:
    """Code -> meaning: the first two columns of a table of exit codes."""
    rows = text.partition("code | meaning |")[2].partition("\n\n")[0].splitlines()[2:]
    return dict([cell.strip() for cell in row.split("|")[1:3]] for row in rows)


def test_the_exit_codes_are_the_same_in_every_table() -> None:
    codes = exit_codes(SCRIPTING)
    assert [*codes] == ["0", "1", "2", "3", "4", "5", "6", "70", "129 · 130 · 143"]
    assert exit_codes(SKILL) == codes
    raised = {
        str(one.exit_code)
        for one in vars(errors).values()
        if isinstance(one, type) and issubclass(one, errors.ImagegenError)
    }
    assert raised <= {*codes}


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


@pytest.mark.parametrize(
    "file", sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]), ids=lambda path: path.name
)
def test_links_lead_somewhere(file: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", file.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            name, _, part = target.partition("#")
            linked = file.parent / name if name else file
            assert linked.exists(), target
            assert not part or part in headings(linked), target


def headings(file: Path) -> set[str]:
    """What a link behind # can name."""
    found = re.findall("^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in found}
