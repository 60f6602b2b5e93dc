"""The questions before something is cancelled, in several lengths. Each length names the keys that answer."""

from imagegen_cli.core.errors import error_class
from imagegen_cli.core.task import Failed, Queued
from imagegen_cli.core.text import amount, literal
from imagegen_cli.display.context import DrawContext
from imagegen_cli.display.controls import Question, lines_of

Forms = tuple[str, ...]
"""The same question, the longest form first."""


def questions(context: DrawContext) -> Forms:
    match context.ui.question:
        case Question.TASK:
            return about_one(context)
        case Question.RETRY:
            return about_retry(context)
        case Question.WAITING:
            return about_waiting(context.board.waiting)
        case Question.STOP:
            return about_all(context)
        case Question.END:
            return "end? nothing runs; y/n", "end? y/n", "y/n?"
        case Question.SEND:
            return about_sending(context)


def about_sending(context: DrawContext) -> Forms:
    """Asked in a prompt line, above the limits of the settings."""
    outcome = context.ui.outcome
    tasks = amount(outcome.tasks, "task")
    what = literal(f" {context.theme.dot} ".join(outcome.words), context.theme.encoding)
    return (
        f"send {tasks}? {what}: {outcome.asks}; y/n",
        f"send {tasks}? {outcome.asks}; y/n",
        f"send {tasks}? y/n",
        "send? y/n",
        "y/n?",
    )


def about_one(context: DrawContext) -> Forms:
    question = f"cancel {context.ui.chosen}?"
    row = context.board.rows.get(context.ui.chosen) if context.ui.chosen is not None else None
    if row is not None and isinstance(row.task.state, Queued):
        return f"{question} it was not sent, nothing is spent; y/n", f"{question} y/n", "y/n?"
    return (
        f"{question} credits may be used already; y/n",
        f"{question} may cost credits; y/n",
        f"{question} y/n",
        "y/n?",
    )


def about_retry(context: DrawContext) -> Forms:
    """It pays, so the longest form says what, and whether the service has refused just this already."""
    row = context.board.rows.get(context.ui.chosen) if context.ui.chosen is not None else None
    state = row.task.state if row is not None else None
    refused = isinstance(state, Failed) and error_class(state.reason).is_refused_again
    question, pays = f"send {context.ui.chosen} again", "new paid work"
    return (
        f"{question}, as {pays}? {'the service refused it as it stands; ' if refused else ''}y/n",
        f"{question}, {'refused before, ' if refused else ''}{pays}? y/n",
        f"{question}, {pays}? y/n",
        f"{question}? pays; y/n",
        "y/n?",
    )


def about_waiting(waiting: int) -> Forms:
    question = f"cancel all {waiting} that wait?" if waiting > 1 else "cancel the one that waits?"
    return f"{question} not sent, nothing is spent; y/n", f"{question} y/n", f"cancel {waiting}? y/n", "y/n?"


def about_all(context: DrawContext) -> Forms:
    """If tasks were sent, a third answer lets them finish."""
    sent, waiting, dot = context.board.running, context.board.waiting, context.theme.dot
    if not sent:
        return (
            f"stop? {waiting} not sent, nothing is spent; y/n",
            f"stop? {waiting} not sent; y/n",
            "stop? y/n",
            "y/n?",
        )
    if context.ui.draining:
        return f"stop now? {sent} sent, credits may be used; y/n", f"stop now? {sent} sent; y/n", "stop? y/n", "y/n?"
    return (
        f"stop? {sent} sent, may be charged: y cancels {dot} w lets them finish, sends no more {dot} n goes on",
        f"stop? {sent} sent: y cancels {dot} w lets them finish, sends no more {dot} n goes on",
        f"stop? y cancel {sent} {dot} w let {sent} finish {dot} n",
        "stop? y/w/n",
        "y/w/n?",
    )


def lines_offered(context: DrawContext) -> Forms:
    """What the keys do with a pasted list."""
    outcome, dot = context.ui.outcome, context.theme.dot
    lines, tasks = amount(len(lines_of(context.ui.text)), "line"), amount(outcome.tasks, "task")
    if not context.ui.focus:
        return f"{lines}, not added {dot} tab goes on", "tab goes on", "tab"
    if not outcome.good:
        one = f"tab makes one prompt {dot} esc none"
        return f"{lines} cannot be added {dot} {one}", one, "tab/esc?"
    return (
        f"{lines}: enter adds {tasks} {dot} tab makes one prompt {dot} esc none",
        f"{lines}: enter adds {tasks} {dot} tab makes one prompt",
        f"{lines}: enter {tasks} {dot} tab one",
        "enter/tab/esc?",
    )
