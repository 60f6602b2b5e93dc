"""New tasks that start from a picture: `run --from`, `--image task:12/2`, `edit`, `upscale`, and their chain."""

import json
import os
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from imagegen_cli.core.task import ImageRequest
from imagegen_cli.marks.values import Marks, marks_of
from imagegen_cli.marks.writing import add, sidecar_paths
from tests.doubles.a1111 import WebUIServer
from tests.doubles.dreamina import DreaminaServer
from tests.doubles.fal import KEY, FalQueue
from tests.doubles.forms import by_pillow
from tests.doubles.http import Service
from tests.doubles.marked import png, text
from tests.doubles.pictures import Pictures
from tests.program import Ended, Program
from tests.screen import Program as OnAScreen

OWN_IDS = ("force_task_id",)
"""What differs between two equal submits."""
SETTINGS = "Steps: 15, Sampler: Euler a, CFG scale: 5.5, Seed: 77, Size: 512x640, Model: other, Clip skip: 2"
WORDS = f"a fox, 雪\nNegative prompt: blurry\n{SETTINGS}"


@pytest.fixture
def server() -> Iterator[WebUIServer]:
    with WebUIServer() as server:
        yield server


@pytest.fixture
def program(tmp_path: Path, server: WebUIServer) -> Program:
    return Program(tmp_path, settings_of(server))


def settings_of(server: Service, name: str = "own", kind: str = "a1111", more: str = "") -> str:
    return f'[providers.{name}]\nkind = "{kind}"\nbase_url = "{server.url}"\npoll = 0.05\n{more}'


def sent(server: Service) -> list[dict[str, Any]]:
    """What came, without what differs between equal submits."""
    bodies = [request.json() for request in server.requests_of("submit")]
    return [{name: value for name, value in body.items() if name not in OWN_IDS} for body in bodies]


def done(ended: Ended) -> list[Path]:
    assert ended.code == 0, ended.err
    return [Path(line) for line in ended.lines]


def own_file(folder: Path, marks: Marks) -> Path:
    path = folder / "given.png"
    path.write_bytes(add(by_pillow("PNG"), marks))
    return path


def marked(**more: Any) -> Marks:
    request = ImageRequest(**{"prompt": "a fox 雪", "provider": "x", **more})
    return marks_of(request, kind="a1111", facts={})


# run --from


@pytest.mark.parametrize("form", ["png", "jpeg", "webp", "avif"])
def test_run_info_and_run_from_make_an_equal_request(tmp_path: Path, form: str) -> None:
    """Once by the file that lies elsewhere, with no history; once by its bytes, which the history knows."""
    with WebUIServer(pictures=Pictures(form)) as server:
        program = Program(tmp_path, settings_of(server))
        words = ["a fox, 雪", "--negative", "blurry", "--size", "512x640", "-m", "other", "-n", "2", "-p", "own"]
        extra = ["-x", "steps=12", "-x", "sampler=Euler a", "-x", "cfg=5.5"]
        second = done(program.run("run", *words, *extra))[1]
        (tmp_path / "there").mkdir()
        elsewhere = Program(tmp_path / "there", settings_of(server))
        copy = elsewhere.folder / f"copy{second.suffix}"
        shutil.copy(second, copy)
        for beside, there in zip(sidecar_paths(second), sidecar_paths(copy), strict=True):
            if beside.exists():
                shutil.copy(beside, there)
        [info] = elsewhere.run("info", copy.name, "--json").objects
        assert (info["prompt"], info["seed"], info["kind"]) == ("a fox, 雪", 8, "a1111")
        assert len(done(elsewhere.run("run", "--from", copy.name))) == 1
        assert len(done(program.run("run", "--from", str(second)))) == 1
        first, by_file, by_history = sent(server)
    assert by_file == by_history == first | {"seed": 8, "batch_size": 1, "n_iter": 1}


