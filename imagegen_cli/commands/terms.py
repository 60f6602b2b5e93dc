"""What a command says that sends tasks again, so that the budget which held for them holds for it too."""

import shlex
from collections.abc import Iterable

from imagegen_cli.core.task import ASSUMED_PRICE, BUDGET, Task


def terms(budget: str, assume_price: str) -> str:
    """The options of a budget and an assumed price, with a blank before each; empty where there are none."""
    options = (("--budget", budget), ("--assume-price", assume_price))
    return "".join(f" {name} {shlex.quote(''.join(text.split()))}" for name, text in options if text.strip())


def queued_terms(task: Task) -> str:
    """Those of the command that has queued a task."""
    return terms(str(task.facts.get(BUDGET, "")), str(task.facts.get(ASSUMED_PRICE, "")))


def sending(tasks: Iterable[Task]) -> str:
    """The command that sends these tasks again; one for each budget with which they were queued."""
    from imagegen_cli.commands.console import numbers  # noqa: PLC0415 - most who ask for `queued_terms` need no console

    found: dict[str, list[int]] = {}
    for task in tasks:
        found.setdefault(queued_terms(task), []).append(task.id)
    return "; ".join(f"imagegen retry {numbers(ids)}{more}" for more, ids in found.items())
