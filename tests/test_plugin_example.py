"""The package in ``examples/plugin``, built and installed beside a project, does what the page about it shows."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest
from checkout import ROOT

import mha_lint

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PLUGIN = ROOT / "examples/plugin"
PAGE = (ROOT / "docs/writing-a-rule.md").read_text("utf-8")
MODEL = """\
import torch
import torch.nn.functional as F
from torch import nn


class CausalAttention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.heads, c // self.heads).transpose(1, 3).unbind(2)
        y = F.scaled_dot_product_attention(q, k, v, None, 0.0, True)
        return self.proj(y.transpose(1, 2).reshape(b, t, c))
"""


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def run(*command: str, folder: Path, site: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONDONTWRITEBYTECODE": "1"}
    if site is not None:
        environment["PYTHONPATH"] = str(site)
    return subprocess.run([sys.executable, "-m", *command], cwd=folder, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plugin")
    shutil.copytree(PLUGIN, folder / "plugin")
    here = ("--no-isolation", "--skip-dependency-check") if find_spec("setuptools") else ()
    done = run("build", "--wheel", *here, "--outdir", str(folder / "dist"), folder=folder / "plugin")
    assert done.returncode == 0, done.stdout + done.stderr
    (made,) = (folder / "dist").iterdir()
    return made


@pytest.fixture
def site(wheel: Path, tmp_path: Path) -> Path:
    """A folder on the path of Python, in which the package is installed."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    return tmp_path / "site"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "model.py").write_text(MODEL)
    return folder


@pytest.mark.slow
def test_its_rule_is_found_and_its_fix_is_validated_as_the_page_shows(site: Path, project: Path) -> None:
    pytest.importorskip("torch")
    assert "ACM001  mask-by-place" in run("mha_lint", "--list-rules", folder=project, site=site).stdout
    command, _, shown = blocks("console")[0].partition("\n")
    done = run(*command.removeprefix("$ ").replace("mha-lint", "mha_lint").split(), folder=project, site=site)
    assert (done.returncode, done.stdout) == (0, shown), done.stderr
    assert (project / "model.py").read_text() == MODEL.replace(
        "None, 0.0, True", "attn_mask=None, dropout_p=0.0, is_causal=True"
    )


@pytest.mark.slow
def test_a_wrong_fixer_is_refuted_and_nothing_is_written_as_the_page_shows(site: Path, project: Path) -> None:
    pytest.importorskip("torch")
    fixer = site / "acme_attention/mask_by_name.py"
    (wrong,) = re.findall(r"Write `(\(.*?\))` into the fixer", PAGE)
    right = '("attn_mask", "dropout_p", "is_causal")'
    assert right in fixer.read_text()
    fixer.write_text(fixer.read_text().replace(right, wrong))
    command, _, shown = blocks("console")[1].partition("\n")
    done = run(*command.removeprefix("$ ").replace("mha-lint", "mha_lint").split(), folder=project, site=site)
    assert (done.returncode, done.stdout) == (1, shown), done.stderr
    assert (project / "model.py").read_text() == MODEL


@pytest.mark.slow
def test_its_own_tests_pass(site: Path, tmp_path: Path) -> None:
    shutil.copytree(PLUGIN / "tests", tmp_path / "tests")
    done = run("pytest", "-q", "-p", "no:cacheprovider", "tests", folder=tmp_path, site=site)
    assert done.returncode == 0, done.stdout
    assert "5 passed" in done.stdout


def test_what_the_page_shows_of_its_code_is_its_code() -> None:
    """Blocks of Python may leave out docstrings, comments and what encloses them."""
    written = "\n".join(bare(file.read_text("utf-8")) for file in sorted(PLUGIN.rglob("*.py")))
    shown = [block for block in blocks("python") if "def " in block]
    assert len(shown) == 3
    for block in shown:
        for part in ast.parse(block).body:
            assert ast.unparse(part) in dedented(written), ast.unparse(part)


def bare(text: str) -> str:
    """Code in Python's own layout, without docstrings."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and ast.get_docstring(node):
            node.body = node.body[1:]
    return ast.unparse(tree)


def dedented(text: str) -> str:
    """The text, and once more with its methods at the margin."""
    return text + "\n" + "\n".join(line.removeprefix("    ") for line in text.splitlines())


def test_the_page_declares_what_the_package_declares_and_that_admits_this_version() -> None:
    (block,) = blocks("toml")
    shown, declared = tomllib.loads(block)["project"], tomllib.loads((PLUGIN / "pyproject.toml").read_text())["project"]
    assert all(declared[key] == value for key, value in shown.items())
    (needs,) = declared["dependencies"]
    minor = ".".join(mha_lint.__version__.split(".")[:2])
    assert needs == f"mha-lint~={minor}.0"


def test_linting_the_examples_finds_nothing_in_the_package() -> None:
    done = run("mha_lint", "--isolated", "--no-cache", "--select", "ALL", str(PLUGIN), folder=ROOT)
    assert done.returncode == 0, done.stdout
