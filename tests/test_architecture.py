"""Who may import whom, as ``[tool.importlinter]`` in pyproject.toml says."""

from __future__ import annotations

import ast
import subprocess
import sys

from checkout import ROOT

LINT_IMPORTS = "import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())"


def test_imports_flow_as_the_design_says() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LINT_IMPORTS, "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def test_no_rule_imports_another_one() -> None:
    for path in sorted((ROOT / "mha_lint/rules").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mha_lint.rules."):
                assert node.module in ("mha_lint.rules.base", "mha_lint.rules.asking"), path.name


def test_the_core_loads_no_heavy_library_when_imported() -> None:
    light = (
        "cli",
        "files",
        "settings",
        "noqa",
        "runner",
        "cache",
        "progress",
        "report.text",
        "validation",
        "flake8_plugin",
    )
    script = (
        f"import sys, importlib\nfor name in {light!r}:\n    importlib.import_module('mha_lint.' + name)\n"
        "print(sorted({'torch', 'libcst', 'rich', 'pathspec', 'flake8'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
