"""Prints what came of a run: the report, the errors, the summary."""

from __future__ import annotations

import argparse
import os
import re
import stat
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TextIO

from msgspec.structs import replace

import mha_lint
from mha_lint.report.formats import FOR_PEOPLE, FORMATS, STATISTICS, WITH_DIFF
from mha_lint.settings import SettingsError

if TYPE_CHECKING:
    from mha_lint.files import Source
    from mha_lint.report import Entry, Report, RulePage
    from mha_lint.runner import Outcome, Plan


def open_report(path: Path) -> BinaryIO:
    """Open the file of ``--output-file``; what it holds stays until there is a report. Raises SettingsError."""
    try:
        return open(path, "ab")
    except OSError as error:
        raise _unwritable(path, error) from error


def show(
    options: argparse.Namespace,
    plan: Plan,
    outcome: Outcome,
    report_file: BinaryIO | None,
    report_to: TextIO,
) -> None:
    """Print what came of a run: the report to ``report_file``, or else to ``report_to``, where the summary goes too.

    All else goes to stderr. Raises :class:`SettingsError` when the report file cannot be written after all.
    """
    if options.verbose:
        print(f"settings: {_fit(', '.join(map(str, outcome.settings)) or 'defaults')}", file=sys.stderr)
        print(f"files: {outcome.files}, of which {outcome.cached} from the cache", file=sys.stderr)
        for detail in outcome.details:
            print(_fit(detail), file=sys.stderr, end="")
    showing_diff = options.diff and options.output_format in WITH_DIFF
    if report_file or options.quiet < 2:
        report = (
            _diff(
                outcome,
                colour=not report_file and _colour(report_to, options.color),
                to_terminal=not report_file and report_to.isatty(),
            )
            if showing_diff
            else _rendered(options, outcome, plan.cache, report_to)
        )
    if report_file:
        _write_file(report_file, report, options.output_file)
    if options.quiet < 2:
        for error in outcome.errors:
            complain(str(error))
        if report and not report_file:
            write_bytes(report, report_to)
        if showing_diff:
            from mha_lint.report.text import unfixed

            for line in unfixed(outcome.entries):
                print(line, file=sys.stderr)
            _show_benches(outcome.entries, options.color)
    for_people = options.output_format in FOR_PEOPLE and not options.diff and not options.output_file
    summary_to = report_to if for_people else sys.stderr
    if options.show_fixes and plan.fix == "write" and options.quiet < 2:
        from mha_lint.report.summary import fixes_by_file

        if listed := fixes_by_file(outcome.entries):
            write_bytes(f"{listed}\n\n".encode(errors="backslashreplace"), summary_to)
    if not options.quiet:
        from mha_lint.report.summary import summary

        text = summary(
            outcome.entries,
            fixing=plan.fix != "no",
            diff=options.diff,
            verify=plan.fix == "verify",
            errors=len(outcome.errors),
        )
        if plan.scope is not None:
            from shlex import join

            command = join(["mha-lint", *map(str, options.paths)])
            text = "\n".join([text, *map(_fit, plan.scope.notes(outcome.looked_at, command))])
        write_bytes(f"{text}\n".encode(), summary_to)


def _show_benches(entries: Sequence[Entry], color: str) -> None:
    """Beside a diff, which holds no timings: those of its fixes, on stderr."""
    from mha_lint.report.text import benched, code_and_place

    for entry in entries:
        if entry.bench is not None:
            lines = [code_and_place(entry), *benched(entry, colour=_colour(sys.stderr, color))]
            print("\n  ".join(lines), file=sys.stderr)


def _report(outcome: Outcome, cache: Path | None, *, diff: bool, rules: bool) -> Report:
    """What a format renders, with pages of rules if it asks for ``rules``. After ``diff`` nothing is fixed yet."""
    from mha_lint.report import Report

    entries = [replace(entry, fixed=False) for entry in outcome.entries] if diff else outcome.entries
    if rules:  # SARIF, which has a place for what is suppressed
        entries = [*entries, *outcome.suppressed]
    pages: Sequence[RulePage] = ()
    if rules:
        from mha_lint.cache import pages_of

        pages = pages_of(cache, (entry.finding.code for entry in entries))
    return Report(entries, outcome.errors, outcome.files, pages, mha_lint.__version__)


