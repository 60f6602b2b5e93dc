"""The command of `--exec`: what its words may be, and where a placeholder may stand.

A placeholder is a value of its own for most programs. Some read a word as a script, start the program that a word
names, or put all their words together for a shell. There a prompt could become commands: the placeholder is refused.
"""

import re
import shlex
from collections.abc import Sequence
from pathlib import PureWindowsPath

from imagegen_cli.core.errors import UsageError
from imagegen_cli.core.language import Message
from imagegen_cli.core.schema import nearest

NAMES = ("path", "prompt", "id", "index", "model", "provider", "seed")
PLACEHOLDER = re.compile(rf"\{{({'|'.join(NAMES)})\}}")
LIKE_PLACEHOLDER = re.compile(r"(?<![${])\{([A-Za-z_]\w*)(?:[:!.\[][^{}\s]*)?\}(?!\})")
"""One word in braces, also with a format behind it. A shell's own ${NAME}, {} and {{name}} are not."""
MEANT = {
    "file": "path", "filename": "path", "picture": "path", "image": "path", "output": "path", "text": "prompt",
    "task": "id", "number": "index", "service": "provider",
}  # fmt: skip
"""Words that people write for a placeholder, and that no letters are near to."""
SHELLS = ("sh", "bash", "dash", "ash", "zsh", "ksh", "mksh", "fish", "tcsh", "csh", "cmd", "powershell", "pwsh")
SCRIPT_LETTERS = {
    **dict.fromkeys(SHELLS, "c"), "cmd": "ckr", "python": "c", "pypy": "c", "ipython": "c", "perl": "e", "ruby": "e",
    "node": "ep", "nodejs": "ep", "bun": "ep", "deno": "ep", "php": "rbe", "lua": "e", "luajit": "e", "julia": "e",
    "osascript": "e", "rscript": "e", "r": "e", "groovy": "e", "elixir": "e", "awk": "e", "gawk": "e", "mawk": "",
    "nawk": "", "sed": "e", "su": "c", "runuser": "c", "script": "c", "psql": "c", "mysql": "e", "mariadb": "e",
    "duckdb": "c",
}  # fmt: skip
"""Programs that run a text, and the letters of their options that are followed by it, in either case."""
NO_FILES = frozenset(("su", "runuser", "script", "psql", "mysql", "mariadb", "duckdb"))
"""Those of them whose first word is neither a script nor its file."""
LONG_SCRIPT_OPTION = re.compile(
    r"--?(?:command|encodedcommand|eval|execute|print|init-command|expression|source)|eval", re.IGNORECASE
)
"""Options of several of them that are followed by a text to run; `eval` is a command of deno."""
WRAPPERS = {
    **dict.fromkeys(
        ("env", "nice", "ionice", "nohup", "setsid", "stdbuf", "sudo", "doas", "time", "busybox", "toybox", "xargs",
         "unbuffer", "chronic", "ts", "numactl", "unshare", "nsenter", "strace", "ltrace", "valgrind", "fakeroot",
         "torsocks", "proxychains", "firejail", "systemd-run", "systemd-inhibit", "dbus-run-session", "setpriv",
         "xvfb-run", "caffeinate", "prlimit", "catchsegv", "winpty", "pkexec", "npx", "uvx"),
        0,
    ),
    **dict.fromkeys(
        ("timeout", "gtimeout", "flock", "chroot", "taskset", "chrt", "setlock", "softlimit", "gosu", "setarch", "uv",
         "poetry", "pipx", "pdm", "hatch", "conda", "mamba", "bundle", "npm", "pnpm", "yarn"),
        1,
    ),
}  # fmt: skip
"""Programs whose words name the program that is run, and how many words of their own stand before it."""
TAKE_SCRIPTS = frozenset(("flock", "unshare", "nsenter"))
"""Those of them that hand a text behind -c to a shell."""
RUNS_ALL = frozenset(
    ("watch", "tmux", "screen", "byobu", "dtach", "abduco", "parallel", "rush", "at", "batch", "crontab", "entr",
     "watchexec", "nodemon", "hyperfine", "ssh", "autossh", "mosh", "pdsh", "dsh", "rsh", "adb", "vagrant", "docker",
     "podman", "nerdctl", "kubectl", "oc", "lxc", "lxc-attach", "bwrap", "flatpak", "wsl", "nix", "nix-shell", "guix",
     "xterm", "urxvt", "rxvt", "konsole", "gnome-terminal", "xfce4-terminal", "kitty", "alacritty", "wezterm", "foot",
     "dmenu", "rofi", "make", "gmake", "gdb", "lldb", "expect", "vim", "nvim", "vi", "view", "ex", "gvim", "vimdiff",
     "rvim", "emacs", "emacsclient", "ed", "gnuplot", "octave", "dc", "bc")
)  # fmt: skip
"""Programs that put all their words together for a shell, run them elsewhere, or read commands in any of them."""
VALUES_OF_AWK = ("-v", "-F")
VARIABLE = Message("nothing was sent; let the command read the variable IMAGEGEN_EXEC_{name} instead")


