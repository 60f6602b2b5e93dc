"""`imagegen studio` in a terminal: prompts typed one after the other, and a terminal that is left as it was found."""

import math
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from imagegen_cli.display.prompt_line import TYPED_ON_S
from tests import screen
from tests.doubles.dreamina import DreaminaServer
from tests.doubles.http import Pictures
from tests.program import Program
from tests.test_recover import CONFIG

SPEED_S = 0.08
"""Seconds between two keys of a person who types at an everyday speed."""
PAIR = 2
"""Keys that are sent together: three in one look at the keyboard would be a paste."""
CTRL_C, CTRL_D, CTRL_Z, ESCAPE, UP = "\x03", "\x04", "\x1a", "\x1b", "\x1b[A"


@pytest.fixture
def server() -> Iterator[DreaminaServer]:
    with DreaminaServer(polls=1, seconds=0.0, pictures=Pictures("png", (16, 16))) as server:
        yield server


@pytest.fixture
def project(tmp_path: Path, server: DreaminaServer) -> Program:
    return Program(tmp_path, CONFIG.format(url=server.url).replace('"studio"', '"mine"').replace(".studio]", ".mine]"))


class Studio(screen.Program):
    """`imagegen studio` at its prompt, and a person who types."""

    def type(self, text: str) -> None:
        """Type at speed, and see each pair of keys appear."""
        seen = self.line
        for start in range(0, len(text), PAIR):
            seen += text[start : start + PAIR]
            self.send(text[start : start + PAIR])
            self.wait(partial(self.shows, seen), seen)

    def type_at_speed(self, line: str) -> float:
        """Type a line key by key and press enter, without a look at the screen. Returns the longest pause in s."""
        longest, before = 0.0, time.monotonic()
        for key in f"{line}\r":
            time.sleep(SPEED_S)
            self.send(key)
            longest, before = max(longest, time.monotonic() - before), time.monotonic()
        return longest

    def shows(self, typed: str) -> bool:
        return self.line == typed.rstrip()

    def enter(self, text: str = "") -> None:
        """Type a line and press enter, once every key of it is seen."""
        self.type(text)
        self.send("\r")
        self.wait(lambda: self.line == "", f"{text} is taken")

    def stop(self) -> None:
        """Press Ctrl-C on an empty line, read what the next one does, and press it."""
        self.send(CTRL_C)
        self.wait_for("Ctrl-C again stops")
        self.send(CTRL_C)

    @property
    def text(self) -> str:
        """As before, but empty while the emulator holds half of a wide sign, between a resize and the next frame."""
        try:
            return super().text
        except IndexError:
            return ""

    @property
    def line(self) -> str:
        """What is typed behind the label."""
        return self.text.splitlines()[-1].partition("> ")[2] if self.text else ""

    @property
    def is_given_back(self) -> bool:
        """Whether nothing of the program is left: cursor, modes of the keyboard, title, marks of pastes."""
        is_unmarked = self.raw.rfind(b"\x1b[?2004l") > self.raw.rfind(b"\x1b[?2004h")
        return self.modes_restored and not self.cursor_hidden and self.title == "" and is_unmarked


@contextmanager
def studio(project: Program, *words: str, columns: int = 100, lines: int = 30) -> Iterator[Studio]:
    command = [sys.executable, "-m", "imagegen_cli", "studio", *words]
    with Studio(command, columns=columns, lines=lines, environ=project.environment(), cwd=project.folder) as program:
        program.wait_for("studio")
        program.wait(lambda: program.keys_are_read, "keys are read")
        yield program


def prompts_sent(server: DreaminaServer) -> list[tuple[str, str]]:
    return [(body["prompt"], body["model"]) for body in (one.json() for one in server.requests_of("submit"))]


def test_a_newcomer_makes_three_pictures_in_two_models_and_reads_only_the_screen(
    project: Program, server: DreaminaServer
) -> None:
    with studio(project) as program:
        welcome = program.text
        sample = next(line for line in welcome.splitlines() if "enter sends it" in line).split("  ")[0]
        other = next(line for line in welcome.splitlines() if line.startswith("/model")).split("  ")[0]
        program.enter(sample)
        program.enter(other)
        program.enter("一只可爱的小猫")
        program.enter("a blue house")
        program.wait_for("3 done")
        end = next(line for line in welcome.splitlines() if "ends; so does" in line).split("  ")[0]
        program.type(end)
        program.send("\r")
        assert program.finish() == 0
        assert program.is_given_back
    models = [model for _, model in prompts_sent(server)]
    assert len(models) == 3
    assert len(set(models)) == 2
    assert len(project.pictures()) == 12


