"""The contract of the command line: streams, exit codes, words. By subprocess, against the origin's server."""

import json
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from imagegen_cli import __version__
from tests.doubles.dreamina import DreaminaServer
from tests.doubles.http import CONNECT, HELD, Fault, Pictures, Reply
from tests.program import Program, finished, interrupt, next_line, without_site

CONFIG = """
default_provider = "studio"
[providers.studio]
kind = "dreamina"
base_url = "{url}"
poll = 0.05
"""


@pytest.fixture
def server() -> Iterator[DreaminaServer]:
    with DreaminaServer(polls=2, pictures=Pictures("png", (16, 16))) as server:
        yield server


@pytest.fixture
def studio(tmp_path: Path, server: DreaminaServer) -> Program:
    return Program(tmp_path, CONFIG.format(url=server.url))


@pytest.fixture
def alone(tmp_path: Path) -> Program:
    """No service, no settings: what a fresh machine has."""
    return Program(tmp_path)


def test_version_and_help(alone: Program) -> None:
    assert alone.run("--version").out == f"imagegen {__version__}\n"
    assert "batch" in alone.run("--help").out
    assert "--concurrency" in alone.run("run", "--help").out
    assert alone.run("run", "-h").code == 0


def test_the_first_command_of_the_readme_needs_nothing(alone: Program) -> None:
    ended = alone.run("run", "two cats on a beach at sunset, 日落海滩上的两只猫", "--model", "4.0", "--size", "128x128")
    assert ended.code == 0
    assert [Path(line).suffix for line in ended.lines] == [".png"]
    assert Path(ended.lines[0]).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert "日落海滩上的两只猫" in Path(ended.lines[0]).name
    assert "no AI model" in ended.err


def test_paths_go_to_stdout_and_words_to_stderr(studio: Program) -> None:
    ended = studio.run("run", "a cat", "一只猫")
    assert ended.code == 0
    assert sorted(Path(line) for line in ended.lines) == studio.pictures()
    assert len(ended.lines) == 8
    assert "2 done" in ended.err
    assert "\x1b" not in ended.out + ended.err


def test_a_locale_that_knows_only_ascii_costs_no_picture(studio: Program) -> None:
    bare = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONPATH": without_site()}
    ended = finished(studio.start("run", "两只猫 at sea", flags=["-S"], environment=bare))
    assert ended.code == 0
    assert [Path(line).name for line in ended.lines] == [f"1-at-sea-{number}.png" for number in range(1, 5)]
    assert [task["prompt"] for task in studio.tasks()] == ["两只猫 at sea"]


def test_prompts_from_stdin(studio: Program) -> None:
    ended = studio.run("run", "-", stdin="a cat\n\n# a comment\n一只狗\n")
    assert ended.code == 0
    assert [task["prompt"] for task in studio.tasks()] == ["a cat", "一只狗"]


def test_models_are_compared(studio: Program, server: DreaminaServer) -> None:
    assert studio.run("run", "a cat", "-m", "3.0", "-m", "4.0").code == 0
    assert sorted(request.json()["model"] for request in server.requests_of("submit")) == ["3.0", "4.0"]


def test_json_is_events_and_one_summary(studio: Program) -> None:
    ended = studio.run("run", "a cat", "#fail", "--json")
    assert ended.code == 1
    assert all(event["v"] == 1 for event in ended.objects)
    assert [event["event"] for event in ended.objects].count("summary") == 1
    summary = ended.objects[-1]
    assert (summary["done"], summary["failed"], summary["reasons"]) == (1, 1, {"moderated": 1})


def test_quiet_says_nothing_but_paths(studio: Program) -> None:
    ended = studio.run("run", "a cat", "--quiet")
    assert (ended.code, ended.err) == (0, "")
    assert len(ended.lines) == 4


def test_a_dry_run_sends_nothing_and_leaves_nothing(studio: Program, server: DreaminaServer) -> None:
    ended = studio.run("run", "a cat", "-m", "4.0", "--ratio", "16:9", "--dry-run")
    assert ended.code == 0
    plan = ended.objects[0]
    assert (plan["prompt"], plan["model"], plan["ratio"], plan["asked"]) == ("a cat", "4.0", "16:9", 4)
    assert str(studio.folder / "images") in plan["file"]
    assert server.counts["submit"] == 0
    assert not (studio.folder / "images").exists()


