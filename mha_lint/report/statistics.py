"""``--statistics``: how many findings each rule has, as text, as JSON, and as a table in Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from mha_lint.report import Entry, Report, url


class Count(Struct, frozen=True):
    """The findings of one rule: how many there are, and of how many of them ``--fix`` tries the fix."""

    code: str
    name: str
    url: str
    total: int
    fixable: int

    @property
    def mark(self) -> str:
        """``[*]`` where ``--fix`` tries all of them, ``[-]`` where it tries some, ``[ ]`` where it tries none."""
        if not self.fixable:
            return "[ ]"
        return "[*]" if self.fixable == self.total else "[-]"


def counts(entries: Sequence[Entry]) -> list[Count]:
    """The rules with findings, the most frequent first."""
    by_rule: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        by_rule.setdefault((entry.finding.code, entry.finding.name), []).append(entry)
    found = [
        Count(code, name, url(group[0].finding), len(group), sum(entry.offered for entry in group))
        for (code, name), group in by_rule.items()
    ]
    return sorted(found, key=lambda each: (-each.total, each.code))


def as_text(report: Report) -> str:
    """One line a rule."""
    rows = counts(report.entries)
    width = max((len(str(row.total)) for row in rows), default=0)
    return "\n".join(f"{row.total:>{width}}  {row.code}  {row.mark} {row.name}" for row in rows)


def as_json(report: Report) -> str:
    """The same for programs; its schema is docs/schema/statistics.schema.json."""
    from mha_lint.report import records

    rules = [
        records.RuleCount(row.code, row.name, row.total, row.fixable > 0, row.fixable) for row in counts(report.entries)
    ]
    errors = [records.failure(each) for each in report.failures]
    return records.written(records.Statistics(records.VERSION, report.files, rules, errors))


def as_markdown(report: Report) -> str:
    """The same as a table."""
    from mha_lint.report.markdown import HEADING, escaped, failures

    lines = [HEADING, ""]
    rows = counts(report.entries)
    if rows:
        lines += ["| findings | rule | fix | name |", "|---:|---|---|---|"]
    for row in rows:
        fix = f"{row.fixable} with `--fix`" if row.fixable else ""
        lines.append(f"| {row.total} | [{row.code}]({row.url}) | {fix} | {escaped(row.name)} |")
    return "\n".join([*lines, *failures(report)] if rows or report.failures else [*lines, "No findings."])
