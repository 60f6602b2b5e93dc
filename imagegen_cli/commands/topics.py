"""`imagegen help`: the topics of docs/ as plain text, all options of a command, and the man page."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from imagegen_cli import __version__
from imagegen_cli.commands import guide
from imagegen_cli.commands.wrapping import MAX_COLUMNS, columns, table, wrapped
from imagegen_cli.core.alike import alike
from imagegen_cli.core.errors import UsageError
from imagegen_cli.core.language import Message, tr, translated
from imagegen_cli.core.text import Printer, is_capable_terminal, literal

PLACES = (Path(__file__).parents[1] / "docs", Path(__file__).parents[2] / "docs")
"""The documentation in an installed package, and in a checkout."""
TOPICS = Message("Topics: imagegen help TOPIC")
OPTIONS = Message("All options of a command: imagegen help COMMAND")
MAN = Message("The man page: imagegen help --man > imagegen.1")
NO_TOPIC = Message("there is no topic {topic}")
MEANT = Message("did you mean {near}?")
SHOWS_TOPICS = Message("imagegen help shows the topics, imagegen --help the commands")
LESS = "FRX"
"""What `less` is told where LESS is not set: short texts end at once, and the screen is left as it is."""
TABLE = re.compile(r"^\|(.+)\|\s*$")
RULE = re.compile(r"^\|[\s:|-]+\|\s*$")


def help_(topic: str, *, man: bool) -> int:
    """Show a topic, the list of topics, or the man page. Raises UsageError where there is no such topic."""
    if man:
        _print(list(man_page()))
        return 0
    known = topics()
    if not topic:
        _print(_overview(known))
        return 0
    if topic not in known:
        near = alike(topic, {*known, *guide.commands()})
        raise UsageError(NO_TOPIC.format(topic=topic), hint=MEANT.format(near=near) if near else SHOWS_TOPICS)
    show(plain(known[topic].read_text(encoding="utf-8"), columns()))
    return 0


def topics() -> dict[str, Path]:
    """The topics with their files."""
    place = next((place for place in PLACES if place.is_dir()), None)
    return {path.stem: path for path in sorted(place.glob("*.md"))} if place else {}


def _overview(known: dict[str, Path]) -> list[str]:
    width = max((len(name) for name in known), default=0)
    rows = [(name, title_of(path)) for name, path in known.items()]
    ways = [line for text in (OPTIONS, MAN) for line in wrapped(translated(text), columns())]
    return [*wrapped(translated(TOPICS), columns()), "", *table(rows, width, columns()), "", *ways]


def title_of(path: Path) -> str:
    with path.open(encoding="utf-8") as lines:
        return _unmarked(next(lines, "").lstrip("# ").strip())


def show(lines: Sequence[str]) -> None:
    """Show lines in the person's pager on a terminal, and write them elsewhere."""
    if is_capable_terminal(sys.stdout, os.environ) and (pager := _pager()):
        environment = {"LESS": LESS, **os.environ}
        try:
            text = "\n".join(literal(line) for line in lines) + "\n"
            subprocess.run(pager, input=text.encode(), env=environment, check=False)  # noqa: S603 - the person's own pager
        except OSError:
            pass
        else:
            return
    _print(lines)


def _pager() -> list[str]:
    """The command of PAGER, or less; none where PAGER is empty or cat, or less is not there."""
    import shutil  # noqa: PLC0415 - only on a terminal

    named = os.environ.get("PAGER")
    if named is None:
        return ["less"] if shutil.which("less") else []
    try:
        words = shlex.split(named)
    except ValueError:
        return []
    return [] if words == ["cat"] else words


def _print(lines: Sequence[str]) -> None:
    data = Printer(sys.stdout)
    for line in lines:
        data.line(literal(line, data.encoding))


# Markdown as plain text


def plain(text: str, width: int = MAX_COLUMNS) -> list[str]:
    """A page of docs/ as plain text: no marks, tables as terms with their meaning, commands as they are."""
    lines: list[str] = []
    for kind, part in _parts(text):
        match kind:
            case "head":
                lines += [part[0] if lines else part[0].upper(), ""]
            case "code":
                lines += [*(f"    {line}" for line in part), ""]
            case "row":
                lines += [*wrapped(part[0], width), *_indented(" · ".join(filter(None, part[1:])), width), ""]
            case "item":
                first, *others = wrapped(part[0], width - 4)
                lines += [f"  * {first}", *(f"    {line}" for line in others)]
            case _:
                lines += [*([""] if lines and lines[-1].startswith("  * ") else []), *wrapped(part[0], width), ""]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def _indented(text: str, width: int) -> list[str]:
    return [f"    {line}" for line in wrapped(text, width - 4)]


