"""What is shown of a place: the page of a rule that fires there, the tensor that an expression gives."""

from __future__ import annotations

from collections.abc import Sequence

from lsprotocol import types

from mha_lint.edits import offset, position, row_starts
from mha_lint.findings import SYNTAX_ERROR, Finding
from mha_lint.lsp.analysis import Shapes
from mha_lint.lsp.document import Document
from mha_lint.report import url

_MOST_PATHS = 4  # of which a tensor is told


def hover(
    document: Document, findings: Sequence[Finding], shapes: Shapes, uri: str, at: types.Position
) -> types.Hover | None:
    """The words about a place of the client; None where nothing is known."""
    place = document.position(uri, at)
    starts = row_starts(document.source.text)
    parts: list[str] = []
    spans: list[types.Range] = []
    known = shapes.at(offset(starts, place))
    if known is not None:
        (start, end), lines = known
        parts.append("\n".join(f"`{line}`  " for line in lines[:_MOST_PATHS]))
        if len(lines) > _MOST_PATHS:
            parts[-1] += f"\nand {len(lines) - _MOST_PATHS} more on other paths"
        spans.append(document.range(position(starts, start), position(starts, end))[1])
    for finding in findings:
        if finding.location <= place < finding.end_location:
            parts.append(_page(finding))
            spans.append(document.range(finding.location, finding.end_location)[1])
    if not parts:
        return None
    return types.Hover(types.MarkupContent(types.MarkupKind.Markdown, "\n\n---\n\n".join(parts)), spans[0])


def _page(finding: Finding) -> str:
    from mha_lint.rules import rule_of
    from mha_lint.rules.page import page
    from mha_lint.syntax_error import PAGE

    text = PAGE if finding.code == SYNTAX_ERROR else page(rule_of(finding.code))
    return f"{text.rstrip()}\n\n[{finding.code} on the web]({url(finding)})"


def inlay_hints(document: Document, shapes: Shapes, uri: str, wanted: types.Range) -> list[types.InlayHint]:
    """The shapes of tensors that are given to names, behind the names, in a range of the client."""
    hints = []
    for place, shape in shapes.named:
        text, span = document.range(place, place)
        if text == uri and wanted.start.line <= span.start.line <= wanted.end.line:
            hints.append(types.InlayHint(span.start, f": {shape}", kind=types.InlayHintKind.Type))
    return hints
