"""What `--json` prints, as JSON Schema (2020-12): each line of a command is one object of a form below.

Words that a value can be come from the code that makes them, and the tests validate what the commands really print,
with no other key allowed. The schema itself allows further keys: later versions of the program add some.
"""

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

from imagegen_cli.commands.checks.finding import Level
from imagegen_cli.commands.options import CostsBy
from imagegen_cli.core.budget import Period
from imagegen_cli.core.charges import ChargeStatus
from imagegen_cli.core.errors import Reason, UsageError
from imagegen_cli.core.language import Message
from imagegen_cli.core.money import UNITS, Source
from imagegen_cli.core.task import FOLLOWS, ImageRequest
from imagegen_cli.core.text import Printer
from imagegen_cli.display.cost_rows import AMOUNTS

Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
TEXT: Schema = {"type": "string"}
WHOLE: Schema = {"type": "integer"}
COUNT: Schema = {"type": "integer", "minimum": 0}
NUMBER: Schema = {"type": "number"}
FLAG: Schema = {"type": "boolean"}
DIGEST: Schema = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
FACTS: Schema = {"type": "object", "additionalProperties": {"type": ["string", "number"]}}
TEXTS_BY_NAME: Schema = {"type": "object", "additionalProperties": TEXT}
ANY_OBJECT: Schema = {"type": "object"}
STATES = sorted(state.__name__.lower() for state in FOLLOWS)
VERSION: Schema = {"const": 1}

NO_SCHEMA = Message("there is no schema {name!r}")
COMMANDS: Mapping[str, str] = {
    "events": "run batch again edit upscale resume retry watch studio work",
    "summary": "the last line of those",
    "task": "list ps show export",
    "runs": "runs",
    "costs": "costs",
    "settle": "settle",
    "models": "models",
    "credits": "credits",
    "providers": "providers",
    "doctor": "doctor",
    "dry-run": "run batch again edit upscale retry with --dry-run",
    "info": "info",
    "sheet": "sheet",
    "gallery": "gallery",
}
"""Each form that can be asked for, and the commands that print such lines with --json."""


def schema(name: str) -> int:
    """Print the schema of one form, or of all. Raises UsageError for a name that is none."""
    if name and name not in COMMANDS:
        from imagegen_cli.core.schema import nearest  # noqa: PLC0415 - only for slips

        raise UsageError(NO_SCHEMA.format(name=name), hint=nearest(name, COMMANDS))
    Printer(sys.stdout, "utf-8").line(json.dumps(document(name), indent=2, ensure_ascii=False))
    return 0


def document(name: str = "") -> Schema:
    """The schema of the lines of one form with all that it refers to; without a name, of all lines of all commands."""
    known = definitions()
    wanted = list(COMMANDS) if not name else [name]
    used = _used(known, wanted)
    head: Schema = {"$schema": DIALECT, "title": f"imagegen {name}".strip(), "description": _printed_by(name)}
    body = {"$ref": f"#/$defs/{name}"} if name else {"anyOf": [{"$ref": f"#/$defs/{one}"} for one in wanted]}
    return head | body | {"$defs": {one: known[one] for one in known if one in used}}


def _printed_by(name: str) -> str:
    return f"One line of what these commands print with --json: {COMMANDS[name]}" if name else "Any line of --json"


def _used(known: Mapping[str, Schema], names: Iterable[str]) -> set[str]:
    """These definitions, and those that they refer to."""
    used: set[str] = set()
    left = list(names)
    while left:
        if (name := left.pop()) not in used:
            used.add(name)
            left += [other for other in known if f'"#/$defs/{other}"' in json.dumps(known[name])]
    return used


def definitions() -> dict[str, Schema]:
    """All forms by their names."""
    return {
        "moment": {"type": "string", "format": "date-time", "description": "ISO 8601 in UTC"},
        "amount": _form({"amount": NUMBER, "unit": _one_of(UNITS)}),
        "cost": _cost(),
        "sums": _form({name: _list(_ref("amount")) for name in _statuses(but=ChargeStatus.RETURNED)}),
        "task": _task(),
        **_events(),
        "summary": _summary(),
        "runs": _run(),
        "costs": {"anyOf": [_cost_row(), _budget()]},
        "settle": _form({"v": VERSION, "id": WHOLE, "costs": _list(_ref("cost"))}),
        "models": {"anyOf": [_model(), _form({"v": VERSION, "name": TEXT, "stands_for": TEXT})]},
        "credits": _form({"v": VERSION, "provider": TEXT, "amount": _or_null(NUMBER), "unit": TEXT, "note": TEXT}),
        "providers": {"anyOf": [_provider(), _kind()]},
        "doctor": _form({
            "v": VERSION, "level": _one_of(map(str, Level)), "provider": _or_null(TEXT), "check": TEXT, "said": TEXT,
            "todo": TEXT,
        }),
        "parent": PARENT,
        "dry-run": {"anyOf": [_planned(), _repeated()]},
        "info": _info(),
        "sheet": _form({
            "v": VERSION, "sheet": TEXT, "width": COUNT, "height": COUNT, "pictures": COUNT, "missing": COUNT,
            "left_out": COUNT, "undrawn": TEXT,
        }),
        "gallery": _form({
            "v": VERSION, "gallery": TEXT, "folder": _or_null(TEXT), "pictures": COUNT, "missing": COUNT,
            "new_thumbnails": COUNT, "not_shown": _list(_form({"path": TEXT, "why": TEXT})),
        }),
    }  # fmt: skip


