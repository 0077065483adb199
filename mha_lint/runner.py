"""Many files: lint them (in several processes when there is enough work), then fix what validation lets through."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mha_lint import screen
from mha_lint.files import Source, SourceError, encode, read_source, write_source
from mha_lint.findings import Finding
from mha_lint.progress import Progress
from mha_lint.report import Entry
from mha_lint.settings import Settings

if TYPE_CHECKING:
    from mha_lint.cache import Index, LintCache
    from mha_lint.fixing import Fixed
    from mha_lint.validation import Validator

ISSUES = "https://github.com/mha-lint/mha-lint/issues"

# Starting processes that import LibCST costs about half a second, so this process begins alone.
_ALONE_SECONDS = 0.5


class RunError(Exception):
    """The run as a whole cannot go on, and nothing was written; the message is one line."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How to run: ``fix`` says whether fixes are left alone, written, or only shown as a diff."""

    fix: Literal["no", "write", "diff"] = "no"
    devices: tuple[str, ...] = ("auto",)
    require: tuple[str, ...] = ()
    jobs: int = 1
    cache: Path | None = None
    evidence: Path | None = None


@dataclass
class Outcome:
    """What came of a run. ``rewritten`` holds the files whose text changed (or would), with their new texts."""

    entries: list[Entry] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    details: list[str] = field(default_factory=list)  # tracebacks of crashes, shown with -v
    rewritten: list[tuple[Source, str]] = field(default_factory=list)
    files: int = 0
    cached: int = 0


@dataclass(frozen=True, slots=True)
class Linted:
    """One linted file; ``source`` is None when it has no findings."""

    path: Path
    findings: tuple[Finding, ...] = ()
    source: Source | None = None
    error: str = ""
    detail: str = ""
    cached: bool = False


def run(items: Iterable[Path | Source | SourceError], settings: Settings, plan: Plan, progress: Progress) -> Outcome:
    """Lint every item; with ``plan.fix``, validate and apply the fixes. Raises :class:`RunError`."""
    outcome = Outcome()
    sources: list[Path | Source] = []
    for item in items:
        if isinstance(item, SourceError):
            outcome.errors.append(str(item))
        else:
            sources.append(item)
    outcome.files = len(sources)
    progress.total = len(sources)
    validator = _validator(plan) if plan.fix != "no" else None
    try:
        if validator and plan.require:
            validator.start()
        linted = []
        for result in _lint_all(sources, settings, plan):
            progress.linted(result.path)
            if validator and _fixes(result, settings):
                validator.start()  # torch is imported there while linting goes on here
            _note(result, outcome)
            linted.append(result)
        progress.fixes = sum(_fixes(result, settings) for result in linted)
        if validator and (plan.require or progress.fixes):
            _require(validator)
        for result in linted:
            if result.source is None:
                continue
            if validator and (fixes := _fixes(result, settings)):
                progress.validating(result.path, fixes)
                _fix(result.source, result.findings, settings, plan, validator, outcome)
            else:
                outcome.entries += [Entry(finding, result.source.text) for finding in result.findings]
    finally:
        if validator:
            try:
                validator.close()
            except OSError as error:
                outcome.errors.append(f"{plan.evidence}: cannot be written: {(error.strerror or str(error)).lower()}")
    if plan.cache and outcome.cached < outcome.files:
        from mha_lint.cache import trim

        trim(plan.cache)
    return outcome


def _fixes(result: Linted, settings: Settings) -> int:
    """How many fixes this run may try."""
    return sum(finding.fixable(unsafe=settings.unsafe_fixes) for finding in result.findings)


def _note(result: Linted, outcome: Outcome) -> None:
    outcome.cached += result.cached
    if result.error:
        outcome.errors.append(result.error)
    if result.detail:
        outcome.details.append(result.detail)


# --- linting


def lint_one(item: Path | Source, settings: Settings, cache: LintCache | None) -> Linted:
    """Lint one file. Never raises: whatever goes wrong with a file is its ``error``."""
    path = item.path if isinstance(item, Source) else item
    try:
        source = item if isinstance(item, Source) else read_source(item)
        if not screen.admits(source.data):  # faster than a look into the cache, or than importing what lints
            return Linted(path)
        findings = cache.load(source) if cache else None
        cached = findings is not None
        if findings is None:
            from mha_lint.linter import lint

            findings = tuple(lint(source, settings))
            if cache:
                cache.store(source, findings)
        return Linted(path, findings, source if findings else None, cached=cached)
    except SourceError as error:
        return Linted(path, error=str(error))
    except Exception as error:  # a bug in a rule must cost one file, not the run
        return Linted(path, error=_crash(path, error, "linting"), detail=_traceback())


def _crash(path: Path, error: Exception, activity: str) -> str:
    _raise_if_interrupted(error)
    from textwrap import shorten

    told = shorten(f"{type(error).__name__}: {error}", 200)
    return f"{path}: mha-lint failed while {activity} this file ({told}); please report it at {ISSUES}"


def _traceback() -> str:
    import traceback

    return traceback.format_exc()


