"""`edit` and `upscale`: a new task that starts from a picture of the history. Each returns an exit code."""

from dataclasses import replace
from pathlib import Path

from imagegen_cli.commands import generate
from imagegen_cli.commands.console import history
from imagegen_cli.commands.histories import has_history
from imagegen_cli.commands.options import GenerateOptions
from imagegen_cli.commands.picture_source import short
from imagegen_cli.commands.task_pictures import picture_in_history, picture_of, task_pictures
from imagegen_cli.core.errors import UsageError
from imagegen_cli.core.task import Parent
from imagegen_cli.inputs import plan
from imagegen_cli.inputs.changes import changed
from imagegen_cli.inputs.from_picture import refusal_by
from imagegen_cli.inputs.prompts import PromptSpec, from_arguments
from imagegen_cli.settings.config import Config, Configured, load_config
from imagegen_cli.storage.records import Record

MIN_FACTOR, MAX_FACTOR = 1.0, 8.0


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
    spec = replace(changed(base, changes, words), references=(_named(place), *changes.references))
    [spec] = from_arguments([words], spec)
    _must_take_pictures(spec, place, words)
    return _run(spec, record, options, "edit")


def _must_take_pictures(spec: PromptSpec, place: Parent, words: str) -> None:
    """Raise UsageError where the service starts from no picture, with those of the person's services that do."""
    config = load_config()
    with task_pictures() as find:
        placed = plan.with_files(spec, config, find)
    refusal = refusal_by(config)
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

    return quote(short(words))


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
    if not has_history():
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
