"""Variations, `--exec` and `-o -` as a person starts them, against the origin's server."""

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import screen
from tests.doubles.dreamina import DreaminaServer
from tests.doubles.http import Fault, Pictures
from tests.program import Program, finished, interrupt
from tests.test_cli import CONFIG

TWELVE = ("--vary", "model=3.0,4.0", "--vary", "ratio=1:1,16:9,9:16", "--vary", "seed=1..2")
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def server() -> Iterator[DreaminaServer]:
    with DreaminaServer(polls=1, seconds=0.0, pictures=Pictures("png", (16, 16))) as server:
        yield server


@pytest.fixture
def studio(tmp_path: Path, server: DreaminaServer) -> Program:
    return Program(tmp_path, CONFIG.format(url=server.url))


@pytest.fixture
def alone(tmp_path: Path) -> Program:
    return Program(tmp_path)


def written(program: Program, name: str, text: str) -> str:
    (program.folder / name).write_text(text, encoding="utf-8")
    return name


# Variations


def test_two_models_three_ratios_and_two_seeds_are_twelve_tasks(studio: Program, server: DreaminaServer) -> None:
    ended = studio.run("run", "a cat", *TWELVE)
    assert ended.code == 0
    assert ended.err.splitlines()[0] == "12 tasks, 48 pictures: model 2 × ratio 3 × seed 2"
    assert server.counts["submit"] == 12
    assert len(set(ended.lines)) == len(ended.lines) == 48
    cells = [task["vary"] for task in studio.tasks()]
    assert len({tuple(cell.items()) for cell in cells}) == 12
    assert cells[0] == {"model": "3.0", "ratio": "1:1", "seed": "1"}
    assert list(cells[0]) == ["model", "ratio", "seed"]


def test_a_list_that_is_varied_again_sends_nothing_and_one_more_value_only_its_cells(
    studio: Program, server: DreaminaServer
) -> None:
    name = written(studio, "cats.csv", 'prompt,vary\na cat,"ratio=1:1,16:9"\na dog,\n')
    assert studio.run("batch", name, "-m", "3.0", "-m", "4.0").code == 0
    assert server.counts["submit"] == 6
    again = studio.run("batch", name, "-m", "3.0", "-m", "4.0")
    assert (again.code, again.out, server.counts["submit"]) == (0, "", 6)
    written(studio, "cats.csv", 'prompt,vary\na cat,"ratio=9:16,1:1,16:9"\na dog,\n')
    more = studio.run("batch", name, "-m", "3.0", "-m", "4.0")
    assert "2 tasks, 8 pictures (of 8 tasks): " in more.err
    assert server.counts["submit"] == 8
    seeds = {(task["prompt"], task["facts"]["seed"]) for task in studio.tasks()}
    assert len(seeds) == 2, "the new cells share the seed of the first ones"


def test_new_cells_take_the_seed_of_what_the_list_sent_before_it_was_compared(alone: Program) -> None:
    name = written(alone, "cats.txt", "a cat\na dog\n")
    assert alone.run("batch", name, "--size", "64x64").code == 0
    model = alone.tasks()[0]["model"]
    models = ("-m", model, "-m", "sketch-3" if model != "sketch-3" else "sketch-4")
    planned = alone.run("batch", name, "--size", "64x64", *models, "--dry-run", "--json").objects
    grown = alone.run("batch", name, "--size", "64x64", *models)
    assert grown.code == 0
    tasks = alone.tasks()
    assert len(tasks) == 4
    assert tasks[0]["facts"]["seed"] != tasks[1]["facts"]["seed"]
    for prompt in ("a cat", "a dog"):
        first, second = (task["facts"]["seed"] for task in tasks if task["prompt"] == prompt)
        assert first == second
        assert [row["seed"] for row in planned if row["prompt"] == prompt and not row.get("skip")] == [first]
    assert "cannot share the seed" not in grown.err


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ((), ("-m", "sketch-2", "-m", "sketch-3")),
        (("-m", "sketch-2", "-m", "sketch-3"), ("-m", "sketch-2", "-m", "sketch-3", "-m", "sketch-4")),
        (("--vary", "ratio=1:1,16:9"), ("--vary", "ratio=1:1,16:9,9:16")),
    ],
)
def test_the_sheet_of_a_comparison_that_grew_shows_its_earlier_cells(
    alone: Program, first: tuple[str, ...], then: tuple[str, ...]
) -> None:
    alone.configure('default_provider = "sketch"\n[providers.sketch]\nkind = "sketch"\nmodel = "sketch-2"\n')
    name = written(alone, "cats.txt", "a cat\n")
    assert alone.run("batch", name, *first).code == 0
    before = len(alone.tasks())
    grown = alone.run("batch", name, *then)
    number = len(alone.tasks())
    assert (grown.code, number > before) == (0, True)
    assert f"({number} pictures)" in grown.err
    by_hand = alone.run("sheet", "--json")
    assert [one["pictures"] for one in by_hand.objects] == [number]
    assert [one["pictures"] for one in alone.run("sheet", "--run", "LAST", "--json").objects] == [number]


