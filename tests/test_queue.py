"""`--queue`: what is said to it is kept with the tasks and obeyed by their workers, or refused."""

import asyncio
import inspect
import io
import shlex
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from imagegen_cli import cli
from imagegen_cli.commands.options import SpendOptions
from imagegen_cli.commands.outages import Outages
from imagegen_cli.commands.spending import Spending
from imagegen_cli.commands.work import Left, Queue, say_what_is_left
from imagegen_cli.core.errors import HistoryError
from imagegen_cli.core.events import TaskAdded, TaskChanged
from imagegen_cli.core.language import Message
from imagegen_cli.core.task import Done
from imagegen_cli.display import PlainLines
from imagegen_cli.settings.config import load_config
from tests import clock
from tests.doubles.dreamina import DreaminaServer
from tests.doubles.http import HELD, Pictures, Reply
from tests.histories import KINDS, opened, place
from tests.program import Program, finished
from tests.test_display_board import board_with, task

CONFIG = """
[providers.studio]
kind = "dreamina"
base_url = "{url}"
poll = 0.02
concurrency = 4
"""
PRICED = '[prices]\n"studio/*" = "0.04usd"\n' + CONFIG
PICTURES_EACH = 4
"""What the double makes for a prompt: a task costs 0.16 usd at 0.04 usd a picture."""


@pytest.fixture
def server() -> Iterator[DreaminaServer]:
    with DreaminaServer(pictures=Pictures("png", (8, 8)), seconds=0.1) as server:
        yield server


@pytest.fixture
def program(tmp_path: Path, server: DreaminaServer) -> Program:
    return Program(tmp_path, CONFIG.format(url=server.url))


@pytest.fixture(params=KINDS)
def team(request: pytest.FixtureRequest, program: Program, tmp_path: Path) -> Program:
    """The same with either kind of history."""
    where = place(request.param, tmp_path)
    program.use_history(where)
    return program


def queue(program: Program, count: int, *words: str) -> str:
    """Queue a list of prompts. Returns what was said."""
    (program.folder / "list.txt").write_text("\n".join(f"prompt {number}" for number in range(count)))
    ended = program.run("batch", "list.txt", "-p", "studio", "--queue", "--yes", *words)
    assert ended.code == 0, ended.err
    return ended.err


def states(program: Program) -> Counter[str]:
    return Counter(task["state"] for task in program.tasks())


# Options

PLANNING = (
    "provider", "model", "pictures", "ratio", "resolution", "size", "seed", "negative", "image", "extra", "vary",
    "zipped", "alternatives", "repeat", "format", "encoding", "columns", "dry_run", "yes", "again", "skip_sent",
    "prompts", "each", "picture", "files", "allow_outside", "task", "prompt", "words", "factor", "queue",
)  # fmt: skip
"""Options and arguments that say which tasks there are: they are obeyed before anything is queued."""
KEPT = {"output": "-o", "name": "--name", "budget": "--budget", "assume_price": "--assume-price",
        "no_metadata": "--no-metadata", "sidecar": "--sidecar"}  # fmt: skip
"""Options that are kept with the tasks; a test below each shows that workers obey."""
HERE = ("json", "quiet")
"""Options about what `--queue` itself says."""
REFUSED = {
    "concurrency": (["-j", "2"], "imagegen work -j 2"),
    "timeout": (["--timeout", "9"], "imagegen work --timeout 9"),
    "progress": (["--progress", "plain"], "imagegen work --progress plain"),
    "preview": (["--preview", "on"], "imagegen work --preview on"),
    "notify": (["--notify"], "imagegen work --notify"),
    "hook": (["--exec", "cp {path} team"], "imagegen work --exec 'cp {path} team'"),
    "sheet": (["--sheet"], "imagegen sheet --run N"),
}
"""Options of the process that carries a task, how they are given, and what the refusal names instead."""


@pytest.mark.parametrize("command", [cli.run, cli.batch, cli.again_, cli.edit, cli.upscale])
def test_every_option_that_meets_queue_is_obeyed_kept_or_refused(command: object) -> None:
    assert callable(command)
    names = set(inspect.signature(command).parameters)
    assert "queue" in names
    assert names <= {*PLANNING, *KEPT, *HERE, *REFUSED}


