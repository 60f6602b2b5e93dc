"""The commands and groups that Typer builds: what `--help` shows, and which words it takes for a slip.

`--help` of every command fits 24 lines of 80 columns: a command with more options shows the common ones, and
`imagegen help COMMAND` all of them, for which `Page.is_whole` is set. A narrower terminal gets the same in more lines.
"""

from collections.abc import Container, Sequence
from typing import Any, ClassVar

from typer.core import TyperCommand, TyperGroup

from imagegen_cli.commands import guide
from imagegen_cli.commands.wrapping import (
    MAX_COLUMNS,
    MAX_NAME_CELLS,
    Row,
    cells,
    columns,
    example,
    padded,
    table,
    usage,
    wrapped,
)
from imagegen_cli.core.language import Message, translated

LINES = 24
Groups = dict[str, list[Row]]


class Page:
    """`is_whole`: all options are shown, however many lines they take."""

    is_whole: ClassVar[bool] = False


class Command(TyperCommand):
    def get_help(self, ctx: Any) -> str:
        return "\n".join(page_of(self, ctx))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the arguments. Raises UsageError for an option with one dash too few, and for words too many."""
        if ctx.resilient_parsing:
            return super().parse_args(ctx, args)
        if Page.is_whole and args[-1:] == ["--help"]:
            from imagegen_cli.commands import topics  # noqa: PLC0415 - only for `help COMMAND`

            topics.show(page_of(self, ctx))
            ctx.exit()
        known = _long_names(self)
        if any(_lacks_a_dash(word, known) for word in args):
            from imagegen_cli.commands import slips  # noqa: PLC0415 - only for slips

            slips.refuse_single_dashes(self, ctx, args, known)
        if any(not word.strip() or (word[:2] == "--" and word.rstrip()[-1] == "=") for word in args):
            from imagegen_cli.commands import slips  # noqa: PLC0415 - only for slips

            slips.refuse_empty(self, args)
        if option := _lacking_its_value(self, args):
            from imagegen_cli.commands import slips  # noqa: PLC0415 - only for slips

            raise slips.lacks_value(ctx, option)
        ctx.allow_extra_args = True
        try:
            rest = super().parse_args(ctx, args)
        except Exception as error:
            if getattr(error, "ctx", ctx) is None:  # the parser does not tell whose option it read
                error.ctx = ctx  # type: ignore[attr-defined]
            raise
        if rest:
            from imagegen_cli.commands import slips  # noqa: PLC0415 - only for slips

            raise slips.too_many(ctx, rest)
        return rest


class Group(TyperGroup):
    def get_help(self, ctx: Any) -> str:
        return "\n".join(page_of_all() if ctx.parent is None else page_of_group(self, ctx))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command. Raises UsageError for a word that is none."""
        if args[0] not in self.commands and not ctx.resilient_parsing:
            from imagegen_cli.commands import slips  # noqa: PLC0415 - only for slips

            raise slips.no_command(ctx, args, [name for name, one in self.commands.items() if not one.hidden])
        return super().resolve_command(ctx, args)


class TakesIds(Command):
    """A command whose arguments may be -1, -2 and so on: the newest task, the one before. They are no options."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put a space before such an argument: with it, no parser takes it for an option."""
        taking = {name for one in self.params if takes_a_value(one) for name in one.opts}
        before = ["", *args]
        found = [
            f" {word}" if _is_negative(word) and last not in taking else word
            for last, word in zip(before, args, strict=False)
        ]
        return super().parse_args(ctx, found)


def _lacking_its_value(command: Any, args: Sequence[str]) -> str:
    """The option in whose place for a value another option stands; empty where there is none.

    Typer would take `-o --dry-run` for a folder of that name, and the command would send what it should only show.
    """
    options = [one for one in command.params if one.param_type_name == "option"]
    names = {"--", *(name for one in options for name in (*one.opts, *one.secondary_opts))}
    taking = {name for one in options if takes_a_value(one) for name in one.opts}
    words = iter(args)
    for word in words:
        if word == "--":
            break
        if word in taking and next(words, "") in names:
            return word
    return ""