def _raise_if_interrupted(error: BaseException) -> None:
    """Ctrl-C in the middle of a library's clean-up can come out as an error of that clean-up's own."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, KeyboardInterrupt):
            raise cause
        cause = cause.__context__


def _lint_all(items: Sequence[Path | Source], settings: Settings, plan: Plan) -> Iterator[Linted]:
    """Lint in order; what has not changed since it was linted is not even read."""
    if not plan.cache:
        yield from _lint_fresh(items, settings, plan, None)
        return
    from mha_lint.cache import Index, LintCache

    index = Index(plan.cache, settings)
    status = {item: _status(item) for item in items if isinstance(item, Path)}
    known = {item: found for item, at in status.items() if at and (found := _unchanged(item, at, index))}
    fresh = _lint_fresh([item for item in items if item not in known], settings, plan, LintCache(plan.cache, settings))
    for item in items:
        if item in known:
            yield known[item]
            continue
        result = next(fresh)
        at = status.get(item) if isinstance(item, Path) else None
        if at and not result.error:
            index.store(os.path.abspath(result.path), at, result.findings)
        yield result
    index.save()


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
    items: Sequence[Path | Source], settings: Settings, plan: Plan, cache: LintCache | None
) -> Iterator[Linted]:
    """Lint in order: alone for a moment, then, if much is left, in ``plan.jobs`` processes."""
    begun = time.perf_counter()
    for done, item in enumerate(items):
        elapsed = time.perf_counter() - begun
        expected = elapsed / max(done, 1) * (len(items) - done)
        if plan.jobs > 1 and done and elapsed > _ALONE_SECONDS and expected > 2 * _ALONE_SECONDS:
            yield from _lint_in_processes(items[done:], settings, cache, plan.jobs)
            return
        yield lint_one(item, settings, cache)


def _lint_in_processes(
    items: Sequence[Path | Source], settings: Settings, cache: LintCache | None, jobs: int
) -> Iterator[Linted]:
    from mha_lint.processes import Died, map_in_processes

    work = partial(lint_one, settings=settings, cache=cache)
    for item, result in zip(items, map_in_processes(work, items, jobs), strict=True):
        path = item.path if isinstance(item, Source) else item
        if isinstance(result, Died):
            message = f"{path}: the process that linted it died ({result}); please report it at {ISSUES}"
            result = Linted(path, error=message)
        yield result


# --- fixing


def _require(validator: Validator) -> None:
    """Wait for torch and the devices that were asked for. Raises :class:`RunError`."""
    from mha_lint.validation import DeviceMissing, TorchMissing

    try:
        validator.environment()
    except (TorchMissing, DeviceMissing) as error:
        raise RunError(str(error)) from error


def _validator(plan: Plan) -> Validator:
    from mha_lint.validation import Validator

    journal = None
    if plan.evidence is not None:
        from mha_lint.validation.journal import Journal

        try:
            journal = Journal(open(plan.evidence, "w", encoding="utf-8"))  # noqa: SIM115  # as long as the run
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise RunError(f"{plan.evidence}: cannot be written: {why}") from error
    return Validator(devices=plan.devices, require=plan.require, cache_dir=plan.cache, journal=journal)


def _fix(
    source: Source, findings: Sequence[Finding], settings: Settings, plan: Plan, validator: Validator, outcome: Outcome
) -> None:
    """Fix one file and add what came of it to ``outcome``. The file is written here or not at all."""
    from mha_lint.fixing import fix_source

    unfixed = [Entry(finding, source.text) for finding in findings]
    try:
        fixed = fix_source(source, list(findings), settings, validator)
        if fixed.text != source.text:
            encode(source, fixed.text)  # a diff must not promise what could not be written
            if plan.fix == "write":
                write_source(source, fixed.text)
            outcome.rewritten.append((source, fixed.text))
    except SourceError as error:
        outcome.errors.append(str(error))
        outcome.entries += unfixed
        return
    except Exception as error:  # a bug in a fixer must cost one file, not the run
        outcome.errors.append(_crash(source.path, error, "fixing"))
        outcome.details.append(_traceback())
        outcome.entries += unfixed
        return
    outcome.entries += sorted(
        _entries(source, findings, fixed, plan), key=lambda entry: (entry.finding.location, entry.finding.code)
    )


def _entries(source: Source, findings: Sequence[Finding], fixed: Fixed, plan: Plan) -> Iterator[Entry]:
    """Fixed findings at their places in the old text; remaining ones where they stand in the file as it is now."""
    for finding in fixed.fixed:  # a later round may have fixed what the first revealed, in a text that is gone
        yield Entry(finding, source.text if finding in findings else "", fixed=True)
    if plan.fix == "write":
        yield from (Entry(finding, fixed.text) for finding in fixed.remaining)
        return
    judged = list(fixed.remaining)
    for finding in findings:
        if finding not in fixed.fixed:
            told = (finding.code, finding.symbol, finding.message)
            same = next((f for f in judged if (f.code, f.symbol, f.message) == told), None)
            if same:
                judged.remove(same)
                finding = replace(finding, verdict=same.verdict, severity=same.severity)
            yield Entry(finding, source.text)
