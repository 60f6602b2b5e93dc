"""`resume`, `retry`, and lists that were sent before: whole processes with one history."""

import json
import math
import resource
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from imagegen_cli.storage.records import Filter
from imagegen_cli.storage.store import Store
from tests.doubles.dreamina import DreaminaServer
from tests.doubles.http import Fault, Pictures, Reply, Request
from tests.program import Ended, Program, finished, next_line

if TYPE_CHECKING:
    import subprocess

CONFIG = """
default_provider = "studio"
[providers.studio]
kind = "dreamina"
base_url = "{url}"
poll = 0.02
[providers.other]
kind = "dreamina"
base_url = "{url}"
poll = 0.02
"""


@pytest.fixture
def server() -> Iterator[DreaminaServer]:
    with DreaminaServer(polls=1, seconds=0.0, pictures=Pictures("png", (16, 16))) as server:
        yield server


@pytest.fixture
def studio(tmp_path: Path, server: DreaminaServer) -> Program:
    return Program(tmp_path, CONFIG.format(url=server.url))


def write(studio: Program, name: str, *lines: str) -> Path:
    path = studio.folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def together(studio: Program, *words: str, count: int = 2) -> list[Ended]:
    """The same command by several processes at once."""
    started = [studio.start(*words) for _ in range(count)]
    return [finished(process) for process in started]


def sql(studio: Program, statement: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(studio.home / "history.db")) as db:
        rows = db.execute(statement).fetchall()
        db.commit()
        return rows


def states(studio: Program) -> list[str]:
    return studio.states()


# A receipt survives


@pytest.mark.parametrize("status", [400, 404, 407, 421, 451])
def test_a_wrong_answer_to_a_question_costs_no_receipt(studio: Program, server: DreaminaServer, status: int) -> None:
    server.fail("query", Reply.json({"error": "no"}, status), times=None)
    ended = studio.run("run", "a cat")
    assert ended.code == 5
    assert "imagegen resume 1" in ended.err
    refused = studio.run("retry", "--failed", "--yes")
    assert refused.code == 4
    assert "may be made and billed already" in refused.err
    server.heal()
    assert studio.run("resume").code == 0
    assert server.counts["submit"] == 1


def test_a_moderated_task_is_asked_for_again_only_by_name(studio: Program, server: DreaminaServer) -> None:
    assert studio.run("run", "a cat #fail").code == 1
    assert studio.run("resume").code == 4
    queries = server.counts["query"]
    assert studio.run("resume", "1").code == 1
    assert server.counts["query"] > queries
    assert server.counts["submit"] == 1


def test_one_provider_that_is_gone_keeps_no_other_from_going_on(studio: Program, server: DreaminaServer) -> None:
    server.fail("query", Fault.ERROR_500, times=None)
    assert studio.run("run", "a cat", "-p", "studio").code == 5
    assert studio.run("run", "a dog", "-p", "other").code == 5
    server.heal()
    studio.configure(CONFIG.format(url=server.url).partition("[providers.other]")[0])
    ended = studio.run("resume")
    assert ended.code == 5
    assert "left as they are: 2; there is no provider 'other'" in ended.err
    assert states(studio) == ["done", "failed"]


def test_a_task_whose_provider_has_no_key_is_left_and_others_are_cancelled(
    studio: Program, server: DreaminaServer
) -> None:
    for provider in ("studio", "other"):
        process = studio.start("run", "#never", "-p", provider, "--json")
        next_line(process, "task-progressed")
        process.kill()
        finished(process)
    studio.configure(CONFIG.format(url=server.url).replace("[providers.other]", "[providers.gone]"))
    ended = studio.run("cancel", "--all")
    assert "cannot be cancelled from here: 2" in ended.err
    assert "1 the service goes on" in ended.out
    assert "2 " in ended.out


# Sending again


def test_two_retries_at_once_send_once(studio: Program, server: DreaminaServer) -> None:
    server.fail("submit", Reply.json({"error": "no"}, 400))
    assert studio.run("run", "a cat").code == 1
    ended = together(studio, "retry", "1", count=3)
    assert sorted(one.code for one in ended) == [0, 4, 4], [one.err for one in ended]
    assert server.counts["submit"] == 2
    assert states(studio) == ["done"]
    assert not any("Traceback" in one.err or "bug" in one.err for one in ended)


