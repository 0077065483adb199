"""How many of the mistakes that this version finds, and another one missed, are put right by a validated fix.

    python tests/bench/newly_found.py PACKAGE_OR_PATH... --against COMMIT [--limit N] [--seed N] [--show]

The mistakes are those of ``injected.py``, written one at a time into real classes. COMMIT is a commit of this
repository, or a folder with a checkout: the other version lints each wrong text in processes of its own. Each mistake
that this version alone finds is fixed with its rule alone. One row a rule: the mistakes found here; those that are new;
of them those with a fixer that the harness can run; and what became of these. *Fixed* is a validated fix at the level
of the module, a method or a function, which is written.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from queue import SimpleQueue

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mha_lint.rules import rule_of
from tests.bench.comparison.trees import laid_out
from tests.bench.injection.outcomes import Outcome, measured
from tests.bench.injection.sites import RULES, Site, drawn, sites
from tests.bench.same_findings import Text, Version

COLUMNS = "| rule | found | newly found | with a fixer | runnable | shown wrong | fixed | of those with a fixer |"


def main() -> int:
    options = _options()
    with ProcessPoolExecutor(options.processes) as pool:
        chosen = drawn(sites(options.packages, frozenset(options.rule or RULES), pool), options.limit, options.seed)
        chosen.sort(key=lambda site: (site.path, site.injection.rule))
        here = [each.site for each in pool.map(_without_fix, chosen, chunksize=4) if each.found]
        missed = _missed(here, options.against, options.processes)
        new = [site for site, is_missed in zip(here, missed, strict=True) if is_missed]
        outcomes = list(pool.map(_with_fix, new))
    print(COLUMNS)
    print("|---" + "|---:" * (COLUMNS.count("|") - 2) + "|")
    for rule in sorted({site.injection.rule for site in here}):
        print(_row(rule, [site for site in here if site.injection.rule == rule], _of(outcomes, rule)))
    print(_row("all", here, outcomes))
    for each in outcomes if options.show else ():
        if not each.fixed:
            print(f"{each.site.path}:{each.site.injection.row} {each.site.injection.rule}: {each.reason[:300]}")
    return 0


def _options() -> argparse.Namespace:
    made = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    made.add_argument("packages", nargs="+", metavar="PACKAGE_OR_PATH")
    made.add_argument("--against", required=True, metavar="COMMIT")
    made.add_argument("--rule", action="append", choices=RULES, metavar="CODE", help="this rule alone; may be repeated")
    made.add_argument("--limit", type=int, default=20, metavar="N", help="classes a rule; 0 for all")
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--show", action="store_true", help="list what was not fixed, with the reason")
    made.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    return made.parse_args()


def _without_fix(site: Site) -> Outcome:
    return measured(site, fix=False)


def _with_fix(site: Site) -> Outcome:
    return measured(site, fix=True)


def _missed(found: Sequence[Site], against: str, processes: int) -> list[bool]:
    """Tell for each site whether the other version finds nothing of its rule in the wrong class or function."""
    free: SimpleQueue[Version] = SimpleQueue()

    def missed(site: Site) -> bool:
        version = free.get()
        try:
            report = version.lint(Text(site.path, str(site.path), site.wrong))
        finally:
            free.put(version)
        unit, rule = site.injection.unit, site.injection.rule
        return not any(each["code"] == rule and each["symbol"].partition(".")[0] == unit for each in report.findings)

    with tempfile.TemporaryDirectory() as temporary, ExitStack() as running:
        folder = laid_out(against, Path(temporary) / "other")
        for _ in range(processes):
            free.put(running.enter_context(Version(folder, screened=True)))
        with ThreadPoolExecutor(processes) as pool:
            return list(pool.map(missed, found))


def _of(outcomes: Sequence[Outcome], rule: str) -> list[Outcome]:
    return [each for each in outcomes if each.site.injection.rule == rule]


def _row(name: str, found: Sequence[Site], new: Sequence[Outcome]) -> str:
    fixable = [each for each in new if rule_of(each.site.injection.rule).applicability is not None and not each.same]
    fixed = sum(each.fixed for each in fixable)
    share = f"{100 * fixed / len(fixable):.0f} %" if fixable else "–"
    cells = [
        name,
        len(found),
        len(new),
        len(fixable),
        sum(each.runnable for each in fixable),
        sum(each.shown for each in fixable),
        fixed,
        share,
    ]
    return "| " + " | ".join(map(str, cells)) + " |"


if __name__ == "__main__":
    sys.exit(main())
