"""The words of `--help`: groups of commands and options, and the examples.

The language is chosen before this is imported. The names of groups are keys here, and translated where they are shown.

Every command is in `COMMANDS` and has examples, and every option of every command has a place in `GROUPS`:
tests/test_help.py keeps both, and starts every example.
"""

from imagegen_cli.core.language import Message, tr

PURPOSE = tr("Many prompts, one terminal: no picture is lost, and nothing is paid twice.")
USAGE_OF_ALL = tr("Usage: imagegen COMMAND ... [--lang en|zh]")
USAGE = tr("Usage: {command}")
START = tr('No key needed: imagegen run "a cat on a beach" draws with the built-in sketch.')
MORE_OF_ALL = tr("imagegen COMMAND --help shows one command, imagegen help the topics.")
MORE_OF_ONE = tr("imagegen help {command} shows all {count} options.")
FROM_ENVIRONMENT = tr("An option that names a variable, as $IMAGEGEN_MODEL, can also come from there.")
DEFAULT = tr("{text} Without it: {default}.")
VARIABLE = "{text} ${variable}"
HELP_OPTION = tr("Show this help.")
LANG_OPTION = tr("Language of all text: en or zh.")
LANGUAGES = {"en": "English", "zh": "中文"}
"""The values of --lang as people type them, with each language's own name."""

COMMANDS = {
    Message("Draw"): {
        "run": tr("prompts that you type"),
        "batch": tr("a list of prompts"),
        "studio": tr("prompt after prompt"),
        "again": tr("a task once more"),
        "edit": tr("a picture, by words"),
        "upscale": tr("a larger copy"),
    },
    Message("Go on"): {
        "cancel": tr("stop unfinished tasks"),
        "resume": tr("fetch what was paid for"),
        "retry": tr("send again what failed"),
        "work": tr("carry queued tasks"),
    },
    Message("Look"): {
        "watch": tr("what runs elsewhere"),
        "list": tr("all tasks"),
        "show": tr("all about one task"),
        "runs": tr("the commands that drew"),
        "open": tr("a picture on the desktop"),
        "sheet": tr("compare on one picture"),
        "gallery": tr("one page of pictures"),
        "info": tr("what made a picture"),
        "favourite": tr("what you like"),
        "export": tr("the history as a file"),
        "forget": tr("delete from the history"),
        "history": tr("copy it to another place"),
    },
    Message("Money"): {
        "costs": tr("what was spent"),
        "settle": tr("say what was charged"),
    },
    Message("Set up"): {
        "init": tr("connect a service"),
        "doctor": tr("test without spending"),
        "providers": tr("what is connected"),
        "models": tr("what services offer"),
        "credits": tr("what accounts have left"),
        "config": tr("see and change settings"),
    },
    Message("Learn"): {
        "help": tr("topics, all options"),
        "completion": tr("for the tab key"),
        "schema": tr("the JSON of --json"),
        "skill": tr("instructions for agents"),
    },
}
"""The groups of `imagegen --help`, with what each command is for in at most 25 cells."""

GROUPS: dict[str, tuple[str, ...]] = {
    Message("What to draw"): (
        "PROMPT", "WORDS", "--model", "--count", "--ratio", "--resolution", "--size", "--seed", "--negative",
        "--image", "--extra", "--vary", "--zip", "--alternatives", "--repeat", "--each", "--from", "--factor",
    ),
    Message("Which"): (
        "ID", "FILE", "NAME", "KIND", "TOPIC", "SHELL", "KEY", "VALUE", "PROVIDER", "FROM", "TO",
        "--state", "--reason", "--since",
        "--until", "--run", "--favourite", "--has-picture", "--search", "--limit", "--failed", "--cancelled",
        "--all-runs", "--may-repeat", "--all", "--queued", "--older", "--with-receipts", "--files", "--not",
        "--receipts", "--replay", "--speed", "--by", "--paid", "--unpaid", "--project", "--keep",
    ),
    Message("What to connect"): (),
    Message("Where to"): ("--provider", "--output", "--name", "--sheet", "--kind", "--base-url", "--default"),
    Message("How to run"): ("--concurrency", "--timeout", "--queue", "--once",
        "--dry-run", "--yes", "--exec", "--fix", "--verify", "--set"),
    Message("Money"): ("--budget", "--assume-price", "--amount"),
    Message("API key"): ("--key-env", "--key-command", "--key-stdin"),
    Message("Lists"): ("--format", "--encoding", "--columns", "--again", "--skip-sent", "--allow-outside"),
    Message("Output"): (
        "--progress", "--json", "--csv", "--quiet", "--preview", "--notify", "--no-metadata", "--sidecar", "--dark",
        "--single", "--open", "--origin", "--man", "--install", "--version", "--lang", "--help",
    ),
}  # fmt: skip
"""The groups of a command's help: its arguments by their metavar, its options by their long names."""
OTHERWISE = {
    "--state": ("Which", ("--model", "--provider")),
    "--kind": ("What to connect", ("--kind", "--name", "--base-url", "--model", "--set", "--default")),
}
"""Where a command has the first option, the others belong to this group."""
SHORT = {
    "--vary": tr("A task for each value, as seed=1..8 or ratio=1:1,16:9."),
    "--output FOLDER": tr("Folder for the pictures, or - for stdout."),
    "ID...": tr("Task numbers, as 12 13; LAST or -1 is the newest."),
    "ID[/N]": tr("A task, as 12 or LAST; 12/2 is its second picture."),
    "--concurrency": tr("Tasks at the service at once, or unlimited."),
    "--dry-run": tr("Show what would be sent; send nothing."),
    "--budget": tr("Spend no more: 5usd, or 5usd/day in all."),
    "--may-repeat": tr("Also what may be billed already: it can pay twice."),
    "--key-stdin": tr("Read the key from stdin."),
    "--search": tr("Only prompts with all of these words."),
    "--yes": tr("Do not ask."),
}
"""What `--help` says where a command does not fit 24 lines."""

