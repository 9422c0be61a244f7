"""What every request asks for costs it no thread."""

import inspect

import pytest

from api import dependencies


def asked_for() -> list[object]:
    marks = [mark for value in vars(dependencies).values() for mark in marks_of(value)]
    return [mark.dependency for mark in marks if hasattr(mark, "dependency")]


def marks_of(value: object) -> tuple[object, ...]:
    return getattr(value, "__metadata__", ())


def test_there_are_dependencies() -> None:
    assert len(asked_for()) >= 7


@pytest.mark.parametrize("dependency", asked_for())
def test_a_dependency_is_a_coroutine(dependency: object) -> None:
    assert inspect.iscoroutinefunction(dependency), "FastAPI runs it in a thread"