def test_the_other_commands_that_send_take_no_queue() -> None:
    assert "queue" not in inspect.signature(cli.retry).parameters


@pytest.mark.parametrize("field", REFUSED)
@pytest.mark.parametrize("command", [("run", "a cat"), ("batch", "list.txt")], ids=lambda words: words[0])
def test_what_belongs_to_the_worker_is_refused_with_the_command_that_takes_it(
    program: Program, command: tuple[str, str], field: str
) -> None:
    (program.folder / "list.txt").write_text("a cat\na dog\n")
    words, instead = REFUSED[field]
    ended = program.run(*command, "-p", "studio", "--queue", "--yes", *words)
    assert ended.code == 2, ended.err
    assert words[0].replace("-j", "-j ").strip() in ended.err
    assert "nothing was queued" in ended.err
    assert instead in ended.err
    assert program.run("list").code == 4


def test_variables_of_the_environment_are_settings_of_this_machine_but_for_what_comes_of_the_tasks(
    program: Program,
) -> None:
    words = ("run", "a cat", "-p", "studio", "--queue")
    assert program.run(*words, IMAGEGEN_PROGRESS="plain", IMAGEGEN_CONCURRENCY="2").code == 0
    assert program.run(*words, IMAGEGEN_EXEC="true").code == 2
    assert program.run(*words, "--progress", "plain", IMAGEGEN_PROGRESS="plain").code == 2


@pytest.mark.parametrize(("option", "kept"), [("--sidecar", "sidecar"), ("--no-metadata", "none")])
def test_marks_name_and_folder_are_kept_with_the_tasks(program: Program, option: str, kept: str) -> None:
    queue(program, 1, option, "-o", "there", "--name", "mine-{index}")
    assert program.tasks()[0]["facts"]["marks"] == kept
    assert program.run("work", "--once", "-q").code == 0
    names = {path.name for path in (program.folder / "there").iterdir()}
    assert {f"mine-{number}.png" for number in range(1, PICTURES_EACH + 1)} <= names
    assert any(name.endswith(".json") for name in names) == (option == "--sidecar")
    assert all(b"imagegen" not in path.read_bytes() for path in (program.folder / "there").glob("*.png"))


def test_quiet_says_nothing_and_json_gives_the_tasks(program: Program) -> None:
    assert queue(program, 2, "-q") == ""
    ended = program.run("run", "a cat", "-p", "studio", "--queue", "--json")
    assert (ended.code, [task["state"] for task in ended.objects]) == (0, ["queued"])


# Money


def test_the_budget_of_a_queued_list_holds_over_all_workers(team: Program, server: DreaminaServer) -> None:
    queue(team, 6, "--budget", "0.40usd", "--assume-price", "0.04usd")
    workers = [team.start("work", "--once", "-q", "-j", "1") for _ in range(2)]
    ended = [finished(worker) for worker in workers]
    assert len(server.jobs) == 2, "two tasks at 0.16 usd fit into 0.40 usd"
    assert 6 in [one.code for one in ended], ended
    assert states(team) == {"done": 2, "cancelled": 4}
    said = "".join(one.err for one in ended)
    assert "of 0.40 usd is spent or reserved" in said
    assert "imagegen retry" in said
    assert "--budget 0.40usd --assume-price 0.04usd" in said
    assert team.run("work", "--once").code == 4, "what is left is in the queue no more"


def test_a_worker_goes_on_with_other_runs_where_the_budget_of_one_is_reached(
    team: Program, server: DreaminaServer
) -> None:
    queue(team, 4, "--budget", "0.20usd", "--assume-price", "0.04usd")
    (team.folder / "other.txt").write_text("another 1\nanother 2")
    assert team.run("batch", "other.txt", "-p", "studio", "--queue", "--yes").code == 0
    ended = team.run("work", "--once", "--progress", "plain")
    assert ended.code == 6, ended.err
    assert len(server.jobs) == 3
    assert "budget: run 1: 0.16 usd of 0.20 usd" in ended.err
    assert "3 tasks not sent: run 1:" in ended.err
    assert team.run("batch", "list.txt", "-p", "studio", "--queue", "--yes").code == 0
    assert team.run("work", "--once", "-q").code == 0, "queued anew without a budget, the rest is sent"
    assert len(server.jobs) == 6