EXITS = [
    ("everything asked for is on disk", ["run", "a cat"], 0),
    ("some failed for good", ["run", "a cat", "#fail"], 1),
    ("fewer pictures than asked", ["run", "#partial"], 1),
    ("no such option", ["run", "a cat", "--nonsense"], 2),
    ("no such command", ["paint", "a cat"], 2),
    ("no picture at all", ["run", "a cat", "-n", "0"], 2),
    ("unknown provider", ["run", "a cat", "-p", "studioo"], 2),
    ("unknown model", ["run", "a cat", "-m", "9.9"], 2),
    ("unknown ratio", ["run", "a cat", "--ratio", "5:1"], 2),
    ("unusable size", ["run", "a cat", "--size", "big"], 2),
    ("unusable concurrency", ["run", "a cat", "-j", "0"], 2),
    ("empty prompt", ["run", "  "], 2),
    ("prompt too long", ["run", "x" * 1601], 2),
    ("unknown field in a name", ["run", "a cat", "--name", "{idd}"], 2),
    ("folder in a name", ["run", "a cat", "--name", "../{id}"], 2),
    ("no such list", ["batch", "nowhere.txt"], 2),
    ("no such task", ["show", "99"], 4),
    ("nothing to resume", ["resume"], 4),
    ("nothing to retry", ["retry", "--failed"], 4),
    ("nothing to cancel", ["cancel", "--all"], 4),
    ("nothing to watch", ["watch"], 4),
    ("an empty list", ["list"], 4),
    ("cancel what", ["cancel"], 2),
    ("retry where nothing failed", ["retry"], 4),
    ("no such reason", ["retry", "--reason", "weather"], 2),
    ("no such state", ["list", "--state", "asleep"], 2),
    ("no such kind", ["providers", "nothing"], 3),
]


@pytest.mark.parametrize(("why", "words", "code"), EXITS, ids=[row[0] for row in EXITS])
def test_exit_codes(studio: Program, server: DreaminaServer, why: str, words: list[str], code: int) -> None:
    ended = studio.run(*words)
    assert ended.code == code, ended.err
    if code in (2, 3, 4):
        assert server.counts["submit"] == 0
        assert ended.out == ""
        assert ended.err
        assert "Traceback" not in ended.err


def test_a_wrong_name_is_answered_with_the_nearest(studio: Program) -> None:
    assert "did you mean studio?" in studio.run("run", "a cat", "-p", "studo").err
    assert "did you mean slug?" in studio.run("run", "a cat", "--name", "{slugg}").err


LISTS = [
    ("binary", "list.txt", b"\x89PNG\r\n\x1a\n\0\0\0", "is a picture, not a list"),
    (
        "latin-1",
        "list.txt",
        "ein Bär läuft über die Straße é\n".encode("latin-1"),
        "list.txt:1: the line is not UTF-8; as cp1252",
    ),
    ("no prompt column", "list.csv", b"text_a,model\na cat,3.0\n", "no column is named prompt"),
    ("broken JSON", "list.jsonl", b'{"prompt": "a"}\n' * 6 + b'{"prompt": \n', "list.jsonl:7"),
    ("unknown field", "list.jsonl", b'{"prompt": "a", "modle": "3.0"}\n', "did you mean model?"),
    ("a megabyte", "list.txt", b"x" * 1_000_000, "list.txt:1"),
    ("an empty prompt", "list.csv", b"prompt,model\n ,3.0\n", "list.csv:2"),
    ("too long for this service", "list.txt", b"a cat\n" + b"y" * 1601 + b"\n", "list.txt:2: "),
    ("a NUL", "list.jsonl", b'{"prompt": "a\\u0000b"}\n', "NUL"),
    ("only comments", "list.txt", b"# nothing\n\n", "no prompt"),
]


@pytest.mark.parametrize(("why", "name", "data", "expected"), LISTS, ids=[row[0] for row in LISTS])
def test_a_bad_list_is_named_by_its_line_and_costs_nothing(
    studio: Program, server: DreaminaServer, why: str, name: str, data: bytes, expected: str
) -> None:
    (studio.folder / name).write_bytes(data)
    ended = studio.run("batch", name)
    assert ended.code in (2, 4)
    assert expected in ended.err
    assert server.counts["submit"] == 0


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16"])
def test_chinese_lists_are_read_in_the_encodings_people_have(studio: Program, encoding: str) -> None:
    (studio.folder / "提示词.txt").write_bytes("日落海滩上的两只猫，温暖的光\n雪山下的红色小屋\n".encode(encoding))
    assert studio.run("batch", "提示词.txt").code == 0
    assert [task["prompt"] for task in studio.tasks()] == ["日落海滩上的两只猫，温暖的光", "雪山下的红色小屋"]


