"""The layout model held against torch on random chains of operations.

    python tests/bench/exactness.py [--chains N] [--jobs N]

Each chain is run on a real tensor (any rank and layout, sizes of 1 included) and told to the model as source code.
The model's shape, strides, contiguity and its answer to each view must be torch's, or "unknown". Prints every
contradiction, then ``N chains, C contradictions, K fully known (P %), V of W raising views known``. Exit status 1 on a
contradiction.
"""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from hypothesis import HealthCheck, Phase, given, seed, settings

from mha_lint.model.layout import Answer
from tests.model.chains import Chain, chains, disagreement, is_known, told


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--chains", type=int, default=100_000)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    share = 2_000
    rounds = [
        (number, min(share, options.chains - start)) for number, start in enumerate(range(0, options.chains, share))
    ]
    total = wrong = known = raising = found = 0
    with ProcessPoolExecutor(options.jobs) as pool:
        for counts, texts in pool.map(_round, rounds):
            total, known, raising, found = (a + b for a, b in zip((total, known, raising, found), counts, strict=True))
            wrong += len(texts)
            for text in texts:
                print(text, flush=True)
    share_known = 100 * known / max(total, 1)
    print(
        f"{total} chains, {wrong} contradictions, {known} fully known ({share_known:.1f} %), "
        f"{found} of {raising} raising views known"
    )
    return 1 if wrong else 0


def _round(job: tuple[int, int]) -> tuple[tuple[int, int, int, int], list[str]]:
    number, count = job
    total = known = raising = found = 0
    wrong: list[str] = []

    @seed(number)
    @settings(max_examples=count, database=None, deadline=None, phases=[Phase.generate],
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(chains())
    def ask(chain: Chain) -> None:
        nonlocal total, known, raising, found
        said = told(chain)
        total += 1
        known += is_known(chain, said)
        raising += chain.failed
        found += chain.failed and bool(said.views) and said.views[-1] is Answer.NEVER
        contradiction = disagreement(chain, said)
        if contradiction is not None:
            wrong.append(f"{contradiction}\n{chain.source}")

    ask()
    return (total, known, raising, found), wrong


if __name__ == "__main__":
    sys.exit(main())