def test_what_a_person_cancelled_is_not_named_with_what_the_budget_left(team: Program, server: DreaminaServer) -> None:
    money = ("--budget", "0.20usd", "--assume-price", "0.04usd")
    queue(team, 4, *money)
    queue(team, 4, *money, "--again")
    assert team.run("cancel", "3", "6").code == 0
    ended = team.run("work", "--once", "-j", "1", "--progress", "plain")
    assert ended.code == 6, ended.err
    commands = [line.partition("imagegen retry ")[2] for line in ended.err.splitlines() if "imagegen retry" in line]
    assert [command.partition(" --")[0] for command in commands] == ["2 4", "7 8"]
    assert len(server.jobs) == 2


@pytest.mark.parametrize("period", ["day", "month"])
def test_a_budget_of_a_period_is_kept_too(program: Program, server: DreaminaServer, period: str) -> None:
    queue(program, 4, "--budget", f"0.20usd/{period}", "--assume-price", "0.04usd")
    ended = program.run("work", "--once", "-q")
    assert ended.code == 6
    assert f"raise the budget or wait until the {period} is over, then imagegen retry 2 3 4 --budget" in ended.err
    assert len(server.jobs) == 1


def test_prices_of_the_settings_here_hold_where_the_worker_has_none(program: Program, server: DreaminaServer) -> None:
    program.configure(PRICED.format(url=server.url))
    queue(program, 3, "--budget", "0.20usd")
    program.configure(CONFIG.format(url=server.url))
    assert program.run("work", "--once", "-q").code == 6
    assert len(server.jobs) == 1


def test_an_assumed_price_is_counted_by_the_budget_of_the_worker(program: Program, server: DreaminaServer) -> None:
    queue(program, 3, "--assume-price", "0.04usd")
    assert program.run("work", "--once", "-q", "--budget", "0.20usd").code == 6
    assert len(server.jobs) == 1
    assert states(program) == {"done": 1, "queued": 2}, "a budget of the worker leaves the rest to others"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--once", "--once"),
        ("--once -q", "--once"),
        ("--once -p studio", "-p studio --once"),
        (
            "--once -j2 -o 'my pictures' --timeout 50 --exec 'echo {path}' --progress plain",
            "-o 'my pictures' --once --exec 'echo {path}' --timeout 50 -j 2 --progress plain",
        ),
    ],
)
def test_a_worker_whose_own_budget_is_reached_names_the_command_that_goes_on(
    team: Program, server: DreaminaServer, words: str, told: str
) -> None:
    queue(team, 3)
    money = "--budget 0.20usd --assume-price 0.04usd"
    ended = team.run("work", *shlex.split(f"{words} {money}"))
    assert ended.code == 6
    command = f"imagegen work {told} {money}"
    last = ended.err.splitlines()[-1]
    assert last.startswith("2 tasks wait in the queue, not sent: 0.16 usd of 0.20 usd is spent"), ended.err
    assert last.endswith(f"; {command}")
    assert "another process" not in ended.err
    assert team.run(*shlex.split(command)[1:], "-q").code == 6
    assert (states(team), len(server.jobs)) == ({"done": 2, "queued": 1}, 2)


def test_a_worker_names_the_raised_budget_where_no_task_fits(program: Program, server: DreaminaServer) -> None:
    queue(program, 1)
    ended = program.run("work", "--once", "-q", "--budget", "0.10usd", "--assume-price", "0.04usd")
    assert ended.code == 6
    assert "raise the budget, then imagegen work --once --budget 0.16usd --assume-price 0.04usd" in ended.err