HOSTILE = [
    "[bold]x[/bold]",
    "\x1b[2J\x1b]0;owned\x07",
    "../../etc/passwd",
    "100%",
    "{}{0}",
    "a\u202eb",
    "👨‍👩‍👧‍👦",
    "-rf",
]


def test_hostile_prompts_are_shown_literally_and_stay_in_their_folder(studio: Program) -> None:
    ended = studio.run("run", "--each", "--progress", "plain", "--", *HOSTILE)
    assert ended.code == 0
    assert "\x1b" not in ended.err
    assert "[bold]x" in ended.err
    assert all(path.parent == studio.folder / "images" for path in studio.pictures())
    assert len(studio.pictures()) == 4 * len(HOSTILE)
    listed = studio.run("list")
    assert "\x1b" not in listed.out
    assert "\u202e" not in listed.out


def test_text_of_the_service_is_shown_literally(studio: Program, server: DreaminaServer) -> None:
    evil = {"success": True, "completed": False, "failed": True, "error": "\x1b[31m[red]no[/red]\nline\x07"}
    server.fail("query", Reply.json(evil))
    ended = studio.run("run", "a cat")
    assert ended.code == 1
    assert "\x1b" not in ended.err
    assert "[red]no[/red]" in ended.err
    assert "\x1b" not in studio.run("show", "1").out


CONFIGS = [
    ("syntax", "default_provider = \n", "line 1"),
    ("unknown key", 'default_provider = "sketch"\noutptu = "x"\n', "config.toml:2"),
    ("nearest key", '[providers.a]\nkind = "dreamina"\nbase_ulr = "http://x"\n', "did you mean base_url?"),
    ("its line", '[providers.a]\nkind = "dreamina"\nbase_ulr = "http://x"\n', "config.toml:3"),
    ("wrong type", '[providers.a]\nkind = "dreamina"\nconcurrency = "many"\n', "must be a whole number"),
    ("unknown kind", '[providers.a]\nkind = "dreamian"\n', "did you mean dreamina?"),
    ("no address", '[providers.a]\nkind = "dreamina"\nbase_url = "ftp://localhost"\n', "http://"),
]


@pytest.mark.parametrize(("why", "text", "expected"), CONFIGS, ids=[row[0] for row in CONFIGS])
def test_a_wrong_setting_is_named(tmp_path: Path, why: str, text: str, expected: str) -> None:
    program = Program(tmp_path, text)
    for words in (["run", "a cat"], ["config", "check"]):
        ended = program.run(*words)
        assert ended.code == 3
        assert expected in ended.err


def test_a_missing_key_is_said_before_anything_is_sent(tmp_path: Path) -> None:
    program = Program(tmp_path, '[providers.a]\nkind = "dreamina"\napi_key = "env:NOBODY_SET_THIS"\n')
    ended = program.run("run", "a cat", "-p", "a")
    assert ended.code == 3
    assert "NOBODY_SET_THIS" in ended.err


def test_options_come_from_the_environment_too(studio: Program, server: DreaminaServer) -> None:
    assert studio.run("run", "a cat", IMAGEGEN_MODEL="4.0", IMAGEGEN_RATIO="3:4", IMAGEGEN_OUTPUT="elsewhere").code == 0
    sent = server.requests_of("submit")[0].json()
    assert (sent["model"], sent["ratio"]) == ("4.0", "3:4")
    assert len(list((studio.folder / "elsewhere").iterdir())) == 4


def test_a_service_that_is_not_there(studio: Program, server: DreaminaServer) -> None:
    server.fail(CONNECT, Fault.REFUSE, times=None)
    ended = studio.run("run", "a cat")
    assert ended.code == 1
    assert "cannot reach" in ended.err
    assert studio.tasks()[0]["reason"] == "network"


def test_lost_contact_keeps_the_receipt_and_resume_pays_nothing(studio: Program, server: DreaminaServer) -> None:
    server.fail("query", Fault.ERROR_500, times=3)
    ended = studio.run("run", "a cat")
    assert ended.code == 5
    assert "imagegen resume 1" in ended.err
    again = studio.run("resume")
    assert again.code == 0
    assert len(again.lines) == 4
    assert server.counts["submit"] == 1


def test_the_time_limit_keeps_the_receipt(studio: Program, server: DreaminaServer) -> None:
    ended = studio.run_out_of_time("#never")
    assert ended.code == 5
    assert studio.tasks()[0]["reason"] == "timeout"