# How a schema is written


def _form(required: Mapping[str, Schema], optional: Mapping[str, Schema] | None = None) -> Schema:
    return {"type": "object", "properties": {**required, **(optional or {})}, "required": list(required)}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}


def _list(of: Schema) -> Schema:
    return {"type": "array", "items": of}


def _one_of(words: Iterable[str]) -> Schema:
    return {"enum": list(words)}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _statuses(*, but: ChargeStatus | None = None) -> list[str]:
    return [str(status) for status in ChargeStatus if status is not but]


# The forms

PARENT = _form({"task": WHOLE, "picture": WHOLE})


def _cost() -> Schema:
    known = {"source": _one_of(map(str, Source)), "status": _one_of(_statuses())}
    return _form(known, {"amount": NUMBER, "unit": _one_of(UNITS)})


def _plain_task() -> dict[str, Schema]:
    """What every object of a task has."""
    moment = _or_null(_ref("moment"))
    return {
        "v": VERSION, "id": WHOLE, "run": WHOLE, "state": _one_of(STATES),
        "reason": _or_null(_one_of(map(str, Reason))), "message": TEXT, "hint": TEXT, "prompt": TEXT,
        "provider": TEXT, "model": TEXT, "created": moment, "started": moment, "ended": moment, "asked": COUNT,
        "files": _list(TEXT),
    }  # fmt: skip


def _sometimes() -> dict[str, Schema]:
    """What an object of a task has where there is something to say."""
    return {"cost": _ref("cost"), "vary": TEXTS_BY_NAME, "parents": _list(_ref("parent"))}


def _task() -> Schema:
    picture = _form({"path": TEXT, "sha256": _or_null(DIGEST)})
    attempt = _form({
        "number": WHOLE, "state": _one_of(STATES), "reason": _or_null(_one_of(map(str, Reason))), "message": TEXT,
        "ended": _or_null(_ref("moment")),
    })  # fmt: skip
    history = {"host": TEXT, "pid": _or_null(WHOLE), "facts": FACTS, "pictures": _list(picture), "favourite": FLAG}
    more = {"favourite_pictures": _list(WHOLE), "attempts": _list(attempt), "earlier_costs": _list(_ref("cost"))}
    more |= {"chains": _list(_list(_ref("parent")))}
    return _form(_plain_task() | history, _sometimes() | more)


def _events() -> dict[str, Schema]:
    """`events`, and the event of each name."""
    id_run = {"id": WHOLE, "run": _or_null(WHOLE)}
    cost = {"cost": _ref("cost")}
    bodies: dict[str, tuple[dict[str, Schema], dict[str, Schema]]] = {
        "run-started": ({"run": WHOLE, "tasks": COUNT}, {}),
        "task-added": (_plain_task(), _sometimes()),
        "task-changed": (_plain_task(), _sometimes()),
        "task-progressed": (
            {**id_run, "fraction": _or_null(NUMBER), "queue_position": _or_null(WHOLE), "note": TEXT}, {},
        ),
        "task-delayed": ({**id_run, "attempt": WHOLE, "seconds": _or_null(NUMBER), "because": TEXT}, {}),
        "task-learned": ({**id_run, "facts": FACTS}, {}),
        "task-charged": (id_run, cost),
        "run-stopping": ({"run": WHOLE, "why": TEXT}, {}),
        "budget-reached": ({"run": WHOLE, "because": TEXT}, {}),
        "provider-paused": ({"provider": TEXT, "because": TEXT}, {}),
        "run-finished": ({"run": WHOLE}, {}),
    }  # fmt: skip
    head = {"v": VERSION, "at": _ref("moment")}
    events = {
        name: _form({**head, **always, "event": {"const": name}}, sometimes)
        for name, (always, sometimes) in bodies.items()
    }
    return {"events": {"anyOf": [_ref(name) for name in [*events, "summary"]]}, **events}


