"""Attention code with the mistakes that the rules look for written into it, and with those it has taken out."""

from __future__ import annotations

import random
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.bench.injection.code import Injection, edited
from tests.bench.injection.sites import injections_of


def changed(text: str) -> Iterator[str]:
    """The code with the mistakes that rules look for, and without."""
    yield text
    yield text.replace(".contiguous()", "")
    yield text.replace(".reshape(", ".view(")
    yield re.sub(r"(?<=\))(?=\.(?:view|transpose|permute)\()", ".contiguous()", text)
    yield text.replace(".unbind(2)", ".permute(2, 0, 1, 3, 4).unbind(0)").replace(
        ".chunk(3, dim=-1)", ".view(3, 1, -1)"
    )
    yield re.sub(r"self\.(?:proj|out_proj|o_proj|to_out)\((\w+)\)", r"\1", text)
    yield text.replace(".contiguous()", "").replace(".view(", ".reshape(")


def injected(text: str, seed: int = 0) -> Iterator[tuple[str, str]]:
    """The code with one mistake of each of the rules MHA101 to MHA113 that it has room for, named by rule and form.

    Which mistake of a rule is written is drawn by ``seed``. Where a rule has only mistakes about a mask that the code
    lacks, the mask is planted, wrong.
    """
    data = text.encode("utf-8", "surrogatepass")
    by_rule: dict[str, list[Injection]] = defaultdict(list)
    for _, injection in injections_of(Path("model.py"), data):
        by_rule[injection.rule].append(injection)
    for rule, here in sorted(by_rule.items()):
        natural = [injection for injection in here if not injection.planted]
        chosen = random.Random(f"{seed} {rule}").choice(natural or here)
        yield f"{rule} {chosen.form}, row {chosen.row}", edited(data, chosen.edits).decode("utf-8", "surrogatepass")
