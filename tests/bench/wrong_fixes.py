"""Whether validation ever accepts a wrong fix: some hundreds of them, generated, of many kinds.

    python tests/bench/wrong_fixes.py [--only KIND] [--alone] [--json FILE]

The wrong fixes are those of ``tests/validation/wrong_fixes.py``; so that a refusal means something, a harmless rewrite
of each module must be accepted. With ``--alone`` the files raise when they are imported, so that the changed statements
can only be run alone. Last line: ``accepted A of N wrong fixes, and H of C harmless ones``. Exit status 1
when A is not 0, or H is not C.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from mha_lint.validation import Job, Validator
from tests.validation.wrong_fixes import controls, rewrites


def main() -> int:
    made = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    made.add_argument("--only", default="", help="kinds that contain this text")
    made.add_argument("--alone", action="store_true", help="let nothing but the changed statements run")
    made.add_argument("--json", help="write every verdict to this file")
    options = made.parse_args()
    wrong = [each for each in rewrites() if options.only in each.kind]
    harmless = list(controls())
    accepted, passed = 0, 0
    verdicts: Counter[str] = Counter()
    told: list[dict[str, str]] = []
    with tempfile.TemporaryDirectory() as folder, Validator(devices=("cpu",), timeout=60.0) as validator:
        path = Path(folder, "attention.py")
        for each in [*harmless, *wrong]:
            before, after = (text + "\n{}['no import']\n" * options.alone for text in (each.before, each.after))
            path.write_text(before)
            verdict = validator.validate(Job(str(path), before, after, (each.symbol,), "equivalent"))
            fine = verdict.verdict == "validated"
            told.append(
                {"source": each.source, "kind": each.kind, "verdict": verdict.verdict, "reason": verdict.reason}
            )
            if each.kind == "harmless":
                passed += fine
                if not fine:
                    print(f"refused a harmless one: {each.source}: {verdict.verdict}: {verdict.reason[:300]}")
                continue
            verdicts[verdict.verdict] += 1
            accepted += fine
            if fine:
                print(f"ACCEPTED a wrong one: {each.source}: {each.kind}")
    if options.json:
        Path(options.json).write_text(json.dumps(told, indent=1))
    print(", ".join(f"{name}: {count}" for name, count in verdicts.most_common()))
    print(f"accepted {accepted} of {len(wrong)} wrong fixes, and {passed} of {len(harmless)} harmless ones")
    return 0 if accepted == 0 and passed == len(harmless) else 1


if __name__ == "__main__":
    sys.exit(main())
