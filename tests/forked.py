"""Many command lines in one process that forks for each: the program is imported once, and every line starts afresh."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.program import Ended, Program

SERVER = """
import json, os, sys, tempfile
from imagegen_cli.settings.language import choose
choose(["imagegen"], os.environ)
import imagegen_cli.cli
from imagegen_cli.__main__ import main

def streams():
    return [tempfile.TemporaryFile() for _ in range(2)]

def answer(words, environment):
    files = streams()
    pid = os.fork()
    if pid == 0:
        try:
            os.environ.update(environment)
            for number, file in enumerate(files, 1):
                os.dup2(file.fileno(), number)
            sys.argv = ["imagegen", *words]
            main()
            os._exit(0)
        except SystemExit as leaving:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            os._exit(leaving.code if isinstance(leaving.code, int) else 0 if leaving.code is None else 1)
        except BaseException as error:
            os.write(2, repr(error).encode())
            os._exit(99)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    texts = []
    for file in files:
        file.seek(0)
        texts.append(file.read().decode())
    return [code, *texts]

lines = json.load(sys.stdin)
os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
found = [answer(words, environment) for words, environment in lines]
print(json.dumps(found))
"""
Line = tuple[Sequence[str], Mapping[str, str]]


def run_all(folder: Path, lines: Sequence[Line], **environment: str) -> list[Ended]:
    """What became of each command line, with its own variables, in the same folder.

    The language can only be that of all lines, as IMAGEGEN_LANG in `environment`: the words are imported once.
    """
    result = subprocess.run(
        [sys.executable, "-c", SERVER],
        cwd=folder,
        env=Program(folder).environment(**environment),
        input=json.dumps([[list(words), dict(own)] for words, own in lines]),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return [Ended(code, out, err) for code, out, err in json.loads(result.stdout)]
