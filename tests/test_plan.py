import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from imagegen_cli.core import provider as base
from imagegen_cli.core.errors import BadRequest, UsageError
from imagegen_cli.core.naming import DEFAULT
from imagegen_cli.core.provider import Accepted, Provider, Ready, Report
from imagegen_cli.core.task import ImageRequest, Job, RunId, TaskId
from imagegen_cli.inputs.plan import MAX_BAD_LINES, MAX_COUNT, Item, Place, dry_run_row, place, planned, prepare
from imagegen_cli.inputs.prompts import PromptSpec, from_list
from imagegen_cli.settings.config import Config, Configured, General
from imagegen_cli.settings.paths import PROJECT_FILE
from imagegen_cli.storage.records import Numbers

PNG = b"\x89PNG\r\n\x1a\n and so on"
STEADY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""No test depends on how busy the machine is."""


class Strict(Provider[Any]):
    """Makes four pictures at a time of prompts without the word "bad". Sending anything raises an error."""

    kind: ClassVar[str] = "strict"
    title: ClassVar[str] = "strict"
    at_once: ClassVar[int | None] = 4
    made: ClassVar[int] = 1
    versions: ClassVar[tuple[str, ...]] = ()

    def __init__(self, settings: Any, clients: Any) -> None:
        assert clients.paid is None
        assert clients.free is None

    async def submit(self, request: ImageRequest, client_job: Job | None, report: Report) -> Accepted | Ready:
        raise AssertionError("nothing is sent while planning")

    def check(self, request: ImageRequest) -> None:
        if "bad" in request.prompt:
            raise BadRequest("the prompt holds the word bad")
        if request.seed is not None and request.seed > 100:
            raise BadRequest("the seed is too large")

    def max_images(self, request: ImageRequest) -> int | None:
        return self.at_once

    def expected_images(self, request: ImageRequest) -> int:
        return (request.count or 1) * self.made

    def model_for_version(self, model: str) -> str | None:
        """Versions are offered by those whose settings name them."""
        return model if model in self.versions else None


class Endless(Strict):
    at_once = None
    versions = ("4.5", "5.0")


class Pair(Strict):
    at_once = 2
    versions = ("4.5",)


class Double(Strict):
    made = 2


def configuration(default: str = "studio", models: dict[str, str] | None = None) -> Config:
    types: dict[str, Any] = {"studio": Strict, "endless": Endless, "pair": Pair, "double": Double}
    return Config(
        general=General(default_provider=default, models=models or {}),
        providers={
            name: Configured(name=name, kind=name, type=type_, settings=base.Settings(model=f"{name}-1"), place="test")
            for name, type_ in types.items()
        },
        files=(),
    )


CONFIG = configuration()


def items(*specs: PromptSpec, config: Config = CONFIG) -> list[Item]:
    return prepare(specs, config)


def requests(*specs: PromptSpec, config: Config = CONFIG) -> list[ImageRequest]:
    return [item.request for item in items(*specs, config=config)]


def refused(*specs: PromptSpec, config: Config = CONFIG) -> UsageError:
    with pytest.raises(UsageError) as caught:
        prepare(specs, config)
    return caught.value


def spec(prompt: str = "a cat", **more: Any) -> PromptSpec:
    return replace(PromptSpec(prompt=prompt), **more)


# Words into a request


def test_a_wish_becomes_a_request_in_full() -> None:
    (item,) = items(
        spec(
            line=7, models=("4.0",), ratio="16：9", resolution="2K", size="100x200", count=3, seed=0, negative="dogs",
            references=("https://example.org/a.png",), name="hero", extra={"steps": "5"},
        )
    )  # fmt: skip
    assert item.request == ImageRequest(
        prompt="a cat", provider="studio", model="4.0", ratio="16:9", resolution="2k", width=100, height=200, count=3,
        seed=0, negative="dogs", references=("https://example.org/a.png",), name="hero", extra={"steps": "5"},
    )  # fmt: skip
    assert (item.expected_images, item.line) == (3, 7)


def test_the_seed_of_old_tools_for_any_means_any() -> None:
    assert requests(spec(seed=-1))[0].seed is None


def test_nothing_becomes_nothing() -> None:
    assert items() == []


@pytest.mark.parametrize(
    ("provider", "model", "found"),
    [
        ("", "", ("studio", "studio-1")),
        ("", "4.0", ("studio", "4.0")),
        ("endless", "", ("endless", "endless-1")),
        ("endless", "4.0", ("endless", "4.0")),
        ("", "endless/4.0", ("endless", "4.0")),
        ("endless", "endless/4.0", ("endless", "4.0")),
        ("", "hero", ("endless", "9.0")),
        ("", "plain", ("studio", "8.0")),
        ("pair", "plain", ("pair", "8.0")),
        ("", "stable/diffusion", ("studio", "stable/diffusion")),
        ("pair", "stable/diffusion", ("pair", "stable/diffusion")),
        ("", "studio/stable/diffusion", ("studio", "stable/diffusion")),
        ("", "sketch/4.0", ("sketch", "4.0")),
        ("pair", "sketch/4.0", ("pair", "sketch/4.0")),
        ("", "studio/", ("studio", "studio-1")),
    ],
)
def test_provider_and_model_are_found(provider: str, model: str, found: tuple[str, str]) -> None:
    config = configuration(models={"hero": "endless/9.0", "plain": "8.0"})
    (request,) = requests(spec(provider=provider, models=(model,) if model else ()), config=config)
    assert (request.provider, request.model) == found


@pytest.mark.parametrize(
    ("default", "model", "provider"),
    [
        ("studio", "5.0", "endless"),
        ("studio", "6.0", "studio"),
        ("pair", "4.5", "pair"),
        ("pair", "5.0", "endless"),
        ("sketch", "5.0", "sketch"),
    ],
)
def test_a_bare_version_finds_who_offers_it(default: str, model: str, provider: str) -> None:
    (request,) = requests(spec(models=(model,)), config=configuration(default))
    assert (request.provider, request.model) == (provider, model)


def test_a_bare_version_that_several_offer_must_be_said_in_full() -> None:
    error = refused(spec(models=("4.5",)))
    assert error.message == "several providers offer the model 4.5"
    assert error.hint == "say which: endless/4.5, pair/4.5"


def test_models_that_are_compared_make_a_task_each() -> None:
    assert [(one.provider, one.model) for one in requests(spec(models=("3.0", "endless/4.0")))] == [
        ("studio", "3.0"), ("endless", "4.0"),
    ]  # fmt: skip


def test_several_providers_may_take_one_task() -> None:
    (item,) = items(spec(provider="endless, pair,endless", count=2))
    assert item.request.provider == "endless"
    assert [(one.provider, one.model) for one in item.alternatives] == [("pair", "pair-1")]


def test_several_providers_split_by_the_smallest_and_check_all() -> None:
    found = items(spec(provider="studio,pair", count=3, seed=5))
    assert [(item.request.count, item.request.seed) for item in found] == [(2, 5), (1, 7)]
    assert [(one.count, one.seed) for item in found for one in item.alternatives] == [(2, 5), (1, 7)]


@pytest.mark.parametrize(
    ("more", "message", "hint"),
    [
        ({"provider": "studoi"}, "there is no provider 'studoi'", "did you mean studio?"),
        ({"provider": "studio,studoi"}, "there is no provider 'studoi'", "did you mean studio?"),
        ({"provider": "pair", "models": ("studio/4.0",)}, "names the provider studio, --provider names pair", ""),
        ({"count": 0}, "count is 0; it must be at least 1", ""),
        ({"count": -3}, "count is -3; it must be at least 1", ""),
        ({"size": "big"}, "'big' is no size; write it like 1024x768", ""),
        ({"prompt": "a bad cat"}, "the prompt holds the word bad", ""),
        ({"references": ("/no/such.png",)}, "the reference /no/such.png cannot be read: No such file", ""),
        ({"references": ("/",)}, "the reference / cannot be read: Is a directory", ""),
        (
            {"references": ("/dev/zero",)},
            "the reference /dev/zero cannot be read: it is a link, a device, a pipe or a",
            "",
        ),
        ({"references": ("/proc/self/environ",)}, "the reference /proc/self/environ is no picture", ""),
        ({"references": (__file__,)}, "is no picture, by its first bytes", ""),
        ({"references": ("file:///etc/passwd",)}, "the reference file:///etc/passwd cannot be read: No such file", ""),
        ({"references": ("a\0b",)}, "cannot be read", ""),
        ({"references": ("~no-such-person/a.png",)}, "cannot be read", ""),
        ({"references": ("ftp://example.org/a.png",)}, "cannot be read", ""),
        ({"references": ("",)}, "cannot be read", ""),
        ({"count": 9, "seed": 95}, "the seed is too large", ""),
    ],
)
def test_what_cannot_be_sent_is_refused(more: dict[str, Any], message: str, hint: str) -> None:
    error = refused(replace(spec(), **more))
    assert message in error.message
    assert hint in error.hint


def test_every_line_that_would_be_refused_is_named() -> None:
    error = refused(spec(line=1), spec("bad", line=2), spec(line=5, count=0), spec(line=9, provider="x"))
    assert error.message.split("\n")[:2] == [
        "prompt 2: the prompt holds the word bad", "prompt 5: count is 0; it must be at least 1",
    ]  # fmt: skip
    assert "prompt 9: there is no provider 'x'" in error.message
    assert error.hint == "nothing was sent; write a number from 1 to 1000 for -n"


def test_a_list_is_named_with_the_line_of_what_would_be_refused() -> None:
    """Two lists may be read at once."""
    one = from_list("one.csv", b"prompt,ratio,count\na,1:1,1\nbad,1:1,1\nb,1:1,0\n", PromptSpec(prompt=""))[0]
    two = from_list("two.txt", b"bad\na\nbad\n", PromptSpec(prompt=""))[0]
    error = refused(*one, *two)
    assert error.message.split("\n") == [
        "one.csv:3: the prompt holds the word bad (also lines two.txt:1 two.txt:3)",
        "one.csv:4: count is 0; it must be at least 1",
    ]
    assert refused(*two[:1]).message == "two.txt:1: the prompt holds the word bad"


def test_what_is_wrong_with_many_lines_is_said_once_with_all_their_numbers() -> None:
    error = refused(*(spec("bad", line=number) for number in range(1, 60)), spec("a", size="1x", line=70))
    first, second = error.message.split("\n")
    shown = " ".join(map(str, range(2, MAX_BAD_LINES + 2)))
    assert first == f"prompt 1: the prompt holds the word bad (also prompts {shown} …)"
    assert second.startswith("prompt 70: ")


@pytest.mark.parametrize("count", [MAX_COUNT + 1, 10**8, 10**14])
def test_a_count_without_bounds_is_refused_at_once(count: int) -> None:
    start = time.process_time()
    error = refused(spec(count=count))
    assert error.message == f"count is {count}; one prompt may ask for at most 1000 pictures"
    assert error.hint == "write a number from 1 to 1000 for -n"
    listed = from_list("a.csv", f"prompt,n\na,1\nb,{count}\n".encode(), PromptSpec(prompt=""))[0]
    error = refused(*listed)
    assert error.message == f"a.csv:3: count is {count}; one prompt may ask for at most 1000 pictures"
    assert error.hint == "nothing was sent; write a number from 1 to 1000 for the column count"
    assert time.process_time() - start < 5
    assert len(items(spec(count=MAX_COUNT))) == MAX_COUNT // 4


def test_very_many_refusals_are_counted() -> None:
    error = refused(*(spec("a", size=f"{number}x", line=number) for number in range(1, MAX_BAD_LINES + 31)))
    assert error.message.split("\n")[-1] == "… and 30 more"
    assert len(error.message.split("\n")) == MAX_BAD_LINES + 1


def test_a_reference_gets_its_full_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "猫.png").write_bytes(PNG)
    for text in ("猫.png", "./猫.png", "~/猫.png", str(tmp_path / "猫.png")):
        (request,) = requests(spec(references=(text, "http://example.org/b.png")))
        assert request.references == (str(tmp_path / "猫.png"), "http://example.org/b.png")


# What a list may name


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder from another person, in a home with pictures of one's own; the working directory is the home."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / "shared"
    (folder / "below").mkdir(parents=True)
    for path in ("private.png", "shared/a.png", "shared/below/b.png", "shared-not/c.png"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(PNG)
    (folder / "link.png").symlink_to(tmp_path / "private.png")
    (folder / "up").symlink_to(tmp_path)
    (folder / "inside.png").symlink_to("a.png")
    return folder


def listed_in(folder: Path, *references: str) -> list[PromptSpec]:
    row = json.dumps({"prompt": "a cat", "references": list(references)})
    found, _ = from_list("list.jsonl", row.encode(), PromptSpec(prompt=""))
    return [replace(one, source=str((folder / "list.jsonl").resolve())) for one in found]


@pytest.mark.parametrize(
    "reference",
    [
        "private.png", "~/private.png", "{home}/private.png", "shared/../private.png", "shared/link.png",
        "shared/up/private.png", "{home}/shared/./up/shared/../private.png", "shared-not/c.png",
    ],
)  # fmt: skip
def test_a_list_names_no_picture_outside_of_its_folder(shared: Path, reference: str) -> None:
    reference = reference.format(home=shared.parent)
    error = refused(*listed_in(shared, reference))
    outside = f"the reference {reference} is outside of the list's folder {shared}: --allow-outside permits it"
    assert error.message == f"list.jsonl:1: {outside}"


@pytest.mark.parametrize(
    "reference",
    ["shared/a.png", "{home}/shared/a.png", "~/shared/below/b.png", "shared/inside.png", "shared/up/shared/a.png",
     "https://example.org/a.png", "shared/below/../a.png"],
)  # fmt: skip
def test_a_list_names_pictures_of_its_folder(shared: Path, reference: str) -> None:
    reference = reference.format(home=shared.parent)
    (request,) = requests(*listed_in(shared, reference))
    if reference.startswith("https:"):
        assert request.references == (reference,)
    else:
        looked_at = Path(reference).expanduser().resolve()
        assert request.references == (str(looked_at),), "links are followed once, before anything is sent"


def test_a_list_in_a_project_names_pictures_of_the_project(shared: Path) -> None:
    inside = listed_in(shared / "below", "shared/a.png")
    assert "is outside of the list's folder" in refused(*inside).message
    project = replace(CONFIG, project=shared)
    assert requests(*inside, config=project)[0].references == (str(shared / "a.png"),)
    assert "private.png is outside" in refused(*listed_in(shared / "below", "private.png"), config=project).message
    elsewhere = listed_in(shared.parent / "shared-not", "shared/a.png")
    assert "is outside of the list's folder" in refused(*elsewhere, config=project).message


def test_a_list_that_lies_behind_a_link_is_where_the_link_leads(shared: Path) -> None:
    (shared.parent / "way").symlink_to(shared / "below")
    assert requests(*listed_in(shared.parent / "way", "way/b.png"))
    assert "is outside" in refused(*listed_in(shared.parent / "way", "shared/a.png")).message


def test_what_the_person_types_is_free(shared: Path) -> None:
    typed = PromptSpec(prompt="a cat", references=("private.png",))
    assert requests(typed)
    (line,) = from_list(str(shared / "list.txt"), b"a cat", typed)[0]
    assert requests(line), "the list says nothing of references"
    (named,) = from_list(str(shared / "list.jsonl"), b'{"prompt": "a", "references": "private.png"}', typed)[0]
    assert requests(named), "the list says what the person typed"
    (allowed,) = listed_in(shared, "private.png")
    assert requests(replace(allowed, listed=allowed.listed - {"references"}))


def test_a_list_chooses_no_service_that_only_the_project_file_names() -> None:
    theirs = {"pair": replace(CONFIG.providers["pair"], place=PROJECT_FILE)}
    config = replace(CONFIG, providers={**CONFIG.providers, **theirs})

    def rows(common: PromptSpec, **row: str) -> list[PromptSpec]:
        return from_list("list.jsonl", json.dumps({"prompt": "a", **row}).encode(), common)[0]

    nothing, typed = PromptSpec(prompt=""), PromptSpec(prompt="", provider="pair")
    for row in ({"provider": "pair"}, {"provider": "studio,pair"}, {"model": "pair/1"}):
        error = refused(*rows(nothing, **row), config=config)
        assert (
            error.message
            == "list.jsonl:1: the list chooses pair, which only the project file names: -p pair permits it"
        )
        assert requests(*rows(nothing, **row))
    for row in ({}, {"provider": "pair"}, {"model": "pair/1"}, {"model": "1"}):
        assert requests(*rows(typed, **row), config=config)[0].provider == "pair"
    assert requests(spec(models=("4.5",)), config=config)[0].provider == "endless", "a bare version means one's own"


# Splitting and identities


@pytest.mark.parametrize(
    ("provider", "count", "seed", "parts"),
    [
        ("studio", None, None, [(None, None)]),
        ("studio", None, 7, [(None, 7)]),
        ("studio", 4, 7, [(4, 7)]),
        ("studio", 5, 7, [(4, 7), (1, 11)]),
        ("studio", 9, 0, [(4, 0), (4, 4), (1, 8)]),
        ("studio", 9, None, [(4, None), (4, None), (1, None)]),
        ("endless", 99, 7, [(99, 7)]),
        ("pair", 4, 7, [(2, 7), (2, 9)]),
    ],
)
def test_more_than_a_service_makes_at_a_time_is_split_and_seeds_go_on(
    provider: str, count: int | None, seed: int | None, parts: list[tuple[int | None, int | None]]
) -> None:
    found = items(spec(provider=provider, count=count, seed=seed))
    assert [(item.request.count, item.request.seed) for item in found] == parts
    assert sum(item.expected_images for item in found) == (count or 1)
    assert len({item.identity for item in found}) == len(parts)


def test_what_is_asked_for_is_what_the_provider_expects() -> None:
    assert [item.expected_images for item in items(spec(provider="double", count=6))] == [8, 4]


SPECS = st.builds(
    PromptSpec,
    prompt=st.sampled_from(["a cat", "a dog", "两只猫"]),
    count=st.sampled_from([None, 1, 5]),
    seed=st.sampled_from([None, 3]),
    models=st.sampled_from([(), ("4.0",), ("3.0", "4.0")]),
)


def identities(specs: list[PromptSpec]) -> list[str]:
    numbered = [replace(one, line=number) for number, one in enumerate(specs, 1)]
    return [item.identity for item in items(*numbered)]


@STEADY
@given(st.lists(SPECS, max_size=8), st.randoms(use_true_random=False))
def test_identities_stay_when_lines_move(specs: list[PromptSpec], random: Any) -> None:
    moved = list(specs)
    random.shuffle(moved)
    before = identities(specs)
    assert sorted(identities(moved)) == sorted(before)
    assert len(set(before)) == len(before), "equal lines are told apart"


@STEADY
@given(st.lists(SPECS, max_size=6), st.lists(SPECS, max_size=3), st.integers(0, 6))
def test_identities_stay_when_lines_are_added(specs: list[PromptSpec], more: list[PromptSpec], at: int) -> None:
    assert set(identities(specs)) <= set(identities(specs[:at] + more + specs[at:]))


def test_a_line_that_is_fixed_is_another() -> None:
    before, after = identities([spec("a cta"), spec("a dog")]), identities([spec("a cat"), spec("a dog")])
    assert before[0] != after[0]
    assert before[1] == after[1]


# Where it goes


def test_the_folder_is_made_and_tried_and_left_empty(tmp_path: Path) -> None:
    found = place(tmp_path / "new" / "图", "{id}-{index}")
    assert found == Place(folder=tmp_path / "new" / "图", template="{id}-{index}")
    assert list(found.folder.iterdir()) == []


def test_the_folder_is_meant_from_where_one_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    assert place(Path("images"), DEFAULT).folder == tmp_path / "images"
    assert place(Path("~/images"), DEFAULT).folder == tmp_path / "me" / "images"


@pytest.mark.parametrize("template", ["{promt}", "../{id}", "{id", "\x1b{id}"])
def test_a_template_that_cannot_be_used_makes_no_folder(tmp_path: Path, template: str) -> None:
    with pytest.raises(UsageError, match="name template"):
        place(tmp_path / "images", template)
    assert not (tmp_path / "images").exists()


@pytest.mark.parametrize("folder", ["file", "file/below", "a\0b", "x" * 300, "caf\udce9"])
def test_a_folder_that_cannot_be_is_refused(tmp_path: Path, folder: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot write into") as caught:
        place(tmp_path / folder, DEFAULT)
    assert caught.value.hint == "choose another folder with --output"


def test_the_home_of_somebody_who_is_not_there_is_refused() -> None:
    with pytest.raises(UsageError, match="cannot write into"):
        place(Path("~no-such-person/images"), DEFAULT)


@pytest.fixture
def nobodys() -> Iterator[Path]:
    """A folder in which this process may not write: root gives its rights away meanwhile."""
    folder = Path(tempfile.mkdtemp())
    root = os.geteuid() == 0
    folder.chmod(0o755 if root else 0o500)
    if root:
        os.seteuid(65534)
    yield folder
    if root:
        os.seteuid(0)
    folder.chmod(0o700)
    shutil.rmtree(folder)


@pytest.mark.skipif(os.name == "nt", reason="no rights of this kind")
def test_a_folder_without_the_right_to_write_is_refused(nobodys: Path) -> None:
    for folder in (nobodys, nobodys / "below"):
        with pytest.raises(UsageError, match=r"cannot write into .*: Permission denied"):
            place(folder, DEFAULT)


def numbers(count: int, first: int = 1) -> Numbers:
    return Numbers(RunId(1), tuple(TaskId(first + number) for number in range(count)))


def names(where: Place, *found: Item, first: int = 1) -> list[str]:
    return [plan.name for plan in planned(found, where, numbers(len(found), first))]


def test_a_plan_holds_what_the_history_needs(tmp_path: Path) -> None:
    (item,) = items(spec(count=3))
    (plan,) = planned([item], Place(folder=tmp_path, template=DEFAULT), numbers(1, 12))
    assert (plan.request, plan.expected_images) == (item.request, 3)
    assert (plan.folder, plan.identity) == (str(tmp_path), item.identity)
    assert (plan.id, plan.name) == (12, "12-a-cat-{index}")


@pytest.mark.parametrize(
    ("there", "name"),
    [
        ("", "a-cat-{index}"),
        ("a-cat-1.png", "a-cat-~2-{index}"),
        ("A-Cat-2.JPG", "a-cat-~2-{index}"),
        ("a-cat-4.png", "a-cat-{index}"),
        ("a-cat-10.png", "a-cat-{index}"),
        ("a-cat-1.tar.png", "a-cat-{index}"),
    ],
)
def test_a_name_that_is_there_already_is_not_used_again(tmp_path: Path, there: str, name: str) -> None:
    if there:
        (tmp_path / there).touch()
    where = Place(folder=tmp_path, template="{slug}-{index}")
    assert names(where, *items(spec(count=3))) == [name]


def test_names_of_one_plan_never_meet(tmp_path: Path) -> None:
    where = Place(folder=tmp_path, template="{slug}-{index}")
    found = items(spec("a cat"), spec("A Cat!"), spec("a cat", seed=2))
    assert names(where, *found) == ["a-cat-{index}", "a-cat-~2-{index}", "a-cat-~3-{index}"]


def test_what_would_be_sent_can_be_read_and_parsed(tmp_path: Path) -> None:
    (item,) = items(spec("猫", line=3, count=2, seed=7))
    found = json.loads(json.dumps(dry_run_row(item, CONFIG, Place(folder=tmp_path, template=DEFAULT))))
    assert found["prompt"] == "猫"
    assert (found["provider"], found["model"], found["count"], found["seed"]) == ("studio", "studio-1", 2, 7)
    assert (found["line"], found["asked"], found["kind"]) == (3, 2, "studio")
    assert found["file"] == str(tmp_path / "(id)-猫-{index}")
