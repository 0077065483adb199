"""Findings as diagnostics of the protocol."""

from __future__ import annotations

from typing import Any

from lsprotocol import types

from mha_lint.findings import SYNTAX_ERROR, Finding, Severity
from mha_lint.lsp.document import Document
from mha_lint.report import url
from mha_lint.report.cells import counted_in_cells
from mha_lint.report.text import verdict_line

SOURCE = "mha-lint"
_SEVERITY: dict[Severity, types.DiagnosticSeverity] = {
    "error": types.DiagnosticSeverity.Error,
    "warning": types.DiagnosticSeverity.Warning,
    "info": types.DiagnosticSeverity.Information,
}


def diagnostic(document: Document, finding: Finding) -> tuple[str, types.Diagnostic]:
    """A finding with the address of its text. Its verdict, where validation has one, is in message and data."""
    uri, span = document.range(finding.location, finding.end_location)
    cells = document.source.notebook.places(document.source.text) if document.source.notebook else None
    told = counted_in_cells(finding, cells) if cells else finding
    data: dict[str, Any] = {
        "code": finding.code,
        "row": finding.location.row,
        "column": finding.location.column,
        "why": finding.why,
    }
    message, related = told.message, None
    if finding.verdict is not None:
        line = verdict_line(told.verdict or finding.verdict)
        message = f"{message}\n{finding.verdict.verdict}: {line}"
        data["verdict"] = {
            "verdict": finding.verdict.verdict,
            "told": line,
            "counterexample": finding.verdict.counterexample,
        }
        if finding.verdict.counterexample:
            where = types.Location(uri, span)
            related = [types.DiagnosticRelatedInformation(where, finding.verdict.counterexample)]
    return uri, types.Diagnostic(
        range=span,
        message=message,
        severity=_SEVERITY[finding.severity],
        code=finding.code,
        code_description=types.CodeDescription(url(finding)),
        source=SOURCE,
        tags=[types.DiagnosticTag.Unnecessary] if _is_needless(finding) else None,
        related_information=related,
        data=data,
    )


def refusal(document: Document, message: str, row: int | None) -> tuple[str, types.Diagnostic]:
    """Words about a text that can't be linted."""
    from mha_lint.findings import Position

    first = document.text_at(Position(row or 1, 1))
    uri, span = document.range(Position(row or 1, 1), Position(row or 1, 10_000))
    assert uri == first[0]
    return uri, types.Diagnostic(span, message, severity=types.DiagnosticSeverity.Information, source=SOURCE)


def _is_needless(finding: Finding) -> bool:
    from mha_lint.rules import rule_of

    return finding.code != SYNTAX_ERROR and rule_of(finding.code).needless
