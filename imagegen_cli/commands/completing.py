"""What the tab key of a shell offers: commands, options and their values; it asks no service and says no error.

The scripts of `completion_scripts` start the program with variables instead of arguments: the shell, and the words up
to the cursor. The first line of the answer says what is wanted (`values`, `files` or `folders`), each further line is
a value, with its meaning behind a tab. What a shell could obey is never a value: a model in a settings file or a prompt
in the history may be hostile. Prompts are only ever meanings, on one line and without control characters.
"""

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from imagegen_cli.commands import guide
from imagegen_cli.commands.helping import paragraphs
from imagegen_cli.core.language import Message, tr, translated

SHELL, WORDS, BREAKS = "_IMAGEGEN_COMPLETE", "_IMAGEGEN_WORDS", "_IMAGEGEN_BREAKS"
"""The variables of the scripts: which shell asks, the words one a line, and where bash breaks words."""
TOKEN = "_IMAGEGEN_TOKEN"  # noqa: S105 - a word of a command line
"""That of fish: the word at the cursor, which the others then lack."""
LINE, KIND = "_IMAGEGEN_LINE", "_IMAGEGEN_LISTING"
"""Those of bash: the line up to the cursor, and whether it lists what is offered instead of writing it."""
MAX_VALUES = 100
MAX_TASKS = 50
MAX_MEANING = 60
PLAIN = re.compile(r"[\w.@/:+=,%{}-]+")
"""Values that no shell obeys and that need no quotes."""
LISTING = "63"
"""What bash calls a list of what can be written."""
RATIOS = ("1:1", "16:9", "9:16", "4:3", "3:4", "3:2", "2:3", "21:9")
AGES = ("30m", "12h", "7d", "30d", "90d")
FILES, FOLDERS = "files", "folders"
LANG = ("--lang", guide.LANG_OPTION)
Offer = tuple[str, str]
"""A value and its meaning."""


class Place(NamedTuple):
    """Where the cursor is: in which command, behind which words, and in which word."""

    command: str
    before: Sequence[str]
    begun: str


def answer(environ: Mapping[str, str], command_of: Callable[[Sequence[str]], Any]) -> None:
    """Print what the shell asks for; nothing where anything goes wrong."""
    try:
        lines = _lines(environ, command_of)
    except Exception:  # noqa: BLE001 - the tab key of a shell says no error
        return
    sys.stdout.write("".join(f"{line}\n" for line in lines))


def _lines(environ: Mapping[str, str], command_of: Callable[[Sequence[str]], Any]) -> list[str]:
    words = _typed(environ)
    found = _found(words[:-1], words[-1], command_of)
    if isinstance(found, str):
        return [found]
    begun = words[-1].casefold()
    wanted = [offer for offer in found if offer[0].casefold().startswith(begun)]
    offers = [(value, meaning) for value, meaning in wanted if PLAIN.fullmatch(value)]
    shown = [(value, _harmless(meaning)) for value, meaning in dict(offers[:MAX_VALUES]).items()]
    if environ.get(SHELL) == "bash":
        return ["values", *_for_bash(shown, words[-1], environ)]
    return ["values", *(f"{value}\t{meaning}" if meaning else value for value, meaning in shown)]


def _typed(environ: Mapping[str, str]) -> list[str]:
    """The words up to the cursor; the last one is that at the cursor, and may be empty."""
    if LINE in environ:
        return _split(environ[LINE])
    words = environ.get(WORDS, "").split("\n")
    return words if TOKEN not in environ else [*filter(None, words), environ[TOKEN]]


def _for_bash(offers: Sequence[Offer], begun: str, environ: Mapping[str, str]) -> Iterator[str]:
    """Bash replaces what stands behind the last sign at which it breaks words; only in lists it shows meanings."""
    cut = max((begun.rfind(sign) + 1 for sign in environ.get(BREAKS, "") if sign in ":="), default=0)
    lists = environ.get(KIND) == LISTING and len(offers) > 1
    for value, meaning in offers:
        yield f"{value[cut:]}  ({meaning})" if lists and meaning else value[cut:]


def _split(line: str) -> list[str]:
    """The words of a line behind the program, the last one as far as it is typed. Quotes may be open."""
    words, word, quote, inside = list[str](), "", "", False
    signs = iter(line)
    for sign in signs:
        if sign == "\\" and quote != "'":
            word, inside = word + next(signs, ""), True
        elif quote:
            quote, word = ("", word) if sign == quote else (quote, word + sign)
        elif sign in "\"'":
            quote, inside = sign, True
        elif sign.isspace():
            words, word, inside = ([*words, word], "", False) if inside or word else (words, "", False)
        else:
            word += sign
    return [*words, word][1:] or [""]


def _harmless(text: str) -> str:
    """A meaning on one line, without anything that a terminal obeys or a script takes for its own."""
    from imagegen_cli.core.text import literal  # noqa: PLC0415 - few values have a meaning

    text = literal(" ".join(text.split()))
    return text if len(text) <= MAX_MEANING else f"{text[: MAX_MEANING - 1]}…"


