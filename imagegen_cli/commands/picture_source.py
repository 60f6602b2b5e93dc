"""`run --from`: what made a picture, as what a run is to make; and what was taken of it, in one line."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from imagegen_cli.commands.console import answers, history, say
from imagegen_cli.commands.histories import has_history
from imagegen_cli.commands.info import Known, known_of, marks_of_record
from imagegen_cli.commands.options import SpendOptions
from imagegen_cli.commands.task_pictures import picture_of, task_pictures
from imagegen_cli.core.errors import ImagegenError, UsageError
from imagegen_cli.core.language import Message, joined
from imagegen_cli.inputs import plan
from imagegen_cli.inputs.changes import changed, spec_of
from imagegen_cli.inputs.from_picture import Fitted, fitted, refusal_by, told_by
from imagegen_cli.inputs.prompts import PromptSpec
from imagegen_cli.marks.reading import UnreadableFile
from imagegen_cli.providers import known as is_kind, load
from imagegen_cli.settings.config import Config, load_config
from imagegen_cli.storage.store import Store

KIND_OF_TOOL = {"A1111": "a1111"}
"""Tools whose pictures a kind of service can make again with all their settings."""
PLAIN_PIXELS = 1024 * 1024
"""Pixels of one picture that every service makes at its lowest price."""
COSTLY = re.compile(
    r"(?:^|(?<!cfg)(?<!guidance)_)(?:steps|hr|batch|iter|n|num|images|quality|scale|factor|upscal\w*|megapixels)(?:_|$)"
)
"""Names of options that raise what a picture costs, or how long it takes."""
STEPS = ("steps", "num_inference_steps")
MANY_STEPS = 50
MAX_NAMED = 12
"""Things that one line names."""
MAX_SHOWN_CHARACTERS = 60
MODEL, SIZE = Message("the model {value}"), Message("the size {value}")
RESOLUTION = Message("the resolution {value}")


def from_picture(
    name: str, changes: PromptSpec, *, with_words: bool, quiet: bool, is_agreed: bool = True
) -> PromptSpec:
    """What made a picture, with what the options change. Says in one line what was taken. Raises UsageError.

    `with_words`: the person gives a prompt, so that the picture's own is not shown. A picture whose bytes the history
    knows is made again from there, which this person alone writes. What may raise the price and comes from any
    other file is asked about, unless the person has agreed (`is_agreed`).
    """
    config = load_config()
    if plan.names_a_task(changes):
        with task_pictures() as find:
            changes = plan.with_files(changes, config, find)
    known = _known(name)
    found = _from_history(known, changes, config) or _from_file(known, changes, config)
    if not found.spec.prompt and not with_words:
        none = Message("{path} names no prompt").format(path=known.path)
        raise UsageError(none, hint=Message('write one: imagegen run --from {path} "…"').format(path=known.path))
    if not quiet:
        say(_taken(known, found, with_words=with_words))
    if known.record is None and not is_agreed:
        _agree(known, found.spec, changes, config)
    return found.spec


def _agree(known: Known, spec: PromptSpec, changes: PromptSpec, config: Config) -> None:
    """Ask about what a stranger's file chose and what may raise the price. Raises UsageError at a no."""
    chosen = list(_raising(spec, changes, config))
    if not chosen:
        return
    words = Message("{name} chose {what}, which may cost more than your own settings")
    words = words.format(name=known.path.name, what=joined(", ", chosen))
    question = Message("{message}: {price}. Send it? [y/N]")
    if answers(question.format(message=words, price=_price(spec, config)), ["yes"]):
        return
    hint = Message("nothing was sent; --yes sends it, and options such as -m and --size set it yourself")
    raise UsageError(words, hint=hint)


def _raising(spec: PromptSpec, changes: PromptSpec, config: Config) -> Iterator[str]:
    """What of a specification the file chose, and what services charge for: a model, many pixels, more steps."""
    one = config.provider(spec.provider.split(",")[0]) if spec.provider else None
    own = one.settings.model if one else ""
    if not changes.models and any(model != own for model in spec.models) and not (one and one.type.is_free):
        yield _shortened(MODEL, ", ".join(spec.models))
    if not (changes.size or changes.ratio or changes.resolution):
        width, _, height = spec.size.partition("x")
        if spec.size and not (width.isdecimal() and height.isdecimal() and int(width) * int(height) <= PLAIN_PIXELS):
            yield _shortened(SIZE, spec.size)
        if spec.resolution:
            yield _shortened(RESOLUTION, spec.resolution)
    for name, text in spec.extra.items():
        if name not in changes.extra and COSTLY.search(name) and not (name in STEPS and _is_few(text)):
            yield short(f"{name}={text}")


def _shortened(template: Message, value: str) -> Message:
    """The message with its value, which stands at its end, cut as `short` cuts the whole."""
    return template.format(value=short(template.format(value=value))[len(template.format(value="")) :])


def _is_few(text: str) -> bool:
    return text.isdecimal() and len(text) < len(str(MANY_STEPS)) + 1 and int(text) <= MANY_STEPS


def _price(spec: PromptSpec, config: Config) -> str:
    """What one task of it should cost, by what is known without asking a service."""
    from imagegen_cli.commands.additions import costs_of  # noqa: PLC0415 - only a question needs it
    from imagegen_cli.commands.spending import Spending, cost  # noqa: PLC0415

    try:
        items = plan.prepare([replace(spec, prompt=spec.prompt or "a picture", vary={}, repeat=1)], config)
        spending = Spending(config, SpendOptions(), (item.request.provider for item in items))
        return cost(costs_of(items, spending))
    except ImagegenError:  # the run itself names the reason
        return Message("price not known")