def test_two_resumes_at_once_fetch_once(studio: Program, server: DreaminaServer) -> None:
    server.fail("query", Fault.ERROR_500, times=None)
    assert studio.run("run", *(f"cat {number}" for number in range(6)), "-j", "unlimited").code == 5
    server.heal()
    ended = together(studio, "resume", count=3)
    assert {one.code for one in ended} <= {0, 4}
    assert states(studio) == ["done"] * 6
    assert len(studio.pictures()) == 24
    assert server.counts["submit"] == 6


def test_a_retry_that_is_stopped_before_it_is_sent_changes_nothing(studio: Program, server: DreaminaServer) -> None:
    assert studio.run("run", "a cat #fail").code == 1
    before = studio.tasks()
    server.fail("submit", Reply.json({"error": "busy"}, 429, retry_after="3600"), times=None)
    process = studio.start("retry", "1", "--reason", "moderated", environment={"IMAGEGEN_CONCURRENCY": "1"})
    while server.counts["submit"] < 2 or sql(studio, "SELECT state FROM task") != [("queued",)]:
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    finished(process)
    studio.run("resume")
    assert [task["reason"] for task in studio.tasks()] == [task["reason"] for task in before]


def test_show_tells_every_attempt(studio: Program, server: DreaminaServer) -> None:
    server.fail("submit", Reply.json({"error": "no such thing"}, 400))
    assert studio.run("run", "a cat").code == 1
    assert studio.run("retry", "1").code == 0
    shown = studio.run("show", "1")
    assert "attempt 1" in shown.out
    assert "no such thing" in shown.out
    (attempt,) = studio.run("show", "1", "--json").objects[0]["attempts"]
    assert (attempt["state"], attempt["reason"]) == ("failed", "bad-request")


def failed_runs(studio: Program, server: DreaminaServer, *sizes: int) -> None:
    server.fail("submit", Reply.json({"error": "oh"}, 500, server="x"), times=None)
    for size in sizes:
        server.heal()
        server.fail("submit", Reply.json({"success": False, "error": "broken", "fail_code": "9"}), times=None)
        assert studio.run("run", *(f"cat {size} {number}" for number in range(size))).code == 1
    server.heal()


def test_retry_means_the_last_run_that_has_such_tasks(studio: Program, server: DreaminaServer) -> None:
    failed_runs(studio, server, 2, 1)
    sent = server.counts["submit"]
    ended = studio.run("retry", "--failed")
    assert ended.code == 0
    assert "only run 2; 2 of older runs are left alone: --run N or --all-runs takes them" in ended.err
    assert server.counts["submit"] == sent + 1
    assert studio.run("retry", "--failed", "--all-runs").code == 0
    assert states(studio) == ["done"] * 3


def test_retry_above_a_handful_needs_yes_off_a_terminal(studio: Program, server: DreaminaServer) -> None:
    failed_runs(studio, server, 6)
    sent = server.counts["submit"]
    refused = studio.run("retry")
    assert refused.code == 2
    assert "6 tasks (24 pictures)" in refused.err
    assert "--yes" in refused.err
    shown = studio.run("retry", "--dry-run")
    assert shown.code == 0
    assert [row["task"] for row in shown.objects] == [1, 2, 3, 4, 5, 6]
    assert server.counts["submit"] == sent
    assert studio.run("retry", "--yes").code == 0
    assert server.counts["submit"] == sent + 6


def test_what_was_moderated_is_sent_again_only_where_it_is_named(studio: Program, server: DreaminaServer) -> None:
    assert studio.run("run", "a cat #fail").code == 1
    ended = studio.run("retry", "--failed")
    assert ended.code == 4
    assert "left alone, as they stand they would be refused again: 1" in ended.err
    assert server.counts["submit"] == 1
    studio.run("retry", "--reason", "moderated")
    assert server.counts["submit"] == 2


