"""One file in, findings out."""

from __future__ import annotations

import ast
import gc
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from mha_lint import screen
from mha_lint.files import Source, SourceError
from mha_lint.findings import Demonstration, Dependencies, Finding, Fix, Found, Position
from mha_lint.noqa import suppressed
from mha_lint.settings import Settings
from mha_lint.syntax.module import Module
from mha_lint.syntax.nodes import children
from mha_lint.syntax.places import NameOf, Places, Spot
from mha_lint.syntax.program import Program
from mha_lint.syntax_error import cells_not_read, not_python, not_read_by_libcst

if TYPE_CHECKING:
    from mha_lint.fixers import Context
    from mha_lint.model.attention import FileModel
    from mha_lint.rules import Hit, Rule

Result = TypeVar("Result")

_COLLECT_AFTER = 50_000  # new objects
DEEPEST = "the code is nested too deeply to be read"
DEEPEST_TREE = 1500  # levels of the syntax tree; a chain of n method calls has 2n

_BRACKET = re.compile(rb"[()\[\]{}]")
_LONG_LINE = re.compile(rb"[^\n]{5000}")


def lint(source: Source, settings: Settings, *, noqa: bool = True, tree: ast.Module | None = None) -> Found:
    """Lint one file; ``noqa=False`` keeps the findings that a comment silences.

    ``tree`` is the file's syntax tree, where there is one already.

    Raises:
        SyntaxProblem: the text is not Python.
        SourceError: the text is nested too deeply, or LibCST does not give it back as it is.
    """
    if not screen.admits(source.code):
        return Found((), {})
    codes = settings.enabled(source.path)
    if not codes:
        return Found((), {})
    with _collecting_rarely():
        module = parse(source, tree)
        try:
            findings, dependencies = _findings(source, module, settings, codes)
        except RecursionError:
            findings, dependencies = _on_a_large_stack(source, lambda: _findings(source, module, settings, codes))
    if noqa and findings:
        findings, _ = suppressed(source.text, findings)
    not_read = cells_not_read(source)
    findings = sorted([*not_read, *findings], key=_order) if not_read else findings
    return Found(tuple(findings), dependencies)


def _program(source: Source, module: Module, settings: Settings) -> Program:
    """The file together with the modules of its project that it imports."""
    return Program(source.path, module, settings.source_roots, follows=settings.follow_imports)


@contextmanager
def _collecting_rarely() -> Iterator[None]:
    """Look for cycles less often: each look goes through all trees that are there, flake8's too, and finds few."""
    usual = gc.get_threshold()
    if 0 < usual[0] < _COLLECT_AFTER:  # 0: whoever called switched it off
        gc.set_threshold(_COLLECT_AFTER, *usual[1:])
    try:
        yield
    finally:
        gc.set_threshold(*usual)


def _findings(
    source: Source, module: Module, settings: Settings, codes: frozenset[str]
) -> tuple[list[Finding], Dependencies]:
    from mha_lint.model.attention import analyse

    program = _program(source, module, settings)
    model = analyse(module, names=program.main)
    hits = list(_hits(model, Places(module), codes))
    if not hits:
        return [], program.dependencies
    if _is_too_deep(module.tree):
        raise SourceError(source.path, DEEPEST)
    from mha_lint.fixers import Context
    from mha_lint.syntax.exact import Exact, NotGivenBack, Unreadable

    context = Context(model, Exact(module), settings)
    try:
        findings = [_finding(rule, hit, source, context) for rule, hit in hits]
    except Unreadable as error:
        raise not_read_by_libcst(source, error.place) from None
    except NotGivenBack:
        refusal = "LibCST does not give this file back byte for byte, so it is left alone"
        raise SourceError(source.path, refusal) from None
    return sorted(findings, key=_order), program.dependencies


def _order(finding: Finding) -> tuple[Position, str]:
    return finding.location, finding.code


def _hits(model: FileModel, places: Places, codes: frozenset[str]) -> Iterator[tuple[type[Rule], Hit[Any]]]:
    from mha_lint.rules import rule_of

    for rule in map(rule_of, sorted(codes)):
        for hit in _checked(rule, model, places):
            if model.abroad.isdisjoint(map(_node, (hit.first, hit.last))):
                yield rule, hit


def _node(spot: Spot) -> ast.AST:
    return spot.node if isinstance(spot, NameOf) else spot


def _checked(rule: type[Rule], model: FileModel, places: Places) -> Iterator[Hit[Any]]:
    """The hits of one rule, up to one that computes with too large a size.

    A call may lead to several places that are wrong in the same way. It is told once.
    """
    from mha_lint.model.fuel import OutOfSteps

    told: set[tuple[Spot, Spot, str]] = set()
    with suppress(OutOfSteps):
        for hit in rule().check(model, places):
            what = hit.first, hit.last, hit.message
            if what not in told:
                told.add(what)
                yield hit


def modelled(source: Source, settings: Settings) -> tuple[FileModel, Places]:
    """Return all that the layout model knows of a file.

    Raises:
        SourceError: the text is not Python, or nested too deeply.
    """
    from mha_lint.model.attention import analyse

    module = parse(source)

    def work() -> FileModel:
        return analyse(module, names=_program(source, module, settings).main, every=True)

    try:
        model = work()
    except RecursionError:
        model = _on_a_large_stack(source, work)
    return model, Places(module)


