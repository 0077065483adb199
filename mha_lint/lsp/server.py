"""The server itself: what the client says and asks, and what it is answered."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
import traceback
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from lsprotocol import types
from pygls.exceptions import FeatureRequestError, JsonRpcException
from pygls.lsp.server import LanguageServer

import mha_lint
from mha_lint.files import SourceError
from mha_lint.findings import Finding, Position
from mha_lint.fixing import edits_of
from mha_lint.lsp import actions, validating
from mha_lint.lsp.analysis import Analysis, Answer, Shapes
from mha_lint.lsp.diagnostics import diagnostic, refusal
from mha_lint.lsp.document import Document, line_edits
from mha_lint.lsp.hover import hover, inlay_hints
from mha_lint.lsp.options import parse_options, plain
from mha_lint.lsp.session import Session
from mha_lint.lsp.text import Texts
from mha_lint.lsp.worker import IDLE, Dropped
from mha_lint.report.text import verdict_line
from mha_lint.runner import crash
from mha_lint.settings import SettingsError
from mha_lint.settings_file import FILES

Result = TypeVar("Result")
_SERVER_CANCELLED = -32802  # of LSP 3.17: the client asks again
_SWITCH = 0.001  # seconds after which an analysis lets the thread that answers have its turn
_NOTEBOOKS = types.NotebookDocumentSyncOptions(
    notebook_selector=[
        types.NotebookDocumentFilterWithCells(cells=[types.NotebookCellLanguage(language="python")]),
    ]
)
_WATCHED = ("**/*.py", *(f"**/{name}" for name in FILES))


class Server(LanguageServer):
    """pygls' server, with one session. No exception ends it: each is told in the client's log."""

    def __init__(self) -> None:
        super().__init__("mha-lint", mha_lint.__version__, notebook_document_sync=_NOTEBOOKS)
        self.session = Session()
        self.validators = validating.Validators()
        self.is_left = False  # the client has said that it leaves
        self.pulls = False  # the client asks for diagnostics itself
        self.refreshes = False  # it can be told to ask again
        self.open: set[str] = set()  # the files and notebooks that are open, whether or not their settings make sense
        self.published: dict[str, set[str]] = {}  # by document, the texts of which the client shows diagnostics

    def report_server_error(self, error: Exception, source: Any) -> None:
        if source is not FeatureRequestError:  # the answer to a request says what went wrong
            self.log(str(crash("answering the editor", error)))

    def log(self, message: str, kind: types.MessageType = types.MessageType.Error) -> None:
        self.window_log_message(types.LogMessageParams(kind, message))

    def show(self, message: str, kind: types.MessageType = types.MessageType.Info) -> None:
        self.window_show_message(types.ShowMessageParams(kind, message))

    # --- documents -----------------------------------------------------------------------------------------------

    def changed(self, uri: str) -> None:
        """A text was opened or changed, or what its findings depend on was."""
        self.open.add(uri)
        try:
            analysis = self.session.read(self.workspace, uri)
        except (SettingsError, SourceError) as error:
            self.log(str(error))
            return
        if analysis is not None:
            found = analysis.findings()
            if not self.pulls:
                self._when_done(found, lambda answer: self.publish(analysis, answer))
            self._when_done(found, lambda _: self._go_on(analysis))

    def _go_on(self, analysis: Analysis) -> None:
        """Find while nothing else is asked what is likely to be asked next."""
        if self.session.of(analysis.document.uri) is analysis:
            self._when_done(analysis.fixes(idle=True), lambda fixes: self._correct(analysis, fixes))
            self._when_done(analysis.shapes(idle=True), lambda _: None)

    def _correct(self, analysis: Analysis, fixes: Answer) -> None:
        if analysis.corrects(fixes):
            self.show_again(analysis)

    def _when_done(self, future: Future[Any], work: Callable[[Any], None]) -> None:
        """Do something in this thread with what the worker found; its mistakes are logged."""
        loop = asyncio.get_running_loop()

        def told() -> None:
            error = future.exception()
            try:
                if error is None:
                    work(future.result())
                elif isinstance(error, Exception) and not isinstance(error, Dropped):
                    self.failed(error)
            except Exception as failure:
                self.failed(failure)

        future.add_done_callback(lambda _: None if loop.is_closed() else loop.call_soon_threadsafe(told))

    def failed(self, error: Exception) -> None:
        """Log a bug of ours."""
        self.log(str(crash("linting this file", error)))
        self.log("".join(traceback.format_exception(error)), types.MessageType.Log)

    def diagnostics(self, analysis: Analysis, answer: Answer) -> dict[str, list[types.Diagnostic]]:
        """The diagnostics of each text of a document."""
        document = analysis.document
        told: dict[str, list[types.Diagnostic]] = {uri: [] for uri in document.texts}
        for finding in analysis.judged(answer):
            uri, made = diagnostic(document, finding)
            told[uri].append(made)
        if answer.refusal:
            uri, made = refusal(document, answer.refusal, answer.row)
            told[uri].append(made)
        return told

    def publish(self, analysis: Analysis, answer: Answer) -> None:
        document = analysis.document
        if self.session.of(document.uri) is not analysis:
            return
        told = self.diagnostics(analysis, answer)
        gone = self.published.get(document.uri, set()) - told.keys()
        self.published[document.uri] = set(told)
        for uri, items in {**{key: [] for key in gone}, **told}.items():
            version = document.versions.get(uri)
            self.text_document_publish_diagnostics(types.PublishDiagnosticsParams(uri, items, version))

    def show_again(self, analysis: Analysis) -> None:
        """Validation has judged findings: their diagnostics say so."""
        if not self.pulls:
            self._when_done(analysis.findings(), lambda answer: self.publish(analysis, answer))
        elif self.refreshes:
            self.workspace_diagnostic_refresh(None)

    def closed(self, uri: str) -> None:
        self.session.close(uri)
        self.open.discard(uri)
        for text in self.published.pop(uri, set()):
            self.text_document_publish_diagnostics(types.PublishDiagnosticsParams(text, []))

    def everything_changed(self) -> None:
        """Settings, or other files of the project, are not what they were."""
        self.session.forget()
        for uri in list(self.open):
            self.changed(uri)
        if self.pulls and self.refreshes:
            self.workspace_diagnostic_refresh(None)

    # --- questions -----------------------------------------------------------------------------------------------

    async def judged(self, analysis: Analysis) -> tuple[Finding, ...]:
        """The findings of a document with their fixes, and with the verdicts on them."""
        return analysis.judged(await _waited(analysis.fixes()))

    async def shapes(self, analysis: Analysis) -> Shapes:
        return await _waited(analysis.shapes())

    def for_client(self, edit: types.WorkspaceEdit) -> types.WorkspaceEdit:
        """An edit as the client reads it: with the versions of the texts, if it knows those."""
        workspace = self.client_capabilities.workspace
        known = workspace.workspace_edit.document_changes if workspace and workspace.workspace_edit else False
        if known or edit.document_changes is None:
            return edit
        changes: dict[str, list[types.TextEdit]] = {}
        for change in edit.document_changes:
            assert isinstance(change, types.TextDocumentEdit)
            changes[change.text_document.uri] = [each for each in change.edits if isinstance(each, types.TextEdit)]
        return types.WorkspaceEdit(changes=changes)

    def apply(self, title: str, document: Document, edit: types.WorkspaceEdit | None) -> None:
        """Have the client make an edit, if the document still is what was validated."""
        now = self.session.of(document.uri)
        if now is None or now.document.digest != document.digest:
            self.show(f"{title}: the text has changed meanwhile; nothing was edited", types.MessageType.Warning)
        elif edit is None:
            self.show(f"{title}: the fix goes across cells; nothing was edited", types.MessageType.Warning)
        else:
            self.workspace_apply_edit(types.ApplyWorkspaceEditParams(self.for_client(edit), title))

    # --- validation ----------------------------------------------------------------------------------------------

    async def in_background(self, title: str, analysis: Analysis, work: Callable[[], Any]) -> Any:
        """Execute code in processes of its own, with the client told that it takes a while; None where it can't be."""
        from mha_lint.validation import DeviceMissing, TorchMissing

        if self.session.options.validate == "never":
            self.show("mha-lint: the setting `validate` is `never`, so nothing is executed", types.MessageType.Warning)
            return None
        token = await self._progress(title)
        try:
            return await asyncio.to_thread(work)
        except (TorchMissing, DeviceMissing) as error:
            self.show(f"mha-lint: {error}", types.MessageType.Warning)
            return None
        finally:
            if token is not None:
                self.work_done_progress.end(token, types.WorkDoneProgressEnd())
            self.show_again(analysis)

    async def _progress(self, title: str) -> str | None:
        window = self.client_capabilities.window
        if not (window and window.work_done_progress):
            return None
        from uuid import uuid4

        token = str(uuid4())
        await self.work_done_progress.create_async(token)
        self.work_done_progress.begin(token, types.WorkDoneProgressBegin(title))
        return token

    async def validate(self, analysis: Analysis, place: tuple[str, Position] | None) -> list[dict[str, Any]]:
        """Judge one finding, or all of a document and what their fixes make together; the verdicts in words."""
        findings = await self.judged(analysis)
        chosen = tuple(each for each in findings if place in (None, (each.code, each.location)))

        def work() -> list[Finding]:
            judged = validating.validate(analysis, chosen, self.validators)
            if place is None:
                validating.fix_all(self.session, analysis, findings, self.validators)
            return judged

        judged = await self.in_background("mha-lint: running the code", analysis, work)
        return [_told(finding) for finding in judged or ()]


