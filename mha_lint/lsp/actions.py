"""Code actions: a fix for each finding, all fixes, validation, and the comment that silences a finding."""

from __future__ import annotations

import re
from collections.abc import Iterator

from lsprotocol import types

from mha_lint import edits as editing
from mha_lint.findings import SYNTAX_ERROR, Edit, Finding, Position
from mha_lint.fixing import edits_of
from mha_lint.lsp.analysis import Analysis, fixable
from mha_lint.lsp.diagnostics import diagnostic
from mha_lint.lsp.document import Document, line_edits
from mha_lint.lsp.session import Session
from mha_lint.noqa import suppressed

FIX_ALL = "source.fixAll.mhaLint"
VALIDATE, FIX, APPLY_ALL = "mha-lint.validate", "mha-lint.fix", "mha-lint.fixAll"
KINDS = (types.CodeActionKind.QuickFix, FIX_ALL)
_NOQA = re.compile(r"#\s*noqa\s*:\s*[A-Z]+[0-9]+(?:\s*,\s*[A-Z]+[0-9]+)*", re.IGNORECASE)


def actions(
    session: Session, analysis: Analysis, findings: tuple[Finding, ...], params: types.CodeActionParams
) -> list[types.CodeAction]:
    """The actions at a range of the client, out of the findings of its document with their fixes and verdicts."""
    only = params.context.only
    made: list[types.CodeAction] = []
    if _wanted(types.CodeActionKind.QuickFix, only):
        for finding in findings:
            uri, told = diagnostic(analysis.document, finding)
            if uri == params.text_document.uri and _meet(told.range, params.range):
                made += _for_finding(session, analysis, finding, told)
    if _wanted(FIX_ALL, only):
        made += _fix_all(session, analysis, findings, asked=FIX_ALL in (only or ()))
    return made


def _wanted(kind: str, only: object) -> bool:
    """Tell whether a client that asks for some kinds ``only`` asks for this one, or for one that it is a kind of."""
    if not isinstance(only, (list, tuple)):
        return True
    asked = [str(getattr(each, "value", each)) for each in only]
    return any(not each or kind == each or kind.startswith(f"{each}.") for each in asked)


def _meet(one: types.Range, other: types.Range) -> bool:
    def place(at: types.Position) -> tuple[int, int]:
        return at.line, at.character

    return place(one.start) <= place(other.end) and place(other.start) <= place(one.end)


def _for_finding(
    session: Session, analysis: Analysis, finding: Finding, told: types.Diagnostic
) -> Iterator[types.CodeAction]:
    if finding.code == SYNTAX_ERROR:
        return
    document, may_execute = analysis.document, session.options.validate != "never"
    place = [document.uri, finding.code, finding.location.row, finding.location.column]
    for fix in (each.fix for each in fixable((finding,)) if each.fix is not None):
        edit = document.edited(edits_of([finding], document.source))
        is_validated = finding.verdict is not None and finding.verdict.verdict == "validated"
        kind = f"{finding.code}, {fix.applicability}"
        if edit is not None:
            yield types.CodeAction(
                title=f"{fix.message} ({kind}, {'validated' if is_validated else 'not validated'})",
                kind=types.CodeActionKind.QuickFix,
                diagnostics=[told],
                is_preferred=True if fix.applicability == "safe" and not fix.only_if_faster else None,
                edit=edit,
            )
        if edit is not None and not is_validated and may_execute:
            yield _command(f"{fix.message} ({kind}) once validation, which runs this code, lets it", FIX, place, told)
    if may_execute and finding.verdict is None and (finding.fix is not None or finding.demonstration is not None):
        yield _command(f"Validate {finding.code} by running this code", VALIDATE, place, told)
    if silenced := _silenced(document, finding):
        edit = document.edited([silenced])
        title = f"Silence {finding.code} here (noqa)"
        yield types.CodeAction(title=title, kind=types.CodeActionKind.QuickFix, diagnostics=[told], edit=edit)


def _command(title: str, command: str, arguments: list[object], told: types.Diagnostic) -> types.CodeAction:
    return types.CodeAction(
        title=title,
        kind=types.CodeActionKind.QuickFix,
        diagnostics=[told],
        command=types.Command(title, command, arguments=arguments),
    )


def _silenced(document: Document, finding: Finding) -> Edit | None:
    """The edit that writes a comment which silences the finding; None where no comment would."""
    row = editing.rows(document.source.text)[finding.noqa_row - 1]
    known = _NOQA.search(row)
    if known:
        at, content = known.end() + 1, f", {finding.code}"
    else:
        at, content = len(row) + 1, f"  # noqa: {finding.code}"
    edit = Edit(Position(finding.noqa_row, at), Position(finding.noqa_row, at), content)
    kept, _ = suppressed(editing.apply(document.source.text, [edit]), [finding])
    return None if kept else edit


def _fix_all(
    session: Session, analysis: Analysis, findings: tuple[Finding, ...], *, asked: bool
) -> Iterator[types.CodeAction]:
    """All fixes that the settings allow: as an edit where they were validated together for these very bytes.

    Else as a command that validates them, which is offered only where this very kind was asked for, or no kind: a
    client that asks for each linter's fixes when a file is saved must not run its code.
    """
    document, settings = analysis.document, analysis.settings
    if settings is None:
        return
    tried = [each for each in fixable(findings) if each.fixable(unsafe=settings.unsafe_fixes)]
    if not tried:
        return
    title = "Fix all that mha-lint can"
    text = session.fixed(document, settings)
    if text is not None:
        edit = document.edited(line_edits(document, text)) if text != document.source.text else None
        if edit is not None:
            yield types.CodeAction(title=f"{title} (validated)", kind=FIX_ALL, edit=edit)
    elif asked and session.options.validate != "never":
        command = types.Command(title, APPLY_ALL, arguments=[document.uri])
        yield types.CodeAction(title=f"{title} (validates by running this code)", kind=FIX_ALL, command=command)