def _summary() -> Schema:
    counts = ("tasks", "done", "short", "failed", "cancelled", "unfinished", "pictures")
    reasons = {"type": "object", "propertyNames": _one_of(map(str, Reason)), "additionalProperties": COUNT}
    return _form({
        "v": VERSION, "event": {"const": "summary"}, **dict.fromkeys(counts, COUNT), "seconds": NUMBER,
        "reasons": reasons, "resumable": _list(WHOLE), "costs": _ref("sums"),
    })  # fmt: skip


def _run() -> Schema:
    counts = ("tasks", "done", "short", "failed", "cancelled", "unfinished", "pictures")
    return _form({
        "v": VERSION, "id": WHOLE, "command": TEXT, "source": TEXT, "started": _ref("moment"),
        "ended": _or_null(_ref("moment")), **dict.fromkeys(counts, COUNT), "costs": _ref("sums"),
    })  # fmt: skip


def _info() -> Schema:
    """What is known of a picture file; every text of it is as it stands in the file."""
    texts = ("tool", "kind", "made_at", "sidecar", "saved_as", "signature", "signer", "source_type", "damage")
    numbers = ("width", "height", "seed", "said_width", "said_height", "task", "picture")
    label = _form(dict.fromkeys(("form", "label", "meaning", "producer", "id"), TEXT))
    return _form({
        "v": VERSION, "file": TEXT, "format": TEXT, "bytes": COUNT, **dict.fromkeys(texts, _or_null(TEXT)),
        **dict.fromkeys(numbers, _or_null(WHOLE)), **dict.fromkeys(("prompt", "negative", "model"), TEXT),
        "said_by": _or_null(_one_of(("file", "sidecar", "history"))),
        "parameters": {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}},
        "omitted": _list(TEXT), "parents": _list(_ref("parent")), "chains": _list(_list(_ref("parent"))),
        "labels": _list(label), "verified": _or_null(_one_of(("trusted", "valid", "invalid", "unreadable"))),
    })  # fmt: skip


def _cost_row() -> Schema:
    unit = _or_null(_one_of(UNITS))
    return _form({
        "v": VERSION, "kind": _one_of(("cost", "total")), "by": _one_of(map(str, CostsBy)), "key": _or_null(TEXT),
        "unit": unit, "price": _one_of(("known", "unknown", "free")), "submits": COUNT, "pictures": COUNT,
        **dict.fromkeys(AMOUNTS, _or_null(NUMBER)), "each": _or_null(NUMBER),
    })  # fmt: skip


def _budget() -> Schema:
    sums = dict.fromkeys(("limit", "spent", "left"), _or_null(NUMBER))
    head = {"v": VERSION, "kind": {"const": "budget"}, "period": _one_of(map(str, Period)), "unit": _one_of(UNITS)}
    return _form({**head, **sums})


def _model() -> Schema:
    texts = dict.fromkeys(("name", "provider", "model"), TEXT)
    return _form({"v": VERSION, **texts, **dict.fromkeys(("default", "configured", "live"), FLAG)})


def _provider() -> Schema:
    texts = dict.fromkeys(("name", "kind", "title", "base_url", "model"), TEXT)
    flags = dict.fromkeys(("configured", "default"), FLAG)
    return _form({"v": VERSION, **texts, **flags, "concurrency": {"anyOf": [WHOLE, {"const": "unlimited"}]}})


def _kind() -> Schema:
    setting = _form(dict.fromkeys(("name", "meaning", "default", "environment"), TEXT))
    return _form({"v": VERSION, "kind": TEXT, "title": TEXT, "settings": _list(setting), "remarks": _list(TEXT)})


def _request() -> tuple[dict[str, Schema], dict[str, Schema]]:
    """The fields of a request that are always printed, and those that are printed where they are set."""
    forms = {"str": TEXT, "int | None": _or_null(WHOLE), "tuple[str, ...]": _list(TEXT)}
    known = {field.name: forms.get(_type(field.type), TEXTS_BY_NAME) for field in fields(ImageRequest)}
    always = ("prompt", "provider", "seed")
    return {name: known[name] for name in always}, {name: known[name] for name in known if name not in always}


def _type(annotation: Any) -> str:
    return annotation.__name__ if isinstance(annotation, type) else str(annotation)


def _planned() -> Schema:
    always, sometimes = _request()
    head = {"line": WHOLE, "kind": TEXT, "base_url": TEXT, "asked": COUNT, "file": TEXT}
    return _form(head | always, sometimes | {"sent": ANY_OBJECT, "skip": TEXT, "vary": TEXTS_BY_NAME})


def _repeated() -> Schema:
    always, sometimes = _request()
    head = {"task": WHOLE, "run": WHOLE, "state": _one_of(STATES), "reason": _or_null(_one_of(map(str, Reason)))}
    return _form({**head, **always, "asked": COUNT}, sometimes)
