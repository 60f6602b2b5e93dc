"""`-o -`: the bytes of the one picture on stdout. A reader that leaves loses nothing: the picture is a file as well."""

import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from imagegen_cli.commands.console import say
from imagegen_cli.commands.options import GenerateOptions
from imagegen_cli.core.errors import UsageError
from imagegen_cli.core.language import Message
from imagegen_cli.core.system_errors import cause
from imagegen_cli.core.task import Task
from imagegen_cli.core.text import Printer
from imagegen_cli.inputs.plan import Item


def check_stdout(options: GenerateOptions) -> None:
    """Raise UsageError where no picture can go to stdout."""
    if options.run.display == "json":
        hint = Message("nothing was sent; leave one of them out")
        raise UsageError(Message("-o - and --json both write to stdout"), hint=hint)
    if sys.stdout is None or sys.stdout.isatty():
        hint = Message("nothing was sent; redirect it: -o - > picture.png, or name a folder: -o pictures")
        raise UsageError(Message("-o - writes the bytes of a picture, and stdout is a terminal or closed"), hint=hint)


def check_single(items: Iterable[Item]) -> None:
    """Raise UsageError where not exactly one picture would come."""
    if (pictures := sum(item.expected_images for item in items)) != 1:
        message = Message("-o - writes one picture to stdout, and this would make {count}").format(count=pictures)
        raise UsageError(message, hint=Message("nothing was sent; name a folder for them: -o pictures"))


def write(tasks: Iterable[Task], *, quiet: bool) -> bool:
    """Write the first picture to stdout, and say where it is kept. Returns False where stdout is full or broken."""
    paths = [path for task in tasks for path in task.files]
    if not paths:
        return True
    try:
        _write_all(Path(paths[0]).read_bytes())
    except BrokenPipeError:
        left = Message("the reader of stdout left before it had all of the picture, which is kept: {path}")
        say(left.format(path=paths[0]))
    except OSError as error:
        Printer.trouble = cause(error) or type(error).__name__
        say(Message("the picture is kept: {path}").format(path=paths[0]))
        return False
    else:
        if not quiet:
            say(_kept(paths))
    return True


def _write_all(data: bytes) -> None:
    left = memoryview(data)
    sys.stdout.flush()
    while left:
        left = left[os.write(sys.stdout.fileno(), left) :]


def _kept(paths: Sequence[str]) -> Message:
    if len(paths) == 1:
        return Message("the picture is on stdout, and kept: {path}").format(path=paths[0])
    several = Message("the picture is on stdout, and kept: {path}; {count} more came and are kept beside it")
    return several.format(path=paths[0], count=len(paths) - 1)