def test_a_newcomer_without_any_service_draws_with_sketch(tmp_path: Path) -> None:
    project = Program(tmp_path)
    with studio(project) as program:
        assert "To connect one: imagegen init" in program.text
        program.enter("a red fox in the snow")
        program.enter("/model 4.0")
        program.enter("/size 64x64")
        program.enter("a boat")
        program.wait_for("2 done")
        program.send(CTRL_D)
        assert program.finish() == 0
    assert len(project.pictures()) == 2


def test_prompts_are_typed_while_others_run_and_each_has_what_was_set(project: Program, server: DreaminaServer) -> None:
    with studio(project, "--ratio", "16:9") as program:
        program.enter("a cat #never")
        program.wait_for("1 running")
        program.enter("/model 3.0 4.0")
        program.enter("雪山下的红色小屋")
        program.enter("/provider other")
        program.enter("a dog")
        program.wait_for("1 running, 3 done")
        assert "studio · other · 16:9 >" in program.text
        program.stop()
        assert program.finish() == 130
    sent = prompts_sent(server)
    assert sent[0][0] == "a cat #never"
    assert {model for prompt, model in sent if prompt == "雪山下的红色小屋"} == {"3.0", "4.0"}
    tasks = project.tasks()
    assert [task["provider"] for task in tasks] == ["mine", "mine", "mine", "other"]
    assert {task["run"] for task in tasks} == {tasks[0]["run"]}
    assert {task["request"]["ratio"] for task in tasks if "request" in task} <= {"16:9"}


def test_a_phrase_of_an_input_method_is_one_prompt(project: Program, server: DreaminaServer) -> None:
    with studio(project) as program:
        program.send("一只可爱的小猫")
        program.wait(lambda: program.line == "一只可爱的小猫", "the phrase")
        program.press("\r")
        program.wait_for("1 done")
        program.send(CTRL_D)
        assert program.finish() == 0
    assert [prompt for prompt, _ in prompts_sent(server)] == ["一只可爱的小猫"]


@pytest.mark.parametrize("marks", [("\x1b[200~", "\x1b[201~"), ("", "")])
def test_several_pasted_lines_are_asked_about(project: Program, server: DreaminaServer, marks: tuple[str, str]) -> None:
    with studio(project) as program:
        program.send("a cat\na dog\n".join(marks))
        program.wait_for("2 lines: enter adds 2 tasks")
        assert server.counts["submit"] == 0
        program.press("\r")
        program.wait_for("2 done")
        program.send(CTRL_D)
        assert program.finish() == 0
    assert sorted(prompt for prompt, _ in prompts_sent(server)) == ["a cat", "a dog"]


def test_a_paste_sends_nothing_by_itself_and_a_command_in_it_is_no_prompt(
    project: Program, server: DreaminaServer
) -> None:
    with studio(project) as program:
        program.send("\x1b[200~a cat\r\x1b[201~\r")
        program.wait_for("nothing added yet: wait a moment, read it, then press enter")
        program.send(CTRL_C)
        program.wait(lambda: program.line == "", "an empty line")
        program.press("\x1b[200~/count 4\na cat\x1b[201~")
        program.wait_for("/count is a command in the pasted lines")
        program.press("\r")
        program.send(ESCAPE)
        program.wait(lambda: "pasted lines" not in program.text, "the line again")
        program.send(CTRL_D)
        assert program.finish() == 0
    assert server.counts["submit"] == 0


def test_tab_and_up_and_a_slash_that_is_meant(project: Program, server: DreaminaServer) -> None:
    with studio(project) as program:
        program.type("/mod")
        program.send("\t")
        program.wait(lambda: "/model NAME" in program.text, "what it sets")
        program.send("\t")
        program.wait_for("NanoBanana")
        program.send("\t\t")
        program.wait(lambda: program.line == "/model 4.0", "the second model")
        program.send("\r")
        program.wait_for("studio · 4.0 >")
        program.enter("//word")
        program.wait_for("1 done")
        program.send(CTRL_D)
        assert program.finish() == 0
    assert prompts_sent(server) == [("/word", "4.0")]
    with studio(project) as program:
        program.type("half")
        program.send(UP)
        program.wait(lambda: program.line == "//word", "the prompt of the last run")
        program.send("\x1b[B")
        program.wait(lambda: program.line == "half", "what was being typed")
        program.send(CTRL_C)
        program.wait(lambda: program.line == "", "an empty line")
        program.stop()
        assert program.finish() == 130
        assert program.is_given_back


