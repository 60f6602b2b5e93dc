"""Addresses of a shared history, also odd ones: one parser, and no part of a password is ever said."""

from pathlib import Path

import pytest

from imagegen_cli.core.database_address import database_address, is_address
from imagegen_cli.core.errors import HistoryError
from imagegen_cli.core.masking import without_user
from imagegen_cli.storage.store import Store
from tests import postgres
from tests.histories import outside
from tests.program import Ended, Program

PARTS = ("wr0ng", "pa55", "s3c")
"""Each of them is part of a password below, and of nothing else."""
PASSWORDS = (
    "wr0ngpa55", "wr0ng/pa55", "wr0ng@pa55", "wr0ng#pa55", "wr0ng?pa55", "wr0ng:pa55", "wr0ng[pa55", "wr0ng]pa55",
    "wr0ng%pa55",
    "wr0ng%2Fpa55", "wr0ng%40pa55", "wr0ng%zzpa55", "wr0ng pa55", "wr0ng&pa55", "wr0ng=pa55", "wr0ng\\pa55",
    "wr0ng,pa55",
    "wr0ng//pa55", "/wr0ng", "@wr0ng", "#wr0ng", "?wr0ng", ":wr0ng", "wr0ng/", "wr0ng@", "wr0ng?", "wr0ng#", "wr0ng:",
    "wr0ng/s3c@pa55", "wr0ng@s3c/pa55", "wr0ng?a=pa55", "wr0ng/x?y=s3c@pa55", "5432/wr0ng", "5432@wr0ng",
    "5432?wr0ng=s3c",
    "w\u00f6wr0ng", "wr0ng\u3000pa55", "wr0ng\tpa55", "wr0ng%00pa55", "'wr0ng'", '"wr0ng"', "wr0ng;pa55",
    "wr0ng|pa55", "wr0ng%20",
)  # fmt: skip
WHOLE = (
    "postgresql://h:1/d?password=wr0ng", "postgresql://h:1/d?pass%77ord=wr0ng", "postgresql://h:1/d?PASSWORD=wr0ng",
    "postgresql://h:1/d?sslpassword=wr0ng", "postgresql://h:1/d?sslmode=disable&password=wr0ng@pa55",
    "postgresql://h:1?password=wr0ng",
    "postgresql://odd%3Awr0ng@h:1/d", "postgresql://odd%3Awr0ng%40h:1/d", "postgresql:/odd:wr0ng@h/d",
    "postgresql:odd:wr0ng@h/d",
    "POSTGRESQL://odd:wr0ng@h/d", "postgresql+psycopg://odd:wr0ng@h/d", "mysql://odd:wr0ng@h/d",
    "postgres:///odd:wr0ng@h/d",
    "host=h user=odd password=wr0ng", "password=wr0ng host=h", "postgresql://odd:wr0ng@", "postgresql://odd:wr0ng",
    "postgresql://h/d?options=-cpassword%3Dwr0ng", "postgresql://h/d?user=odd:wr0ng@x",
    "postgresql://h/d?dbname=host%3Dx%20password%3Dwr0ng",
    "https://odd:wr0ng@h/d",
)  # fmt: skip
ADDRESSES = (*(f"postgresql://odd:{password}@127.0.0.1:1/d" for password in PASSWORDS), *WHOLE)
GOOD = (
    "postgresql://ann@host/x", "postgresql://host:5432/x", "postgresql://host/x?sslmode=require",
    "postgres://ann@host", "postgresql://",
    "postgresql:///x?host=/run/postgresql&port=5433&user=ann", "postgresql://ann@%2Frun%2Fpostgresql:5433/x",
    "postgresql://ann@a:1,b:2/x?target_session_attrs=read-write", "postgresql://ann@[::1]:5432/x",
    "postgresql://ann%40corp@host/x",
    "postgresql://ann@host/x?options=-csearch_path%3Dours,pg_catalog", "postgresql://h/x?sslrootcert=/etc/ca.pem",
)  # fmt: skip


def is_clean(ended: Ended) -> bool:
    return not [part for part in PARTS if part in ended.out + ended.err] and "Traceback" not in ended.err


@pytest.mark.parametrize("address", ADDRESSES)
def test_nothing_of_a_password_is_shown(address: str) -> None:
    found = database_address(address)
    assert not any(part in f"{found.shown}{found.name}{found.trouble('it')}" for part in PARTS)
    assert found.template or found.has_password
    assert is_address(address)