def test_options_and_a_prompt_change_what_is_made_again(program: Program, server: WebUIServer) -> None:
    path = own_file(program.folder, marked(seed=3, width=512, height=640, negative="blurry", extra={"steps": "12"}))
    ended = program.run("run", "--from", str(path), "a dog", "--ratio", "1:1", "-x", "steps=9", "--negative", "dull")
    done(ended)
    [body] = sent(server)
    assert (body["prompt"], body["width"], body["height"], body["seed"]) == ("a dog", 512, 512, 3)
    assert (body["steps"], body["negative_prompt"]) == (9, "dull")
    assert 'from given.png: own, 1:1, seed 3, without "dull", steps=9' in ended.err


def test_a_picture_of_a1111_is_made_again_with_its_settings(program: Program, server: WebUIServer) -> None:
    (program.folder / "a.png").write_bytes(png(text("parameters", WORDS)))
    ended = program.run("run", "--from", "a.png")
    done(ended)
    [body] = sent(server)
    assert (body["prompt"], body["negative_prompt"], body["seed"]) == ("a fox, 雪", "blurry", 77)
    assert (body["steps"], body["sampler_name"], body["cfg_scale"]) == (15, "Euler a", 5.5)
    assert (body["width"], body["height"]) == (512, 640)
    assert body["override_settings"] == {"sd_model_checkpoint": "other"}


def test_another_service_gets_what_it_can_take_and_the_rest_is_named(tmp_path: Path) -> None:
    with DreaminaServer() as server:
        program = Program(tmp_path, settings_of(server, kind="dreamina"))
        (tmp_path / "a.png").write_bytes(png(text("parameters", WORDS)))
        refused = program.run("run", "--from", "a.png")
        ended = program.run("run", "--from", "a.png", "-p", "own", "--dry-run")
        [plan] = ended.objects
    assert refused.code == 2
    assert "imagegen run --from a.png -p own" in refused.err
    assert plan["prompt"] == "a fox, 雪"
    assert "steps" not in json.dumps(plan)
    assert "left out: model other" in ended.err


def test_several_services_of_the_kind_are_named(program: Program, server: WebUIServer) -> None:
    program.configure(settings_of(server, "first") + settings_of(server, "second"))
    path = own_file(program.folder, marked())
    ended = program.run("run", "--from", str(path))
    assert ended.code == 2
    assert "first, second" in ended.err
    assert f"imagegen run --from {path} -p first" in ended.err
    done(program.run("run", "--from", str(path), "-p", "second"))
    assert [task["provider"] for task in program.tasks()] == ["second"]


def test_a_service_with_the_name_of_the_kind_comes_first(program: Program, server: WebUIServer) -> None:
    program.configure(settings_of(server, "first") + settings_of(server, "a1111"))
    done(program.run("run", "--from", str(own_file(program.folder, marked()))))
    assert [task["provider"] for task in program.tasks()] == ["a1111"]


def test_what_the_service_refuses_is_refused_and_not_left_out_silently(program: Program, server: WebUIServer) -> None:
    path = own_file(program.folder, marked(width=333, height=333))
    ended = program.run("run", "--from", str(path))
    assert ended.code == 2
    assert "333x333" in ended.err
    assert not sent(server)


