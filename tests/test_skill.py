"""`imagegen skill` prints a SKILL.md: its form, and that what it says is so."""

import re
from pathlib import Path

import yaml

from imagegen_cli.commands.schema import COMMANDS, document
from tests.program import Program, finished, without_site

MAX_DESCRIPTION_CHARACTERS = 1024
PAYING = ("run", "batch", "again", "retry", "edit", "upscale")


def test_it_is_printed_as_utf8_with_nothing_else(tmp_path: Path) -> None:
    bare = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONPATH": without_site()}
    ended = finished(Program(tmp_path).start("skill", flags=["-S"], environment=bare))
    assert (ended.code, ended.err) == (0, "")
    assert "130 · 143" in ended.out
    assert ended.out.startswith("---\n")
    assert ended.out.endswith("\n")


def test_its_head_names_and_describes_it(tmp_path: Path) -> None:
    _, head, body = Program(tmp_path).run("skill").out.split("---\n", 2)
    values = yaml.safe_load(head)
    assert set(values) == {"name", "description"}
    assert re.fullmatch("[a-z0-9-]{1,64}", values["name"])
    assert 100 < len(values["description"]) <= MAX_DESCRIPTION_CHARACTERS
    assert body.lstrip().startswith("# imagegen")


def test_every_command_that_pays_is_named_in_the_rule_against_sending_again(tmp_path: Path) -> None:
    rule = Program(tmp_path).run("skill").out.partition("1. ")[2].partition("2. ")[0]
    assert all(f"`{name}`" in rule for name in PAYING)
    paying = set(COMMANDS["dry-run"].split(" with ")[0].split())
    assert paying == set(PAYING)


def test_every_key_of_the_summary_that_it_explains_exists(tmp_path: Path) -> None:
    text = Program(tmp_path).run("skill").out.partition("## Read")[2].partition("## Exit")[0]
    listed = [name for line in re.findall(r"^\* (.*)", text, re.MULTILINE) for name in re.findall(r"`(\w+)`", line)]
    assert set(listed) <= set(document("summary")["$defs"]["summary"]["properties"])
    task = document("task")["$defs"]["task"]["properties"]
    later = text.partition("Later,")[2].partition("`hint` says")[0]
    assert {"state", "files", "hint"} <= {*re.findall(r"`(\w+)`", later)} <= set(task)
