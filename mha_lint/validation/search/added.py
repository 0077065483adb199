"""Setups that reach what only the text after has: an arm that a rewrite adds can't be searched for in before."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from msgspec.structs import replace

from mha_lint.validation.search.clock import now
from mha_lint.validation.search.harness import Search
from mha_lint.validation.search.setups import Setup
from mha_lint.validation.trials.coverage import Statement
from mha_lint.validation.trials.pairing import Sources

_SECONDS = 3.0  # for the search
_SETUPS = 2


def reaching_added(sources: Sources, missing: frozenset[Statement], search: Search) -> Iterator[Setup]:
    """Ways to run ``missing`` statements of after which before takes as well; ``search`` is the one through before."""
    if not missing:
        return
    until = now() + _SECONDS
    through_after = replace(
        search,
        loaded=sources.after,
        wanted=missing,
        meaning=contextlib.nullcontext,
        deadline=until,
        met=set(),
        failed_plans=0,
        trained=[],
    )
    for setup in through_after.find(sources.job.symbols)[:_SETUPS]:
        if search.takes(setup):
            yield setup
