"""The command: options become settings and a plan, an outcome becomes an exit status."""

from __future__ import annotations

import argparse
import gc
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TextIO

from msgspec.structs import replace

from mha_lint.configuration import Configuration, read_settings
from mha_lint.findings import SEVERITIES, SYNTAX_ERROR, Failure
from mha_lint.options import parser
from mha_lint.output import complain, open_report, say, show, warn, write_bytes
from mha_lint.report.formats import FOR_PEOPLE, STATISTICS
from mha_lint.settings import Settings, SettingsError, close_match, resolved
from mha_lint.settings_file import INLINE, Layer, inline_layer, parse_values, rooted
from mha_lint.shortcut import INTERRUPTION

if TYPE_CHECKING:
    from mha_lint.bench.wanted import Wanted
    from mha_lint.files import Source, SourceError
    from mha_lint.runner import Outcome, Plan
    from mha_lint.scope import Scope

CLEAN, FINDINGS, FAILED, INTERRUPTED, PIPE_CLOSED, TERMINATED = 0, 1, 2, 130, 141, 143

_STDIN = Path("-")


def entry() -> None:
    """The command, for a process of its own."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # file names need not be valid text, nor terminals UTF-8
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))  # leave through the same doors as Ctrl-C
    status: int | str | None = FAILED
    try:
        try:
            status = main()
        except SystemExit as leaving:  # argparse has printed what was asked for
            status = leaving.code
        write_bytes(b"")
    except BrokenPipeError:  # `mha-lint | head`: the reader has seen enough
        status = PIPE_CLOSED
        _silence(sys.stdout, sys.stderr)
    except SettingsError as error:  # what was printed does not fit on the disk behind stdout
        if status != FAILED:  # else main() has said so
            complain(str(error))
        status = FAILED
        _silence(sys.stdout)
    gc.freeze()  # else Python looks for cycles, in all trees that are there, before it leaves
    sys.exit(status)


def _silence(*streams: TextIO) -> None:
    """Let go what is still to be written, which Python would try again on its way out."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in streams:
        os.dup2(nowhere, stream.fileno())


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status. Wrong usage raises SystemExit(2), as argparse does."""
    arguments = sys.argv[1:] if argv is None else argv
    if arguments[:1] == ["server"]:
        from mha_lint.lsp.command import main as server

        return server(arguments[1:])
    options = parser().parse_args(argv)
    try:
        if options.print_completion:
            return _print_completion(options.print_completion)
        if options.list_rules:
            return _list_rules()
        if options.explain:
            return _explain(options.explain)
        if options.debug_model:
            return _debug_model(options.debug_model, _configuration(options))
        if options.replay:
            return _replay(options)
        if options.probe:
            return _probe(options)
        if options.watch:
            from mha_lint.watching import watch

            return watch(options, _check)
        return _check(options)
    except SettingsError as error:
        complain(str(error))
        return FAILED
    except KeyboardInterrupt:
        return _interrupted()
    except BrokenPipeError:
        raise
    except Exception as error:  # a bug of ours: it must not end as "findings remain" does
        return _crashed(error, options.verbose)


def _interrupted() -> int:
    print(INTERRUPTION, file=sys.stderr)
    return INTERRUPTED


def _crashed(error: Exception, verbose: bool) -> int:
    from traceback import print_exc

    from mha_lint.runner import crash, is_interrupt

    if is_interrupt(error):
        return _interrupted()
    if verbose:
        print_exc()
    complain(str(crash("running", error)))
    return FAILED


def _check(options: argparse.Namespace) -> int:
    from mha_lint.progress import Progress, in_terminal
    from mha_lint.runner import Outcome, RunError, run

    try:
        os.getcwd()
    except OSError as error:
        raise SettingsError("the working directory does not exist any more") from error
    paths = options.paths or [Path()]
    from_stdin = _STDIN in paths
    if from_stdin and len(paths) > 1:
        raise SettingsError("- (stdin) cannot be combined with other paths")
    if options.add_noqa or options.write_baseline or options.reason is not None:
        from mha_lint import adopting

        adopting.check(options, from_stdin)
    if options.verify and (options.fix or options.diff):
        raise SettingsError("--verify writes nothing and shows no diff: it cannot be combined with --fix or --diff")
    configuration = _configuration(options)
    settings = configuration.within(_home(options, from_stdin))
    options.fix, options.show_fixes = settings.fix, settings.show_fixes
    options.output_format = settings.output_format
    if options.show_settings or options.show_files:
        return _shown(options, paths, configuration, settings)
    if options.statistics and options.output_format not in STATISTICS:
        known = ", ".join(STATISTICS)
        raise SettingsError(f"--statistics has no form as {options.output_format} (choose from {known})")
    start = _start(options, paths)
    scope = _scope(options, configuration, start, from_stdin)
    plan = replace(_plan(options, configuration.within(start), from_stdin), scope=scope)
    if options.evidence and plan.fix == "no":
        raise SettingsError("--evidence needs --fix, --diff or --verify: linting alone executes nothing")
    if plan.bench is not None and plan.fix not in ("write", "diff"):
        raise SettingsError(f"{_bench_option(options)} needs --fix or --diff: it times the fixes that they validate")
    report_file = open_report(options.output_file) if options.output_file else None  # before anything is written
    stdin = sys.stdin.buffer.read() if from_stdin else b""
    items = _given(options, configuration, stdin) if from_stdin else _found(paths, configuration, settings, options)
    filtering = from_stdin and plan.fix == "diff" and not options.diff  # stdout is the fixed source
    report_to = sys.stderr if filtering else sys.stdout
    try:
        with Progress(enabled=in_terminal() and not options.quiet) as progress:
            outcome = run(items, configuration, plan, progress)
    except RunError as error:
        if filtering:
            write_bytes(stdin)
        if options.output_format in FOR_PEOPLE:
            complain(str(error))
        else:  # whoever reads the report alone must not take the run for a clean one
            show(options, plan, Outcome(errors=[Failure(str(error))]), report_file, report_to)
        return FAILED
    if filtering:
        from mha_lint.files import encode

        write_bytes(next((encode(source, text) for source, text in outcome.rewritten), stdin))
    if options.add_noqa or options.write_baseline:
        return adopting.finish(options, outcome, plan.scope)
    status = _status(options, outcome, configuration)
    if from_stdin and not options.stdin_filename:
        outcome.entries = [replace(e, finding=replace(e.finding, filename=str(_STDIN))) for e in outcome.entries]
    show(options, plan, outcome, report_file, report_to)
    return status


def _scope(options: argparse.Namespace, configuration: Configuration, start: Path, from_stdin: bool) -> Scope:
    """The findings that are to be reported. Raises :class:`SettingsError`: a baseline or a revision is unknown."""
    from mha_lint.scope import Scope

    changes = None
    if options.diff_base is not None:
        if from_stdin:
            raise SettingsError("--diff-base compares files with git: it cannot be combined with - (stdin)")
        from mha_lint.changed_lines import ChangedLines

        changes = ChangedLines(options.diff_base)
    scope = Scope(configuration, changes, with_baseline=options.write_baseline is None)
    scope.check(start)
    return scope


def _given(options: argparse.Namespace, configuration: Configuration, data: bytes) -> list[Source | SourceError]:
    """Return the source read from stdin, or the error in decoding it; nothing where its path is excluded."""
    from mha_lint.discovery import excludes
    from mha_lint.files import SourceError, decode

    path: Path = options.stdin_filename or _STDIN
    if configuration.of(path).force_exclude and excludes(path, configuration):
        return []
    try:
        return [decode(path, data)]
    except SourceError as error:
        return [error]


def _found(
    paths: Sequence[Path], configuration: Configuration, settings: Settings, options: argparse.Namespace
) -> list[Path | SourceError]:
    from mha_lint.discovery import discover

    force, respect = settings.force_exclude, settings.respect_gitignore
    items = discover(paths, configuration, force_exclude=force, respect_gitignore=respect)
    if not items and not force and not options.quiet:
        warn("no Python files or notebooks found under the given paths")
    return items


def _configuration(options: argparse.Namespace) -> Configuration:
    """Read the settings files and the options. Raises :class:`SettingsError`."""
    files = [each for each in options.config if each.endswith(".toml") or os.path.isfile(each)]
    inline = [inline_layer(each) for each in options.config if each not in files]
    if len(files) > 1:
        raise SettingsError(f"{INLINE} names several files: {', '.join(files)}; one can hold at a time")
    if files and options.isolated:
        raise SettingsError(f"{INLINE} {files[0]} cannot be combined with --isolated, which reads no settings files")
    fixed = Settings() if options.isolated else read_settings(Path(files[0])) if files else None
    return Configuration(fixed, (*inline, *_of_environment(), _of_options(options)))


_ENVIRONMENT = {"MHA_LINT_OUTPUT_FORMAT": "output-format", "MHA_LINT_CACHE_DIR": "cache-dir"}
_OF_RULES = (
    "select", "extend_select", "ignore", "fixable", "extend_fixable", "unfixable",
)  # fmt: skip
_OF_FILES = (
    "unsafe_fixes", "also", "exit_severity", "exclude", "extend_exclude", "fix", "show_fixes", "output_format",
    "respect_gitignore", "force_exclude", "target_version", "target_torch",
)  # fmt: skip


def _of_environment() -> list[Layer]:
    """A layer for each variable of the environment that sets a key."""
    given = [(name, key) for name, key in _ENVIRONMENT.items() if os.environ.get(name)]
    return [Layer(parse_values({key: os.environ[name]}, f"{name}:", Path.cwd()), name) for name, key in given]


def _of_options(options: argparse.Namespace) -> Layer:
    """What the options say of keys. Raises :class:`SettingsError` where they name no rule."""
    given = {name: value for name, value in vars(options).items() if value is not None}
    values = {name: given[name] for name in _OF_FILES if name in given}
    for name in _OF_RULES:
        if name in given:
            values[name] = resolved(given[name], f"--{name.replace('_', '-')}")
    for name in ("per_file_ignores", "extend_per_file_ignores"):
        if name in given:
            place = f"--{name.replace('_', '-')}"
            codes = [(glob, *resolved([rule], place)) for glob, rule in given[name]]
            values[name] = {glob: tuple(code for other, code in codes if other == glob) for glob, _ in codes}
    for name in ("cache_dir", "baseline"):
        if name in given:
            values[name] = os.path.abspath(given[name])
    for name in ("exclude", "extend_exclude"):
        if name in values:
            values[name] = tuple(values[name])
    return Layer(rooted(values, Path.cwd()), "the command line")


def _home(options: argparse.Namespace, from_stdin: bool) -> Path:
    """The folder whose settings say what a run does, as in ruff: the working directory, or that of stdin's name."""
    if from_stdin and options.stdin_filename:
        return Path(os.path.abspath(options.stdin_filename)).parent
    return Path.cwd()


