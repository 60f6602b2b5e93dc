"""Which tests start a process. They get the marker `program`, so that `-m "not program"` runs all others in a minute.

The marker is found: a test has it when its code, a fixture that it uses, or a helper of the tests that one of these
names, starts a process. The test says `@pytest.mark.program` itself where the process is started by the product, or
where the test takes seconds for another reason. A test without the marker that starts the program fails at that moment.
"""

import inspect
import subprocess
import sys
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType
from typing import Any

import pytest

STARTS = {"Popen", "run", "check_call", "check_output", "call"}
_guard = {"forbids": False}


def mark(items: list[pytest.Item]) -> None:
    """Give `program` to every test whose code starts a process."""
    known: dict[object, bool] = {}
    for item in items:
        if isinstance(item, pytest.Function) and any(_starts(each, known) for each in _functions(item)):
            item.add_marker("program")


def forbid_program(*, forbidden: bool) -> None:
    """Raise RuntimeError in the code that starts the program from now on, or raise no more."""
    _guard["forbids"] = forbidden


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if _guard["forbids"] and event == "subprocess.Popen" and "imagegen_cli" in str(arguments[1]):
        raise RuntimeError("a test that starts the program needs a marker: @pytest.mark.program")


sys.addaudithook(_watch)


def _functions(item: pytest.Function) -> Iterator[Callable[..., Any]]:
    yield item.function
    for definitions in item._fixtureinfo.name2fixturedefs.values():
        yield from (definition.func for definition in definitions)


def _starts(named: Any, known: dict[object, bool]) -> bool:
    """Whether this function or class of the tests starts a process, by itself or by a helper that it names."""
    thing = inspect.unwrap(named) if callable(named) else named
    if not str(getattr(thing, "__module__", "")).startswith("tests.") or not isinstance(thing, FunctionType | type):
        return False
    if thing not in known:
        known[thing] = False  # a circle adds nothing
        known[thing] = any(_starts_itself(function, known) for function in _bodies(thing))
    return known[thing]


def _bodies(thing: FunctionType | type) -> list[FunctionType]:
    if isinstance(thing, FunctionType):
        return [thing]
    return [value for kind in thing.__mro__ for value in vars(kind).values() if isinstance(value, FunctionType)]


def _starts_itself(function: FunctionType, known: dict[object, bool]) -> bool:
    names = set(_names(function.__code__))
    values = [function.__globals__[name] for name in names if name in function.__globals__]
    if subprocess in values and names & STARTS:
        return True
    modules = [value for value in values if str(getattr(value, "__name__", "")).startswith("tests.")]
    named = [vars(module)[name] for module in modules for name in names if name in vars(module)]
    return any(_starts(value, known) for value in (*values, *named))


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)
