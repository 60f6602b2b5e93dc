"""The whole program in a terminal: what is on the screen, what keys do, and that the terminal is given back."""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.doubles.comfyui import ComfyServer
from tests.doubles.dreamina import DreaminaServer
from tests.doubles.http import HELD, Fault, Pictures, Service
from tests.program import Program as Plain, without_site
from tests.screen import DEADLINE, Program
from tests.test_cli import CONFIG


@pytest.fixture
def server() -> Iterator[DreaminaServer]:
    with DreaminaServer(seconds=0.5, pictures=Pictures("png", (16, 16))) as server:
        yield server


@contextmanager
def terminal(
    folder: Path,
    server: Service,
    *words: str,
    kind: str = "dreamina",
    more: Mapping[str, str] | None = None,
    **size: Any,
) -> Iterator[Program]:
    plain = Plain(folder, CONFIG.format(url=server.url).replace("dreamina", kind))
    environ = {key: value for key, value in plain.environment().items() if key in ("PATH", "IMAGEGEN_HOME", "HOME")}
    environ |= {"PYTHONPATH": str(Path(__file__).parents[1]), "PYTHONUTF8": "1", "NO_PROXY": "*", **(more or {})}
    with Program([sys.executable, "-m", "imagegen_cli", *words], environ=environ, cwd=folder, **size) as program:
        yield program


@pytest.fixture
def held(server: DreaminaServer) -> DreaminaServer:
    """The same server, whose tasks run until the test finishes them."""
    server.seconds = HELD
    return server


def restored(program: Program) -> bool:
    return program.modes_restored and not program.cursor_hidden


def turn(program: Program) -> None:
    """Give the table the focus."""
    repeat(program, "\t", "q stop")


def repeat(program: Program, key: str, text: str) -> None:
    """Press the key until the text comes: a key that follows others too soon is ignored."""
    for _ in range(5):
        program.send(key)
        with suppress(AssertionError):
            program.wait_for(text, 4.0)
            return
    raise AssertionError(f"never came: {text}\n{program.text}")


def slowly(program: Program, text: str, after: str = "") -> None:
    """Type it into the line for prompts as a person does; what comes at once is a paste."""
    for end in range(1, len(text) + 1):
        program.send(text[end - 1])
        program.wait_for(f"add: {after}{text[:end]}".rstrip())


def add(program: Program, prompt: str) -> None:
    """Add a prompt by a paste, which is read before the enter key."""
    turn(program)
    program.press("a")
    program.wait_for("add:")
    program.send(f"\x1b[200~{prompt}\x1b[201~")
    program.wait_for(f"add: {prompt}")
    program.press("\r")
    program.wait(lambda: "add:" not in program.text, "the end of typing")


def stop(program: Program, answer: str = "y") -> None:
    turn(program)
    program.send("q")
    program.wait_for("stop?")
    program.press(answer)


SHELL = ("ls images\r", "imagegen watch\r", "   ", "\x1b[200~a fox\na hen\x1b[201~", "qyxyqw", "exit\r")
"""What people type ahead for the shell, and the worst of letters."""


@pytest.mark.parametrize(("columns", "lines"), [(40, 10), (80, 24), (120, 40)])
@pytest.mark.parametrize("at_once", [True, False])
def test_what_is_typed_during_a_run_makes_pauses_and_cancels_nothing(
    tmp_path: Path, server: DreaminaServer, columns: int, lines: int, at_once: bool
) -> None:
    prompts = ["一只猫 #never", "a dog #never", "鸟 #never"]
    with terminal(tmp_path, server, "run", *prompts, "-j", "2", columns=columns, lines=lines) as program:
        program.wait(lambda: server.counts["submit"] == 2, "two submits")
        program.wait_for("tab keys · ? help · ctrl-c stop")
        for text in SHELL:
            for part in [text] if at_once or "\x1b" in text else text:
                program.send(part)
                program.settle()
        turn(program)
        assert "2 running, 1 waiting" in program.text
        assert "paused" not in program.text
        program.send("\x03")
        assert program.finish() == 130
        assert restored(program)
    assert server.counts["submit"] == 2
    assert "add:" not in program.scrollback