def _start(options: argparse.Namespace, paths: Sequence[Path]) -> Path:
    """The folder that all paths share: the cache lies where the settings are that hold there."""
    if _STDIN in paths:
        paths = [options.stdin_filename or _STDIN]
    absolute = [os.path.abspath(path) for path in paths]
    try:
        shared = Path(os.path.commonpath(absolute))
    except ValueError:  # on different drives
        return Path.cwd()
    return shared if shared.is_dir() else shared.parent


def _plan(options: argparse.Namespace, settings: Settings, from_stdin: bool) -> Plan:
    from mha_lint.runner import Plan

    cache = None
    if not options.no_cache and os.environ.get("MHA_LINT_NO_CACHE", "").lower() in ("", "0", "false", "no", "off"):
        from mha_lint.cache import prepare

        cache = prepare(settings)
    return Plan(
        fix=_fixing(options, from_stdin),
        devices=options.device,
        require=options.require_device,
        jobs=options.jobs,
        cache=cache,
        evidence=options.evidence,
        timeout=options.timeout,
        bench=_bench(options),
        cluster=_cluster(options),
    )


def _cluster(options: argparse.Namespace) -> dict[str, str] | None:
    """The options of the cluster, None where this machine executes. Raises :class:`SettingsError`."""
    if options.executor == "slurm":
        return dict(options.executor_option)
    if options.executor_option:
        raise SettingsError("--executor-option needs --executor slurm")
    return None