async def _waited(future: Future[Result]) -> Result:
    """Wait for the worker. A client that takes its question back takes nothing from others who wait for the same."""
    return await asyncio.shield(asyncio.wrap_future(future))


def _told(finding: Finding) -> dict[str, Any]:
    verdict = finding.verdict
    return {
        "code": finding.code,
        "row": finding.location.row,
        "column": finding.location.column,
        "verdict": None if verdict is None else verdict.verdict,
        "told": "" if verdict is None else verdict_line(verdict),
    }


def serve() -> NoReturn:
    """Serve one client on stdin and stdout. Exit with 0 where it said that it leaves, and 1 where not, as LSP asks.

    Whatever else is printed meanwhile, by a library say, goes to stderr, and no other process reads from stdin.
    """
    logging.basicConfig(stream=sys.stderr, level=logging.CRITICAL)
    sys.setswitchinterval(_SWITCH)
    asked, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    server = made()
    try:
        server.start_io(asked, answers)
    finally:
        server.session.worker.close()
        server.validators.close()
    sys.stderr.flush()
    os._exit(0 if server.is_left else 1)  # a thread that still reads from the client would abort Python's own way out


def _warm_up() -> None:
    """Import what lints, and run it once; what is there then is never looked through for cycles again."""
    from mha_lint.files import decode
    from mha_lint.linter import lint, modelled
    from mha_lint.rules import all_rules
    from mha_lint.settings import Settings

    text = next(rule.invalid[0] for rule in all_rules() if rule.invalid and rule.applicability)
    source = decode(Path("warm_up.py"), text.encode())
    lint(source, Settings())
    modelled(source, Settings(), expressions=True)
    gc.collect()
    gc.freeze()


