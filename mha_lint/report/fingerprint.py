"""What tells a finding from all others, and stays the same when something else in the file is edited."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence

from mha_lint.report import Entry, portable_path
from mha_lint.report.excerpt import row_of


def fingerprints(entries: Sequence[Entry]) -> list[str]:
    """32 hexadecimal digits for each entry. No two are equal.

    They come of the path, the code, the symbol, and the row of source without its spaces. Equal ones are counted in
    the order of the file. Neither rows nor words of a message are in it, which may change without the finding.
    """
    seen: Counter[tuple[str, ...]] = Counter()
    made = []
    for entry in entries:
        finding = entry.finding
        row = row_of(entry.text, finding.location.row)
        known = (portable_path(finding.filename), finding.code, finding.symbol, "".join(row.split()))
        parts = [*known, str(seen[known])]
        seen[known] += 1
        made.append(hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:32])
    return made
