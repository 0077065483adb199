"""Many files: lint them (in several processes when there is enough work), then fix what validation lets through."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from msgspec import Struct, field
from msgspec.structs import replace

import mha_lint
from mha_lint import screen
from mha_lint.configuration import Configuration
from mha_lint.entries import in_cells, unfixed
from mha_lint.files import Source, SourceError, SyntaxProblem, decode, encode, read_source, write_source
from mha_lint.findings import SYNTAX_ERROR, Dependencies, Failure, Finding, Found
from mha_lint.progress import Progress
from mha_lint.report import Entry
from mha_lint.settings import Settings, SettingsError

if TYPE_CHECKING:
    from concurrent.futures import Future

    from mha_lint.bench.results import Bench
    from mha_lint.bench.wanted import Wanted
    from mha_lint.cache import Index, LintCache, Memory
    from mha_lint.fixing import Fixed
    from mha_lint.scope import Scope
    from mha_lint.validation import Executor

ISSUES = "https://github.com/mha-lint/mha-lint/issues"

# Starting processes that import LibCST costs about half a second, so this process begins alone.
_ALONE_SECONDS = 0.5


class RunError(Exception):
    """The run as a whole cannot go on, and nothing was written; the message is one line."""


class Plan(Struct, frozen=True):
    """The plan of a run: ``fix`` says whether fixes are left alone, written, shown as a diff, or only validated."""

    fix: Literal["no", "write", "diff", "verify"] = "no"
    devices: tuple[str, ...] = ("auto",)
    require: tuple[str, ...] = ()
    jobs: int = 1
    cache: Path | None = None
    evidence: Path | None = None
    timeout: float = 120.0  # seconds for each fix
    bench: Wanted | None = None  # what is timed
    scope: Scope | None = None  # which findings are reported, and fixed; None: all
    cluster: Mapping[str, str] | None = None  # the options of the cluster that executes; None: this machine does


class Outcome(Struct):
    """The outcome of a run. ``rewritten`` holds the files whose text changed (or would), with their new texts.

    ``suppressed`` are the findings of a baseline, which are not among the ``entries``. ``looked_at`` are the files in
    which every rule that runs there has looked.
    """

    entries: list[Entry] = field(default_factory=list)
    suppressed: list[Entry] = field(default_factory=list)
    looked_at: list[Path] = field(default_factory=list)
    errors: list[Failure] = field(default_factory=list)
    details: list[str] = field(default_factory=list)  # tracebacks of crashes, shown with -v
    settings: list[Path] = field(default_factory=list)  # the files that settings were read from
    rewritten: list[tuple[Source, str]] = field(default_factory=list)
    files: int = 0
    cached: int = 0


class Linted(Struct, frozen=True):
    """One linted file; ``source`` is None when it has no findings."""

    path: Path
    findings: tuple[Finding, ...] = ()
    source: Source | None = None
    error: Failure | None = None
    detail: str = ""
    depends: Dependencies = field(default_factory=dict)
    cached: bool = False


def run(
    items: Iterable[Path | Source | SourceError], configuration: Configuration, plan: Plan, progress: Progress
) -> Outcome:
    """Lint every item; with ``plan.fix``, validate and apply the fixes.

    Raises:
        RunError: validation cannot run as it was asked to.
        SettingsError: a settings file has a mistake.
    """
    outcome = Outcome()
    sources: list[Path | Source] = []
    for item in items:
        if isinstance(item, SourceError):
            outcome.errors.append(item.failure)
        else:
            sources.append(item)
    outcome.files = len(sources)
    progress.total = len(sources)
    memory = _memory(plan)
    validator = _validator(plan) if plan.fix != "no" else None
    try:
        if validator and plan.require:
            validator.start()
        linted = []
        needs_torch = bool(plan.require)
        for result in _lint_all(sources, configuration, plan, memory):
            progress.linted(result.path)
            _note(result, outcome)
            if plan.scope is not None and result.source is not None:
                result = _within(plan.scope, result, result.source, outcome)
            if validator and _tried(result, configuration, plan, executed=True):
                needs_torch = True
                validator.start()  # torch is imported there while linting goes on here
            linted.append(result)
        progress.fixes = sum(_tried(result, configuration, plan) for result in linted)
        if validator and needs_torch:
            _require(validator)
        with _fixing(linted, configuration, plan, validator) as fixing:
            for place, result in enumerate(linted):
                if result.source is None:
                    continue
                settings = configuration.of(result.path)
                if place in fixing:
                    progress.validating(result.path, _tried(result, configuration, plan))
                    _note_fixed(result, fixing[place], settings, plan, memory, outcome)
                else:
                    outcome.entries += unfixed(result.source, result.source.text, result.findings, settings)
    finally:
        if validator:
            try:
                validator.close()
            except OSError as error:
                reason = (error.strerror or str(error)).lower()
                outcome.errors.append(Failure(f"cannot be written: {reason}", str(plan.evidence)))
    if memory:
        _remember(memory, outcome)
    outcome.settings = configuration.files
    return outcome


def _memory(plan: Plan) -> Memory | None:
    if plan.cache is None:
        return None
    from mha_lint.cache import Memory

    return Memory(plan.cache)


def _remember(memory: Memory, outcome: Outcome) -> None:
    """Write what this run has learnt. A bug there costs the next run some time, and this run no finding."""
    try:
        memory.save()
        if outcome.cached < outcome.files:
            memory.trim()
    except Exception as error:
        outcome.errors.append(crash("writing its cache", error))
        outcome.details.append(_traceback())


def _tried(result: Linted, configuration: Configuration, plan: Plan, *, executed: bool = False) -> int:
    """Count the fixes that this run may try, and the findings without a fix that it may show to be wrong.

    With ``executed``, only those that execute code.
    """
    if not result.findings:
        return 0
    verified = plan.fix == "verify"
    unsafe = verified or configuration.of(result.path).unsafe_fixes
    timed = verified or plan.bench is not None
    tried = [
        finding
        for finding in result.findings
        if finding.fixable(unsafe=unsafe, timed=timed) or finding.demonstration is not None
    ]
    return sum(finding.executed or not executed for finding in tried)


def _within(scope: Scope, result: Linted, source: Source, outcome: Outcome) -> Linted:
    """What is to be reported of a file, and fixed. Findings of its baseline go to the ``outcome``."""
    reported, known = scope.parted(source, result.findings)
    entries = in_cells([Entry(finding, source.text, suppressed="baseline") for finding in known], source, source.text)
    outcome.suppressed += entries
    return replace(result, findings=reported, source=source if reported else None)


def _note(result: Linted, outcome: Outcome) -> None:
    outcome.cached += result.cached
    if not result.error and not any(finding.code == SYNTAX_ERROR for finding in result.findings):
        outcome.looked_at.append(result.path)
    if result.error:
        outcome.errors.append(result.error)
    if result.detail:
        outcome.details.append(result.detail)


# --- linting


def lint_one(item: Path | Source, configuration: Configuration, cache: LintCache | None) -> Linted:
    """Lint one file. Never raises: whatever goes wrong with a file is its ``error``, or a finding of its own."""
    path = item.path if isinstance(item, Source) else item
    try:
        source = item if isinstance(item, Source) else read_source(item)
        # faster than a look into the cache, or than importing what lints
        if not screen.admits(source.code) and not screen.silences(source.code):
            return Linted(path)
        settings = configuration.of(path)
        known = cache.load(source, settings) if cache else None
        found = known or _linted(source, settings)
    except SourceError as error:
        return Linted(path, error=error.failure)
    except SettingsError as error:
        return Linted(path, error=Failure(str(error), str(path)))
    except Exception as error:  # a bug in a rule must cost one file, not the run
        return Linted(path, error=crash("linting this file", error, path), detail=_traceback())
    findings = found.findings
    result = Linted(path, findings, source if findings else None, depends=found.dependencies, cached=known is not None)
    try:
        if cache and known is None:
            cache.store(source, settings, found)
    except Exception as error:  # a bug in the cache must not cost the findings
        return replace(result, error=crash("caching what it found", error, path), detail=_traceback())
    return result


def _linted(source: Source, settings: Settings) -> Found:
    from mha_lint.linter import lint
    from mha_lint.syntax_error import told

    try:
        return lint(source, settings)
    except SyntaxProblem as problem:
        return Found((told(problem),), {})


def crash(activity: str, error: Exception, path: Path | None = None) -> Failure:
    """Tell of a bug of ours, which asks for a report. Raises KeyboardInterrupt where that was the cause."""
    if is_interrupt(error):
        raise KeyboardInterrupt from error
    from textwrap import shorten

    what = shorten(f"{type(error).__name__}: {error}", 200)
    version = mha_lint.__version__
    message = f"mha-lint {version} failed while {activity} ({what}); please report it at {ISSUES} with what -v adds"
    return Failure(message, str(path) if path else "")


def _traceback() -> str:
    import traceback

    return traceback.format_exc()


def is_interrupt(error: BaseException) -> bool:
    """Tell whether Ctrl-C is the cause: within a library's clean-up it can come out as an error of the clean-up."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, KeyboardInterrupt):
            return True
        cause = cause.__context__
    return False


