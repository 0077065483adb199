"""One client's session: its open documents, the settings that hold for them, and what is known of each."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

from pygls.workspace import Workspace

from mha_lint.configuration import Configuration
from mha_lint.discovery import excludes
from mha_lint.findings import Position, Verdict
from mha_lint.lsp.analysis import Analysis
from mha_lint.lsp.document import Document, Stamps, document_of, stamps
from mha_lint.lsp.options import ClientOptions
from mha_lint.lsp.preview import Preview
from mha_lint.lsp.worker import Worker
from mha_lint.settings import Settings
from mha_lint.settings_file import FILES, Layer

_MOST_TEXTS = 64  # states of documents whose verdicts are kept

Verdicts = dict[tuple[str, Position], Verdict]  # by code and place of the finding


class Session:
    def __init__(self) -> None:
        self.worker = Worker()
        self.options = ClientOptions()
        self.previews = True  # the client can be told later that a finding is another one
        self._analyses: dict[str, Analysis] = {}  # by the addresses of the documents
        self._configurations: dict[Path, tuple[Stamps, Configuration]] = {}
        self._previews: dict[tuple[str, str], Preview] = {}  # by document and settings
        self._verdicts: OrderedDict[tuple[str, str, str], Verdicts] = OrderedDict()
        self._fixed: OrderedDict[tuple[str, str, str], str] = OrderedDict()

    # --- documents -----------------------------------------------------------------------------------------------

    def read(self, workspace: Workspace, uri: str) -> Analysis | None:
        """Begin anew with the document of a text, which has changed, or whose settings may have.

        Raises:
            SettingsError: a settings file has a mistake.
        """
        document = document_of(workspace, uri)
        if document is None:
            return None
        self.worker.drop(document.uri)
        self._analyses.pop(document.uri, None)
        settings = self._settings(document)
        analysis = Analysis(document, settings, self.worker, self._preview(document, settings))
        if settings is not None:
            analysis.verdicts = self.verdicts(document, settings)
        self._analyses[document.uri] = analysis
        return analysis

    def _preview(self, document: Document, settings: Settings | None) -> Preview | None:
        if not self.previews:
            return None
        key = document.uri, "" if settings is None else settings.told
        if key not in self._previews:
            self._forget(document.uri)
            self._previews[key] = Preview()
        return self._previews[key]

    def _forget(self, uri: str) -> None:
        self._previews = {key: preview for key, preview in self._previews.items() if key[0] != uri}

    def forget(self) -> None:
        """Other files have changed, on which settings, or findings, may depend."""
        self._previews.clear()
        self._configurations.clear()

    def of(self, uri: str) -> Analysis | None:
        """What is known of the document that a text belongs to."""
        found = self._analyses.get(uri)
        if found is not None:
            return found
        return next((each for each in self._analyses.values() if uri in each.document.texts), None)

    def close(self, uri: str) -> None:
        self.worker.drop(uri)
        self._analyses.pop(uri, None)
        self._forget(uri)

    # --- settings ------------------------------------------------------------------------------------------------

    def _settings(self, document: Document) -> Settings | None:
        """The settings that hold for a document; None where they exclude it. They are read anew once they changed."""
        path = document.source.path
        now = stamps(path, FILES)
        known = self._configurations.get(path.parent)
        if known is None or known[0] != now:
            unsafe = self.options.unsafe_fixes
            known = (
                now,
                Configuration(layers=() if unsafe is None else (Layer({"unsafe_fixes": unsafe}, "the client"),)),
            )
            self._configurations[path.parent] = known
        return None if excludes(path, known[1]) else known[1].of(path)

    def configure(self, options: ClientOptions) -> None:
        self.options = options
        self._configurations.clear()

    # --- what was validated --------------------------------------------------------------------------------------

    def verdicts(self, document: Document, settings: Settings) -> Verdicts:
        """The verdicts on the very bytes of a document, under these settings."""
        key = document.uri, document.digest, settings.told
        found = self._verdicts.setdefault(key, {})
        self._verdicts.move_to_end(key)
        while len(self._verdicts) > _MOST_TEXTS:
            self._verdicts.popitem(last=False)
        return found

    def fixed(self, document: Document, settings: Settings) -> str | None:
        """The text that all fixes together made of these very bytes, which were validated; None where none did."""
        return self._fixed.get((document.uri, document.digest, settings.told))

    def note_fixed(self, document: Document, settings: Settings, text: str) -> None:
        self._fixed[document.uri, document.digest, settings.told] = text
        while len(self._fixed) > _MOST_TEXTS:
            self._fixed.popitem(last=False)