def made() -> Server:
    """A server that knows what to do with each message."""
    server = Server()
    _lifecycle(server)
    _texts(server)
    _questions(server)
    _commands(server)
    return server


def _lifecycle(server: Server) -> None:
    @server.feature(types.INITIALIZE)
    def initialize(params: types.InitializeParams) -> None:
        given = server.workspace
        server.protocol._workspace = Texts(  # pygls has no other place to say so
            given.root_uri, workspace_folders=params.workspace_folders, position_encoding=given.position_encoding
        )
        told = params.capabilities
        server.pulls = bool(told.text_document and told.text_document.diagnostic)
        server.refreshes = bool(
            told.workspace and told.workspace.diagnostics and told.workspace.diagnostics.refresh_support
        )
        server.session.previews = server.refreshes or not server.pulls
        _configure(params.initialization_options)

    @server.feature(types.INITIALIZED)
    def initialized(_: types.InitializedParams) -> None:
        server.session.worker.ask("", "warm-up", IDLE, _warm_up)
        workspace = server.client_capabilities.workspace
        watching = workspace.did_change_watched_files if workspace else None
        if watching and watching.dynamic_registration:
            watchers = [types.FileSystemWatcher(glob_pattern=pattern) for pattern in _WATCHED]
            options = types.DidChangeWatchedFilesRegistrationOptions(watchers)
            registration = types.Registration("watched", types.WORKSPACE_DID_CHANGE_WATCHED_FILES, options)
            server.client_register_capability(types.RegistrationParams([registration]))

    @server.feature(types.SHUTDOWN)
    def shut_down(_: None) -> None:
        server.is_left = True

    @server.feature(types.WORKSPACE_DID_CHANGE_CONFIGURATION)
    def configured(params: types.DidChangeConfigurationParams) -> None:
        _configure(params.settings)
        server.everything_changed()

    @server.feature(types.WORKSPACE_DID_CHANGE_WATCHED_FILES)
    def watched(_: types.DidChangeWatchedFilesParams) -> None:
        server.everything_changed()

    def _configure(given: object) -> None:
        try:
            server.session.configure(parse_options(plain(given)))
        except SettingsError as error:
            server.show(f"mha-lint: {error}", types.MessageType.Error)


