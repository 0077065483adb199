"""Writes what these pages say of each rule: ``make docs``.

A rule's page is the docstring of its class under a heading made of its code, name, severity and fix. The tables in
``docs/rules/README.md`` and in ``README.md`` have one row a rule. Nothing is written by hand but the class.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mha_lint.rules import Rule, all_rules
from mha_lint.rules.page import page
from mha_lint.syntax_error import NAME, PAGE

ROOT = Path(__file__).resolve().parents[1]
FOLDER = "docs/rules"
MARK = "<!-- `make docs` writes this table -->\n"  # it ends at the next blank line


def pages() -> dict[str, str]:
    """The path of each file that is written here, and its text."""
    rules = tuple(rule for rule in all_rules() if rule.__module__.startswith("mha_lint."))  # others may be installed
    written = {f"{FOLDER}/{rule.name}.md": page(rule) for rule in rules}
    written[f"{FOLDER}/{NAME}.md"] = PAGE
    written[f"{FOLDER}/README.md"] = "# Rules\n\n" + "".join(_index(rules))
    head, mark, rest = (ROOT / "README.md").read_text(encoding="utf-8").partition(MARK)
    assert mark, f"README.md has no line {MARK.strip()}"
    _, _, behind = rest.partition("\n\n")
    written["README.md"] = head + mark + "".join(_overview(rules)) + "\n" + behind
    return written


def stale() -> list[str]:
    """The paths of the files that are not as they should be: another text, missing, or of a rule that is gone."""
    wanted = pages()
    there = {path.relative_to(ROOT).as_posix() for path in (ROOT / FOLDER).glob("*.md")}
    differing = [path for path, text in wanted.items() if _text(path) != text]
    return sorted([*differing, *(there - wanted.keys())])


def _index(rules: tuple[type[Rule], ...]) -> Iterator[str]:
    yield "| code | name | severity | fix | why |\n|---|---|---|---|---|\n"
    for rule in rules:
        fix = rule.applicability or "none"
        yield f"| [{rule.code}]({rule.name}.md) | {rule.name} | {rule.severity} | {fix} | {rule.why} |\n"


def _overview(rules: tuple[type[Rule], ...]) -> Iterator[str]:
    yield "| code | name | severity | fix | what it finds |\n|---|---|---|---|---|\n"
    for rule in rules:
        link = f"[{rule.code}]({FOLDER}/{rule.name}.md)"
        severity = rule.severity if rule.default else f"{rule.severity}, off by default"
        fix = f"{rule.applicability}, *{rule.relation}*" if rule.applicability else "none"
        yield f"| {link} | {rule.name} | {severity} | {fix} | {rule.finds} |\n"


def _text(path: str) -> str | None:
    file = ROOT / path
    return file.read_text(encoding="utf-8") if file.exists() else None


def main() -> None:
    texts = pages()
    for path in stale():
        if path in texts:
            (ROOT / path).write_text(texts[path], encoding="utf-8")
            print(f"wrote {path}")
        else:
            (ROOT / path).unlink()
            print(f"deleted {path}: its rule is gone")


if __name__ == "__main__":
    main()