def test_hints_name_the_tasks(studio: Program, server: DreaminaServer) -> None:
    server.fail("submit", Reply.json({"success": False, "error": "broken", "fail_code": "9"}), times=None)
    ended = studio.run("run", "a cat")
    assert "imagegen retry 1" in ended.err
    assert "--failed" not in ended.err


# Lists


def test_two_batches_of_one_list_at_once_send_each_line_once(studio: Program, server: DreaminaServer) -> None:
    write(studio, "list.txt", *(f"cat {number}" for number in range(8)))
    ended = together(studio, "batch", "list.txt", "-j", "unlimited", count=3)
    assert server.counts["submit"] == 8, [one.err for one in ended]
    assert len(studio.tasks()) == 8
    assert {one.code for one in ended} == {0}


@pytest.mark.parametrize("other", ["sub/../list.txt", "link.txt", "list.txt other.txt", "./list.txt list.txt"])
def test_a_list_is_known_under_every_path(studio: Program, server: DreaminaServer, other: str) -> None:
    path = write(studio, "list.txt", "a cat", "a dog")
    write(studio, "other.txt", "a bird")
    (studio.folder / "sub").mkdir()
    (studio.folder / "link.txt").symlink_to(path)
    assert studio.run("batch", "list.txt").code == 0
    assert studio.run("batch", *other.split()).code == 0
    assert server.counts["submit"] == (3 if "other.txt" in other else 2)


def test_a_renamed_list_is_asked_about(studio: Program, server: DreaminaServer) -> None:
    write(studio, "list.txt", "a cat", "a dog")
    assert studio.run("batch", "list.txt").code == 0
    write(studio, "renamed.txt", "a cat", "a dog", "a bird")
    refused = studio.run("batch", "renamed.txt")
    assert refused.code == 2
    assert "2 of 3 prompts were sent before, from another list (tasks 1 2)" in refused.err
    assert "--skip-sent" in refused.err
    assert "--again" in refused.err
    assert server.counts["submit"] == 2
    assert studio.run("batch", "renamed.txt", "--skip-sent").code == 0
    assert server.counts["submit"] == 3
    assert studio.run("batch", "renamed.txt", "--again").code == 0
    assert server.counts["submit"] == 6


def test_a_list_by_a_pipe_is_asked_about_as_well(studio: Program, server: DreaminaServer) -> None:
    assert studio.run("batch", "-", stdin="a cat\n").code == 0
    assert studio.run("batch", "-", stdin="a cat\n").code == 2
    assert studio.run("batch", "-", "--skip-sent", stdin="a cat\na dog\n").code == 0
    assert server.counts["submit"] == 2


def test_after_a_kill_batch_goes_on_with_its_own_rows(studio: Program, server: DreaminaServer) -> None:
    write(studio, "list.txt", *(f"cat {number}" for number in range(5)))
    server.seconds = math.inf
    process = studio.start("batch", "list.txt", "-j", "1", "-q")
    studio.await_states("running", *["queued"] * 4)
    process.kill()
    finished(process)
    server.seconds = 0.0
    ended = studio.run("batch", "list.txt", "-j", "unlimited")
    assert "were interrupted: imagegen resume" in ended.err
    assert len(studio.tasks()) == 5
    assert server.counts["submit"] == 5
    assert states(studio).count("done") == 4
    assert "queued" not in states(studio), "no row is left that a retry would pay for"


def test_a_dry_run_says_what_would_really_be_sent(studio: Program, server: DreaminaServer) -> None:
    write(studio, "list.txt", "a cat")
    assert studio.run("batch", "list.txt").code == 0
    write(studio, "list.txt", "a cat", "a dog")
    shown = studio.run("batch", "list.txt", "--dry-run", "--json")
    assert [row.get("skip", "") for row in shown.objects] == ["1 are done", ""]
    assert "nothing was sent: 1 task, 4 pictures would go to" in shown.err
    assert server.counts["submit"] == 1


# Several providers


@pytest.fixture
def second() -> Iterator[DreaminaServer]:
    with DreaminaServer(polls=1, seconds=0.0, pictures=Pictures("png", (16, 16))) as server:
        yield server