HOSTILE: dict[str, dict[str, Any]] = {
    "references": {"references": ["/etc/hostname"], "image": "/etc/hostname"},
    "provider": {"provider": "second", "base_url": "http://127.0.0.1:1/", "output": "/var"},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_file_names_no_file_no_service_and_no_host(program: Program, server: WebUIServer, name: str) -> None:
    table: dict[str, Any] = {"v": 1, "tool": "imagegen", "kind": "a1111", "prompt": "a fox", **HOSTILE[name]}
    table["parameters"] = {f"extra.{key}": value for key, value in HOSTILE[name].items() if isinstance(value, str)}
    table["parameters"] |= {
        "extra.save_images": "true",
        "extra.steps": "5",
        "extra.sampler": "../../x",
        **HOSTILE[name],
    }
    (program.folder / "a.png").write_bytes(by_pillow("PNG"))
    (program.folder / "a.json").write_text(json.dumps(table))
    ended = program.run("run", "--from", "a.png")
    done(ended)
    [body] = sent(server)
    assert body["steps"] == 5
    assert body["save_images"] is False
    assert not body.keys() & {"init_images", "sampler_name", "references", "output", "provider"}
    assert "left out:" in ended.err
    assert "save_images=true" in ended.err


@pytest.mark.parametrize(
    ("told", "left_out"),
    [
        ({"seed": 10**30}, f"seed {10**30}"),
        ({"seed": 7.5}, "seed 7.5"),
        ({"seed": [5]}, "seed [5]"),
        ({"parameters": {"count": "100"}}, "count 100"),
        ({"parameters": {"count": [2]}}, "count [2]"),
        ({"parameters": {"size": "99999x99999"}}, "size 99999x99999"),
        ({"parameters": {"width": 512}}, "width 512"),
        ({"parameters": {"width": "x", "height": 512}}, "width x"),
    ],
)
def test_what_is_no_value_of_a_request_is_named(
    program: Program, server: WebUIServer, told: dict[str, Any], left_out: str
) -> None:
    table = {"v": 1, "tool": "imagegen", "kind": "a1111", "prompt": "a fox", **told}
    (program.folder / "a.png").write_bytes(by_pillow("PNG"))
    (program.folder / "a.json").write_text(json.dumps(table), encoding="utf-8")
    ended = program.run("run", "--from", "a.png")
    done(ended)
    assert len(sent(server)) == 1
    assert left_out in ended.err.partition("left out: ")[2]


@pytest.mark.parametrize("seed", [10**30, "x", 7.5])
def test_a_seed_of_another_tool_that_is_none_is_named(program: Program, server: WebUIServer, seed: object) -> None:
    words = WORDS.replace("Seed: 77", f"Seed: {seed}")
    assert words != WORDS
    (program.folder / "a.png").write_bytes(png(text("parameters", words)))
    ended = program.run("run", "--from", "a.png")
    done(ended)
    assert len(sent(server)) == 1
    assert f"left out: seed {seed}" in ended.err


def test_no_undeclared_input_of_a_model_comes_from_a_file(tmp_path: Path) -> None:
    with FalQueue() as server:
        program = Program(tmp_path, settings_of(server, kind="fal", more=f'api_key = "{KEY}"\n'))
        request = ImageRequest(prompt="a fox", provider="x", extra={"num_images": "100", "guidance": "3"})
        path = own_file(tmp_path, marks_of(request, kind="fal", facts={}))
        ended = program.run("run", "--from", str(path))
        done(ended)
        assert sent(server) == [{"prompt": "a fox"}]
    assert "left out: num_images=100, guidance=3" in ended.err


COSTLY: list[tuple[str, dict[str, Any], list[str], str]] = [
    ("dreamina", {"model": "4.0"}, ["-m", "3.0"], "the model 4.0"),
    ("a1111", {"width": 2048, "height": 1024}, ["--size", "512x512"], "the size 2048x1024"),
    ("dreamina", {"resolution": "4k", "ratio": "1:1"}, ["--ratio", "1:1", "--resolution", "1k"], "the resolution 4k"),
    ("a1111", {"extra": {"steps": "150"}}, ["-x", "steps=20"], "steps=150"),
]


@pytest.mark.parametrize(("kind", "told", "own", "said"), COSTLY)
def test_what_a_stranger_s_file_makes_dearer_is_asked_about(
    tmp_path: Path, kind: str, told: dict[str, Any], own: list[str], said: str
) -> None:
    with DreaminaServer() if kind == "dreamina" else WebUIServer() as server:
        program = Program(tmp_path, settings_of(server, kind=kind))
        request = ImageRequest(**{"prompt": "a fox", "provider": "x", **told})
        path = own_file(tmp_path, marks_of(request, kind=kind, facts={}))
        ended = program.run("run", "--from", str(path))
        assert (ended.code, server.counts["submit"]) == (2, 0), ended.err
        assert f"given.png chose {said}" in ended.err
        assert "--yes sends it" in ended.err
        assert program.run("run", "--from", str(path), "--dry-run").code == 0
        done(program.run("run", "--from", str(path), "--yes"))
        done(program.run("run", "--from", str(path), *own))
        [known] = done(program.run("run", "a fox", "-p", "own"))[:1]
        done(program.run("run", "--from", str(known)))
        assert server.counts["submit"] == 4


def test_on_a_terminal_a_person_is_asked_once_with_the_price(program: Program, server: WebUIServer) -> None:
    path = own_file(program.folder, marked(extra={"steps": "150"}))
    command = [sys.executable, "-m", "imagegen_cli", "run", "--from", str(path)]
    program.set_limits({"imagegen_cli.commands.console:READING_S": 0.0})
    home = {"IMAGEGEN_HOME": str(program.home), "NO_PROXY": "*", **program.more}
    for answer, code, count in (("n", 2, 0), ("y", 0, 1)):
        with OnAScreen(command, environ=home, cwd=program.folder) as run:
            run.wait_for("chose steps=150")
            run.wait_for("Send it?")
            run.press(f"{answer}\r")
            assert run.finish(30) == code
        assert server.counts["submit"] == count


@pytest.mark.parametrize("prompt", ["-", "--help", "@list.txt", "notes.txt", "\x1b[2Ja fox"])
def test_the_prompt_of_a_file_is_a_prompt(program: Program, server: WebUIServer, prompt: str) -> None:
    (program.folder / "notes.txt").write_text("x")
    path = own_file(program.folder, marked(prompt=prompt + " fox"))
    ended = program.run("run", "--from", str(path), stdin="a secret\n")
    assert "\x1b" not in ended.err
    assert [body["prompt"] for body in sent(server)] == [prompt + " fox"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("none.png", "none.png: the file cannot be read: No such file"),
        ("plain.png", "plain.png does not say what made it"),
        ("text.txt", "text.txt: this is no picture"),
        ("task:7", "there is no task 7"),
    ],
)
def test_what_cannot_be_made_again(program: Program, server: WebUIServer, name: str, words: str) -> None:
    (program.folder / "plain.png").write_bytes(by_pillow("PNG"))
    (program.folder / "text.txt").write_text("hello")
    ended = program.run("run", "--from", name)
    assert (ended.code, server.counts["submit"]) == (2, 0)
    assert words in ended.err


