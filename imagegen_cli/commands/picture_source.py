"""`run --from`: what made a picture, as what a run is to make; and what was taken of it, in one line."""

from dataclasses import replace
from pathlib import Path

from imagegen_cli.commands.console import history, say
from imagegen_cli.commands.histories import has_history
from imagegen_cli.commands.info import Known, known_of, marks_of_record
from imagegen_cli.commands.task_pictures import picture_of, task_pictures
from imagegen_cli.core.errors import UsageError
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
MAX_NAMED = 12
"""Things that one line names."""
MAX_SHOWN_CHARACTERS = 60


def from_picture(name: str, changes: PromptSpec, *, with_words: bool, quiet: bool) -> PromptSpec:
    """What made a picture, with what the options change. Says in one line what was taken. Raises UsageError.

    `with_words`: the person gives a prompt, so that the picture's own is not shown. A picture whose bytes the history
    knows is made again from there, which nobody else can have written.
    """
    config = load_config()
    if plan.names_a_task(changes):
        with task_pictures() as find:
            changes = plan.with_files(changes, config, find)
    known = _known(name)
    found = _from_history(known, changes, config) or _from_file(known, changes, config)
    if not found.spec.prompt and not with_words:
        raise UsageError(f"{known.path} names no prompt", hint=f'write one: imagegen run --from {known.path} "…"')
    if not quiet:
        say(_taken(known, found, with_words=with_words))
    return found.spec


def _known(name: str) -> Known:
    """All that is known of a file, or of a picture of the history by its task. Raises UsageError."""
    if not has_history() and not plan.is_of_a_task(name):
        return _read(Path(name).expanduser(), None)
    with history() as store:
        path = name
        if plan.is_of_a_task(name):
            path, _ = picture_of(name.strip()[len(plan.PICTURE_OF_A_TASK) :], store)
        return _read(Path(path).expanduser(), store)


def _read(path: Path, store: Store | None) -> Known:
    try:
        return known_of(path, store)
    except UnreadableFile as error:
        raise UsageError(f"{path}: {error.message}", hint="nothing was sent") from error


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
        raise UsageError(
            f"{known.path} does not say what made it", hint=f"imagegen info {known.path} shows all that is known"
        )
    kind = marks.kind if marks else KIND_OF_TOOL.get(made.tool, "")
    changes = replace(changes, provider=_provider(kind, known, changes, config))
    target = config.provider(changes.provider.split(",")[0]) if changes.provider else None
    told, omitted = told_by(known.reading, target.kind if target else kind)
    is_same = target is not None and target.kind == kind
    told = told if is_same else replace(told, models=(), extra={} if marks else told.extra)
    other = () if is_same or not made.model or changes.models else (f"model {made.model}",)
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
    again = f"imagegen run --from {known.path} -p"
    if same:
        raise UsageError(
            f"{known.path} was made by the kind {kind}, and several of your services are of it: {', '.join(same)}",
            hint=f"say which: {again} {same[0]}",
        )
    by = f"the kind {kind}" if kind else known.reading.made.tool
    others = [one.name for one in config.own] or ["sketch"]
    hint = f"make it with another service, as far as that can: {again} {others[0]}"
    raise UsageError(f"{known.path} was made by {by}, and no service of yours is of that kind", hint=hint)


def _taken(known: Known, found: Fitted, *, with_words: bool) -> str:
    """One line: from where, by which service, with which parameters, and what is left out."""
    spec = found.spec
    where = f"task {known.picture.task}/{known.picture.number}" if known.picture and known.record else known.path.name
    seed = "" if spec.seed is None else f"seed {spec.seed}"
    shape = (spec.size, spec.ratio, spec.resolution, seed, f'without "{spec.negative}"' if spec.negative else "")
    options = (f"{name}={text}" for name, text in spec.extra.items())
    references = f"{len(spec.references)} reference pictures" if spec.references else ""
    words = "" if with_words else f'"{short(spec.prompt)}"'
    told = [spec.provider, *spec.models, *shape, *options, references, words]
    line = ", ".join(short(text) for text in told if text)
    left = list(found.left_out)
    more = f" and {len(left) - MAX_NAMED} more" if len(left) > MAX_NAMED else ""
    return f"from {where}: {line}" + (f"; left out: {', '.join(map(short, left[:MAX_NAMED]))}{more}" if left else "")


def short(text: str) -> str:
    """On one line, and cut where it is long."""
    text = " ".join(text.split())
    return text if len(text) <= MAX_SHOWN_CHARACTERS else f"{text[:MAX_SHOWN_CHARACTERS]}…"
