"""Turns a wrong command line into one of our errors: one line, and as a hint the command that was meant.

`--help` imports none of it. Each sentence stands here as a whole, with named places for what differs.
"""

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from typer._click import exceptions, types

from imagegen_cli.commands import guide
from imagegen_cli.core.alike import alike
from imagegen_cli.core.errors import UsageError
from imagegen_cli.core.language import Message
from imagegen_cli.core.task_words import mean_tasks

NO_COMMAND = Message("there is no command {word}")
NO_COMMAND_OF = Message("{group} has no command {word}")
NO_OPTION = Message("{command} has no option {option}")
NO_OPTION_OF_ALL = Message("{option} is no option before a command")
TOO_MANY = Message("{command} takes no argument {words} here")
LACKS = Message("{command} lacks {argument}")
LACKS_COMMAND = Message("there is no command in this line")
LACKS_VALUE = Message("{option} lacks its value")
EMPTY_VALUE = Message("{option} has an empty value")
LEAVE_OUT = Message("nothing was done; give it a value, or leave the option out: a variable of the shell may be unset")
HAS_VALUE = Message("{option} takes no value")
ONE_DASH = Message("{word} has one dash: it would be read as {short} with the value {value}")
ONE_DASH_UNREAD = Message("{word} has one dash, and long options have two")
TAKES_CHOICE = Message("{option} takes {choices}, not {value}")
TAKES_WHOLE = Message("{option} takes a whole number, not {value}")
TAKES_WHOLE_FROM = Message("{option} takes a whole number from {low}, not {value}")
TAKES_NUMBER = Message("{option} takes a number, not {value}")
TAKES_NUMBER_FROM = Message("{option} takes a number from {low}, not {value}")
TAKES_SWITCH = Message("{option} takes true or false, not {value}")
TAKES_OTHER = Message("{option} cannot be {value}: {why}")
MEANT = Message("did you mean {command}?")
MEANT_CHOICE = Message("did you mean {choice}?")
DRAW = Message("to draw it: {command}")
AS_ONE = Message("as one text: {command}")
ONE_TASK = Message("one task at a time: {command}")
LIST = Message("it is a file; as a list of prompts: {command}")
PICTURE = Message("it is a file; what made it: {command}")
TASK = Message("about the task: {command}")
FOLDER = Message("it is a folder; the pictures in it: {command}")
BEHIND = Message("options stand behind the command: {command}")
TEXT_BEHIND = Message("a text that begins with - stands behind --: {command}")
TRY = Message("try {example}")
SHOWS_OPTIONS = Message("{command} --help shows the options")
SHOWS_COMMANDS = Message("{command} --help shows the commands")

