"""What a run prints, and where: the report, the errors, the summary."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from mha_lint.settings import Settings, SettingsError

if TYPE_CHECKING:
    from mha_lint.report import Entry
    from mha_lint.runner import Outcome, Plan


def show(options: argparse.Namespace, settings: Settings, plan: Plan, outcome: Outcome, report_to: TextIO) -> None:
    """Print what came of a run: the report and its summary to ``report_to``, all else to stderr."""
    if options.verbose:
        print(f"settings: {settings.file or 'defaults'}", file=sys.stderr)
        print(f"files: {outcome.files}, of which {outcome.cached} from the cache", file=sys.stderr)
        for detail in outcome.details:
            print(detail, file=sys.stderr, end="")
    if options.quiet < 2:
        for error in outcome.errors:
            complain(error)
        showing_diff = options.diff and options.output_format != "json"
        report = _diff(outcome) if showing_diff else _report(options, outcome.entries, report_to)
        if options.output_file:
            _write_file(options.output_file, report)
        elif report:
            report_to.flush()
            report_to.buffer.write(report)
            report_to.flush()
    if not options.quiet:
        from mha_lint.report.summary import summary

        text = summary(
            outcome.entries,
            fixing=plan.fix != "no",
            diff=options.diff,
            unsafe=settings.unsafe_fixes,
            errors=len(outcome.errors),
        )
        for_people = options.output_format in ("full", "concise") and not options.diff and not options.output_file
        print(text, file=report_to if for_people else sys.stderr)


def _report(options: argparse.Namespace, entries: Sequence[Entry], stream: TextIO) -> bytes:
    from mha_lint.report import github, json, text

    kind = options.output_format
    colour = not options.output_file and _colour(stream)
    if options.statistics:
        rendered = text.statistics_json(entries) if kind == "json" else text.statistics(entries)
    elif kind == "json":
        rendered = json.render(entries)
    elif kind == "github":
        rendered = github.render(entries)
    elif kind == "concise":
        rendered = text.concise(entries, colour=colour)
    else:
        rendered = text.full(entries, colour=colour)
        rendered += "\n" if rendered else ""  # an empty line before the summary
    encoding = "utf-8" if options.output_file else stream.encoding or "utf-8"
    return f"{rendered}\n".encode(encoding, "backslashreplace") if rendered else b""


def _colour(stream: TextIO) -> bool:
    """As https://no-color.org and https://force-color.org ask."""
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or (stream.isatty() and os.environ.get("TERM") != "dumb")


def _diff(outcome: Outcome) -> bytes:
    """A unified diff that ``patch -p0`` applies: each file in its own encoding, with its own newlines."""
    from difflib import unified_diff

    from mha_lint.report.text import shown_path

    chunks = []
    for source, text in outcome.rewritten:
        name = shown_path(str(source.path))
        before, after = (re.findall(r"[^\n]*\n|[^\n]+", version) for version in (source.text, text))
        for line in unified_diff(before, after, name, name):
            ended = line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"
            chunks.append(ended.encode(source.encoding, "backslashreplace"))
    return b"".join(chunks)


def _write_file(path: Path, report: bytes) -> None:
    try:
        path.write_bytes(report)
    except OSError as error:
        raise SettingsError(
            f"{path}: the report cannot be written: {(error.strerror or str(error)).lower()}"
        ) from error


def write_bytes(data: bytes) -> None:
    """Write to stdout as it is, without translating newlines or encoding."""
    sys.stdout.flush()
    sys.stdout.buffer.write(data)
    sys.stdout.flush()


def complain(message: str) -> None:
    """One line on stderr."""
    print(f"error: {message}", file=sys.stderr)