def test_q_lets_what_was_sent_finish_and_sends_no_more(tmp_path: Path, held: DreaminaServer) -> None:
    with terminal(tmp_path, held, "run", *(f"第{n}只猫" for n in range(5)), "-j", "2") as program:
        program.wait_for("2 running, 3 waiting")
        stop(program, "w")
        program.wait_for("3 cancelled")
        held.release()
        assert program.finish(30) == 1
        assert "2 done (8 pictures), 3 cancelled" in program.text
        assert restored(program)
    assert held.counts["submit"] == 2
    assert held.counts["cancel"] == 0


def test_q_that_is_answered_with_no_goes_on(tmp_path: Path, held: DreaminaServer) -> None:
    with terminal(tmp_path, held, "run", "a cat", "a dog") as program:
        program.wait_for("2 running")
        stop(program, "n")
        program.wait(lambda: "stop?" not in program.text, "the table")
        held.release()
        assert program.finish(30) == 0


def test_the_line_for_a_prompt_says_what_enter_will_do(tmp_path: Path, server: DreaminaServer) -> None:
    words = ("run", "a cat #never", "-m", "3.0", "-m", "4.0", "-n", "8")
    with terminal(tmp_path, server, *words) as program:
        program.wait_for("running")
        turn(program)
        program.press("\x1b[200~雪山\x1b[201~")
        program.wait_for("add: 雪山")
        program.wait_for("→ studio 3.0, studio 4.0 · 4 tasks · 16 pictures")
        program.send("\x03")
        assert program.finish() == 130
        assert "not added: 雪山" in program.scrollback


def test_a_prompt_that_cannot_be_added_stays_in_its_line(tmp_path: Path, server: DreaminaServer) -> None:
    with terminal(tmp_path, server, "run", "a cat #never") as program:
        program.wait_for("running")
        turn(program)
        program.press("\x1b[200~" + "长" * 20_000 + "\x1b[201~")
        program.wait_for("cannot be added: ")
        program.press("\r")
        program.settle()
        program.wait_for("cannot be added: ")
        program.send("\x03")
        assert program.finish() == 130
    assert server.counts["submit"] == 1


def test_pasted_lines_are_tasks_when_enter_says_so(tmp_path: Path, held: DreaminaServer) -> None:
    with terminal(tmp_path, held, "run", "a cat", "a dog") as program:
        program.wait_for("2 running")
        turn(program)
        program.press("\x1b[200~雪山\r\n\r\n  a fox \r\na hen\r\n\x1b[201~")
        program.wait_for("3 lines: enter adds 3 tasks · tab makes one prompt")
        assert held.counts["submit"] == 2
        program.press("\r")
        program.wait_for("0/5")
        held.release()
        assert program.finish(30) == 0
        assert "5 done" in program.text
    added = [request.json()["prompt"] for request in held.requests_of("submit")][2:]
    assert sorted(added) == ["a fox", "a hen", "雪山"]


def test_a_paste_that_the_terminal_does_not_mark_does_nothing_by_itself(tmp_path: Path, server: DreaminaServer) -> None:
    with terminal(tmp_path, server, "run", "a cat #never", "a dog #never", "-j", "1") as program:
        program.wait_for("1 running, 1 waiting")
        turn(program)
        program.press("xy\rqy\rcy\r")
        program.wait_for("3 lines: enter adds 3 tasks")
        program.send("\x1b")
        program.wait(lambda: "3 lines" not in program.text and "1 running, 1 waiting" in program.text, "the table")
        program.send("\x03")
        assert program.finish() == 130
    assert server.counts["submit"] == 1


def test_one_task_is_a_card_and_its_paths_stay(tmp_path: Path, server: DreaminaServer) -> None:
    with terminal(tmp_path, server, "run", "一只戴帽子的狐狸", "-m", "4.0") as program:
        program.wait_for("running")
        assert "一只戴帽子的狐狸" in program.text
        assert "studio" in program.text
        assert program.finish() == 0
        assert "4 pictures" in program.text
        assert program.scrollback.count(".png") == 4
        assert restored(program)


@pytest.mark.parametrize(("columns", "lines"), [(80, 24), (20, 6), (200, 50)])
def test_two_hundred_tasks_never_overflow_the_screen(
    tmp_path: Path, server: DreaminaServer, columns: int, lines: int
) -> None:
    prompts = [f"第{number}只猫 👨‍👩‍👧 number {number}" for number in range(200)]
    (tmp_path / "list.txt").write_text("\n".join(prompts), encoding="utf-8")
    words = ("batch", "list.txt", "-j", "unlimited", "--yes")
    with terminal(tmp_path, server, *words, columns=columns, lines=lines) as program:
        program.wait(lambda: server.counts["query"] > 50, "queries")
        assert len(program.text.splitlines()) <= lines
        assert program.finish(60) == 0
        assert "200" in program.text
        assert restored(program)
    assert len(list((tmp_path / "images").iterdir())) == 800


