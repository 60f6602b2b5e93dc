"""`imagegen schema` describes what commands print: every line of real runs is valid, and it has all of their keys."""

import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
import typer

from imagegen_cli.cli import app
from imagegen_cli.commands.schema import COMMANDS, DIALECT, definitions, document
from imagegen_cli.core import events
from imagegen_cli.core.charges import reserved
from imagegen_cli.core.errors import Reason
from imagegen_cli.core.events import Event, Working
from imagegen_cli.core.money import Money, Quote, Source
from imagegen_cli.core.task import (
    FOLLOWS,
    Cancelled,
    CancelOutcome,
    Done,
    Failed,
    ImageRequest,
    Job,
    Parent,
    Queued,
    RunId,
    Running,
    Saving,
    Submitting,
    Task,
    TaskId,
)
from imagegen_cli.display import Board, JsonLines
from tests.doubles.dreamina import DreaminaServer
from tests.doubles.http import Pictures
from tests.program import Ended, Program

jsonschema = pytest.importorskip("jsonschema")
CONFIG = """
default_provider = "studio"
[budget]
day = "50usd"
[models]
best = "studio/jimeng-4.0"
[providers.studio]
kind = "dreamina"
base_url = "{url}"
poll = 0.02
timeout = 5.0
[prices]
"studio/*" = "0.01usd"
"""


def strict(schema: Any) -> Any:
    """The same schema with no other key allowed: a key that the schema lacks is an error of the test."""
    if isinstance(schema, list):
        return [strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: strict(value) for key, value in schema.items()}
    return closed | {"additionalProperties": False} if isinstance(closed.get("properties"), dict) else closed


def validator(name: str) -> Any:
    return jsonschema.Draft202012Validator(
        strict(document(name)), format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
    )


def check(name: str, ended: Ended) -> None:
    """Every line on stdout is valid, and there is one."""
    assert ended.objects, ended.err
    known = validator(name)
    for plain in ended.objects:
        errors = [f"{error.json_path}: {error.message}" for error in known.iter_errors(plain)]
        assert not errors, f"{plain}\n{errors}"


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """A program whose history has tasks of all kinds of ends."""
    with DreaminaServer(pictures=Pictures("png", (8, 8))) as server:
        server.credit_count = 3
        program = Program(tmp_path_factory.mktemp("schema"), CONFIG.format(url=server.url))
        ended = program.run(
            "run", "a cat", "a dog #fail", "a fox #lost", "#partial two", "#queued owl", "--each", "--json", "--yes"
        )
        check("events", ended)
        assert {one["state"] for one in ended.objects if one["event"] == "task-changed"} >= {
            "done",
            "failed",
            "running",
        }
        yield program


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("events", "run bird --json --seed 3 --yes"),
        ("events", "again 1 --json --yes"),
        ("events", "retry 2 --json --yes --reason moderated"),
        ("events", "watch --replay --run 1 --speed 9999 --json"),
        ("task", "list --json"),
        ("task", "ps --json --state failed"),
        ("task", "show 1 --json"),
        ("task", "show 2 --json"),
        ("task", "export"),
        ("runs", "runs --json"),
        ("costs", "costs --json"),
        ("costs", "costs --json --by model"),
        ("costs", "costs --json --by run"),
        ("models", "models --json"),
        ("credits", "credits --json"),
        ("providers", "providers --json"),
        ("providers", "providers bfl --json"),
        ("providers", "providers sketch --json"),
        ("doctor", "doctor --json"),
        ("dry-run", "run fox owl --each --dry-run --json --seed 3 --ratio 16:9"),
        ("info", "info images --json"),
        ("dry-run", "edit 1/1 x --dry-run --json"),
        ("dry-run", "retry 2 --dry-run --may-repeat"),
        ("settle", "settle --all --paid --json"),
        ("sheet", "sheet --run 1 --json -o sheet.png"),
        ("gallery", "gallery --json -o page.html"),
    ],
)
def test_every_line_of_a_command_is_of_its_form(studio: Program, name: str, words: str) -> None:
    (ids := studio.folder / "list.txt").write_text("one\ntwo\n", encoding="utf-8")
    assert ids.exists()
    check(name, studio.run(*words.split()))


def test_the_last_line_of_a_run_is_the_summary(studio: Program) -> None:
    (studio.folder / "list.txt").write_text("one\ntwo #fail\n", encoding="utf-8")
    ended = studio.run("batch", "list.txt", "--json", "--yes")
    check("events", ended)
    check("summary", Ended(0, ended.lines[-1], ""))
    studio.run("favourite", "-1")
    check("task", studio.run("list", "--favourite", "--json"))