# Where the cursor is


def _found(before: Sequence[str], begun: str, command_of: Callable[[Sequence[str]], Any]) -> Iterable[Offer] | str:
    names = guide.commands()
    if (found := _languages(before, begun)) is not None:
        return found
    before = _without_language(before)
    if not before:
        return [("--help", ""), LANG, ("--version", "")] if begun.startswith("-") else names.items()
    if before[0] not in names and before[0] != "ps":
        return []
    command, path = command_of(before[:1]), before[0]
    rest = list(before[1:])
    while subcommands := getattr(command, "commands", None):
        if not rest:
            return [(name, paragraphs(one)[0]) for name, one in subcommands.items()]
        if rest[0] not in subcommands:
            return []
        command, path = subcommands[rest[0]], f"{path} {rest.pop(0)}"
    return _of_command(command, Place(path, rest, begun))


def _languages(before: Sequence[str], begun: str) -> list[Offer] | None:
    """The values of --lang where the cursor is behind it, before or behind a command; None elsewhere."""
    if "--" in before:
        return None
    if before[-1:] == [LANG[0]]:
        return list(guide.LANGUAGES.items())
    if begun.startswith(f"{LANG[0]}="):
        return [(f"{LANG[0]}={name}", meaning) for name, meaning in guide.LANGUAGES.items()]
    return None


def _without_language(words: Sequence[str]) -> list[str]:
    """The words without --lang and its value, which no command knows."""
    kept = list[str]()
    for last, word in zip(["", *words], words, strict=False):
        if "--" in kept or (last != LANG[0] and word.partition("=")[0] != LANG[0]):
            kept.append(word)
    return kept


def _of_command(command: Any, place: Place) -> Iterable[Offer] | str:
    options = {name: one for one in command.params for name in (*one.opts, *one.secondary_opts) if name[:1] == "-"}
    taking = {name for name, one in options.items() if not one.is_flag}
    arguments, last = _read(place.before, taking)
    name, equals, begun = place.begun.partition("=")
    is_open = "--" not in place.before
    if is_open and last in taking:
        return _values_of(_long(options[last]), place)
    if is_open and equals and name in taking:
        found = _values_of(_long(options[name]), place._replace(begun=begun))
        return found if isinstance(found, str) else [(f"{name}={value}", meaning) for value, meaning in found]
    if is_open and place.begun.startswith("-"):
        return _option_names(command, place.before)
    return _of_argument(command, arguments, place)


def _read(before: Sequence[str], taking: set[str]) -> tuple[list[str], str]:
    """The arguments among these words, and the option that waits for its value."""
    arguments: list[str] = []
    last, is_open = "", True
    for word in before:
        if is_open and last in taking:
            last = ""
        elif is_open and word.startswith("-") and len(word) > 1:
            last, is_open = word, word != "--"
        else:
            arguments.append(word)
            last = ""
    return arguments, last


def _option_names(command: Any, before: Sequence[str]) -> Iterator[Offer]:
    for one in command.params:
        names = [name for name in (*one.opts, *one.secondary_opts) if name.startswith("--")]
        if one.param_type_name == "option" and (one.multiple or not set(names) & set(before)):
            yield from ((name, one.help or "") for name in names)
    yield from (LANG, ("--help", guide.HELP_OPTION))


def _long(parameter: Any) -> str:
    return next((name for name in parameter.opts if name.startswith("--")), str(parameter.opts[0]))


def _of_argument(command: Any, before: Sequence[str], place: Place) -> Iterable[Offer] | str:
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    at = len(before)
    if at >= len(arguments) and not (arguments and arguments[-1].nargs == -1):
        return []
    parameter = arguments[min(at, len(arguments) - 1)]
    return _values_of(str(parameter.metavar or "").removesuffix("...").partition("[")[0], place)


# Values

CHOICES: dict[str, Sequence[str]] = {
    "--ratio": RATIOS,
    "--resolution": ("1k", "2k", "4k"),
    "--size": ("1024x1024", "1536x1024", "1024x1536", "2048x2048"),
    "--count": ("1", "2", "4"),
    "--concurrency": ("1", "4", "8", "unlimited"),
    "--progress": ("auto", "live", "plain", "json", "quiet"),
    "--preview": ("auto", "on", "off"),
    "--by": ("day", "model", "provider", "run"),
    "--since": AGES,
    "--until": AGES,
    "--older": AGES,
    "--encoding": ("utf-8", "gb18030", "utf-16", "big5", "shift-jis"),
    "--factor": ("2", "4"),
    "--speed": ("1", "2", "10"),
    "--vary": ("model=", "ratio=", "resolution=", "size=", "seed=1..4", "count=", "negative=", "provider="),
    "SHELL": ("bash", "fish", "powershell", "zsh"),
}
"""Values that are the same everywhere."""
FORMS = {"export": ("jsonl", "csv")}
LIST_FORMS = ("lines", "csv", "tsv", "json", "jsonl")
PATHS = {"FILE": FILES, "--image": FILES, "--from": FILES, "--receipts": FILES}
FILE_OUTPUTS = ("sheet", "gallery", "export")
"""Commands whose --output is a file and not a folder."""