@pytest.mark.parametrize("words", [("-p", "studio"), ("-p", "studio", "--once"), ("--once",)], ids=" ".join)
@pytest.mark.parametrize(
    ("status", "first"),
    [(401, "check the key (imagegen config show)"), (403, "check the key (imagegen config show)"), (402, "top up")],
)
def test_a_worker_whose_account_is_refused_says_what_waits_and_the_command_that_goes_on(
    program: Program, server: DreaminaServer, words: tuple[str, ...], status: int, first: str
) -> None:
    queue(program, 6)
    server.fail("submit", Reply.json({"detail": "no"}, status), times=None, after=2)
    ended = program.run("work", *words, "-j", "1", "--progress", "plain")
    left = states(program)["queued"]
    assert left >= 2, ended.err
    said = f"{left} tasks wait in the queue, not sent: studio: HTTP {status}: no; {first}, then imagegen work"
    last = ended.err.splitlines()[-1]
    assert last == " ".join((said, *words, "-j 1 --progress plain"))
    server.heal()
    assert program.run(*shlex.split(last.partition("then imagegen ")[2]), "--once", "-q").code == 0
    assert "queued" not in states(program)


def test_a_worker_that_lost_its_history_says_what_waits_there(
    program: Program, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    queue(program, 3)
    monkeypatch.setenv("IMAGEGEN_HOME", str(program.home))
    with closing(opened(program.home / "history.db")) as store:
        feed = Queue(store, {"studio": 2}, folder="", once=False)
        feed.error = HistoryError("the history cannot be written")
        spending = Spending(load_config(), SpendOptions(), ["studio"])
        say_what_is_left(Left(store, spending, "imagegen work"), feed, "")
    said = "3 tasks wait in the queue, not sent: the history cannot be written; once the history can be written again:"
    assert f"{said} imagegen work" in capsys.readouterr().err


@pytest.mark.parametrize("display", [("--progress", "plain"), ("-q",)], ids=" ".join)
@pytest.mark.parametrize(
    ("knows", "given", "printed"),
    [
        ((True, True), "", ""),
        ((True, False), "", " --assume-price 0.04usd"),
        ((False, False), " --assume-price 0.04usd", " --assume-price 0.04usd"),
        ((True, True), " --assume-price 0.05usd", " --assume-price 0.05usd"),
    ],
    ids=["of the settings", "of the settings that queued", "given", "given, and of the settings"],
)
def test_one_command_sends_what_a_queued_budget_left_and_says_what_it_may_spend_more(
    program: Program,
    server: DreaminaServer,
    display: tuple[str, ...],
    knows: tuple[bool, bool],
    given: str,
    printed: str,
) -> None:
    settings = [(PRICED if one else CONFIG).format(url=server.url) for one in knows]
    program.configure(settings[0])
    queue(program, 6, "--budget", "0.40usd", *given.split())
    program.configure(settings[1])
    ended = program.run("work", "--once", "-j", "2", *display)
    assert ended.code == 6, ended.err
    (line,) = [line for line in ended.err.splitlines() if "imagegen retry" in line]
    assert line.startswith("4 tasks not sent: run 1: 0.32 usd of 0.40 usd is spent or reserved")
    assert line.endswith(f"; this may spend up to 0.40 usd more: imagegen retry 3 4 5 6 --budget 0.40usd{printed}")
    command = line.partition("more: imagegen ")[2]
    assert program.run(*command.split(), "-q").code == 6
    assert len(server.jobs) == 4


def commands_in(text: str) -> list[str]:
    return [line.partition("imagegen retry")[2] for line in text.splitlines() if "imagegen retry" in line]


@pytest.mark.parametrize(
    "words", [("run", "--each", "a #30", "b", "c", "d", "-p", "studio"), ("work", "--once")], ids=" ".join
)
@pytest.mark.parametrize("display", [("--progress", "plain"), ("--json",)], ids=" ".join)
def test_every_command_that_sends_has_the_budget(
    team: Program, server: DreaminaServer, words: tuple[str, ...], display: tuple[str, ...]
) -> None:
    """Of the command itself, and of the one that has queued a task, also where they are printed later."""
    money = ("--budget", "0.40usd", "--assume-price", "0.04usd")
    if words[0] == "work":
        assert team.run("run", "--each", "a #30", "b", "c", "d", "-p", "studio", "--queue", *money).code == 0
    ended = team.run(*words, *display, "-j", "1", *(() if words[0] == "work" else money))
    assert ended.code == 6, ended.err
    said = commands_in(ended.err + ended.out)
    assert len(said) > 1
    assert all("--budget 0.40usd --assume-price 0.04usd" in one for one in said), said
    if words[0] == "work":
        later = [["show", "1"], ["show", "1", "--json"], ["list", "--json"], ["resume", "1"]]
        told = [team.run(*command) for command in later]
        shown = commands_in("\n".join(" ".join((one.out + one.err).split()) for one in told))
        assert len(shown) == len(later)
        assert all("--budget 0.40usd --assume-price 0.04usd" in one for one in shown), shown


def test_which_budgets_hold_is_said_where_the_settings_have_some(program: Program, server: DreaminaServer) -> None:
    program.configure('[budget]\nday = "1usd"\n' + PRICED.format(url=server.url))
    assert "the budgets of the workers' settings hold" in queue(program, 1)


def test_a_task_that_a_person_sends_again_is_held_to_the_budget_of_that_command_alone(
    program: Program, server: DreaminaServer
) -> None:
    queue(program, 3, "--budget", "0.20usd", "--assume-price", "0.04usd")
    assert program.run("work", "--once", "-q").code == 6
    assert program.run("retry", "--cancelled", "--yes", "-q").code == 0
    assert len(server.jobs) == 3


# What is said of tasks that wait

WAIT = "wait for workers, and nothing of them is sent yet: imagegen work"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["list"], 0, f"3 tasks {WAIT}"),
        (["resume"], 4, f"3 tasks {WAIT}"),
        (["resume", "--run", "1"], 4, f"3 tasks {WAIT}"),
        (["watch"], 4, f"3 tasks {WAIT}"),
        (["doctor"], 0, f"3 tasks {WAIT}"),
        (["show", "1"], 0, "none: the task waits for a worker; imagegen work carries it"),
        (["runs"], 0, "3 wait for workers"),
        (["--lang", "zh", "list"], 0, "imagegen work"),
        (["--lang", "zh", "show", "1"], 0, "imagegen work"),
        (["--lang", "zh", "runs"], 0, "worker"),
    ],
    ids=str,
)
def test_what_waits_for_workers_is_told_to_be_carried_by_work(
    team: Program, words: list[str], code: int, said: str
) -> None:
    queue(team, 3)
    ended = team.run(*words)
    assert ended.code == code, ended.err
    shown = " ".join((ended.out + ended.err).split())
    assert said in shown
    assert "has ended" not in shown
    assert "imagegen resume" not in shown
    assert "3 unfinished" not in shown
    assert "are unfinished" not in shown