def _bench(options: argparse.Namespace) -> Wanted | None:
    """What is to be timed. Raises :class:`SettingsError` where its options stand alone."""
    if not options.bench and not options.bench_only_if_faster:
        if option := _bench_option(options):
            raise SettingsError(f"{option} needs --bench")
        return None
    from mha_lint.bench.wanted import Wanted

    return Wanted(options.bench_shapes, options.bench_compile, options.bench_only_if_faster)


def _bench_option(options: argparse.Namespace) -> str:
    """The option on timings that was given, as it is written; "" where none was."""
    if options.bench:
        return "--bench"
    if options.bench_only_if_faster:
        return "--bench-only-if-faster"
    if options.bench_shapes:
        return "--bench-shapes"
    if options.bench_compile is not None:
        return "--bench-compile" if options.bench_compile else "--no-bench-compile"
    return ""


def _fixing(options: argparse.Namespace, from_stdin: bool) -> Literal["no", "write", "diff", "verify"]:
    if options.verify:
        return "verify"
    if options.diff or (options.fix and from_stdin):
        return "diff"
    return "write" if options.fix else "no"


def _status(options: argparse.Namespace, outcome: Outcome, configuration: Configuration) -> int:
    """The exit status. A finding counts from the severity on that the settings of its file name."""
    if outcome.errors:
        return FAILED
    if options.exit_zero:
        return CLEAN
    fixed = [entry.finding for entry in outcome.entries if entry.fixed]
    remaining = [entry.finding for entry in outcome.entries if not entry.fixed]
    if options.exit_non_zero_on_fix and fixed and not options.diff:
        return FINDINGS
    for finding in fixed if options.diff else remaining:
        least = configuration.of(Path(finding.filename)).exit_severity
        if SEVERITIES.index(finding.severity) >= SEVERITIES.index(least):
            return FINDINGS
    return CLEAN


