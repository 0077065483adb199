"""A file is imported as what it is, with or without the packages that it wants."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
from installed_command import Project
from samples import BROKEN, FIXED

from .conftest import Check
from .modules import VIT

pytest.importorskip("torch")

pytestmark = pytest.mark.slow

SPLIT = "q, k, v = qkv.unbind(0)"
INDEXED = "q, k, v = qkv[0], qkv[1], qkv[2]"
SYMBOL = "Attention.forward"


def importing(statement: str) -> str:
    return VIT.replace("import torch\n", f"import torch\n{statement}\n", 1)


def test_a_missing_package_that_is_not_needed_to_run_does_no_harm(check: Check) -> None:
    source = importing(
        "import missing_one.deep.inside as deep\n"
        "from missing_two import Base, decorate, CONSTANT\n"
        "class Other(Base): pass\n"
        "@decorate(CONSTANT, size=3)\n"
        "def other(x): return deep.call(x)\n"
        "TABLE = {name: deep.thing for name in ('a', 'b')}"
    )
    verdict = check(source, SPLIT, INDEXED, SYMBOL)
    assert verdict.verdict == "validated", verdict.reason


@pytest.mark.parametrize(
    ("statement", "old", "new"),
    [
        ("import missing", "self.scale = ", "self.scale = missing.one() * "),
        ("from missing import rotary", "B, N, C = x.shape", "x = rotary(x); B, N, C = x.shape"),
        ("from missing import Mixin", "class Attention(nn.Module)", "class Attention(nn.Module, Mixin)"),
        ("from missing import checked", "    def forward(", "    @checked\n    def forward("),
    ],
    ids=["init", "forward", "base class", "decorator"],
)
def test_what_depends_on_a_missing_package_is_never_validated(check: Check, statement: str, old: str, new: str) -> None:
    verdict = check(importing(statement).replace(old, new), SPLIT, INDEXED, SYMBOL)
    assert verdict.verdict == "not exercised"


def test_an_optional_import_is_left_to_the_code_that_guards_it(check: Check) -> None:
    source = importing(
        "try:\n    import missing_kernel\n    FAST = True\nexcept ImportError:\n    FAST = False\nassert not FAST"
    )
    assert check(source, SPLIT, INDEXED, SYMBOL).verdict == "validated"


def test_looking_for_a_package_does_not_find_its_stand_in(check: Check) -> None:
    source = importing(
        "import importlib.util\nimport missing_one\nassert importlib.util.find_spec('missing_two') is None"
    )
    assert check(source, SPLIT, INDEXED, SYMBOL).verdict == "validated"


def test_relative_imports_work_though_the_package_itself_cannot_be_imported(check: Check, tmp_path: Path) -> None:
    package = tmp_path / "library"
    (package / "layers").mkdir(parents=True)
    (package / "__init__.py").write_text("from .layers.norm import scale_of\nraise RuntimeError('needs a licence')\n")
    (package / "layers" / "__init__.py").write_text("")
    (package / "layers" / "norm.py").write_text("def scale_of(width):\n    return width ** -0.5\n")
    for statement in ("from .norm import scale_of", "from ..layers import norm", "from library import scale_of"):
        verdict = check(importing(statement), SPLIT, INDEXED, SYMBOL, file="library/layers/attention.py")
        assert verdict.verdict == "validated", (statement, verdict.reason)


def test_a_package_whose_imports_go_in_a_circle_is_imported_root_first_and_its_other_parts_lazily(
    check: Check, tmp_path: Path
) -> None:
    files = {
        "__init__": "from .tools import NAME\n",
        "tools/__init__": "NAME = 'tools'\nfrom .remote import fetch\n",
        "tools/remote": "from ..settings import SCALE\n\n\ndef fetch(): ...\n",
        "settings": "from .tools import NAME\nSCALE = 1.0\n",
        "blocks/__init__": "from .block import half\nraise RuntimeError('needs a licence')\n",
        "blocks/block": "def half(x):\n    return x / 2\n",
        "layers/__init__": "",
    }
    for name, text in files.items():
        path = tmp_path / "library" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    source = importing("from ..settings import SCALE\nfrom ..blocks.block import half")
    source = source.replace("* self.scale", "* half(self.scale) * SCALE")
    verdict = check(source, SPLIT, INDEXED, SYMBOL, file="library/layers/attention.py")
    assert verdict.verdict == "validated", verdict.reason


def test_own_modules_are_found_from_the_project_root(check: Check, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("")
    (tmp_path / "src" / "common").mkdir(parents=True)
    (tmp_path / "src" / "common" / "sizes.py").write_text("SCALE = 1.0\n")
    source = importing("from common.sizes import SCALE").replace("* self.scale", "* self.scale * SCALE")
    verdict = check(source, SPLIT, INDEXED, SYMBOL, file="src/models/attention.py")
    assert verdict.verdict == "validated", verdict.reason


SCALE_OF = "def scale_of(width):\n    return width ** -0.5\n"


@pytest.mark.parametrize("file", ["library/layers/attention.py", "library/layers/inner/attention.py"])
def test_a_package_takes_in_folders_without_an_init_file(check: Check, tmp_path: Path, file: str) -> None:
    package = tmp_path / "library"
    (package / "layers" / "inner").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "sizes.py").write_text(SCALE_OF)
    (package / "layers" / "inner" / "__init__.py").write_text("")
    (package / "layers" / "beside.py").write_text(SCALE_OF)
    dots = "..." if "inner" in file else ".."
    for name in (f"{dots}sizes", "library.sizes", "beside"):
        statement = f"from {name} import scale_of"
        source = importing(statement).replace("* self.scale", "* self.scale * scale_of(4)")
        verdict = check(source, SPLIT, INDEXED, SYMBOL, file=file)
        assert verdict.verdict == "validated", (statement, verdict.reason)


def test_scripted_modules_and_their_source_are_understood(check: Check) -> None:
    source = VIT + "\n\n@torch.jit.script\ndef twice(x: torch.Tensor) -> torch.Tensor:\n    return x * 2\n"
    source = source.replace("return self.proj_drop(self.proj(x))", "return twice(self.proj_drop(self.proj(x)))")
    assert check(source, SPLIT, INDEXED, SYMBOL).verdict == "validated"


@pytest.mark.parametrize(
    ("source", "word"),
    [("def broken(:", "compile"), ("raise ValueError('no')", "ValueError"), ("x = 1", "Attention.forward")],
)
def test_a_file_that_cannot_be_used_is_not_exercised_and_says_why(check: Check, source: str, word: str) -> None:
    verdict = check(source, source, source + "\n\nmore = 1", SYMBOL)
    assert verdict.verdict == "not exercised"
    assert word in verdict.reason


def test_a_mixin_is_run_through_the_module_that_uses_it(check: Check) -> None:
    source = VIT.replace(
        "class Attention(nn.Module):",
        "class Splitting:\n    def split(self, qkv):\n        q, k, v = qkv.unbind(0)\n        return q, k, v\n\n\n"
        "class Attention(Splitting, nn.Module):",
    ).replace(f"        {SPLIT}\n        attn", "        q, k, v = self.split(qkv)\n        attn")
    verdict = check(source, SPLIT, INDEXED, "Splitting.split")
    assert verdict.verdict == "validated", verdict.reason
    assert check(source, SPLIT, "k, q, v = qkv.unbind(0)", "Splitting.split").verdict == "refuted"


@pytest.mark.parametrize(
    "config",
    [
        "from missing import strict\nfrom dataclasses import dataclass\n\n\n@strict\n@dataclass",
        "from missing import strict\nfrom dataclasses import dataclass\n\n\n@strict(accept_kwargs=True)\n@dataclass",
    ],
)
def test_a_class_that_a_missing_package_decorates_is_there_but_never_built(check: Check, config: str) -> None:
    """The configuration is answered by conventional names instead: the class that was meant cannot be had."""
    settings = f"{config}\nclass AttentionConfig:\n    hidden_size: int = 24\n    num_heads: int = 3\n\n"
    source = importing(settings).replace("dim: int, num_heads: int = 8", "config: AttentionConfig")
    source = source.replace(
        "        super", "        dim, num_heads = config.hidden_size, config.num_heads\n        super"
    )
    verdict = check(source, SPLIT, INDEXED, SYMBOL)
    assert verdict.verdict == "validated", verdict.reason
    assert "configuration by conventional names" in verdict.reason
    needed = source.replace("self.scale = ", "AttentionConfig(); self.scale = ")
    verdict = check(needed, SPLIT, INDEXED, SYMBOL)
    assert (verdict.verdict, "is decorated by missing.strict" in verdict.reason) == ("not exercised", True)


@pytest.mark.skipif(find_spec("regex") is not None, reason="needs a package that is missing")
def test_names_are_worked_on_with_what_the_standard_library_has_of_a_missing_package(check: Check) -> None:
    source = importing("import regex\nNAME = ', '.join([regex.compile('[aeiou]').sub('', 'attention')])")
    verdict = check(source.replace("* self.scale", "* self.scale * len('ttntn') / len(NAME)"), SPLIT, INDEXED, SYMBOL)
    assert verdict.verdict == "validated", verdict.reason
    verdict = check(source.replace("B, N, C =", "regex.sub('a', 'b', 'c'); B, N, C ="), SPLIT, INDEXED, SYMBOL)
    assert verdict.verdict == "not exercised"


def test_annotations_of_other_files_that_cannot_be_evaluated_do_no_harm(check: Check, tmp_path: Path) -> None:
    package = tmp_path / "library"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "tokens.py").write_text("Fast = Slow = None\n\n\ndef load(path) -> Fast | Slow: ...\n")
    verdict = check(importing("from .tokens import load"), SPLIT, INDEXED, SYMBOL, file="library/attention.py")
    assert verdict.verdict == "validated", verdict.reason


def test_a_handler_that_only_raises_has_no_answer_to_a_missing_package(check: Check) -> None:
    guarded = (
        "try:\n    import missing_one\nexcept ModuleNotFoundError as error:\n    raise ImportError('sorry') from error"
    )
    assert check(importing(guarded), SPLIT, INDEXED, SYMBOL).verdict == "validated"


@pytest.mark.parametrize("name", ["validation", "findings", "__version__x"])
def test_a_missing_package_has_nothing_of_the_validator(check: Check, name: str) -> None:
    source = importing(f"from missing_one import {name} as part").replace("self.scale = ", "self.scale = part.one or ")
    verdict = check(source, SPLIT, INDEXED, SYMBOL)
    assert (verdict.verdict, f"missing_one.{name}" in verdict.reason) == ("not exercised", True), verdict.reason


def test_a_fix_that_needs_what_is_not_installed_is_not_refuted_for_that(check: Check) -> None:
    verdict = check(importing("import missing_one"), SPLIT, f"{SPLIT}; missing_one.noted(q)", SYMBOL)
    assert verdict.verdict == "not exercised"
    assert "it needs missing_one, which is not installed" in verdict.reason


def test_a_file_that_cannot_be_imported_is_told_with_what_is_not_installed(check: Check) -> None:
    failing = "TABLE = {}[1]\n"
    verdict = check(importing(f"import missing_one.deep\nimport missing_two\n{failing}"), SPLIT, INDEXED, SYMBOL)
    assert verdict.verdict == "not exercised"
    assert "raised KeyError: 1; not installed: missing_one, missing_two; " in verdict.reason
    verdict = check(importing(failing), SPLIT, INDEXED, SYMBOL)
    assert "raised KeyError: 1; the changed statements alone: " in verdict.reason


# As ``pip install "mha-lint[torch]"`` leaves it: torch does not depend on numpy.
_WITHOUT_NUMPY = """
import importlib.machinery

found = importlib.machinery.PathFinder.find_spec


def find_spec(name, path=None, target=None):
    return None if name.partition(".")[0] == "numpy" else found(name, path, target)


importlib.machinery.PathFinder.find_spec = find_spec
"""


@pytest.mark.parametrize("statement", ["import numpy as np\n", "from numpy import random\n", ""])
def test_without_numpy_a_file_that_imports_it_is_fixed(tmp_path: Path, statement: str) -> None:
    project = Project(tmp_path)
    project.write("hidden/sitecustomize.py", _WITHOUT_NUMPY)
    file = project.write("attention.py", statement + BROKEN)
    done = project.run("--fix", "--device", "cpu", "--no-cache", "attention.py", PYTHONPATH=str(tmp_path / "hidden"))
    assert file.read_text() == statement + FIXED, done.stdout + done.stderr
    assert "numpy" not in done.stdout + done.stderr.lower()