def _lint_all(
    items: Sequence[Path | Source], configuration: Configuration, plan: Plan, memory: Memory | None
) -> Iterator[Linted]:
    """Lint in order; what has not changed since it was linted is not even read."""
    if memory is None:
        yield from _lint_fresh(items, configuration, plan, None)
        return
    status = {item: _status(item) for item in items if isinstance(item, Path)}
    known: dict[Path | Source, Linted] = {}
    for path, at in status.items():
        found = _unchanged(path, at, memory.index(configuration.of(path))) if at else None
        if found:
            known[path] = found
    unknown = [item for item in items if item not in known]
    fresh = _lint_fresh(unknown, configuration, plan, memory.by_content)
    for item in items:
        if item in known:
            yield known[item]
            continue
        result = next(fresh)
        at = status.get(item) if isinstance(item, Path) else None
        if at and not result.error:
            memory.index(configuration.of(result.path)).store(
                os.path.abspath(result.path), at, result.findings, result.depends
            )
        yield result


def _status(path: Path) -> os.stat_result | None:
    try:
        return os.stat(path)
    except OSError:
        return None  # whoever reads the file will say why


def _unchanged(path: Path, status: os.stat_result, index: Index) -> Linted | None:
    findings = index.load(os.path.abspath(path), status)
    if not findings:
        return None if findings is None else Linted(path, cached=True)
    try:
        return Linted(path, findings, read_source(path), cached=True)
    except SourceError:
        return None


