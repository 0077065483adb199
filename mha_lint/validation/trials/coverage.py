"""Which rows of a text ran, and which statements they belong to."""

from __future__ import annotations

import ast
import contextlib
import functools
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import CodeType, FrameType
from typing import Any, ParamSpec, TypeVar

from msgspec import Struct, field

from mha_lint.parsing import parse

P = ParamSpec("P")
T = TypeVar("T")
_ELSEWHERE = frozenset({"torch", "mha_lint", *sys.stdlib_module_names})


class Statement(Struct, frozen=True, order=True):
    """A simple statement, or the header of a compound one, by its first and last row (from 1).

    With ``mark``, the row of a mark tells that it ran: it may then be a part of a row, which ``words`` quotes.
    """

    first: int
    last: int
    mark: int = 0
    words: str = ""

    def ran(self, rows: set[int]) -> bool:
        if self.mark:
            return self.mark in rows
        return any(row in rows for row in range(self.first, self.last + 1))


def statements_at(source: str, rows: set[int]) -> frozenset[Statement]:
    """The innermost statements that these rows belong to; docstrings and bare constants never run and do not count."""
    found: set[Statement] = set()
    nodes = [node for node in ast.walk(parse(source)) if isinstance(node, ast.stmt)]
    spans = sorted((span_of(node) for node in nodes if counts(node)), key=lambda span: span.last - span.first)
    for row in rows:
        for statement in spans:
            if statement.first <= row <= statement.last:
                found.add(statement)
                break
    return frozenset(found)


def counts(node: ast.stmt) -> bool:
    """Tell whether running the statement does anything: docstrings, bare constants and declarations do nothing."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return False
    if isinstance(node, ast.ImportFrom) and node.module == "__future__":
        return False
    return not isinstance(node, (ast.Global, ast.Nonlocal))


def span_of(node: ast.stmt) -> Statement:
    """The rows of a simple statement, or of the header alone of a compound one."""
    body: list[ast.stmt] = getattr(node, "body", [])
    if isinstance(node, ast.Match):
        return Statement(node.lineno, node.cases[0].pattern.lineno - 1)
    if body:
        inner = min([body[0].lineno, *(item.lineno for item in getattr(body[0], "decorator_list", []))])
        return Statement(node.lineno, max(node.lineno, inner - 1))
    return Statement(node.lineno, node.end_lineno or node.lineno)


def in_words(missing: Iterable[Statement]) -> str:
    """Changed lines by their numbers; a part of a line as it is written."""
    ordered = sorted(missing)
    lines = ", ".join(str(item.first) for item in ordered if not item.words)
    parts = [f"the part `{item.words}` of line {item.first}" for item in ordered if item.words]
    return ", ".join([f"the changed lines {lines}", *parts] if lines else parts)


class Rows(Struct):
    """The rows that ran while they were watched, by file name."""

    seen: dict[str, set[int]] = field(default_factory=dict)

    def of(self, file: str) -> set[int]:
        return self.seen.setdefault(file, set())


@contextlib.contextmanager
def watch(*files: str) -> Iterator[Rows]:
    """Record the rows of ``files`` that run. Only their code objects are watched, so the rest runs at full speed."""
    rows = Rows()
    for file in files:
        rows.of(file)
    if sys.version_info >= (3, 12):
        with _monitored(rows):
            yield rows
    else:
        with _traced(rows):
            yield rows


def unwatched(function: Callable[P, T]) -> Callable[P, T]:
    """Have ``function``, which runs none of the user's code, run at full speed though rows are watched."""

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        trace = sys.gettrace()
        if trace is None:
            return function(*args, **kwargs)
        sys.settrace(None)
        try:
            return function(*args, **kwargs)
        finally:
            sys.settrace(trace)

    return run


def _is_elsewhere(name: object, variables: Mapping[str, Any], rows: Rows) -> bool:
    """Tell whether variables are those of a module of torch, of Python or of this package that no watched file is."""
    if not isinstance(name, str) or name.partition(".")[0] not in _ELSEWHERE:
        return False
    module = sys.modules.get(name)
    files = {file.rpartition("#")[0] for file in rows.seen}
    return module is not None and vars(module) is variables and variables.get("__file__") not in files


@contextlib.contextmanager
def _traced(rows: Rows) -> Iterator[None]:
    passed: set[Any] = set()  # modules of whose functions none is watched

    def on_call(frame: FrameType, event: str, argument: Any) -> Any:
        name = frame.f_globals.get("__name__")
        if name in passed:  # asking for its code would cost more: audit hooks are told of that
            return None
        if _is_elsewhere(name, frame.f_globals, rows):
            passed.add(name)
            return None
        seen = rows.seen.get(frame.f_code.co_filename)
        if seen is None:
            return None

        def on_line(frame: FrameType, event: str, argument: Any) -> Any:
            if event == "line":
                seen.add(frame.f_lineno)
            return on_line

        return on_line

    previous = sys.gettrace()
    sys.settrace(on_call)
    try:
        yield
    finally:
        sys.settrace(previous)


if sys.version_info >= (3, 12):

    @contextlib.contextmanager
    def _monitored(rows: Rows) -> Iterator[None]:
        monitoring = sys.monitoring
        tool = next((number for number in (4, 3, 5, 1, 0) if monitoring.get_tool(number) is None), None)
        if tool is None:
            with _traced(rows):
                yield
            return

        def on_line(code: CodeType, row: int) -> Any:
            seen = rows.seen.get(code.co_filename)
            if seen is None:
                return monitoring.DISABLE
            seen.add(row)
            return None

        monitoring.use_tool_id(tool, "mha-lint")
        monitoring.register_callback(tool, monitoring.events.LINE, on_line)
        monitoring.set_events(tool, monitoring.events.LINE)
        try:
            yield
        finally:
            monitoring.set_events(tool, 0)
            monitoring.register_callback(tool, monitoring.events.LINE, None)
            monitoring.free_tool_id(tool)
            monitoring.restart_events()