def _texts(server: Server) -> None:
    for feature in (types.TEXT_DOCUMENT_DID_OPEN, types.TEXT_DOCUMENT_DID_CHANGE):
        server.feature(feature)(lambda params: server.changed(params.text_document.uri))
    for feature in (types.NOTEBOOK_DOCUMENT_DID_OPEN, types.NOTEBOOK_DOCUMENT_DID_CHANGE):
        server.feature(feature)(lambda params: server.changed(params.notebook_document.uri))

    @server.feature(types.TEXT_DOCUMENT_DID_CLOSE)
    def closed(params: types.DidCloseTextDocumentParams) -> None:
        server.closed(params.text_document.uri)

    @server.feature(types.TEXT_DOCUMENT_DID_SAVE)
    async def saved(params: types.DidSaveTextDocumentParams) -> None:
        await after_saving(params.text_document.uri)

    @server.feature(types.NOTEBOOK_DOCUMENT_DID_CLOSE)
    def notebook_closed(params: types.DidCloseNotebookDocumentParams) -> None:
        server.closed(params.notebook_document.uri)

    @server.feature(types.NOTEBOOK_DOCUMENT_DID_SAVE)
    async def notebook_saved(params: types.DidSaveNotebookDocumentParams) -> None:
        await after_saving(params.notebook_document.uri)

    async def after_saving(uri: str) -> None:
        server.everything_changed()  # other open files may import this one
        analysis = server.session.of(uri)
        if analysis is not None and server.session.options.validate == "onSave":
            try:
                await server.validate(analysis, None)
            except Dropped:
                return


