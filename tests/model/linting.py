"""What is found in a text."""

from pathlib import Path

from mha_lint.files import decode
from mha_lint.findings import Finding
from mha_lint.linter import lint
from mha_lint.settings import Settings

NOT_SPEED = Settings(ignore=("MHA2",))  # code that is there for its mistakes attends by hand


def found(text: str) -> list[Finding]:
    return list(lint(decode(Path("module.py"), text.encode()), NOT_SPEED).findings)


def codes(text: str) -> list[str]:
    return [finding.code for finding in found(text)]