def with_alternative(studio: Program, server: DreaminaServer, second: DreaminaServer) -> None:
    before, name, after = CONFIG.partition("[providers.other]")
    studio.configure(before.format(url=server.url) + name + after.format(url=second.url))


UNAUTHORIZED = Reply.json({"error": "no"}, 401)


def killed_before_the_third_is_sent(studio: Program, server: DreaminaServer, second: DreaminaServer) -> None:
    """Tasks 1 and 2 are at one service each, 3 was planned and waits for either."""
    with_alternative(studio, server, second)
    server.seconds = second.seconds = math.inf
    process = studio.start("run", "a cat", "a dog", "a red hen", "-p", "studio,other", "-j1", "-q")
    studio.await_states("running", "running", "queued")
    process.kill()
    finished(process)
    server.seconds = second.seconds = 0.0
    assert "never sent, nothing spent: 3" in studio.run("resume", "3").err


@pytest.mark.parametrize("refuses", ["studio", "other"])
def test_after_a_kill_a_task_that_was_never_sent_remembers_its_alternatives(
    studio: Program, server: DreaminaServer, second: DreaminaServer, refuses: str
) -> None:
    killed_before_the_third_is_sent(studio, server, second)
    refusing, taking = (server, second) if refuses == "studio" else (second, server)
    refusing.fail("submit", UNAUTHORIZED, times=None)
    before = taking.counts["submit"]
    ended = studio.run("retry", "3")
    assert ended.code == 0, ended.err
    assert taking.counts["submit"] == before + 1
    assert studio.tasks()[2]["provider"] == ("other" if refuses == "studio" else "studio")


def test_an_alternative_that_is_gone_from_the_settings_keeps_no_retry_from_its_own_provider(
    studio: Program, server: DreaminaServer, second: DreaminaServer
) -> None:
    killed_before_the_third_is_sent(studio, server, second)
    studio.configure(CONFIG.format(url=server.url).partition("[providers.other]")[0])
    ended = studio.run("retry", "3")
    assert (ended.code, states(studio)[2]) == (0, "done"), ended.err


@pytest.mark.parametrize("way", ["resume", "retry"])
def test_what_may_have_been_paid_never_goes_to_an_alternative(
    studio: Program, server: DreaminaServer, second: DreaminaServer, way: str
) -> None:
    with_alternative(studio, server, second)
    second.fail("submit", UNAUTHORIZED, times=None)  # so that the first service gets it, or nothing at all
    server.fail("query", Fault.ERROR_500, times=None)
    assert studio.run("run", "a cat", "-p", "studio,other").code == 5
    assert studio.tasks()[0]["provider"] == "studio"
    second.heal()
    server.heal()
    submits = second.counts["submit"]
    server.fail("query" if way == "resume" else "submit", UNAUTHORIZED, times=None)
    studio.run(*(["resume"] if way == "resume" else ["retry", "1", "--may-repeat"]))
    assert second.counts["submit"] == submits
    assert {task["provider"] for task in studio.tasks()} == {"studio"}


# A history that cannot be written


class Starving(DreaminaServer):
    """From the moment of its submit on, its client can write to no file any more."""

    client: "subprocess.Popen[str] | None" = None

    async def answer(self, request: Request) -> Reply:
        if self.kind(request) == "submit" and self.client is not None:
            resource.prlimit(self.client.pid, resource.RLIMIT_FSIZE, (0, 0))
        return await super().answer(request)


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="only Linux takes room from a running process")
@pytest.mark.parametrize("is_lost", [False, True], ids=["kept", "history lost"])
def test_receipts_that_cannot_be_written_are_printed_and_can_be_given_back(tmp_path: Path, is_lost: bool) -> None:
    with Starving(polls=1, seconds=0.0, pictures=Pictures("png", (16, 16))) as server:
        studio = Program(tmp_path, CONFIG.format(url=server.url))
        studio.run("list")
        server.client = studio.start("run", "a cat", "-")
        ended = finished(server.client, "")
        assert ended.code == 5, ended.err
        assert "imagegen resume --receipts FILE gives them back" in ended.err
        assert states(studio) == ["submitting"]
        (tmp_path / "receipts").write_text(ended.err, encoding="utf-8")
        server.client = None
        for path in studio.home.glob("history.db*") if is_lost else ():
            path.unlink()
        resumed = studio.run("resume", "--receipts", "receipts")
        assert resumed.code == 0
        assert ("the history lacked task 1" in resumed.err) is is_lost
        assert states(studio) == ["done"]
        assert len(studio.pictures()) == 4
        assert studio.run("resume", "--receipts", "receipts").code == 4
        assert server.counts["submit"] == 1


