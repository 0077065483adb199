"""One file in, findings out."""

from __future__ import annotations

import ast
import gc
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from mha_lint import screen
from mha_lint.files import Source, SourceError
from mha_lint.findings import UNUSED_NOQA, Demonstration, Dependencies, Finding, Fix, Found, Position
from mha_lint.interruption import Interrupted, check
from mha_lint.noqa import suppressed
from mha_lint.settings import Settings
from mha_lint.syntax.fingerprints import fingerprint
from mha_lint.syntax.module import Module
from mha_lint.syntax.nodes import children
from mha_lint.syntax.places import NameOf, Places, Spot
from mha_lint.syntax.program import Program
from mha_lint.syntax_error import cells_not_read, not_python, not_read_by_libcst

if TYPE_CHECKING:
    from mha_lint.fixers import Context
    from mha_lint.model.attention import FileModel
    from mha_lint.rules import Hit, Rule
    from mha_lint.syntax.exact import Exact

Result = TypeVar("Result")

_COLLECT_AFTER = 50_000  # new objects
DEEPEST = "the code is nested too deeply to be read"
DEEPEST_TREE = 1500  # levels of the syntax tree; a chain of n method calls has 2n

_ONE_KIND = bytes.maketrans(b"[{]}", b"(())")
_NO_BRACKETS = bytes(set(range(256)) - set(b"()[]{}"))


def lint(source: Source, settings: Settings, *, noqa: bool = True, tree: ast.Module | None = None) -> Found:
    """Lint one file; ``noqa=False`` keeps the findings that a comment silences.

    ``tree`` is the file's syntax tree, where there is one already.

    Raises:
        SyntaxProblem: the text is not Python.
        SourceError: the text is nested too deeply, or LibCST does not give it back as it is.
    """
    look = looked(source, settings, tree)
    if look is not None:
        return look.found(noqa=noqa)
    return Found(tuple(_unused_noqa(source, settings, [])) if noqa else (), {})


class Look(Struct, frozen=True):
    """What the rules hit in one file, before LibCST reads any of it."""

    source: Source
    settings: Settings
    model: FileModel
    places: Places
    hits: tuple[tuple[type[Rule], Hit[Any]], ...]
    dependencies: Dependencies

    def found(self, *, noqa: bool = True) -> Found:
        """The findings with their fixes. Raises what :func:`lint` raises."""
        return Found(reported(self.source, self.settings, self._made(self._with_fixes), noqa=noqa), self.dependencies)

    def bare(self) -> list[Finding]:
        """The same findings at the same places, but for their fixes, of which nothing is said. It takes less time.

        Those that a comment silences are among them. Raises what :func:`lint` raises; what LibCST can't read may be
        found only by :meth:`found`.
        """
        return self._made(self._bare)

    def _made(self, made: Callable[[], list[Finding]]) -> list[Finding]:
        with _collecting_rarely():
            return _deep(self.source, made) if self.hits else []

    def _with_fixes(self) -> list[Finding]:
        from mha_lint.fixers import Context

        context = Context(self.model, self._exact(), self.settings)
        with _read_by_libcst(self.source):
            return [_finding(rule, hit, self.source, context) for rule, hit in self.hits]

    def _bare(self) -> list[Finding]:
        exact: Places | None = None
        findings = []
        for rule, hit in self.hits:
            places = self.places
            if _is_for_libcst(hit.first) or _is_for_libcst(hit.last):
                places = exact = exact or self._exact()
            with _read_by_libcst(self.source):
                findings.append(_unfixed(rule, hit, self.source, places))
        return findings

    def _exact(self) -> Exact:
        from mha_lint.syntax.exact import Exact

        if _is_too_deep(self.places.module.tree):
            raise SourceError(self.source.path, DEEPEST)
        return Exact(self.places.module)


def reported(source: Source, settings: Settings, findings: list[Finding], *, noqa: bool = True) -> tuple[Finding, ...]:
    """The findings as they are reported, in the order of their places: what comments say of them is heeded.

    Comments that silence none are told as well, and cells of a notebook that can't be read. Without ``noqa`` no comment
    is read.
    """
    kept = findings
    if noqa:
        kept = suppressed(source.text, findings)[0] if findings else []
        kept = [*kept, *_unused_noqa(source, settings, findings)]
    return tuple(sorted([*cells_not_read(source), *kept], key=_order))


