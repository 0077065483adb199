"""The flake8 plugin: the same findings at the same positions as the command line.

For each file it reads the nearest settings file above it, as the command does, so that ``select``, ``ignore`` and
``per-file-ignores`` mean the same both ways; flake8's own ``select``, ``ignore``, ``per-file-ignores`` and
``# noqa`` then apply to what is left. ``--mha-select`` (``mha-select`` in setup.cfg, tox.ini or .flake8) puts their
selection aside, which is how a rule that is off by default is turned on for flake8 alone.
A file that does not parse is flake8's business (E999). Comments silence what they silence on the command line,
``# mha-lint: noqa`` among them, and all come back with ``--disable-noqa``. flake8 keeps nothing between runs; the
plugin keeps its findings in the command line's ``.mha_lint_cache``, unless ``--mha-no-cache`` is given.
"""

from __future__ import annotations

import argparse
import ast
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import mha_lint
from mha_lint.configuration import Configuration
from mha_lint.files import Source, SourceError
from mha_lint.findings import SYNTAX_ERROR, UNUSED_NOQA
from mha_lint.scope import Scope
from mha_lint.screen import admits
from mha_lint.settings import Settings, SettingsError, resolved
from mha_lint.settings_file import Layer

if TYPE_CHECKING:
    from flake8.options.manager import OptionManager

    from mha_lint.cache import LintCache
    from mha_lint.findings import Finding


class Plugin:
    """The checker that flake8 builds for each file. It yields ``(row, column from 0, "MHA001 message", type)``."""

    name = "mha-lint"
    version = mha_lint.__version__
    configuration: ClassVar[Configuration] = Configuration()
    noqa: ClassVar[bool] = True
    cache: ClassVar[LintCache | None] = None
    scope: ClassVar[Scope] = Scope(configuration)

    def __init__(self, tree: ast.AST, filename: str, lines: list[str]) -> None:
        self._tree = tree if isinstance(tree, ast.Module) else None
        self._filename = filename
        self._lines = lines

    @staticmethod
    def add_options(manager: OptionManager) -> None:
        """Register ``--mha-select`` and ``--mha-no-cache``."""
        manager.add_option(
            "--mha-select",
            default=None,
            parse_from_config=True,
            comma_separated_list=True,
            metavar="RULES",
            help="mha-lint rules to run instead of those that the settings select (codes, names, prefixes or ALL)",
        )
        manager.add_option(
            "--mha-no-cache",
            action="store_true",
            parse_from_config=True,
            help="neither read nor write mha-lint's findings in .mha_lint_cache",
        )

    @classmethod
    def parse_options(cls, options: argparse.Namespace) -> None:
        """Read the settings of the working directory. A mistake in them ends flake8 with one line that names it."""
        with _mistakes_as_flake8_errors():
            layers: tuple[Layer, ...] = ()
            if options.mha_select:
                codes = resolved(options.mha_select, "--mha-select")
                layers = (Layer({"select": codes}, "--mha-select"),)
            cls.configuration = Configuration(layers=layers)
            settings = cls.configuration.within(Path.cwd())
            cls.scope = Scope(cls.configuration)
        cls.noqa = not options.disable_noqa
        cls.cache = _cache(settings) if cls.noqa and not options.mha_no_cache else None

    def run(self) -> Iterator[tuple[int, int, str, type[Any]]]:
        """Yield the findings of the lines that flake8 read."""
        text = "".join(self._lines)
        source = Source(Path(self._filename), text, "utf-8", False, text.encode(errors="surrogatepass"))
        if not admits(source.data):
            return
        try:
            with _mistakes_as_flake8_errors():
                findings, _ = self.scope.parted(source, self._findings(source))
        except SourceError:
            return
        for finding in findings:
            if finding.code in (SYNTAX_ERROR, UNUSED_NOQA):  # flake8 tells the one itself (E999), and applies comments
                continue
            yield finding.location.row, finding.location.column - 1, f"{finding.code} {finding.message}", type(self)

    def _findings(self, source: Source) -> tuple[Finding, ...]:
        with _mistakes_as_flake8_errors():
            settings = self.configuration.of(source.path)
        known = self.cache.load(source, settings) if self.cache else None
        if known is not None:
            return known.findings
        from mha_lint.linter import lint

        with _mistakes_as_flake8_errors():
            found = lint(source, settings, noqa=self.noqa, tree=self._tree)
        if self.cache:
            self.cache.store(source, settings, found)
        return found.findings


@contextmanager
def _mistakes_as_flake8_errors() -> Iterator[None]:
    """Mistakes in a settings file, and rules that can't be imported, told as flake8 tells its own mistakes."""
    try:
        yield
    except SettingsError as error:
        from flake8.exceptions import ExecutionError

        raise ExecutionError(f"mha-lint: {error}") from error


def _cache(settings: Settings) -> LintCache | None:
    from mha_lint.cache import LintCache, prepare, trim

    folder = prepare(settings)
    if folder is None:
        return None
    trim(folder)
    return LintCache(folder)
