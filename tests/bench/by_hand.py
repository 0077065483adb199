"""Lists the attention that packages write by hand: the ground on which MHA201 is measured.

    python tests/bench/by_hand.py PACKAGE_FOLDER... [--show] [--all] [--json FILE]

A site is a softmax of scores that come from a product (matmul, @, bmm, baddbmm, einsum), whose weights go into another
product in the same function. The reading is a coarse one of `ast` alone (`tests/bench/hand_written`). It shares nothing
with the linter, so that what the linter can't see is counted all the same. A site either keeps its weights (returns,
stores or appends them), or drops them. Of those that drop them, a reason says where a rewrite would not be legal, or
would only repeat a fused branch: these are silent on purpose. The rest is *to be found*, and mha-lint is asked for it.
A site is found if a finding of MHA201 begins between the rows of its first and of its last product.

``--show`` lists the sites that are missed, those that are silent on purpose with the reason, and findings where
none was to be found; ``--all`` lists every site. ``--json`` writes every site, with its forms, to a file.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.bench.hand_written import words
from tests.bench.hand_written.classes import sites_of
from tests.bench.hand_written.records import DISPATCHES, DROPS, KEEPS, Site

RULE = "MHA201"
COLUMNS = (
    "package | sites | dispatchers | keep their weights | drop them | silent on purpose | to be found | found | missed"
)


@dataclass(frozen=True)
class Finding:
    """One finding of the rule."""

    path: str
    row: int


def main() -> int:
    options = _options()
    packages = {folder: sites_of_folder(folder) for folder in options.packages}
    paths = sorted({site.path for sites in packages.values() for site in sites})
    findings = findings_of(paths, options.rule)
    if findings is None:
        print(f"{options.rule} is not installed: the ground alone is shown.\n")
    rows = []
    told: list[dict[str, object]] = []
    for folder, sites in packages.items():
        found = matched(sites, findings or [])
        rows.append(counts(folder.name, sites, found))
        told += [{"package": folder.name, **asdict(site), "found": site in found} for site in sites]
    _table([*rows, [str(part) for part in total(rows)]])
    _reasons([site for sites in packages.values() for site in sites])
    if options.show or options.all:
        for folder, sites in packages.items():
            _list(folder, sites, findings or [], options.all)
    if options.json:
        options.json.write_text(json.dumps(told, indent=1) + "\n")
    return 0


def sites_of_folder(folder: Path) -> list[Site]:
    """The sites of each file under a folder that names a softmax."""
    found: list[Site] = []
    files = sorted(folder.rglob("*.py")) if folder.is_dir() else [folder]
    for path in files:
        text = path.read_text(encoding="utf-8", errors="replace")
        if "softmax" not in text.lower() and not words.MAKES_WEIGHTS.search(text):
            continue
        try:
            found += sites_of(str(path.resolve()), text)
        except SyntaxError as error:
            print(f"{path}: left out, it does not parse ({error.msg})", file=sys.stderr)
    return found


def findings_of(paths: list[str], rule: str) -> list[Finding] | None:
    """What mha-lint finds in these files; None if it has no such rule."""
    if not paths:
        return []
    command = [sys.executable, "-m", "mha_lint", "--select", rule, "--output-format", "json", *paths]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if "unknown rule code" in result.stderr:
        return None
    if result.returncode not in (0, 1):
        raise SystemExit(f"mha-lint failed ({result.returncode}):\n{result.stderr}")
    return [Finding(each["filename"], each["location"]["row"]) for each in json.loads(result.stdout)["findings"]]


def matched(sites: list[Site], findings: list[Finding]) -> set[Site]:
    """The sites that were found; a finding counts for the nearest site whose rows hold it."""
    found: set[Site] = set()
    for finding in findings:
        near = [site for site in sites if site.path == finding.path and site.first <= finding.row <= site.end]
        if near:
            found.add(min(near, key=lambda site: abs(site.softmax - finding.row)))
    return found


def to_be_found(site: Site) -> bool:
    return site.kind == DROPS and not site.reasons


def counts(name: str, sites: list[Site], found: set[Site]) -> list[str]:
    kinds = Counter(site.kind for site in sites)
    drops = [site for site in sites if site.kind == DROPS]
    wanted = [site for site in drops if not site.reasons]
    hit = [site for site in wanted if site in found]
    figures = [len(sites), kinds[DISPATCHES], kinds[KEEPS], len(drops), len(drops) - len(wanted), len(wanted)]
    return [name, *(str(figure) for figure in (*figures, len(hit), len(wanted) - len(hit)))]


def total(rows: list[list[str]]) -> list[str | int]:
    return ["together", *(sum(int(row[column]) for row in rows) for column in range(1, len(COLUMNS.split("|"))))]


def _table(rows: list[list[str]]) -> None:
    print(f"| {COLUMNS} |")
    print("|" + "---|" * len(COLUMNS.split("|")))
    for row in rows:
        print("| " + " | ".join(row) + " |")


def _reasons(sites: list[Site]) -> None:
    drops = [site for site in sites if site.kind == DROPS]
    print("\nSilent on purpose, by reason (a site may have several):")
    for reason, count in Counter(reason for site in drops for reason in site.reasons).most_common():
        print(f"{count:5} {reason}")
    print("\nForms of those to be found:")
    for form, count in Counter(form for site in drops if not site.reasons for form in site.forms).most_common():
        print(f"{count:5} {form}")


def _list(folder: Path, sites: list[Site], findings: list[Finding], everything: bool) -> None:
    found = matched(sites, findings)
    print(f"\n## {folder.name}")
    for site in sites:
        if everything or site.kind == DROPS:
            print(line(site, folder, site in found))
    for finding in findings:
        inside = Path(finding.path).is_relative_to(folder.resolve())
        if inside and not any(site.path == finding.path and site.first <= finding.row <= site.end for site in sites):
            print(f"found where no site is known: {finding.path}:{finding.row}")


def line(site: Site, folder: Path, found: bool) -> str:
    """One site in one line."""
    where = Path(site.path)
    shown = where.relative_to(folder.resolve()) if where.is_relative_to(folder.resolve()) else where
    state = "found" if found else "missed"
    if not to_be_found(site):
        state = "FOUND, though silent was expected" if found else "silent on purpose"
    if site.kind != DROPS:
        state = f"{'FOUND, though it ' if found else ''}{site.kind}: {', '.join(site.kept)}"
    reasons = f" [{'; '.join(site.reasons)}]" if site.reasons else ""
    rows = f"{site.first}-{site.softmax}-{site.last}"
    return f"{state} | {shown}:{rows} | {site.function} | {', '.join(site.forms)}{reasons}"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("packages", nargs="+", type=Path, metavar="PACKAGE_FOLDER")
    parser.add_argument("--rule", default=RULE, help="the rule that is asked (default: %(default)s)")
    parser.add_argument(
        "--show", action="store_true", help="list the sites that drop their weights, with what became of them"
    )
    parser.add_argument("--all", action="store_true", help="list every site")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every site to a file")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
