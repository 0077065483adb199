"""What is found in a text."""

from pathlib import Path

from mha_lint.files import decode
from mha_lint.findings import Finding
from mha_lint.linter import lint
from mha_lint.settings import Settings


def found(text: str) -> list[Finding]:
    return list(lint(decode(Path("module.py"), text.encode()), Settings()).findings)


def codes(text: str) -> list[str]:
    return [finding.code for finding in found(text)]
