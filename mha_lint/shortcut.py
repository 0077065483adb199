"""The console script. Files that can't hold a finding end here, before most of what the command needs is imported.

It serves files given by name under no settings of their own, as pre-commit gives them; whatever is out of the ordinary
goes to :mod:`mha_lint.cli`, which says and does the same for all the rest.
"""

from __future__ import annotations

import gc
import os
import sys

from mha_lint.screen import admits

# Options that change nothing where nothing is found.
_HARMLESS = frozenset(
    {"--isolated", "--no-cache", "--force-exclude", "--fix", "--exit-non-zero-on-fix", "-q", "--quiet"}
)
_SETTINGS = (".mha-lint.toml", "mha-lint.toml")
_VARIABLES = "MHA_LINT_"  # of the environment, which choose a format
INTERRUPTION = "interrupted: each file is either as it was or wholly fixed"
_BOM = b"\xef\xbb\xbf"
_PASSED = b"All checks passed.\n"


def entry() -> None:
    """Run the command and exit with its status."""
    _open_closed_streams()
    try:
        if not passed(sys.argv[1:]):
            gc.set_threshold(50_000)  # importing makes many objects, and no cycle to speak of
            from mha_lint.cli import entry as run

            run()
    except KeyboardInterrupt:  # before the command was there to answer it
        print(INTERRUPTION, file=sys.stderr)
        sys.exit(130)


def _open_closed_streams() -> None:
    """Give each standard stream that the caller closed (``>&-``) a file, lest a file of ours takes its number.

    Writing to such a stdout fails, and is told; what goes to such a stderr is lost, as was asked.
    """
    streams = (("stdin", os.O_RDONLY, "r"), ("stdout", os.O_RDONLY, "w"), ("stderr", os.O_WRONLY, "w"))
    for number, (name, flags, mode) in enumerate(streams):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, flags)  # takes the lowest number that is free, which is this one
            setattr(sys, name, os.fdopen(number, mode, closefd=False))


def passed(arguments: list[str]) -> bool:
    """Tell whether the run is over: no file that is named can hold a finding, and that was reported."""
    paths = [argument for argument in arguments if argument not in _HARMLESS]
    try:
        if any(name.startswith(_VARIABLES) for name in os.environ):
            return False
        if not paths or not all(map(_is_plain, paths)):
            return False
        if "--isolated" not in arguments and _are_configured(paths):
            return False
        if not {"-q", "--quiet"} & set(arguments):
            os.write(sys.stdout.fileno(), _PASSED)
    except (OSError, ValueError):  # cli knows how to say it
        return False
    return True


def _is_plain(path: str) -> bool:
    """Tell whether a path is that of an ordinary Python file or notebook, in which no rule could find anything."""
    if path.startswith("-") or not path.endswith((".py", ".pyi", ".ipynb")) or not os.path.isfile(path):
        return False
    with open(path, "rb") as stream:
        data = stream.read()
    if path.endswith(".ipynb"):
        return _is_plain_notebook(data)
    if data.startswith(_BOM) or b"\0" in data or b"coding" in data[:4096]:
        return False
    data.decode()  # ValueError where it is not UTF-8
    return not admits(data)


def _is_plain_notebook(data: bytes) -> bool:
    from mha_lint.notebook import NotebookError, read

    try:
        program = read(data.decode()).program  # ValueError where it is not UTF-8
    except NotebookError:
        return False
    return not admits(program.encode("utf-8", "surrogatepass"))


def _are_configured(paths: list[str]) -> bool:
    """Tell whether a settings file above a path, or above the working directory, may have settings to check."""
    seen: set[str] = set()
    for folder in {os.getcwd(), *(os.path.dirname(os.path.abspath(path)) for path in paths)}:
        while folder not in seen:
            seen.add(folder)
            if any(os.path.lexists(os.path.join(folder, name)) for name in _SETTINGS):
                return True
            file = os.path.join(folder, "pyproject.toml")
            if os.path.lexists(file):
                with open(file, "rb") as stream:
                    if b"mha-lint" in stream.read():
                        return True
            folder = os.path.dirname(folder)
    return False
