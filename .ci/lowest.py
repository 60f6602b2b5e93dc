"""Print constraints for pip: the lowest versions that pyproject.toml allows, and .ci/constraints.txt for all else.

python .ci/lowest.py EXTRA...
"""

import re
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path


def named(lines: Iterable[str], sign: str) -> dict[str, str]:
    """Package name -> the version that follows `sign`, for the lines that have one."""
    found = (re.match(rf"([\w.-]+)(?:\[.*\])?{sign}([\w.+]+)", line) for line in lines)
    return {re.sub(r"[-_.]+", "-", one[1]).lower(): one[2] for one in found if one}


project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
extras = project["optional-dependencies"]
wanted = [*project["dependencies"], *(line for extra in sys.argv[1:] for line in extras[extra])]
tested = named(Path(".ci/constraints.txt").read_text(encoding="utf-8").splitlines(), "==")
for name, version in (tested | named(wanted, ">=")).items():
    print(f"{name}=={version}")