def words_of(command: str) -> list[str]:
    """The words of a command. Raises UsageError where it cannot be split, or would put a prompt into a script."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        message = Message("--exec cannot be read: {why}").format(why=str(error))
        raise UsageError(message, hint=Message("nothing was sent; close every quote")) from error
    if not words or not words[0]:
        hint = Message("nothing was sent; write it as --exec 'echo {path}'")
        raise UsageError(Message("--exec names no command"), hint=hint)
    _check_placeholders(words)
    _check_programs(words)
    return words


def _check_placeholders(words: Sequence[str]) -> None:
    """Raise UsageError for a placeholder that is none: it would reach the command as it is."""
    for word in words:
        for found in LIKE_PLACEHOLDER.finditer(word):
            if PLACEHOLDER.fullmatch(found[0]):
                continue
            message = Message("--exec has no placeholder {placeholder}").format(placeholder=found[0])
            name = MEANT.get(found[1].lower(), found[1])
            near = Message("did you mean {name}?").format(name=name) if name in NAMES else nearest(name, NAMES)
            hint = Message("{near} (nothing was sent; braces that are no placeholder need a blank, as {example})")
            raise UsageError(message, hint=hint.format(near=near, example=f"{{ {found[1]} }}"))


def _check_programs(words: Sequence[str]) -> None:
    """Raise UsageError where a program would read a placeholder as commands."""
    at = _of_program(words)
    program, name = words[at], _program(words[at])
    if found := PLACEHOLDER.search(program):
        message = Message("--exec would run a program that {placeholder} names").format(placeholder=found[0])
        raise UsageError(message, hint=Message("nothing was sent; write it as --exec 'echo {path}'"))
    if name in RUNS_ALL and (filled := _filled_in(words[at + 1 :])):
        raise _refused(name, filled)
    for place, word in enumerate(words):
        name = _program(word)
        is_run = place in (0, at) or _program(words[0]) in WRAPPERS
        if name in SCRIPT_LETTERS and _has_filled_script(name, words[place + 1 :], is_run=is_run):
            message = Message(
                "--exec would put a prompt into a script of {name}, where its words could become commands"
            )
            hint = Message("nothing was sent; hand it over: sh -c 'echo \"$1\"' - {prompt}")
            raise UsageError(message.format(name=name), hint=hint)


def _of_program(words: Sequence[str]) -> int:
    """The place of the program that runs in the end. Raises UsageError for a placeholder among what starts it."""
    at = 0
    while (name := _program(words[at])) in WRAPPERS:
        behind = words[at + 1 :]
        before = _of_wrapper(name, behind)
        if filled := _filled_in(before):
            raise _refused(name, filled)
        if not before or len(before) == len(behind):
            return at + len(before)
        at += len(before)
    return at


def _refused(name: str, filled: str) -> UsageError:
    message = Message("--exec would put {placeholder} where {name} reads commands").format(
        placeholder=f"{{{filled}}}", name=name
    )
    return UsageError(message, hint=VARIABLE.format(name=filled.upper()))


def _filled_in(words: Sequence[str]) -> str:
    """The name of the first placeholder in these words; empty where there is none."""
    return next((found[1] for word in words if (found := PLACEHOLDER.search(word))), "")


def _of_wrapper(name: str, words: Sequence[str]) -> Sequence[str]:
    """The words that may be those of a program which starts another one: its options, and the name of the other.

    A word behind an option may be its value. Where a word is split again, as behind env -S, all words are meant.
    """
    left = WRAPPERS[name]
    for at, word in enumerate(words):
        if name == "env" and re.match(r"-[A-Za-z0]*S|--s", word):
            return words
        if name in TAKE_SCRIPTS and re.match(r"-[A-Za-z]*c|--c", word):
            return words
        is_value = at > 0 and words[at - 1].startswith("-") and words[at - 1] != "--"
        if word.startswith("-") or is_value or (name in ("env", "sudo", "doas") and "=" in word):
            continue
        if not left:
            return words[: at + 1]
        left -= 1
    return words


def _program(word: str) -> str:
    """The name of a program without its folder and version: python for /usr/bin/python3.11."""
    return re.sub(r"(?:\.exe|[-.\d]+)*$", "", PureWindowsPath(word).name.lower())


def _has_filled_script(name: str, words: Sequence[str], *, is_run: bool) -> bool:
    """Whether a placeholder stands in what `name` runs: behind an option for that, or as its first word."""
    letters = SCRIPT_LETTERS[name]
    option = re.compile(rf"[-/]\w*[{letters}]\w*" if letters else r"(?!)", re.IGNORECASE)
    for before, word in zip(["", *words], words, strict=False):
        if PLACEHOLDER.search(word) and (_asks_for_script(before, option) or _holds_script(word, option)):
            return True
    return is_run and name not in NO_FILES and bool(PLACEHOLDER.search(_first_text(name, words, option)))


def _asks_for_script(word: str, option: re.Pattern[str]) -> bool:
    return bool(option.fullmatch(word) or LONG_SCRIPT_OPTION.fullmatch(word))


def _holds_script(word: str, option: re.Pattern[str]) -> bool:
    """Whether a word is an option together with its text: --command={prompt}, -e{prompt}."""
    start = PLACEHOLDER.split(word)[0]
    before, equals, _ = start.partition("=")
    if equals and _asks_for_script(before, option):
        return True
    return start.startswith("-") and option.match(start) is not None


def _first_text(name: str, words: Sequence[str], option: re.Pattern[str]) -> str:
    """The first word that is no option: a script, or the name of its file. Empty where an option holds the script."""
    values = VALUES_OF_AWK if "awk" in name else ()
    for before, word in zip(["", *words], words, strict=False):
        if not word.startswith("-") and before not in values:
            return word
        if _holds_script(word, option):
            return ""
    return ""
