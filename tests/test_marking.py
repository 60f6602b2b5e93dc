"""The marker of tests that start the program is found, and missed where it is not."""

import asyncio
import random
import sys
from functools import cache
from pathlib import Path

import pytest

from tests import marking
from tests.program import Program


def started(folder: Path) -> Program:
    return Program(folder)


@cache
def kept(folder: Path) -> Program:
    return started(folder)


class Holder:
    def begin(self, folder: Path) -> Program:
        return kept(folder)


def through_a_class(folder: Path) -> object:
    return [Holder().begin(each) for each in folder.iterdir()]


def without(folder: Path) -> object:
    return [random.random(), folder.name]


def test_the_marker_is_found_through_helpers_and_classes() -> None:
    assert [marking.starts_process(each) for each in (started, kept, Holder, through_a_class)] == [True] * 4
    assert not marking.starts_process(without)


def test_a_start_of_the_program_without_the_marker_is_refused() -> None:
    with pytest.raises(RuntimeError, match="needs a marker"):
        asyncio.run(asyncio.create_subprocess_exec(sys.executable, "-m", "imagegen_cli", "--version"))


def test_random_is_seeded_before_each_test(request: pytest.FixtureRequest) -> None:
    assert random.random() == random.Random(request.config.getoption("--seed")).random()
