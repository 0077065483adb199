"""Times the fixes of the rules about speed, over the examples and over sizes: the figures of docs/speed.md.

    python tests/bench/speed.py --device cuda --out docs/speed/h100.json [--rules MHA201,MHA202] [--shapes 8x1024x768]
        [--compile] [--commit HASH]

It calls ``mha-lint --diff --bench --unsafe-fixes`` on each example that a rule has a finding in, one rule after the
other, and keeps what the report says: the median and the quartiles of before and after, and the peaks of memory. What
an older FILE has of other rules stays. ``docs/write_speed.py`` makes the page.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
RULES = ("MHA002", "MHA004", "MHA005", "MHA201", "MHA202", "MHA203", "MHA204", "MHA205")
FILES = {  # each rule's own example, and the notebook, which has four more kinds of MHA201
    "MHA002": ("unbind_qkv.py",),
    "MHA004": ("needless_contiguous.py",),
    "MHA005": ("mask_not_a_buffer.py",),
    "MHA201": ("naive_attention.py", "nine_ways_to_attend.ipynb"),
    "MHA202": ("unused_attention_weights.py",),
    "MHA203": ("causal_mask_where_flag_does.py",),
    "MHA204": ("mask_rebuilt_every_forward.py",),
    "MHA205": ("repeated_kv_heads.py",),
}
SHAPES = {
    "cpu": "4x64x256,2x128x512,2x256x512,1x512x768,1x1024x768,1x2048x512",
    "cuda": "4x64x512,4x256x512,8x512x768,8x1024x768,4x2048x1024,4x4096x1024",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), required=True)
    parser.add_argument("--rules", default=",".join(RULES))
    parser.add_argument("--shapes", default="")
    parser.add_argument("--compile", action="store_true", help="time compiled code, and keep that alone")
    parser.add_argument("--timeout", type=float, default=600.0, metavar="SECONDS", help="for each fix")
    parser.add_argument("--until", type=float, default=0.0, metavar="SECONDS", help="begin no rule after so long")
    parser.add_argument("--commit", default="", help="of the tool; by default what git says")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    shapes = args.shapes or SHAPES[args.device]
    start = time.monotonic()
    for rule in args.rules.split(","):
        if args.until and time.monotonic() - start > args.until:
            print(f"{rule}: no time is left", flush=True)
            continue
        begun = time.monotonic()
        findings = list(measured(rule, args.device, shapes, args.timeout, compiled=args.compile))
        rows = [row for finding in findings for row in finding["rows"]]
        keep(args.out, rule, findings, args.commit or commit())
        print(
            f"{rule}: {len(rows)} measurements of {len(findings)} fixes, {time.monotonic() - begun:.0f} s", flush=True
        )


def measured(rule: str, device: str, shapes: str, timeout: float, *, compiled: bool) -> Iterator[dict[str, Any]]:
    """What the report says of each finding of a rule: where it stands, its verdict, and one row for a measurement."""
    command = [
        sys.executable, "-m", "mha_lint", "--isolated", "--no-cache", "--exit-zero", "--output-format", "json",
        "--diff", "--bench", "--unsafe-fixes", "--bench-compile" if compiled else "--no-bench-compile",
        "--select", rule, "--bench-shapes", shapes, "--timeout", str(timeout),
        "--device", device, "--require-device", device, *FILES[rule],
    ]  # fmt: skip
    run = subprocess.run(command, cwd=ROOT / "examples", capture_output=True, text=True, check=False)
    if run.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {run.returncode}:\n{run.stderr}")
    report = json.loads(run.stdout)
    for finding in report if isinstance(report, list) else report["findings"]:
        bench = finding.get("bench") or {}
        verdict = finding["validation"] or {}
        yield {
            "rule": rule,
            "example": Path(finding["filename"]).name,
            "symbol": finding["symbol"],
            "verdict": verdict.get("verdict", "not tried"),
            "reason": bench.get("reason", ""),
            "left": sorted({left["why"] for left in bench.get("left_out", ())}),
            "torch": bench.get("torch", ""),
            "device": bench.get("devices", {}).get(device, device),
            "rows": [row(each) for each in bench.get("timed", ()) if each["compiled"] == compiled],
        }


def row(timed: dict[str, Any]) -> dict[str, Any]:
    """One measurement: milliseconds (lower quartile, median, upper quartile) and MiB."""
    kept = {key: timed[key] for key in ("dtype", "preset", "way", "compiled", "difference")}
    for side in ("before", "after"):
        kept[side] = [round(timed[side][key] * 1000, 5) for key in ("lower_quartile", "median", "upper_quartile")]
        memory = timed[f"memory_{side}"]
        kept[f"memory_{side}"] = None if memory is None else round(memory / 2**20, 3)
    return kept


def keep(file: Path, rule: str, findings: list[dict[str, Any]], at: str) -> None:
    """Put the findings of a rule into the file, in the place of its older ones."""
    earlier = json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
    stamped = [
        {**finding, "date": datetime.date.today().isoformat(), "commit": at, "python": platform.python_version(),
         "processor": processor()}
        for finding in findings
    ]  # fmt: skip
    kept = sorted(
        [*(each for each in earlier if each["rule"] != rule), *stamped],
        key=lambda each: (each["rule"], each["example"]),
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(written(kept), encoding="utf-8")


def written(findings: list[dict[str, Any]]) -> str:
    """JSON with one measurement a line, so that a change can be read."""
    parts = []
    for finding in findings:
        head = json.dumps({key: value for key, value in finding.items() if key != "rows"})
        rows = ",\n  ".join(map(json.dumps, finding["rows"]))
        parts.append(f'{head[:-1]}, "rows": [\n  {rows}]}}')
    return "[\n" + ",\n".join(parts) + "\n]\n"


def processor() -> str:
    """The processor's name as the system says it, and the number of cores that this process may use."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line]
        name = names[0] if names else name
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{name}, {cores} cores"


def commit() -> str:
    run = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
    return run.stdout.strip()


if __name__ == "__main__":
    main()
