"""`run --from`, `edit` and `upscale`: new tasks that start from a picture that is there. Each returns an exit code."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from imagegen_cli.commands import generate
from imagegen_cli.commands.console import history, say
from imagegen_cli.commands.info import Known, known_of, marks_of_record
from imagegen_cli.commands.options import GenerateOptions
from imagegen_cli.commands.task_pictures import picture_in_history, picture_of, task_pictures
from imagegen_cli.core.errors import ImagegenError, UsageError
from imagegen_cli.core.task import Parent
from imagegen_cli.inputs import plan
from imagegen_cli.inputs.from_picture import Fitted, fitted, told_by
from imagegen_cli.inputs.prompts import PromptSpec, from_arguments
from imagegen_cli.marks.reading import UnreadableFile
from imagegen_cli.providers import known as is_kind, load
from imagegen_cli.settings.config import Config, Configured, load_config
from imagegen_cli.settings.paths import history_file
from imagegen_cli.storage.records import Record
from imagegen_cli.storage.store import Store

KIND_OF_TOOL = {"A1111": "a1111"}
"""Tools whose pictures a kind of service can make again with all their settings."""
MAX_NAMED = 12
"""Things that one line names."""
MAX_SHOWN_CHARACTERS = 60
MIN_FACTOR, MAX_FACTOR = 1.0, 8.0


def from_picture(name: str, changes: PromptSpec, *, with_words: bool, quiet: bool) -> PromptSpec:
    """What made a picture, with what the options change. Says in one line what was taken. Raises UsageError.

    `with_words`: the person gives a prompt, so that the picture's own is not shown. A picture whose bytes the history
    knows is made again from there, which nobody else can have written.
    """
    config = load_config()
    if any(plan.is_of_a_task(reference) for reference in changes.references):
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
    if not history_file().exists() and not plan.is_of_a_task(name):
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
    spec = generate.spec_of(known.record)
    if not (spec.provider in config.providers or config.is_own(spec.provider)):
        return None
    seed = marks_of_record(known.record, known.picture.number).seed
    spec = replace(spec, seed=spec.seed if seed is None else seed, count=None if spec.count is None else 1)
    return Fitted(generate.changed(spec, changes), ())


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
        told, replace(changes, prompt=told.prompt or "a picture"), _refusal(config), is_same=is_same and bool(marks),
        takes_extra=target is not None and target.type.declares_options,
    )  # fmt: skip
    return Fitted(replace(found.spec, prompt=told.prompt), (*other, *omitted, *found.left_out))


def _refusal(config: Config) -> Callable[[PromptSpec], str]:
    def refusal(spec: PromptSpec) -> str:
        try:
            plan.prepare([spec], config)
        except ImagegenError as error:
            return error.message
        return ""

    return refusal


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
    shape = (spec.size, spec.ratio, spec.resolution, seed, f"without {spec.negative}" if spec.negative else "")
    options = (f"{name}={text}" for name, text in spec.extra.items())
    references = f"{len(spec.references)} reference pictures" if spec.references else ""
    words = "" if with_words else f'"{_short(spec.prompt)}"'
    told = [spec.provider, *spec.models, *shape, *options, references, words]
    line = ", ".join(_short(text) for text in told if text)
    left = list(found.left_out)
    more = f" and {len(left) - MAX_NAMED} more" if len(left) > MAX_NAMED else ""
    return f"from {where}: {line}" + (f"; left out: {', '.join(map(_short, left[:MAX_NAMED]))}{more}" if left else "")


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= MAX_SHOWN_CHARACTERS else f"{text[:MAX_SHOWN_CHARACTERS]}…"


def edit(name: str, words: str, options: GenerateOptions) -> int:
    """Change a picture of the history by words: a new task with that picture as its first reference."""
    changes = generate.common_of(options)
    record, place = _start(name)
    request = record.task.request
    base = PromptSpec(
        prompt=words,
        provider=request.provider,
        models=(request.model,),
        ratio=request.ratio,
        resolution=request.resolution,
        size=f"{request.width}x{request.height}" if request.width else "",
    )
    spec = replace(generate.changed(base, changes, words), references=(_named(place), *changes.references))
    [spec] = from_arguments([words], spec)
    _must_take_pictures(spec, place, words)
    return _run(spec, record, options, "edit")


def _must_take_pictures(spec: PromptSpec, place: Parent, words: str) -> None:
    """Raise UsageError where the service starts from no picture, with those of the person's services that do."""
    config = load_config()
    with task_pictures() as find:
        placed = plan.with_files(spec, config, find)
    refusal = _refusal(config)
    why = refusal(placed)
    if not why or refusal(replace(placed, references=())):
        return  # it is well, or there is another reason, which the run itself names
    bare = replace(placed, models=(), ratio="", resolution="", size="", extra={})
    able = [
        one.name for one in config.own if one.name != spec.provider and not refusal(replace(bare, provider=one.name))
    ]
    if not able:
        raise UsageError(why, hint="none of your services starts from a picture; imagegen init connects one that does")
    hint = f"these start from a picture: {', '.join(able)}; imagegen edit {place} {_quoted(words)} -p {able[0]}"
    raise UsageError(why, hint=hint)


def _quoted(words: str) -> str:
    from shlex import quote  # noqa: PLC0415 - only a message needs it

    return quote(_short(words))


def upscale(name: str, factor: float, options: GenerateOptions) -> int:
    """Make a picture of the history larger, where the service can do that: a task like any other."""
    if not MIN_FACTOR < factor <= MAX_FACTOR:
        raise UsageError(f"--factor is more than {MIN_FACTOR:g} and at most {MAX_FACTOR:g}, not {factor:g}")
    changes = generate.common_of(options)
    record, place = _start(name)
    config = load_config()
    provider = changes.provider or record.task.request.provider
    way = plan.offline_provider(config.provider(provider)).upscaling(factor)
    if way is None:
        raise UsageError(f"{provider} cannot make a picture larger", hint=_able_to_upscale(config, place, factor))
    spec = PromptSpec(
        prompt=record.task.request.prompt,
        provider=provider,
        models=(way.model,) if way.model else (),
        references=(_named(place),),
        extra={**way.extra, **changes.extra},
    )
    return _run(spec, record, options, "upscale")


def _able_to_upscale(config: Config, place: Parent, factor: float) -> str:
    able = [one.name for one in config.own if _can_upscale(one, factor)]
    if not able:
        return "none of your services can; imagegen init --kind fal connects one that can, as a1111 does"
    return f"{', '.join(able)} can: imagegen upscale {place} -p {able[0]}"


def _can_upscale(one: Configured, factor: float) -> bool:
    return plan.offline_provider(one).upscaling(factor) is not None


def _start(name: str) -> tuple[Record, Parent]:
    """The task and the picture that a new one starts from. Raises UsageError where the file is gone."""
    if not history_file().exists():
        raise UsageError(f"there is no task {name}", hint="the history is empty")
    with history() as store:
        text = name.strip()
        text = text[len(plan.PICTURE_OF_A_TASK) :] if plan.is_of_a_task(text) else text
        record, _ = picture_in_history(text, store)
        _, place = picture_of(text, store)
    return record, place


def _named(place: Parent) -> str:
    return f"{plan.PICTURE_OF_A_TASK}{place}"


def _run(spec: PromptSpec, record: Record, options: GenerateOptions, command: str) -> int:
    """Run one task, whose picture goes into the folder of the picture that it starts from."""
    common = replace(spec, prompt="", name="")
    options = options._replace(output=options.output or Path(record.task.folder))
    return generate.run_specs([spec], common, options, command=command)
