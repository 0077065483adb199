"""Writes docs/rules/*.md: a rule's page is its class docstring. After changing one: ``python docs/write_rules.py``."""

from __future__ import annotations

from inspect import cleandoc
from pathlib import Path

from mha_lint.rules import all_rules
from mha_lint.syntax_error import NAME, PAGE

FOLDER = Path(__file__).parent / "rules"


def pages() -> dict[str, str]:
    """File name to text, the index included."""
    rules = all_rules()
    texts = {f"{rule.name}.md": cleandoc(rule.__doc__ or "") + "\n" for rule in rules}
    rows = [
        f"| [{r.code}]({r.name}.md) | {r.name} | {r.severity} | {r.applicability or 'none'} | {r.why} |" for r in rules
    ]
    head = ["# Rules", "", "| code | name | severity | fix | why |", "|---|---|---|---|---|"]
    return {**texts, f"{NAME}.md": PAGE, "README.md": "\n".join([*head, *rows]) + "\n"}


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
