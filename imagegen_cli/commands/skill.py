"""`imagegen skill`: how an agent uses this program, as the text of a SKILL.md."""

import sys
from pathlib import Path

from imagegen_cli.core.text import Printer


def skill() -> int:
    text = Path(__file__).with_name("SKILL.md").read_text(encoding="utf-8")
    Printer(sys.stdout, "utf-8").line(text.rstrip("\n"))
    return 0
