"""What is known of one state of a document: its findings at once, then their fixes, then its shapes."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import TYPE_CHECKING, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from mha_lint.edits import offset, row_starts
from mha_lint.files import SourceError, SyntaxProblem
from mha_lint.findings import SYNTAX_ERROR, Finding, Position, Verdict
from mha_lint.linter import Look, looked, modelled, reported
from mha_lint.lsp.document import Document
from mha_lint.lsp.preview import Preview
from mha_lint.lsp.worker import IDLE, NOW, SOON, Worker
from mha_lint.settings import Settings
from mha_lint.syntax_error import told

if TYPE_CHECKING:
    from mha_lint.model.events import ValueSeen

Result = TypeVar("Result")
Span = tuple[int, int]  # offsets in characters


class Answer(Struct, frozen=True):
    """The findings of a text, or the reason why it can't be linted."""

    findings: tuple[Finding, ...] = ()
    refusal: str = ""
    row: int | None = None


class Shapes(Struct, frozen=True):
    """What is known of tensors, by where their expressions stand; ``named`` are those that are given to names."""

    expressions: tuple[tuple[Span, tuple[str, ...]], ...] = ()
    named: tuple[tuple[Position, str], ...] = ()

    def at(self, place: int) -> tuple[Span, tuple[str, ...]] | None:
        """The smallest expression around an offset of which something is known."""
        around = [each for each in self.expressions if each[0][0] <= place < each[0][1]]
        return min(around, key=lambda each: each[0][1] - each[0][0], default=None)


class Analysis:
    """Asks the worker, once, for what is wanted of one state of a document."""

    def __init__(self, document: Document, settings: Settings | None, worker: Worker, preview: Preview | None) -> None:
        """``settings`` of None: the settings exclude the document. Without a preview all findings are of the whole."""
        self.document = document
        self.settings = settings
        self.verdicts: dict[tuple[str, Position], Verdict] = {}
        self._worker = worker
        self._preview = preview
        self._look: Look | None = None
        self._findings: Future[Answer] | None = None
        self._fixes: Future[Answer] | None = None
        self._shapes: Future[Shapes] | None = None

    def findings(self) -> Future[Answer]:
        """The findings without their fixes."""
        if self._findings is None:
            self._findings = self._ask("findings", NOW, self._find)
        return self._findings

    def fixes(self, *, idle: bool = False) -> Future[Answer]:
        """The findings with their fixes."""
        if self._fixes is None or not self._fixes.done():
            self._fixes = self._ask("fixes", IDLE if idle else SOON, self._fix)
        return self._fixes

    def shapes(self, *, idle: bool = False) -> Future[Shapes]:
        if self._shapes is None or not self._shapes.done():
            self._shapes = self._ask("shapes", IDLE if idle else SOON, self._trace)
        return self._shapes

    def corrects(self, fixes: Answer) -> bool:
        """Tell whether the look at the whole text found other things than the preview; they count from now on."""
        found, before = replace(fixes, findings=tuple(map(_bare, fixes.findings))), self.findings().result()
        if found == before:
            return False
        self._findings = Future()
        self._findings.set_result(found)
        return True

    def judged(self, answer: Answer) -> tuple[Finding, ...]:
        """The findings with the verdicts on them; an error that ran and could not be shown is a warning."""
        from mha_lint.fixing import downgraded

        return tuple(
            downgraded(replace(each, verdict=self.verdicts.get((each.code, each.location)))) for each in answer.findings
        )

    def _ask(self, kind: str, urgency: int, work: Callable[[], Result]) -> Future[Result]:
        return self._worker.ask(self.document.uri, kind, urgency, work)

    # --- in the worker's thread ----------------------------------------------------------------------------------

    def _find(self) -> Answer:
        if self.settings is None:
            return Answer()
        try:
            known = self._preview.findings(self.document.source, self.settings) if self._preview else None
            if known is None:
                known = self._see_whole(self.settings)
            return Answer(known)
        except SourceError as error:
            return _refused(error)

    def _see_whole(self, settings: Settings) -> tuple[Finding, ...]:
        """Look at the whole text; its findings without their fixes."""
        source, preview = self.document.source, self._preview
        self._look = looked(source, settings, None if preview is None else preview.tree(source))
        findings = [] if self._look is None else self._look.bare()
        if preview is not None:
            preview.know(self._look, findings)
        return () if self._look is None else reported(source, settings, findings)

    def _fix(self) -> Answer:
        if self.settings is None:
            return Answer()
        try:
            if self._look is None:
                self._see_whole(self.settings)
            return Answer() if self._look is None else Answer(self._look.found().findings)
        except SourceError as error:
            return _refused(error)

    def _trace(self) -> Shapes:
        from mha_lint import screen

        if self.settings is None or not screen.admits(self.document.source.code):
            return Shapes()
        try:
            model, places = modelled(self.document.source, self.settings, expressions=True)
        except SourceError:
            return Shapes()
        starts = row_starts(self.document.source.text)

        def span(node: ast.AST) -> Span:
            return offset(starts, places.start(node)), offset(starts, places.end(node))

        expressions = [(span(node), tuple(_told(seen))) for node, seen in model.expressions.items()]
        names = {node: tuple(_told(seen)) for node, seen in model.trace.items() if isinstance(node, ast.Name)}
        assigned = [(span(node), lines) for node, lines in names.items()]
        shapes = [(places.end(node), lines[0].partition(" · ")[0]) for node, lines in names.items() if len(lines) == 1]
        return Shapes((*expressions, *assigned), tuple(sorted(shapes)))


def _bare(finding: Finding) -> Finding:
    return replace(finding, fix=None, no_fix_reason="", demonstration=None)


def _told(seen: list[ValueSeen]) -> list[str]:
    from mha_lint.model.description import tensor_text

    return tensor_text(seen)


def _refused(error: SourceError) -> Answer:
    if isinstance(error, SyntaxProblem):
        return Answer((told(error),))
    return Answer(refusal=error.message, row=error.row)


def fixable(findings: tuple[Finding, ...]) -> Iterator[Finding]:
    """The findings with a fix that was not refuted."""
    for finding in findings:
        if finding.code != SYNTAX_ERROR and finding.fix is not None and not finding.refuted:
            yield finding
