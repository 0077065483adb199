"""What each rule costs beside the model that it reads, in a Markdown table.

    python tests/bench/rule_cost.py PACKAGE_OR_PATH...

Milliseconds of the processor, over all files that the screen admits. *Nothing to look at* is the part spent on files
in which all tables that the rule reads are empty: what could be saved if the rule were not called there.
"""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mha_lint import linter, screen
from mha_lint.files import SourceError, read_source
from mha_lint.model.attention import FileModel, analyse
from mha_lint.rules import Rule, all_rules
from mha_lint.syntax.places import Places

ALWAYS_THERE = frozenset({"module", "names", "defined_in"})
TABLES = frozenset(FileModel.__struct_fields__) - ALWAYS_THERE


class Watched:
    """A model that notes which of its tables are read."""

    def __init__(self, model: FileModel) -> None:
        self._model = model
        self.read: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        self.read.add(name)
        return getattr(self._model, name)


def seconds(rule: type[Rule], model: FileModel, places: Places) -> float:
    begun = time.process_time()
    list(linter._checked(rule, model, places))
    return time.process_time() - begun


def has_nothing(rule: type[Rule], model: FileModel, places: Places) -> bool:
    """Tell whether every table that the rule reads is empty."""
    watched = Watched(model)
    list(linter._checked(rule, watched, places))  # type: ignore[arg-type]  # it answers as the model does
    return not any(getattr(model, name) for name in watched.read & TABLES)


def main() -> None:
    taken: dict[str, float] = defaultdict(float)
    idle: dict[str, float] = defaultdict(float)
    modelling, files = 0.0, 0
    for root in map(Path, sys.argv[1:]):
        for path in sorted(root.rglob("*.py")) if root.is_dir() else [root]:
            try:
                source = read_source(path)
                if not screen.admits(source.data):
                    continue
                begun = time.process_time()
                module = linter.parse(source)
                model = analyse(module)
                modelling += time.process_time() - begun
            except SourceError:
                continue
            files += 1
            places = Places(module)
            for rule in all_rules():
                cost = seconds(rule, model, places)
                taken[rule.code] += cost
                if has_nothing(rule, model, places):
                    idle[rule.code] += cost
    print(f"{files} files; reading and modelling them took {modelling:.1f} s.\n")
    print("| rule | ms | nothing to look at, ms |\n|---|---:|---:|")
    for code, cost in taken.items():
        print(f"| {code} | {1000 * cost:.1f} | {1000 * idle[code]:.1f} |")
    print(f"| all | {1000 * sum(taken.values()):.1f} | {1000 * sum(idle.values()):.1f} |")


if __name__ == "__main__":
    main()