def _lint_fresh(
    items: Sequence[Path | Source], configuration: Configuration, plan: Plan, cache: LintCache | None
) -> Iterator[Linted]:
    """Lint in order: alone for a moment, then, if much is left, in ``plan.jobs`` processes."""
    begun = time.perf_counter()
    for done, item in enumerate(items):
        elapsed = time.perf_counter() - begun
        expected = elapsed / max(done, 1) * (len(items) - done)
        if plan.jobs > 1 and done and elapsed > _ALONE_SECONDS and expected > 2 * _ALONE_SECONDS:
            yield from _lint_in_processes(items[done:], configuration, cache, plan.jobs)
            return
        yield lint_one(item, configuration, cache)


def _lint_in_processes(
    items: Sequence[Path | Source], configuration: Configuration, cache: LintCache | None, jobs: int
) -> Iterator[Linted]:
    from mha_lint.processes import Died, map_in_processes

    work = partial(lint_one, configuration=configuration, cache=cache)
    for item, result in zip(items, map_in_processes(work, items, jobs), strict=True):
        path = item.path if isinstance(item, Source) else item
        if isinstance(result, Died):
            message = f"the process that linted it died ({result}); please report it at {ISSUES}"
            result = Linted(path, error=Failure(message, str(path)))
        yield result


# --- fixing


def _require(validator: Executor) -> None:
    """Wait for torch and the devices that were asked for. Raises :class:`RunError`."""
    from mha_lint.validation import ClusterMissing, DeviceMissing, TorchMissing

    try:
        validator.environment()
    except (TorchMissing, DeviceMissing, ClusterMissing) as error:
        raise RunError(str(error)) from error


def _validator(plan: Plan) -> Executor:
    from mha_lint.executors import executor
    from mha_lint.validation import ClusterMissing

    journal = None
    if plan.evidence is not None:
        from mha_lint.validation.evidence.journal import Journal

        try:
            journal = Journal(open(plan.evidence, "w", encoding="utf-8"))  # noqa: SIM115  # as long as the run
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise RunError(f"{plan.evidence}: cannot be written: {why}") from error
    try:
        return executor(
            plan.cluster,
            devices=plan.devices,
            require=plan.require,
            timeout=plan.timeout,
            cache_dir=plan.cache,
            journal=journal,
            lanes=plan.jobs,
        )
    except ClusterMissing as error:
        raise RunError(str(error)) from error


