"""Opens the history: the file of this person, or the database that a team shares."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from imagegen_cli.core.errors import ConfigError, HistoryError, UsageError
from imagegen_cli.core.language import Message
from imagegen_cli.settings.paths import expanded, history_file
from imagegen_cli.settings.shared_history import (
    WHERE_PASSWORDS_ARE,
    SharedHistory,
    network_disk,
    shared_history,
)
from imagegen_cli.storage.store import COPY_AGAIN, Store

if TYPE_CHECKING:
    from imagegen_cli.core.database_address import DatabaseAddress

INSTALL = Message("install its driver: pip install 'imagegen-cli[postgres]'")
NETWORK_DISK = "IMAGEGEN_NETWORK_DISK"
"""Set to 1, it lets a history be on a network file system: for people who know that one machine alone uses it."""
SHARE_OTHERWISE = Message(
    'share one by PostgreSQL: history = "postgresql://user@host/database" (docs/team.md); or set IMAGEGEN_HOME to a'
    " folder of this machine; {variable}=1 goes on, if no other machine uses it"
)


def open_history() -> Store:
    """The history of this person or of the team. Raises ConfigError and HistoryError."""
    shared = shared_history()
    store = _of_file(history_file()) if shared is None else _of_server(shared)
    if store.unfinished_copy:
        store.close()
        message = Message("the history {name} is a copy that is not finished: its tasks may still go on elsewhere")
        raise HistoryError(message.format(name=store.name), hint=COPY_AGAIN)
    return store


def has_history() -> bool:
    """Whether there may be tasks: a server may always have some."""
    return shared_history() is not None or history_file().exists()


def history_name() -> str:
    """What a person is told about where the history is."""
    shared = shared_history()
    return str(history_file()) if shared is None else _address(shared.address).name


def open_place(text: str) -> Store:
    """The history at a path or an address that a person typed. Raises UsageError."""
    if not is_address(text):
        return _of_file(expanded(text))
    address = _address(text)
    if trouble := address.trouble(Message("what was typed")):
        from imagegen_cli.core.database_address import CODES  # noqa: PLC0415 - see below

        raise UsageError(trouble, hint=CODES)
    if address.has_password:
        hint = Message("other users see it in the list of processes; keep it {where}").format(where=WHERE_PASSWORDS_ARE)
        raise UsageError(Message("the address holds a password"), hint=hint)
    shared = shared_history()
    return _of_server(SharedHistory(text.strip(), shared.password if shared is not None else ""))


def _of_file(path: Path) -> Store:
    kind = network_disk(path.parent)
    if kind and os.environ.get(NETWORK_DISK) != "1":
        message = Message("the history {path} is on a network disk ({kind}), where several machines would damage it")
        raise ConfigError(message.format(path=path, kind=kind), hint=SHARE_OTHERWISE.format(variable=NETWORK_DISK))
    return Store(path)


def _of_server(shared: SharedHistory) -> Store:
    try:
        from imagegen_cli.storage.postgres import PostgresStore  # noqa: PLC0415 - an extra that few people have
    except ImportError as error:
        message = Message("the history is in PostgreSQL, and psycopg is missing here")
        raise ConfigError(message, hint=INSTALL) from error
    return PostgresStore(shared.address, _password(shared.password))


def _password(reference: str) -> str:
    if not reference:
        return ""
    from imagegen_cli.settings.keys import fetched  # noqa: PLC0415 - see above

    return fetched(reference, "history_password", in_header=False).reveal()


def is_address(text: str) -> bool:
    """Whether a person means a server, rightly or not, and not a file."""
    from imagegen_cli.core import database_address  # noqa: PLC0415 - an address is rare

    return database_address.is_address(text)


def _address(text: str) -> "DatabaseAddress":
    from imagegen_cli.core.database_address import database_address  # noqa: PLC0415 - see above

    return database_address(text)
