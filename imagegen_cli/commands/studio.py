"""`studio`: a live table that stays, with a prompt line. What is set by slash commands holds for the next prompts."""

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from imagegen_cli.commands.additions import costs_of, specs_of
from imagegen_cli.commands.console import check_keys, history, settings
from imagegen_cli.commands.generate import common_of
from imagegen_cli.commands.key_queue import on_one_line
from imagegen_cli.commands.line_choices import Models, choices, first_provider
from imagegen_cli.commands.options import GenerateOptions
from imagegen_cli.commands.session import Session
from imagegen_cli.commands.slash_commands import CHANGES, COMMANDS, commands_in, described, parsed
from imagegen_cli.commands.spending import FREE, Spending, check_budget, cost, why_asked
from imagegen_cli.core.errors import ImagegenError, UsageError
from imagegen_cli.core.language import Message, ngettext, tr, translated
from imagegen_cli.core.task import Parent, RunId, Task
from imagegen_cli.core.text import is_capable_terminal
from imagegen_cli.display import can_move
from imagegen_cli.display.key_commands import Choices, Outcome, Typed
from imagegen_cli.display.keys import keyboard
from imagegen_cli.inputs import plan
from imagegen_cli.inputs.prompts import PromptSpec, from_arguments
from imagegen_cli.settings.config import Config
from imagegen_cli.storage.store import Store

SAMPLE = "a"
"""A prompt that every service takes, to check what is set before one is typed."""
HISTORY_PAGE = 200


def studio(options: GenerateOptions) -> int:
    """Show a table that stays, with a prompt line, and return the exit code once it is closed."""
    check_terminal(options)
    config, common = settings(), common_of(options)
    where = plan.place(options.output or Path(config.general.output), options.name or config.general.name)
    where = replace(where, marks=options.run.marks.said)
    with history() as store:
        spending = Spending(config, options.spend, ())
        line = Studio(store, config, where, common, spending, asks=not options.yes)
        providers = line.begin()
        session = Session(store, config, options.run, line.add, line.outcome_of, spending=spending, line=line)
        return session.run_tasks(store.reserve(0).run, (), providers=frozenset(providers))


def check_terminal(options: GenerateOptions) -> None:
    """Raise UsageError where no line can be typed, or where the table was switched off."""
    progress = options.run.display
    if str(options.output) == "-":
        hint = Message("name a folder for the pictures: -o DIR")
        raise UsageError(Message("imagegen studio writes no picture to stdout"), hint=hint)
    shown = progress == "live" or (progress == "auto" and can_move(sys.stderr, os.environ))
    is_typed = sys.stdin is not None and sys.stdin.isatty() and keyboard(sys.stdin, sys.stderr) is not None
    if not (shown and is_typed and is_capable_terminal(sys.stderr, os.environ)):
        raise UsageError(
            Message("imagegen studio needs a terminal to type into, and shows nothing but its table"),
            hint=Message("nothing was sent; imagegen run PROMPT, or imagegen batch - for prompts from stdin"),
        )


