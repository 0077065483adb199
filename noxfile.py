"""Every supported Python, and the oldest dependencies that pyproject.toml admits: ``pip install nox[uv] && nox``.

A session whose interpreter is not there, and can't be had by uv, is left out with a warning.
"""

from __future__ import annotations

from pathlib import Path

import nox

ROOT = Path(__file__).parent
PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
TESTS = ("-m", "not slow and not cuda", "--numprocesses", "logical")  # those that need torch skip themselves

nox.options.default_venv_backend = "uv|virtualenv"
nox.options.error_on_missing_interpreters = False


@nox.session(python=PYTHONS)
def lint(session: nox.Session) -> None:
    """Linting, in an environment without torch."""
    session.install("--editable", ".[flake8,test]")
    session.run("pytest", *TESTS, *session.posargs)


@nox.session(python=PYTHONS)
def lowest(session: nox.Session) -> None:
    """The same with the oldest dependencies."""
    session.install("uv")
    oldest = Path(session.virtualenv.location) / "oldest.txt"  # nox's own folder would be that of the tests as well
    session.run(
        "uv", "pip", "compile", "--quiet", "--resolution", "lowest-direct", "--extra", "flake8",
        "--output-file", str(oldest), str(ROOT / "pyproject.toml"),
    )  # fmt: skip
    session.install("--editable", ".[flake8,test]", "--constraint", str(oldest))
    session.run("pytest", *TESTS, *session.posargs)
