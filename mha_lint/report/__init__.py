"""The reports: each module turns entries into the text of one output format."""

from __future__ import annotations

from dataclasses import dataclass

from mha_lint.findings import Finding


@dataclass(frozen=True, slots=True)
class Entry:
    """One finding to report, the ``text`` that its positions refer to ("" when unknown), and whether it was fixed."""

    finding: Finding
    text: str
    fixed: bool = False


def url(finding: Finding) -> str:
    """The address of the page of the finding's rule."""
    return f"https://github.com/mha-lint/mha-lint/blob/main/docs/rules/{finding.name}.md"
