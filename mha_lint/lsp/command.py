"""``mha-lint server``: starts the language server, or says in one line why it can't start."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Sequence

import mha_lint

FAILED = 2
INSTALL = 'mha-lint: error: the language server needs pygls, which this Python lacks: pip install "mha-lint[lsp]"'


def main(arguments: Sequence[str]) -> int:
    """Serve one client on stdin and stdout until it leaves, which ends the process; return 2 where pygls is missing."""
    _parser().parse_args(arguments)
    if importlib.util.find_spec("pygls") is None:
        print(INSTALL, file=sys.stderr)
        return FAILED
    from mha_lint.lsp.server import serve

    return serve()


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="mha-lint server",
        description="Serve an editor by the Language Server Protocol on stdin and stdout. Editors start this command; "
        "docs/editors.md says how. A folder named server is linted by `mha-lint ./server`.",
        allow_abbrev=False,
    )
    made.add_argument("--stdio", action="store_true", help="accepted, since many clients pass it; it changes nothing")
    made.add_argument("--version", action="version", version=f"mha-lint {mha_lint.__version__}")
    return made