COMMON = (
    "PROMPT", "WORDS", "FILE", "ID", "KIND", "--model", "--vary", "--provider", "--output", "--dry-run", "--budget",
    "--failed", "--run", "--may-repeat", "--ratio", "--factor", "--state", "--search", "--since", "--older",
    "--kind", "--key-env", "--set", "--key-stdin", "--base-url", "--concurrency", "--count", "--skip-sent",
    "--limit", "--size", "--open", "--receipts", "--yes", "--json",
)  # fmt: skip
"""What `--help` shows of a command whose options do not fit 24 lines; `imagegen help COMMAND` shows all of them.
Where even these do not fit, the last ones are left out."""

EXAMPLES: dict[str, tuple[str, ...]] = {
    "run": (
        'imagegen run "a lighthouse in a storm" "a red fox in the snow"',
        'imagegen run "a red fox" -m 3.0 -m 4.0 --ratio 16:9 --seed 7',
        'imagegen run "a {animal}" --vary animal=fox,cat --dry-run',
    ),
    "batch": (
        "imagegen batch prompts.txt -o pictures",
        "imagegen batch prompts.csv --columns prompt=Caption --dry-run",
    ),
    "studio": ("imagegen studio", "imagegen studio -m 4.0 --ratio 16:9"),
    "again": ("imagegen again LAST", 'imagegen again LAST "a blue fox" --ratio 1:1'),
    "edit": ('imagegen edit LAST "make it night"', 'imagegen edit LAST/1 "add snow" --dry-run'),
    "upscale": ("imagegen upscale LAST -p local", "imagegen upscale LAST/1 --factor 4 -p local"),
    "watch": ("imagegen watch", "imagegen watch --run LAST --replay --speed 4"),
    "cancel": ("imagegen cancel 12 13", "imagegen cancel --queued", "imagegen cancel --run LAST"),
    "resume": ("imagegen resume", "imagegen resume 12", "imagegen resume --receipts receipts.txt"),
    "retry": ("imagegen retry --failed --dry-run", "imagegen retry 12 13", "imagegen retry --reason busy --yes"),
    "list": ("imagegen list --state failed", 'imagegen list --search "red fox" --since 7d', "imagegen list --json"),
    "show": ("imagegen show LAST", "imagegen show LAST --json"),
    "runs": ("imagegen runs", "imagegen runs --since 7d"),
    "open": ("imagegen open LAST", "imagegen open 12/2"),
    "sheet": ("imagegen sheet", "imagegen sheet --run LAST -o compared.png", "imagegen sheet LAST -2 --dark"),
    "gallery": ("imagegen gallery", "imagegen gallery --favourite -o best.html", "imagegen gallery --since 7d --open"),
    "info": ("imagegen info images", "imagegen info images --json"),
    "favourite": ("imagegen favourite LAST", "imagegen favourite LAST/1 --not"),
    "export": ("imagegen export -o history.jsonl", "imagegen export --format csv --since 30d"),
    "forget": ("imagegen forget --older 90d --dry-run", "imagegen forget LAST --files --yes"),
    "costs": ("imagegen costs --by model --since 7d", "imagegen costs --json"),
    "credits": ("imagegen credits", "imagegen credits sketch --json"),
    "settle": ("imagegen settle 12 --unpaid", "imagegen settle --all --paid --amount 0.04usd"),
    "init": (
        "imagegen init",
        "imagegen init --kind fal --key-env FAL_KEY --yes",
        "imagegen init --kind dreamina --base-url http://127.0.0.1:5000 --yes",
    ),
    "doctor": ("imagegen doctor", "imagegen doctor sketch --json", "imagegen doctor --fix"),
    "providers": ("imagegen providers", "imagegen providers openai"),
    "models": ("imagegen models", "imagegen models sketch --json"),
    "config": (
        "imagegen config show --origin",
        "imagegen config set output pictures",
        "imagegen config edit",
    ),
    "config path": ("imagegen config path",),
    "config show": ("imagegen config show", "imagegen config show --origin"),
    "config check": ("imagegen config check",),
    "config set": (
        "imagegen config set default_provider sketch",
        "imagegen config set models.hero sketch/4.0",
        "imagegen config set providers.fal.api_key env:FAL_KEY",
    ),
    "config unset": ("imagegen config unset output", "imagegen config unset models.hero --project"),
    "config edit": ("imagegen config edit", "imagegen config edit --project"),
    "completion": ("imagegen completion zsh", "imagegen completion bash --install"),
    "help": ("imagegen help", "imagegen help scripting", "imagegen help run"),
    "schema": ("imagegen schema task", "imagegen schema"),
    "skill": ("imagegen skill", "imagegen skill > SKILL.md"),
    "work": ("imagegen work --once", "imagegen work -p sketch -j 4 --once"),
    "history": (
        "imagegen history migrate old.db new.db",
        "imagegen history migrate history.db postgresql://studio@127.0.0.1/imagegen",
    ),
    "history migrate": (
        "imagegen history migrate old.db new.db",
        "imagegen history migrate history.db postgresql://studio@127.0.0.1/imagegen",
    ),
}
"""Commands that can be pasted; a test starts each of them."""


def commands() -> dict[str, str]:
    """Every command that `imagegen --help` shows, with what it is for."""
    return {name: use for group in COMMANDS.values() for name, use in group.items()}