def test_a_blank_before_a_command_and_a_word_that_leaves_are_not_paid_for(
    project: Program, server: DreaminaServer
) -> None:
    with studio(project) as program:
        program.type(" /ratio 16:9")
        program.send("\r")
        program.wait_for("16:9 >")
        program.type("exit")
        program.wait_for("/quit leaves; // exit sends it as a prompt")
        program.send("\r")
        program.settle()
        assert program.line == "exit"
        program.send(CTRL_C)
        program.wait(lambda: program.line == "", "an empty line")
        program.enter("// exit")
        program.wait_for("1 done")
        program.send(CTRL_D)
        assert program.finish() == 0
    assert [one.json()["prompt"] for one in server.requests_of("submit")] == ["exit"]


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("/ratio 17:3", "this server has no ratio '17:3'"),
        ("/count 5000", "one prompt may ask for at most 1000 pictures"),
        ("/count some", "/count takes a whole number, not 'some'"),
        ("/size 9x", "'9x' is no size"),
        ("/image nothing.png", "the reference nothing.png cannot be read"),
        ("/provider nowhere", "there is no provider 'nowhere'"),
        ("/imagine a cat", "there is no command /imagine: /help names them, and //imagine sends it as a prompt"),
    ],
)
def test_wrong_values_are_refused_at_once_with_the_reason(
    project: Program, server: DreaminaServer, command: str, why: str
) -> None:
    with studio(project, columns=120) as program:
        program.type(command)
        program.wait_for(why)
        program.send("\r")
        program.settle()
        assert program.line == command
        program.send(CTRL_C)
        program.wait(lambda: program.line == "", "an empty line")
        program.send(CTRL_D)
        assert program.finish() == 0
    assert server.counts["submit"] == 0


def test_a_picture_is_completed_and_started_from(project: Program, server: DreaminaServer) -> None:
    (project.folder / "小 猫.png").write_bytes(Pictures("png", (16, 16)).make("a", 0))
    (project.folder / "notes.txt").write_text("no picture")
    with studio(project) as program:
        program.type("/image 小")
        program.send("\t")
        program.wait(lambda: program.line.startswith("/image 小\\ 猫.png"), "the file")
        program.send("\r")
        program.wait_for("studio · 1 image >")
        program.enter("a cat")
        program.wait_for("1 done")
        program.enter("/image")
        program.wait_for("studio >")
        program.enter("/image task:1/2")
        program.enter("a dog")
        program.wait_for("2 done")
        program.send(CTRL_D)
        assert program.finish() == 0
    assert [request.path for request in server.requests_of("submit")] == ["/api/generate/i2i"] * 2
    assert project.tasks()[1]["parents"] == [{"task": 1, "picture": 2}]


def test_a_budget_and_confirm_above_hold_inside(project: Program, server: DreaminaServer) -> None:
    text = project.home.joinpath("config.toml").read_text()
    project.configure(f'confirm_cost = "0.1usd"\n{text}\n[prices]\n"mine/*" = "0.02usd"\n')
    with studio(project, "--budget", "0.2usd", "--ratio", "1:1") as program:
        program.type("a cat")
        program.wait_for("about 0.08 usd (set)")
        program.enter()
        program.wait_for("1 done")
        program.enter("/model 3.0 4.0")
        program.type("a dog")
        program.wait_for("0.16 usd is more than what is left of the budget 0.20 usd")
        program.send(CTRL_C)
        program.wait(lambda: program.line == "", "an empty line")
        program.send(CTRL_D)
        assert program.finish() == 0
    with studio(project, "-m", "3.0", "-m", "4.0") as program:
        program.type("a dog")
        program.press("\r")
        program.wait_for("more than 0.10 usd (confirm_cost)")
        program.press("y")
        program.wait_for("2 done")
        program.send(CTRL_D)
        assert program.finish() == 0
    assert server.counts["submit"] == 3


def test_other_terminals_see_the_run_and_it_is_in_the_list(project: Program, server: DreaminaServer) -> None:
    with studio(project) as program:
        program.enter("a cat #never")
        program.wait_for("1 running")
        assert project.run("list", "--json").objects[0]["prompt"] == "a cat #never"
        assert project.run("runs", "--json").objects[0]["command"] == "studio"
        command = [sys.executable, "-m", "imagegen_cli", "watch"]
        with screen.Program(command, environ=project.environment(), cwd=project.folder) as watching:
            watching.wait_for("a cat #never")
            assert project.run("cancel", "1").code in (0, 5)
            program.wait_for("1 cancelled")
            program.enter("a dog")
            program.wait_for("1 done")
            watching.wait_for("1 done")
            program.send(CTRL_D)
            assert program.finish() == 5
            watching.finish()
    assert [task["state"] for task in project.tasks()] == ["cancelled", "done"]


