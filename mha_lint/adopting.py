"""``--add-noqa`` and ``--write-baseline``: what is found is written down, and not reported."""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from mha_lint.baseline import is_silenceable, read_baseline, write_baseline
from mha_lint.files import Source, SourceError, read_source, write_source
from mha_lint.output import complain, say, warn
from mha_lint.settings import SettingsError

if TYPE_CHECKING:
    from mha_lint.findings import Finding
    from mha_lint.report import Entry
    from mha_lint.runner import Outcome
    from mha_lint.scope import Scope

_LIKE_A_CODE = re.compile(r"[,\s]*[A-Z]+[0-9]", re.IGNORECASE)
_EXECUTING = ("fix", "diff", "verify")


def check(options: argparse.Namespace, from_stdin: bool) -> None:
    """Refuse options that do not go together. Raises :class:`SettingsError`."""
    if options.reason is not None:
        if not options.add_noqa:
            raise SettingsError("--reason needs --add-noqa: it is written behind the codes")
        if not options.reason.isprintable():
            raise SettingsError("--reason must be one line, without control characters")
        if _LIKE_A_CODE.match(options.reason):
            raise SettingsError(f"--reason begins like a code, and would be read as one: {options.reason!r}")
    writer = "--add-noqa" if options.add_noqa else "--write-baseline"
    others = [name for name in _EXECUTING if getattr(options, name)]
    if others:
        raise SettingsError(f"{writer} executes nothing: it cannot be combined with --{others[0]}")
    if options.write_baseline is None:
        if from_stdin:
            raise SettingsError("--add-noqa writes files: it cannot be combined with - (stdin)")
        return
    for other in ("add_noqa", "diff_base", "baseline"):
        if getattr(options, other):
            option = f"--{other.replace('_', '-')}"
            raise SettingsError(f"--write-baseline writes all findings: it cannot be combined with {option}")
    if from_stdin and not options.stdin_filename:
        raise SettingsError("--write-baseline needs --stdin-filename to know the file that comes from stdin")


def finish(options: argparse.Namespace, outcome: Outcome, scope: Scope | None) -> int:
    """Write what the run has found, and say so. Return the exit status: 2 where something could not be read or written.

    Raises:
        SettingsError: the baseline can't be read, or not be written.
    """
    if options.add_noqa:
        done = _add_comments(outcome, (options.reason or "").strip())
    else:
        done = _write_baseline(options.write_baseline, outcome, scope)
    broken = [entry for entry in outcome.entries if not is_silenceable(entry.finding)]
    if options.quiet < 2:
        for error in outcome.errors:
            complain(str(error))
        for entry in broken:
            warn(f"{entry.finding.filename}:{entry.location()}: {entry.finding.message}; nothing silences it")
    if not options.quiet:
        say(done)
    return 2 if outcome.errors else 0


def _add_comments(outcome: Outcome, reason: str) -> str:
    by_file: dict[str, list[Entry]] = {}
    for entry in outcome.entries:
        if is_silenceable(entry.finding):
            by_file.setdefault(entry.finding.filename, []).append(entry)
    added = 0
    for filename, entries in by_file.items():
        try:
            added += _add_to(read_source(Path(filename)), entries[0].text, [each.finding for each in entries], reason)
        except SourceError as error:
            outcome.errors.append(error.failure)
    return f"Added {_count(added, 'noqa comment')}."


def _add_to(source: Source, linted: str, findings: list[Finding], reason: str) -> int:
    from mha_lint.adding_noqa import with_comments

    if source.text != linted:
        raise SourceError(source.path, "changed on disk since it was linted; left alone")
    text, count = with_comments(source, findings, reason)
    write_source(source, text)
    return count


def _write_baseline(file: Path, outcome: Outcome, scope: Scope | None) -> str:
    """What an earlier baseline says of files and rules that this run did not look at is kept."""
    kept = {}
    if scope is not None and file.exists():
        before = read_baseline(file)
        looked_at = {os.path.abspath(path) for path in outcome.looked_at}
        kept = {key: count for key, count in before.counts.items() if not scope.covers(before, key, looked_at)}
    findings = [entry.finding for entry in outcome.entries]
    written = write_baseline(file, findings, kept)
    others = f", and kept {_count(sum(kept.values()), 'other')}" if kept else ""
    return f"Wrote {_count(sum(written.values()) - sum(kept.values()), 'finding')} to {file}{others}."


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