def test_a_sheet_has_no_tasks_of_other_prompts_and_lists(alone: Program) -> None:
    words = ("--vary", "ratio=1:1,16:9")
    assert alone.run("batch", written(alone, "dogs.txt", "a dog\n"), *words).code == 0
    assert alone.run("batch", written(alone, "cats.txt", "an old cat\n"), *words).code == 0
    assert alone.run("batch", written(alone, "cats.txt", "a cat\n"), *words).code == 0
    assert [one["pictures"] for one in alone.run("sheet", "--json").objects] == [2]


def test_a_comparison_by_models_shares_a_seed_and_has_cells(studio: Program) -> None:
    assert studio.run("run", "a cat", "-m", "3.0", "-m", "4.0").code == 0
    first, second = studio.tasks()
    assert (first["vary"], second["vary"]) == ({"model": "3.0"}, {"model": "4.0"})
    assert first["facts"]["seed"] == second["facts"]["seed"]
    assert "varied      model 4.0" in studio.run("show", "2").out


def test_again_varies_an_old_task(studio: Program, server: DreaminaServer) -> None:
    assert studio.run("run", "a cat", "--seed", "5").code == 0
    assert studio.run("again", "1", "--vary", "ratio=1:1,16:9").code == 0
    assert server.counts["submit"] == 3
    assert [(task.get("vary"), task["facts"]["seed"]) for task in studio.tasks()] == [
        (None, 5), ({"ratio": "1:1"}, 5), ({"ratio": "16:9"}, 5),
    ]  # fmt: skip


def test_json_says_the_cell_in_every_event_of_the_task(studio: Program) -> None:
    ended = studio.run("run", "a cat", "--vary", "ratio=1:1,16:9", "--json")
    told = [line for line in ended.objects if line["event"] in ("task-added", "task-changed")]
    assert {json.dumps(line["vary"]) for line in told} == {'{"ratio": "1:1"}', '{"ratio": "16:9"}'}