def _values_of(name: str, place: Place) -> Iterable[Offer] | str:
    if name in PATHS:
        return PATHS[name]
    if name == "--output":
        return FILES if place.command in FILE_OUTPUTS else FOLDERS
    if name == "--format":
        return _plain(FORMS.get(place.command, LIST_FORMS))
    if name in CHOICES:
        return _plain(CHOICES[name])
    source = SOURCES.get(name)
    return source(place) if source else []


def _plain(values: Iterable[str]) -> list[Offer]:
    return [(value, "") for value in values]


def _tasks(place: Place) -> Iterator[Offer]:
    from imagegen_cli.settings.paths import history_file  # noqa: PLC0415 - only where tasks are asked for
    from imagegen_cli.storage.glances import newest_tasks  # noqa: PLC0415

    for number, state, prompt in newest_tasks(history_file(), place.begun, MAX_TASKS):
        yield number, f"{translated(Message(state))}: {prompt}"
    yield "LAST", tr("the newest task")


def _runs(place: Place) -> Iterator[Offer]:
    from imagegen_cli.settings.paths import history_file  # noqa: PLC0415 - only where runs are asked for
    from imagegen_cli.storage.glances import newest_runs  # noqa: PLC0415

    for number, count, prompt in newest_runs(history_file(), place.begun, MAX_TASKS):
        yield number, f"{count}: {prompt}"
    yield "LAST", tr("the newest run")


def _states(_: Place) -> list[Offer]:
    from imagegen_cli.commands.filters import STATES  # noqa: PLC0415 - only where states are asked for

    return _plain(STATES)


def _reasons(_: Place) -> list[Offer]:
    from imagegen_cli.core.errors import Reason  # noqa: PLC0415 - only where reasons are asked for

    return _plain(Reason)


def _kinds(_: Place) -> list[Offer]:
    from imagegen_cli.providers import kinds, load  # noqa: PLC0415 - only where kinds are asked for

    return [(kind, load(kind).title) for kind in kinds()]


def _providers(_: Place) -> Iterator[Offer]:
    from imagegen_cli.providers import kinds  # noqa: PLC0415 - only where providers are asked for
    from imagegen_cli.settings.config import load_config  # noqa: PLC0415

    for name, one in load_config().providers.items():
        yield name, one.kind
    yield from _plain(kinds())


def _models(place: Place) -> Iterator[Offer]:
    """The models of the provider that is named before, or of the default one; short names; and those used before."""
    from imagegen_cli.commands.line_choices import Models  # noqa: PLC0415 - only where models are asked for
    from imagegen_cli.settings.config import load_config  # noqa: PLC0415
    from imagegen_cli.settings.paths import history_file  # noqa: PLC0415
    from imagegen_cli.storage.glances import models_used  # noqa: PLC0415

    config = load_config()
    named = [
        value for option, value in zip(place.before, place.before[1:], strict=False) if option in ("-p", "--provider")
    ]
    provider = (named[-1] if named else config.general.default_provider).partition(",")[0]
    for model in Models(config).of(provider):
        yield model, provider
    for short, model in config.general.models.items():
        yield short, model
    for used_by, model in models_used(history_file()):
        if used_by == provider or not named:
            yield model, used_by


def _schemas(_: Place) -> list[Offer]:
    from imagegen_cli.commands.schema import COMMANDS  # noqa: PLC0415 - only where schemas are asked for

    return _plain(COMMANDS)


def _topics(_: Place) -> Iterator[Offer]:
    from imagegen_cli.commands.topics import title_of, topics  # noqa: PLC0415 - only where topics are asked for

    for name, path in topics().items():
        yield name, title_of(path)
    yield from guide.commands().items()


def _keys(_: Place) -> Iterator[Offer]:
    from imagegen_cli.settings.values import known_keys  # noqa: PLC0415 - only where settings are asked for

    yield from known_keys()


def _setting_values(place: Place) -> Iterable[Offer]:
    from imagegen_cli.settings.config import METADATA  # noqa: PLC0415 - only where settings are asked for

    key = next((word for word in place.before if not word.startswith("-")), "")
    if key == "default_provider":
        return _providers(place)
    if key.endswith(".kind"):
        return _kinds(place)
    if key.endswith(".model") or key.startswith("models."):
        return _models(place)
    return _plain({"metadata": METADATA, "sheet": ("true", "false"), "lang": guide.LANGUAGES}.get(key, ()))


SOURCES: dict[str, Callable[[Place], Iterable[Offer]]] = {
    "ID": _tasks,
    "--run": _runs,
    "--state": _states,
    "--reason": _reasons,
    "--kind": _kinds,
    "KIND": _kinds,
    "--provider": _providers,
    "PROVIDER": _providers,
    "--model": _models,
    "NAME": _schemas,
    "TOPIC": _topics,
    "KEY": _keys,
    "VALUE": _setting_values,
}
"""Values that are looked up; a name that is neither here nor above has none."""
