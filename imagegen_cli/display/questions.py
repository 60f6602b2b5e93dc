"""The questions before something is cancelled, in several lengths. Each length names the keys that answer."""

from imagegen_cli.core.errors import error_class
from imagegen_cli.core.language import Message, ngettext
from imagegen_cli.core.task import Failed, Queued
from imagegen_cli.display.context import DrawContext
from imagegen_cli.display.controls import Question, lines_of

Forms = tuple[str, ...]
"""The same question, the longest form first. They are messages: who draws one translates it before it is measured."""
YES_NO = "y/n?"


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
            return Message("end? nothing runs; y/n"), Message("end? y/n"), YES_NO
        case Question.SEND:
            return about_sending(context)


def about_sending(context: DrawContext) -> Forms:
    """Asked in a prompt line, above the limits of the settings."""
    outcome = context.ui.outcome
    tasks = ngettext("{count} task", "{count} tasks", outcome.tasks)
    what = f" {context.theme.dot} ".join(map(context.word, outcome.words))
    forms = [
        Message("send {tasks}? {what}: {why}; y/n"),
        Message("send {tasks}? {why}; y/n"),
        Message("send {tasks}? y/n"),
    ]
    return *(form.format(tasks=tasks, what=what, why=outcome.asks) for form in forms), Message("send? y/n"), YES_NO


def about_one(context: DrawContext) -> Forms:
    row = context.board.rows.get(context.ui.chosen) if context.ui.chosen is not None else None
    if row is not None and isinstance(row.task.state, Queued):
        forms = [Message("cancel {id}? it was not sent, nothing is spent; y/n"), Message("cancel {id}? y/n")]
    else:
        forms = [
            Message("cancel {id}? credits may be used already; y/n"),
            Message("cancel {id}? may cost credits; y/n"),
            Message("cancel {id}? y/n"),
        ]
    return *(form.format(id=context.ui.chosen) for form in forms), YES_NO


def about_retry(context: DrawContext) -> Forms:
    """It pays, so the longest form says what, and whether the service has refused just this already."""
    row = context.board.rows.get(context.ui.chosen) if context.ui.chosen is not None else None
    state = row.task.state if row is not None else None
    if isinstance(state, Failed) and error_class(state.reason).is_refused_again:
        forms = [
            Message("send {id} again, as new paid work? the service refused it as it stands; y/n"),
            Message("send {id} again, refused before, new paid work? y/n"),
        ]
    else:
        forms = [Message("send {id} again, as new paid work? y/n")]
    forms += [Message("send {id} again, new paid work? y/n"), Message("send {id} again? pays; y/n")]
    return *(form.format(id=context.ui.chosen) for form in forms), YES_NO


def about_waiting(waiting: int) -> Forms:
    if waiting > 1:
        forms = [
            Message("cancel all {count} that wait? not sent, nothing is spent; y/n"),
            Message("cancel all {count} that wait? y/n"),
        ]
    else:
        forms = [
            Message("cancel the one that waits? not sent, nothing is spent; y/n"),
            Message("cancel the one that waits? y/n"),
        ]
    return *(form.format(count=waiting) for form in (*forms, Message("cancel {count}? y/n"))), YES_NO


def about_all(context: DrawContext) -> Forms:
    """If tasks were sent, a third answer lets them finish."""
    sent, waiting, dot = context.board.running, context.board.waiting, context.theme.dot
    if not sent:
        forms = [
            Message("stop? {waiting} not sent, nothing is spent; y/n"),
            Message("stop? {waiting} not sent; y/n"),
            Message("stop? y/n"),
        ]
    elif context.ui.draining:
        forms = [
            Message("stop now? {sent} sent, credits may be used; y/n"),
            Message("stop now? {sent} sent; y/n"),
            Message("stop? y/n"),
        ]
    else:
        forms = [
            Message(
                "stop? {sent} sent, may be charged: y cancels {dot} w lets them finish, sends no more {dot} n goes on"
            ),
            Message("stop? {sent} sent: y cancels {dot} w lets them finish, sends no more {dot} n goes on"),
            Message("stop? y cancel {sent} {dot} w let {sent} finish {dot} n"),
            Message("stop? y/w/n"),
        ]
    last = "y/w/n?" if sent and not context.ui.draining else YES_NO
    return *(form.format(sent=sent, waiting=waiting, dot=dot) for form in forms), last


def lines_offered(context: DrawContext) -> Forms:
    """What the keys do with a pasted list."""
    outcome, dot = context.ui.outcome, context.theme.dot
    lines = ngettext("{count} line", "{count} lines", len(lines_of(context.ui.text)))
    tasks = ngettext("{count} task", "{count} tasks", outcome.tasks)
    if not context.ui.focus:
        forms = [Message("{lines}, not added {dot} tab goes on"), Message("tab goes on")]
        last = "tab"
    elif not outcome.good:
        forms = [
            Message("{lines} cannot be added {dot} tab makes one prompt {dot} esc none"),
            Message("tab makes one prompt {dot} esc none"),
        ]
        last = "tab/esc?"
    else:
        forms = [
            Message("{lines}: enter adds {tasks} {dot} tab makes one prompt {dot} esc none"),
            Message("{lines}: enter adds {tasks} {dot} tab makes one prompt"),
            Message("{lines}: enter {tasks} {dot} tab one"),
        ]
        last = "enter/tab/esc?"
    return *(form.format(lines=lines, tasks=tasks, dot=dot) for form in forms), last