def test_a_run_without_words_says_how_to_write_them(program: Program) -> None:
    ended = program.run("run")
    assert ended.code == 2
    assert 'imagegen run "' in ended.err


# Pictures of the history as references, and the chain that they make


def test_edits_of_edits_make_a_chain(program: Program, server: WebUIServer) -> None:
    done(program.run("run", "a fox", "-n", "2", "--size", "512x512", "-m", "other", "-p", "own"))
    done(program.run("edit", "1/2", "in autumn"))
    [last] = done(
        program.run("run", "at night", "--image", "task:LAST", "--image", "task:1/1", "-p", "own", "-n", "2")
    )[:1]
    first, second, third = sent(server)
    assert (second["prompt"], second["override_settings"]) == ("in autumn", first["override_settings"])
    assert (second["width"], len(second["init_images"]), len(third["init_images"])) == (512, 1, 2)
    tasks = program.tasks()
    assert [task["parents"] for task in tasks] == [
        [], [{"task": 1, "picture": 2}], [{"task": 2, "picture": 1}, {"task": 1, "picture": 1}]
    ]  # fmt: skip
    shown = program.run("show", "3")
    assert "made from   1/2 → 2/1 → 3" in shown.out
    assert "1/1 → 3" in shown.out
    [task] = program.run("show", "3", "--json").objects
    assert task["chains"][0] == [{"task": 1, "picture": 2}, {"task": 2, "picture": 1}]
    shutil.move(last, program.folder / "x.png")
    assert "made from   1/2 → 2/1 → 3/1" in program.run("info", "x.png").out
    done(program.run("again", "2"))
    assert program.tasks()[-1]["parents"] == [{"task": 1, "picture": 2}]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "x", "--image", "task:1"], "task 1 has 2 pictures"),
        (["edit", "1", "x"], "name one of them: 1/1, 1/2"),
        (["edit", "1/3", "x"], "task 1 has 2 pictures and no picture 3"),
        (["run", "x", "--image", "task:9/1"], "there is no task 9"),
        (["run", "x", "--image", "task:nine"], "names no task"),
        (["edit", "2", "x"], "task 2 has no picture: it is failed"),
        (["edit", "3", "x"], "picture 3/1 is no longer at"),
        (["upscale", "3"], "imagegen again 3"),
        (["upscale", "1/1", "--factor", "1"], "--factor"),
        (["upscale", "1/1", "--factor", "nan"], "--factor"),
    ],
)
def test_a_picture_that_is_not_there(program: Program, server: WebUIServer, words: list[str], message: str) -> None:
    program.configure(f'default_provider = "own"\n{settings_of(server)}')
    program.run("run", "a fox", "-n", "2")
    program.run("run", "#fail")
    done(program.run("run", "gone"))[0].unlink()
    before = server.counts["submit"]
    ended = program.run(*words)
    assert (ended.code, server.counts["submit"]) == (2, before), ended.err
    assert message in ended.err