def looked(
    source: Source,
    settings: Settings,
    tree: ast.Module | None = None,
    *,
    screened: bool = False,
    only: Collection[ast.AST] | None = None,
) -> Look | None:
    """Have the rules look at one file; None where the bytes, or the settings, leave nothing to look at.

    The bytes are not looked at where they were ``screened`` before. ``only`` are the classes, methods and functions of
    the tree that are interpreted on their own; None stands for all. Raises what :func:`lint` raises.
    """
    if not screened and not screen.admits(source.code):
        return None
    codes = settings.enabled(source.path)
    if not codes:
        return None
    with _collecting_rarely():
        module = parse(source, tree)
        return _deep(source, lambda: _looked(source, module, settings, codes, only))


def _unused_noqa(source: Source, settings: Settings, found: list[Finding]) -> list[Finding]:
    """The comments that silence none of what was ``found``, where the settings ask for them."""
    if not screen.silences(source.code):
        return []
    codes = settings.enabled(source.path)
    if UNUSED_NOQA not in codes:
        return []
    from mha_lint.unused_noqa import unused

    return sorted(unused(source, found, settings, codes), key=_order)


def _deep(source: Source, work: Callable[[], Result]) -> Result:
    """Do the work, on a large stack where it needs one."""
    try:
        return work()
    except RecursionError:
        return _on_a_large_stack(source, work)


@contextmanager
def _read_by_libcst(source: Source) -> Iterator[None]:
    """Tell the user what LibCST can't read."""
    from mha_lint.syntax.exact import NotGivenBack, Unreadable

    try:
        yield
    except Unreadable as error:
        raise not_read_by_libcst(source, error.place) from None
    except NotGivenBack:
        refusal = "LibCST does not give this file back byte for byte, so it is left alone"
        raise SourceError(source.path, refusal) from None


def _is_for_libcst(spot: Spot) -> bool:
    """Tell whether ``ast`` does not know where it stands to the byte: a name, or what may have parentheses."""
    if isinstance(spot, NameOf):
        return not isinstance(spot.node, ast.Attribute)
    return isinstance(spot, (ast.Tuple, ast.GeneratorExp))


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


def _looked(
    source: Source, module: Module, settings: Settings, codes: frozenset[str], only: Collection[ast.AST] | None
) -> Look:
    from mha_lint.model.attention import analyse

    program = _program(source, module, settings)
    model = analyse(module, names=program.main, only=only)
    places = Places(module)
    return Look(source, settings, model, places, tuple(_hits(model, places, codes)), program.dependencies)


def _order(finding: Finding) -> tuple[Position, str]:
    return finding.location, finding.code


def _hits(model: FileModel, places: Places, codes: frozenset[str]) -> Iterator[tuple[type[Rule], Hit[Any]]]:
    from mha_lint.rules import rule_of

    for rule in map(rule_of, sorted(codes)):
        check()
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


def modelled(source: Source, settings: Settings, *, expressions: bool = False) -> tuple[FileModel, Places]:
    """Return all that the layout model knows of a file; the tensors of all its ``expressions`` if asked for.

    Raises:
        SourceError: the text is not Python, or nested too deeply.
    """
    from mha_lint.model.attention import analyse

    module = parse(source)

    def work() -> FileModel:
        names = _program(source, module, settings).main
        return analyse(module, names=names, every=True, expressions=expressions)

    return _deep(source, work), Places(module)


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
    """Tell by the brackets, and by very long lines, whether the depth must be measured; strings may hold some too.

    The pairs that hold no other are taken out, and then those that held these: as often as brackets are nested.
    """
    brackets, depth = data.translate(_ONE_KIND, _NO_BRACKETS), 0
    while (fewer := brackets.replace(b"()", b"")) != brackets:
        brackets, depth = fewer, depth + 1
    return depth + brackets.count(b"(") >= 100 or max(map(len, data.split(b"\n"))) >= 5000


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
    failure: list[Exception | Interrupted] = []

    def run() -> None:
        limit = sys.getrecursionlimit()
        sys.setrecursionlimit(40 * DEEPEST_TREE)
        try:
            outcome.append(work())
        except RecursionError:
            failure.append(SourceError(source.path, DEEPEST))
        except (Exception, Interrupted) as error:
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


def _unfixed(rule: type[Rule], hit: Hit[Any], source: Source, places: Places) -> Finding:
    return Finding(
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
        statement=fingerprint(_node(hit.first), places),
    )


def _finding(rule: type[Rule], hit: Hit[Any], source: Source, context: Context) -> Finding:
    from mha_lint.model.hints import input_hints

    check()
    fix = _candidate(rule, hit, source, context)
    finding = _unfixed(rule, hit, source, context.places)
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
