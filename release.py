"""Builds what is published, twice the same: ``make dist``.

    python release.py dist

The times in both archives are that of the last commit (or ``SOURCE_DATE_EPOCH``), and nobody owns their files: the same
commit and the same build tools give the same bytes on every machine. ``twine check --strict`` reads the metadata.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent


def main() -> None:
    out = Path(sys.argv[1] if sys.argv[1:] else "dist").resolve()
    for made in build(ROOT, out, epoch(ROOT)):
        print(f"{hashlib.sha256(made.read_bytes()).hexdigest()}  {made.name}")


def epoch(checkout: Path) -> int:
    """The time of the last commit, in seconds; ``SOURCE_DATE_EPOCH`` is stronger."""
    if said := os.environ.get("SOURCE_DATE_EPOCH"):
        return int(said)
    command = ["git", "log", "-1", "--format=%ct"]
    return int(subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=True).stdout)


def build(checkout: Path, out: Path, at: int) -> list[Path]:
    """The source distribution, and the wheel that is built of it, in a folder that holds nothing else then.

    Raises CalledProcessError where a tool fails.
    """
    shutil.rmtree(out, ignore_errors=True)
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(at)}
    _run("build", "--outdir", str(out), str(checkout), environment=environment)
    (source,) = out.glob("*.tar.gz")
    source.write_bytes(_without_times(source.read_bytes(), at))
    made = sorted(out.iterdir())
    _run("twine", "check", "--strict", *map(str, made), environment=environment)
    return made


def _run(module: str, *arguments: str, environment: dict[str, str]) -> None:
    subprocess.run([sys.executable, "-m", module, *arguments], env=environment, check=True, stdout=sys.stderr)


def _without_times(data: bytes, at: int) -> bytes:
    """A source distribution whose members have one time, one owner and plain modes, in the order of their names."""
    packed = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(data)) as before,
        gzip.GzipFile(fileobj=packed, mode="wb", filename="", mtime=at) as stream,
        tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as after,
    ):
        for member in sorted(before.getmembers(), key=lambda each: each.name):
            member.mtime, member.uid, member.gid, member.uname, member.gname = at, 0, 0, "", ""
            member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            member.pax_headers = {}
            after.addfile(member, before.extractfile(member))
    return packed.getvalue()


if __name__ == "__main__":
    main()