def test_what_nothing_printed_is_valid_as_well(tmp_path: Path) -> None:
    """A sketch costs nothing, and its facts are numbers."""
    program = Program(tmp_path)
    check("events", program.run("run", "a cat", "--size", "64x64", "-n", "2", "--json"))
    check("task", program.run("list", "--json"))
    check("costs", program.run("costs", "--json"))
    check("runs", program.run("runs", "--json"))
    check("events", program.run("run", "a {what}", "--vary", "what=cat,dog", "--size", "64x64", "--json"))
    check("dry-run", program.run("run", "a {what}", "--vary", "what=cat,dog", "--dry-run"))
    check("task", program.run("list", "--json", "--run", "LAST"))
    check("sheet", program.run("sheet", "--json"))
    check("gallery", program.run("gallery", "--json"))
    picture = program.run("list", "--json", "--limit", "1").objects[0]["files"][0]
    check("info", program.run("info", "--json", picture, __file__))
    check("task", program.run("show", "LAST", "--json"))


REQUEST = ImageRequest(prompt="a cat", provider="studio")
STATES = (
    Queued(), Submitting(), Running(Job("a")), Saving(()), Done(("/1.png",), missing=1), Failed(Reason.BUG, "no"),
    Cancelled(CancelOutcome.NOT_SENT),
)  # fmt: skip


def of_state(state: Any) -> Task:
    return Task(id=TaskId(1), run=RunId(1), request=REQUEST, state=state, folder="/", name="a")


def example(kind: type) -> Event:
    """An event of a kind, from examples of the types of its fields."""
    charge = reserved(Quote(1, Money(1, "usd"), Source.SET))
    values: Mapping[str, Any] = {
        "at": 1.0, "run": RunId(1), "tasks": (of_state(Queued()),), "task": of_state(Queued()), "id": TaskId(1),
        "working": Working(0.5, 3, "busy"), "facts": {"seed": 1, "model": "x"}, "amount": Money(1, "usd"),
        "source": Source.TOLD, "images": 1, "charges": {TaskId(1): charge}, "attempt": 1, "seconds": 1.0,
        "because": "it was busy", "limit": 3, "why": "Ctrl-C", "provider": "studio", "hosts": {TaskId(1): "alpha"},
    }  # fmt: skip
    fields = kind._fields  # type: ignore[attr-defined]  # a NamedTuple
    event: Event = kind(**{name: values[name] for name in fields if name in values})
    return event


def test_every_event_and_every_state_is_in_the_schema() -> None:
    out = io.StringIO()
    display = JsonLines(Board(), stdout=out, stderr=io.StringIO())
    with display:
        display.tell(events.RunStarted(0.0, RunId(1), (of_state(Queued()),)))
        for state in STATES:
            display.tell(events.TaskChanged(1.0, of_state(state)))
        made = replace(of_state(Queued()), cell={"seed": "7"}, parents=(Parent(TaskId(1), 2),))
        display.tell(events.TaskChanged(1.0, made))
        for kind in get_args(Event):
            display.tell(example(kind))
    check("events", Ended(0, out.getvalue(), ""))
    assert {type(state) for state in STATES} == set(FOLLOWS)
    told = {json.loads(line)["event"] for line in out.getvalue().splitlines()}
    assert told == {one["$ref"].rpartition("/")[2] for one in definitions()["events"]["anyOf"]}


def test_every_command_that_prints_json_has_a_form() -> None:
    described = {command for commands in COMMANDS.values() for command in commands.split()}
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]  # a group
    with_json = {name for name, command in commands.items() if any("--json" in one.opts for one in command.params)}
    assert with_json <= described


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_every_schema_is_one_and_stands_alone(name: str) -> None:
    schema = document(name)
    assert schema["$schema"] == DIALECT
    jsonschema.Draft202012Validator.check_schema(schema)
    assert set(schema["$defs"]) <= set(definitions())
    assert name != "" or set(schema["$defs"]) == set(definitions())


def test_a_schema_is_printed_and_an_unknown_form_is_refused(tmp_path: Path) -> None:
    assert json.loads(Program(tmp_path).run("schema", "task").out) == document("task")
    ended = Program(tmp_path).run("schema", "tsk")
    assert (ended.code, ended.out) == (2, "")
    assert "did you mean task?" in ended.err
    assert "known: costs, credits, doctor" in Program(tmp_path).run("schema", "xylophone").err
