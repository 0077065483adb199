"""Right rewrites of attention classes, of many kinds: a reviewer would take each of them for the same code.

They are made where the class runs unconditionally. A few kinds need what most classes lack, such as a branch on the
mode; these write it into both texts, in two ways.
"""

from __future__ import annotations

from tests.bench import right_layouts, right_statements
from tests.bench.rewrites import Kind


def kinds() -> list[Kind]:
    return [*right_layouts.kinds(), *right_statements.kinds()]
