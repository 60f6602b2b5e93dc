"""What a printed command says so that tasks are sent as before: the budget that held, and what a worker was told."""

import shlex
from collections.abc import Callable, Iterable
from typing import NamedTuple

from imagegen_cli.commands.options import Progress, RunOptions, is_typed
from imagegen_cli.core.task import ASSUMED_PRICE, BUDGET, Task


class OfProcess(NamedTuple):
    """An option that belongs to the process that carries a task, so that no task can keep it."""

    field: str
    option: str
    words: Callable[[RunOptions], str]
    """The option as `imagegen work` takes it."""
    always: bool = False
    """Whether it changes what comes of the tasks. Others, from a variable, are of this machine as its settings are."""


OF_PROCESS = (
    OfProcess("hook", "--exec", lambda run: f"--exec {shlex.quote(run.hook or '')}", always=True),
    OfProcess("timeout", "--timeout", lambda run: f"--timeout {run.timeout:g}", always=True),
    OfProcess("concurrency", "--concurrency", lambda run: f"-j {run.concurrency or 'unlimited'}"),
    OfProcess("notify", "--notify", lambda _: "--notify"),
    OfProcess("preview", "--preview", lambda run: f"--preview {run.preview}"),
    OfProcess("progress", "--progress", lambda run: f"--progress {run.progress}"),
)


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


def of_process(run: RunOptions) -> str:
    """The options that were given and belong to the process which carries the tasks, as `imagegen work` takes them."""
    return " ".join(one.words(run) for one in OF_PROCESS if _is_given(one, run))


def _is_given(one: OfProcess, run: RunOptions) -> bool:
    value = getattr(run, one.field)
    if value == RunOptions._field_defaults[one.field] or value in (Progress.JSON, Progress.QUIET):
        return False
    return one.always or is_typed(one.option)
