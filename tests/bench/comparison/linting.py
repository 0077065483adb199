"""A process that lints with one version of the tool what it is sent, file by file.

    python tests/bench/comparison/linting.py FOLDER [--without-screen]

FOLDER is where the version is laid out. Each row of the input is JSON with the path of a file and its bytes as base64;
each row of the output is JSON with what was found in it and the CPU seconds that took. This file is run beside versions
of any age, so it asks of them only what all have.
"""

from __future__ import annotations

import base64
import dataclasses
import importlib
import inspect
import json
import sys
import time
from pathlib import Path
from typing import Any


def main() -> None:
    folder = str(Path(sys.argv[1]).resolve())
    sys.path[0] = folder  # in place of the folder of this script
    from mha_lint.files import SourceError, decode
    from mha_lint.linter import lint
    from mha_lint.settings import Settings

    options: dict[str, Any] = {"noqa": False}
    if "--without-screen" in sys.argv and "screened" in inspect.signature(lint).parameters:
        options["screened"] = False
    settings = Settings().with_selection(("ALL",), (), ())
    for row in sys.stdin:
        asked = json.loads(row)
        begun = time.process_time()
        findings: list[dict[str, Any]] = []
        error = ""
        try:
            source = decode(Path(asked["path"]), base64.b64decode(asked["data"]))
            found: Any = lint(source, settings, **options)  # earlier versions return the findings alone
            findings = [_plain(finding) for finding in getattr(found, "findings", found)]
        except SourceError as refused:
            error = str(refused)
        except Exception as crash:
            error = f"crash: {type(crash).__name__}: {crash}"
        seconds = time.process_time() - begun
        _check_origin(folder)
        print(json.dumps({"findings": findings, "error": error, "seconds": seconds}), flush=True)


def _plain(finding: Any) -> dict[str, Any]:
    """All that a finding says, without where the file lies and what validation found out."""
    if dataclasses.is_dataclass(finding):  # a version that did without msgspec
        fields = dataclasses.asdict(finding)
    else:
        fields = importlib.import_module("msgspec").to_builtins(finding)
    return {name: value for name, value in fields.items() if name not in ("filename", "verdict")}


def _check_origin(folder: str) -> None:
    """Raise RuntimeError where a module was taken from another version that is installed beside this one."""
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "mha_lint":
            file = str(getattr(module, "__file__", None))
            if not file.startswith(folder):
                raise RuntimeError(f"{name} was imported from {file}, not from {folder}")


if __name__ == "__main__":
    main()