class Studio:
    """What stands behind the prompt line: what is set, what it costs, and the tasks that are made of it.

    After `begin` nothing here waits for a service.
    """

    def __init__(
        self, store: Store, config: Config, where: plan.Place, common: PromptSpec, spending: Spending, *, asks: bool
    ) -> None:
        self._store = store
        self._config = config
        self._where = where
        self._set = self._begins = common
        self._spending = spending
        self._asks = asks
        self._is_begun = False
        self._checked: set[str] = set()
        self._earlier = Earlier(store)
        self._models = Models(config)

    def begin(self) -> set[str]:
        """Check what is set at the start as a prompt would, and return the providers. Raises ImagegenError."""
        items = self._sample(self._set)
        providers = providers_of(items)
        self._find_keys(items)
        self._spending.include(providers)
        self._spending.learn((item.request for item in items), self._store, ask=True)
        check_budget(costs_of(items, self._spending), self._spending.limits)
        return providers

    # What prompts become

    def typed(self, text: str, *, listed: bool) -> Typed:
        """Two slashes at the beginning of a prompt stand for one; with a blank behind them, for none."""
        if not listed and text.startswith("//"):
            text = text[2:].strip() if text[2:3].isspace() else text[1:]
        return Typed(text, listed=listed, settings=self._set)

    def outcome_of(self, typed: Typed) -> Outcome:
        """What `add` would do, in few words. Raises UsageError."""
        found, remarks = self._specs(typed)
        more = self._prepared(found)
        costs = costs_of(more, self._spending)
        price = cost(costs)
        words = tuple(map(translated, (*plan.summary(more), *([] if price == FREE else [price]), *remarks)))
        read = tuple(spec.prompt for spec in found) if typed.listed else ()
        asks = why_asked(costs, self._config) if self._asks else ""
        return Outcome(len(more), words, prompts=read, asks=asks)

    def add(self, run: RunId, typed: Typed) -> Sequence[Task]:
        """Write the tasks into the history; the run begins there with the first of them. Raises ImagegenError."""
        more = self._prepared(self._specs(typed)[0])
        self._find_keys(more)
        tasks = plan.planned(more, self._where, self._store.reserve(len(more), run))
        if self._is_begun:
            return self._store.add(run, tasks)
        added = self._store.start_run(run, "studio", "", tasks)
        self._is_begun = True
        return added

    def _specs(self, typed: Typed) -> tuple[list[PromptSpec], list[str]]:
        if typed.listed and (word := next(commands_in(typed.text), "")):
            pasted = Message("{word} is a command in the pasted lines, and would be sent as a prompt: type it alone")
            raise UsageError(pasted.format(word=word))
        return specs_of(typed, typed.settings or self._set)

    def _prepared(self, specs: Sequence[PromptSpec]) -> list[plan.Item]:
        more = plan.prepare(specs, self._config, self._find)
        self._spending.include(providers_of(more))
        self._spending.learn((item.request for item in more), self._store, ask=False)
        costs = costs_of(more, self._spending)
        check_budget(costs, self._spending.limits)
        for limit in self._spending.limits:
            total = costs.totals.get(limit.amount.unit)
            left = limit.amount.micros - self._store.spent(limit).micros
            if total is not None and total.micros > left:
                rest = limit.amount._replace(micros=max(0, left))
                over = Message("{total} is more than what is left of the budget {limit}: {rest}")
                raise UsageError(over.format(total=str(total), limit=str(limit), rest=str(rest)))
        return more

    def _find(self, text: str) -> tuple[str, Parent]:
        from imagegen_cli.commands.task_pictures import picture_of  # noqa: PLC0415 - few prompts need it

        return picture_of(text, self._store)

    def _find_keys(self, items: Sequence[plan.Item]) -> None:
        if new := providers_of(items) - self._checked:
            check_keys(self._config, new)
            self._checked |= new

    # What is set

    def label(self) -> Sequence[str]:
        now, dot = self._set, " \u00b7 "
        model, shape = " ".join(now.models), " ".join(filter(None, (now.ratio or now.size, now.resolution)))
        count = f" \u00d7{now.count}" if now.count else ""
        pictures = translated(ngettext("{count} image", "{count} images", len(now.references)))
        pictures = pictures if now.references else ""
        seed = tr("seed {seed}", seed=now.seed) if now.seed is not None else ""
        without = tr("not {negative}", negative=now.negative) if now.negative else ""
        forms = (
            [tr("studio"), now.provider, model, shape, pictures, seed, without],
            [tr("studio"), now.provider, model, shape, pictures],
            [now.provider, model, shape, pictures],
            [model, shape],
            [model],
        )
        return [f"{dot.join(filter(None, form))}{count}".strip() for form in forms]

    def foresee(self, command: str) -> Outcome:
        word, value = parsed(command)
        if word not in COMMANDS:
            return self._unfinished(word, command)
        if word == "/model" and (own := first_provider(self._set, self._config)) in self._checked:
            self._models.ask(own)
        try:
            changed = self._changed(word, value)
        except ImagegenError as error:
            return refused(error)
        if changed == self._set and not value:
            return Outcome(words=(f"{word} {COMMANDS[word].values}".strip(), translated(COMMANDS[word].meaning)))
        return Outcome(words=(tr("next prompts: {said}", said=described(changed, self._config)),))

    def obey(self, command: str) -> Outcome:
        word, value = parsed(command)
        if word not in COMMANDS:
            return unknown(word)
        try:
            changed = self._changed(word, value)
            items = self._sample(changed)
            self._find_keys(items)
        except ImagegenError as error:
            return refused(error)
        self._set = changed
        return Outcome()

    def _unfinished(self, word: str, command: str) -> Outcome:
        begun = [name for name in COMMANDS if name.startswith(word)]
        return Outcome(words=(" ".join(begun),)) if begun and word == command.strip() else unknown(word)

    def _changed(self, word: str, value: str) -> PromptSpec:
        """What would be set. Raises UsageError where no prompt could be sent with it."""
        change = CHANGES.get(word)
        changed = self._begins if word == "/reset" else change(self._set, value) if change else self._set
        if word == "/model":
            changed = self._at_named_provider(changed)
        self._sample(changed)
        return changed

    def _at_named_provider(self, changed: PromptSpec) -> PromptSpec:
        """A model that names its provider goes before the provider that is set."""
        named = {model.partition("/")[0] for model in changed.models if "/" in model}
        return replace(changed, provider="") if named & self._config.providers.keys() else changed

    def _sample(self, common: PromptSpec) -> list[plan.Item]:
        return plan.prepare(from_arguments([SAMPLE], common), self._config, self._find)

    # What the line shows and completes

    def welcome(self) -> Sequence[tuple[str, str]]:
        first, *others = self._models.of(first_provider(self._set, self._config)) or ("",)
        several = f"/model {others[0]} {first}" if others else ""
        folder = shown_folder(self._where.folder)
        lines = [
            (tr("Type what you want to see, press enter, and type the next one at once."), ""),
            ("", ""),
            (tr("a red fox in the snow"), tr("enter sends it; the pictures go to {folder}", folder=folder)),
        ]
        if others:
            lines += [
                (f"/model {others[0]}", tr("the next prompts use this model; tab shows the others")),
                (several, tr("the next prompts use both, to compare them")),
            ]
        lines += [
            ("/ratio 16:9", tr("the next pictures are wide; /count 4 makes four of each")),
            ("/help", tr("all commands and keys")),
            ("/quit", tr("ends; so does Ctrl-D")),
        ]
        return lines

    def help(self) -> Sequence[tuple[str, str]]:
        return [(f"{name} {command.values}".strip(), translated(command.meaning)) for name, command in COMMANDS.items()]

    def earlier(self, number: int) -> str | None:
        found = self._earlier.at(number)
        return f"/{found}" if found is not None and found.startswith("/") else found

    def choices(self, before: str) -> Choices:
        if not before.startswith("/") or before.startswith("//"):
            return Choices()
        if " " not in before:
            return Choices(0, [name for name in COMMANDS if name.startswith(before.lower())])
        return choices(before, self._set, self._config, self._models)


