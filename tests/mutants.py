"""Attention code with the mistakes that the rules look for written into it, and with those it has taken out."""

from __future__ import annotations

import ast
import random
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.bench.injection.code import Edit, Injection, edited
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
    widths = [each for each in by_rule["MHA104"] if each.form == "model width"]
    for injection in widths[:1]:
        if (renamed := _under_a_name_of_heads(data, injection)) is not None:
            yield f"MHA104 model width by another name, row {injection.row}", renamed
    for rule, here in sorted((rule, here) for rule, here in by_rule.items() if here):
        natural = [injection for injection in here if not injection.planted]
        chosen = random.Random(f"{seed} {rule}").choice(natural or here)
        yield f"{rule} {chosen.form}, row {chosen.row}", edited(data, chosen.edits).decode("utf-8", "surrogatepass")


def _under_a_name_of_heads(data: bytes, injection: Injection) -> str | None:
    """The width of the model under a name for that of a head; None where no statement begins on the row."""
    (edit,) = injection.edits
    row = data.rfind(b"\n", 0, edit.start) + 1
    line = data[row : edit.start].decode("utf-8", "surrogatepass")
    indent = line[: len(line) - len(line.lstrip())]
    named = Edit(row, row, f"{indent}key_dim = {edit.content}\n")
    text = edited(data, (named, replace(edit, content="key_dim"))).decode("utf-8", "surrogatepass")
    try:
        ast.parse(text)
    except SyntaxError:
        return None
    return text
