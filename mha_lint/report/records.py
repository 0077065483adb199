"""The objects of the JSON that ``--output-format json`` prints; docs/schema is written from them.

A field keeps its name, type and meaning as long as ``VERSION`` stays. A new field is no new version.
"""

from __future__ import annotations

import math
import os
from typing import Literal

import msgspec

from mha_lint.bench.results import Difference, Way
from mha_lint.findings import Applicability, Failure, Relation, Severity, VerdictName
from mha_lint.observation import Observation, Outcome
from mha_lint.report.json_text import dumped

VERSION: Literal[1] = 1
NotFinite = Literal["nan", "inf", "-inf"]  # JSON has no such numbers


class Place(msgspec.Struct, frozen=True):
    """A place in a file, or in a cell of a notebook. Both count from 1; columns are in characters (code points)."""

    row: int
    column: int


class Change(msgspec.Struct, frozen=True):
    """Replace what stands from `location` to `end_location`, which is not included, by `content`.

    In a notebook, `cell` is the number of the cell.
    """

    content: str
    location: Place
    end_location: Place
    cell: int | msgspec.UnsetType = msgspec.UNSET


class ProposedFix(msgspec.Struct, frozen=True):
    """All `edits` of a fix go together. `relation` is what it claims about the code before and after."""

    applicability: Applicability
    relation: Relation
    message: str
    edits: list[Change]


class Tried(msgspec.Struct, frozen=True):
    """One execution of the code before and after a fix."""

    device: str
    dtype: str
    mode: str
    shapes: list[str]
    max_abs_diff: float | NotFinite | None
    outcome: str
    detail: str


class Validation(msgspec.Struct, frozen=True):
    """The answer of executing the code to a fix, or to a finding that has none."""

    verdict: VerdictName
    harness: str | None
    reason: str
    stub: str
    counterexample: str
    unshown: bool
    caveat: str
    tried: str | None
    trials: list[Tried]


class Clocked(msgspec.Struct, frozen=True):
    """The seconds of one call: the median over several measurements, and the quartiles around it."""

    median: float
    lower_quartile: float
    upper_quartile: float
    measurements: int


class Timing(msgspec.Struct, frozen=True):
    """One measurement before and after a fix. Memory is in bytes, and null where it could not be measured."""

    device: str
    dtype: str
    preset: str
    shapes: list[str]
    way: Way
    compiled: bool
    before: Clocked
    after: Clocked
    ratio: float
    difference: Difference
    memory_before: int | None
    memory_after: int | None


class NotTimed(msgspec.Struct, frozen=True):
    """What was not measured, and why. Empty fields stand for all devices, dtypes, presets and ways."""

    why: str
    device: str
    dtype: str
    preset: str
    way: str
    compiled: bool


class Benched(msgspec.Struct, frozen=True):
    """The timings of a fix. `withheld` says why it was not written for that; `reason` why nothing was measured."""

    withheld: str | None
    reason: str
    called: str
    torch: str
    devices: dict[str, str]
    no_difference_below: float
    cached: bool
    timed: list[Timing]
    left_out: list[NotTimed]


class FindingRecord(msgspec.Struct, frozen=True):
    """One finding. `fixed` says that the file has been changed, `fixable` that `--fix` tries its fix.

    `suppressed` says what silences it, as "baseline"; `gone` says which other fix took it along; `cell` is its cell in
    a notebook; `bench` are the timings of `--bench`. `filename` is absolute, or `-` for stdin.
    """

    code: str
    name: str
    severity: Severity
    message: str
    filename: str
    cell: int | None
    location: Place
    end_location: Place
    symbol: str
    noqa_row: int
    url: str
    fixable: bool
    fixed: bool
    suppressed: str | None
    gone: str | None
    fix: ProposedFix | None
    validation: Validation | None
    bench: Benched | msgspec.UnsetType = msgspec.UNSET


class Error(msgspec.Struct, frozen=True):
    """What could not be done. `filename` is null where it is not about one file, `row` where no row is known."""

    message: str
    filename: str | None
    row: int | None


class Findings(msgspec.Struct, frozen=True):
    """What `mha-lint --output-format json` prints. `files` counts those that were looked at.

    Where `errors` is not empty, something was not looked at, or not written.
    """

    version: Literal[1]
    files: int
    findings: list[FindingRecord]
    errors: list[Error]


class RuleCount(msgspec.Struct, frozen=True):
    """One rule: the number of its findings, and of those whose fix `--fix` tries."""

    code: str
    name: str
    count: int
    fixable: bool
    fixable_count: int


class Statistics(msgspec.Struct, frozen=True):
    """What `mha-lint --statistics --output-format json` prints; the most frequent rule comes first."""

    version: Literal[1]
    files: int
    rules: list[RuleCount]
    errors: list[Error]


class Observed(msgspec.Struct, frozen=True):
    """One property, and the answer to whether it holds. `size` says how large a violation is, where it has a size."""

    probe: str
    outcome: Outcome
    words: str
    size: float | NotFinite | None


class Probe(msgspec.Struct, frozen=True):
    """What `mha-lint --probe … --output-format json` prints: the observations on each device, by its kind."""

    version: Literal[1]
    path: str
    target: str
    level: str
    how: str
    shapes: list[str]
    observations: dict[str, list[Observed]]


# Each schema by the name of its file in docs/schema.
SCHEMAS: dict[str, type[msgspec.Struct]] = {
    "report": Findings,
    "statistics": Statistics,
    "probe": Probe,
}


def failure(failed: Failure) -> Error:
    """The record of something that could not be done."""
    return Error(failed.message, absolute(failed.filename) if failed.filename else None, failed.row)


def observed(observation: Observation) -> Observed:
    """The record of what a probe saw."""
    return Observed(observation.probe, observation.outcome, observation.words, finite(observation.size))


def finite(number: float | None) -> float | NotFinite | None:
    """The number, or its name where JSON has no such number."""
    if number is None or math.isfinite(number):
        return number
    if math.isnan(number):
        return "nan"
    return "inf" if number > 0 else "-inf"


def absolute(filename: str) -> str:
    """The whole path of a file; ``-`` is stdin."""
    return filename if filename == "-" else os.path.abspath(filename)


def written(record: msgspec.Struct) -> str:
    """The JSON of a record, with the names of files as they are."""
    return dumped(msgspec.to_builtins(record), exact=True)