def test_a_lost_answer_is_uncertain_and_not_sent_again(studio: Program, server: DreaminaServer) -> None:
    server.fail("submit", Fault.CLOSE_AFTER)
    ended = studio.run("run", "a cat")
    assert ended.code == 1
    assert studio.tasks()[0]["reason"] == "uncertain"
    assert studio.run("retry", "--failed").code == 4
    assert "--may-repeat" in studio.run("retry", "1").err
    assert server.counts["submit"] == 1
    assert studio.run("retry", "1", "--may-repeat").code == 0
    assert server.counts["submit"] == 2


def test_ctrl_c_is_said_at_once_and_leaves_no_half_files(studio: Program, server: DreaminaServer) -> None:
    process = studio.start("run", "#never one", "#never two", "--json")
    next_line(process, '"running"')
    interrupt(process)
    ended = finished(process)
    assert ended.code == 130
    assert '"run-stopping"' in ended.out
    states = {task["state"] for task in studio.tasks()}
    assert states == {"cancelled"}
    assert studio.pictures() == [] or all(path.suffix == ".png" for path in studio.pictures())


def test_sigterm_ends_in_good_order(studio: Program) -> None:
    process = studio.start("run", "#never one", "--json")
    next_line(process, '"running"')
    process.send_signal(signal.SIGTERM)
    assert finished(process).code == 143
    assert studio.tasks()[0]["state"] == "cancelled"


def test_a_terminal_that_goes_away_leaves_everything_to_resume(studio: Program, server: DreaminaServer) -> None:
    process = studio.start("run", "a cat #never", "--json")
    next_line(process, '"running"')
    process.send_signal(signal.SIGHUP)
    assert finished(process).code == 129
    assert studio.tasks()[0]["state"] == "running"


def test_cancel_from_another_terminal(studio: Program) -> None:
    process = studio.start("run", "#never one", "--json")
    next_line(process, '"running"')
    ended = studio.run("cancel", "1")
    assert ended.code == 0
    assert ended.out == "1 the service goes on, credits may be used; imagegen resume 1 fetches what it makes\n"
    assert finished(process).code == 5
    again = studio.run("cancel", "1")
    assert again.code == 4
    assert "already cancelled" in again.out


def test_work_that_nobody_carries_any_more_is_cancelled_too(studio: Program, server: DreaminaServer) -> None:
    process = studio.start("run", "a cat #never", "--progress", "json")
    next_line(process, "task-progressed")
    process.kill()
    finished(process)
    ended = studio.run("cancel", "1")
    assert ended.code == 0
    assert ended.out.startswith("1 the service goes on")
    assert studio.tasks()[0]["state"] == "cancelled"


def test_two_processes_share_one_history(studio: Program) -> None:
    processes = [studio.start("run", *(f"cat {number} {n}" for n in range(10)), "-q") for number in range(3)]
    assert [finished(process).code for process in processes] == [0, 0, 0]
    tasks = studio.tasks()
    assert [task["id"] for task in tasks] == list(range(1, 31))
    assert all(task["state"] == "done" and len(task["files"]) == 4 for task in tasks)


def test_a_reader_that_goes_away_is_no_error(studio: Program) -> None:
    with studio.start("run", "a cat", "a dog") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        errors = process.stderr.read()
        assert process.wait(60) == 0
    assert "Traceback" not in errors
    assert len(studio.pictures()) == 8


def test_the_history_is_only_for_its_owner(studio: Program) -> None:
    studio.run("run", "a cat")
    for path in studio.home.iterdir():
        assert not stat.S_IMODE(path.stat().st_mode) & 0o077, path


def test_a_damaged_history_is_said(studio: Program, server: DreaminaServer) -> None:
    (studio.home / "history.db").write_bytes(b"this is no database at all, but a text of some length\n" * 100)
    ended = studio.run("run", "a cat")
    assert ended.code == 3
    assert "damaged" in ended.err
    assert server.counts["submit"] == 0


def test_a_newer_history_is_refused(studio: Program, server: DreaminaServer) -> None:
    studio.run("run", "a cat")
    with closing(sqlite3.connect(studio.home / "history.db", isolation_level=None)) as database:
        database.execute("PRAGMA user_version = 999")
    ended = studio.run("run", "a cat")
    assert ended.code == 3
    assert "newer imagegen" in ended.err
    assert server.counts["submit"] == 1


def test_a_folder_that_cannot_be_written_costs_nothing(studio: Program, server: DreaminaServer) -> None:
    (studio.folder / "file").write_text("not a folder")
    ended = studio.run("run", "a cat", "-o", "file")
    assert ended.code == 2
    assert "cannot write into" in ended.err
    assert server.counts["submit"] == 0