def _questions(server: Server) -> None:
    @server.feature(
        types.TEXT_DOCUMENT_DIAGNOSTIC,
        types.DiagnosticOptions(inter_file_dependencies=True, workspace_diagnostics=False, identifier="mha-lint"),
    )
    async def pulled(params: types.DocumentDiagnosticParams) -> types.RelatedFullDocumentDiagnosticReport:
        uri = params.text_document.uri
        analysis = server.session.of(uri)
        if analysis is None:
            return types.RelatedFullDocumentDiagnosticReport(items=[])
        try:
            answer = await _waited(analysis.findings())
        except (Dropped, CancelledError):
            raise JsonRpcException("the text has changed", _SERVER_CANCELLED, {"retriggerRequest": True}) from None
        return types.RelatedFullDocumentDiagnosticReport(items=server.diagnostics(analysis, answer).get(uri, []))

    @server.feature(types.TEXT_DOCUMENT_HOVER)
    async def hovered(params: types.HoverParams) -> types.Hover | None:
        uri = params.text_document.uri
        analysis = server.session.of(uri)
        if analysis is None or not analysis.document.has(uri):
            return None
        try:
            answer = await _waited(analysis.findings())
            shapes = await server.shapes(analysis)
        except Dropped:
            return None
        return hover(analysis.document, analysis.judged(answer), shapes, uri, params.position)

    @server.feature(types.TEXT_DOCUMENT_INLAY_HINT)
    async def hinted(params: types.InlayHintParams) -> list[types.InlayHint]:
        uri = params.text_document.uri
        analysis = server.session.of(uri)
        if analysis is None or not server.session.options.inlay_hints or not analysis.document.has(uri):
            return []
        try:
            shapes = await server.shapes(analysis)
        except Dropped:
            return []
        return inlay_hints(analysis.document, shapes, uri, params.range)

    @server.feature(types.TEXT_DOCUMENT_CODE_ACTION, types.CodeActionOptions(code_action_kinds=list(actions.KINDS)))
    async def acted(params: types.CodeActionParams) -> list[types.CodeAction]:
        analysis = server.session.of(params.text_document.uri)
        if analysis is None:
            return []
        try:
            findings = await server.judged(analysis)
        except Dropped:
            return []
        made = actions.actions(server.session, analysis, findings, params)
        for action in made:
            if action.edit is not None:
                action.edit = server.for_client(action.edit)
        return made


def _commands(server: Server) -> None:
    # Handlers take the server: pygls looks at the first annotation, and ``Any`` is no class in Python 3.10.
    def analysis_of(uri: object) -> Analysis:
        analysis = server.session.of(str(uri))
        if analysis is None or analysis.settings is None:
            raise JsonRpcException(f"{uri}: is not open, or the settings exclude it", -32602)
        return analysis

    def place_of(given: list[Any]) -> tuple[str, Position] | None:
        return (str(given[0]), Position(int(given[1]), int(given[2]))) if len(given) == 3 else None

    @server.command(actions.VALIDATE)
    async def validate(_: Server, *arguments: Any) -> list[dict[str, Any]]:
        """Arguments: the document, and, for one finding alone, its code, row and column as the diagnostic's data."""
        return await server.validate(analysis_of(arguments[0]), place_of(list(arguments[1:])))

    @server.command(actions.FIX)
    async def fix(_: Server, *arguments: Any) -> list[dict[str, Any]]:
        """Arguments as of the other. The fix is made if validation lets it through."""
        analysis, place = analysis_of(arguments[0]), place_of(list(arguments[1:]))
        told = await server.validate(analysis, place)
        for finding in await server.judged(analysis):
            if (finding.code, finding.location) != place or finding.verdict is None or finding.fix is None:
                continue
            if finding.verdict.verdict == "validated":
                edit = analysis.document.edited(edits_of([finding], analysis.document.source))
                server.apply(f"mha-lint: {finding.fix.message}", analysis.document, edit)
            else:
                line = f"{finding.code} is left alone. {finding.verdict.verdict}: {verdict_line(finding.verdict)}"
                server.show(f"mha-lint: {line}", types.MessageType.Warning)
        return told

    @server.command(actions.APPLY_ALL)
    async def fix_all(_: Server, *arguments: Any) -> int:
        """Arguments: the document. All fixes that validation lets through are made; how many were."""
        analysis = analysis_of(arguments[0])
        findings = await server.judged(analysis)

        def work() -> tuple[str, int]:
            return validating.fix_all(server.session, analysis, findings, server.validators)

        made = await server.in_background("mha-lint: running the code", analysis, work)
        if made is None:
            return 0
        text, count = made
        if count:
            edit = analysis.document.edited(line_edits(analysis.document, text))
            server.apply("mha-lint: all fixes", analysis.document, edit)
        return int(count)
