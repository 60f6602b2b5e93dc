"""The table of `--dry-run` on a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from imagegen_cli.core.language import Message, tr, translated
from imagegen_cli.display.fields import varied
from imagegen_cli.display.text_width import cell_width
from imagegen_cli.display.theme import BOLD, DIM, PLAIN, Line, LineBuilder, Theme

HEADS = {
    "line": Message("line"), "what": Message("provider / model"), "pictures": Message("pictures"),
    "size": Message("size"), "vary": Message("varied"), "prompt": Message("prompt"),
}  # fmt: skip
MAX_WIDTHS = {"what": 28, "size": 16, "vary": 28}
MIN_PROMPT_WIDTH = 16
"""Cells that a prompt needs at least."""
DROP_ORDER = ("size", "what", "line", "vary", "pictures")
"""The columns that a narrow terminal leaves out, one after the other. The number of pictures, a cost, goes last."""


def lines(rows: Sequence[Mapping[str, Any]], width: int, theme: Theme) -> list[Line]:
    """A head and one line per row, cut to `width` cells. A column in which nothing stands is left out."""
    texts = [_texts(row) for row in rows]
    sizes = {name: size for name in HEADS if name != "prompt" and (size := _size(name, texts, theme))}
    for name in DROP_ORDER:
        if name in sizes and width - sum(sizes.values()) - 2 * len(sizes) < MIN_PROMPT_WIDTH:
            del sizes[name]
    sizes["prompt"] = max(0, width - sum(sizes.values()) - 2 * len(sizes))
    heads = {name: translated(head) for name, head in HEADS.items()}
    head = _line(heads, sizes, theme, dim=False, bold=True)
    return [
        head,
        *(_line(text, sizes, theme, dim=bool(row.get("skip"))) for text, row in zip(texts, rows, strict=True)),
    ]


def _texts(row: Mapping[str, Any]) -> dict[str, str]:
    pixels = f"{row['width']}x{row['height']}" if row.get("width") else ""
    size = " ".join(str(part) for part in (row.get("ratio"), row.get("resolution"), pixels) if part)
    prompt = str(row.get("prompt", ""))
    return {
        "line": str(row.get("line", row.get("task", ""))),
        "what": " / ".join(str(part) for part in (row.get("provider"), row.get("model")) if part),
        "pictures": "" if row.get("skip") else str(row.get("asked", "")),
        "size": size,
        "vary": varied(row.get("vary", {})),
        "prompt": tr("[left out: {why}] {prompt}", why=row["skip"], prompt=prompt) if row.get("skip") else prompt,
    }


def _size(name: str, texts: Sequence[Mapping[str, str]], theme: Theme) -> int:
    limit = MAX_WIDTHS.get(name, 10)
    widest = max((cell_width(theme.fit(text[name], limit)) for text in texts), default=0)
    return max(widest, cell_width(translated(HEADS[name]))) if widest else 0


def _line(texts: Mapping[str, str], sizes: Mapping[str, int], theme: Theme, *, dim: bool, bold: bool = False) -> Line:
    style = BOLD if bold else DIM if dim else PLAIN
    builder = LineBuilder()
    for number, (name, cells) in enumerate(sizes.items()):
        if number:
            builder.gap(2)
        builder.put(theme.fit(texts[name], cells), cells, style, right=name in ("line", "pictures"))
    return builder.line
