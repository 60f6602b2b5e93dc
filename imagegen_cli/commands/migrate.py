"""`imagegen history migrate`: copies a history to another place, of either kind."""

import sys
from contextlib import closing

from imagegen_cli.commands.console import say
from imagegen_cli.commands.histories import is_address, open_place
from imagegen_cli.core.errors import NothingToDo, UsageError
from imagegen_cli.core.language import Message, ngettext
from imagegen_cli.core.text import Printer
from imagegen_cli.settings.paths import expanded


def migrate(source: str, target: str) -> int:
    """Copy everything and prove it; where something goes wrong, the target is as it was."""
    from imagegen_cli.storage import copying  # noqa: PLC0415 - few people copy a history

    if source == target:
        raise UsageError(Message("both are the same history"), hint=Message("name another place for the copy"))
    if not is_address(source) and not expanded(source).exists():
        message = Message("there is no history {name}").format(name=source)
        raise NothingToDo(message, hint=Message("imagegen config path names yours"))
    with closing(open_place(source)) as old, closing(open_place(target)) as new:
        copied = copying.copy(old, new)
        data = Printer(sys.stdout)
        for table in copied:
            data.line(f"{table.table} {table.rows} {table.digest}")
        tasks = next(table.rows for table in copied if table.table == "task")
        copied_all = ngettext(
            "{count} task with all that is known of them are in {name}; every row was compared",
            "{count} tasks with all that is known of them are in {name}; every row was compared",
            tasks,
            name=new.name,
        )
        say(copied_all)
        if new.is_remote:
            say(Message('use it: history = "postgresql://…" in the settings, or IMAGEGEN_HISTORY'))
    return 0