# --- questions about a file and about rules


def _debug_model(path: Path, configuration: Configuration) -> int:
    from mha_lint.files import SourceError, read_source
    from mha_lint.linter import modelled
    from mha_lint.model.description import debug_model

    try:
        source = read_source(path)
        for number, first, last in source.notebook.rows() if source.notebook else ():
            say(f"cell {number}: rows {first} to {last} of the program that the cells make")
        say(debug_model(*modelled(source, configuration.of(path))).removesuffix("\n"))
    except SourceError as error:
        raise SettingsError(str(error)) from error
    return CLEAN


def _shown(options: argparse.Namespace, paths: Sequence[Path], configuration: Configuration, settings: Settings) -> int:
    """Print the files that would be linted, or the settings of the first one."""
    from mha_lint.files import SourceError

    found = [options.stdin_filename or _STDIN] if _STDIN in paths else _found(paths, configuration, settings, options)
    status = CLEAN
    for problem in found:
        if isinstance(problem, SourceError):
            complain(str(problem))
            status = FAILED
    files = sorted(os.path.abspath(each) for each in found if isinstance(each, Path))
    if options.show_files:
        for file in files:
            say(file)
    elif files:
        from mha_lint.shown_settings import described

        say(described(Path(files[0]), configuration.of(Path(files[0]))))
    return status


def _print_completion(shell: str) -> int:
    try:
        import shtab
    except ModuleNotFoundError as error:
        raise SettingsError("--print-completion needs shtab: pip install shtab") from error
    say(shtab.complete(parser(), shell=shell).rstrip())
    return CLEAN


def _replay(options: argparse.Namespace) -> int:
    from mha_lint.replay import ReplayError, replay

    try:
        same = replay(options.replay, options.device, options.require_device, options.timeout, _cluster(options))
        return CLEAN if same else FINDINGS
    except ReplayError as error:
        raise SettingsError(str(error)) from error


def _probe(options: argparse.Namespace) -> int:
    from mha_lint.probing import ProbingError, locate, probe, show

    if _cluster(options) is not None:
        raise SettingsError("--probe executes on this machine: it cannot be combined with --executor slurm")
    try:
        subject = locate(options.probe)
        settings = _configuration(options).of(subject.path)
        probed = probe(subject, settings, options.device, options.require_device, options.timeout)
        say(show(subject, probed, options.output_format or settings.output_format))
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
        say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return CLEAN


def _explain(wanted: str) -> int:
    from mha_lint.rules import all_rules
    from mha_lint.rules.page import page
    from mha_lint.syntax_error import NAME, PAGE

    if wanted.upper() == SYNTAX_ERROR or wanted.lower() == NAME:
        say(PAGE.rstrip())
        return CLEAN
    rules = {rule.code: rule for rule in all_rules()}
    rule = rules.get(wanted.upper()) or next((rule for rule in rules.values() if rule.name == wanted.lower()), None)
    if rule is None:
        raise SettingsError(f"--explain: unknown rule code {wanted!r}{close_match(wanted.upper(), rules)}")
    say(page(rule).rstrip())
    return CLEAN
