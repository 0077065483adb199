"""The texts of the editor: rows end where the protocol says that they end.

pygls splits a text at each character that ``str.splitlines`` knows, such as a form feed. The client does not, and so
every change behind one would be made in another row.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from lsprotocol import types
from pygls.workspace import PositionCodec, TextDocument, Workspace

_ROW = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")


class Text(TextDocument):
    @property
    def lines(self) -> Sequence[str]:
        return tuple(_ROW.findall(self.source))


class Texts(Workspace):
    """The workspace of pygls with :class:`Text` in it."""

    def _create_text_document(
        self,
        doc_uri: str,
        source: str | None = None,
        version: int | None = None,
        language_id: str | None = None,
    ) -> TextDocument:
        return Text(
            doc_uri,
            source=source,
            version=version,
            language_id=language_id,
            sync_kind=types.TextDocumentSyncKind.Incremental,
            position_codec=PositionCodec(encoding=self.position_encoding),
        )
