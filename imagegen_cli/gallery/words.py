"""The words of the page and of the sheet, which are in the language in use; prompts and values stay as they are."""

from collections.abc import Mapping

from imagegen_cli.core.language import Message, ngettext, tr, translated

PAIRED = " · "
"""Between names, and between values, that were varied together."""
NAMES: Mapping[str, Message] = {
    name: name
    for name in (
        Message("count"),
        Message("file"),
        Message("image"),
        Message("made"),
        Message("model used"),
        Message("model"),
        Message("name"),
        Message("negative"),
        Message("pixels"),
        Message("prompt"),
        Message("provider"),
        Message("ratio"),
        Message("resolution"),
        Message("revised prompt"),
        Message("run"),
        Message("seed"),
        Message("size"),
        Message("state"),
        Message("task"),
    )
}
"""Of options and facts. What a person named is not among them."""
STATES: Mapping[str, Message] = {
    state: state
    for state in (
        Message("queued"),
        Message("submitting"),
        Message("running"),
        Message("saving"),
        Message("done"),
        Message("failed"),
        Message("cancelled"),
        Message("short"),
        Message("not shown"),
    )
}
"""Of tasks, as the history has them, and of places without a picture."""
NO_PICTURE = Message("There is no picture.")
UNASKED = Message("This combination was not asked for.")
TEXTS = (
    NO_PICTURE,
    Message("task {task}"),
    Message("Choose"),
    Message("Chosen ✓"),
    Message("{count} chosen"),
    Message("Side by side holds {count} pictures at most."),
    Message("{place} of {count}"),
    Message("thumbnail only"),
    Message("The file cannot be shown from here; it may have been moved."),
    Message("{task}, picture {number}"),
    Message("Choose two pictures or more first: x."),
    Message("The browser does not allow copying."),
    Message("Prompt copied"),
    Message("Command copied"),
    Message("Auto"),
    Message("Light"),
    Message("Dark"),
    Message("all"),
    Message("All models"),
)
"""Of the script of the page."""
SKELETON: Mapping[str, Message] = {
    text: text
    for text in (
        Message("Search prompts and parameters"),
        Message("Search"),
        Message("Model"),
        Message("State"),
        Message("Size of the pictures"),
        Message("Light, dark, or as the system is (t)"),
        Message("Auto"),
        Message("Keys"),
        Message("Keys (?)"),
        Message("Pictures"),
        Message("Nothing fits this search."),
        Message("Show all pictures"),
        Message("Side by side"),
        Message("Clear"),
        Message("Picture"),
        Message("Picture before"),
        Message("Next picture"),
        Message("Choose"),
        Message("Close"),
        Message("Copy prompt"),
        Message("Copy command"),
        Message("Open the file"),
        Message("Walk from picture to picture"),
        Message("Look at it closely"),
        Message("Choose it, or not"),
        Message("See the chosen ones side by side"),
        Message("Copy the command that makes it again"),
        Message("Light, dark, or as the system is"),
        Message("Back"),
    )
}
"""Of the skeleton of the page."""


class _Count(int):
    """The place of a number in a text that another program fills."""

    def __format__(self, _: str) -> str:
        return "{count}"


def language() -> str:
    """The language in use, as HTML names it."""
    return tr("en")


def is_english() -> bool:
    return language() == "en"


def name_shown(name: str) -> str:
    """The name of an option, or of several that were varied together."""
    return PAIRED.join(translated(NAMES.get(part, part)) for part in name.split(PAIRED))


def sample() -> str:
    """Words of the sheet, whose signs a font must have."""
    return "".join(map(translated, (*NAMES.values(), *STATES.values(), NO_PICTURE, UNASKED)))


def of_the_script() -> dict[str, dict[str, str]]:
    """What the script of the page puts in place of its English words; nothing in English."""
    if is_english():
        return {}
    counted = {
        "{count} picture": ngettext("{count} picture", "{count} pictures", _Count(2)),
        "{shown} of {count} picture": ngettext(
            "{shown} of {count} picture", "{shown} of {count} pictures", _Count(2), shown="{shown}"
        ),
    }
    texts = {str(text): translated(text) for text in TEXTS} | {name: translated(text) for name, text in counted.items()}
    names = {name: translated(text) for name, text in (*NAMES.items(), *STATES.items())}
    return {"words": texts, "names": names}