def parse(source: Source, tree: ast.Module | None = None) -> Module:
    """Read the file's syntax tree, unless it is there already.

    Raises:
        SyntaxProblem: the text is not Python.
        SourceError: it is nested too deeply.
    """
    try:
        module = Module(source.text, tree)
    except (RecursionError, MemoryError):
        raise SourceError(source.path, DEEPEST) from None
    except (SyntaxError, ValueError) as error:
        if "too many nested parentheses" in str(error):
            raise SourceError(source.path, DEEPEST) from None
        raise not_python(source, error) from None
    if _may_be_deep(source.code) and _is_too_deep(module.tree):
        raise SourceError(source.path, DEEPEST)
    return module


def _may_be_deep(data: bytes) -> bool:
    """Tell by the brackets, and by very long lines, whether the depth must be measured; strings may hold some too."""
    depth = deepest = 0
    for match in _BRACKET.finditer(data):
        depth += 1 if match[0] in (b"(", b"[", b"{") else -1
        deepest = max(deepest, depth)
    return deepest >= 100 or _LONG_LINE.search(data) is not None


def _is_too_deep(tree: ast.Module) -> bool:
    """Tell whether LibCST could overflow its stack on the file, or spend minutes on one expression."""
    level: list[ast.AST] = [tree]
    for _ in range(DEEPEST_TREE):
        level = [child for node in level for child in children(node)]
        if not level:
            return False
    return True


def _on_a_large_stack(source: Source, work: Callable[[], Result]) -> Result:
    """Do the work in a thread whose stack is large enough for code as deep as ``DEEPEST_TREE``.

    Raises:
        SourceError: the work does so, or the code is deeper.
    """
    import threading

    outcome: list[Result] = []
    failure: list[Exception] = []

    def run() -> None:
        limit = sys.getrecursionlimit()
        sys.setrecursionlimit(40 * DEEPEST_TREE)
        try:
            outcome.append(work())
        except RecursionError:
            failure.append(SourceError(source.path, DEEPEST))
        except Exception as error:
            failure.append(error)
        finally:
            sys.setrecursionlimit(limit)

    usual = threading.stack_size(512 * 1024 * 1024)
    try:
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
    finally:
        threading.stack_size(usual)
    if failure:
        raise failure[0]
    return outcome[0]


def _finding(rule: type[Rule], hit: Hit[Any], source: Source, context: Context) -> Finding:
    from mha_lint.model.hints import input_hints

    places = context.places
    fix = _candidate(rule, hit, source, context)
    finding = Finding(
        code=rule.code,
        name=rule.name,
        severity=hit.severity or rule.severity,
        message=hit.message,
        why=rule.why,
        filename=str(source.path.absolute()),
        location=places.start(hit.first),
        end_location=places.end(hit.last),
        symbol=hit.symbol,
        noqa_row=_noqa_row(hit, places),
    )
    if not isinstance(fix, Fix):
        return replace(finding, no_fix_reason=fix or "", demonstration=_demonstration(rule, hit, context))
    settings = context.settings
    if not settings.may_fix(rule.code):
        return replace(finding, no_fix_reason=f"the settings make {rule.code} unfixable")
    if lack := settings.lacks(fix.needs_torch, fix.needs_python):
        return replace(finding, no_fix_reason=lack)
    hints = fix.hints or tuple(input_hints(context.model, hit.symbol).items())
    safety = settings.applicability(rule.code, fix.applicability)
    return replace(finding, fix=replace(fix, applicability=safety, hints=hints))


def _demonstration(rule: type[Rule], hit: Hit[Any], context: Context) -> Demonstration | None:
    """The ways to show by execution that a hit without a fix is wrong; None where there are none."""
    from mha_lint.model.hints import input_hints

    ways = rule.shown_by if hit.shown_by is None else hit.shown_by
    if not ways:
        return None
    places, node = context.places, _node(hit.last)
    flagged = places.rows(places.statement(node) or node)
    return Demonstration(ways, flagged, tuple(input_hints(context.model, hit.symbol).items()))


def _candidate(rule: type[Rule], hit: Hit[Any], source: Source, context: Context) -> Fix | str | None:
    """The fix of a hit, which is known to parse; or why there is none."""
    from mha_lint.fixers import fixer_of
    from mha_lint.fixers.completing import completed

    fixer = fixer_of(rule.code)
    if fixer is None:
        return rule.no_fix
    from mha_lint.model.fuel import OutOfSteps

    try:
        fix: Fix | str = fixer(hit, context)
    except OutOfSteps:
        return "the sizes that it would be written with are too long"
    if not isinstance(fix, Fix):
        return fix
    for edit in fix.edits:
        context.places.read(edit.start.row)  # what LibCST does not give back is left alone
    offered: Fix | str = completed(fix, source.text, source.path.name, rule.code)
    return offered


def _noqa_row(hit: Hit[Any], places: Places) -> int:
    """The finding's own row, or, where a backslash or a string leaves no room for a comment, the statement's last."""
    row = places.start(hit.first).row
    statement = places.statement(_node(hit.first))
    continued = places.line(row).rstrip().endswith("\\")
    return places.end(statement).row if continued and statement is not None else row
