"""What becomes of an injected mistake: found by the linter, shown wrong and put right by execution."""

from __future__ import annotations

import atexit
import re
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

from msgspec.structs import replace

from mha_lint.files import SourceError, decode
from mha_lint.findings import Finding
from mha_lint.fixing import fix_source
from mha_lint.linter import lint, modelled
from mha_lint.model.hints import input_hints
from mha_lint.rules import codes
from mha_lint.settings import Settings
from mha_lint.validation import Job, Validator
from tests.bench.injection.sites import RULES, Site

ELSEWHERE = frozenset({"MHA108", "MHA110"})  # what only float16 and CUDA show
BY_ENTRIES = frozenset({"MHA116", "MHA117"})  # their right texts need not be causal
ROUNDING = 1e-5  # a quotient by a root rounds otherwise than the product with its inverse
TIMEOUT = 60.0  # seconds for one job, imports included


@dataclass(frozen=True, slots=True)
class Outcome:
    """``already``: the right text has such a finding at that place. ``absent``: there is no such rule yet.

    ``runnable`` is what the harness can run with the lines that change; ``same`` that they make no difference there (a
    scale that only a branch reads which didn't run, no dropout), or that what was planted as right is not, in a class
    that mixes its tokens elsewhere; ``shown`` the counterexample in the evidence, ``back``
    that the fixed text computes what the right one does.
    """

    site: Site
    absent: bool = False
    already: bool = False
    found: bool = False
    runnable: bool = False
    same: bool = False
    shown: bool = False
    fixed: bool = False
    back: bool = False
    reason: str = ""

    @property
    def miss(self) -> str:
        """What went wrong first; "" where nothing did."""
        if self.absent:
            return ""
        if self.already:
            return "the right text is flagged"
        if not self.found:
            return "silent by its page" if self.site.silent else "missed"
        if not self.runnable or self.back:
            return ""
        what = (
            "fixed, but not back" if self.fixed else "shown wrong, but not fixed" if self.shown else "not shown wrong"
        )
        return f"{what} ({self.reason[:200]})"


def measured(site: Site, fix: bool) -> Outcome:
    """Lint the wrong text, and with ``fix`` fix it and run what comes out."""
    rule = site.injection.rule
    if rule not in codes():
        return Outcome(site, absent=True)
    if _there(site, [each for each in _right_findings(site.path, site.right) if each.code == rule], right=True):
        return Outcome(site, already=True)
    there = _there(site, _findings(site.path, site.wrong, _settings(rule)))
    if not there or not fix:
        return Outcome(site, found=bool(there))
    told, why = changes(site)
    if told == "not run":
        return Outcome(site, found=True, reason=why)
    if site.injection.planted and rule not in ELSEWHERE | BY_ENTRIES and (unfit := _unfit(site)):
        return Outcome(site, found=True, same=True, reason=unfit)
    if told == "the same" and rule not in ELSEWHERE:
        return Outcome(site, found=True, same=True, reason=why)
    fixed = fix_source(decode(site.path, site.wrong), there, _settings(rule), _validator())
    verdicts = [each.verdict for each in (*fixed.fixed, *fixed.remaining) if each.verdict is not None]
    shown = bool(fixed.fixed) or any(each.counterexample for each in verdicts)
    reason = (
        next((each.reason for each in verdicts if each.verdict != "validated"), "")
        or there[0].no_fix_reason
        or "no fix was made"
    )
    if not fixed.fixed:
        return Outcome(site, found=True, runnable=True, shown=shown, reason=reason)
    back = _same(site, site.right, fixed.text.encode())
    return Outcome(site, found=True, runnable=True, shown=shown, fixed=True, back=not back, reason=back)


def changes(site: Site) -> tuple[str, str]:
    """Whether the class computes something else with the mistake in it: "changed", "the same", "not run"; and why."""
    job = _job(site, site.right, site.wrong)
    verdict = _validator().validate(job)
    told = {"validated": "the same", "refuted": "changed"}.get(verdict.verdict, "not run")
    return told, verdict.reason


def _unfit(site: Site) -> str:
    """Why even the right mask makes nothing causal, where tokens meet outside of the attention too; "" elsewhere."""
    told = _job(site, site.wrong, site.right)
    rows = tuple(row for rows in site.rows for row in rows)
    verdict = _validator().validate(replace(told, relation="corrected", probes=("causality",), flagged=rows))
    return verdict.reason if "after still violates" in verdict.reason else ""


def _same(site: Site, one: bytes, other: bytes) -> str:
    """Why two texts don't compute the same; "" where they do."""
    if one == other:
        return ""
    verdict = _validator().validate(_job(site, one, other))
    apart = re.search(r"differs by up to (\S+)", verdict.reason)
    if verdict.verdict == "validated" or (site.injection.rule == "MHA104" and apart and float(apart[1]) < ROUNDING):
        return ""
    return f"{verdict.verdict}: {verdict.reason}"


def _job(site: Site, one: bytes, other: bytes) -> Job:
    symbols = (site.injection.function,)
    return Job(str(site.path), one.decode(), other.decode(), symbols, "equivalent", hints=_hints(site))


def _there(site: Site, findings: list[Finding], *, right: bool = False) -> list[Finding]:
    """The findings at the mistake's place; rows are those of the wrong text, so ``right`` goes by functions alone."""
    return [
        each
        for each in findings
        if any(each.symbol == name or each.symbol.startswith(f"{name}.") for name in site.injection.where)
        or (not right and any(row in rows for rows in site.rows for row in _span(each)))
    ]


def _span(finding: Finding) -> range:
    return range(finding.location.row, finding.end_location.row + 1)


@lru_cache(maxsize=64)
def _right_findings(path: Path, data: bytes) -> list[Finding]:
    """Of all rules at once: sites of several rules have the same right text."""
    return _findings(path, data, _all_settings())


def _findings(path: Path, data: bytes, settings: Settings) -> list[Finding]:
    """The findings of a text in the place of a file, so that what it imports from its project is followed."""
    try:
        return list(lint(decode(path, data), settings, noqa=False).findings)
    except SourceError:
        return []


@cache
def _settings(rule: str) -> Settings:
    return Settings(select=(rule,), unsafe_fixes=True, exclude=())


@cache
def _all_settings() -> Settings:
    return Settings(select=RULES, unsafe_fixes=True, exclude=())


def _hints(site: Site) -> dict[str, tuple[str | int | None, ...]]:
    return _hints_of(site.path, site.right, site.injection.unit)


@lru_cache(maxsize=64)
def _hints_of(path: Path, data: bytes, unit: str) -> dict[str, tuple[str | int | None, ...]]:
    try:
        model, _ = modelled(decode(path, data), Settings())
    except (SourceError, RecursionError):
        return {}
    return dict(input_hints(model, f"{unit}.forward"))


@lru_cache(maxsize=1)
def _validator() -> Validator:
    """This process's own, closed when it ends."""
    validator = Validator(devices=("cpu",), timeout=TIMEOUT)
    atexit.register(validator.close)
    return validator
