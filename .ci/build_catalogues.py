"""Compiles the translations (`.po`) into what `gettext` reads (`.mo`), whenever the project is built or installed.

python .ci/build_catalogues.py      the same after a change, for a checkout that is installed already
"""

import sys
from pathlib import Path
from typing import Any

from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # only who builds has hatchling
    BuildHookInterface = object


def compiled(root: Path) -> list[Path]:
    """Compile every translation below this folder. Returns the files that were written."""
    written = []
    for source in sorted(root.glob("imagegen_cli/locale/*/LC_MESSAGES/*.po")):
        with source.open("rb") as file:
            catalogue = read_po(file, locale=source.parts[-3])
        with source.with_suffix(".mo").open("wb") as file:
            write_mo(file, catalogue)
        written.append(source.with_suffix(".mo"))
    return written


class Catalogues(BuildHookInterface):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - hatchling calls it so
        compiled(Path(self.root))


if __name__ == "__main__":
    root = Path(__file__).parents[1]
    for path in compiled(root):
        sys.stdout.write(f"{path.relative_to(root)}\n")