OTHER_WORDS = {
    "generate": "run", "gen": "run", "create": "run", "draw": "run", "imagine": "run", "make": "run",
    "txt2img": "run", "img2img": "edit", "inpaint": "edit", "redo": "again", "repeat": "again", "rerun": "again",
    "variation": "again", "ls": "list", "history": "list", "status": "list", "tasks": "list", "jobs": "list",
    "search": "list", "rm": "forget", "delete": "forget", "remove": "forget", "clean": "forget", "purge": "forget",
    "stop": "cancel", "kill": "cancel", "abort": "cancel", "continue": "resume", "fetch": "resume",
    "download": "resume", "login": "init", "setup": "init", "auth": "init", "configure": "init", "connect": "init",
    "version": "--version", "man": "help --man", "docs": "help", "balance": "credits", "cost": "costs",
    "usage": "costs", "settings": "config show", "preview": "show", "metadata": "info", "exif": "info",
    "inspect": "info", "compare": "sheet", "grid": "sheet", "tui": "studio", "repl": "studio", "chat": "studio",
    "interactive": "studio", "upscaler": "upscale", "enlarge": "upscale", "services": "providers",
    "kinds": "providers", "star": "favourite", "favorite": "favourite", "fav": "favourite", "dump": "export",
    "check": "doctor", "test": "doctor",
}  # fmt: skip
"""What other tools call our commands."""
OTHER_CONFIG_WORDS = {
    "get": "show", "list": "show", "ls": "show", "print": "show", "file": "path", "where": "path",
    "validate": "check", "test": "check", "open": "edit", "write": "set", "add": "set", "remove": "unset",
    "delete": "unset", "rm": "unset",
}  # fmt: skip
OTHER_OPTIONS = {
    "--prompt": "", "--num": "--count", "--number": "--count", "--images": "--count", "--batch": "--count",
    "--aspect": "--ratio", "--aspect-ratio": "--ratio", "--ar": "--ratio", "--width": "--size", "--height": "--size",
    "--out": "--output", "--dir": "--output", "--folder": "--output", "--dest": "--output",
    "--workers": "--concurrency", "--jobs": "--concurrency", "--parallel": "--concurrency", "--silent": "--quiet",
    "--force": "--yes", "--no-confirm": "--yes", "--service": "--provider", "--backend": "--provider",
    "--reference": "--image", "--ref": "--image", "--init-image": "--image", "--negative-prompt": "--negative",
    "--no": "--negative", "--filename": "--name", "--max-cost": "--budget", "--dryrun": "--dry-run",
    "--status": "--state", "--query": "--search", "--favorite": "--favourite",
}  # fmt: skip
"""What other tools call our options."""
LISTS = (".txt", ".csv", ".tsv", ".tab", ".json", ".jsonl", ".ndjson")
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".avif", ".heic")
OF_RUN = {"-p", "-m", "-n", "-o", "-j", "-x", "-q", "-y", *guide.COMMON, *guide.GROUPS["What to draw"]}
"""Options that a person means for `run` where no command is named."""
MAY_BE_EMPTY = ("TEXT", "WORDS", "MODEL", "CMD")
"""What may be empty: a text, the model, which is then the one of the settings, and --exec, which has its own error."""
TEXTS = ("run", "edit", "again")
"""Commands with a text of the person's own words, which may begin with a dash."""


def as_ours(error: Exception) -> UsageError | None:
    """The error of Typer as one of ours; None where it is none about the command line."""
    if not isinstance(error, exceptions.ClickException):
        return None
    ctx = getattr(error, "ctx", None)
    match error:
        case exceptions.NoSuchOption():
            return _no_option(ctx, error.option_name)
        case exceptions.MissingParameter():
            return _lacking(ctx, error.param)
        case exceptions.BadParameter():
            return _bad_value(error)
        case exceptions.BadOptionUsage():
            return _bad_option(ctx, error)
        case exceptions.UsageError() if ctx is not None and hasattr(ctx.command, "commands"):
            message: str = LACKS_COMMAND  # a word that is no command is refused by `Group`
        case _:
            message = error.message.rstrip(".")
    return UsageError(message, hint=_help_of(ctx))


def no_command(ctx: Any, args: Sequence[str], known: Sequence[str]) -> UsageError:
    """The error for a word that is no command, with what it may have been meant for."""
    if args[0][:1] == "-" and args[0].strip("-"):
        return _no_option(ctx, args[0])
    if ctx.parent is not None:
        return _no_command_of(ctx, args, known)
    return UsageError(NO_COMMAND.format(word=quoted(args[0])), hint=_instead_of(args))


def _instead_of(args: Sequence[str]) -> str:
    """What a line may have been meant for whose first word is no command."""
    word, rest = args[0], args[1:]
    if not word.strip() or word.startswith("--"):
        return SHOWS_COMMANDS.format(command="imagegen")
    if re.fullmatch(r"\d+(/\d+)?|LAST(/\d+)?", word):
        return TASK.format(command=line("show", word))
    meant = OTHER_WORDS.get(word.lower()) or (alike(word, guide.commands()) if _is_one_word(word) else "")
    if meant:
        return MEANT.format(command=line(*meant.split(), *rest))
    return _about_a_file(word, rest) or DRAW.format(command=line("run", *_as_prompts(args)))