def test_values_come_from_a_file(alone: Program) -> None:
    name = written(alone, "animals.txt", "# animals\ncat, black\n\n狐狸\n")
    ended = alone.run("run", "a {animal}", "--vary", f"animal=@{name}", "--dry-run")
    assert [row["prompt"] for row in ended.objects] == ["a cat, black", "a 狐狸"]
    missing = alone.run("run", "a {animal}", "--vary", "animal=@none.txt")
    assert (missing.code, "name a file with a value a line" in missing.err) == (2, True)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--vary", "seed=1..1000", "--vary", "steps=1..1000", "--vary", "cfg=1..1000"), "1,000,000,000 tasks"),
        (("--vary", "ratio=1:1,9:x"), "--vary ratio=9:x:"),
        (("--vary", "ratoi=1:1,2:1"), "did you mean ratio?"),
        (("--vary", "ratio=1:1,2:1", "--vary", "seed=1..3", "--zip"), "ratio has 2, seed has 3"),
        (("--repeat", "0"), "--repeat"),
    ],
)
def test_what_cannot_be_varied_sends_nothing(
    studio: Program, server: DreaminaServer, words: tuple[str, ...], message: str
) -> None:
    ended = studio.run("run", "a cat", *words)
    assert (ended.code, ended.out) == (2, "")
    assert message in ended.err
    assert server.counts["submit"] == 0
    assert not studio.pictures()


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--vary", "ratio=1:1,16:9", "--size", "64x64"), "--size goes with no --vary ratio"),
        (("--vary", "resolution=1k,2k", "--size", "512"), "--size goes with no --vary resolution"),
        (("--vary", "size=64x64,96x64", "--ratio", "1:1"), "--vary size goes with no --ratio"),
        (("--vary", "model=a,b", "-m", "c"), "--model names one value, and --vary model several"),
        (("--vary", "种子=1,2", "--seed", "5"), "--seed names one value, and --vary 种子 several"),
        (("--vary", "negative=a,b", "--negative", "c"), "--negative names one value"),
        (("--vary", "image=a.png,b.png", "--image", "c.png"), "--image names one value"),
        (("--vary", "steps=1,2", "-x", "steps=3"), "-x steps names one value"),
    ],
)
def test_an_option_is_never_dropped_for_a_variation(alone: Program, words: tuple[str, ...], why: str) -> None:
    ended = alone.run("run", "a cat", *words)
    assert (ended.code, ended.out) == (2, "")
    assert why in ended.err


def test_a_variation_replaces_what_the_environment_and_an_earlier_task_say(alone: Program) -> None:
    varied = alone.run("run", "a cat", "--vary", "seed=1,2", "--size", "64x64", "-q", IMAGEGEN_SEED="5")
    assert varied.code == 0
    assert [task["facts"]["seed"] for task in alone.tasks()] == [1, 2]
    ended = alone.run("again", "1", "--vary", "ratio=1:1,2:1", "--dry-run", "--json")
    assert [one["ratio"] for one in ended.objects] == ["1:1", "2:1"]


def test_more_tasks_than_the_limit_are_asked_about(studio: Program, server: DreaminaServer) -> None:
    command = [sys.executable, "-m", "imagegen_cli", "run", "a cat", "--vary", "seed=1..21"]
    with screen.Program(command, columns=160, lines=40, environ=studio.environment(), cwd=studio.folder) as program:
        program.wait_for("Send them? [y/N]")
        assert "21 tasks, 84 pictures: seed 21" in program.text
        program.send("n\r")
        assert program.finish() == 2
    studio.configure(f"confirm_above = 3\n{CONFIG.format(url=server.url)}")
    assert studio.run("run", "a cat", "--vary", "seed=1..4").code == 2
    assert server.counts["submit"] == 0
    assert studio.run("run", "a cat", "--vary", "seed=1..4", "--yes").code == 0
    assert server.counts["submit"] == 4


def test_a_dry_run_says_what_comes_of_it(studio: Program, server: DreaminaServer) -> None:
    ended = studio.run("run", "a cat", *TWELVE, "--dry-run")
    assert len(ended.objects) == 12
    assert "12 tasks, 48 pictures: model 2 × ratio 3 × seed 2" in ended.err
    assert server.counts["submit"] == 0


def test_names_of_files_may_tell_the_cell_and_never_collide(alone: Program) -> None:
    words = ("run", "a cat", "--vary", "size=64x64,80x64", "--repeat", "2")
    assert alone.run(*words, "--name", "{slug}-{vary}-{index}").code == 0
    assert [path.name for path in alone.pictures() if not path.name.startswith("sheet")] == [
        "a-cat-64x64-1.png", "a-cat-64x64-~2-1.png", "a-cat-80x64-1.png", "a-cat-80x64-~2-1.png",
    ]  # fmt: skip
    assert alone.run(*words, "--name", "{slug}").code == 0
    assert len({path for task in alone.tasks() for path in task["files"]}) == 8


# --exec