class Earlier:
    """The prompts of the history, the newest first, each once; read in pages as they are wanted."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._found: list[str] = []
        self._before: int | None = None
        self._is_whole = False

    def at(self, number: int) -> str | None:
        while number >= len(self._found) and not self._is_whole:
            page: Sequence[tuple[int, str]] = ()
            with suppress(ImagegenError):
                page = self._store.prompts(before=self._before, limit=HISTORY_PAGE)
            self._is_whole = len(page) < HISTORY_PAGE
            self._before = page[-1][0] if page else self._before
            self._found += [text for text in dict.fromkeys(text for _, text in page) if text not in self._found]
        return self._found[number] if number < len(self._found) else None


def unknown(word: str) -> Outcome:
    said = tr("there is no command {word}: /help names them, and /{word} sends it as a prompt", word=word)
    return Outcome(words=(said,), good=False)


def refused(error: ImagegenError) -> Outcome:
    return Outcome(words=(on_one_line(translated(error.message)),), good=False)


def providers_of(items: Sequence[plan.Item]) -> set[str]:
    return {one.provider for item in items for one in (item.request, *item.alternatives)}


def shown_folder(folder: Path) -> str:
    with suppress(ValueError):
        return f"./{folder.relative_to(Path.cwd())}"
    return str(folder)