def _about_a_file(word: str, rest: Sequence[str]) -> str:
    """What to do with a folder, a list or a picture; empty where the word names none."""
    path = Path(word)
    suffix = path.suffix.lower()
    if _is(path, Path.is_dir):
        return FOLDER.format(command=line("info", word))
    if suffix not in LISTS + PICTURES or not _is(path, Path.is_file):
        return ""
    if suffix in LISTS:
        return LIST.format(command=line("batch", word, *rest))
    return PICTURE.format(command=line("info", word))


def _as_prompts(args: Sequence[str]) -> list[str]:
    """The words of a command line as a prompt: single words in front of the options are one text."""
    texts = [at for at, word in enumerate(args) if word.startswith("-")]
    end = texts[0] if texts else len(args)
    words = args[:end]
    return [*([" ".join(words)] if words and all(map(_is_one_word, words)) else words), *args[end:]]


def _is_one_word(word: str) -> bool:
    return len(word.split()) == 1


def _no_command_of(ctx: Any, args: Sequence[str], known: Sequence[str]) -> UsageError:
    group = _path(ctx)
    message = NO_COMMAND_OF.format(group=group, word=quoted(args[0]))
    meant = OTHER_CONFIG_WORDS.get(args[0].lower()) or alike(args[0], known)
    if meant:
        keeps = args[1:] if meant in {"set", "unset"} else ()
        return UsageError(message, hint=MEANT.format(command=line(*group.split(), meant, *keeps)))
    return UsageError(message, hint=SHOWS_COMMANDS.format(command=f"imagegen {group}"))


def too_many(ctx: Any, words: Sequence[str]) -> UsageError:
    """The error for arguments beyond those that a command takes."""
    command = _path(ctx)
    words = [word.strip() if word.startswith(" -") else word for word in words]  # as `TakesIds` reads -1
    message = TOO_MANY.format(command=command, words=" ".join(map(quoted, words)))
    return UsageError(message, hint=_instead_of_too_many(command, words))


def _instead_of_too_many(command: str, words: Sequence[str]) -> str:
    typed = _typed()
    if command in {"edit", "again"} and len(typed) > 2 and not any(word.startswith("-") for word in typed):  # noqa: PLR2004
        text = " ".join(typed[2:])
        if mean_tasks(text):
            return ONE_TASK.format(command=line(command, typed[1], *(["make it night"] if command == "edit" else [])))
        return AS_ONE.format(command=line(command, typed[1], text))
    if command in {"list", "costs", "runs", "export"} and words[0].isdecimal():
        return TASK.format(command=line("show", words[0]))
    if command == "studio":
        return DRAW.format(command=line("run", *words))
    if command == "config set":
        return AS_ONE.format(command=line("config", "set", typed[2], " ".join(typed[3:])))
    return SHOWS_OPTIONS.format(command=f"imagegen {command}")


def refuse_single_dashes(command: Any, ctx: Any, args: Sequence[str], known: Iterable[str]) -> None:
    """Raise UsageError for `-model 4.0`: Typer reads it as `-m odel`, and would send the prompt to another model."""
    known = set(known)
    taking = {name for one in command.params if _takes_a_value(one) for name in one.opts}
    for last, word in zip(["", *args], args, strict=False):
        if word == "--":
            return
        name = word.partition("=")[0]
        if len(name) <= 2 or last in taking or f"-{name}" not in known:  # noqa: PLR2004 - `-m` has two characters
            continue
        short = name[:2]
        is_read = any(short in one.opts and _takes_a_value(one) for one in command.params)
        form = ONE_DASH if is_read else ONE_DASH_UNREAD
        message = form.format(word=quoted(word), short=short, value=quoted(word[2:]))
        meant = [f"-{one}" if one == word else one for one in args]
        raise UsageError(message, hint=MEANT.format(command=line(*_path(ctx).split(), *meant)))