def takes_a_value(parameter: Any) -> bool:
    return parameter.param_type_name == "option" and not parameter.is_flag


def _is_negative(word: str) -> bool:
    """Whether it is -1, or -1/2 for a picture of the newest task."""
    number, _, picture = word[1:].partition("/")
    return word[:1] == "-" and f"{number}{picture}".isdecimal()


def _long_names(command: Any) -> set[str]:
    return {name for one in command.params for name in (*one.opts, *one.secondary_opts) if name.startswith("--")}


def _lacks_a_dash(word: str, known: set[str]) -> bool:
    return len(word) > 2 and f"-{word.partition('=')[0]}" in known  # noqa: PLR2004 - `-m` has two characters


# Pages


def page_of_all() -> list[str]:
    """`imagegen --help`: every command by its group, two on a line."""
    width = columns()
    pairs = 2 if width >= MAX_COLUMNS else 1
    lines = [*usage(guide.USAGE_OF_ALL, width), *wrapped(guide.PURPOSE, width), ""]
    for group, commands in guide.COMMANDS.items():
        uses = list(commands.items())
        for at in range(0, len(uses), pairs):
            head = translated(group) if at == 0 else ""
            row = " ".join(f"{padded(name, 11)}{padded(use, 25)}" for name, use in uses[at : at + pairs])
            lines += _hanging(f"{padded(head, 7)}{row}".rstrip(), width, 18)
    return [*lines, "", *wrapped(guide.START, width), *wrapped(guide.MORE_OF_ALL, width)]


def _hanging(line: str, width: int, indent: int) -> list[str]:
    """A line whose text from cell `indent` on is broken where it is too wide."""
    if cells(line) <= width:
        return [line]
    at = next(at for at in range(len(line)) if cells(line[:at]) >= indent)
    first, *others = wrapped(line[at:], width - indent)
    return [line[:at] + first, *(f"{' ' * indent}{other}" for other in others)]


def page_of_group(group: Any, ctx: Any) -> list[str]:
    """The page of a command that has commands of its own."""
    width = columns()
    rows = [(name, paragraphs(one)[0]) for name, one in group.commands.items() if not one.hidden]
    head = usage(guide.USAGE.format(command=f"{ctx.command_path} COMMAND ..."), width)
    return [*head, "", *wrapped(group.help, width), "", *_examples(ctx, width), *table(rows, _width_of(rows), width)]


def page_of(command: Any, ctx: Any) -> list[str]:
    """The page of one command: as roomy as 24 lines of 80 columns allow, and with its common options where not all fit.

    A narrower terminal gets the same options.
    """
    groups, gap, more = _fitting(command, ctx)
    return [*_laid_out(command, ctx, groups, gap, columns()), *(wrapped(more, columns()) if more else [])]


def _fitting(command: Any, ctx: Any) -> tuple[Groups, list[str], str]:
    """What has room in 24 lines of 80 columns: the options by group, what stands between groups, and the last line."""
    for gap in ([""], []):
        groups = _groups(command)
        if Page.is_whole or len(_laid_out(command, ctx, groups, gap, MAX_COLUMNS)) < LINES:
            return groups, gap, ""
    count = sum(one.param_type_name == "option" for one in command.params) + len(("--lang", "--help"))
    more = guide.MORE_OF_ONE.format(command=ctx.command_path.removeprefix("imagegen "), count=count)
    known = {place_of(one) for one in command.params}
    found: Groups = {}
    for number in range(len(guide.COMMON), 0, -1):
        if guide.COMMON[number - 1] in known or not found:
            found = _groups(command, guide.COMMON[:number])
        if len(_laid_out(command, ctx, found, [], MAX_COLUMNS)) + len(wrapped(more, MAX_COLUMNS)) < LINES:
            break
    return found, [], more


