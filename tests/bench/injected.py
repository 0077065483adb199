"""How many of the mistakes that rules MHA101 to MHA124 look for are found, shown wrong and put right in real code.

    python tests/bench/injected.py PACKAGE_OR_PATH... [--rule MHA101 ...] [--limit N] [--seed N|random]
                                   [--package-table] [--reasons] [--forms] [--show] [--fix]
    python tests/bench/injected.py PACKAGE_OR_PATH... --count       how many classes have room for each mistake
    python tests/bench/injected.py PACKAGE_OR_PATH... --changes     which mistakes change what the class computes

PACKAGE_OR_PATH is a file, a folder of source, an unpacked package, or what pip is to download. One mistake at a time
is written into one class, in memory, and the text is linted in the place of its file: at most two a class and rule,
and ``--limit`` classes a rule, for which the packages take turns. ``--seed`` draws them; ``random`` prints its draw.
Where a class has no mask or cache to get wrong, a right causal mask (or cache) is planted for the comparison, and then
a wrong one: such sites are counted apart. A mistake is found when a finding of its rule, which the right text doesn't
have, lies in the rows that changed, in their function, or in one that calls it or reads the attribute that it sets.

A mistake about which the rule is silent by its page (``silence.py`` has the reasons) is a site as well. The table
counts such sites in a column of their own; the rest is *to be found*. ``--reasons`` lists the reasons.

With ``--fix``, what the harness can run, changed lines and all, is fixed with that rule alone: shown wrong is what the
evidence has a counterexample of, fixed or not, and back is what computes the same as the right text. Fixed and back
are counted of the rules that have a fixer. One row a rule.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mha_lint.rules import rule_of
from tests.bench.injection.outcomes import Outcome, changes, measured
from tests.bench.injection.sites import RULES, Site, by_form, drawn, sites

COLUMNS = "sites | planted | classes | silent by page | to be found | found | found of all | right ones flagged"
FIXED = "no difference | runnable | shown wrong | fixed | back"


def main() -> int:
    options = _options()
    rules = frozenset(options.rule or RULES)
    with ProcessPoolExecutor(options.processes) as pool:
        found = sites(options.packages, rules, pool)
        if options.count:
            _count(found, options.packages)
            return 0
        if options.changes:
            _changes(by_form(found, options.limit, options.seed), options)
            return 0
        chosen = drawn(found, options.limit, options.seed)
        chosen.sort(key=lambda site: (site.path, site.injection.rule))  # what a file's right text has is asked once
        outcomes = list(pool.map(measured, chosen, [options.fix] * len(chosen), chunksize=4))
    _table("rule", [(rule, _of_rule(outcomes, rule)) for rule in sorted(rules)], options.fix)
    if options.package_table:
        print()
        _table("package", [(Path(name).name, _of_package(outcomes, name)) for name in options.packages], options.fix)
    lists = ((options.reasons, _reasons), (options.forms, _forms), (options.show, _misses))
    for asked, lines in lists:
        if asked:
            print()
            for line in lines(outcomes):
                print(line)
    return 0


def _of_rule(outcomes: list[Outcome], rule: str) -> list[Outcome]:
    return [each for each in outcomes if each.site.injection.rule == rule]


def _of_package(outcomes: list[Outcome], name: str) -> list[Outcome]:
    return [each for each in outcomes if each.site.package == name]


def _seed(text: str) -> int:
    """A number, or ``random``, which draws one and prints it."""
    if text != "random":
        return int(text)
    drawn_seed = random.SystemRandom().randrange(1_000_000)
    print(f"seed {drawn_seed}")
    return drawn_seed


def _options() -> argparse.Namespace:
    made = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    made.add_argument("packages", nargs="+", metavar="PACKAGE_OR_PATH")
    made.add_argument("--rule", action="append", choices=RULES, metavar="CODE", help="this rule alone; may be repeated")
    made.add_argument(
        "--limit", type=int, default=60, metavar="N", help="classes a rule, with --changes sites a form; 0 for all"
    )
    made.add_argument("--seed", type=_seed, default=0, help="a number, or random for a new draw, which is printed")
    made.add_argument("--package-table", action="store_true", help="a second table with one row a package")
    made.add_argument("--reasons", action="store_true", help="the reasons of the sites that are silent by page")
    made.add_argument("--fix", action="store_true", help="run, fix and compare what the harness can run")
    made.add_argument("--show", action="store_true", help="list what was missed")
    made.add_argument("--forms", action="store_true", help="found, by the form of the mistake")
    made.add_argument("--count", action="store_true", help="only count sites and classes")
    made.add_argument("--changes", action="store_true", help="only run each class before and after its mistake")
    made.add_argument("--processes", type=int, default=2)
    return made.parse_args()


def _place(site: Site) -> str:
    return f"{site.path}:{site.injection.row} {site.injection.function}: {site.injection.rule} {site.injection.form}"


def _table(first: str, rows: list[tuple[str, list[Outcome]]], fix: bool) -> None:
    """One row a name, and one for all of them."""
    head = f"| {first} | {COLUMNS} |" + (f" {FIXED} |" if fix else "")
    print(head)
    print("|---" + "|---:" * (head.count("|") - 2) + "|")
    for name, here in rows:
        print(_row(name, here, fix), flush=True)
    print(_row("all", [each for _, here in rows for each in here], fix))


def _row(name: str, here: list[Outcome], fix: bool) -> str:
    if here and all(each.absent for each in here):
        return f"| {name} | {len(here)} | rule absent |"
    used = [each for each in here if not each.already and not each.absent]
    classes = {(each.site.injection.rule, each.site.path, each.site.injection.unit) for each in used}
    silent = [each for each in used if each.site.silent]
    loud = [each for each in used if not each.site.silent]
    silent_found = sum(each.found for each in silent)
    loud_found = sum(each.found for each in loud)
    both = loud_found + silent_found
    cells: list[object] = [
        name,
        len(used),
        sum(each.site.injection.planted for each in used),
        len(classes),
        f"{len(silent)} (found all the same: {silent_found})" if silent else 0,
        len(loud),
        f"{loud_found} ({_percent(loud_found, len(loud))})",
        f"{both} ({_percent(both, len(used))})",
        sum(each.already for each in here),
    ]
    if fix:
        cells += _fixed(used)
    return "| " + " | ".join(map(str, cells)) + " |"


def _fixed(used: list[Outcome]) -> list[object]:
    """What became of the mistakes that were found: the columns of ``--fix``."""
    found = [each for each in used if each.found]
    runnable = [each for each in found if each.runnable]
    fixable = [each for each in runnable if rule_of(each.site.injection.rule).applicability is not None]
    told: list[object] = [sum(each.same for each in found), len(runnable)]
    for what, of in (("shown", runnable), ("fixed", fixable), ("back", fixable)):
        tally = sum(getattr(each, what) for each in of)
        told.append(f"{tally} ({_percent(tally, len(of))})" if of else "–")
    return told


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %" if whole else "–"


def _forms(outcomes: list[Outcome]) -> Iterator[str]:
    tally: dict[tuple[str, str], list[bool]] = defaultdict(list)
    for each in (each for each in outcomes if not each.absent and not each.already):
        tally[each.site.injection.rule, each.site.injection.form].append(each.found)
    for (rule, form), hits in sorted(tally.items()):
        yield f"{rule} {form}: found {sum(hits)} of {len(hits)}"


def _reasons(outcomes: list[Outcome]) -> Iterator[str]:
    """The reasons of silence, the most frequent first, and how many of their sites are found all the same."""
    tally: dict[tuple[str, str], list[bool]] = defaultdict(list)
    for each in outcomes:
        if each.site.silent and not each.absent and not each.already:
            tally[each.site.injection.rule, each.site.silent].append(each.found)
    for (rule, reason), hits in sorted(tally.items(), key=lambda each: -len(each[1])):
        yield f"{rule}: {len(hits)} silent, {sum(hits)} found all the same: {reason}"


def _misses(outcomes: list[Outcome]) -> Iterator[str]:
    for outcome in outcomes:
        if outcome.miss:
            yield f"{outcome.miss}: {_place(outcome.site)}"


def _count(found: list[Site], packages: list[str]) -> None:
    short = [Path(each).name for each in packages]
    print("| rule | sites | silent by page | classes | of them as they are | " + " | ".join(short) + " |")
    print("|" + "---|" * (len(packages) + 5))
    for rule in RULES:
        here = [site for site in found if site.injection.rule == rule]
        natural = {(site.path, site.injection.unit) for site in here if not site.injection.planted}
        classes = {(site.path, site.injection.unit): site.package for site in here}
        each = Counter(classes.values())
        silent = sum(bool(site.silent) for site in here)
        cells = [rule, len(here), silent, len(classes), len(natural), *(each[name] for name in packages)]
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