def refuse_empty(command: Any, args: Sequence[str]) -> None:
    """Raise UsageError for an option with an empty value: a variable of the shell may be unset.

    It would be taken for an option that is not given: pictures in another folder, no budget, the tasks of all runs.
    """
    taking = {
        name for one in command.params if _takes_a_value(one) and one.metavar not in MAY_BE_EMPTY for name in one.opts
    }
    for last, word in zip(["", *args], args, strict=False):
        if word == "--" and last not in taking:
            return
        name, sign, value = word.partition("=")
        if last in taking and not word.strip():
            raise UsageError(EMPTY_VALUE.format(option=last), hint=LEAVE_OUT)
        if name in taking and name.startswith("--") and sign and not value.strip():
            raise UsageError(EMPTY_VALUE.format(option=name), hint=LEAVE_OUT)


def _takes_a_value(parameter: Any) -> bool:
    return not getattr(parameter, "is_flag", True)  # an argument has no such thing


def _no_option(ctx: Any, option: str) -> UsageError:
    command = _path(ctx)
    typed = _typed()
    if not command:
        return UsageError(NO_OPTION_OF_ALL.format(option=quoted(option)), hint=_behind_the_command(typed, option))
    word = next((one for one in typed if one.startswith("-") and one.partition("=")[0] == option), "")
    word = word or next((one for one in typed if one[:2] == option[:2] and not one.startswith("--")), option)
    message = NO_OPTION.format(command=command, option=quoted(word.partition("=")[0]))
    known = [name for one in ctx.command.params for name in (*one.opts, *one.secondary_opts) if name[:2] == "--"]
    meant = OTHER_OPTIONS.get(option)
    if meant is None or (meant and meant not in known):
        meant = alike(option[2:], [name[2:] for name in known]) if option.startswith("--") else ""
        meant = meant and f"--{meant}"
    if meant:
        return UsageError(message, hint=MEANT_CHOICE.format(choice=meant))
    if option == "--prompt":
        return UsageError(message, hint=DRAW.format(command=line("run", *(one for one in typed[1:] if one != option))))
    if command in TEXTS and _may_be_text(word):
        others = [one for one in typed[1:] if one != word]
        return UsageError(message, hint=TEXT_BEHIND.format(command=line(command, *others, "--", word)))
    return UsageError(message, hint=_help_of(ctx))


def _may_be_text(word: str) -> bool:
    """Whether a word may be meant as a text: it has one dash, or more than one word."""
    return not word.startswith("--") or not _is_one_word(word)


def _behind_the_command(typed: Sequence[str], option: str) -> str:
    known = guide.commands()
    at = next((at for at, word in enumerate(typed) if word in known), None)
    if at is not None:
        return BEHIND.format(command=line(*typed[at:], *typed[:at]))
    if len(typed) > 1 and typed[0].partition("=")[0] in OF_RUN:
        return BEHIND.format(command=line("run", *typed))
    if _may_be_text(option) and not option.startswith("--"):
        return TEXT_BEHIND.format(command=line("run", "--", *typed))
    meant = alike(option[2:], ("version", "help"))
    return MEANT.format(command=line(f"--{meant}")) if meant else SHOWS_COMMANDS.format(command="imagegen")


def _lacking(ctx: Any, parameter: Any) -> UsageError:
    command = _path(ctx)
    name = parameter.metavar or parameter.name.upper()
    return UsageError(LACKS.format(command=command, argument=name), hint=_example(command))


def _example(command: str) -> str:
    found = guide.EXAMPLES.get(command)
    return TRY.format(example=found[0]) if found else SHOWS_OPTIONS.format(command=f"imagegen {command}")


def _bad_option(ctx: Any, error: Any) -> UsageError:
    """An option without its value, or a switch with one."""
    option = error.option_name
    known = ctx.command.params if ctx is not None else ()
    if any(option in one.opts and _takes_a_value(one) for one in known):
        return lacks_value(ctx, option)
    return UsageError(HAS_VALUE.format(option=option), hint=_help_of(ctx))