def _laid_out(command: Any, ctx: Any, groups: Groups, gap: list[str], columns: int) -> list[str]:
    told = paragraphs(command)
    shown = told if Page.is_whole else told[:1]
    lines = [*usage(guide.USAGE.format(command=_usage(command, ctx)), columns), ""]
    for text in shown:
        lines += [*wrapped(text, columns), ""]
    lines += _examples(ctx, columns)
    width = _width_of([row for rows in groups.values() for row in rows])
    for head, rows in groups.items():
        lines += [translated(head), *table(rows, width, columns), *gap]
    while not lines[-1]:
        lines.pop()
    if Page.is_whole and any("$IMAGEGEN_" in line for line in lines):
        lines += ["", *wrapped(guide.FROM_ENVIRONMENT, columns)]
    return lines


def paragraphs(command: Any) -> list[str]:
    """What a command is for, as its docstring says it, in the language in use."""
    return [translated(Message(" ".join(text.split()))) for text in (command.help or "").split("\n\n")]


def _examples(ctx: Any, columns: int) -> list[str]:
    found = guide.EXAMPLES.get(ctx.command_path.removeprefix("imagegen "), ())
    return [*(line for one in found for line in example(one, columns)), ""] if found else []


def _usage(command: Any, ctx: Any) -> str:
    """The command with its arguments: in brackets what may be left out."""
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    words = [name_of(one) if one.required else f"[{name_of(one)}]" for one in arguments]
    return " ".join([ctx.command_path, *words, "[OPTIONS]"])


def name_of(parameter: Any) -> str:
    """The metavar of an argument."""
    return str(parameter.metavar or parameter.name.upper())


def place_of(parameter: Any) -> str:
    """What `guide.GROUPS` knows a parameter by: the name of an argument, or an option's long name."""
    if parameter.param_type_name == "argument":
        return name_of(parameter).removesuffix("...").partition("[")[0]
    return next((name for name in parameter.opts if name.startswith("--")), "")


def _groups(command: Any, only: Sequence[str] = ()) -> Groups:
    """The rows of each group that has some, in the order of `guide.GROUPS`; of all places, or of these only."""
    by_place = {
        place_of(one): row_of(one, short=bool(only)) for one in command.params if not getattr(one, "hidden", False)
    }
    by_place["--help"] = ("-h, --help", guide.HELP_OPTION)
    if Page.is_whole:
        text = guide.VARIABLE.format(text=guide.LANG_OPTION, variable="IMAGEGEN_LANG")
        by_place["--lang"] = ("--lang LANG", text)
    found: Groups = {}
    for head, places in _places(by_place).items():
        rows = [by_place[place] for place in places if place in by_place and (not only or place in only)]
        if rows:
            found[head] = rows
    return found


def _places(known: Container[str]) -> dict[str, tuple[str, ...]]:
    """`guide.GROUPS` for a command with these options."""
    found = dict(guide.GROUPS)
    for option, (group, moved) in guide.OTHERWISE.items():
        if option in known:
            found = {head: tuple(one for one in places if one not in moved) for head, places in found.items()}
            found[group] += moved
    return found


def row_of(parameter: Any, *, short: bool) -> Row:
    """An argument or an option with what it means, where all is shown with the name of its environment variable."""
    text = parameter.help or ""
    if short:
        known = (f"{place_of(parameter)} {parameter.metavar}", place_of(parameter), str(parameter.metavar))
        text = next((guide.SHORT[one] for one in known if one in guide.SHORT), text)
    if parameter.param_type_name == "argument":
        return name_of(parameter), text
    names = sorted(parameter.opts, key=len) + parameter.secondary_opts
    value = "" if parameter.is_flag else f" {parameter.metavar or 'VALUE'}"
    if not parameter.is_flag and (default := default_of(parameter.default)):
        text = guide.DEFAULT.format(text=text, default=default)
    if Page.is_whole and parameter.envvar:
        text = guide.VARIABLE.format(text=text, variable=parameter.envvar)
    return ", ".join(names) + value, text


def default_of(value: Any) -> str:
    """A default that is worth a word: a number, or one of several choices."""
    if isinstance(value, bool) or value in (None, ""):
        return ""
    if isinstance(value, float):
        return f"{value:g}"
    return str(getattr(value, "value", value)) if isinstance(value, int | str) else ""


# Text


def _width_of(rows: Sequence[Row]) -> int:
    return min(max(cells(name) for name, _ in rows), MAX_NAME_CELLS)
