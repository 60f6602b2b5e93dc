"""The slash commands of the prompt line: their names, and what each changes in what is set for the next prompts."""

import os
import shlex
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from imagegen_cli.core.errors import UsageError
from imagegen_cli.core.language import Message, joined, ngettext
from imagegen_cli.display.prompt_line import as_command
from imagegen_cli.inputs.prompts import PromptSpec
from imagegen_cli.settings.config import Config


class Command(NamedTuple):
    values: str
    meaning: str


COMMANDS = {
    "/model": Command("NAME …", Message("the model of the next prompts; several names are compared")),
    "/ratio": Command("W:H", Message("the shape, such as 16:9")),
    "/size": Command("SIZE", Message("1k, 2k, 4k, or pixels such as 1024x768")),
    "/count": Command("N", Message("pictures for each prompt")),
    "/image": Command("FILE …", Message("pictures to start from")),
    "/seed": Command("N", Message("the same seed gives the same picture where the service can do that")),
    "/negative": Command("TEXT", Message("what should not be in the picture")),
    "/provider": Command("NAME", Message("the service")),
    "/reset": Command("", Message("everything as it was at the start")),
    "/help": Command("", Message("the commands and the keys")),
    "/quit": Command("", Message("end in good order; it asks if tasks run")),
}


def parsed(command: str) -> tuple[str, str]:
    """The command in lower case, and what is behind it."""
    word, _, value = command.strip().partition(" ")
    return word.lower(), value.strip()


def commands_in(text: str) -> Iterator[str]:
    return (word for line in text.splitlines() if (word := parsed(as_command(line))[0]) in COMMANDS)


def whole_number(name: str, value: str) -> int | None:
    if not value:
        return None
    try:
        return int(value)
    except ValueError:
        raise UsageError(Message("{name} takes a whole number, not {value!r}").format(name=name, value=value)) from None


def with_size(spec: PromptSpec, value: str) -> PromptSpec:
    """Pixels go before a shape and a class of sizes; a class goes together with a shape."""
    is_pixels = value[:1].isdecimal() and any(sign in value.lower() for sign in "x\u00d7*")
    if is_pixels:
        return replace(spec, size=value, resolution="", ratio="")
    return replace(spec, size="", resolution=value)


def with_provider(spec: PromptSpec, value: str) -> PromptSpec:
    """Another provider has other models."""
    return replace(spec, provider=value, models=spec.models if value == spec.provider else ())


def paths_in(value: str) -> tuple[str, ...]:
    """Names of files as a shell reads them; a whole name with blanks in it is taken too."""
    if not value or os.name == "nt" or Path(value).expanduser().exists():
        return (value,) if value else ()
    try:
        return tuple(shlex.split(value))
    except ValueError as error:
        raise UsageError(Message("these names cannot be read: {why}").format(why=str(error).lower())) from error


CHANGES: dict[str, Callable[[PromptSpec, str], PromptSpec]] = {
    "/model": lambda spec, value: replace(spec, models=tuple(value.replace(",", " ").split())),
    "/ratio": lambda spec, value: replace(spec, ratio=value, size="" if value else spec.size),
    "/size": with_size,
    "/count": lambda spec, value: replace(spec, count=whole_number("/count", value.lstrip("x\u00d7"))),
    "/image": lambda spec, value: replace(spec, references=paths_in(value)),
    "/seed": lambda spec, value: replace(spec, seed=whole_number("/seed", value)),
    "/negative": lambda spec, value: replace(spec, negative=value),
    "/provider": with_provider,
}


def described(spec: PromptSpec, config: Config) -> Message:
    """What would be set, in few words."""
    service = " ".join(filter(None, (spec.provider or config.general.default_provider, ", ".join(spec.models))))
    parts = (
        service,
        spec.ratio or spec.size,
        spec.resolution,
        Message("{count} pictures each").format(count=spec.count) if (spec.count or 0) > 1 else "",
        ngettext("from {count} picture", "from {count} pictures", len(spec.references)) if spec.references else "",
        Message("seed {seed}").format(seed=spec.seed) if spec.seed is not None else "",
        Message("without {negative}").format(negative=spec.negative) if spec.negative else "",
    )
    return joined(", ", filter(None, parts))
