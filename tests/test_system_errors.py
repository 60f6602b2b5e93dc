"""What the operating system says of an error: its own words in English, and translated by the number of the error."""

import ast
import errno
import os
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from imagegen_cli.core import language
from imagegen_cli.core.errors import words_of
from imagegen_cli.core.language import CHINESE, Message, parts_of, restored, translated
from imagegen_cli.core.system_errors import LOOK_UP_SENSES, SENSES, cause, in_full
from imagegen_cli.settings.language import use_language
from tests.program import Program
from tests.test_ranks import modules

MET = (
    *("ENOENT", "EACCES", "EPERM", "ENOSPC", "EDQUOT", "EROFS", "EISDIR", "ENOTDIR", "EEXIST", "ENAMETOOLONG"),
    *("EMFILE", "ELOOP", "EFBIG", "EIO", "ETXTBSY"),
    *("ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "EHOSTUNREACH", "ENETUNREACH"),
)
"""What people meet."""
SIGNS = range(0x4E00, 0xA000)


@pytest.fixture
def chinese() -> Iterator[None]:
    use_language(CHINESE)
    yield
    language.use(None)


def is_chinese(text: str) -> bool:
    return any(ord(sign) in SIGNS for sign in text)


def of(name: str, *more: object) -> OSError:
    number = getattr(errno, name)
    return OSError(number, os.strerror(number), *more)


@pytest.mark.parametrize("name", sorted({*SENSES, *MET}))
def test_english_keeps_the_words_of_the_system_and_chinese_translates_them(name: str, chinese: None) -> None:
    if not hasattr(errno, name):
        pytest.skip("this system has no such number")
    error = of(name)
    assert cause(error) == os.strerror(getattr(errno, name))
    assert is_chinese(translated(cause(error)))
    for one in (error, of(name, "a b'.png"), of(name, b"x"), of(name, "from", None, "to")):
        assert in_full(one) == words_of(one) == str(one)
    assert "a.png" in translated(in_full(of(name, "a.png")))
    assert is_chinese(translated(in_full(of(name, "a.png"))))


@pytest.mark.parametrize("name", LOOK_UP_SENSES)
def test_a_host_that_is_not_found_has_numbers_of_its_own(name: str, chinese: None) -> None:
    error = socket.gaierror(getattr(socket, name), "the words of this system")
    assert cause(error) == "the words of this system"
    assert in_full(error) == str(error)
    assert is_chinese(translated(cause(error)))


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EBADMSG, os.strerror(errno.EBADMSG)),
        OSError("no number"),
        OSError(),
        ssl.SSLError(1, "[SSL] PEM lib"),
        ValueError("embedded null byte"),
        RuntimeError("Could not determine home directory."),
    ],
)
def test_other_words_stay_as_they_are(error: Exception, chinese: None) -> None:
    assert in_full(error) == str(error)
    assert (getattr(error, "strerror", None) or str(error)) in translated(in_full(error))
    assert translated(cause(error)) == cause(error) == (getattr(error, "strerror", None) or str(error))


def test_words_of_this_program_go_before_those_of_the_system(chinese: None) -> None:
    error = OSError(errno.ENOENT, Message("it is gone already"))
    assert cause(error) == in_full(error) == words_of(error) == "it is gone already"
    assert is_chinese(translated(cause(error)))


@pytest.mark.parametrize(
    ("text", "is_told"),
    [
        ("Multiple exceptions: [Errno 111] Connect call failed ('::1', 9), [Errno 111] Connect call failed", True),
        ("Multiple exceptions: [Errno 111] Connect call failed ('::1', 9), [Errno 2] Something", False),
    ],
)
def test_attempts_to_connect_that_failed_alike_have_one_meaning(text: str, is_told: bool, chinese: None) -> None:
    error = OSError(text.replace("111", str(errno.ECONNREFUSED)))
    assert in_full(error) == str(error)
    assert is_chinese(translated(in_full(error))) == is_told


def test_the_history_keeps_the_meaning(chinese: None) -> None:
    said = Message("cannot write {path}: {why}").format(path="x", why=cause(of("ENOSPC")))
    again = restored(str(said), parts_of(said))
    assert (again, translated(again)) == (said, translated(said))
    assert os.strerror(errno.ENOSPC) not in translated(again)


def test_a_sentence_of_the_program_is_all_in_one_language(tmp_path: Path) -> None:
    missing = str(tmp_path / "missing.txt")
    words = os.strerror(errno.ENOENT)
    program = Program(tmp_path)
    english, chinese = program.run("batch", missing), program.run("batch", missing, "--lang", "zh")
    assert f"{missing} cannot be read: {words}\n" in english.err
    assert f"无法读取 {missing}：没有这个文件或文件夹\n" in chinese.err
    assert chinese.code == english.code == 2


def test_a_service_that_is_not_there_is_told_in_one_language(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # no server listens at this port, and no other program takes it
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
        program = Program(tmp_path, f'[providers.studio]\nkind = "dreamina"\nbase_url = "{address}"\n')
        english, chinese = (program.run("doctor", "-p", "studio", "--lang", name) for name in ("en", "zh"))
        assert "Connect call failed" in english.out + english.err
        said = chinese.out + chinese.err
    assert "连接被拒绝" in said
    assert "failed" not in said


# Elsewhere

HOME = "core.system_errors"


def strays(module: str, tree: ast.Module) -> Iterator[str]:
    """Where the words of an error of the system are taken without their translation."""
    for node in ast.walk(tree):
        is_taken = isinstance(node, ast.Attribute) and node.attr == "strerror" and ast.unparse(node.value) != "os"
        is_asked = isinstance(node, ast.Call) and any(ast.unparse(one) == "'strerror'" for one in node.args)
        if is_taken or is_asked:
            yield f"{module}:{node.lineno}"  # type: ignore[attr-defined]
        if isinstance(node, ast.ExceptHandler) and node.type is not None and _is_of_the_system(node.type):
            yield from (f"{module}:{line}" for line in _made_plain(node))


def _is_of_the_system(caught: ast.expr) -> bool:
    return any(name in ast.unparse(caught) for name in ("OSError", "PermissionError", "FileNotFoundError"))


def _made_plain(handler: ast.ExceptHandler) -> Iterator[int]:
    """The lines that make a text of the caught error."""
    for node in ast.walk(handler):
        if isinstance(node, ast.FormattedValue) and ast.unparse(node.value) == handler.name:
            yield node.lineno
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "str":
            yield from (node.lineno for one in node.args if ast.unparse(one) == handler.name)
        if isinstance(node, ast.keyword) and ast.unparse(node.value) == handler.name:
            yield node.value.lineno


def test_the_words_of_the_system_are_taken_in_one_place() -> None:
    found = [one for module, tree in modules().items() if module != HOME for one in strays(module, tree)]
    assert found == []


@pytest.mark.parametrize(
    "code",
    [
        "try: x\nexcept OSError as error: y = error.strerror",
        "try: x\nexcept OSError as error: y = getattr(error, 'strerror', '')",
        "try: x\nexcept (ValueError, OSError) as error: y = f'{error}'",
        "try: x\nexcept PermissionError as error: y = str(error)",
        "try: x\nexcept OSError as error: y = say('{why}', why=error)",
    ],
)
def test_what_takes_them_elsewhere_is_found(code: str) -> None:
    assert list(strays("x", ast.parse(code)))