def test_a_storm_of_resizes_leaves_a_clean_screen(tmp_path: Path, server: DreaminaServer) -> None:
    with terminal(tmp_path, server, "run", *(f"cat {n} #never" for n in range(12)), "-j", "4") as program:
        program.wait_for("4 running")
        for columns, lines in [(40, 10), (120, 40), (20, 5), (200, 50), (33, 7), (80, 24)] * 3:
            program.resize(columns, lines)
        program.wait(lambda: program.text.count("4 running") == 1, "one table")
        stop(program)
        assert program.finish() == 130
        assert restored(program)


def test_another_prompt_is_added_while_others_run(tmp_path: Path, held: DreaminaServer) -> None:
    with terminal(tmp_path, held, "run", "a cat", "a dog") as program:
        program.wait_for("2 running")
        add(program, "一只新的狐狸")
        program.wait_for("0/3")
        held.release()
        assert program.finish(30) == 0
    assert [request.json()["prompt"] for request in held.requests_of("submit")][2] == "一只新的狐狸"


def test_a_run_that_is_over_waits_for_a_prompt_that_is_being_typed(tmp_path: Path, held: DreaminaServer) -> None:
    with terminal(tmp_path, held, "run", "a cat", "a dog") as program:
        program.wait_for("2 running")
        turn(program)
        program.press("a")
        program.wait_for("add:")
        program.press("o")  # text that follows the letter of a key at once would wait for one more enter
        slowly(program, "ne ", after="o")
        held.release()
        program.wait_for("close and end")
        slowly(program, "more", after="one ")
        program.send("\r")
        assert program.finish(30) == 0
        assert "3 tasks: 3 done" in program.text
        assert restored(program)
    assert [request.json()["prompt"] for request in held.requests_of("submit")] == ["a cat", "a dog", "one more"]


@pytest.mark.parametrize(("keys", "code"), [("\x1b", 0), ("\x03", 130)], ids=["escape", "Ctrl-C"])
def test_typing_no_more_ends_a_run_that_is_over(tmp_path: Path, held: DreaminaServer, keys: str, code: int) -> None:
    with terminal(tmp_path, held, "run", "a cat") as program:
        program.wait_for("running")
        turn(program)
        program.press("a")
        program.wait_for("add:")
        program.send("never sent")
        program.wait_for("add: never sent")
        held.release()
        program.wait_for("close and end")
        program.send(keys)
        assert program.finish() == code
        assert restored(program)
    assert held.counts["submit"] == 1


def test_a_paste_is_a_prompt_and_no_keys(tmp_path: Path, held: DreaminaServer) -> None:
    with terminal(tmp_path, held, "run", "a cat", "a dog") as program:
        program.wait_for("2 running")
        turn(program)
        program.press("\x1b[200~xqc y\n\x1b[201~")
        program.wait_for("add: xqc y")
        assert held.counts["submit"] == 2
        program.press("\r")
        program.wait_for("0/3")
        held.release()
        assert program.finish(30) == 0
    assert held.requests_of("submit")[2].json()["prompt"] == "xqc y"


def test_what_resumes_offers_no_other_prompt(tmp_path: Path, server: DreaminaServer) -> None:
    with terminal(tmp_path, server, "run", "a cat #never") as program:
        stop(program)
        assert program.finish() == 130
    with terminal(tmp_path, server, "resume", "1") as program:
        turn(program)
        assert "a add" not in program.text
        program.send("a?")
        program.wait_for("any key closes it")
        assert "add another" not in program.text
        program.send("?")
        program.wait(lambda: "closes it" not in program.text, "the table")
        stop(program)
        assert program.finish() == 130


