"""What we say about a picture of ours: one value, the same in every file, and the request that it came from."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import Any

from imagegen_cli.core.masking import OF_A_HEADER, masked
from imagegen_cli.core.task import ImageRequest, Parent
from imagegen_cli.marks.decoding import (
    MAX_VALUES,
    Parameters,
    Scalar,
    clean,
    scalars,
    table_in,
    text_of,
    unread,
    whole_number,
)

VERSION = 1
"""Of the JSON form. A reader takes the fields that it knows, so that only a changed meaning needs a new number."""
TOOL = "imagegen"
EXTRA = "extra."
"""How a parameter begins that only this kind of service understands."""
PLAIN_FIELDS = ("ratio", "resolution", "width", "height", "count", "name")
"""Fields of a request that are parameters under their own names."""
ADDRESS = "://"
MAX_PARENTS = 64
PLACE = re.compile(
    r"""(?xi) :// | ^\s{0,99}(?:data|file|blob|mailto):                  # an address
    | \blocalhost\b | \b\d{1,3}(?:\.\d{1,3}){3}\b       # a host, by number or with its port, which no model's file is
    | \.(?!safetensors|ckpt|gguf|pth?:)[a-z]{2,24}:\d{2,5}\b
    | ^\s{0,99}(?:[/~\\]|\.\.?[/\\]|[a-z]:[/\\])          # a path from a root, the home, here or a drive
    | [\s"'=:,;(\[{](?:/[^/\s"']{1,255}/|~/|[a-z]:\\|\\\\)   # the same inside of other words"""
)


class SourceType(StrEnum):
    """Terms of IPTC's NewsCodes for how a picture came to be."""

    TRAINED = "trainedAlgorithmicMedia"
    COMPOSITE = "compositeWithTrainedAlgorithmicMedia"
    UNKNOWN = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """`kind` is the kind of service, never its address; `job` the service's id of the task, `id` ours, `time` ISO 8601.

    `parents` are the pictures of earlier tasks that it was made from, by their numbers in the same history.
    There is no field for a key, an address or a folder, and a value that names one is left out. `omitted` names what
    the request had and a file must not tell. Secrets are struck out where marks are written, by `without_secrets`.
    """

    prompt: str = ""
    negative: str = ""
    model: str = ""
    kind: str = ""
    seed: int | None = None
    job: str = ""
    id: str = ""
    time: str = ""
    source: SourceType = SourceType.UNKNOWN
    parameters: Parameters = field(default_factory=dict)
    omitted: tuple[str, ...] = ()
    unread: tuple[str, ...] = field(default=(), compare=False)
    """What a file says and has a value that cannot be one: `seed [5]`. It is never written."""
    parents: tuple[Parent, ...] = ()

    def __post_init__(self) -> None:
        texts = {name: clean(getattr(self, name)) for name in TEXTS}
        values = scalars(self.parameters)
        hidden = [name for name in TEXTS[2:] if PLACE.search(texts[name])]
        hidden += [name for name, value in values.items() if _must_hide(name, value)]
        for name, text in texts.items():
            object.__setattr__(self, name, "" if name in hidden else text)
        kept = {name: value for name, value in values.items() if name not in hidden}
        object.__setattr__(self, "parameters", kept)
        object.__setattr__(self, "omitted", tuple(dict.fromkeys([*self.omitted, *hidden])))


FACTS = ("revised_prompt", "request_id", "drawn", "not_drawn")
"""What a service told that stands among the parameters; the last two are words of the prompt, which sketch names."""
PROSE = frozenset({"revised_prompt", "drawn", "not_drawn"})
TEXTS = ("prompt", "negative", "model", "kind", "job", "id", "time")
"""The fields of Marks that are texts; the first two are a person's prose, in which any word may stand."""


def _must_hide(name: str, value: Scalar) -> bool:
    """Whether a parameter names a place, or is a secret by its name. Words of a prompt are prose."""
    if not isinstance(value, str):
        return False
    if name in PROSE:
        return ADDRESS in value
    return bool(PLACE.search(value)) or (name.startswith(EXTRA) and bool(re.search(OF_A_HEADER, name)))