def test_a_command_gets_each_picture_and_its_output_stays_off_stdout(studio: Program) -> None:
    hook = (
        f"{shlex.quote(sys.executable)} -S -c 'import sys, os; print(os.path.getsize(sys.argv[1]) > 0, sys.argv[2:])'"
    )
    ended = studio.run("run", "a 'cat'; touch x", "--exec", f"{hook} {{path}} {{id}} {{index}} {{prompt}}")
    assert ended.code == 0
    assert [Path(line).suffix for line in ended.lines] == [".png"] * 4
    for index in range(1, 5):
        assert f"1/{index}: True {['1', str(index), 'a ' + chr(39) + 'cat' + chr(39) + '; touch x']}" in ended.err
    assert not (studio.folder / "x").exists()


def test_a_command_that_fails_or_is_missing_changes_nothing_else(studio: Program) -> None:
    for hook in ("false", "/no/such/command"):
        ended = studio.run("run", "a cat", "--exec", hook, "--quiet")
        assert (ended.code, len(ended.lines)) == (0, 4)
        assert ended.err.count("--exec failed for") == 4
    assert {task["state"] for task in studio.tasks()} == {"done"}


def test_a_slow_command_is_ended(studio: Program, server: DreaminaServer) -> None:
    studio.configure(f"exec_timeout_s = 0.3\n{CONFIG.format(url=server.url)}")
    ended = studio.run("run", "a cat #partial", "--exec", "sleep 100")
    assert ended.err.count("it was ended after 0.3 s (exec_timeout_s)") == 2


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGINT to send")
def test_ctrl_c_ends_the_commands(studio: Program) -> None:
    running = studio.folder / "running"
    running.mkdir()
    written(studio, "hook.py", "import os, time; os.mkdir(f'running/{os.getpid()}'); time.sleep(600)")
    process = studio.start("run", "a cat", "--exec", shlex.join([sys.executable, "-S", "hook.py"]))
    end = time.monotonic() + 30
    while not any(running.iterdir()) and time.monotonic() < end:
        time.sleep(0.01)
    interrupt(process)
    ended = finished(process)
    assert ended.code == 130
    assert "--exec was ended, or not begun, for 4 pictures" in ended.err
    for begun in running.iterdir():
        with pytest.raises(ProcessLookupError):
            os.kill(int(begun.name), 0)


def test_what_resume_fetches_has_its_command_too(studio: Program, server: DreaminaServer) -> None:
    server.fail("query", Fault.ERROR_500, times=3)
    assert studio.run("run", "a cat").code == 5
    ended = studio.run("resume", "--exec", "echo got {index}")
    assert sorted(line for line in ended.err.splitlines() if "got" in line) == [f"1/{n}: got {n}" for n in range(1, 5)]


def test_a_command_that_leaves_a_child_ends_with_its_own_process(studio: Program) -> None:
    ended = studio.run("run", "a cat", "--exec", 'sh -c "sleep 600 & echo sent; exit 0"')
    assert (ended.code, ended.err.count("sent")) == (0, 4)
    assert "failed" not in ended.err
    assert "Exception ignored" not in ended.err


@pytest.mark.parametrize(
    ("hook", "hint"),
    [
        ("sh -c 'echo {prompt}'", "sh -c 'echo \"$1\"' - {prompt}"),
        ("python3 -c {prompt}", "sh -c 'echo \"$1\"' - {prompt}"),
        ("", "write it as --exec 'echo {path}'"),
    ],
)
def test_a_command_that_would_be_a_script_or_is_none_is_refused_before_anything_is_sent(
    studio: Program, server: DreaminaServer, hook: str, hint: str
) -> None:
    ended = studio.run("run", "a cat", "--exec", hook)
    assert ended.code == 2
    assert hint in ended.err
    assert server.counts["submit"] == 0


# -o -


def bytes_of(program: Program, *words: str) -> tuple[int, bytes, str]:
    process = program.start(*words, text=False)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err.decode()  # type: ignore[attr-defined,return-value]


def test_the_picture_goes_to_stdout_and_is_kept(alone: Program) -> None:
    code, out, err = bytes_of(alone, "run", "a cat", "--size", "64x64", "-o", "-")
    (task,) = alone.tasks()
    kept = Path(task["files"][0])
    assert code == 0
    assert out == kept.read_bytes()
    assert out.startswith(PNG)
    assert f"the picture is on stdout, and kept: {kept}" in err
    assert kept.parent == alone.home / "piped"
    assert not alone.pictures(), "nothing is written into the working directory"


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("-n", "2"), "this would make 2"),
        (("--vary", "seed=1..2"), "this would make 2"),
        (("--json",), "--json"),
    ],
)
def test_stdout_takes_one_picture_and_nothing_else(alone: Program, words: tuple[str, ...], why: str) -> None:
    code, out, err = bytes_of(alone, "run", "a cat", "-o", "-", *words)
    assert (code, out) == (2, b"")
    assert why in err
    assert alone.run("list").code == 4