def _known(name: str) -> Known:
    """All that is known of a file, or of a picture of the history by its task. Raises UsageError."""
    if not has_history() and not plan.is_of_a_task(name):
        return _read(Path(name).expanduser(), None)
    with history() as store:
        path = name
        if plan.is_of_a_task(name):
            path, _ = picture_of(name.strip()[len(plan.PICTURE_OF_A_TASK) :], store, "--from")
        return _read(Path(path).expanduser(), store)


def _read(path: Path, store: Store | None) -> Known:
    try:
        return known_of(path, store)
    except UnreadableFile as error:
        message = Message("{path}: {why}").format(path=path, why=error.message)
        raise UsageError(message, hint=Message("nothing was sent")) from error


def _from_history(known: Known, changes: PromptSpec, config: Config) -> Fitted | None:
    """The request of the task itself, with the real seed of this picture; None where its service is not set up now."""
    if known.record is None or known.picture is None:
        return None
    spec = spec_of(known.record)
    if not (spec.provider in config.providers or config.is_own(spec.provider)):
        return None
    seed = marks_of_record(known.record, known.picture.number).seed
    spec = replace(spec, seed=spec.seed if seed is None else seed, count=None if spec.count is None else 1)
    return Fitted(changed(spec, changes), ())


def _from_file(known: Known, changes: PromptSpec, config: Config) -> Fitted:
    """What the file or its sidecar says, as far as the service takes it."""
    made, marks = known.reading.made, known.reading.marks
    if not (made.tool and (made.prompt or made.seed is not None)):
        hint = Message("imagegen info {path} shows all that is known").format(path=known.path)
        raise UsageError(Message("{path} does not say what made it").format(path=known.path), hint=hint)
    kind = marks.kind if marks else KIND_OF_TOOL.get(made.tool, "")
    changes = replace(changes, provider=_provider(kind, known, changes, config))
    target = config.provider(changes.provider.split(",")[0]) if changes.provider else None
    told, omitted = told_by(known.reading, target.kind if target else kind)
    is_same = target is not None and target.kind == kind
    told = told if is_same else replace(told, models=(), extra={} if marks else told.extra)
    other = () if is_same or not made.model or changes.models else (Message("model {model}").format(model=made.model),)
    found = fitted(
        told, replace(changes, prompt=told.prompt or "a picture"), refusal_by(config), is_same=is_same and bool(marks),
        takes_extra=target is not None and target.type.declares_options,
    )  # fmt: skip
    return Fitted(replace(found.spec, prompt=told.prompt), (*other, *omitted, *found.left_out))


def _provider(kind: str, known: Known, changes: PromptSpec, config: Config) -> str:
    """The provider that the person names, or the one of this kind; empty where a model names it. Raises UsageError."""
    if changes.provider:
        return changes.provider
    if any(config.model(model).partition("/")[0] in config.providers for model in changes.models):
        return ""
    same = [one.name for one in config.own if one.kind == kind]
    if kind in same or (not same and kind and is_kind(kind) and load(kind).local):
        return kind
    if len(same) == 1:
        return same[0]
    if same:
        several = Message("{path} was made by the kind {kind}, and several of your services are of it: {names}")
        hint = Message("say which: imagegen run --from {path} -p {name}").format(path=known.path, name=same[0])
        raise UsageError(several.format(path=known.path, kind=kind, names=", ".join(same)), hint=hint)
    by = Message("the kind {kind}").format(kind=kind) if kind else known.reading.made.tool
    none = Message("{path} was made by {kind}, and no service of yours is of that kind")
    others = [one.name for one in config.own] or ["sketch"]
    hint = Message("make it with another service, as far as that can: imagegen run --from {path} -p {name}")
    raise UsageError(none.format(path=known.path, kind=by), hint=hint.format(path=known.path, name=others[0]))


def _taken(known: Known, found: Fitted, *, with_words: bool) -> str:
    """One line: from where, by which service, with which parameters, and what is left out."""
    spec = found.spec
    picture = f"{known.picture.task}/{known.picture.number}" if known.picture and known.record else ""
    where = Message("task {task}").format(task=picture) if picture else known.path.name
    seed = "" if spec.seed is None else Message("seed {seed}").format(seed=spec.seed)
    shape = (spec.size, spec.ratio, spec.resolution, seed, _without(spec.negative))
    options = (f"{name}={text}" for name, text in spec.extra.items())
    references = Message("{count} reference pictures").format(count=len(spec.references)) if spec.references else ""
    words = "" if with_words else f'"{short(spec.prompt)}"'
    told = [spec.provider, *spec.models, *shape, *options, references, words]
    line = joined(", ", [_as_it_is_or_short(text) for text in told if text])
    if not found.left_out:
        return Message("from {where}: {what}").format(where=where, what=line)
    taken = Message("from {where}: {what}; left out: {left_out}")
    return taken.format(where=where, what=line, left_out=_left_out(found.left_out))


def _without(negative: str) -> str:
    if not negative:
        return ""
    cut = _shortened(Message('without "{value}'), f'{negative}"')
    whole = Message('without "{negative}"').format(negative=cut.removeprefix('without "').removesuffix('"'))
    return whole if cut.endswith('"') else cut


def _left_out(things: Sequence[str]) -> Message:
    named = joined(", ", map(_as_it_is_or_short, things[:MAX_NAMED]))
    if len(things) <= MAX_NAMED:
        return named
    return Message("{things} and {count} more").format(things=named, count=len(things) - MAX_NAMED)


def _as_it_is_or_short(text: str) -> str:
    """A message can be translated only while it is whole."""
    return text if short(text) == text else short(text)


def short(text: str) -> str:
    """On one line, and cut where it is long."""
    text = " ".join(text.split())
    return text if len(text) <= MAX_SHOWN_CHARACTERS else f"{text[:MAX_SHOWN_CHARACTERS]}…"