def test_batch_again_sends_only_what_is_new(studio: Program, server: DreaminaServer) -> None:
    list_ = studio.folder / "list.txt"
    list_.write_text("a cat\na dog\na cat\n")
    assert studio.run("batch", "list.txt").code == 0
    assert server.counts["submit"] == 3
    again = studio.run("batch", "list.txt")
    assert (again.code, again.out) == (0, "")
    assert "skipped 3" in again.err
    list_.write_text("# moved and longer\na bird\na dog\na cat\na cat\na cat\n")
    assert studio.run("batch", "list.txt").code == 0
    assert server.counts["submit"] == 5
    assert studio.run("batch", "list.txt", "--again").code == 0
    assert server.counts["submit"] == 10


def test_an_old_task_is_made_again_with_a_change(studio: Program, server: DreaminaServer) -> None:
    studio.run("run", "a cat", "-m", "3.0", "--ratio", "16:9", "--seed", "7")
    assert studio.run("again", "1", "-m", "4.0").code == 0
    sent = server.requests_of("submit")[1].json()
    assert (sent["prompt"], sent["model"], sent["ratio"], sent["seed"]) == ("a cat", "4.0", "16:9", 7)


def test_an_old_task_is_made_again_with_further_parameters(tmp_path: Path) -> None:
    program = Program(tmp_path)
    more = ["-m", "gpt-image-1", "--dry-run", "--json"]
    assert program.run("run", "a cat", "-p", "sketch", "--size", "64x64").code == 0
    [planned] = program.run("again", "1", "-p", "openai", "--size", "1024x1024", "-x", "quality=low", *more).objects
    assert planned["extra"] == {"quality": "low"}


def test_watch_follows_another_process(studio: Program, server: DreaminaServer) -> None:
    server.seconds = HELD
    process = studio.start("run", "cat", "--json")
    next_line(process, '"running"')
    watch = studio.start("watch", "--progress", "json")
    next_line(watch, '"running"')
    server.release()
    watched = finished(watch)
    assert watched.code == 0
    assert watched.objects[-1]["done"] == 1
    assert finished(process).code == 0


def test_a_run_is_shown_once_more_from_its_record(studio: Program, server: DreaminaServer) -> None:
    studio.run("run", "a cat", "#fail")
    replayed = studio.run("watch", "--run", "1", "--replay", "--progress", "plain", "--speed", "100")
    assert replayed.code == 0
    assert "1 done" in replayed.err
    assert "moderated" in replayed.err
    assert server.counts["submit"] == 2


def test_settings_are_shown_without_secrets(tmp_path: Path) -> None:
    program = Program(tmp_path, '[providers.a]\nkind = "dreamina"\napi_key = "sk-very-secret"\n')
    for words in (
        ["config", "show"],
        ["config", "check"],
        ["config", "path"],
        ["providers"],
        ["providers", "dreamina"],
    ):
        ended = program.run(*words)
        assert ended.code == 0, ended.err
        assert "sk-very-secret" not in ended.out + ended.err


def test_twenty_prompts_as_the_issue_has_them(studio: Program, server: DreaminaServer) -> None:
    """English and Chinese, some failing, one cancelled from a second terminal."""
    prompts = [f"a cat number {number}" for number in range(8)] + [f"第{number}只猫" for number in range(8)]
    prompts += ["one #fail", "违禁 #fail", "a #500", "it #never ends"]
    (studio.folder / "prompts.txt").write_text("\n".join(prompts), encoding="utf-8")
    process = studio.start("batch", "prompts.txt", "--json", "-j", "unlimited")
    never = json.loads(next_line(process, "#never"))["id"]
    while '"running"' not in next_line(process, f'"id": {never}, '):
        pass
    assert studio.run("cancel", str(never)).code == 0
    ended = finished(process)
    assert ended.code == 5
    tasks = {task["id"]: task for task in studio.tasks()}
    done = [task for task in tasks.values() if task["state"] == "done"]
    assert len(done) == 16
    assert all(len(task["files"]) == 4 and all(Path(file).exists() for file in task["files"]) for task in done)
    assert sorted(task["reason"] for task in tasks.values() if task["reason"]) == [
        "cancelled",
        "moderated",
        "moderated",
        "server",
    ]
    assert len(studio.pictures()) == 64
    summary = ended.objects[-1]
    assert (summary["done"], summary["failed"], summary["cancelled"]) == (16, 3, 1)


def test_a_server_can_be_started_by_hand(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.doubles.dreamina", "--port", "0", "--polls", "1", "--size", "16"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1]) as double:
        assert double.stdout is not None
        url = double.stdout.readline().split()[-1]
        try:
            assert Program(tmp_path, CONFIG.format(url=url)).run("run", "a cat").code == 0
        finally:
            double.kill()
