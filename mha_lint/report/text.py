"""``--output-format full`` and ``concise``: reports for people."""

from __future__ import annotations

from collections.abc import Sequence

from mha_lint.findings import Edit, Verdict
from mha_lint.report import Entry, shown_path, tried
from mha_lint.report.excerpt import Changed, printable, small_diff, underline

_STYLES = {"bold": "1", "red": "31;1", "green": "32", "yellow": "33;1", "blue": "34;1", "minus": "31", "cyan": "36;1"}
_SEVERITY_STYLE = {"error": "red", "warning": "yellow", "info": "cyan"}
_VERDICT_STYLE = {
    "validated": "green",
    "refuted": "red",
    "shown wrong": "red",
    "not exercised": "yellow",
    "unavailable": "yellow",
}


def paint(text: str, style: str, colour: bool) -> str:
    """``text`` in an ANSI style, or as it is."""
    return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if colour and text else text


def paint_diff(row: str) -> str:
    """One row of a unified diff, its newline included, in the colours that git uses."""
    text = row.rstrip("\r\n")
    style = "bold" if text.startswith(("---", "+++")) else {"-": "minus", "+": "green", "@": "cyan"}.get(text[:1])
    return f"{paint(text, style, colour=True)}{row[len(text) :]}" if style else row


def concise(entries: Sequence[Entry], *, colour: bool = False) -> str:
    """One line a finding: ``path:row:column: CODE [*] message``; ``[*]`` marks what ``--fix`` tries."""
    lines = []
    for entry in entries:
        code = paint(entry.finding.code, "red", colour)
        lines.append(f"{_place(entry, colour)}: {code} {_mark(entry, colour)}{printable(entry.finding.message)}")
    return "\n".join(lines)


def full(entries: Sequence[Entry], *, colour: bool = False) -> str:
    """Each finding with its source underlined, why it matters, its fix as a diff, and what validation found."""
    return "\n\n".join(_full(entry, colour) for entry in entries)


def unfixed(entries: Sequence[Entry]) -> list[str]:
    """One line for each finding that no diff shows as its own, with the reason."""
    lines = []
    for entry in entries:
        if entry.gone:
            lines.append(f"{code_and_place(entry)} would be gone: {printable(entry.gone)}")
        elif not entry.fixed:
            lines.append(f"{code_and_place(entry)} would not be fixed: {_obstacle(entry)}")
    return lines


def _obstacle(entry: Entry) -> str:
    finding = entry.finding
    if finding.fix is None:
        return printable(finding.no_fix_reason) or "there is no fix"
    if finding.verdict is None and finding.fix.only_if_faster and not entry.offered:
        return "its fix may be slower (--bench tries it, and keeps it where it is faster)"
    if finding.verdict is None:
        return "not tried" if entry.offered else "its fix is unsafe (--unsafe-fixes allows it)"
    if entry.withheld:
        return f"withheld: {printable(entry.withheld)}"
    if finding.verdict.verdict == "validated":
        return "validated, but the file cannot be rewritten"
    return f"{finding.verdict.verdict}: {verdict_line(finding.verdict)}"


def code_and_place(entry: Entry) -> str:
    """``path:row:column: CODE``."""
    return f"{_place(entry, colour=False)}: {entry.finding.code}"


def _place(entry: Entry, colour: bool) -> str:
    path = paint(printable(shown_path(entry.finding.filename)), "bold", colour)
    return f"{path}:{entry.location()}"


def _mark(entry: Entry, colour: bool) -> str:
    if entry.fixed:
        return paint("[fixed]", "green", colour) + " "
    return paint("[*]", "cyan", colour) + " " if entry.offered else ""