def test_a_prompt_that_is_added_to_an_old_task_is_made_alike(tmp_path: Path, server: DreaminaServer) -> None:
    with terminal(tmp_path, server, "run", "a cat", "-m", "2.1", "--ratio", "16:9") as program:
        assert program.finish(30) == 0
    server.seconds = HELD
    with terminal(tmp_path, server, "again", "1") as program:
        add(program, "a fox")
        program.wait(lambda: server.counts["submit"] == 3, "the third submit")
        server.release()
        assert program.finish(30) == 0
    first, again, added = (
        request.json() | {"seed": None} for request in server.requests_of("submit")
    )  # each draws its own
    assert again == first
    assert added == {**first, "prompt": "a fox"}


def test_a_task_is_chosen_looked_at_and_helped_with(tmp_path: Path, server: DreaminaServer) -> None:
    with terminal(tmp_path, server, "run", "a cat #never", "a dog #never", "a fox") as program:
        program.wait_for("2 running")
        program.wait(lambda: program.title == "imagegen 1/3", "the title")
        program.send("\x1b[B\x1b[B\x1b[B\x1b[A\r")
        program.wait_for("task 1")
        program.send(" ?")
        program.wait_for("any key closes it")
        program.send(" ")
        program.wait(lambda: "closes it" not in program.text, "the table")
        stop(program)
        assert program.finish() == 130
        assert restored(program)


def test_x_cancels_all_that_wait(tmp_path: Path, held: DreaminaServer) -> None:
    with terminal(tmp_path, held, "run", "a cat", "a dog", "a fox", "-j", "1") as program:
        program.wait_for("1 running, 2 waiting")
        turn(program)
        program.send("x")
        program.wait_for("cancel all 2 that wait?")
        program.press("y")
        program.wait_for("2 cancelled")
        held.release()
        assert program.finish(30) == 1
        assert program.scrollback.count("cancelled: not sent, nothing spent") == 2
        assert "2 3 not sent, nothing spent; to send them: imagegen retry 2 3" in program.scrollback
    assert held.counts["submit"] == 1


def test_o_opens_the_folder(tmp_path: Path, server: DreaminaServer) -> None:
    opened = tmp_path / "opened"
    os.mkfifo(opened)
    opener = tmp_path / "bin" / ("open" if sys.platform == "darwin" else "xdg-open")
    opener.parent.mkdir()
    opener.write_text(f'#!/bin/sh\necho "$1" > {opened}\n')
    opener.chmod(0o700)
    pipe = os.open(opened, os.O_RDONLY | os.O_NONBLOCK)
    with terminal(tmp_path, server, "run", "a cat #never", more={"PATH": f"{opener.parent}:/bin"}) as program:
        program.wait_for("running")
        turn(program)
        program.send("o")
        assert select.select([pipe], [], [], DEADLINE)[0]
        assert os.read(pipe, 1000).decode() == f"{tmp_path / 'images'}\n"
        stop(program)
        assert program.finish() == 130
    os.close(pipe)


def test_o_says_where_the_folder_is_when_nothing_opens_it(tmp_path: Path, server: DreaminaServer) -> None:
    with terminal(tmp_path, server, "run", "a cat #never", more={"PATH": ""}) as program:
        program.wait_for("running")
        turn(program)
        program.send("o")
        program.wait_for("the pictures are in")
        stop(program)
        assert program.finish() == 130


def test_the_chosen_task_is_cancelled_after_a_question(tmp_path: Path, server: DreaminaServer) -> None:
    with terminal(tmp_path, server, "run", "a cat #never", "a dog") as program:
        program.wait_for("running")
        program.wait_for("1 done")
        turn(program)
        program.send("c")
        program.wait_for("y/n")
        program.press("y")
        assert program.finish() == 5
        assert "the service goes on" in program.text
        assert restored(program)


def test_space_pauses_what_is_not_sent(tmp_path: Path, held: DreaminaServer) -> None:
    with terminal(tmp_path, held, "run", *(f"cat {n}" for n in range(6)), "-j", "1") as program:
        program.wait_for("1 running, 5 waiting")
        turn(program)
        program.press(" ")
        program.wait_for("paused, space continues")
        held.release()
        program.wait_for("5 waiting, 1 done")
        assert held.counts["submit"] == 1
        program.press(" ")
        assert program.finish(30) == 0
    assert held.counts["submit"] == 6


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_gives_the_terminal_back(
    tmp_path: Path, server: DreaminaServer, number: signal.Signals, code: int
) -> None:
    with terminal(tmp_path, server, "run", "a cat #never") as program:
        program.wait_for("running")
        program.signal(number)
        assert program.finish() == code
        assert "resume 1" in program.text
        assert restored(program)


