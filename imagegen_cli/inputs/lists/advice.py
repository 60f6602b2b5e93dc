"""Commands that messages advise. Each works when it is pasted into a shell, and none writes into a file."""

import codecs
import re
from collections.abc import Callable, Sequence

from imagegen_cli.inputs.lists.common import FIELDS, Reading, canonical, is_remark, shell_word

MAX_TITLE_LINES = 20
"""Lines above a table's head."""
ROWS = "write one prompt a line into a new .txt file"
BULLET = re.compile(
    r"\s*(?:[-*+–—](?:\s+\[[ xX]\])?\s+|[•‣▪◦・●○■□◆☐☑✓✔➤]\s*|\d{1,4}(?:[.)]\s+|[.)](?=[^\W\d_])|[、．）]\s*)|"
    r"[(（]\d{1,4}[)）]\s*|[①-⑳]\s*|[一二三四五六七八九十]{1,3}、\s*)(?=\S)"
)
"""What stands before the lines of a list with marks: dashes, dots and numbers of any script."""
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
"""The same marks as `sed -E` knows them. Signs beyond ASCII stand in no brackets: a locale may take them for bytes."""
ICONV = {"mac-roman": "MACINTOSH", "iso2022-jp": "ISO-2022-JP", "iso2022-kr": "ISO-2022-KR"}


def through(command: str, name: str, reading: Reading) -> str:
    """Read a list again through a filter of the shell: "sed … list.txt | imagegen batch -".

    Of a list that came by a pipe the rest of the pipe is said.
    """
    encoding = reading.encoding
    if encoding and codecs.lookup(encoding).name not in ("utf-8", "utf-8-sig", "ascii"):
        known = codecs.lookup(encoding).name.replace("utf-16-", "utf-16").replace("utf-32-", "utf-32")
        converted = f"iconv -f {ICONV.get(known.replace('_', '-'), known.upper())} -t UTF-8"
        way = f"{converted}{shell_word(name)} | {command}"
    else:
        way = f"{command}{shell_word(name)}"
    return f"{'' if shell_word(name) else 'put into your pipe: … | '}{way} | imagegen batch -"


def without_marks(name: str, text: str, reading: Reading, is_list: Callable[[str], bool]) -> str:
    """How marks are taken off: with a command where each line has one and its result `is_list`, else by hand."""
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
    return f"take the marks off: {through(command, name, reading)}"


def _script(marks: Sequence[str]) -> str:
    each = marks[0] if len(marks) == 1 else f"({'|'.join(marks)})"
    return f"s/^[[:space:]]*{each}[[:space:]]*//"


def _sed(*marks: str) -> re.Pattern[str]:
    pattern = _script(marks).removeprefix("s/").removesuffix("//")
    return re.compile(pattern.replace("[[:space:]]", r"[ \t\r\f\v]"))


def later_head(name: str, text: str, delimiter: str, reading: Reading, *, min_cells: int = 1) -> str:
    """How a table is read whose head stands below a title; empty where no line of `least` cells names the columns."""
    lines = text.split("\n")
    for number, line in enumerate(lines[:MAX_TITLE_LINES], 1):
        cells = [canonical(cell.strip('"')) for cell in line.split(delimiter)]
        if (
            number > 1
            and len(cells) >= min_cells
            and "prompt" in cells
            and all(cell in FIELDS or not cell for cell in cells)
        ):
            return (
                f"leave out the lines above the head in line {number}: {through(f'tail -n +{number}', name, reading)}"
            )
    return ""
