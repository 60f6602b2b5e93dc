"""What a terminal is known to understand beyond text: links to files (OSC 8), and progress of a run (OSC 9;4).

A terminal that does not know a code may show it as text or as a notification, so each is written only where the
environment names a terminal that knows it. Inside tmux and GNU screen the environment may still name the terminal
around them, so their own names are looked at first.
"""

import os
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TextIO

from imagegen_cli.core.text import is_capable_terminal, literal

MAX_URL_BYTES = 2083
"""Of a link: VTE and iTerm2 ignore longer ones."""
FALSE = frozenset({"0", "false", "no", "off"})
MULTIPLEXERS = ("tmux", "screen")
"""The beginnings of TERM inside tmux and GNU screen, also where their other variables did not come along."""
LINKING_VARIABLES = {
    "VTE_VERSION": (5001,),  # 0.50.0 crashed
    "KONSOLE_VERSION": (201200,),
    "KITTY_WINDOW_ID": (),
    "GHOSTTY_RESOURCES_DIR": (),
    "WEZTERM_PANE": (),
    "WT_SESSION": (),
    "ALACRITTY_WINDOW_ID": (),
    "DOMTERM": (),
}
"""Variables that a terminal sets which knows links, with the least version that their value must be."""
LINKING_PROGRAMS: dict[str, tuple[int, ...]] = {
    "iTerm.app": (3, 1),
    "WezTerm": (20200620,),
    "vscode": (1, 72),
    "ghostty": (),
    "Hyper": (),
    "Tabby": (),
    "rio": (),
    "contour": (),
    "mintty": (3, 1),
}
"""Values of TERM_PROGRAM, with the least TERM_PROGRAM_VERSION."""
LINKING_TERMS = ("xterm-kitty", "foot", "xterm-ghostty", "alacritty", "contour", "wezterm")
LINKING_TMUX = (3, 4)
"""tmux keeps links from this version on; earlier ones drop them."""
PROGRESS_VARIABLES = {"WT_SESSION": (), "ConEmuPID": (), "KONSOLE_VERSION": (250400,), "VTE_VERSION": (8000,)}
PROGRESS_PROGRAMS: dict[str, tuple[int, ...]] = {
    "ghostty": (1, 2),
    "WezTerm": (20250301,),
    "iTerm.app": (3, 6, 6),
    "vscode": (1, 99),
    "mintty": (3, 5),
}
"""Earlier versions of some show OSC 9;4 as a notification, which would come with every frame."""


def knows_links(environ: Mapping[str, str]) -> bool:
    """Whether a terminal with this environment shows OSC 8 as a link. FORCE_HYPERLINK decides where it is set."""
    if (forced := environ.get("FORCE_HYPERLINK")) is not None:
        return forced.lower() not in FALSE
    if is_multiplexed(environ):
        return not environ.get("STY") and _has_program(environ, {"tmux": LINKING_TMUX})
    if _has_variable(environ, LINKING_VARIABLES) or _has_program(environ, LINKING_PROGRAMS):
        return True
    return environ.get("TERM", "").startswith(LINKING_TERMS)


def knows_progress(environ: Mapping[str, str]) -> bool:
    """Whether a terminal with this environment shows OSC 9;4 as progress."""
    if is_multiplexed(environ):
        return False
    return _has_variable(environ, PROGRESS_VARIABLES) or _has_program(environ, PROGRESS_PROGRAMS)


def is_multiplexed(environ: Mapping[str, str]) -> bool:
    """Whether tmux or GNU screen stands between this program and the terminal."""
    return bool(environ.get("TMUX") or environ.get("STY")) or environ.get("TERM", "").startswith(MULTIPLEXERS)


def _has_variable(environ: Mapping[str, str], known: Mapping[str, tuple[int, ...]]) -> bool:
    return any(environ.get(name) and _version(environ[name], least) >= least for name, least in known.items())


def _has_program(environ: Mapping[str, str], known: Mapping[str, tuple[int, ...]]) -> bool:
    least = known.get(environ.get("TERM_PROGRAM", ""))
    return least is not None and _version(environ.get("TERM_PROGRAM_VERSION", ""), least) >= least


def _version(text: str, least: tuple[int, ...]) -> tuple[int, ...]:
    """The numbers of a version, as many as `least` has."""
    return tuple(int(part[:9]) for part in re.findall(r"[0-9]+", text, re.ASCII)[: len(least)])


def file_url(path: str) -> str:
    """The address of a file or a folder on this machine; empty where it would be too long to be followed."""
    from urllib.parse import quote  # noqa: PLC0415 - few screens have links

    absolute = Path(os.path.abspath(path))  # noqa: PTH100 - a link in the path stays as it is
    plain = absolute.as_posix()
    url = f"file://{quote(_host())}{quote(os.fsencode(plain if plain.startswith('/') else f'/{plain}'))}"
    return url if len(url) <= MAX_URL_BYTES else ""


@cache
def _host() -> str:
    """The name of this machine: over ssh a terminal must not open a file of the same name on its own."""
    import socket  # noqa: PLC0415 - see above

    return "" if os.name == "nt" else socket.gethostname()


def linked(path: str, stream: TextIO, environ: Mapping[str, str], text: str = "") -> str:
    """`text`, or the path: a link on a terminal that knows links, literal on others, and as it is off a terminal."""
    if not is_capable_terminal(stream, environ):
        return text or path
    shown = literal(text or path, getattr(stream, "encoding", None) or "utf-8")
    url = file_url(path) if knows_links(environ) else ""
    return f"\x1b]8;;{url}\x1b\\{shown}\x1b]8;;\x1b\\" if url else shown
