"""The folder of thumbnails beside a page. A list in it names the files that the page wrote: only these are removed."""

import os
import re
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from errno import EEXIST, ENOTDIR
from hashlib import sha256
from pathlib import Path
from typing import TextIO
from urllib.parse import quote

from imagegen_cli.core.language import Message
from imagegen_cli.core.references import opened
from imagegen_cli.gallery.whole import whole

LIST = "imagegen-files.txt"
"""The name of the list: a line that names the page, then a line for each file with its SHA-256."""
LINE = re.compile(r"([0-9a-f]{64})  ([0-9a-f]{40}\.webp)")
MAX_LIST_BYTES = 64 * 1024 * 1024
MAX_FILE_BYTES = 16 * 1024 * 1024
FOREIGN = Message("{path} is there, and the page did not write it")
NO_FOLDER = Message("{name} is there, and is no folder of this page")
A_FILE = Message("{name} is a link or a file, not a folder of this page")


class Folder:
    """The folder of one page while it is filled. `path` is its place, and `page` the name of the page's file."""

    def __init__(self, path: Path, page: str) -> None:
        self.path = path
        self._head = _head(page)
        self._known: dict[str, str] = {}
        self._added: list[Path] = []
        self._list: TextIO | None = None
        self._is_new = False

    @contextmanager
    def filled(self) -> Iterator[None]:
        """While the page is written; where no page comes of it, what was added is removed again.

        Raises FileExistsError where the folder holds files of others, and other OSErrors where it cannot be used.
        """
        self._begin()
        try:
            yield
        except BaseException:
            self._undo()
            raise
        finally:
            if self._list is not None:
                self._list.close()

    def keep(self, name: str, data: bytes) -> None:
        """Have this file in the folder. Raises FileExistsError where another one has its name, and OSError."""
        digest, file = sha256(data).hexdigest(), self.path / name
        is_same = _has_digest(file, digest)
        if not is_same and os.path.lexists(file) and not _has_digest(file, self._known.get(name, "")):
            raise FileExistsError(EEXIST, FOREIGN.format(path=f"{self.path.name}/{name}"))
        if self._list is not None and self._known.get(name) != digest:
            self._list.write(f"{digest}  {name}\n")
            self._list.flush()  # the list knows a file before it is there: a crash leaves none that it does not know
        if not is_same:
            with whole(file) as stream:
                stream.write(data)
            self._added.append(file)
        self._known[name] = digest

    def _begin(self) -> None:
        self._is_new = _made(self.path)
        known = _listed(self.path, self._head)
        if known is None:
            if any(self.path.iterdir()):
                raise FileExistsError(EEXIST, NO_FOLDER.format(name=self.path.name))
            with suppress(FileExistsError), (self.path / LIST).open("x", encoding="utf-8") as file:
                file.write(f"{self._head}\n")
        self._known = known or {}
        self._list = (self.path / LIST).open("a", encoding="utf-8")

    def _undo(self) -> None:
        for file in self._added:
            with suppress(OSError):
                file.unlink()
        if self._is_new:
            with suppress(OSError):
                (self.path / LIST).unlink()
                self.path.rmdir()


def tidy(folder: Path, page: str, names: Iterable[str]) -> None:
    """Remove what the page wrote and no longer needs: all but `names`, and the folder where it is empty then.

    A file that was put there, or changed, by others stays, and so does a folder that is a link or another page's.
    """
    with suppress(OSError):
        known = _listed(folder, _head(page))
        if known is None:
            return
        wanted = set(names)
        for name in known.keys() - wanted:
            if _has_digest(folder / name, known[name]):
                (folder / name).unlink()
        if wanted >= known.keys():
            return
        if wanted:
            with whole(folder / LIST) as stream:
                lines = [_head(page), *(f"{known[name]}  {name}" for name in sorted(known.keys() & wanted))]
                stream.write("".join(f"{line}\n" for line in lines).encode())
        else:
            (folder / LIST).unlink()
            folder.rmdir()


def _head(page: str) -> str:
    return f"imagegen gallery {quote(os.fsencode(page))}"


def _made(folder: Path) -> bool:
    """Make the folder; False where it is there. Raises NotADirectoryError where a link or a file has its name."""
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        if not stat.S_ISDIR(folder.lstat().st_mode):
            raise NotADirectoryError(ENOTDIR, A_FILE.format(name=folder.name)) from None
        return False
    return True


def _listed(folder: Path, head: str) -> dict[str, str] | None:
    """The files that the page wrote into the folder, with their SHA-256; None where the folder is not the page's."""
    with suppress(OSError, UnicodeError):
        if not stat.S_ISDIR(folder.lstat().st_mode):
            return None
        with opened(folder / LIST, follow=False) as file:
            first, *lines = file.read(MAX_LIST_BYTES).decode("utf-8").split("\n")
        if first == head:
            return {found[2]: found[1] for line in lines if (found := LINE.fullmatch(line))}
    return None


def _has_digest(file: Path, digest: str) -> bool:
    """Whether it is a plain file with this content."""
    with suppress(OSError), opened(file, follow=False) as stream:
        return bool(digest) and sha256(stream.read(MAX_FILE_BYTES)).hexdigest() == digest
    return False