def lacks_value(ctx: Any, option: str) -> UsageError:
    return UsageError(LACKS_VALUE.format(option=option), hint=_example_with(option, ctx) or _help_of(ctx))


def _example_with(option: str, ctx: Any) -> str:
    """A command of the help that has this option, of this command before others."""
    own = guide.EXAMPLES.get(_path(ctx), ())
    parameter = next((one for one in ctx.command.params if option in one.opts), None)
    names = parameter.opts if parameter else [option]
    found = next((one for one in own if any(f" {name} " in one for name in names)), "")
    return TRY.format(example=found) if found else ""


def _bad_value(error: Any) -> UsageError:
    parameter, ctx = error.param, error.ctx
    if parameter is None:
        return UsageError(error.message.rstrip("."), hint=_help_of(ctx))
    option = _source(parameter, ctx)
    found = re.match(r"(?s)(.*?) is not (?:a|in|one|the)\b", error.message)
    value = found[1] if found else ""
    value = value if value[:1] in ("'", '"') else repr(value)
    kind = parameter.type
    choices = [str(getattr(one, "value", one)) for one in getattr(kind, "choices", ())]
    low = getattr(kind, "min", None)
    names: Mapping[str, object] = {"option": option, "value": value, "low": f"{low:g}" if low is not None else ""}
    if choices:
        near = alike(value.strip("'\""), choices)
        hint = MEANT_CHOICE.format(choice=near) if near else _help_of(ctx)
        return UsageError(TAKES_CHOICE.format(choices=", ".join(choices), **names), hint=hint)
    if isinstance(kind, types.IntParamType):
        form = TAKES_WHOLE if low is None else TAKES_WHOLE_FROM
    elif isinstance(kind, types.FloatParamType):
        form = TAKES_NUMBER if low is None else TAKES_NUMBER_FROM
    elif isinstance(kind, types.BoolParamType):
        form = TAKES_SWITCH
    else:
        return UsageError(TAKES_OTHER.format(why=error.message.rstrip("."), **names), hint=_help_of(ctx))
    return UsageError(form.format(**names), hint=_example_with(option, ctx) or _help_of(ctx))


def _source(parameter: Any, ctx: Any) -> str:
    """The option, or the variable that its value came from."""
    source = ctx.get_parameter_source(parameter.name)
    if source is not None and source.name == "ENVIRONMENT":
        return str(parameter.envvar)
    typed = [word.partition("=")[0] for word in _typed()]
    return next((name for name in parameter.opts if name in typed), "") or (
        parameter.opts[-1]
        if parameter.param_type_name == "option"
        else str(parameter.metavar or parameter.name.upper())
    )


def help_of(words: Sequence[str]) -> str:
    """The hint for a mistake behind a command that has no better one."""
    known = guide.commands()
    return SHOWS_OPTIONS.format(command=f"imagegen {words[0]}") if words and words[0] in known else ""


def _help_of(ctx: Any) -> str:
    path = _path(ctx) if ctx is not None else ""
    if not path:
        return SHOWS_COMMANDS.format(command="imagegen")
    return SHOWS_OPTIONS.format(command=f"imagegen {path}")


def _path(ctx: Any) -> str:
    """The command without the name of the program."""
    return str(ctx.command_path).partition(" ")[2]


def _typed() -> list[str]:
    return sys.argv[1:]


def _is(path: Path, test: Any) -> bool:
    try:
        return bool(test(path))
    except (OSError, ValueError):
        return False


def line(*words: str) -> str:
    """A command that can be pasted into a shell."""
    return " ".join(["imagegen", *map(quoted, words)])


def quoted(word: str) -> str:
    """A word as shells take it; in double quotes where that is enough, which every shell reads alike."""
    if re.fullmatch(r"[\w@%+=:,./-]+", word):
        return word
    if not re.search(r'["$`\\!\x00-\x1f]', word):
        return f'"{word}"'
    from shlex import quote  # noqa: PLC0415 - few words need it

    return quote(word)
