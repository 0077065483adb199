"""Tell whether validation ever accepts a wrong fix, or refuses a right rewrite, of classes of released packages.

    python tests/bench/wrong_fixes.py PACKAGE_FOLDER... [--only KIND] [--classes N] [--skip N] [--fixes N] [--rights N]
                                      [--jobs N] [--device cpu|cuda] [--json FILE] [--right]

The packages' folders are walked, and the first ``--classes`` classes are kept of those that compute scores and whose
text with a harmless change in ``forward`` is validated: packages in turn, files evenly spread, copies left out.
Into them ``--fixes`` wrong fixes are written, of each kind about as many, and ``--rights`` right rewrites. With
``--right`` these alone are tried; ``--only`` takes the kinds whose name contains the text. Wrong fixes that no trial on
the devices can tell from right ones are inherent: a few of each such kind are tried and told apart. Rewrites that
change nothing in their class are listed in ``wrong_but_same.py``, told, and not tried.

Last line: ``accepted A of N wrong fixes outside of the inherent kinds (I inherent ones apart), and R of M right
rewrites``. Exit status 1 when A is not 0, or R is less than 97 % of M.
"""

from __future__ import annotations

import argparse
import json
import queue
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mha_lint.findings import Verdict
from mha_lint.validation import Job, Validator
from tests.bench import right_kinds, wrong_claims, wrong_kinds
from tests.bench.rewrites import Kind, Rewrite
from tests.bench.wrong_but_same import SAME
from tests.bench.wrong_claims import Claim
from tests.bench.wrong_subjects import Subject, candidates, parses

TIMEOUT = 60.0  # seconds for one job, imports included
SHARE = 0.97  # of the right rewrites that must be accepted
WAVE = 4  # files of each package that are analysed at a time


@dataclass(frozen=True, slots=True)
class Case:
    """One rewrite of one class."""

    subject: Subject
    kind: Kind
    rewrite: Rewrite

    @property
    def place(self) -> str:
        return f"{Path(self.subject.package).name}/{self.subject.code.path.name}:{self.subject.name}"


