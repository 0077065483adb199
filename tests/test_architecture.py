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


_SHARED = (
    "mha_lint.rules.base",
    "mha_lint.rules.asking",
    "mha_lint.rules.mask_uses",
    "mha_lint.rules.rotary_behind_cache",
)  # no rules


def test_no_rule_imports_another_one() -> None:
    for path in sorted((ROOT / "mha_lint/rules").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mha_lint.rules."):
                assert node.module in _SHARED, path.name


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


# --- code is read off its tree ---------------------------------------------------------------------------------------

# What is matched there is no code: the pattern of an einops call, a number as it is printed, the words of one name.
# Of conditions the model keeps the text; once it keeps their nodes, the last two go.
_MATCHED = {
    "mha_lint/model/einops_api.py",
    "mha_lint/rules/asking.py",
    "mha_lint/rules/dropout_active_in_eval.py",
    "mha_lint/rules/mask_and_causal_flag.py",
}
_GIVE_CODE = frozenset({"text", "source", "whole", "cut", "line"})


def _reads_code(node: ast.AST) -> bool:
    """An expression gives the text of code: ``run.text(node)``, ``places.source(node)``, ``places.text``."""
    match node:
        case ast.Call(func=ast.Attribute(attr=name)) | ast.Attribute(attr=name):
            return name in _GIVE_CODE
        case _:
            return False


def _matches(node: ast.AST) -> bool:
    match node:
        case ast.Call(func=ast.Attribute(attr="search" | "match" | "fullmatch" | "findall" | "finditer" | "sub")):
            return True
        case ast.Call(func=ast.Name(id="is_said")):
            return True
        case _:
            return False


def _is_of_re(node: ast.AST) -> bool:
    """``re.compile``, ``re.sub`` and the like; ``re.Pattern`` is a type."""
    match node:
        case ast.Attribute(value=ast.Name(id="re"), attr=name):
            return name not in ("Pattern", "IGNORECASE")
        case _:
            return False


def _matched_code(tree: ast.AST) -> list[int]:
    """The rows on which a pattern is matched with the text of code."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and _matches(node)]
    return [call.lineno for call in calls if any(_reads_code(each) for arg in call.args for each in ast.walk(arg))]


def test_no_pattern_is_matched_with_the_text_of_code() -> None:
    found, matching = [], set()
    for folder in ("mha_lint/model", "mha_lint/rules"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            name, tree = path.relative_to(ROOT).as_posix(), ast.parse(path.read_text("utf-8"))
            found += [f"{name}:{row}" for row in _matched_code(tree)]
            if any(map(_is_of_re, ast.walk(tree))):
                matching.add(name)
    assert found == []
    assert matching <= _MATCHED


def test_a_pattern_that_is_matched_with_the_text_of_code_is_found() -> None:
    for text in ("_A.search(run.text(node))", "is_said(A, places.source(node))", "re.search(a, places.text)"):
        assert _matched_code(ast.parse(text)) == [1]
    for text in ("_A.search(name)", "is_said(A, node.attr)", "names_said(A, node)"):
        assert _matched_code(ast.parse(text)) == []
