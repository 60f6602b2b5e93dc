"""Commands that messages suggest. Each works when it is pasted into a shell, and none writes a file."""

import codecs
import re
from collections.abc import Callable, Sequence

from imagegen_cli.core.language import Message
from imagegen_cli.inputs.lists.common import FIELDS, Reading, canonical, is_remark, shell_word

MAX_TITLE_LINES = 20
"""Lines that may be above the header of a table."""
ROWS = Message("write one prompt a line into a new .txt file")
BULLET = re.compile(
    r"\s*(?:[-*+–—](?:\s+\[[ xX]\])?\s+|[•‣▪◦・●○■□◆☐☑✓✔➤]\s*|\d{1,4}(?:[.)]\s+|[.)](?=[^\W\d_])|[、．）]\s*)|"
    r"[(（]\d{1,4}[)）]\s*|[①-⑳]\s*|[一二三四五六七八九十]{1,3}、\s*)(?=\S)"
)
"""The marks before the lines of a list: dashes, dots and numbers of any script."""
MARKS = (
    r"[-*+][[:space:]]+\[[ xX]\]",
    "[-*+][[:space:]]",
    r"(–|—)[[:space:]]",
    "(•|‣|▪|◦|・|●|○|■|□|◆|☐|☑|✓|✔|➤)",
    r"[0-9]{1,4}[.)]",
    "[0-9]{1,4}(、|．|）)",
    r"\([0-9]{1,4}\)",
    "（[0-9]{1,4}）",
    "(①|②|③|④|⑤|⑥|⑦|⑧|⑨|⑩|⑪|⑫|⑬|⑭|⑮|⑯|⑰|⑱|⑲|⑳)",
    "(一|二|三|四|五|六|七|八|九|十){1,3}、",
)
"""The same marks for `sed -E`. Characters beyond ASCII are not in brackets: some locales treat them as bytes."""
ICONV = {"mac-roman": "MACINTOSH", "iso2022-jp": "ISO-2022-JP", "iso2022-kr": "ISO-2022-KR"}


def through(command: str, name: str, reading: Reading) -> str:
    """The command that filters a list and reads the result: "sed … list.txt | imagegen batch -".

    For a list that came through a pipe, it is the part of the pipe to add.
    """
    encoding = reading.encoding
    if encoding and codecs.lookup(encoding).name not in ("utf-8", "utf-8-sig", "ascii"):
        known = codecs.lookup(encoding).name.replace("utf-16-", "utf-16").replace("utf-32-", "utf-32")
        converted = f"iconv -f {ICONV.get(known.replace('_', '-'), known.upper())} -t UTF-8"
        way = f"{converted}{shell_word(name)} | {command}"
    else:
        way = f"{command}{shell_word(name)}"
    if shell_word(name):
        return f"{way} | imagegen batch -"
    return Message("put into your pipe: {command}").format(command=f"… | {way} | imagegen batch -")


def without_marks(name: str, text: str, reading: Reading, is_list: Callable[[str], bool]) -> str:
    """How to remove marks: a command where every line has one and its result passes `is_list`, else by hand."""
    lines = text.split("\n")
    used = [mark for mark in MARKS if any(_sed(mark).match(line) and BULLET.match(line) for line in lines)]
    dropped = [line for line in lines if line.startswith(("```", "---"))]
    kept = [line for line in lines if line not in dropped]
    bare = [_sed(*used).sub("", line).strip() for line in kept] if used else []
    unmarked = any(line.strip() and not is_remark(line) and not BULLET.match(line) for line in kept)
    if unmarked or bare != [BULLET.sub("", line).strip() for line in kept] or not is_list("\n".join(bare)):
        return ROWS
    delete = "/^(```|---)/d; " if dropped else ""
    command = f"sed -E '{delete}{_script(used)}'"
    return Message("take the marks off: {command}").format(command=through(command, name, reading))


def _script(marks: Sequence[str]) -> str:
    each = marks[0] if len(marks) == 1 else f"({'|'.join(marks)})"
    return f"s/^[[:space:]]*{each}[[:space:]]*//"


def _sed(*marks: str) -> re.Pattern[str]:
    pattern = _script(marks).removeprefix("s/").removesuffix("//")
    return re.compile(pattern.replace("[[:space:]]", r"[ \t\r\f\v]"))


def later_header(name: str, text: str, delimiter: str, reading: Reading, *, min_cells: int = 1) -> str:
    """How to read a table with a title above its header; empty where no line of `min_cells` cells names the columns."""
    lines = text.split("\n")
    for number, line in enumerate(lines[:MAX_TITLE_LINES], 1):
        cells = [canonical(cell.strip('"')) for cell in line.split(delimiter)]
        if (
            number > 1
            and len(cells) >= min_cells
            and "prompt" in cells
            and all(cell in FIELDS or not cell for cell in cells)
        ):
            hint = Message("leave out the lines above the header in line {number}: {command}")
            return hint.format(number=number, command=through(f"tail -n +{number}", name, reading))
    return ""