def test_what_a_command_queues_is_told_from_what_waited_already(team: Program) -> None:
    assert "3 tasks wait for workers in run 1, and nothing is sent yet" in queue(team, 3)
    assert "nothing new is queued: 3 tasks of the list waited for workers already, now in run 2" in queue(team, 3)
    assert "5 tasks wait for workers in run 3, 3 of them waited already" in queue(team, 5)
    assert states(team) == {"queued": 5}


# Files that a task starts from


def picture(program: Program, name: str, side: int = 8) -> Path:
    path = program.folder / name
    path.write_bytes(Pictures("png", (side, side)).make("start", 1))
    return path


def queue_with(program: Program, path: Path, count: int) -> None:
    words = ("run", *(f"prompt {number}" for number in range(count)), "--image", str(path), "-p", "studio", "--queue")
    ended = program.run(*words, "--yes")
    assert ended.code == 0, ended.err


def test_tasks_whose_file_a_worker_lacks_stay_in_the_queue(team: Program, server: DreaminaServer) -> None:
    path = picture(team, "start.png")
    queue_with(team, path, 60)
    path.rename(team.folder / "away.png")
    ended = team.run("work", "--once", "--progress", "plain")
    assert ended.code == 4, ended.err
    assert ended.err.count(f"left in the queue for other workers: {path} is not on this machine") == 1
    assert "60 tasks are left in the queue" in ended.err
    assert (states(team), len(server.jobs)) == ({"queued": 60}, 0)
    (team.folder / "away.png").rename(path)
    assert team.run("work", "--once", "-q").code == 0
    assert states(team) == {"done": 60}