class Validators:
    """As many validators as threads. All jobs of a file go to one of them."""

    def __init__(self, count: int, devices: tuple[str, ...]) -> None:
        self._stack = ExitStack()
        self._free: queue.SimpleQueue[Validator] = queue.SimpleQueue()
        self._count = count
        for _ in range(count):
            self._free.put(self._stack.enter_context(Validator(devices=devices, timeout=TIMEOUT)))

    def __enter__(self) -> Validators:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def verdicts(self, jobs: list[Job], tell: Callable[[int, Verdict], None] | None = None) -> list[Verdict]:
        """The verdicts in the order of the jobs; ``tell`` is called with each as it comes, and its number."""
        by_path: dict[str, list[int]] = defaultdict(list)
        for index, job in enumerate(jobs):
            by_path[job.path].append(index)
        waiting: queue.SimpleQueue[list[int]] = queue.SimpleQueue()
        for group in sorted(by_path.values(), key=len, reverse=True):
            waiting.put(group)
        found: dict[int, Verdict] = {}

        def work() -> None:
            validator = self._free.get()
            try:
                while True:
                    for index in waiting.get_nowait():
                        found[index] = validator.validate(jobs[index])
                        if tell is not None:
                            tell(index, found[index])
                        if tell is not None and len(found) % 50 == 0:
                            print(f"{len(found)} of {len(jobs)}", flush=True)
            except queue.Empty:
                return
            finally:
                self._free.put(validator)

        threads = [threading.Thread(target=work) for _ in range(self._count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return [found[index] for index in range(len(jobs))]


def main() -> int:
    options = _options()
    devices = tuple(options.device.split(","))
    begun = time.monotonic()
    with Validators(options.jobs, devices) as validators:
        with ProcessPoolExecutor(options.jobs) as pool:
            subjects = _subjects(options, validators, pool)
            claims = [] if options.right else _claims(subjects, options, validators, pool)
        if not options.right:
            subjects = _with_widths(subjects, validators)
        print(f"classes found after {time.monotonic() - begun:.0f} s", flush=True)
        wrong = [] if options.right else _wrong(subjects, claims, options, devices)
        right = _right(subjects, options)
        cases = [*wrong, *right]

        def tell(index: int, verdict: Verdict) -> None:
            if index < len(wrong) and verdict.verdict == "validated":
                print(f"accepted: {cases[index].kind.name}: {cases[index].place}", flush=True)

        verdicts = validators.verdicts([_claim(each.subject, each.rewrite) for each in cases], tell)
    told = list(zip(cases, verdicts, strict=True))
    if options.json:
        rows = [_row(case, verdict) for case, verdict in told]
        Path(options.json).write_text(json.dumps(rows, indent=1))
    return _report(told[: len(wrong)], told[len(wrong) :], devices, time.monotonic() - begun)


def _options() -> argparse.Namespace:
    made = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    made.add_argument("packages", nargs="+", metavar="PACKAGE_FOLDER")
    made.add_argument("--only", default="", metavar="KIND", help="kinds whose name contains this text")
    made.add_argument("--classes", type=int, default=60)
    made.add_argument("--skip", type=int, default=0, metavar="N", help="leave out the first N classes that may serve")
    made.add_argument("--fixes", type=int, default=1000, help="wrong fixes, without the inherent ones")
    made.add_argument("--inherent", type=int, default=3, help="wrong fixes of each inherent kind")
    made.add_argument("--rights", type=int, default=200, help="right rewrites")
    made.add_argument("--jobs", type=int, default=2, help="how many validators at a time")
    made.add_argument("--device", default="cpu", help="cpu, cuda or both with a comma")
    made.add_argument("--json", help="write every verdict to this file")
    made.add_argument("--right", action="store_true", help="try right rewrites alone")
    return made.parse_args()


# --- the classes


def _subjects(options: argparse.Namespace, validators: Validators, pool: ProcessPoolExecutor) -> list[Subject]:
    """The first classes whose harmless rewrite is validated."""
    kept: list[Subject] = []
    dropped: Counter[str] = Counter()
    tried = 0
    waiting = islice(candidates(options.packages, pool, max(WAVE, options.jobs)), options.skip, None)
    while len(kept) < options.classes and (some := list(islice(waiting, 2 * options.jobs))):
        for subject, told in zip(some, _controlled(some, validators), strict=True):
            if len(kept) == options.classes:
                break
            tried += 1
            if isinstance(told, Verdict):
                dropped[told.verdict] += 1
                print(f"dropped {subject.path}:{subject.name}: {told.verdict}: {told.reason[:150]}", flush=True)
            else:
                kept.append(told)
    whys = ", ".join(f"{count} {why}" for why, count in dropped.items()) or "none"
    print(f"{len(kept)} classes of {len(options.packages)} packages; {tried} tried, dropped: {whys}")
    for subject in kept:
        print(f"    {subject.path}:{subject.name} rank {subject.rank or '?'}")
    return kept


def _controlled(subjects: list[Subject], validators: Validators) -> list[Subject | Verdict]:
    """Each subject with the rank of its input, or the verdict that drops it.

    The harmless rewrite gives the result a name, and asserts that it is a tensor.
    """
    checks = "assert torch.is_tensor({x}) and torch.is_tensor({y})"
    told: dict[int, Subject | Verdict] = {}
    for rank in (3, 4, 0):
        left = [index for index in range(len(subjects)) if not isinstance(told.get(index), Subject)]
        statements = f"{checks} and {{x}}.dim() == {rank}" if rank else checks
        verdicts = validators.verdicts([_harmless(subjects[index], statements) for index in left])
        for index, verdict in zip(left, verdicts, strict=True):
            fits = verdict.verdict == "validated"
            told[index] = replace(subjects[index], rank=rank) if fits else verdict
    return [told[index] for index in range(len(subjects))]


def _with_widths(subjects: list[Subject], validators: Validators) -> list[Subject]:
    """The subjects, with the width for which an added projection is validated."""
    found = {id(subject): "" for subject in subjects}
    waiting = [(subject, wrong_claims.widths(subject)[:3]) for subject in subjects if subject.rank == 3]
    while waiting := [(subject, names) for subject, names in waiting if names and not found[id(subject)]]:
        asked = [wrong_claims.projected(each, names[0], wrong_claims.RIGHT_PROJECTION) for each, names in waiting]
        jobs = [_claim(subject, rewrite) for (subject, _), rewrite in zip(waiting, asked, strict=True)]
        for (subject, names), verdict in zip(waiting, validators.verdicts(jobs), strict=True):
            found[id(subject)] = names[0] if verdict.verdict == "validated" else ""
        waiting = [(subject, names[1:]) for subject, names in waiting]
    print(f"{sum(map(bool, found.values()))} classes to which a projection can be added")
    return [replace(subject, width=found[id(subject)]) for subject in subjects]


def _claims(
    subjects: list[Subject], options: argparse.Namespace, validators: Validators, pool: ProcessPoolExecutor
) -> list[Claim]:
    """The repairs and corrections that are validated: some of ours, and one of each kind in the subjects."""
    asked = [(each.package, each.code.path, each.name) for each in subjects]
    files = wrong_claims.our_files()
    step = max(len(files) // options.classes, 1)
    released = [claim for claims in pool.map(wrong_claims.claims_of, *zip(*asked, strict=True)) for claim in claims]
    ours = [claim for claims in pool.map(wrong_claims.claims_in, files[::step]) for claim in claims]
    found = [*released, *ours]
    verdicts = validators.verdicts([_claim(each, wrong_claims.right_fix(each)) for each in found])
    kept = [claim for claim, verdict in zip(found, verdicts, strict=True) if verdict.verdict == "validated"]
    print(f"{len(kept)} of {len(found)} repairs and corrections are validated, {len(released)} in released classes")
    return kept


def _harmless(subject: Subject, statements: str) -> Job:
    after = subject.edit(*subject.at_the_result(statements))
    return _claim(subject, Rewrite(subject.text, after, (subject.forward_symbol,)))


# --- the rewrites


def _wrong(
    subjects: list[Subject], claims: list[Claim], options: argparse.Namespace, devices: tuple[str, ...]
) -> list[Case]:
    serving: dict[Kind, Sequence[Subject]] = dict.fromkeys([*wrong_kinds.kinds(), *wrong_claims.kinds()], subjects)
    serving |= dict.fromkeys(wrong_claims.claimed_kinds(), claims)
    asked = {kind: some for kind, some in serving.items() if options.only in kind.name}
    seen = {kind: some for kind, some in asked.items() if kind.harm_on(devices) != "inherent"}
    inherent = {kind: some for kind, some in asked.items() if kind.harm_on(devices) == "inherent"}
    wrong = (case for case in _in_turn(seen) if (case.subject.name, case.kind.name) not in SAME)
    chosen = list(islice(wrong, options.fixes))
    names = {subject.name for subject in subjects}
    for (name, kind), reason in SAME.items():
        if name in names:
            print(f"not tried, since it changes nothing: {kind}: {name}: {reason}")
    return chosen + list(islice(_in_turn(inherent), options.inherent * len(inherent)))


def _right(subjects: list[Subject], options: argparse.Namespace) -> list[Case]:
    kinds = [kind for kind in right_kinds.kinds() if options.only in kind.name]
    return list(islice(_in_turn(dict.fromkeys(kinds, subjects)), options.rights))


def _in_turn(kinds: Mapping[Kind, Sequence[Subject]]) -> Iterator[Case]:
    """Each kind's next rewrite in turn; kinds begin at different classes."""
    waiting = {}
    for index, (kind, subjects) in enumerate(kinds.items()):
        begin = index * 7 % max(len(subjects), 1)
        waiting[kind.name] = _of_kind(kind, [*subjects[begin:], *subjects[:begin]])
    assert len(waiting) == len(kinds), "two kinds have one name"
    first = True
    while waiting:
        for kind in kinds:
            if kind.name not in waiting:
                continue
            case = next(waiting[kind.name], None)
            if case is None:
                del waiting[kind.name]
                if first:
                    print(f"error: no class has room for {kind.name!r}")
            else:
                yield case
        first = False


def _of_kind(kind: Kind, subjects: list[Subject]) -> Iterator[Case]:
    """One rewrite of each class, then a second, and so on."""
    made = [(subject, _valid(kind, subject)) for subject in subjects]
    while made:
        left = []
        for subject, rewrites in made:
            rewrite = next(rewrites, None)
            if rewrite is not None:
                yield Case(subject, kind, rewrite)
                left.append((subject, rewrites))
        made = left


def _valid(kind: Kind, subject: Subject) -> Iterator[Rewrite]:
    """The rewrites of a class that are Python and change something."""
    for rewrite in kind.make(subject):
        if rewrite.before != rewrite.after and parses(rewrite.before) and parses(rewrite.after):
            yield rewrite


def _claim(subject: Subject, rewrite: Rewrite) -> Job:
    return Job(
        subject.path,
        rewrite.before,
        rewrite.after,
        rewrite.symbols,
        rewrite.relation,
        flagged=rewrite.flagged,
        added=rewrite.added,
        hints=dict(subject.hints),
        probes=rewrite.probes,
        agree=rewrite.agree,
        expected=rewrite.expected,
    )


# --- what came out


def _row(case: Case, verdict: Verdict) -> dict[str, object]:
    return {
        "file": f"{Path(case.subject.package).name}/{case.subject.code.path.name}",
        "class": case.subject.name,
        "kind": case.kind.name,
        "item": case.kind.item,
        "harm": case.kind.harm,
        "relation": case.rewrite.relation,
        "verdict": verdict.verdict,
        "reason": verdict.reason,
    }


def _report(
    wrong: list[tuple[Case, Verdict]], right: list[tuple[Case, Verdict]], devices: tuple[str, ...], seconds: float
) -> int:
    seen = [(case, verdict) for case, verdict in wrong if case.kind.harm_on(devices) != "inherent"]
    inherent = [(case, verdict) for case, verdict in wrong if case.kind.harm_on(devices) == "inherent"]
    _table("wrong fixes", seen)
    if inherent:
        _table("inherent: no trial on these devices can tell", inherent)
    if right:
        _table("right rewrites", right)
        refused = [(case, verdict) for case, verdict in right if verdict.verdict != "validated"]
        for case, verdict in refused:
            print(f"refused a right one: {case.kind.name}: {case.place}: {verdict.verdict}: {verdict.reason[:250]}")
    accepted = [(case, verdict) for case, verdict in seen if verdict.verdict == "validated"]
    by_kind: dict[Kind, list[Case]] = defaultdict(list)
    for case, _ in accepted:
        by_kind[case.kind].append(case)
    print(f"\n{len(accepted)} wrong fixes accepted, by kind")
    for kind, cases in sorted(by_kind.items(), key=lambda each: (each[0].item, -len(each[1]), each[0].name)):
        places = ", ".join(case.place for case in cases)
        print(f"    item {kind.item}, {kind.harm}: {kind.name}: {len(cases)}: {places}")
    passed = sum(verdict.verdict == "validated" for _, verdict in right)
    print(f"{len(wrong) + len(right)} rewrites in {seconds:.0f} s")
    print(
        f"accepted {len(accepted)} of {len(seen)} wrong fixes outside of the inherent kinds"
        f" ({len(inherent)} inherent ones apart), and {passed} of {len(right)} right rewrites"
    )
    return 1 if accepted or passed < SHARE * len(right) else 0


def _table(title: str, told: Iterable[tuple[Case, Verdict]]) -> None:
    counts: dict[Kind, Counter[str]] = defaultdict(Counter)
    for case, verdict in told:
        counts[case.kind][verdict.verdict] += 1
    print(f"\n| {title} | item | harm | refuted | not exercised | accepted |\n|---|---:|---|---:|---:|---:|")
    for kind, count in sorted(counts.items(), key=lambda each: (each[0].item, each[0].name)):
        unavailable = f" ({count['unavailable']} unavailable)" if count["unavailable"] else ""
        numbers = f"{count['refuted']} | {count['not exercised']}{unavailable} | {count['validated']}"
        print(f"| {kind.name} | {kind.item} | {kind.harm} | {numbers} |")


if __name__ == "__main__":
    sys.exit(main())