def test_ctrl_c_twice_leaves_at_once(tmp_path: Path, server: DreaminaServer) -> None:
    server.fail("submit", Fault.STALL)
    with terminal(tmp_path, server, "run", "a cat") as program:
        program.wait(lambda: server.counts["submit"], "a submit")
        program.wait_for("a cat")
        program.send("\x03")
        program.wait_for("stopping")
        program.send("\x03")
        assert program.finish() == 130
        assert restored(program)


def test_ctrl_c_twice_says_what_goes_on_with_a_picture_that_was_being_saved(
    tmp_path: Path, server: DreaminaServer
) -> None:
    with terminal(tmp_path, server, "run", "a cat #stall-download") as program:
        program.wait_for("0/4 pictures")
        program.wait(lambda: server.counts["download"], "a download")
        program.send("\x03")
        program.wait_for("Ctrl-C again leaves now")
        program.send("\x03")
        assert program.finish() == 130
        assert "1 left before the end; to go on: imagegen resume 1" in program.text
        assert restored(program)


def test_ctrl_z_and_fg(tmp_path: Path, held: DreaminaServer) -> None:
    with terminal(tmp_path, held, "run", "a cat") as program:
        program.wait_for("running")
        program.send("\x1a")
        program.stopped()
        assert restored(program)
        program.foreground()
        held.release()
        assert program.finish(30) == 0
        assert restored(program)


