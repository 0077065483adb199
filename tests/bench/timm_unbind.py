"""MHA002 on timm: which sites are found, which fixes are validated, and whether timm still computes the same.

    python tests/bench/timm_unbind.py [PATH_OR_PACKAGE] [--device auto|cpu|cuda]

PATH_OR_PACKAGE is an unpacked ``timm`` folder, or what pip is to download (default ``timm``); downloads are kept in
``$XDG_CACHE_HOME/mha-lint-bench``. The sites found are counted against a plain-text search that knows nothing of the
linter. Then timm's models are run from the original and from the fixed copy, each in a process of its own, and the
outputs of every class that was changed are compared bit for bit; this part needs what timm itself needs (torchvision,
huggingface_hub, safetensors, pyyaml). Last line: ``found N, validated M, of K sites``. Exit status 1 when an output
differs or could not be compared.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Small models that between them use timm's attention classes.
MODELS = (
    "beit_base_patch16_224", "caformer_s18", "coat_lite_tiny", "convit_tiny", "davit_tiny", "edgenext_small",
    "eva02_tiny_patch14_224", "fastvit_ma36", "gcvit_xxtiny", "hiera_tiny_224", "mvitv2_tiny", "nest_tiny",
    "pvt_v2_b0", "resnet50_clip", "samvit_base_patch16_224", "swin_tiny_patch4_window7_224", "swinv2_cr_tiny_224",
    "swinv2_tiny_window8_256", "tnt_s_legacy_patch16_224", "tnt_s_patch16_224", "twins_pcpvt_small",
    "twins_svt_small", "visformer_tiny", "vit_base_patch16_rope_224", "vit_base_patch16_siglip_224",
    "vit_relpos_small_patch16_224", "vit_tiny_patch16_224", "volo_d1_224", "xcit_nano_12_p16_224",
)  # fmt: skip

# A call that unbinds dim 0, and names on its row that say what is unbound.
_UNBIND = re.compile(r"\bunbind\(\s*(?:\w+\s*,\s*)?(?:dim=)?0?\s*\)")
_PACKED = re.compile(r"\b(?:x_)?(?:q?kv|qk)\b|\b(?:q|query), (?:k|key)\b|\b(?:k|key), (?:v|value)\b")


def main() -> int:
    options = _options()
    if options.record:
        return _record(*options.record)
    with tempfile.TemporaryDirectory(prefix="mha-lint-timm-") as folder:
        original, fixed = Path(folder, "original", "timm"), Path(folder, "fixed", "timm")
        shutil.copytree(_package(options.package), original, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(original, fixed)
        findings = _fix(fixed, options.device)
        sites = set(_sites(original))
        found, validated = _report(findings, sites, fixed)
        same = _compare(original, fixed, findings, Path(folder))
        print(f"found {found}, validated {validated}, of {len(sites)} sites")
    return 0 if same else 1


def _options() -> argparse.Namespace:
    made = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    made.add_argument("package", nargs="?", default="timm", help="an unpacked timm folder, or a requirement for pip")
    made.add_argument("--device", default="auto", help="where fixes are validated (default: auto)")
    made.add_argument("--record", nargs=3, help=argparse.SUPPRESS)  # what the child processes do
    return made.parse_args()


def _package(name: str) -> Path:
    """The folder of timm's source, downloaded when ``name`` is no folder."""
    path = Path(name)
    if path.is_dir():
        return path if (path / "__init__.py").is_file() else path / "timm"
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mha-lint-bench" / name
    if not (home / "timm").is_dir():
        home.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", "-d", home, name],
            check=True,
        )
        with zipfile.ZipFile(next(home.glob("timm-*.whl"))) as wheel:
            wheel.extractall(home)
    return home / "timm"


def _fix(package: Path, device: str) -> list[dict[str, Any]]:
    """Run the tool on ``package`` and return what it reports, sorted by place."""
    report = package.parent / "report.json"
    command = [sys.executable, "-m", "mha_lint", "--fix", "--select", "MHA002", "--isolated", "--no-cache"]
    command += ["--device", device, "--output-format", "json", "--output-file", str(report), str(package)]
    status = subprocess.run(command, check=False).returncode
    if status not in (0, 1):
        sys.exit(f"mha-lint failed with exit status {status}")
    findings: list[dict[str, Any]] = json.loads(report.read_text())["findings"]
    return sorted(findings, key=lambda finding: (finding["filename"], finding["location"]["row"]))


