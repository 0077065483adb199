"""The command: options become settings and a plan, an outcome becomes an exit status."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from mha_lint.options import parser
from mha_lint.output import complain, open_report, show, write_bytes
from mha_lint.settings import Settings, SettingsError, close_match, find_settings, read_settings

if TYPE_CHECKING:
    from mha_lint.files import Source, SourceError
    from mha_lint.runner import Outcome, Plan

CLEAN, FINDINGS, FAILED, INTERRUPTED, PIPE_CLOSED, TERMINATED = 0, 1, 2, 130, 141, 143

_STDIN = Path("-")


def entry() -> None:
    """The command, for a process of its own."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # file names need not be valid text, nor terminals UTF-8
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))  # leave through the same doors as Ctrl-C
    try:
        status = main()
        write_bytes(b"")
    except BrokenPipeError:  # `mha-lint | head`: the reader has seen enough
        status = PIPE_CLOSED
        _silence(sys.stdout, sys.stderr)
    except SettingsError:  # a full disk behind stdout: main() has said so, or stderr is as full
        status = FAILED
        _silence(sys.stdout)
    sys.exit(status)


def _silence(*streams: TextIO) -> None:
    """Let go what is still to be written, which Python would try again on its way out."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in streams:
        os.dup2(nowhere, stream.fileno())


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status. Wrong usage raises SystemExit(2), as argparse does."""
    options = parser().parse_args(argv)
    try:
        if options.list_rules:
            return _list_rules()
        if options.explain:
            return _explain(options.explain)
        if options.debug_model:
            return _debug_model(options.debug_model)
        if options.replay:
            return _replay(options)
        if options.probe:
            return _probe(options)
        return _check(options)
    except SettingsError as error:
        complain(str(error))
        return FAILED
    except KeyboardInterrupt:
        print("interrupted: each file is either as it was or wholly fixed", file=sys.stderr)
        return INTERRUPTED


def _check(options: argparse.Namespace) -> int:
    from mha_lint.progress import Progress, in_terminal
    from mha_lint.runner import RunError, run

    try:
        os.getcwd()
    except OSError as error:
        raise SettingsError("the working directory does not exist any more") from error
    paths = options.paths or [Path()]
    from_stdin = _STDIN in paths
    if from_stdin and len(paths) > 1:
        raise SettingsError("- (stdin) cannot be combined with other paths")
    settings = _settings(options, paths)
    plan = _plan(options, settings, from_stdin)
    if options.evidence and plan.fix == "no":
        raise SettingsError("--evidence needs --fix or --diff: linting alone executes nothing")
    report_file = open_report(options.output_file) if options.output_file else None  # before anything is written
    stdin = sys.stdin.buffer.read() if from_stdin else b""
    items = _given(options, settings, stdin) if from_stdin else _found(paths, settings, options)
    filtering = from_stdin and options.fix and not options.diff  # stdout is the fixed source
    try:
        with Progress(enabled=in_terminal() and not options.quiet) as progress:
            outcome = run(items, settings, plan, progress)
    except RunError as error:
        complain(str(error))
        if filtering:
            write_bytes(stdin)
        return FAILED
    if filtering:
        from mha_lint.files import encode

        write_bytes(next((encode(source, text) for source, text in outcome.rewritten), stdin))
    if from_stdin and not options.stdin_filename:
        outcome.entries = [replace(e, finding=replace(e.finding, filename=str(_STDIN))) for e in outcome.entries]
    show(options, settings, plan, outcome, report_file, report_to=sys.stderr if filtering else sys.stdout)
    return _status(options, outcome)


def _given(options: argparse.Namespace, settings: Settings, data: bytes) -> list[Source | SourceError]:
    """What came through stdin."""
    from mha_lint.files import SourceError, decode, matches

    path: Path = options.stdin_filename or _STDIN
    if options.force_exclude and matches(Path(os.path.abspath(path)), settings.excluded, settings.root):
        return []
    try:
        return [decode(path, data)]
    except SourceError as error:
        return [error]


def _found(paths: Sequence[Path], settings: Settings, options: argparse.Namespace) -> list[Path | SourceError]:
    from mha_lint.files import discover

    items = discover(paths, settings.excluded, settings.root, force_exclude=options.force_exclude)
    if not items and not options.force_exclude and not options.quiet:
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
    if options.unsafe_fixes is not None:
        settings = replace(settings, unsafe_fixes=options.unsafe_fixes)
    return settings if options.also is None else replace(settings, also=options.also)


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
        evidence=options.evidence,
    )


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


# --- questions about a file and about rules


def _debug_model(path: Path) -> int:
    from mha_lint.files import SourceError, read_source
    from mha_lint.linter import modelled
    from mha_lint.model.description import debug_model

    try:
        print(debug_model(*modelled(read_source(path))), end="")
    except SourceError as error:
        raise SettingsError(str(error)) from error
    return CLEAN


def _replay(options: argparse.Namespace) -> int:
    from mha_lint.replay import ReplayError, replay

    try:
        return CLEAN if replay(options.replay, options.device, options.require_device) else FINDINGS
    except ReplayError as error:
        raise SettingsError(str(error)) from error


def _probe(options: argparse.Namespace) -> int:
    from mha_lint.probing import ProbingError, locate, probe, show

    try:
        subject = locate(options.probe)
        settings = _settings(options, [subject.path])
        probed = probe(subject, settings, options.device, options.require_device)
        print(show(subject, probed, options.output_format))
    except ProbingError as error:
        raise SettingsError(str(error)) from error
    violated = any(each.outcome == "violated" for seen in probed.observations.values() for each in seen)
    return FINDINGS if violated and not options.exit_zero else CLEAN


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
    title = f"# {rule.code} {rule.name}"
    page = cleandoc(rule.__doc__ or "")
    print(page if page.startswith(title) else f"{title}\n\n{page}")  # a rule of others may be documented otherwise
    return CLEAN
