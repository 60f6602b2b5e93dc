"""Print the lowest versions that pyproject.toml allows, as constraints for pip: python .ci/lowest.py EXTRA..."""

import re
import sys
import tomllib
from pathlib import Path

project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
extras = project["optional-dependencies"]
wanted = [*project["dependencies"], *(line for extra in sys.argv[1:] for line in extras[extra])]
bounds = (re.match(r"([\w.-]+)>=([\d.]+)", line) for line in wanted)
print("\n".join(f"{bound[1]}=={bound[2]}" for bound in bounds if bound))  # noqa: T201 - what it is for
