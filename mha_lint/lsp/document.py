"""What is open in the editor, as it is now: a Python file, or a notebook whose cells are texts of their own."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from hashlib import blake2b
from pathlib import Path

from lsprotocol import types
from msgspec import Struct
from pygls.uris import to_fs_path
from pygls.workspace import TextDocument, Workspace

from mha_lint import edits as editing
from mha_lint.files import Source
from mha_lint.findings import Cells, Edit, Position
from mha_lint.lsp.positions import from_client, to_client
from mha_lint.notebook import read

NOTEBOOK = ".ipynb"
_SUFFIXES = (".py", ".pyi", NOTEBOOK)
_UNSAVED = "untitled"  # the scheme of what was never saved


class Document(Struct, frozen=True, dict=True):
    """One state of a file or a notebook. ``texts`` are its texts by their addresses; ``versions`` are the client's.

    In a notebook, ``cells`` are the addresses of the texts by the numbers of their cells.
    """

    uri: str
    source: Source
    texts: Mapping[str, str]
    versions: Mapping[str, int | None]
    encoding: str
    cells: Mapping[int, str]
    is_saved: bool = True  # it has a place on the disk

    @cached_property
    def digest(self) -> str:
        """It tells the bytes that were validated from others."""
        return blake2b(self.source.text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()

    @cached_property
    def _rows(self) -> dict[str, list[str]]:
        return {uri: editing.rows(text) for uri, text in self.texts.items()}

    @cached_property
    def _places(self) -> Cells | None:
        return self.source.notebook.places(self.source.text) if self.source.notebook else None

    def text_at(self, place: Position) -> tuple[str, Position]:
        """The address of the text in which a position of the source lies, and the position in that text."""
        if self._places is None:
            return self.uri, place
        number, within = self._places.place(place)
        return self.cells[number], within

    def range(self, start: Position, end: Position) -> tuple[str, types.Range]:
        """Where a span of the source stands for the client. It ends in the text in which it starts."""
        uri, first = self.text_at(start)
        last = Position(first.row + end.row - start.row, end.column)
        rows = self._rows[uri]
        return uri, types.Range(to_client(rows, first, self.encoding), to_client(rows, last, self.encoding))

    def position(self, uri: str, place: types.Position) -> Position:
        """A position of the client in the source."""
        within = from_client(self._rows[uri], place, self.encoding)
        if self._places is None:
            return within
        number = next(number for number, cell in self.cells.items() if cell == uri)
        above = self._places.rows[self._places.numbers.index(number)]
        return Position(above + within.row, within.column)

    def has(self, uri: str) -> bool:
        """Tell whether a text is code of this document; a cell in another language is none."""
        return uri in self._rows and (self._places is None or uri in map(self.cells.get, self._places.numbers))

    def edited(self, edits: Iterable[Edit]) -> types.WorkspaceEdit | None:
        """Edits of the source as the client makes them; None where one goes from one cell into the next."""
        changes: dict[str, list[types.TextEdit]] = {}
        for edit in edits:
            uri, span = self.range(edit.start, edit.end)
            if self.text_at(edit.end)[0] != uri:
                return None
            changes.setdefault(uri, []).append(types.TextEdit(span, edit.content))
        return types.WorkspaceEdit(
            document_changes=[
                types.TextDocumentEdit(
                    types.OptionalVersionedTextDocumentIdentifier(uri, self.versions[uri]),
                    list(made),
                )
                for uri, made in changes.items()
            ]
        )


def document_of(workspace: Workspace, uri: str) -> Document | None:
    """The document that a text belongs to, as it is now; None for what mha-lint does not lint."""
    encoding = str(getattr(workspace.position_encoding, "value", workspace.position_encoding))
    notebook = workspace.get_notebook_document(notebook_uri=uri) or workspace.get_notebook_document(cell_uri=uri)
    if notebook is not None:
        return _notebook(workspace, notebook, encoding)
    text = next((text for text in workspace.text_documents.values() if text.uri == uri), None)
    path = None if text is None else _path(workspace, uri, ".py")
    if text is None or path is None or path.suffix == NOTEBOOK:
        return None
    source = _source(path, text.source)
    is_saved = not uri.startswith(_UNSAVED)
    return Document(uri, source, {uri: text.source}, {uri: text.version}, encoding, {}, is_saved)


def _source(path: Path, text: str) -> Source:
    return Source(path, text, "utf-8", False, text.encode("utf-8", "surrogatepass"))


def _notebook(workspace: Workspace, notebook: types.NotebookDocument, encoding: str) -> Document | None:
    path = _path(workspace, notebook.uri, NOTEBOOK)
    if path is None:
        return None
    texts = {cell.document: workspace.get_text_document(cell.document) for cell in notebook.cells}
    written = [_cell(cell, texts[cell.document]) for cell in notebook.cells]
    metadata = {"language_info": {"name": "python"}}  # each cell says its own language
    data = json.dumps({"cells": written, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5})
    parsed = read(data)
    source = Source(path, parsed.program, "utf-8", False, data.encode(), parsed)
    return Document(
        notebook.uri,
        source,
        {uri: text.source for uri, text in texts.items()},
        {uri: text.version for uri, text in texts.items()},
        encoding,
        {number: cell.document for number, cell in enumerate(notebook.cells, start=1)},
        not notebook.uri.startswith(_UNSAVED),
    )


def _cell(cell: types.NotebookCell, text: TextDocument) -> dict[str, object]:
    is_code = cell.kind == types.NotebookCellKind.Code and text.language_id in (None, "python")
    return {"cell_type": "code" if is_code else "raw", "source": text.source, "metadata": {}}


def _path(workspace: Workspace, uri: str, suffix: str) -> Path | None:
    """The path of a file; that of an unsaved one is beside the files of the workspace. None for other things."""
    scheme = uri.partition(":")[0]
    if scheme == _UNSAVED:
        return Path(workspace.root_path or os.getcwd()) / f"untitled{suffix}"
    found = to_fs_path(uri) if scheme == "file" else None
    path = Path(found) if found else None
    return path if path is not None and path.suffix in _SUFFIXES else None


Stamps = tuple[tuple[str, int, int] | None, ...]


def stamps(path: Path, names: Iterable[str]) -> Stamps:
    """The size and time of each settings file that could hold for a path."""
    names = tuple(names)
    return tuple(_stamp(folder / name) for folder in Path(os.path.abspath(path)).parents for name in names)


def _stamp(file: Path) -> tuple[str, int, int] | None:
    try:
        status = os.stat(file)
    except OSError:
        return None
    return str(file), status.st_size, status.st_mtime_ns


def line_edits(document: Document, after: str) -> list[Edit]:
    """The edits, in whole lines, that make the source another text."""
    from difflib import SequenceMatcher

    before_rows = document.source.text.splitlines(keepends=True)
    after_rows = after.splitlines(keepends=True)
    matcher = SequenceMatcher(a=before_rows, b=after_rows, autojunk=False)
    starts = editing.row_starts(document.source.text)
    offsets = [0]
    for row in before_rows:
        offsets.append(offsets[-1] + len(row))
    place: Callable[[int], Position] = lambda index: editing.position(starts, offsets[index])  # noqa: E731
    return [
        Edit(place(first), place(last), "".join(after_rows[start:end]))
        for tag, first, last, start, end in matcher.get_opcodes()
        if tag != "equal"
    ]
