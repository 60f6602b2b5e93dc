"""Which tests start a process. They get the marker `program`, so that `-m "not program"` runs all others in a minute.

The marker is found: a test has it when its code, a fixture that it uses, or a helper of the tests that one of these
names, starts a process. The test says `@pytest.mark.program` itself where the process is started by the product, or
where the test takes seconds for another reason. A test without the marker that starts the program fails at that moment.
"""

import inspect
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from types import CodeType, FunctionType, ModuleType
from typing import Any

import pytest

STARTS = {"Popen", "run", "check_call", "check_output", "call"}
_guard = {"forbids": False}


def mark(items: list[pytest.Item]) -> None:
    """Give `program` to every test whose code starts a process."""
    for item in items:
        if isinstance(item, pytest.Function) and any(starts_process(each) for each in _functions(item)):
            item.add_marker("program")


@cache
def starts_process(named: Callable[..., Any]) -> bool:
    """Whether this function or class of the tests starts a process, by itself or by helpers that it names."""
    waiting, seen = [named], set()
    while waiting:
        thing = waiting.pop()
        if thing not in seen:
            seen.add(thing)
            starts, helpers = _look(thing)
            if starts:
                return True
            waiting += helpers
    return False


def forbid_program(*, forbidden: bool) -> None:
    """From now on raise RuntimeError in code that starts the program, or stop doing so."""
    _guard["forbids"] = forbidden


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if _guard["forbids"] and event == "subprocess.Popen" and "imagegen_cli" in str(arguments[1]):
        raise RuntimeError("a test that starts the program needs a marker: @pytest.mark.program")


sys.addaudithook(_watch)


def _functions(item: pytest.Function) -> Iterator[Callable[..., Any]]:
    yield item.function
    for definitions in item._fixtureinfo.name2fixturedefs.values():
        yield from (definition.func for definition in definitions)


@cache
def _look(named: Callable[..., Any]) -> tuple[bool, list[Callable[..., Any]]]:
    """Whether its own code starts a process, and the helpers of the tests that the code names."""
    starts, helpers = False, []
    for function in _bodies(inspect.unwrap(named)):
        names = set(_names(function.__code__))
        values = [function.__globals__[name] for name in names if name in function.__globals__]
        starts = starts or (subprocess in values and bool(names & STARTS))
        modules = [value for value in values if isinstance(value, ModuleType) and value.__name__.startswith("tests.")]
        values += [vars(module)[name] for module in modules for name in names if name in vars(module)]
        helpers += [
            value for value in values if isinstance(inspect.unwrap(value), FunctionType | type) and _is_ours(value)
        ]
    return starts, helpers


def _is_ours(value: Any) -> bool:
    return str(getattr(value, "__module__", "")).startswith("tests.")


def _bodies(thing: Any) -> list[FunctionType]:
    kinds = thing.__mro__ if isinstance(thing, type) else ()
    return [
        each
        for each in (thing, *(value for kind in kinds for value in vars(kind).values()))
        if isinstance(each, FunctionType) and _is_ours(each)
    ]


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)