def test_a_studio_in_which_nothing_was_sent_leaves_no_run(project: Program, server: DreaminaServer) -> None:
    with studio(project) as program:
        program.type("half")
        program.send(CTRL_C)
        program.wait(lambda: program.line == "", "an empty line")
        program.send(CTRL_D)
        assert program.finish() == 0
        assert program.is_given_back
    assert project.tasks() == []
    assert project.run("watch").code == 4


def test_what_is_typed_before_the_line_is_seen_is_dropped(project: Program, server: DreaminaServer) -> None:
    command = [sys.executable, "-m", "imagegen_cli", "studio"]
    with Studio(command, columns=100, environ=project.environment(), cwd=project.folder) as program:
        program.send("rm -rf build\rmake\r")
        program.wait_for("studio >")
        program.wait(lambda: program.keys_are_read, "keys are read")
        program.type("a cat")
        program.send(CTRL_C)
        program.wait(lambda: program.line == "", "an empty line")
        program.send(CTRL_D)
        assert program.finish() == 0
    assert server.counts["submit"] == 0


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (lambda program: program.stop(), 130),
        (lambda program: program.signal(signal.SIGTERM), 143),
        (lambda program: program.signal(signal.SIGHUP), 129),
        (lambda program: (program.send(CTRL_D), program.wait_for("stop?"), program.press("y")), 130),
    ],
)
def test_however_it_ends_the_terminal_is_left_as_it_was(
    project: Program, server: DreaminaServer, end: "object", code: int
) -> None:
    with studio(project) as program:
        program.enter("a cat #never")
        program.wait_for("1 running")
        assert callable(end)
        end(program)
        assert program.finish() == code
        assert program.is_given_back
        if code != 129:  # without a terminal it leaves at once
            assert "imagegen resume 1" in program.scrollback


def test_ctrl_c_twice_leaves_at_once_and_first_clears_the_line(project: Program, server: DreaminaServer) -> None:
    with studio(project) as program:
        program.enter("a cat #never")
        program.wait_for("1 running")
        program.type("half")
        program.send(CTRL_C)
        program.wait(lambda: program.line == "", "an empty line")
        program.wait_for("1 running")
        program.send(CTRL_C)
        program.send(CTRL_C)
        assert program.finish() == 130
        assert program.is_given_back


def test_a_half_typed_prompt_is_told_when_it_is_ended_from_outside(project: Program, server: DreaminaServer) -> None:
    with studio(project) as program:
        program.type("half a prompt")
        program.signal(signal.SIGTERM)
        assert program.finish() == 143
        assert "not added: half a prompt" in program.scrollback
        assert program.is_given_back


def test_ctrl_z_gives_the_terminal_back_and_fg_brings_the_line_with_its_text(
    project: Program, server: DreaminaServer
) -> None:
    with studio(project) as program:
        program.type("half")
        program.send(CTRL_Z)
        program.stopped()
        assert program.is_given_back
        program.foreground()
        program.wait(lambda: program.line == "half", "the text")
        program.wait(lambda: program.keys_are_read, "keys are read")
        program.enter(" a prompt")
        program.wait_for("1 done")
        program.send(CTRL_D)
        assert program.finish() == 0
    assert [prompt for prompt, _ in prompts_sent(server)] == ["half a prompt"]


def test_the_line_follows_the_size_of_the_screen(project: Program, server: DreaminaServer) -> None:
    text = "一只可爱的小猫坐在窗台上看着外面的雪山和红色的小屋"
    with studio(project, columns=120) as program:
        program.type(text)
        for columns, lines in ((40, 24), (80, 12), (20, 6), (120, 30)):
            program.resize(columns, lines)
            program.signal(signal.SIGWINCH)
            program.wait(lambda: program.text.endswith(text[-3:]), f"the end of the text at {columns} columns")
        program.wait(lambda: program.line == text, "the whole text")
        program.send(CTRL_C)
        program.wait(lambda: program.line == "", "an empty line")
        program.send(CTRL_D)
        assert program.finish() == 0
        assert program.is_given_back


def test_a_kill_loses_nothing(project: Program, server: DreaminaServer) -> None:
    with studio(project) as program:
        program.enter("a cat")
        program.wait_for("1 done")
        server.seconds = math.inf
        program.enter("a dog")
        project.await_states("done", "running")
        os.kill(program.pid, signal.SIGKILL)
    server.release()
    assert project.run("resume").code == 0
    assert [task["state"] for task in project.tasks()] == ["done", "done"]
    assert server.counts["submit"] == 2


