"""What the operating system says of an error, as messages: in English its own words, and translated by the number.

The same number has other words in each system's library; English keeps them, also in JSON and in the history.
"""

import errno
import re

from imagegen_cli.core.language import Message, in_sense

SENSES = {
    "ENOENT": Message("No such file or directory"),
    "EACCES": Message("Permission denied"),
    "EPERM": Message("Operation not permitted"),
    "ENOSPC": Message("No space left on device"),
    "EDQUOT": Message("Disk quota exceeded"),
    "EROFS": Message("Read-only file system"),
    "EISDIR": Message("Is a directory"),
    "ENOTDIR": Message("Not a directory"),
    "ENOTEMPTY": Message("Directory not empty"),
    "EEXIST": Message("File exists"),
    "ENAMETOOLONG": Message("File name too long"),
    "EMFILE": Message("Too many open files"),
    "ENFILE": Message("Too many open files in system"),
    "ELOOP": Message("Too many levels of symbolic links"),
    "EFBIG": Message("File too large"),
    "EXDEV": Message("Invalid cross-device link"),
    "EIO": Message("Input/output error"),
    "EBUSY": Message("Device or resource busy"),
    "EBADF": Message("Bad file descriptor"),
    "EINVAL": Message("Invalid argument"),
    "ENXIO": Message("No such device or address"),
    "ENODEV": Message("No such device"),
    "ESTALE": Message("Stale file handle"),
    "ENOMEM": Message("Cannot allocate memory"),
    "EAGAIN": Message("Resource temporarily unavailable"),
    "ENOEXEC": Message("Exec format error"),
    "ETXTBSY": Message("Text file busy"),
    "EPIPE": Message("Broken pipe"),
    "ECONNREFUSED": Message("Connection refused"),
    "ECONNRESET": Message("Connection reset by peer"),
    "ECONNABORTED": Message("Software caused connection abort"),
    "ETIMEDOUT": Message("Connection timed out"),
    "EHOSTUNREACH": Message("No route to host"),
    "ENETUNREACH": Message("Network is unreachable"),
    "ENETDOWN": Message("Network is down"),
    "EADDRNOTAVAIL": Message("Cannot assign requested address"),
}
"""What the numbers mean that people meet; not every system has all of them."""
LOOK_UP_SENSES = {
    "EAI_NONAME": Message("Name or service not known"),
    "EAI_AGAIN": Message("Temporary failure in name resolution"),
}
"""The same for a name of a host that was looked up, which has numbers of its own."""
NUMBER = r"\[Errno (\d+)\]"


def cause(error: BaseException) -> str:
    """The reason of an error: what the system says, or else the words of the exception.

    A path with NUL in it is a ValueError, and the home of an unknown user a RuntimeError.
    """
    if (said := _own_words(error)) is not None:
        return said
    reason = getattr(error, "strerror", None)
    return _by_number(error, str(reason)) if reason else str(error)


def in_full(error: BaseException) -> str:
    """`str(error)`, as a message: `[Errno 2] No such file or directory: 'a.png'`."""
    if (said := _own_words(error)) is not None:
        return said
    text = str(error)
    reason = getattr(error, "strerror", None)
    if not isinstance(error, OSError) or not reason:
        return _of_several(text) if isinstance(error, OSError) else text
    values = {"number": error.errno, "why": _by_number(error, reason), "path": error.filename}
    alone, with_path = Message("[Errno {number}] {why}"), Message("[Errno {number}] {why}: {path!r}")
    made = alone.format(**values) if error.filename is None else with_path.format(**values)
    return made if made == text else text


def _own_words(error: BaseException) -> Message | None:
    """The message that an error was made of by this program."""
    return next((one for one in error.args if isinstance(one, Message)), None)


def _by_number(error: BaseException, words: str) -> str:
    """The words with the meaning of the error's number; as they are where that is another library's, as OpenSSL's."""
    number = getattr(error, "errno", None)
    sense = None
    if type(error).__name__ == "gaierror":
        import socket  # noqa: PLC0415 - it is there where it raised this

        sense = next((one for name, one in LOOK_UP_SENSES.items() if getattr(socket, name, None) == number), None)
    elif type(error).__module__ == "builtins":
        sense = _sense(number)
    return in_sense(words, sense) if sense is not None else words


def _of_several(text: str) -> str:
    """The words of several attempts to connect, which have one meaning where all failed alike."""
    numbers = set(re.findall(NUMBER, text))
    sense = _sense(int(*numbers)) if len(numbers) == 1 else None
    return in_sense(text, sense) if sense is not None else text


def _sense(number: int | None) -> Message | None:
    return next((sense for name, sense in SENSES.items() if getattr(errno, name, None) == number), None)
