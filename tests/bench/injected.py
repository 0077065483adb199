"""How many of the mistakes that rules MHA101 to MHA113 look for are found, shown wrong and put right in real code.

    python tests/bench/injected.py PACKAGE_OR_PATH... [--rule MHA101 ...] [--limit N] [--fix] [--show]
    python tests/bench/injected.py PACKAGE_OR_PATH... --count       how many classes have room for each mistake
    python tests/bench/injected.py PACKAGE_OR_PATH... --changes     which mistakes change what the class computes

PACKAGE_OR_PATH is a file, a folder of source, an unpacked package, or what pip is to download. One mistake at a time
is written into one class, in memory: at most two a class and rule, drawn by ``--seed``, and ``--limit`` classes a rule.
Where a class has no mask or cache to get wrong, a right causal mask (or cache) is planted for the comparison, and then
a wrong one: such sites are counted apart. A mistake is found when a finding of its rule, which the right text doesn't
have, lies in the rows that changed, in their function, or in one that calls it or reads the attribute that it sets.

With ``--fix``, what the harness can run, changed lines and all, is fixed with that rule alone: shown wrong is what the
evidence has a counterexample of, and back is what computes the same as the right text. One row a rule.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mha_lint.rules import rule_of
from tests.bench.injection.outcomes import Outcome, changes, measured
from tests.bench.injection.sites import RULES, Site, by_form, drawn, sites

HEAD = "| rule | sites | planted | classes | found | | no difference | runnable | shown wrong | fixed | back |"


def main() -> int:
    options = _options()
    rules = frozenset(options.rule or RULES)
    with ProcessPoolExecutor(options.processes) as pool:
        found = sites(options.packages, rules, pool)
        if options.count:
            _count(found)
            return 0
        if options.changes:
            _changes(by_form(found, options.limit, options.seed), options)
            return 0
        chosen = drawn(found, options.limit, options.seed)
        chosen.sort(key=lambda site: (site.path, site.injection.rule))  # what a file's right text has is asked once
        outcomes = list(pool.map(measured, chosen, [options.fix] * len(chosen), chunksize=4))
    print(HEAD)
    print("|" + "---|" * (HEAD.count("|") - 1))
    for rule in sorted(rules):
        print(_row(rule, [each for each in outcomes if each.site.injection.rule == rule]), flush=True)
    if options.forms:
        for line in _forms(outcomes):
            print(line)
    if options.show:
        for outcome in outcomes:
            if outcome.miss:
                print(f"{outcome.miss}: {_place(outcome.site)}")
    return 0


def _options() -> argparse.Namespace:
    made = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    made.add_argument("packages", nargs="+", metavar="PACKAGE_OR_PATH")
    made.add_argument("--rule", action="append", choices=RULES, metavar="CODE", help="this rule alone; may be repeated")
    made.add_argument(
        "--limit", type=int, default=60, metavar="N", help="classes a rule, with --changes sites a form; 0 for all"
    )
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--fix", action="store_true", help="run, fix and compare what the harness can run")
    made.add_argument("--show", action="store_true", help="list what was missed")
    made.add_argument("--forms", action="store_true", help="found, by the form of the mistake")
    made.add_argument("--count", action="store_true", help="only count sites and classes")
    made.add_argument("--changes", action="store_true", help="only run each class before and after its mistake")
    made.add_argument("--processes", type=int, default=2)
    return made.parse_args()


def _place(site: Site) -> str:
    return f"{site.path}:{site.injection.row} {site.injection.function}: {site.injection.rule} {site.injection.form}"


def _row(rule: str, here: list[Outcome]) -> str:
    if any(each.absent for each in here):
        return f"| {rule} | {len(here)} | rule absent |"
    used = [each for each in here if not each.already]
    classes = len({(each.site.path, each.site.injection.unit) for each in used})
    planted = sum(each.site.injection.planted for each in used)
    found = [each for each in used if each.found]
    runnable = [each for each in found if each.runnable]
    tallies = [sum(getattr(each, what) for each in runnable) for what in ("shown", "fixed", "back")]
    told = [f"{each} ({_percent(each, len(runnable))})" for each in tallies] if runnable else ["–"] * 3
    if rule_of(rule).applicability is None:
        told = ["no fix", "", ""]
    same = sum(each.same for each in found)
    flagged = f"{sum(each.already for each in here)} right ones flagged" if any(each.already for each in here) else ""
    cells = [
        rule,
        len(used),
        planted,
        classes,
        f"{len(found)} ({_percent(len(found), len(used))})",
        flagged,
        same,
        len(runnable),
    ]
    return "| " + " | ".join(map(str, [*cells, *told])) + " |"


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %" if whole else "–"


def _forms(outcomes: list[Outcome]) -> Iterator[str]:
    tally: dict[tuple[str, str], list[bool]] = defaultdict(list)
    for each in (each for each in outcomes if not each.absent and not each.already):
        tally[each.site.injection.rule, each.site.injection.form].append(each.found)
    for (rule, form), hits in sorted(tally.items()):
        yield f"{rule} {form}: found {sum(hits)} of {len(hits)}"


def _count(found: list[Site]) -> None:
    packages = list(dict.fromkeys(site.package for site in found))
    short = [Path(each).name for each in packages]
    print("| rule | sites | classes | of them as they are | " + " | ".join(short) + " |")
    print("|" + "---|" * (len(packages) + 4))
    for rule in RULES:
        here = [site for site in found if site.injection.rule == rule]
        natural = {(site.path, site.injection.unit) for site in here if not site.injection.planted}
        classes = {(site.path, site.injection.unit): site.package for site in here}
        each = Counter(classes.values())
        cells = [rule, len(here), len(classes), len(natural), *(each[name] for name in packages)]
        print("| " + " | ".join(map(str, cells)) + " |")


def _changes(chosen: list[Site], options: argparse.Namespace) -> None:
    tally: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    with ProcessPoolExecutor(options.processes) as pool:
        for site, (verdict, reason) in zip(chosen, pool.map(changes, chosen), strict=True):
            tally[site.injection.rule, site.injection.form][verdict] += 1
            if options.show and verdict != "changed":
                print(f"{verdict}: {_place(site)}: {reason[:200]}", flush=True)
    print("| rule | form | changed | the same | not run |")
    print("|---|---|---:|---:|---:|")
    for (rule, form), counts in sorted(tally.items()):
        print(f"| {rule} | {form} | {counts['changed']} | {counts['the same']} | {counts['not run']} |")


if __name__ == "__main__":
    sys.exit(main())
