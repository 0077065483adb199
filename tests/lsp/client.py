"""A real client of the language server, over stdin and stdout: pygls' own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Union

from cattrs import Converter
from lsprotocol import types
from pygls.lsp.client import LanguageClient
from pygls.protocol import default_converter

SECONDS = 60.0  # a loaded machine is no mistake of the server


def _converter() -> Converter:
    """That of pygls, but for actions: it takes each with a command for a mere command."""
    made = default_converter()

    def action(given: Any, _: type) -> types.Command | types.CodeAction:
        kind = types.Command if isinstance(given.get("command"), str) else types.CodeAction
        return made.structure(given, kind)

    made.register_structure_hook(types.Command | types.CodeAction, action)
    made.register_structure_hook(Union[types.Command, types.CodeAction], action)  # noqa: UP007  # as pygls spells it
    return made


class Client(LanguageClient):
    """Keeps what the server sends. It makes the edits that it is asked to make in ``texts``."""

    def __init__(self) -> None:
        super().__init__("a test", "1", converter_factory=_converter)
        self.diagnostics: dict[str, types.PublishDiagnosticsParams] = {}
        self.history: list[types.PublishDiagnosticsParams] = []
        self.published = asyncio.Condition()
        self.logged: list[str] = []
        self.shown: list[str] = []
        self.applied: list[types.WorkspaceEdit] = []
        self.versions: dict[str, int] = {}
        self.refreshed = 0

        @self.feature(types.TEXT_DOCUMENT_PUBLISH_DIAGNOSTICS)
        async def published(params: types.PublishDiagnosticsParams) -> None:
            async with self.published:
                self.diagnostics[params.uri] = params
                self.history.append(params)
                self.published.notify_all()

        @self.feature(types.WINDOW_LOG_MESSAGE)
        def logged(params: types.LogMessageParams) -> None:
            self.logged.append(params.message)

        @self.feature(types.WINDOW_SHOW_MESSAGE)
        def shown(params: types.ShowMessageParams) -> None:
            self.shown.append(params.message)

        @self.feature(types.WORKSPACE_APPLY_EDIT)
        def apply(params: types.ApplyWorkspaceEditParams) -> types.ApplyWorkspaceEditResult:
            self.applied.append(params.edit)
            return types.ApplyWorkspaceEditResult(applied=True)

        @self.feature(types.WORKSPACE_DIAGNOSTIC_REFRESH)
        def refresh(_: Any) -> None:
            self.refreshed += 1

        @self.feature(types.CLIENT_REGISTER_CAPABILITY)
        def register(_: Any) -> None:
            return None

        @self.feature(types.WINDOW_WORK_DONE_PROGRESS_CREATE)
        def progress(_: Any) -> None:
            return None

    def open(self, path: Path | str, text: str) -> str:
        uri = path.as_uri() if isinstance(path, Path) else path
        self.versions[uri] = 1
        self.text_document_did_open(
            types.DidOpenTextDocumentParams(types.TextDocumentItem(uri, types.LanguageKind.Python, 1, text))
        )
        return uri

    def change(self, uri: str, *changes: types.TextDocumentContentChangeEvent) -> int:
        self.versions[uri] += 1
        identifier = types.VersionedTextDocumentIdentifier(self.versions[uri], uri)
        self.text_document_did_change(types.DidChangeTextDocumentParams(identifier, list(changes)))
        return self.versions[uri]

    def replace(self, uri: str, text: str) -> int:
        return self.change(uri, types.TextDocumentContentChangeWholeDocument(text))

    async def pushed(self, uri: str, version: int | None = 1) -> list[types.Diagnostic]:
        """The diagnostics that the server sends of a version."""

        def is_there() -> bool:
            return uri in self.diagnostics and self.diagnostics[uri].version == version

        async with self.published:
            await asyncio.wait_for(self.published.wait_for(is_there), SECONDS)
            return list(self.diagnostics[uri].diagnostics)

    async def pulled(self, uri: str) -> list[types.Diagnostic]:
        report = await self.text_document_diagnostic_async(
            types.DocumentDiagnosticParams(types.TextDocumentIdentifier(uri))
        )
        assert isinstance(report, types.RelatedFullDocumentDiagnosticReport)
        return list(report.items)

    async def hovered(self, uri: str, line: int, character: int) -> str | None:
        found = await self.text_document_hover_async(
            types.HoverParams(types.TextDocumentIdentifier(uri), types.Position(line, character))
        )
        if found is None:
            return None
        assert isinstance(found.contents, types.MarkupContent)
        return found.contents.value

    async def actions(
        self, uri: str, span: types.Range | None = None, only: list[types.CodeActionKind | str] | None = None
    ) -> list[types.CodeAction]:
        span = span or types.Range(types.Position(0, 0), types.Position(10_000, 0))
        found = await self.text_document_code_action_async(
            types.CodeActionParams(
                types.TextDocumentIdentifier(uri),
                span,
                types.CodeActionContext(diagnostics=[], only=only),
            )
        )
        return [each for each in found or [] if isinstance(each, types.CodeAction)]

    async def execute(self, command: types.Command) -> Any:
        return await self.workspace_execute_command_async(
            types.ExecuteCommandParams(command.command, command.arguments)
        )


def capabilities(
    *, pull: bool = False, encodings: list[types.PositionEncodingKind] | None = None
) -> types.ClientCapabilities:
    return types.ClientCapabilities(
        general=types.GeneralClientCapabilities(position_encodings=encodings),
        text_document=types.TextDocumentClientCapabilities(
            diagnostic=types.DiagnosticClientCapabilities() if pull else None
        ),
        workspace=types.WorkspaceClientCapabilities(
            workspace_edit=types.WorkspaceEditClientCapabilities(document_changes=True),
            diagnostics=types.DiagnosticWorkspaceClientCapabilities(refresh_support=True) if pull else None,
        ),
    )


@contextlib.asynccontextmanager
async def connected(
    folder: Path,
    told: types.ClientCapabilities | None = None,
    options: Mapping[str, Any] | None = None,
) -> AsyncIterator[Client]:
    """A client of a server that was started in a folder. At the end the server has to leave with 0."""
    client = Client()
    command = [sys.executable, "-m", "mha_lint", "server"]
    await client.start_io(*command, cwd=folder, env=dict(os.environ))
    await client.initialize_async(
        types.InitializeParams(
            told or capabilities(),
            process_id=os.getpid(),
            root_uri=folder.as_uri(),
            initialization_options=dict(options or {}),
        )
    )
    client.initialized(types.InitializedParams())
    try:
        yield client
        await asyncio.wait_for(client.shutdown_async(None), SECONDS)
        client.exit(None)
        process = client._server
        assert process is not None
        status = await asyncio.wait_for(process.wait(), SECONDS)
        assert status == 0, status
    finally:
        if client._server is not None and client._server.returncode is None:
            client._server.kill()  # the test has failed
        await client.stop()