@contextlib.contextmanager
def _fixing(
    linted: Sequence[Linted], configuration: Configuration, plan: Plan, validator: Executor | None
) -> Iterator[dict[int, Future[Fixed]]]:
    """Validate the fixes of several files at the same time; the fixes of a file are found at its place in ``linted``.

    After an error, none that is under way is waited for.
    """
    if validator is None or not any(_tried(result, configuration, plan) for result in linted):
        yield {}
        return
    from concurrent.futures import ThreadPoolExecutor

    from mha_lint.fixing import fix_source, verify_source

    def work(source: Source) -> Callable[..., Fixed]:
        if plan.fix == "verify":
            return verify_source
        within = partial(plan.scope.reported, source) if plan.scope else None
        return partial(fix_source, wanted=plan.bench, within=within)

    pool = ThreadPoolExecutor(max_workers=validator.lanes)
    futures: dict[int, Future[Fixed]] = {}
    try:
        for place, result in enumerate(linted):
            if result.source is not None and _tried(result, configuration, plan):
                settings = configuration.of(result.path)
                source, findings = result.source, list(result.findings)
                futures[place] = pool.submit(work(source), source, findings, settings, validator)
        yield futures
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _note_fixed(
    result: Linted, fixing: Future[Fixed], settings: Settings, plan: Plan, memory: Memory | None, outcome: Outcome
) -> None:
    """Wait for the fixes of one file and add what came of them to ``outcome``. It is written here or not at all."""
    source, findings = result.source, result.findings
    assert source is not None
    try:
        fixed = fixing.result()
        if fixed.text != source.text:
            data = encode(source, fixed.text)  # a diff must not promise what could not be written
            if plan.fix == "write":
                write_source(source, fixed.text)
            outcome.rewritten.append((source, fixed.text))
        if memory and (plan.fix == "write" or fixed.text == source.text):
            now = source if fixed.text == source.text else decode(source.path, data)
            _note_refusals(now, fixed, settings, memory)
    except SourceError as error:
        outcome.errors.append(error.failure)
        outcome.entries += unfixed(source, source.text, findings, settings)
        return
    except Exception as error:  # a bug in a fixer must cost one file, not the run
        outcome.errors.append(crash("fixing this file", error, source.path))
        outcome.details.append(_traceback())
        outcome.entries += unfixed(source, source.text, findings, settings)
        return
    outcome.entries += sorted(
        _entries(source, findings, fixed, settings, plan),
        key=lambda entry: (entry.finding.location, entry.finding.code),
    )


def _note_refusals(source: Source, fixed: Fixed, settings: Settings, memory: Memory) -> None:
    """Remember which fixes were refuted for these bytes: they are not offered again."""
    refuted = {(f.code, f.location): f.verdict for f in fixed.remaining if f.refuted}
    if not refuted:
        return
    from mha_lint.fixing import TURN

    with TURN:
        found = _linted(source, settings)
    verdicts = [refuted.get((finding.code, finding.location)) for finding in found.findings]
    kept = [
        replace(finding, verdict=replace(verdict, trials=(), cached=True)) if verdict else finding
        for finding, verdict in zip(found.findings, verdicts, strict=True)
    ]
    memory.by_content.store(source, settings, Found(tuple(kept), found.dependencies))
    memory.index(settings).forget(os.path.abspath(source.path))


def _entries(
    source: Source, findings: Sequence[Finding], fixed: Fixed, settings: Settings, plan: Plan
) -> Iterator[Entry]:
    """Fixed findings at their places in the old text; remaining ones where they stand in the file as it is now."""
    for finding, text, bench in zip(fixed.fixed, fixed.texts, fixed.benches, strict=True):
        # A later round may have fixed what the first revealed, in a text that is gone.
        shown = Entry(finding, source.text if finding in findings else "", fixed=True, bench=bench)
        yield from in_cells([shown], source, text)
    for each in fixed.gone:
        shown = Entry(each.finding, source.text, fixed=True, gone=each.why)
        yield from in_cells([shown], source, source.text)
    if plan.fix == "write":
        yield from unfixed(source, fixed.text, fixed.remaining, settings, list(map(fixed.withheld_by, fixed.remaining)))
        return
    remaining: list[Finding] = []
    benches: list[Bench | None] = []
    for judged, origin in zip(fixed.remaining, fixed.remains_of, strict=True):
        if origin is not None:
            remaining.append(replace(origin, verdict=judged.verdict, severity=judged.severity))
            benches.append(fixed.withheld_by(judged))
    yield from unfixed(source, source.text, remaining, settings, benches)
