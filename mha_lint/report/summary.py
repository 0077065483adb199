"""The line that ends a run: how many findings, what became of them, and on which devices fixes were executed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from mha_lint.findings import SEVERITIES
from mha_lint.report import Entry, shown_path
from mha_lint.report.excerpt import printable_lines

_FIRST = "each is validated by execution first"
_STUBS = 3  # how many attempts to show: each is a few lines
_HARNESS = (
    "Where no way was found to run the code, it helps to construct the class with literal arguments in its own file, "
    "to give its parameters defaults or annotations, or to say in pyproject.toml how it is run. "
    "The attempts that got furthest, to be corrected:"
)


def summary(
    entries: Sequence[Entry], *, fixing: bool, diff: bool = False, verify: bool = False, errors: int = 0
) -> str:
    """The summary of a run that only linted, or executed code (``fixing``).

    With ``diff`` it showed what it would fix, with ``verify`` it validated all fixes and wrote none.
    """
    if not entries:
        if errors:
            return f"No findings, but {counted(errors, 'error')}."
        return "All checks passed."
    total = f"Found {counted(len(entries), 'finding')}{severities(entries)}"
    if not fixing:
        return _hinted(f"{total}.", entries)
    validated = "with a validated fix" if verify else "not written"
    fates = Counter(_fate(entry, diff, validated) for entry in entries)
    listed = ", ".join(f"{fates[fate]} {fate}" for fate in _order(diff, validated) if fates[fate])
    found = f"{total}: {listed}{_devices(entries)}."
    stubs = dict.fromkeys(e.finding.verdict.stub for e in entries if e.finding.verdict and e.finding.verdict.stub)
    shown = [stub.rstrip() for stub in stubs][:_STUBS]
    more = [f"({len(stubs) - _STUBS} more are in the JSON report)"] if len(stubs) > _STUBS else []
    return printable_lines("\n\n".join([f"{found}\n{_HARNESS}", *shown, *more]) if stubs else found)


def fixes_by_file(entries: Sequence[Entry]) -> str:
    """What was fixed in which file, rule by rule, as ``--show-fixes`` of ruff lists it; "" where nothing was."""
    files: dict[str, Counter[tuple[str, str]]] = {}
    for entry in entries:
        if entry.fixed:
            rules = files.setdefault(shown_path(entry.finding.filename), Counter())
            rules[entry.finding.code, entry.finding.name] += 1
    if not files:
        return ""
    lines = [f"Fixed {counted(sum(rules.total() for rules in files.values()), 'finding')}:"]
    for path, rules in files.items():
        lines.append(f"- {path}:")
        lines += [f"    {count} × {code} ({name})" for (code, name), count in sorted(rules.items())]
    return printable_lines("\n".join(lines))


def counted(number: int, noun: str) -> str:
    """``1 finding``, ``2 findings``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def severities(entries: Sequence[Entry]) -> str:
    """`` (2 errors, 1 warning)``: the number of findings of each severity, the gravest first."""
    counts = Counter(entry.finding.severity for entry in entries)
    present = [severity for severity in reversed(SEVERITIES) if counts[severity]]
    listed = [f"{counts[each]} info" if each == "info" else counted(counts[each], each) for each in present]
    return f" ({', '.join(listed)})"


def _hinted(total: str, entries: Sequence[Entry]) -> str:
    safe = sum(entry.offered for entry in entries)
    risky = sum(entry.finding.fixable(unsafe=True) and not entry.offered for entry in entries)
    hints = []
    if safe:
        hints.append(f"{safe} may be fixed with --fix ({_FIRST})")
    if risky:
        options = "--fix --unsafe-fixes"
        hints.append(f"{risky} more with --unsafe-fixes" if safe else f"{risky} may be fixed with {options} ({_FIRST})")
    return f"{total}\n{'; '.join(hints)}." if hints else total


def _order(diff: bool, validated: str) -> tuple[str, ...]:
    fixed = "would be fixed" if diff else "fixed"
    return (
        fixed,
        validated,
        "withheld, since not faster",
        "refuted",
        "not exercised",
        "unavailable",
        "fixable only with --unsafe-fixes",
        "tried only with --bench",
        "shown wrong, without a fix",
        "without a fix",
    )


def _fate(entry: Entry, diff: bool, validated: str) -> str:
    finding = entry.finding
    if entry.fixed:
        return _order(diff, validated)[0]
    if finding.fix is None:
        is_shown = finding.verdict is not None and finding.verdict.verdict == "shown wrong"
        return "shown wrong, without a fix" if is_shown else "without a fix"
    if entry.withheld:
        return "withheld, since not faster"
    if finding.verdict is None and not entry.offered and finding.fix.only_if_faster:
        return "tried only with --bench"
    if finding.verdict is None and not entry.offered:
        return "fixable only with --unsafe-fixes"
    if finding.verdict is None or finding.verdict.verdict == "validated":
        return validated
    return finding.verdict.verdict


def _devices(entries: Sequence[Entry]) -> str:
    """The devices on which trials of the validated fixes ran (or of the others, when none was), by name."""
    verdicts = [entry.finding.verdict for entry in entries if entry.finding.verdict]
    validated = [verdict for verdict in verdicts if verdict.verdict == "validated"]
    names: dict[str, str] = {}
    for verdict in validated or verdicts:
        known = dict(verdict.device_names)
        for trial in verdict.trials:
            if trial.outcome != "skipped":
                names[trial.device] = "" if trial.device == "cpu" else known.get(trial.device, "")
    listed = ", ".join(f"{device}: {name}" if name else device for device, name in sorted(names.items()))
    verb = "validated" if validated else "executed"
    return f" ({verb} on {listed})" if listed else ""
