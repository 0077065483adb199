"""Check that both texts refuse the same; here the sizes that a constructor is given."""

from __future__ import annotations

import dis
import inspect
from collections.abc import Iterator
from types import TracebackType
from typing import Any

from msgspec.structs import replace

from mha_lint.validation.child import isolation, stubs
from mha_lint.validation.child.imports import Loaded, in_one_line
from mha_lint.validation.search import targets
from mha_lint.validation.search.setups import Setup

NO_ANSWER = (stubs.StubTouched, isolation.Refused, MemoryError)  # errors that say nothing of the text
_SIZES = 6  # sizes of a constructor that are tried wrong


def wrong_sizes(setup: Setup, before: Loaded, after: Loaded) -> str:
    """Describe how the constructors of both differ in what they refuse. Return "" where they do not.

    A size that is one more than it should be divides by nothing that the others divide by.
    """
    if not setup.target.is_class or setup.plan.written or setup.plan.factory:
        return ""
    for name, value in _sizes(setup, before):
        wrong = replace(setup, plan=setup.plan.with_argument(name, value + 1))
        ours, theirs = (_error_of_building(wrong, loaded) for loaded in (before, after))
        if words := refused_otherwise(ours, theirs):
            return f"built with {name}={value + 1}: {words}"
    return ""


def _sizes(setup: Setup, loaded: Loaded) -> Iterator[tuple[str, int]]:
    """The first whole numbers that the constructor is given, or takes by default, with their names."""
    parameters = inspect.signature(targets.lookup(loaded.module, setup.target.name)).parameters.values()
    values: dict[str, Any] = {each.name: each.default for each in parameters} | dict(setup.plan.arguments)
    whole = [(name, value) for name, value in values.items() if isinstance(value, int) and not isinstance(value, bool)]
    yield from whole[:_SIZES]


def _error_of_building(setup: Setup, loaded: Loaded) -> BaseException | None:
    try:
        targets.instantiate(setup.target, setup.plan, loaded.module, seed=0)
    except (Exception, stubs.StubTouched) as error:  # whatever a constructor raises
        return error
    return None


def refused_otherwise(ours: BaseException | None, theirs: BaseException | None) -> str:
    """Describe how after refuses otherwise than before. Return "" where it does not, or where an error says nothing.

    What an operation happens to raise, after may raise in its own way; what before checks is raised with its own type.
    """
    if isinstance(ours, NO_ANSWER) or isinstance(theirs, NO_ANSWER) or type(ours) is type(theirs):
        return ""
    if ours is None:
        return f"only after raises {in_one_line(theirs)}" if theirs is not None else ""
    if theirs is None:
        return f"before raises {in_one_line(ours)}, after does not raise"
    if not _is_checked(ours.__traceback__):
        return ""
    return f"before raises {in_one_line(ours)}, after raises {in_one_line(theirs)}"


_RAISE = dis.opmap["RAISE_VARARGS"]


def _is_checked(place: TracebackType | None) -> bool:
    """Tell whether an exception comes from a ``raise`` or an ``assert`` of the text before, not from an operation."""
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    if place is None:
        return False
    code = place.tb_frame.f_code
    return code.co_filename.endswith("#before") and code.co_code[place.tb_lasti] == _RAISE