def _rendered(options: argparse.Namespace, outcome: Outcome, cache: Path | None, stream: TextIO) -> bytes:
    kind = options.output_format
    table = STATISTICS if options.statistics else FORMATS
    if not outcome.entries and kind in FOR_PEOPLE:
        return b""
    report = _report(outcome, cache, diff=options.diff, rules=kind == "sarif" and not options.statistics)
    module, _, function = table[kind].partition(":")
    render: Callable[..., str] = getattr(import_module(f"mha_lint.report.{module}"), function)
    if table is FORMATS and kind in FOR_PEOPLE:
        rendered = render(report.entries, colour=not options.output_file and _colour(stream, options.color))
        rendered += "\n" if kind == "full" and rendered else ""  # an empty line before the summary
    else:
        rendered = render(report)
    encoding = "utf-8" if options.output_file else stream.encoding or "utf-8"
    return f"{rendered}\n".encode(encoding, "backslashreplace") if rendered else b""


def _colour(stream: TextIO, color: str) -> bool:
    """Decide as ruff does: ``--color``, then https://no-color.org, then https://force-color.org, then the terminal."""
    if color != "auto":
        return color == "always"
    if os.environ.get("NO_COLOR"):
        return False
    return any(os.environ.get(name) for name in ("FORCE_COLOR", "CLICOLOR_FORCE")) or (
        stream.isatty() and os.environ.get("TERM") != "dumb"
    )


def _diff(outcome: Outcome, colour: bool, to_terminal: bool) -> bytes:
    """A unified diff that ``patch -p0`` applies: each file in its own encoding, with its own newlines.

    Of a notebook it shows the cells, one by one, as they are read.
    On a terminal it lacks control characters, which nobody can apply from there anyway.
    """
    from difflib import unified_diff

    from mha_lint.report.text import paint_diff

    chunks = []
    for source, text in outcome.rewritten:
        for name, *versions in _versions(source, text):
            before, after = (re.findall(r"[^\n]*\n|[^\n]+", version) for version in versions)
            for line in unified_diff(before, after, name, name):
                ended = line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"
                ended = _fit(ended) if to_terminal else ended
                shown = paint_diff(ended) if colour else ended
                chunks.append(shown.encode(source.encoding, "backslashreplace"))
    return b"".join(chunks)


def _versions(source: Source, text: str) -> list[tuple[str, str, str]]:
    """The name, the text before and the text after: of a file, or of each cell of a notebook that has changed."""
    from mha_lint.report import shown_path

    name = shown_path(str(source.path))
    if source.notebook is None:
        return [(name, source.text, text)]
    from mha_lint.notebook_writing import changed

    return [(f"{name}:cell {number}", before, after) for number, before, after in changed(source.notebook, text)]


def _write_file(file: BinaryIO, report: bytes, path: Path) -> None:
    try:
        with file:
            if stat.S_ISREG(os.fstat(file.fileno()).st_mode):  # no pipe, no device
                file.truncate(0)
            file.write(report)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: object, error: OSError) -> SettingsError:
    return SettingsError(f"{path}: the report cannot be written: {(error.strerror or str(error)).lower()}")


def write_bytes(data: bytes, stream: TextIO | None = None) -> None:
    """Write to a stream (stdout) as it is, without translating newlines or encoding.

    Raises BrokenPipeError when nobody reads any more, and :class:`SettingsError` when it cannot be written.
    """
    stream = stream or sys.stdout
    try:
        stream.flush()
        stream.buffer.write(data)
        stream.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise _unwritable("stdout" if stream is sys.stdout else stream.name, error) from error


def _fit(text: str) -> str:
    """Return the text without control characters: names and sources may hold anything."""
    from mha_lint.report.excerpt import printable_lines

    return printable_lines(text)


def say(text: str) -> None:
    """Write a text and a newline to stdout. Raises as :func:`write_bytes` does."""
    write_bytes(f"{_fit(text)}\n".encode(sys.stdout.encoding or "utf-8", "backslashreplace"))


def complain(message: str) -> None:
    """One line on stderr about what failed."""
    print(f"error: {_fit(message)}", file=sys.stderr)


def warn(message: str) -> None:
    """One line on stderr about what was left out."""
    print(f"warning: {_fit(message)}", file=sys.stderr)