@pytest.mark.parametrize("put", ["other bytes", "link", "pipe"])
@pytest.mark.parametrize(
    "words",
    [
        ["run", "x", "--image", "task:1/1"],
        ["edit", "1", "x"],
        ["upscale", "1"],
        ["run", "--from", "task:1"],
        ["run", "x", "--vary", "image=task:1,task:1/1"],
    ],
)
def test_only_the_picture_itself_is_sent_for_its_task(
    program: Program, server: WebUIServer, words: list[str], put: str
) -> None:
    program.configure(f'default_provider = "own"\n{settings_of(server)}')
    [picture] = done(program.run("run", "a fox"))
    secret = program.folder / "secret.png"
    secret.write_bytes(png(text("parameters", WORDS)))
    picture.unlink()
    if put == "pipe":
        os.mkfifo(picture)
    elif put == "link":
        picture.symlink_to(secret)
    else:
        shutil.copy(secret, picture)
    ended = program.run(*words)
    assert (ended.code, server.counts["submit"]) == (2, 1), ended.err
    if put == "pipe":
        assert "not a file" in ended.err
    else:
        assert "is not picture 1/1 any more" in ended.err
        assert f"{'--from' if '--from' in words else '--image'} {picture}" in ended.err


def test_a_file_that_is_no_picture_says_nothing_of_the_services(program: Program, server: WebUIServer) -> None:
    program.configure(f'default_provider = "own"\n{settings_of(server)}')
    done(program.run("run", "a fox"))
    (program.folder / "words.png").write_text("these are words")
    ended = program.run("edit", "1", "x", "--image", "words.png")
    assert (ended.code, server.counts["submit"]) == (2, 1)
    assert "words.png' is not a PNG" in ended.err
    assert "none of your services" not in ended.err


@pytest.mark.parametrize("is_link", [False, True])
def test_a_picture_without_a_digest_is_a_file_and_no_link(program: Program, server: WebUIServer, is_link: bool) -> None:
    [picture] = done(program.run("run", "a fox", "-p", "own"))
    with closing(sqlite3.connect(program.home / "history.db")) as db, db:
        db.execute("UPDATE picture SET sha256 = ''")
    if is_link:
        picture.symlink_to(picture.rename(program.folder / "elsewhere.png"))
    ended = program.run("run", "x", "--image", "task:1", "-p", "own")
    assert (ended.code, server.counts["submit"]) == ((2, 1) if is_link else (0, 2)), ended.err


@pytest.mark.parametrize("words", [["run", "x", "--image", "task:1/1"], ["edit", "1", "x"], ["upscale", "1"]])
def test_an_empty_history_has_no_pictures(tmp_path: Path, words: list[str]) -> None:
    ended = Program(tmp_path).run(*words)
    assert (ended.code, "there is no task 1" in ended.err) == (2, True)