def without_secrets(marks: Marks) -> Marks:
    """The same without any secret of this process, in any text or name."""
    values = {masked(name): masked(one) if isinstance(one, str) else one for name, one in marks.parameters.items()}
    texts: dict[str, Any] = {name: masked(getattr(marks, name)) for name in TEXTS}
    return replace(marks, **texts, parameters=values, omitted=tuple(map(masked, marks.omitted)))


def marks_of(
    request: ImageRequest,
    *,
    kind: str,
    facts: Mapping[str, str | int | float],
    job: str = "",
    task_id: str = "",
    time: str = "",
    index: int = 1,
    parents: Iterable[Parent] = (),
) -> Marks:
    """The marks of picture `index` (from 1) of a task. `facts` are what the service told, as `Ready.facts` has them.

    The seed and the model that were really used stand before those that were asked for.
    """
    asked: dict[str, Any] = {name: getattr(request, name) for name in PLAIN_FIELDS}
    asked |= {f"{EXTRA}{name}": text for name, text in request.extra.items()}
    asked |= {name: facts.get(name) for name in FACTS}
    if request.model and facts.get("model", request.model) != request.model:
        asked["requested_model"] = request.model
    source = SourceType.COMPOSITE if request.references else SourceType.TRAINED
    return Marks(
        prompt=request.prompt,
        negative=request.negative,
        model=text_of(facts.get("model")) or request.model,
        kind=kind,
        seed=_seed(facts.get("seed"), index, request.seed),
        job=job,
        id=task_id,
        time=time,
        source=SourceType.UNKNOWN if kind == "sketch" else source,
        parameters=scalars({name: value for name, value in asked.items() if value not in (None, "")}),
        omitted=("references",) if request.references else (),
        parents=tuple(parents)[:MAX_PARENTS],
    )


def _seed(told: Any, index: int, asked: int | None) -> int | None:
    """The seed of one picture: a service may tell one for each, with commas between."""
    if isinstance(told, str) and 0 < index <= told.count(",") + 1:
        told = told.split(",")[index - 1]
    found = whole_number(told)
    return found if found is not None else whole_number(asked)


def to_json(marks: Marks, **more: str) -> str:
    """One line of JSON without the fields that say nothing."""
    told = {item.name: getattr(marks, item.name) for item in fields(marks)} | {"omitted": list(marks.omitted)} | more
    told["parents"] = list(marks.parents)
    del told["unread"]
    empty: tuple[Any, ...] = ("", None, [], {})
    table = {"v": VERSION, "tool": TOOL} | {name: value for name, value in told.items() if value not in empty}
    text = json.dumps(table, ensure_ascii=False)
    return re.sub("[\x7f-\x9f\u2028\u2029\ufffe\uffff]", lambda found: f"\\u{ord(found[0]):04x}", text)


def from_json(text: str) -> Marks | None:
    """Marks from their JSON form; None where the text is none of ours. Values of a wrong type are left out."""
    table = table_in(text)
    if table.get("tool") != TOOL or not isinstance(table.get("v"), int):
        return None
    source, parameters, omitted = table.get("source"), table.get("parameters"), table.get("omitted")
    texts = {name: text_of(table.get(name)) for name in TEXTS}
    return Marks(
        **texts,
        seed=whole_number(table.get("seed")),
        source=SourceType(source) if source in list(SourceType) else SourceType.UNKNOWN,
        parameters=scalars(parameters) if isinstance(parameters, dict) else {},
        omitted=tuple(map(text_of, omitted)) if isinstance(omitted, list) else (),
        parents=tuple(_parents(table.get("parents"))),
        unread=(*unread(table, ("seed",)), *_unread_parameters(parameters)),
    )


def _unread_parameters(parameters: Any) -> Iterator[str]:
    if not isinstance(parameters, dict):
        return
    yield from unread(parameters, ("count", "width", "height"))
    for name in list(parameters)[:MAX_VALUES]:
        if parameters[name] is not None and not scalars({name: parameters[name]}):
            yield clean(name)


def _parents(listed: Any) -> Iterator[Parent]:
    for pair in listed[:MAX_PARENTS] if isinstance(listed, list) else ():
        numbers = [whole_number(one) for one in pair] if isinstance(pair, list) else []
        if len(numbers) == 2 and numbers[0] and numbers[1]:  # noqa: PLR2004 - task and picture
            yield Parent(numbers[0], numbers[1])