@pytest.mark.parametrize("address", GOOD)
def test_an_address_without_a_password_is_shown_as_it_is(address: str) -> None:
    found = database_address(address)
    assert (found.shown, found.template, found.has_password) == (address, "", False)


@pytest.mark.parametrize(
    "path", ["history.db", "C:/home/history.db", "a:b.db", "./x", "/home/user/history.db", "C:\\x.db"]
)
def test_a_path_is_no_address(path: str) -> None:
    assert not is_address(path)


@pytest.mark.parametrize("text", ["postgresql://ann@127.0.0.1/x?a=b", "postgres:/x", "sub/postgresql:/x", "mysql://x"])
def test_an_address_is_never_the_path_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(HistoryError, match="taken for the path of a file"):
        Store(Path(text))
    assert list(tmp_path.iterdir()) == []


def test_the_address_of_a_service_hides_a_password_with_any_sign() -> None:
    for sign in "/?#@:":
        assert "pa55" not in without_user(f"https://me:x{sign}pa55@example.org/v1")
    assert without_user("https://example.org/@scope/x") == "https://example.org/@scope/x"


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path)


SHOWN = (
    ("config", "show"), ("config", "show", "--origin"), ("config", "path"), ("config", "check"), ("list",
    "--json"), ("doctor", "--json"),
    ("work", "--once"),
)  # fmt: skip


@pytest.mark.parametrize("address", ADDRESSES[::16])
def test_no_command_shows_a_password(program: Program, address: str) -> None:
    text = "".join(f"\\u{ord(sign):04x}" for sign in address)
    program.configure(f'history = "{text}"\nhistory_password = "s3cretword"\n')
    for words in SHOWN:
        ended = program.run(*words)
        assert is_clean(ended), (words, ended)
        assert ended.code or words[:2] == ("config", "show"), (words, ended)
    for words in SHOWN:
        assert is_clean(program.run(*words, IMAGEGEN_HISTORY=address)), words
    program.configure("")
    for key, value in (("history", address), ("history_password", "s3cretword")):
        ended = program.run("config", "set", key, value)
        assert ended.code in (2, 3), ended
        assert is_clean(ended), ended
    for places in ((address, "x.db"), ("x.db", address)):
        ended = program.run("history", "migrate", *places)
        assert ended.code in (2, 3, 4), ended
        assert is_clean(ended), ended
    assert {path.name for path in program.folder.iterdir()} <= {"home"}


def test_the_variable_is_named_as_the_origin(program: Program) -> None:
    ended = program.run("config", "show", "--origin", IMAGEGEN_HISTORY="postgresql://ann:wr0ng@127.0.0.1:1/x")
    assert 'history = "postgresql://****@127.0.0.1:1/x"  # $IMAGEGEN_HISTORY' in ended.out


@pytest.mark.parametrize("words", [["--provider"], ["--model"], ["--search"], ["--folder"]])
def test_bytes_that_are_no_text_do_not_make_a_history_damaged(program: Program, words: list[str]) -> None:
    assert program.run("run", "a cat", "--size", "64x64", "-q").code == 0
    ended = program.run("list", *words, "\udcff")
    assert "damaged" not in ended.err
    assert "Traceback" not in ended.err
    assert ended.code in (0, 2, 4)


@pytest.mark.skipif(bool(postgres.missing()), reason=postgres.missing())
def test_a_password_may_have_any_letters(program: Program) -> None:
    program.configure(f'history = "{postgres.server().address()}"\nhistory_password = "env:WORD"\n')
    assert program.run("list", WORD="p\u00e4ss w\u00f6rd \u5bc6").code == 4
    assert program.run("list", WORD="two\nlines").code == 3


@pytest.mark.skipif(bool(postgres.missing()), reason=postgres.missing())
def test_a_newer_schema_of_a_server_is_met_by_an_upgrade_alone(program: Program) -> None:
    address = postgres.server().address()
    assert program.run("list", IMAGEGEN_HISTORY=address).code == 4
    with outside(address) as db:
        db.execute("UPDATE meta SET value = '9999' WHERE name = 'schema'")
    ended = program.run("list", IMAGEGEN_HISTORY=address)
    assert "newer imagegen" in ended.err
    assert "upgrade imagegen here" in ended.err
    assert "IMAGEGEN_HOME" not in ended.err