def test_pictures_of_tasks_can_be_varied(program: Program, server: WebUIServer) -> None:
    done(program.run("run", "a fox", "-n", "2", "-p", "own"))
    done(program.run("run", "at night", "-p", "own", "--vary", "image=task:1/1,task:1/2"))
    assert [task["parents"][0]["picture"] for task in program.tasks()[1:]] == [1, 2]
    path = own_file(program.folder, marked(prompt="a {colour} fox"))
    done(program.run("run", "--from", str(path), "--vary", "colour=red,blue"))
    assert [body["prompt"] for body in sent(server)[-2:]] in (["a red fox", "a blue fox"], ["a blue fox", "a red fox"])


def test_a_list_names_a_task_only_where_it_may_name_the_file(program: Program, server: WebUIServer) -> None:
    [picture] = done(program.run("run", "a secret", "-p", "own"))
    lists = {"here": program.folder, "there": program.folder / "stranger"}
    lists["there"].mkdir()
    for folder in lists.values():
        (folder / "list.csv").write_text("prompt,references\na fox,task:1/1\n")
    ended = program.run("batch", "stranger/list.csv", "-p", "own")
    assert (ended.code, server.counts["submit"]) == (2, 1)
    assert "list.csv:2: the reference task:1/1 is outside" in ended.err
    assert str(picture) not in ended.err
    done(program.run("batch", "list.csv", "-p", "own"))
    done(program.run("batch", "stranger/list.csv", "-p", "own", "--allow-outside", "--again"))
    assert [len(task["parents"]) for task in program.tasks()] == [0, 1, 1]


def test_edit_names_the_services_that_start_from_pictures(program: Program) -> None:
    done(program.run("run", "a fox", "--size", "64x64"))
    ended = program.run("edit", "1", "in autumn's light")
    assert ended.code == 2
    assert "sketch cannot start from a picture" in ended.err
    assert """imagegen edit 1/1 'in autumn'"'"'s light' -p own""" in ended.err
    assert program.run("edit", "1", "in autumn", "-p", "own").code == 0


# upscale


def test_a1111_makes_a_picture_larger(program: Program, server: WebUIServer) -> None:
    done(program.run("run", "a fox", "-p", "own"))
    done(program.run("upscale", "LAST", "--factor", "2.5"))
    request = server.requests_of("submit")[-1]
    body = request.json()
    assert request.path == "/sdapi/v1/extra-single-image"
    assert len(body.pop("image")) > 100
    assert body == {
        "resize_mode": 0, "upscaling_resize": 2.5, "upscaler_1": "R-ESRGAN 4x+", "show_extras_results": True
    }  # fmt: skip
    task = program.tasks()[-1]
    assert (task["prompt"], task["parents"]) == ("a fox", [{"task": 1, "picture": 1}])
    failed = program.run("upscale", "1", "-x", "upscaler=none")
    assert failed.code == 1
    assert "could not find upscaler named none" in failed.err


def test_another_service_makes_it_larger_where_its_own_cannot(tmp_path: Path) -> None:
    with FalQueue() as server:
        program = Program(tmp_path, settings_of(server, kind="fal", more=f'api_key = "{KEY}"\nimage_list = true\n'))
        done(program.run("run", "a fox", "--size", "64x64"))
        refused = program.run("upscale", "1")
        assert refused.code == 2
        assert "own can: imagegen upscale 1/1 -p own" in refused.err
        done(program.run("upscale", "1", "-p", "own"))
        [request] = server.requests_of("submit")
    body = request.json()
    assert request.path == "/fal-ai/esrgan"
    assert body.pop("image_url").startswith("data:image/png;base64,")
    assert body == {"scale": 2}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-x", "upscale=9"], "upscale is a number from 1 to 8"),
        (["-x", "upscaler=Lanczos"], "add upscale=2"),
        (["-x", "upscale=2", "--image", "p.png", "-x", "steps=3"], "no option but upscaler"),
        (["-x", "upscale=2"], "give one with --image"),
    ],
)
def test_rules_of_a1111_for_larger_pictures(program: Program, words: list[str], message: str) -> None:
    (program.folder / "p.png").write_bytes(by_pillow("PNG"))
    ended = program.run("run", "x", "-p", "own", *words)
    assert (ended.code, message in ended.err) == (2, True), ended.err
