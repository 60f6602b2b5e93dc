"""All benchmarks, or those that are named, as a table: python -m benchmarks [--list] [NAME]..."""

import argparse
import compileall
import os
import subprocess
import sys
import time
from importlib import import_module

from benchmarks.measure import ROOT, Figure

NAMES = (
    "startup", "requests", "downloads", "marks", "polling", "display", "history", "memory", "sketch", "makespan",
    "ten_thousand", "gallery", "team",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*NAMES, []], metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--rows", action="store_true", help="without the head of the table")
    words = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # as installed: compiled once, not at each start
    compileall.compile_dir(ROOT / "imagegen_cli", quiet=1)
    if not words.rows:
        print(f"{'':<58}{'measured':>26}{'ratio':>10}{'goal':>10}  met", flush=True)
    if len(words.names) == 1:
        tell(words.names[0])
        return
    for name in words.names or NAMES:  # Linux never reports less memory for a program than its parent had
        subprocess.run([sys.executable, "-m", "benchmarks", name, "--rows"], cwd=ROOT, check=True)


def tell(name: str) -> None:
    began = time.monotonic()
    for figure in import_module(f"benchmarks.{name}").measured():
        print(row(figure), flush=True)
    print(f"  ({name}: {time.monotonic() - began:.0f} s)", file=sys.stderr)


def row(figure: Figure) -> str:
    sign = "≥" if figure.is_floor else "≤"
    goal = "" if figure.goal is None else f"{sign} {figure.goal:g}{figure.unit}"
    met = "" if figure.goal is None else "yes" if figure.met else "NO"
    return f"{figure.what:<58}{figure.value:>26}{figure.ratio:>9.2f}{figure.unit}{goal:>10}  {met}".rstrip()


if __name__ == "__main__":
    main()