def test_a_service_that_is_killed_is_said(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.doubles.dreamina", "--port", "0", "--seconds", "60", "--size", "16"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1]) as double:
        assert double.stdout is not None
        url = double.stdout.readline().split()[-1]

        class There:
            pass

        there: Any = There()
        there.url = url
        with terminal(tmp_path, there, "run", "a cat") as program:
            program.wait_for("running")
            double.kill()
            assert program.finish(30) == 5
            assert "imagegen resume 1" in program.text
            assert restored(program)


@pytest.mark.parametrize(
    "locale",
    [{"PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii", "LANG": "C"}, {"LC_ALL": "C"}],
    ids=["by variables of Python", "C"],
)
def test_an_ascii_terminal_gets_ascii(tmp_path: Path, server: DreaminaServer, locale: dict[str, str]) -> None:
    plain = Plain(tmp_path, CONFIG.format(url=server.url))
    environ = {
        "IMAGEGEN_HOME": str(plain.home),
        "PYTHONPATH": without_site(),
        "NO_PROXY": "*",
        **locale,
    }
    with Program(
        [sys.executable, "-S", "-m", "imagegen_cli", "run", "一只猫"], environ=environ, cwd=tmp_path
    ) as program:
        assert program.finish(30) == 0
        assert program.raw.isascii()


def test_a_preview_is_drawn_when_asked_for_and_the_end_is_told(tmp_path: Path, server: DreaminaServer) -> None:
    with terminal(tmp_path, server, "run", "a cat", "--preview", "on", "--notify") as program:
        assert program.finish(30) == 0
        assert "▀" in program.scrollback + program.text
        assert "Traceback" not in program.scrollback
        assert "cell size" not in program.scrollback
        assert b"\x1b]9;imagegen: 1 of 1 done\x1b\\\x07" in program.raw
        assert restored(program)


@pytest.mark.parametrize(
    "more",
    [{"NO_COLOR": "1"}, {"PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii", "LANG": "C"}],
    ids=["NO_COLOR", "ascii"],
)
def test_a_preview_that_cannot_be_drawn_is_one_line(
    tmp_path: Path, server: DreaminaServer, more: dict[str, str]
) -> None:
    with terminal(tmp_path, server, "run", "a cat", "--preview", "on", more=more) as program:
        assert program.finish(30) == 0
        assert program.scrollback.count("no preview: it needs") == 1
        assert "▀" not in program.scrollback
        assert "u2580" not in program.scrollback


def test_previews_are_drawn_while_a_service_works_and_gone_afterwards(tmp_path: Path) -> None:
    with ComfyServer() as server:
        words = ("run", "a cat #never #preview", "--preview", "on")
        with terminal(tmp_path, server, *words, kind="comfyui") as program:
            program.wait(lambda: len([line for line in program.text.splitlines() if "▀▀▀" in line]) > 8, "a preview")
            assert "a cat" in program.text
            assert "KSampler" in program.text
            turn(program)
            program.send("c")
            program.wait_for("y/n")
            program.press("y")
            assert program.finish() == 1
            assert "stopped at the service" in program.text
            assert "▀" not in program.scrollback
            assert restored(program)


def test_no_preview_where_the_terminal_does_not_say_that_it_can(tmp_path: Path, server: DreaminaServer) -> None:
    with terminal(tmp_path, server, "run", "a cat") as program:
        assert program.finish(30) == 0
        assert "▀" not in program.scrollback + program.text
        assert b"1 of 1 done" not in program.raw


def test_keys_come_from_the_terminal_where_the_list_is_on_stdin(tmp_path: Path, server: DreaminaServer) -> None:
    listed = tmp_path / "list.txt"
    listed.write_text("一只猫 #never\na dog #never\na hen\n", encoding="utf-8")
    with (
        listed.open() as file,
        terminal(tmp_path, server, "batch", "-", "-j", "2", "--yes", stdin=file.fileno()) as program,
    ):
        program.wait_for("2 running, 1 waiting")
        assert "tab keys" in program.text
        program.send("ls images\r")
        turn(program)
        program.press("/")
        program.wait_for("3 of 3")
        program.send("hen")
        program.wait_for("1 of 3")
        program.press("\r")
        program.wait_for("c cancel")
        program.press("c")
        program.wait_for("cancel 3?")
        program.press("y")
        program.wait_for("1 cancelled")
        stop(program)
        assert program.finish() == 130
        assert restored(program)
    assert server.counts["submit"] == 2


def test_no_keys_are_read_where_stdin_is_a_device(tmp_path: Path, server: DreaminaServer) -> None:
    with (
        Path(os.devnull).open() as nothing,
        terminal(tmp_path, server, "run", "a cat #never", stdin=nothing.fileno()) as program,
    ):
        program.wait_for("running")
        assert "tab keys" not in program.text
        assert program.modes_restored
        program.send("\x03")
        assert program.finish() == 130
        assert restored(program)


def test_what_failed_is_sent_again_in_place_and_more_go_at_a_time(tmp_path: Path, server: DreaminaServer) -> None:
    prompts = ["a dog #fail", "a cat #never", "a hen #never", "an owl #never"]
    with terminal(tmp_path, server, "run", "--each", *prompts, "-j", "2") as program:
        program.wait_for("1 failed")
        program.wait_for("2 of 2 at the service: -j or +")
        turn(program)
        program.press("+")
        program.wait_for("studio: 3 at a time")
        program.wait_for("3 running")
        program.press("g")
        program.press("r")
        program.wait_for("send 1 again, as new paid work? the service refused it as it stands")
        program.press("y")
        program.wait_for("3 running, 1 waiting")
        program.press("+")
        program.wait(lambda: server.counts["submit"] == 5, "the second submit of the first task")
        program.wait_for("1 failed")
        stop(program)
        assert program.finish() == 130
        assert restored(program)


def test_o_opens_the_picture_of_a_finished_task(tmp_path: Path, server: DreaminaServer) -> None:
    opened = tmp_path / "opened"
    os.mkfifo(opened)
    opener = tmp_path / "bin" / ("open" if sys.platform == "darwin" else "xdg-open")
    opener.parent.mkdir()
    opener.write_text(f'#!/bin/sh\necho "$1" > {opened}\n')
    opener.chmod(0o700)
    pipe = os.open(opened, os.O_RDONLY | os.O_NONBLOCK)
    with terminal(
        tmp_path,
        server,
        "run",
        "--each",
        "一只猫",
        "a dog #never",
        "a hen #never",
        more={"PATH": f"{opener.parent}:/bin"},
    ) as program:
        program.wait_for("1 done")
        turn(program)
        program.press("g")
        program.send("o")
        assert select.select([pipe], [], [], DEADLINE)[0]
        assert os.read(pipe, 1000).decode().endswith("images/1-一只猫-1.png\n")
        program.press("y")
        program.wait_for("copied: ")
        program.press("\r")
        program.wait_for("task 1 ·")
        program.press("x")
        program.wait(lambda: "task 1 ·" not in program.text, "the table")
        stop(program)
        assert program.finish() == 130
        assert restored(program)
    os.close(pipe)