def test_a_list_that_was_sent_before_has_no_picture_for_stdout(alone: Program) -> None:
    name = written(alone, "one.txt", "a cat\n")
    assert bytes_of(alone, "batch", name, "--size", "64x64", "-o", "-")[0] == 0
    code, out, err = bytes_of(alone, "batch", name, "--size", "64x64", "-o", "-")
    assert (code, out) == (4, b"")
    assert "there is no picture for stdout: the list has nothing new" in err
    written(alone, "one.txt", "a cat\na dog\n")
    dry = alone.run("batch", name, "--size", "64x64", "-o", "-", "--dry-run")
    assert dry.code == 0
    code, out, _ = bytes_of(alone, "batch", name, "--size", "64x64", "-o", "-")
    assert (code, out[:8]) == (0, PNG)
    assert len(alone.tasks()) == 2


@pytest.mark.parametrize("folder", ["./-", "-/", ".//-"])
def test_a_folder_may_be_called_like_stdout(alone: Program, folder: str) -> None:
    ended = alone.run("run", "a cat", "--size", "64x64", "-o", folder)
    assert ended.code == 0
    assert [Path(path).parent for path in ended.lines] == [alone.folder / "-"]


def test_a_list_with_nothing_new_has_its_summary_for_programs(alone: Program) -> None:
    name = written(alone, "one.txt", "a cat\n")
    first = alone.run("batch", name, "--size", "64x64", "--json").objects[-1]
    again = alone.run("batch", name, "--size", "64x64", "--json")
    (summary,) = again.objects
    assert (again.code, summary["event"], summary["tasks"], summary["seconds"]) == (0, "summary", 0, 0)
    assert summary.keys() == first.keys()


def test_what_is_free_and_what_has_no_price_are_summed_up_in_words(studio: Program) -> None:
    ended = studio.run("run", "a cat", "--vary", "provider=studio,sketch", "--dry-run")
    assert ended.code == 0
    assert "  in all 1 task without a known price\n" in ended.err


def test_a_terminal_gets_no_bytes(alone: Program) -> None:
    command = [sys.executable, "-m", "imagegen_cli", "run", "a cat", "-o", "-"]
    with screen.Program(command, columns=100, lines=20, environ=alone.environment(), cwd=alone.folder) as program:
        assert program.finish() == 2
        assert "stdout is a terminal" in program.text
    assert alone.run("list").code == 4


def test_a_reader_that_leaves_loses_nothing(alone: Program) -> None:
    process = alone.start("run", "a cat", "--size", "1024x1024", "-o", "-", text=False)
    assert process.stdout is not None
    process.stdout.close()
    _, err = process.communicate(timeout=60)
    (task,) = alone.tasks()
    assert (process.returncode, task["state"]) == (0, "done")
    assert Path(task["files"][0]).read_bytes().startswith(PNG)
    assert f"is kept: {task['files'][0]}" in err.decode()  # type: ignore[attr-defined]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device here")
def test_a_full_stdout_is_no_success(alone: Program) -> None:
    environment = alone.environment()
    with Path("/dev/full").open("wb") as full:
        words = [sys.executable, "-m", "imagegen_cli", "run", "a cat", "--size", "64x64", "-o", "-"]
        ended = subprocess.run(
            words, cwd=alone.folder, env=environment, stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert ended.returncode == 1
    assert "the picture is kept" in ended.stderr


def test_a_picture_that_does_not_come_leaves_stdout_empty(studio: Program) -> None:
    code, out, _ = bytes_of(studio, "run", "a cat #fail", "-o", "-", "-n", "1")
    assert (code, out) in ((1, b""), (2, b""))
