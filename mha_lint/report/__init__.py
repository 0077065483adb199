"""The reports: each module turns entries into the text of one output format."""

from __future__ import annotations

from dataclasses import dataclass

from mha_lint.findings import Finding


@dataclass(frozen=True, slots=True)
class Entry:
    """One finding to report, the ``text`` that its positions refer to ("" when unknown), and whether it was fixed.

    ``offered`` says that ``--fix`` tries its fix under the settings that hold for the file.
    """

    finding: Finding
    text: str
    fixed: bool = False
    offered: bool = False


def url(finding: Finding) -> str:
    """The address of the page of the finding's rule."""
    return f"https://github.com/mha-lint/mha-lint/blob/main/docs/rules/{finding.name}.md"