def _parts(text: str) -> Iterator[tuple[str, list[str]]]:
    """The parts of a page: heads, paragraphs, code, items of lists, and rows of tables without their heads."""
    for number, block in enumerate(re.split(r"^```.*$\n?", text, flags=re.MULTILINE)):
        if number % 2:
            yield "code", block.splitlines()
        else:
            yield from _prose(block.splitlines())


def _prose(lines: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    kind, words = "text", list[str]()
    for line, following in zip(lines, [*lines[1:], ""], strict=False):
        if line.startswith(("#", "|", "* ", "- ")) or not line.strip():
            if words:
                yield kind, [_unmarked(" ".join(words))]
            kind, words = "text", []
        if line.startswith("#"):
            yield "head", [_unmarked(line.lstrip("# "))]
        elif line.startswith("|"):
            if (row := TABLE.match(line)) and not RULE.match(line) and not RULE.match(following):
                yield "row", [_unmarked(cell.strip()) for cell in re.split(r"(?<!\\)\|", row[1])]
        elif line.startswith(("* ", "- ")):
            kind, words = "item", [line[2:].strip()]
        elif line.strip() and not line.startswith(("![", "<!--")):
            words.append(line.strip())
    if words:
        yield kind, [_unmarked(" ".join(words))]


def _unmarked(text: str) -> str:
    """A text without the marks of Markdown; code in it stays as it is."""
    pieces = re.split(r"(`[^`]*`)", text)
    return "".join(piece[1:-1] if piece.startswith("`") else _without_marks(piece) for piece in pieces)


def _without_marks(text: str) -> str:
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"\*\*(.+?)\*\*", r"\1", text)
    return re.sub(r"(?<!\w)\*([^*]+)\*(?!\w)", r"\1", text).replace("\\|", "|").replace("](", " (")


# The man page


def man_page() -> Iterator[str]:
    """The lines of imagegen(1) in the language of man(7)."""
    yield f'.TH IMAGEGEN 1 "" "imagegen {__version__}" "{tr("User Commands")}"'
    purpose = guide.PURPOSE[0].lower() + guide.PURPOSE[1:].rstrip(".。")
    yield from (f".SH {tr('NAME')}", f"imagegen \\- {_escaped(purpose)}")
    yield from (f".SH {tr('SYNOPSIS')}", ".B imagegen", ".I COMMAND", "\\&...")
    yield f".SH {tr('COMMANDS')}"
    for group, commands in guide.COMMANDS.items():
        yield f'.SS "{_escaped(translated(group))}"'
        for name, use in commands.items():
            yield from (".TP", f".B imagegen {_escaped(name)}", _escaped(use))
    yield f".SH {tr('EXAMPLES')}"
    for lines in guide.EXAMPLES.values():
        yield from (".PP", ".nf", *map(_escaped, lines), ".fi")
    for path in topics().values():
        yield from _section(path)


def _section(path: Path) -> Iterator[str]:
    for number, (kind, part) in enumerate(_parts(path.read_text(encoding="utf-8"))):
        match kind:
            case "head":
                yield f'.SH "{_escaped(part[0].upper())}"' if number == 0 else f'.SS "{_escaped(part[0])}"'
            case "code":
                yield from (".PP", ".RS 4", ".nf", *map(_escaped, part), ".fi", ".RE")
            case "row":
                yield from (".TP", _escaped(part[0]), _escaped(" · ".join(filter(None, part[1:]))))
            case "item":
                yield from ('.IP "\\(bu" 2', _escaped(part[0]))
            case _:
                yield from (".PP", _escaped(part[0]))


def _escaped(text: str) -> str:
    """A text as roff shows it literally."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace("`", "\\(ga")
    escaped = escaped.replace('"', "\\(dq").replace("^", "\\(ha").replace("~", "\\(ti")
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped
