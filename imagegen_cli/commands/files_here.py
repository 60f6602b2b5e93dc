"""Which queued tasks a worker can carry: those whose reference pictures are on its machine, as they were queued."""

from itertools import zip_longest

from imagegen_cli.core import references
from imagegen_cli.core.language import Message
from imagegen_cli.core.system_errors import cause
from imagegen_cli.core.task import REFERENCE_DIGESTS, Task

Version = tuple[int, int, int, int]
"""What tells that a file may have been replaced: device, inode, size and time of its last change."""


class FilesHere:
    """Compares files with what was queued; a file is read once in each of its versions."""

    def __init__(self) -> None:
        self._digests: dict[str, tuple[Version, str]] = {}

    def lacked_by(self, task: Task) -> str:
        """Why a task cannot be carried here: a message about the first file that is missing or differs; else empty."""
        files = [one for one in task.request.references if not references.is_remote(one)]
        wanted = str(task.facts.get(REFERENCE_DIGESTS, "")).split()
        pairs = zip_longest(files, wanted[: len(files)], fillvalue="")
        return next((why for path, digest in pairs if (why := self._fault_of(path, digest))), "")

    def _fault_of(self, path: str, wanted: str) -> str:
        """`wanted`: the digest of the file that was queued; empty where an earlier version queued it."""
        try:
            found = self._digest_of(path)
        except FileNotFoundError:
            return Message("{path} is not on this machine").format(path=path)
        except (OSError, ValueError) as error:
            return Message("{path} cannot be read: {why}").format(path=path, why=cause(error))
        if wanted and found != wanted:
            return Message("{path} is another picture here than the one that was queued").format(path=path)
        return ""

    def _digest_of(self, path: str) -> str:
        """The SHA-256 in hex. Raises OSError and ValueError."""
        with references.opened(path, follow=False) as file:
            version = references.version_of(file)
            if (known := self._digests.get(path)) is None or known[0] != version:
                known = self._digests[path] = version, references.digest_of(file)
            return known[1]
