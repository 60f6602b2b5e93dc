"""`edit` and `upscale`: a new task that starts from a picture of the history. Each returns an exit code."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from imagegen_cli.commands import generate
from imagegen_cli.commands.console import history
from imagegen_cli.commands.histories import has_history
from imagegen_cli.commands.options import GenerateOptions
from imagegen_cli.commands.picture_source import short
from imagegen_cli.commands.task_pictures import picture_in_history, picture_of, task_pictures
from imagegen_cli.core.errors import BadRequest, UsageError
from imagegen_cli.core.language import Message
from imagegen_cli.core.references import ANY_FORMAT, examined
from imagegen_cli.core.task import Parent
from imagegen_cli.inputs import plan
from imagegen_cli.inputs.arguments import check_words, each_sends
from imagegen_cli.inputs.changes import changed
from imagegen_cli.inputs.from_picture import refusal_by
from imagegen_cli.inputs.lists.common import as_typed
from imagegen_cli.inputs.prompts import PromptSpec, from_arguments
from imagegen_cli.settings.config import Config, Configured, load_config
from imagegen_cli.storage.records import Record

MIN_FACTOR, MAX_FACTOR = 1.0, 8.0


def edit(name: str, words: str, options: GenerateOptions) -> int:
    """Change a picture of the history by words: a new task with that picture as its first reference."""
    changes = generate.common_of(options)
    words = as_typed(words)
    example = Message("say what to change: {command}").format(command=f'imagegen edit {name.strip()} "make it night"')
    check_words(words, example, f"{each_sends(words.strip())} --image {plan.PICTURE_OF_A_TASK}{name.strip()}")
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
    _must_be_pictures(placed.references)
    bare = replace(placed, models=(), ratio="", resolution="", size="", extra={})
    able = [
        one.name for one in config.own if one.name != spec.provider and not refusal(replace(bare, provider=one.name))
    ]
    if not able:
        raise UsageError(why, hint=Message("none of your services takes this; imagegen init connects another one"))
    hint = Message("these start from a picture: {names}; imagegen edit {picture} {words} -p {name}")
    names = ", ".join(able)
    raise UsageError(why, hint=hint.format(names=names, picture=str(place), words=_quoted(words), name=able[0]))


def _must_be_pictures(references: Sequence[str]) -> None:
    """Raise UsageError where a file is a picture of no format: it says nothing of the services."""
    try:
        examined(references, formats=ANY_FORMAT)
    except BadRequest as error:
        hint = Message("nothing was sent; start from a picture in a usual format, such as PNG, JPEG or WebP")
        raise UsageError(error.message, hint=hint) from error


def _quoted(words: str) -> str:
    from shlex import quote  # noqa: PLC0415 - only a message needs it

    return quote(short(words))


def upscale(name: str, factor: float, options: GenerateOptions) -> int:
    """Make a picture of the history larger, where the service can do that: a task like any other."""
    if not MIN_FACTOR < factor <= MAX_FACTOR:
        wrong = Message("--factor is more than {least:g} and at most {most:g}, not {factor:g}")
        raise UsageError(wrong.format(least=MIN_FACTOR, most=MAX_FACTOR, factor=factor))
    changes = generate.common_of(options)
    record, place = _start(name)
    config = load_config()
    provider = changes.provider or record.task.request.provider
    way = plan.offline_provider(config.provider(provider)).upscaling(factor)
    if way is None:
        wrong = Message("{provider} cannot make a picture larger").format(provider=provider)
        raise UsageError(wrong, hint=_able_to_upscale(config, place, factor))
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
        return Message("none of your services can; imagegen init --kind fal connects one that can, as a1111 does")
    can = Message("{names} can: imagegen upscale {picture} -p {name}")
    return can.format(names=", ".join(able), picture=str(place), name=able[0])


def _can_upscale(one: Configured, factor: float) -> bool:
    return plan.offline_provider(one).upscaling(factor) is not None


def _start(name: str) -> tuple[Record, Parent]:
    """The task and the picture that a new one starts from. Raises UsageError where the file is gone."""
    if not has_history():
        raise UsageError(Message("there is no task {task}").format(task=name), hint=Message("the history is empty"))
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
