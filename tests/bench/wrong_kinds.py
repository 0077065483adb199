"""All kinds of wrong fixes that claim to compute the same, each told apart by what hides it."""

from __future__ import annotations

from tests.bench import wrong_branches, wrong_constructors, wrong_inputs, wrong_statements, wrong_values
from tests.bench.rewrites import Kind


def kinds() -> list[Kind]:
    parts = (wrong_statements, wrong_constructors, wrong_branches, wrong_inputs, wrong_values)
    return [kind for part in parts for kind in part.kinds()]
