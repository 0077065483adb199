"""One file in, findings out."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mha_lint import screen
from mha_lint.files import Source, SourceError
from mha_lint.findings import Finding, Fix
from mha_lint.noqa import suppressed
from mha_lint.settings import Settings

if TYPE_CHECKING:
    import libcst as cst

    from mha_lint.fixers import Context
    from mha_lint.model.places import Places
    from mha_lint.rules import Hit, Rule

DEEPEST = "the code is nested too deeply to be read"


def lint(source: Source, settings: Settings, *, noqa: bool = True) -> list[Finding]:
    """The findings of one file in the order of their places; ``noqa=False`` keeps those that a comment silences.

    Raises:
        SourceError: the text is not Python; ``row`` says where.
    """
    if not screen.admits(source.data):
        return []
    codes = settings.enabled(source.path)
    if not codes:
        return []
    findings = _findings(source, settings, codes)
    if noqa and findings:
        findings, _ = suppressed(source.text, findings)
    return findings


def _findings(source: Source, settings: Settings, codes: frozenset[str]) -> list[Finding]:
    from mha_lint.fixers import Context
    from mha_lint.model.attention import analyse
    from mha_lint.model.places import Places
    from mha_lint.rules import all_rules

    module = parse(source)
    try:
        model = analyse(module)
        places = Places(module, source.text)
        context = Context(model, places, settings)
        findings = [
            _finding(rule, hit, source, context)
            for rule in all_rules()
            if rule.code in codes
            for hit in rule().check(model, places)
        ]
    except RecursionError:
        raise SourceError(source.path, DEEPEST) from None
    return sorted(findings, key=lambda finding: (finding.location, finding.code))


def parse(source: Source) -> cst.Module:
    """The file's syntax tree, which must give back the very text.

    Raises:
        SourceError: a syntax error, or nesting beyond what the parser takes.
    """
    import libcst as cst

    try:
        module = cst.parse_module(source.text)
    except cst.ParserSyntaxError as error:
        raise SourceError(source.path, f"syntax error: {error.message}", error.raw_line) from None
    except RecursionError:
        raise SourceError(source.path, DEEPEST) from None
    if module.code != source.text:
        raise SourceError(source.path, "the parser does not give this file back byte for byte, so it is left alone")
    return module


def _finding(rule: type[Rule], hit: Hit, source: Source, context: Context) -> Finding:
    places = context.places
    fix = _candidate(rule, hit, context)
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
    return replace(finding, no_fix_reason=fix) if isinstance(fix, str) else replace(finding, fix=fix)


def _candidate(rule: type[Rule], hit: Hit, context: Context) -> Fix | str | None:
    from mha_lint.fixers import all_fixers

    fixer = all_fixers().get(rule.code)
    return None if fixer is None else fixer(hit, context)


def _noqa_row(hit: Hit, places: Places) -> int:
    """The finding's own row, or, where a backslash or a string leaves no room for a comment, the statement's last."""
    row = places.start(hit.first).row
    statement = places.statement(hit.first)
    continued = places.line(row).rstrip().endswith("\\")
    return places.end(statement).row if continued and statement is not None else row