def _sites(package: Path) -> Iterator[tuple[str, int]]:
    """Rows that a plain-text search takes for an unbind of packed q, k and v: (path in the package, row)."""
    for path in sorted(package.rglob("*.py")):
        for row, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            code = line.split("#")[0]
            if _UNBIND.search(code) and _PACKED.search(code):
                yield str(path.relative_to(package)), row


def _report(findings: list[dict[str, Any]], sites: set[tuple[str, int]], package: Path) -> tuple[int, int]:
    """Print a line a site; return how many of ``sites`` were found, and how many fixes were validated."""
    found, validated = set(), 0
    for finding in findings:
        site = (str(Path(finding["filename"]).relative_to(package.resolve())), finding["location"]["row"])
        found.add(site)
        validation = finding["validation"] or {"verdict": "no fix", "trials": [], "reason": finding["message"]}
        trials = {}
        for trial in validation["trials"]:
            agree, run = trials.get(trial["device"], (0, 0))
            trials[trial["device"]] = agree + (trial["outcome"] == "agree"), run + 1
        validated += validation["verdict"] == "validated"
        told = " · ".join(f"{device} {agree}/{run}" for device, (agree, run) in trials.items())
        if validation["verdict"] != "validated":
            told = f"{told} ({validation['reason']})".strip()
        print(f"{site[0]}:{site[1]}: {finding['symbol']}: {validation['verdict']}: {told}")
    for name, row in sorted(sites - found):
        print(f"{name}:{row}: not found")
    for name, row in sorted(found - sites):
        print(f"{name}:{row}: found, and not among the sites of the plain-text search")
    return len(found & sites), validated


def _compare(original: Path, fixed: Path, findings: list[dict[str, Any]], folder: Path) -> bool:
    """Run timm's models from both copies; True when the outputs of all changed classes that ran are the same."""
    changed = set()
    for finding in findings:
        path = Path(finding["filename"]).relative_to(fixed.resolve())
        if (original / path).read_bytes() != (fixed / path).read_bytes():
            module = ".".join(("timm", *path.with_suffix("").parts))
            changed.add(f"{module}:{finding['symbol'].split('.')[0]}")
    records = []
    for copy in (original, fixed):
        out = folder / f"{copy.parent.name}.json"
        command = [sys.executable, __file__, "--record", str(copy.parent), json.dumps(sorted(changed)), str(out)]
        status = subprocess.run(command, check=False).returncode
        if status != 0:
            print("outputs of timm's models: not compared, because timm could not be run (see above)")
            return False
        records.append(json.loads(out.read_text()))
    before, after = records
    ran = {key.split()[0] for key in before}
    differing = sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
    print(f"outputs of timm's models: {len(before)} modules of {len(ran)} changed classes ran; {len(differing)} differ")
    for key in differing:
        print(f"  differs: {key}")
    for name in sorted(changed - ran):
        print(f"  changed, and in none of the models that were run: {name}")
    return not differing


def _record(root: str, changed_json: str, out: str) -> int:
    """In a child process: run every model of ``root``'s timm; write a digest of each changed module's output."""
    sys.path.insert(0, root)
    import timm
    import torch

    assert Path(timm.__file__).is_relative_to(root), f"timm was imported from {timm.__file__}"
    torch.use_deterministic_algorithms(True)
    changed = set(json.loads(changed_json))
    digests: dict[str, str] = {}

    def digest(value: Any) -> str:
        if isinstance(value, torch.Tensor):
            return hashlib.sha256(value.detach().contiguous().numpy().tobytes()).hexdigest()
        if isinstance(value, (tuple, list)):
            return " ".join(digest(item) for item in value)
        return repr(value)

    for model_name in MODELS:
        if not timm.is_model(model_name):
            print(f"  this timm has no {model_name}", file=sys.stderr)
            continue
        torch.manual_seed(0)
        model = timm.create_model(model_name).eval()
        hooks = 0
        for name, module in model.named_modules():
            kind = f"{type(module).__module__}:{type(module).__qualname__}"
            if kind in changed:
                key = f"{kind} {model_name} {name}"
                module.register_forward_hook(lambda _m, _i, output, key=key: digests.update({key: digest(output)}))
                hooks += 1
        if hooks:
            with torch.no_grad():
                output = model(torch.randn(2, *model.default_cfg["input_size"]))
            assert all(tensor.isfinite().all() for tensor in (output if isinstance(output, tuple) else (output,)))
    Path(out).write_text(json.dumps(digests))
    return 0


if __name__ == "__main__":
    sys.exit(main())