# What may be paid is never hidden by a new attempt


def timed_out(studio: Program, server: DreaminaServer) -> None:
    server.fail("query", Fault.ERROR_500, times=None)
    assert studio.run("run", "a cat").code == 5
    server.heal()


def test_a_repeat_of_what_may_be_paid_is_a_new_task_and_the_old_one_can_still_be_fetched(
    studio: Program, server: DreaminaServer
) -> None:
    timed_out(studio, server)
    ended = studio.run("retry", "1", "--may-repeat")
    assert ended.code == 0
    assert "new tasks 2 for 1, which keep what can be fetched of them" in ended.err
    assert states(studio) == ["failed", "done"]
    assert studio.run("resume", "1").code == 0
    assert states(studio) == ["done", "done"]
    assert server.counts["submit"] == 2
    assert len(studio.pictures()) == 8


def test_a_repeat_that_was_refused_loses_no_receipt_and_is_not_sent_again_unasked(
    studio: Program, server: DreaminaServer
) -> None:
    timed_out(studio, server)
    server.fail("submit", Reply.json({"error": "no"}, 401), times=None)
    assert studio.run("retry", "1", "--may-repeat").code == 3
    server.heal()
    submits = server.counts["submit"]
    refused = studio.run("retry", "--failed", "--yes")
    assert refused.code == 4
    assert "left alone, may be made and billed already: 2" in refused.err
    assert server.counts["submit"] == submits
    assert studio.run("resume").code == 0
    assert states(studio) == ["done", "failed"]
    assert studio.run("retry", "2").code == 4, "the first is done: to send it once more would pay a second time"


def test_two_repeats_at_once_make_one_copy(studio: Program, server: DreaminaServer) -> None:
    timed_out(studio, server)
    ended = together(studio, "retry", "1", "--may-repeat", count=3)
    assert sorted(one.code for one in ended) == [0, 4, 4], [one.err for one in ended]
    assert server.counts["submit"] == 2


def test_after_a_killed_retry_resume_says_and_fetches_what_was_before(studio: Program, server: DreaminaServer) -> None:
    server.fail("submit", Reply.json({"success": False, "error": "broken", "fail_code": "9"}))
    assert studio.run("run", "a cat").code == 1
    detail = json.dumps({"job": {"id": "x", "url": ""}, "may_be_paid": True, "message": "late", "reason": "timeout"})
    columns = "task, number, state, detail, reason"
    sql(studio, f"INSERT INTO attempt ({columns}) VALUES (1, 1, 'failed', '{detail}', 'timeout')")  # noqa: S608
    sql(studio, "UPDATE task SET state = 'queued', detail = '{}', reason = '', ended = NULL, owner = NULL")
    ended = studio.run("resume")
    assert "never sent" not in ended.err
    assert "not sent again, and as they were before: 1" in ended.err
    assert states(studio) == ["failed"]
    assert server.counts["query"] > 0, "its receipt was asked for"


@pytest.mark.parametrize("flags", [[], ["--skip-sent"]])
def test_a_copy_of_a_list_is_not_paid_while_the_first_is_at_work(
    studio: Program, server: DreaminaServer, flags: list[str]
) -> None:
    lines = [f"cat {number} #never" for number in range(4)]
    write(studio, "a.txt", *lines)
    write(studio, "b.txt", *lines)
    first = studio.start("batch", "a.txt", "-j", "1", "--json")
    next_line(first, '"running"')
    second = studio.run("batch", "b.txt", *flags)
    assert second.code == (0 if flags else 2)
    assert "4 of 4 prompts" in second.err
    assert "sent before" in second.err
    first.kill()
    finished(first)
    assert server.counts["submit"] == 1


