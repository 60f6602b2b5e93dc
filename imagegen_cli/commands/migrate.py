"""`imagegen history migrate`: copies a history to another place, of either kind."""

import sys
from contextlib import closing

from imagegen_cli.commands.console import say
from imagegen_cli.commands.histories import is_address, open_place
from imagegen_cli.core.errors import NothingToDo, UsageError
from imagegen_cli.core.language import Message, ngettext
from imagegen_cli.core.text import Printer
from imagegen_cli.settings.paths import expanded


def migrate(source: str, target: str, keep: str = "") -> int:
    """Copy everything and prove it; where something goes wrong, the same command again goes on.

    `keep`: "from" or "to", the history that goes on with tasks that have not ended.
    """
    from imagegen_cli.storage import copying  # noqa: PLC0415 - few people copy a history

    if keep not in ("", *copying.Keep):
        raise UsageError(
            Message("--keep takes from or to"), hint=Message("it names the history that goes on with tasks")
        )
    if source == target:
        raise UsageError(Message("both are the same history"), hint=Message("name another place for the copy"))
    if not is_address(source) and not expanded(source).exists():
        message = Message("there is no history {name}").format(name=source)
        raise NothingToDo(message, hint=Message("imagegen config path names yours"))
    with closing(open_place(source)) as old, closing(open_place(target)) as new:
        copied, let_go = copying.copy(old, new, copying.Keep(keep) if keep else None)
        data = Printer(sys.stdout)
        for table in copied:
            data.line(f"{table.table} {table.rows} {table.digest}")
        tasks = next(table.rows for table in copied if table.table == "task")
        copied_all = ngettext(
            "{count} task with all that is known of it is in {name}; every row was compared",
            "{count} tasks with all that is known of them are in {name}; every row was compared",
            tasks,
            name=new.name,
        )
        say(copied_all)
        if let_go:
            names = {"goes_on": new.name, "other": old.name}
            if keep == copying.Keep.FROM:
                names = {"goes_on": old.name, "other": new.name}
            goes_on_with = ngettext(
                "{count} task that had not ended goes on in {goes_on} alone; it is cancelled in {other}",
                "{count} tasks that had not ended go on in {goes_on} alone; they are cancelled in {other}",
                let_go,
                **names,
            )
            say(goes_on_with)
        if new.is_remote:
            say(Message('use it: history = "postgresql://…" in the settings, or IMAGEGEN_HISTORY'))
    return 0
