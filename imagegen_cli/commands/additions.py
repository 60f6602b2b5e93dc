"""Prompts that a person types or pastes into the live table, which join the run."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from shlex import quote

from imagegen_cli.commands.spending import FREE, Planned, Spending, check_budget, cost
from imagegen_cli.core.errors import UsageError
from imagegen_cli.core.language import Message
from imagegen_cli.core.task import Parent, RunId, Task
from imagegen_cli.display.key_commands import Outcome, Typed
from imagegen_cli.inputs import plan
from imagegen_cli.inputs.prompts import PromptSpec, from_arguments, from_list
from imagegen_cli.settings.config import Config
from imagegen_cli.storage.store import Store

PASTED = "paste"
"""What messages call a list that was pasted into the table."""


@dataclass(frozen=True, slots=True)
class Additions:
    """Makes tasks of what is typed, with the options of the run. Both methods raise UsageError."""

    store: Store
    config: Config
    where: plan.Place
    common: PromptSpec
    spending: Spending

    def outcome_of(self, typed: Typed) -> Outcome:
        """What `add` would do, in few words."""
        found, remarks = self._specs(typed)
        more = self._prepared(found)
        read = tuple(spec.prompt for spec in found) if typed.listed else ()
        price = cost(costs_of(more, self.spending))
        remarks = remarks if price == FREE else [price, *remarks]
        return Outcome(len(more), (*plan.summary(more), *remarks), prompts=read)

    def add(self, run: RunId, typed: Typed) -> Sequence[Task]:
        more = self._prepared(self._specs(typed)[0])
        return self.store.add(run, plan.planned(more, self.where, self.store.reserve(len(more), run)))

    def _specs(self, typed: Typed) -> tuple[list[PromptSpec], list[str]]:
        if not typed.listed and is_for_studio(typed.text):
            message = Message("{word} is no prompt here: esc closes this line; imagegen run --each {quoted} sends it")
            raise UsageError(message.format(word=typed.text, quoted=quote(typed.text)))
        return specs_of(typed, self.common)

    def _prepared(self, specs: Sequence[PromptSpec]) -> list[plan.Item]:
        more = plan.prepare(specs, self.config, self._find)
        if others := {item.request.provider for item in more} - self.spending.by_provider.keys():
            raise UsageError(Message("this run does not use {providers}").format(providers=", ".join(others)))
        check_budget(costs_of(more, self.spending), self.spending.limits)
        return more

    def _find(self, text: str) -> tuple[str, Parent]:
        from imagegen_cli.commands.task_pictures import picture_of  # noqa: PLC0415 - few prompts need it

        return picture_of(text, self.store)


def is_for_studio(text: str) -> bool:
    """Whether a typed line is a command of the studio, or a word that leaves other programs."""
    from imagegen_cli.commands.slash_commands import commands_in  # noqa: PLC0415 - few runs get a prompt
    from imagegen_cli.display.prompt_line import meant_command  # noqa: PLC0415

    return bool(meant_command(text)) or next(commands_in(text), None) is not None


def costs_of(items: Iterable[plan.Item], spending: Spending) -> Planned:
    """What these items should cost."""
    return spending.plan((item.request, item.expected_images, item.alternatives) for item in items)


def specs_of(typed: Typed, common: PromptSpec) -> tuple[list[PromptSpec], list[str]]:
    """What was typed or pasted, and remarks about how it was read: a list as `batch` reads it. Raises UsageError."""
    if not typed.listed:
        return from_arguments([typed.text], common), []
    specs, remarks = from_list(PASTED, typed.text.encode(errors="replace"), common)
    if not specs:
        raise UsageError(Message("the list has no prompt, only remarks"))
    return specs, remarks