def _full(entry: Entry, colour: bool) -> str:
    finding = entry.finding
    code = paint(f"{finding.code} {finding.severity}", _SEVERITY_STYLE[finding.severity], colour)
    lines = [f"{_place(entry, colour)}: {code}: {_mark(entry, colour)}{printable(finding.message)}"]

    span = underline(entry.text, finding.location, finding.end_location) if entry.text else None
    # What was refuted is not shown as something to do, nor what another fix has done.
    fix = None if finding.refuted or entry.gone else finding.fix
    changes = _changes(entry, fix.edits) if fix and entry.text else []
    row = str(entry.place(finding.location)[1].row)
    width = max(map(len, [row, *(label for label, _ in changes)]))

    def gutter(label: object = "", mark: str = "|") -> str:
        return paint(f"{label:>{width}} {mark}", "blue", colour)

    if span:
        lines += [gutter(), f"{gutter(row)} {span.source}"]
        lines.append(f"{gutter()} {paint(span.carets, _SEVERITY_STYLE[finding.severity], colour)}")
    lines.append(f"{gutter(mark='=')} {paint('why:', 'bold', colour)} {printable(finding.why)}")
    if fix:
        kind = paint(f"fix ({fix.applicability}, {fix.relation}):", "bold", colour)
        lines.append(f"{gutter(mark='=')} {kind} {printable(fix.message)}")
        for label, change in changes:
            shown = f"{change.sign} {change.source}".rstrip()
            lines.append(f"{gutter(label)} {paint(shown, 'minus' if change.sign == '-' else 'green', colour)}")
    elif entry.gone:
        lines.append(f"{gutter(mark='=')} {paint('gone:', 'bold', colour)} {printable(entry.gone)}")
    elif finding.no_fix_reason:
        lines.append(f"{gutter(mark='=')} {paint('no fix:', 'bold', colour)} {printable(finding.no_fix_reason)}")
    if finding.verdict:
        verdict = verdict_line(finding.verdict)
        name = paint(f"{finding.verdict.verdict}:", _VERDICT_STYLE[finding.verdict.verdict], colour)
        lines.append(f"{gutter(mark='=')} {name} {verdict}")
        if finding.verdict.verdict == "shown wrong":
            return "\n".join(lines)
        if words := tried.in_words(finding.verdict):
            lines.append(f"{gutter(mark='=')} {paint('tried:', 'bold', colour)} {printable(words)}")
        if finding.verdict.counterexample:
            shown = printable(finding.verdict.counterexample)
            lines.append(f"{gutter(mark='=')} {paint('shown wrong:', 'bold', colour)} {shown}")
    lines += [f"{gutter(mark='=')} {line}" for line in benched(entry, colour=colour)]
    return "\n".join(lines)


def benched(entry: Entry, *, colour: bool) -> list[str]:
    """The lines on how fast the fix is, where it was timed, and why it was withheld for that."""
    if entry.bench is None:
        return []
    from mha_lint.report.bench import headline, table

    lines = [f"{paint('bench:', 'bold', colour)} {headline(entry.bench)}"]
    if entry.withheld:
        lines.append(f"{paint('withheld:', 'yellow', colour)} {printable(entry.withheld)}")
    return lines + [f"  {line}" for line in table(entry.bench, colour=colour)]


def _changes(entry: Entry, edits: Sequence[Edit]) -> list[tuple[str, Changed]]:
    """The rows of the small diff of each cell, with their numbers as a reader counts.

    A row in another cell than the finding's goes with the number of that cell.
    """
    own, _ = entry.place(entry.finding.location)
    by_cell: dict[int | None, list[Edit]] = {}
    for edit in edits:
        by_cell.setdefault(entry.place(edit.start)[0], []).append(edit)
    changes: list[tuple[str, Changed]] = []
    for cell, group in sorted(by_cell.items(), key=lambda item: min(edit.start for edit in item[1])):
        start = group[0].start
        above = start.row - entry.place(start)[1].row
        prefix = "" if cell == own else f"{cell}:"
        changes += [(f"{prefix}{change.row - above}", change) for change in small_diff(entry.text, group)]
    return changes


def verdict_line(verdict: Verdict) -> str:
    """``module · cpu 24/24 · cuda 40/40 · bitwise`` when validated, the counterexample when shown wrong, else why."""
    if verdict.verdict == "shown wrong":
        return printable(verdict.counterexample)
    if verdict.verdict != "validated":
        return " ".join(printable(verdict.reason.replace("\n", " ")).split()) or "no reason is known"
    parts = [printable(verdict.harness or "")]
    for device in dict.fromkeys(trial.device for trial in verdict.trials):
        ran = [trial for trial in verdict.trials if trial.device == device and trial.outcome != "skipped"]
        if ran:
            parts.append(f"{printable(device)} {sum(trial.outcome == 'agree' for trial in ran)}/{len(ran)}")
    parts += ["bitwise"] * verdict.bitwise + ["from cache"] * verdict.cached
    parts.append(printable(verdict.caveat))
    return " · ".join(part for part in parts if part)