def test_a_worker_carries_what_it_can_and_says_what_is_left(team: Program, server: DreaminaServer) -> None:
    path = picture(team, "start.png")
    queue_with(team, path, 3)
    queue(team, 2)
    path.unlink()
    ended = team.run("work", "--once", "--progress", "plain")
    assert ended.code == 1, ended.err
    assert "3 tasks are left in the queue" in ended.err
    assert (states(team), len(server.jobs)) == ({"queued": 3, "done": 2}, 2)


def test_a_file_that_was_replaced_since_it_was_queued_is_not_sent(team: Program, server: DreaminaServer) -> None:
    path = picture(team, "start.png")
    before = path.read_bytes()
    queue_with(team, path, 2)
    picture(team, "start.png", 16)
    ended = team.run("work", "--once", "-q")
    assert ended.code == 4, ended.err
    assert "another picture here than the one that was queued" in ended.err
    assert "imagegen cancel" in ended.err
    assert server.jobs == {}
    path.write_bytes(before)
    assert team.run("work", "--once", "-q").code == 0
    assert len(server.jobs) == 2


def test_a_file_that_is_replaced_while_its_task_waits_in_a_worker_is_not_sent(
    program: Program, server: DreaminaServer
) -> None:
    server.seconds = HELD
    path = picture(program, "start.png")
    queue_with(program, path, 3)
    worker = program.start("work", "--once", "--progress", "plain", "-j", "1")
    while not server.jobs:
        assert worker.poll() is None
        time.sleep(0.01)
    picture(program, "start.png", 16)
    server.release()
    ended = finished(worker)
    assert ended.code == 1, ended.err
    assert (states(program), len(server.jobs)) == ({"queued": 2, "done": 1}, 1)


def test_a_worker_that_stays_takes_a_task_once_its_file_is_there(program: Program, server: DreaminaServer) -> None:
    path = picture(program, "start.png")
    queue_with(program, path, 1)
    path.rename(program.folder / "away.png")
    with closing(opened(program.home / "history.db")) as store:
        feed = Queue(store, {"studio": 4}, folder="", once=False)
        assert store.claim_queued(["studio"], 9, fits=feed.fits) == []
        (program.folder / "away.png").rename(path)
        assert [task.id for task in store.claim_queued(["studio"], 9, fits=feed.fits)] == [1]


def test_what_no_service_refused_is_not_said_to_be_refused_by_one(program: Program, server: DreaminaServer) -> None:
    path = picture(program, "start.png")
    queue_with(program, path, 1)
    path.unlink()
    assert program.run("cancel", "1").code == 0
    assert program.run("retry", "1", "-q").code == 1
    said = program.run("retry", "--failed").err
    assert "as they stand they would be refused again: 1" in said
    assert "service" not in said
    assert server.jobs == {}


# What an idle worker says


def test_an_idle_worker_says_nothing_of_no_tasks_and_each_count_once() -> None:
    said = io.StringIO()
    board = board_with()
    lines = PlainLines(board, stderr=said)

    async def idle(seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(lines.run(), seconds)

    clock.run(idle(200))
    assert said.getvalue() == ""
    for event in (TaskAdded(1.0, task(1)), TaskChanged(2.0, task(1, Done(("a.png",))))):
        board.tell(event)
    clock.run(idle(200))
    assert said.getvalue().splitlines() == ["[1/1] 1 done"]


def test_an_outage_is_told_once_and_its_end_once_and_no_other_for_minutes() -> None:
    said: list[str] = []
    outages = Outages()

    async def flapping() -> None:
        for _ in range(20):  # ten seconds each: three minutes and more
            for _ in range(3):
                outages.begins(Message("it cannot be reached"), said.append)
            await asyncio.sleep(5)
            outages.ends(said.append)
            await asyncio.sleep(5)

    clock.run(flapping())
    assert said == ["it cannot be reached", "the history is there again"] * 2