def test_a_receipt_is_given_to_the_task_of_its_key_alone(studio: Program, server: DreaminaServer) -> None:
    """After a restored backup the numbers of tasks are given again, to other prompts."""
    server.fail("submit", Fault.CLOSE_AFTER)
    assert studio.run("run", "a cat").code == 1
    (job,) = server.jobs
    with closing(Store(studio.home / "history.db")) as store:
        key = store.find(Filter())[0].task.key
    lines = [{"task": 1, "job": job, "key": "0ld-1"}, {"task": 7, "job": "job-7"}]
    ended = studio.run("resume", "--receipts", "-", stdin="\n".join(map(json.dumps, lines)))
    assert ended.code == 4
    said = "2 receipts are of tasks that this history does not know; the service has their pictures, as jobs"
    assert f"{said} {job} job-7" in " ".join(ended.err.split())
    assert states(studio) == ["failed"]
    assert studio.run("resume", "--receipts", "-", stdin=json.dumps({"task": 1, "job": job, "key": key})).code == 0
    assert states(studio) == ["done"]


def test_copies_of_a_list_that_are_started_together_are_paid_once(studio: Program, server: DreaminaServer) -> None:
    for name in ("a.txt", "b.txt", "c.txt"):
        write(studio, name, *(f"cat {number}" for number in range(4)))
    started = [studio.start("batch", name, "--skip-sent") for name in ("a.txt", "b.txt", "c.txt")]
    assert {finished(process).code for process in started} == {0}
    assert server.counts["submit"] == 4


def test_receipts_in_any_spacing_are_read(studio: Program, server: DreaminaServer) -> None:
    server.fail("submit", Fault.CLOSE_AFTER)
    assert studio.run("run", "a cat").code == 1
    (job,) = server.jobs
    assert studio.run("resume", "--receipts", "-", stdin=f'{{"task":1,"job":"{job}"}}\n').code == 0
    assert states(studio) == ["done"]


RIGHT, DAMAGED = '{"task": 1, "job": "JOB"}', '{"task": 1, "job": "x'


@pytest.mark.parametrize(
    ("lines", "code", "said"),
    [
        ([DAMAGED], 2, "the input has no receipt"),
        ([DAMAGED, RIGHT], 5, "the history needs none of these receipts"),
        ([RIGHT], 4, "the history needs none of these receipts"),
    ],
    ids=["only damaged", "one right", "all right"],
)
def test_damaged_lines_of_receipts_decide_the_exit_code(
    studio: Program, server: DreaminaServer, lines: list[str], code: int, said: str
) -> None:
    assert studio.run("run", "a cat", "-q").code == 0
    (job,) = server.jobs
    ended = studio.run("resume", "--receipts", "-", stdin="\n".join(lines).replace("JOB", job))
    assert (ended.code, said in ended.err) == (code, True), ended.err
    assert ended.err.count("is no receipt that can be used") == lines.count(DAMAGED)


def test_who_comes_later_with_the_same_receipts_is_told_who_has_them(studio: Program, server: DreaminaServer) -> None:
    server.fail("submit", Fault.CLOSE_AFTER)
    assert studio.run("run", "a cat #slow").code == 1
    (job,) = server.jobs
    (studio.folder / "receipts").write_text(f'{{"task": 1, "job": "{job}"}}\n', encoding="utf-8")
    server.fail("query", Fault.STALL, times=None)
    words = ("resume", "--receipts", "receipts", "--json")
    first = studio.start(*words)
    next_line(first, '"running"')
    later = [finished(studio.start("resume", "--receipts", "receipts")) for _ in range(2)]
    first.kill()
    finished(first)
    for ended in later:
        assert ended.code == 4, ended.err
        assert f"1 belongs to process {first.pid} on " in ended.err
        assert "left alone" in ended.err
        assert "needs none" not in ended.err
