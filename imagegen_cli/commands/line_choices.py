"""What the tab key of the prompt line offers: models, providers, shapes, and the files that are pictures."""

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from imagegen_cli.core.errors import ImagegenError
from imagegen_cli.core.provider import Provider
from imagegen_cli.display.key_commands import Choices
from imagegen_cli.inputs.plan import offline_provider
from imagegen_cli.inputs.prompts import PromptSpec
from imagegen_cli.settings.config import Config, Configured

VALUES = {
    "/ratio": ("1:1", "16:9", "9:16", "4:3", "3:4", "3:2", "2:3", "21:9"),
    "/size": ("1k", "2k", "4k", "1024x1024"),
    "/count": ("1", "2", "4"),
}
SKETCH_MODELS = ("4.0", "3.0")
"""The sketch provider takes any model; these are those of the examples."""
MAX_CHOICES = 200
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".avif", ".heic", ".tif", ".tiff")


class Models:
    """The models of each provider, as far as they are known without waiting."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._known: dict[str, tuple[str, ...]] = {}
        self._asked: set[str] = set()

    def of(self, name: str) -> tuple[str, ...]:
        """The provider's own choice first."""
        if name not in self._known:
            with suppress(ImagegenError):
                one = self._config.provider(name)
                named = SKETCH_MODELS if one.type.local else known_to(offline_provider(one))
                self._keep(one, named)
        return self._known.get(name, ())

    def ask(self, name: str) -> None:
        """Let its service be asked in a thread, once, where the provider knows no list itself. Nothing is spent."""
        if len(self.of(name)) > 1 or name in self._asked:
            return
        self._asked.add(name)
        with suppress(ImagegenError):
            one = self._config.provider(name)
            threading.Thread(target=self._learn, args=(one,), daemon=True).start()

    def _learn(self, one: Configured) -> None:
        from imagegen_cli.commands.checks.asking import ask_all  # noqa: PLC0415 - only where a service is asked

        answer = ask_all([one], lambda provider: provider.models())[0]
        self._keep(one, answer.value or ())

    def _keep(self, one: Configured, named: Sequence[str]) -> None:
        own = (one.settings.model,) if one.settings.model else ()
        self._known[one.name] = tuple(dict.fromkeys((*own, *named)))


def choices(before: str, now: PromptSpec, config: Config, models: Models) -> Choices:
    """What the word before the cursor can become, behind the command that the text begins with."""
    word = before.partition(" ")[0].lower()
    if word == "/image":
        return files(before)
    start = before.rfind(" ") + 1
    begun = before[start:].lower()
    words = [one for one in values_of(word, now, config, models) if one.lower().startswith(begun)]
    return Choices(start, words[:MAX_CHOICES])


def values_of(word: str, now: PromptSpec, config: Config, models: Models) -> Sequence[str]:
    match word:
        case "/model":
            return model_names(now, config, models)
        case "/provider":
            return list(dict.fromkeys([*config.providers, "sketch"]))
        case _:
            return VALUES.get(word, ())


def model_names(now: PromptSpec, config: Config, models: Models) -> list[str]:
    """The models of the provider that is set, the short names, and those of other providers with their names."""
    own = first_provider(now, config)
    others = [f"{name}/{model}" for name in config.providers if name != own for model in models.of(name)]
    return list(dict.fromkeys([*models.of(own), *config.general.models, *others]))


def first_provider(now: PromptSpec, config: Config) -> str:
    """The provider that is set, the first of several, or the default one."""
    return (now.provider or config.general.default_provider).partition(",")[0].strip()


def files(before: str) -> Choices:
    """Folders and pictures that the word before the cursor can become."""
    start = before.rfind(" ") + 1
    while start > 1 and before[start - 2 : start - 1] == "\\":  # a blank inside of a name
        start = before.rfind(" ", 0, start - 1) + 1
    begun = before[start:].replace("\\ ", " ")
    folder, _, name = begun.rpartition("/")
    lead = f"{folder}/" if folder or begun.startswith("/") else ""
    found = sorted(entries(Path(lead or ".").expanduser(), name))[:MAX_CHOICES]
    return Choices(start, [f"{lead}{one}".replace(" ", "\\ ") for one in found], found)


def entries(folder: Path, begun: str) -> Iterator[str]:
    with suppress(OSError), os.scandir(folder) as inside:
        for entry in inside:
            is_hidden = entry.name.startswith(".") and not begun.startswith(".")
            if is_hidden or not entry.name.startswith(begun):
                continue
            if entry.is_dir():
                yield f"{entry.name}/"
            elif entry.name.lower().endswith(PICTURES):
                yield entry.name


def known_to(provider: Provider[Any]) -> tuple[str, ...]:
    """The models that a provider names without a question to its service; none where it would have to ask."""
    asking = provider.models()
    try:
        asking.send(None)
    except StopIteration as answer:
        return tuple(answer.value)
    except Exception:  # noqa: BLE001 - it has no client to ask with
        return ()
    finally:
        asking.close()
    return ()
