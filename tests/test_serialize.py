import json
from dataclasses import fields, replace
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from imagegen_cli.core.errors import Reason
from imagegen_cli.core.events import (
    Event,
    RunFinished,
    RunStarted,
    RunStopping,
    TaskAdded,
    TaskChanged,
    TaskDelayed,
    TaskProgressed,
    Working,
)
from imagegen_cli.core.schema import Secret
from imagegen_cli.core.task import (
    Cancelled,
    CancelOutcome,
    Done,
    Failed,
    Image,
    ImageRequest,
    InlineImage,
    Job,
    Queued,
    RemoteImage,
    RunId,
    Running,
    SavedImage,
    Saving,
    StagedImage,
    State,
    Submitting,
    Task,
    TaskId,
    word,
)
from imagegen_cli.storage.serialize import (
    dumps,
    from_event,
    from_request,
    from_state,
    identity,
    to_event,
    to_request,
    to_state,
)

STEADY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""No test depends on how busy the machine is."""

ANY_TEXT = st.text(st.characters(), max_size=8)
"""Everything that a str can hold: NUL, half surrogates, signs beyond the first plane."""
JOBS = st.builds(Job, ANY_TEXT, ANY_TEXT)
IMAGES: st.SearchStrategy[tuple[Image, ...]] = st.lists(
    st.one_of(
        st.builds(RemoteImage, ANY_TEXT),
        st.builds(StagedImage, ANY_TEXT, ANY_TEXT),
        st.builds(SavedImage, ANY_TEXT),
        st.just(InlineImage(b"")),
    ),
    max_size=4,
).map(tuple)
STATES: st.SearchStrategy[State] = st.one_of(
    st.just(Queued()),
    st.builds(Submitting, st.none() | JOBS),
    st.builds(Running, JOBS, IMAGES),
    st.builds(Saving, IMAGES, st.none() | JOBS, ANY_TEXT),
    st.builds(Done, st.lists(ANY_TEXT).map(tuple), st.integers(0), ANY_TEXT),
    st.builds(Failed, st.sampled_from(Reason), ANY_TEXT, st.none() | JOBS, IMAGES),
    st.builds(Cancelled, st.sampled_from(CancelOutcome), st.none() | JOBS),
)
REQUESTS = st.builds(
    ImageRequest,
    prompt=ANY_TEXT.filter(bool),
    provider=ANY_TEXT.filter(bool),
    model=ANY_TEXT,
    ratio=ANY_TEXT,
    resolution=ANY_TEXT,
    width=st.none() | st.integers(1),
    height=st.none() | st.integers(1),
    count=st.none() | st.integers(1),
    seed=st.none() | st.integers(),
    negative=ANY_TEXT,
    references=st.lists(ANY_TEXT).map(tuple),
    name=ANY_TEXT,
    extra=st.dictionaries(ANY_TEXT, ANY_TEXT),
)


def task(state: State | None = None) -> Task:
    request = ImageRequest(prompt="a cat", provider="studio")
    return Task(
        id=TaskId(1), run=RunId(1), request=request, state=state or Queued(), folder="/images", name="1-{index}"
    )


def written(value: Any) -> Any:
    """As it comes back from the history, which keeps UTF-8."""
    return json.loads(dumps(value).encode().decode())


@STEADY
@given(STATES)
def test_every_state_comes_back_as_it_was(state: State) -> None:
    assert to_state(word(state), written(from_state(state))) == state


@STEADY
@given(REQUESTS)
def test_every_request_comes_back_as_it_was(request: ImageRequest) -> None:
    assert to_request(written(from_request(request))) == request


@STEADY
@given(STATES, REQUESTS, ANY_TEXT)
def test_what_is_written_is_plain_ascii(state: State, request: ImageRequest, text: str) -> None:
    assert dumps(from_request(request)).isascii()
    assert dumps(from_state(state)).isascii()
    assert dumps({"note": text}).isascii()


def test_every_state_can_be_written() -> None:
    names = {word(state()) for state in (Queued, Submitting)} | {
        "running", "saving", "done", "failed", "cancelled",
    }  # fmt: skip
    assert {kind.__name__.lower() for kind in get_args(State)} == names


def test_a_picture_in_memory_is_written_as_lost() -> None:
    data = from_state(Saving((InlineImage(b"secret bytes"), SavedImage("/a.png"))))
    assert data == {"images": [{}, {"file": "/a.png"}], "note": ""}
    assert to_state("saving", data) == Saving((InlineImage(b""), SavedImage("/a.png")))


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("sleeping", {}),
        ("done", {}),
        ("failed", {"message": "x"}),
        ("failed", {"reason": "nonsense", "message": "x"}),
        ("failed", {"reason": "server"}),
        ("cancelled", {}),
        ("cancelled", {"stop": "nonsense"}),
        ("running", {"job": {"id": "a", "more": 1}}),
        ("running", {"job": 5}),
        ("saving", {"images": [5]}),
        ("saving", {"images": 5}),
        ("done", {"files": 5}),
    ],
)
def test_a_state_that_nobody_wrote_is_refused(name: str, data: Any) -> None:
    with pytest.raises((KeyError, ValueError, TypeError)):
        to_state(name, data)


# Identity: what tells that a line of a list has been sent already

REQUEST = ImageRequest(prompt="a cat", provider="studio", count=2, seed=7, references=("/a.png",), extra={"a": "b"})


def test_an_identity_is_the_same_in_every_version() -> None:
    assert identity(ImageRequest(prompt="两只猫", provider="sketch")) == "63cb1160410ca43ff144cb12312be5f9"


def test_equal_requests_are_one_and_the_order_of_extras_does_not_matter() -> None:
    one = replace(REQUEST, extra={"a": "1", "b": "2"})
    other = replace(REQUEST, extra={"b": "2", "a": "1"})
    assert identity(one) == identity(other)


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": "a dog"}, {"provider": "other"}, {"model": "4.0"}, {"ratio": "1:1"}, {"resolution": "2k"},
        {"width": 10}, {"height": 10}, {"count": 3}, {"seed": 8}, {"seed": 0}, {"seed": None}, {"negative": "dogs"},
        {"references": ("/b.png",)}, {"references": ()}, {"name": "hero"}, {"extra": {}}, {"extra": {"a": "c"}},
    ],
    ids=str,
)  # fmt: skip
def test_another_request_has_another_identity(change: dict[str, Any]) -> None:
    assert identity(replace(REQUEST, **change)) != identity(REQUEST)


def test_every_field_of_a_request_counts() -> None:
    changed = {
        "prompt", "provider", "model", "ratio", "resolution", "width", "height", "count", "seed", "negative",
        "references", "name", "extra",
    }  # fmt: skip
    assert {item.name for item in fields(ImageRequest)} == changed, "give the new field a row above"


def test_a_field_that_is_new_tomorrow_changes_nothing_today() -> None:
    bare = ImageRequest(prompt="a cat", provider="studio")
    assert from_request(bare) == {"prompt": "a cat", "provider": "studio", "seed": None}
    assert to_request({"prompt": "a cat", "provider": "studio", "sparkle": 5}) == bare


# Events


EVENTS: tuple[tuple[Event, Event | None], ...] = (
    (TaskChanged(1.5, task(Running(Job("j", "u")))), None),
    (TaskChanged(1.5, task(Failed(Reason.MODERATED, "\ud800 no"))), None),
    (TaskProgressed(1.5, TaskId(1), Working(0.25, 3, "排队")), None),
    (TaskProgressed(1.5, TaskId(1), Working()), None),
    (TaskProgressed(1.5, TaskId(1), Working(0.0, 0)), None),
    (TaskProgressed(1.5, TaskId(1), Working(preview=b"bytes")), TaskProgressed(1.5, TaskId(1), Working())),
    (TaskDelayed(1.5, TaskId(1), 2, 0.5, "busy"), None),
    (TaskDelayed(1.5, TaskId(1), 2, 1 / 3, "busy"), TaskDelayed(1.5, TaskId(1), 2, 0.333, "busy")),
)
"""Each with what comes back, where that is not the same."""


@pytest.mark.parametrize(("event", "after"), EVENTS)
def test_an_event_about_a_task_comes_back(event: Event, after: Event | None) -> None:
    about, body = from_event(event)
    body = written(body)
    state = to_state(body["state"], body) if "state" in body else Queued()
    assert about == 1
    assert to_event(type(event).__name__, event.at, task(state), body) == (after or event)


@pytest.mark.parametrize(
    ("event", "body"),
    [
        (RunStarted(1.0, RunId(1), (task(),)), {}),
        (TaskAdded(1.0, task()), {}),
        (RunStopping(1.0, RunId(1), "Ctrl-C"), {"why": "Ctrl-C"}),
        (RunFinished(1.0, RunId(1)), {}),
    ],
)
def test_an_event_about_a_run_belongs_to_no_task(event: Event, body: dict[str, str]) -> None:
    assert from_event(event) == (None, body)


def test_no_secret_can_be_written() -> None:
    hidden: Any = Secret("sk-1")
    with pytest.raises(TypeError):
        dumps({"key": hidden})
    with pytest.raises(TypeError):
        dumps(from_request(replace(REQUEST, extra={"key": hidden})))


def test_no_bytes_of_a_picture_are_written() -> None:
    for state in (
        Saving((InlineImage(b"\x89PNG"),)), Running(Job("j"), (InlineImage(b"\x89PNG"),)),
        Failed(Reason.DISK, "full", None, (InlineImage(b"\x89PNG"),)),
    ):  # fmt: skip
        assert "PNG" not in dumps(from_state(state))
    assert from_event(TaskProgressed(1.0, TaskId(1), Working(preview=b"\x89PNG"))) == (1, {})
