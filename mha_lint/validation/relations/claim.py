"""Define what the engine asks of a relation: each of the four claims something else of before and after."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Protocol

import torch
from msgspec import Struct

from mha_lint.findings import Verdict
from mha_lint.validation.search.harness import Search
from mha_lint.validation.search.setups import Setup
from mha_lint.validation.search.specs import Assignment
from mha_lint.validation.trials import trial
from mha_lint.validation.trials.case import Case, Tried
from mha_lint.validation.trials.coverage import Statement
from mha_lint.validation.trials.pairing import Pair
from mha_lint.validation.trials.record import Noting
from mha_lint.validation.trials.uses import Misuse


class Variant(Struct, frozen=True):
    """A setup as it is run: with every dropout at ``rate`` (None: as it is), and in a ``regime`` of agreement."""

    setup: Setup
    rate: float | None = None
    regime: str = ""


class Extra(Struct, frozen=True):
    """A further setup, run in ``dtypes``, with so many ``shapes`` and at a ``rate`` of dropout; None: as any is.

    Where it is not ``needed``, running out of time in it costs nothing. Each of the ``kernels`` of attention is forced
    in trials of its own.
    """

    setup: Setup
    dtypes: tuple[torch.dtype, ...] | None = None
    shapes: int | None = None
    rate: float | None = None
    needed: bool = True
    kernels: tuple[str, ...] = ("",)


class Ran(Struct, frozen=True):
    """The changed and the flagged statements that ran: when the file was imported, the module built, and in a trial."""

    before: frozenset[Statement]
    after: frozenset[Statement]
    flagged: frozenset[Statement]


class Outcome(Struct, frozen=True):
    """The outcome of a trial ("agree", "skipped" or "not covered"), in words what it shows.

    ``met`` are flagged statements that did what they were flagged for. ``apart`` and ``rounded`` say that the results
    differ: in what the layout of before makes of them, or within the bound on rounding.
    """

    outcome: str
    detail: str = ""
    met: frozenset[Statement] = frozenset()
    apart: bool = False
    rounded: bool = False


class Claim(Protocol):
    """A relation, as it is claimed of the texts of one job. Judging raises Refuted where the claim is shown wrong."""

    as_handed: bool  # a method counts only with what its callers hand it
    results_stay: bool  # the results of after are those of before
    met: set[Statement]  # flagged statements that the meaning was asked for

    def meaning(self) -> contextlib.AbstractContextManager[None]:
        """The context in which before does what it means."""
        ...

    def further(self, search: Search, setups: list[Setup]) -> list[Setup]:
        """Setups to try besides those that the search found."""
        ...

    def variants(self, setup: Setup, device: str) -> Iterator[Variant]:
        """The ways to run a setup; one is asked for when the trials of the one before are over."""
        ...

    def elsewhere(self, search: Search, setup: Setup, device: str) -> Iterator[Extra]:
        """Few setups more, once the others ran on this device."""
        ...

    def dtypes(self, device: str) -> tuple[torch.dtype, ...]:
        """The dtypes of trials on a device."""
        ...

    def assignments(self, variant: Variant, pair: Pair, found: list[Assignment]) -> list[Assignment]:
        """The sizes that are tried, given those that before accepts."""
        ...

    def prepared(self, case: Case, tell: Callable[[str], None]) -> Case:
        """The case as this relation runs it."""
        ...

    def execute(self, case: Case, tell: Callable[[str], None]) -> tuple[trial.Seen, trial.Seen]:
        """Run before, as it means, and after, while it is watched which lines run."""
        ...

    def errors(self, note: Noting, before: BaseException | None, after: BaseException | None) -> None:
        """Note a trial in which a text raised."""
        ...

    def judge(self, tried: Tried, ran: Ran) -> Outcome:
        """Tell what a trial shows in which neither text raised."""
        ...

    def end(self, variant: Variant) -> None:
        """Sum up the trials of a variant, which are over."""
        ...

    def misused(self, variant: Variant, pair: Pair, assignments: list[Assignment], device: str) -> Misuse | None:
        """The first use, other than those of trials, in which after is wrong."""
        ...

    def lacking(self) -> str:
        """In words, what this relation lacks for a verdict, besides what any does; "" where nothing."""
        ...

    def finish(self, verdict: Verdict, *, in_time: bool) -> Verdict:
        """The verdict with what this relation adds to it; ``in_time`` says that the trials came to their end."""
        ...
