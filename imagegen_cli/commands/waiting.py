"""What is said of tasks that `--queue` has planned and that no worker has taken: no process ended that had them."""

from imagegen_cli.core.language import Message, ngettext


def wait_for_workers(count: int) -> Message:
    return ngettext(
        "{count} task waits for workers, and nothing of it is sent yet: imagegen work",
        "{count} tasks wait for workers, and nothing of them is sent yet: imagegen work",
        count,
    )
