"""One file in, findings out."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from mha_lint import parsing, screen
from mha_lint.files import Source, SourceError
from mha_lint.findings import Finding, Fix
from mha_lint.noqa import suppressed
from mha_lint.screen.part import Part
from mha_lint.screen.suspects import KINDS, suspects
from mha_lint.settings import Settings
from mha_lint.syntax_error import problem

if TYPE_CHECKING:
    import ast

    import libcst as cst

    from mha_lint.fixers import Context
    from mha_lint.model.attention import FileModel
    from mha_lint.model.places import Places
    from mha_lint.rules import Hit, Rule

DEEPEST = "the code is nested too deeply to be read"
DEEPEST_TREE = 1500  # levels of the syntax tree; a chain of n method calls has 2n

_BRACKET = re.compile(rb"[()\[\]{}]")
_LONG_LINE = re.compile(rb"[^\n]{5000}")
_BARE_END = re.compile(r"(?:(?<=\n)|(?<=\r)(?!\n))\s+\Z")  # blank lines at the end of the file
_FORM_FEEDS = re.compile(r"^[ \t]*\f[ \t\f]*$", re.MULTILINE)  # alone on a line, as editors leave them


def lint(
    source: Source,
    settings: Settings,
    *,
    noqa: bool = True,
    tree: ast.Module | None = None,
    screened: bool = True,
) -> list[Finding]:
    """The findings of one file in the order of their places; ``noqa=False`` keeps those that a comment silences.

    ``tree`` is the file's syntax tree, where there is one already. ``screened=False`` looks at all of the file: it
    finds the same, more slowly.

    Raises:
        SyntaxProblem: the text is not Python.
        SourceError: the text is nested too deeply, or the parser does not give it back as it is.
    """
    if screened and not screen.admits(source.data):
        return []
    codes = settings.enabled(source.path)
    if not codes:
        return []
    if _too_deep(source.data):
        raise SourceError(source.path, DEEPEST)
    part = None
    found = suspects(source.text, codes, tree) if screened else None
    if found is not None:
        codes = frozenset(code for code in codes if KINDS[code] in found.kinds)  # no other can fire
        if not found.roots:
            return []
        part = found.context()
        if not found.likely:
            suspected = found.part()
            if suspected != part and not _may_hold(source, suspected, codes):  # else the same would run twice
                return []
    try:
        findings = _findings(source, settings, codes, part)
    except RecursionError:
        findings = _on_a_large_stack(source, settings, codes)
    if noqa and findings:
        findings, _ = suppressed(source.text, findings)
    return findings


def _findings(source: Source, settings: Settings, codes: frozenset[str], part: Part | None = None) -> list[Finding]:
    from mha_lint.fixers import Context

    text = source.text if part is None else part.text
    model, places = _modelled(source, part)
    hits = list(_hits(model, places, codes))
    if hits:  # places are counted in the text that the parser gives back
        _check_round_trip(model.module, source, text)
    context = Context(model, places, settings)
    findings = [_finding(rule, hit, source, context) for rule, hit in hits]
    return sorted(findings, key=lambda finding: (finding.location, finding.code))


def _modelled(source: Source, part: Part | None) -> tuple[FileModel, Places]:
    from mha_lint.model.attention import analyse
    from mha_lint.model.places import Places

    module = parse(source, None if part is None else part.text)
    model = analyse(module) if part is None else analyse(module, roots=part.roots, among=part.among)
    return model, Places(module, source.text)


def _hits(model: FileModel, places: Places, codes: frozenset[str]) -> Iterator[tuple[type[Rule], Hit]]:
    from mha_lint.rules import all_rules

    for rule in all_rules():
        if rule.code in codes:
            yield from ((rule, hit) for hit in _checked(rule, model, places))


def _checked(rule: type[Rule], model: FileModel, places: Places) -> Iterator[Hit]:
    """The hits of one rule, up to one that computes with too large a size."""
    from mha_lint.model.fuel import OutOfSteps

    with suppress(OutOfSteps):
        yield from rule().check(model, places)


def _may_hold(source: Source, part: Part, codes: frozenset[str]) -> bool:
    """Tell whether a rule fires in a file of which the suspects alone are interpreted.

    What else calls them can only make a finding less certain.
    """
    if not part.roots:
        return False
    try:
        return next(_hits(*_modelled(source, part), codes), None) is not None
    except (SourceError, RecursionError):  # what looks at all of it says so, or has room for it
        return True


def modelled(source: Source) -> tuple[FileModel, Places]:
    """Return all that the layout model knows of a file.

    Raises:
        SourceError: the text is not Python, or nested too deeply.
    """
    from mha_lint.model.attention import analyse
    from mha_lint.model.places import Places

    if _too_deep(source.data):
        raise SourceError(source.path, DEEPEST)
    module = parse(source)
    _check_round_trip(module, source, source.text)
    return analyse(module, every=True), Places(module, source.text)


def _too_deep(data: bytes) -> bool:
    """Tell whether the parser could overflow its stack on the file, or spend minutes on one expression.

    CPython itself takes no more than 200 nested parentheses. A look at the brackets and at very long lines decides
    whether the file is compiled to see; brackets in strings can only make that happen without need.
    """
    depth = deepest = 0
    for match in _BRACKET.finditer(data):
        depth += 1 if match[0] in (b"(", b"[", b"{") else -1
        deepest = max(deepest, depth)
    if deepest < 100 and not _LONG_LINE.search(data):
        return False
    import ast

    try:
        tree = parsing.parse(data)
    except (RecursionError, MemoryError):
        return True
    except (SyntaxError, ValueError) as error:
        return "too many nested parentheses" in str(error)
    level: list[ast.AST] = [tree]
    for _ in range(DEEPEST_TREE):
        level = [child for node in level for child in ast.iter_child_nodes(node)]
        if not level:
            return False
    return True


def _on_a_large_stack(source: Source, settings: Settings, codes: frozenset[str]) -> list[Finding]:
    """Run :func:`_findings` in a thread whose stack is large enough for code as deep as ``DEEPEST_TREE``."""
    import threading

    outcome: list[list[Finding] | SourceError] = []

    def run() -> None:
        limit = sys.getrecursionlimit()
        sys.setrecursionlimit(40 * DEEPEST_TREE)
        try:
            outcome.append(_findings(source, settings, codes))
        except SourceError as error:
            outcome.append(error)
        except RecursionError:
            outcome.append(SourceError(source.path, DEEPEST))
        finally:
            sys.setrecursionlimit(limit)

    usual = threading.stack_size(512 * 1024 * 1024)
    try:
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
    finally:
        threading.stack_size(usual)
    (found,) = outcome
    if isinstance(found, SourceError):
        raise found
    return found


def parse(source: Source, text: str | None = None) -> cst.Module:
    """The file's syntax tree, or that of a part of its text.

    Raises:
        SourceError: a syntax error.
    """
    import libcst as cst

    try:
        module = cst.parse_module(_plain(source.text if text is None else text))
    except cst.ParserSyntaxError as error:
        raise problem(source, error) from None
    return module


def _check_round_trip(module: cst.Module, source: Source, text: str) -> None:
    if module.code != _plain(text):
        raise SourceError(source.path, "the parser does not give this file back byte for byte, so it is left alone")


def _plain(text: str) -> str:
    """The text without white space that the parser would not give back; every character keeps its place."""
    return _FORM_FEEDS.sub(lambda match: " " * len(match[0]), _BARE_END.sub("", text))


def _finding(rule: type[Rule], hit: Hit, source: Source, context: Context) -> Finding:
    from mha_lint.model.hints import input_hints

    places = context.places
    fix = _candidate(rule, hit, source, context)
    finding = Finding(
        code=rule.code,
        name=rule.name,
        severity=rule.severity,
        message=hit.message,
        why=rule.why,
        filename=str(source.path.absolute()),
        location=places.start(hit.first),
        end_location=places.end(hit.last),
        symbol=hit.symbol,
        noqa_row=_noqa_row(hit, places),
    )
    if not isinstance(fix, Fix):
        return replace(finding, no_fix_reason=fix or "")
    settings = context.settings
    if not settings.may_fix(rule.code):
        return replace(finding, no_fix_reason=f"the settings make {rule.code} unfixable")
    hints = fix.hints or tuple(input_hints(context.model, hit.symbol).items())
    safety = settings.applicability(rule.code, fix.applicability)
    return replace(finding, fix=replace(fix, applicability=safety, hints=hints))


def _candidate(rule: type[Rule], hit: Hit, source: Source, context: Context) -> Fix | str | None:
    """The fix of a hit, which is known to parse; or why there is none."""
    from mha_lint.fixers import all_fixers
    from mha_lint.fixers.completing import completed

    fixer = all_fixers().get(rule.code)
    if fixer is None:
        return rule.no_fix
    from mha_lint.model.fuel import OutOfSteps

    try:
        fix: Fix | str = fixer(hit, context)
    except OutOfSteps:
        return "the sizes that it would be written with are too long"
    if not isinstance(fix, Fix):
        return fix
    offered: Fix | str = completed(fix, source.text, source.path.name, rule.code)
    return offered


def _noqa_row(hit: Hit, places: Places) -> int:
    """The finding's own row, or, where a backslash or a string leaves no room for a comment, the statement's last."""
    row = places.start(hit.first).row
    statement = places.statement(hit.first)
    continued = places.line(row).rstrip().endswith("\\")
    return places.end(statement).row if continued and statement is not None else row
