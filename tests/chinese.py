"""The Chinese words of the program for tests of this process: read from the translation, not from what was built of it.

A screen is shown in English and in Chinese by tests that take the fixture `chinese`.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from babel.messages.pofile import read_po

from imagegen_cli.core import language
from imagegen_cli.settings.language import FOLDER

TRANSLATION = FOLDER / "zh_CN" / "LC_MESSAGES" / "imagegen.po"


class Words:
    """A catalogue as `language.use` takes it."""

    def __init__(self, path: Path = TRANSLATION) -> None:
        with path.open("rb") as file:
            found = {message.id: message.string for message in read_po(file) if message.id and message.string}
        self._plain = {text: str(shown) for text, shown in found.items() if isinstance(text, str)}
        self._counted = {text[0]: str(shown[0]) for text, shown in found.items() if not isinstance(text, str)}

    def gettext(self, message: str) -> str:
        return self._plain.get(message, message)

    def ngettext(self, singular: str, plural: str, number: int) -> str:
        return self._counted.get(singular, singular if number == 1 else plural)


@pytest.fixture
def chinese() -> Iterator[None]:
    language.use(Words())
    yield
    language.use(None)
