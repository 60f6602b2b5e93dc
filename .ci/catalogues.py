"""Collects all text that is to be translated, and brings the translations up to date with it.

    python .ci/catalogues.py              the texts that a translation lacks, or has although they are gone
    python .ci/catalogues.py --update     enter the new texts, empty, and remove those that are gone

English texts stand in the code: in `tr`, `Message` and `ngettext`, and as the docstrings of commands.
"""

import ast
import inspect
import io
import sys
from collections.abc import Iterator
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.pofile import read_po, write_po

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "imagegen_cli" / "locale"
FUNCTIONS = ("tr", "Message", "ngettext")
WIDTH = 120
UNTOLD = tuple(
    f'"{name}: '
    for name in (
        "Project-Id-Version", "Report-Msgid-Bugs-To", "POT-Creation-Date", "PO-Revision-Date", "Last-Translator",
        "Language-Team", "Generated-By",
    )
)  # fmt: skip


def collected(root: Path = ROOT) -> Catalog:
    """All texts of the program with the files that they are in."""
    catalogue = Catalog(project="imagegen", charset="utf-8")
    for path in sorted(root.glob("imagegen_cli/**/*.py")):
        place = path.relative_to(root).as_posix()
        for text in texts_of(path.read_text(encoding="utf-8")):
            catalogue.add(text, locations=[(place, 0)])
    return catalogue


def texts_of(code: str) -> Iterator[str | tuple[str, str]]:
    """The texts of a module; a pair is a singular and a plural. Raises SystemExit for one that no tool could find."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in FUNCTIONS:
            wanted = 2 if node.func.id == "ngettext" else 1
            texts = [one.value for one in node.args[:wanted] if isinstance(one, ast.Constant)]
            if len(texts) == wanted and all(isinstance(one, str) and one for one in texts):
                yield (texts[0], texts[1]) if wanted == 2 else texts[0]  # noqa: PLR2004 - see above
        elif isinstance(node, ast.FunctionDef) and any(map(_is_command, node.decorator_list)):
            for paragraph in inspect.cleandoc(ast.get_docstring(node) or "").split("\n\n"):
                yield " ".join(paragraph.split())


def _is_command(decorator: ast.expr) -> bool:
    return isinstance(decorator, ast.Call) and ast.unparse(decorator.func).endswith(".command")


def translation(path: Path) -> Catalog:
    with path.open("rb") as file:
        return read_po(file, locale=path.parts[-3])


def write(path: Path, catalogue: Catalog) -> None:
    """Write a translation without the lines of its head that name people, times and tools."""
    text = io.BytesIO()
    write_po(text, catalogue, width=WIDTH, ignore_obsolete=True, include_lineno=False)
    lines = text.getvalue().decode().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if not line.startswith(UNTOLD)), encoding="utf-8")


def main() -> int:
    found = collected()
    wrong = 0
    for path in sorted(FOLDER.glob("*/LC_MESSAGES/imagegen.po")):
        old = translation(path)
        known = {message.id: message for message in old if message.id}
        wanted = {message.id for message in found if message.id}
        for text in sorted(map(str, wanted ^ set(known))):
            sys.stdout.write(f"{path.parts[-3]}: {text}\n")
        wrong += len(wanted ^ set(known))
        if "--update" in sys.argv[1:]:
            for message in found:
                if message.id and message.id in known:
                    message.string = known[message.id].string
            new = Catalog(path.parts[-3], header_comment=old.header_comment, charset="utf-8", fuzzy=False)
            new.mime_headers = old.mime_headers
            for message in found:
                if message.id:
                    new.add(message.id, message.string, locations=message.locations)
            write(path, new)
    return 0 if "--update" in sys.argv[1:] else min(wrong, 1)


if __name__ == "__main__":
    sys.exit(main())
