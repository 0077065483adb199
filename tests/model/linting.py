"""What is found in a text, by the screen's leave and without it."""

from pathlib import Path

from mha_lint.files import decode
from mha_lint.findings import Finding
from mha_lint.linter import lint
from mha_lint.settings import Settings


def found(text: str) -> list[Finding]:
    """Lint a text with and without the screen, which must not lose a finding."""
    source = decode(Path("module.py"), text.encode())
    screened, whole = (lint(source, Settings(), screened=screened) for screened in (True, False))
    assert [(f.code, f.location) for f in screened] == [(f.code, f.location) for f in whole]
    return whole


def codes(text: str) -> list[str]:
    return [finding.code for finding in found(text)]