@pytest.mark.parametrize("words", [(), ("--json",), ("--quiet",), ("--progress", "plain")])
def test_off_a_terminal_it_says_what_to_use(project: Program, words: tuple[str, ...]) -> None:
    ended = project.run("studio", *words)
    assert (ended.code, ended.out) == (2, "")
    assert "imagegen studio needs a terminal" in ended.err
    assert "imagegen batch -" in ended.err


def test_a_studio_writes_no_picture_to_stdout(project: Program) -> None:
    ended = project.run("studio", "-o", "-")
    assert (ended.code, ended.out) == (2, "")
    assert "-o DIR" in ended.err


def test_a_key_that_is_missing_is_said_before_anything(project: Program) -> None:
    project.configure('default_provider = "cloud"\n[providers.cloud]\nkind = "openai"\napi_key = "env:NO_SUCH_KEY"\n')
    command = [sys.executable, "-m", "imagegen_cli", "studio"]
    with screen.Program(command, columns=100, environ=project.environment(), cwd=project.folder) as program:
        assert program.finish() == 3


def help_is_open(program: Studio) -> None:
    program.enter("/help")
    program.wait_for("any key closes this")


def table_has_the_keys(program: Studio) -> None:
    program.send(ESCAPE)
    program.wait_for("esc type")


def details_are_open(program: Studio) -> None:
    table_has_the_keys(program)
    program.press("\x1b[B")
    program.press("\r")
    program.wait_for("any key")


def question_is_open(program: Studio) -> None:
    program.send(CTRL_D)
    program.wait_for("stop?")


def came_back(program: Studio) -> None:
    program.send(CTRL_Z)
    program.stopped()
    program.send("re")
    program.foreground()
    program.wait(lambda: program.keys_are_read, "keys are read")


@pytest.mark.parametrize(
    ("mode", "line", "left"),
    [
        (help_is_open, "a wolf", "sent"),
        (table_has_the_keys, "jade dragon", "de dragon"),
        (table_has_the_keys, "quiet cat", "uiet cat"),
        (details_are_open, "a wolf", "sent"),
        (question_is_open, "nice cat", "ice cat"),
        (came_back, "d fox", "d fox"),
    ],
)
def test_a_line_typed_at_speed_across_a_change_is_sent_whole_or_not_at_all(
    project: Program, server: DreaminaServer, mode: Callable[[Studio], None], line: str, left: str
) -> None:
    with studio(project) as program:
        program.enter("first #never")
        program.wait_for("1 running")
        mode(program)
        program.type_at_speed(line)
        if left == "sent":
            program.wait(lambda: server.counts["submit"] == 2, "the second prompt is sent")
            assert prompts_sent(server)[1][0] == line
        else:
            program.wait_for("not sent, its first keys may be missing")
            assert program.line == left
            assert server.counts["submit"] == 1


def test_the_rest_of_a_line_that_was_begun_for_the_shell_is_not_sent(project: Program, server: DreaminaServer) -> None:
    command = [sys.executable, "-m", "imagegen_cli", "studio"]
    with Studio(command, columns=100, environ=project.environment(), cwd=project.folder) as program:
        program.send("/mod")
        program.wait_for("studio >")
        program.wait(lambda: program.keys_are_read, "keys are read")
        program.type_at_speed("el 4.0")
        program.wait_for("not sent, its first keys may be missing")
        assert program.line == "el 4.0"
        program.press("\r")
        program.wait(lambda: server.counts["submit"] == 1, "the line that was read is sent")


def test_what_is_typed_on_after_the_studio_was_stopped_does_not_reach_the_shell(project: Program) -> None:
    """A machine that is too busy to type as fast as a person does gets another try."""
    left: list[int] = []
    for _ in range(5):
        with studio(project) as program:
            program.enter("first #never")
            program.wait_for("1 running")
            question_is_open(program)
            program.press("y")
            longest_pause_s = program.type_at_speed("ellow bird")
            assert program.finish() == 130
            assert program.is_given_back
            left = select.select([program.slave], [], [], 0)[0]
        if longest_pause_s < TYPED_ON_S / 2:
            break
    assert not left


def test_a_table_beside_an_idle_studio_stays_until_the_studio_ends(project: Program, server: DreaminaServer) -> None:
    command = [sys.executable, "-m", "imagegen_cli", "watch"]
    with studio(project) as program:
        program.enter("a cat")
        program.wait_for("1 done")
        with screen.Program(command, environ=project.environment(), cwd=project.folder) as watch:
            watch.wait_for("1 done")
            program.enter("a dog")
            watch.wait_for("2 done")
            program.wait_for("2 done")
            program.send(CTRL_D)
            assert program.finish() == 0
            assert watch.finish() == 0
