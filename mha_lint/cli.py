"""The command: options become settings and a plan, an outcome becomes output and an exit status."""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from mha_lint.options import parser
from mha_lint.settings import Settings, SettingsError, close_match, find_settings, read_settings

if TYPE_CHECKING:
    from mha_lint.files import Source, SourceError
    from mha_lint.report import Entry
    from mha_lint.runner import Outcome, Plan

CLEAN, FINDINGS, FAILED, INTERRUPTED, TERMINATED = 0, 1, 2, 130, 143

_STDIN = Path("-")


def entry() -> None:
    """The console script."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # file names need not be valid text, nor terminals UTF-8
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))  # leave through the same doors as Ctrl-C
    try:
        status = main()
        sys.stdout.flush()
    except BrokenPipeError:  # `mha-lint | head`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = FINDINGS
    sys.exit(status)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status. Wrong usage raises SystemExit(2), as argparse does."""
    options = parser().parse_args(argv)
    try:
        if options.list_rules:
            return _list_rules()
        if options.explain:
            return _explain(options.explain)
        return _check(options)
    except SettingsError as error:
        _complain(str(error))
        return FAILED
    except KeyboardInterrupt:
        print("interrupted: each file is either as it was or wholly fixed", file=sys.stderr)
        return INTERRUPTED


def _check(options: argparse.Namespace) -> int:
    from mha_lint.progress import Progress, in_terminal
    from mha_lint.runner import RunError, run

    paths = options.paths or [Path()]
    from_stdin = _STDIN in paths
    if from_stdin and len(paths) > 1:
        raise SettingsError("- (stdin) cannot be combined with other paths")
    settings = _settings(options, paths)
    plan = _plan(options, settings, from_stdin)
    stdin = sys.stdin.buffer.read() if from_stdin else b""
    items = [_decoded(options.stdin_filename or _STDIN, stdin)] if from_stdin else _found(paths, settings, options)
    filtering = from_stdin and options.fix and not options.diff  # stdout is the fixed source
    try:
        with Progress(enabled=in_terminal() and not options.quiet) as progress:
            outcome = run(items, settings, plan, progress)
    except RunError as error:
        _complain(str(error))
        if filtering:
            _write_bytes(stdin)
        return FAILED
    if filtering:
        from mha_lint.files import encode

        _write_bytes(next((encode(source, text) for source, text in outcome.rewritten), stdin))
    _show(options, settings, plan, outcome, report_to=sys.stderr if filtering else sys.stdout)
    return _status(options, outcome)


def _decoded(path: Path, data: bytes) -> Source | SourceError:
    from mha_lint.files import SourceError, decode

    try:
        return decode(path, data)
    except SourceError as error:
        return error


def _found(paths: Sequence[Path], settings: Settings, options: argparse.Namespace) -> list[Path | SourceError]:
    from mha_lint.files import discover

    items = list(discover(paths, settings.excluded, settings.root))
    if not items and not options.quiet:
        print("warning: no Python files found under the given paths", file=sys.stderr)
    return items


def _settings(options: argparse.Namespace, paths: Sequence[Path]) -> Settings:
    if options.isolated:
        settings = Settings()
    elif options.config:
        settings = read_settings(options.config)
    else:
        settings = find_settings(_start(options, paths))
    select = tuple(options.select) if options.select is not None else None
    settings = settings.with_selection(select, tuple(options.extend_select), tuple(options.ignore))
    return settings if options.unsafe_fixes is None else replace(settings, unsafe_fixes=options.unsafe_fixes)


def _start(options: argparse.Namespace, paths: Sequence[Path]) -> Path:
    """The folder that all paths share: from there upwards pyproject.toml is looked for."""
    if _STDIN in paths:
        paths = [options.stdin_filename or Path.cwd() / "stdin"]
    absolute = [os.path.abspath(path) for path in paths]
    try:
        shared = Path(os.path.commonpath(absolute))
    except ValueError:  # on different drives
        return Path.cwd()
    return shared if shared.is_dir() else shared.parent


def _plan(options: argparse.Namespace, settings: Settings, from_stdin: bool) -> Plan:
    from mha_lint.runner import Plan

    cache = None
    if not options.no_cache:
        from mha_lint.cache import prepare

        cache = prepare(settings.root)
    return Plan(
        fix="diff" if options.diff or (options.fix and from_stdin) else "write" if options.fix else "no",
        devices=options.device,
        require=options.require_device,
        jobs=options.jobs,
        cache=cache,
    )


# --- showing what came of it


def _status(options: argparse.Namespace, outcome: Outcome) -> int:
    if outcome.errors:
        return FAILED
    if options.exit_zero:
        return CLEAN
    if options.diff:
        return FINDINGS if outcome.rewritten else CLEAN
    fixed = any(entry.fixed for entry in outcome.entries)
    remaining = any(not entry.fixed for entry in outcome.entries)
    return FINDINGS if remaining or (fixed and options.exit_non_zero_on_fix) else CLEAN


def _show(options: argparse.Namespace, settings: Settings, plan: Plan, outcome: Outcome, report_to: TextIO) -> None:
    if options.verbose:
        print(f"settings: {settings.file or 'defaults'}", file=sys.stderr)
        print(f"files: {outcome.files}, of which {outcome.cached} from the cache", file=sys.stderr)
        for detail in outcome.details:
            print(detail, file=sys.stderr, end="")
    if options.quiet < 2:
        for error in outcome.errors:
            _complain(error)
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


def _write_bytes(data: bytes) -> None:
    sys.stdout.flush()
    sys.stdout.buffer.write(data)
    sys.stdout.flush()


def _complain(message: str) -> None:
    print(f"error: {message}", file=sys.stderr)


# --- questions about rules


def _list_rules() -> int:
    from mha_lint.rules import all_rules

    rows = [("code", "name", "severity", "fix", "default")]
    for rule in all_rules():
        rows.append((rule.code, rule.name, rule.severity, rule.applicability or "-", "on" if rule.default else "off"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return CLEAN


def _explain(wanted: str) -> int:
    from inspect import cleandoc

    from mha_lint.rules import all_rules

    rules = {rule.code: rule for rule in all_rules()}
    rule = rules.get(wanted.upper()) or next((rule for rule in rules.values() if rule.name == wanted.lower()), None)
    if rule is None:
        raise SettingsError(f"--explain: unknown rule code {wanted!r}{close_match(wanted.upper(), rules)}")
    print(f"# {rule.code} {rule.name}\n\n{cleandoc(rule.__doc__ or '')}")
    return CLEAN
