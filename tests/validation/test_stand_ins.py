"""A package that is not installed stands in nobody's way while a file is imported, and is never run."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from .conftest import Check
from .modules import VIT

pytest.importorskip("torch")

pytestmark = pytest.mark.slow

SPLIT = "q, k, v = qkv.unbind(0)"
INDEXED = "q, k, v = qkv[0], qkv[1], qkv[2]"
SYMBOL = "Attention.forward"


def importing(statement: str) -> str:
    return VIT.replace("import torch\n", f"import torch\n{statement}\n", 1)


@pytest.mark.parametrize(
    "statement",
    [
        "from missing_one import RegistryMeta\nclass Meta(RegistryMeta): pass\nclass Other(metaclass=Meta): pass",
        "from missing_one import Meta as Base\nclass Meta(Base, type): pass\nclass Other(int, metaclass=Meta): pass",
        "from missing_one import Base\nclass Meta(Base, type): pass\nclass Other(metaclass=Meta): pass",
        "from missing_one import Meta\nclass Other(metaclass=Meta): pass\nclass Another(Other): pass",
    ],
)
def test_a_stand_in_may_be_a_metaclass(check: Check, statement: str) -> None:
    verdict = check(importing(statement), SPLIT, INDEXED, SYMBOL)
    assert verdict.verdict == "validated", verdict.reason


@pytest.mark.parametrize(
    "statement",
    [
        "from missing_one import A, B\nclass Other(A, B): pass",
        "from missing_one import A\nimport missing_two\nclass Other(A, missing_two.B, missing_two.C): pass",
        "from missing_one import A, B\nclass One(A): pass\nclass Other(B, One): pass\nclass Third(A, Other): pass",
    ],
)
def test_stand_ins_may_be_several_bases_in_whatever_order(check: Check, statement: str) -> None:
    verdict = check(importing(statement), SPLIT, INDEXED, SYMBOL)
    assert verdict.verdict == "validated", verdict.reason


@pytest.mark.parametrize(
    "expression",
    [
        "[1] + THING", "THING + [1]", "(1,) + THING", "THING * 3", "2 ** THING", "-THING", "THING @ THING", "1 / THING",
        "{'a'} & THING", "~THING.flag", "f'{THING:>5}'", "'%s' % THING", "1 << THING", "abs(THING)", "THING % 2",
    ],
)  # fmt: skip
def test_a_stand_in_may_be_calculated_with(check: Check, expression: str) -> None:
    verdict = check(importing(f"from missing_one import THING\nRESULT = {expression}"), SPLIT, INDEXED, SYMBOL)
    assert verdict.verdict == "validated", verdict.reason


def test_a_list_may_grow_by_a_stand_in_and_a_stand_in_take_items(check: Check) -> None:
    statement = (
        "from missing_one import NAMES, TABLE\n__all__ = ['x']\n__all__ += NAMES\nTABLE['a'] = 1\ndel TABLE['a']"
    )
    verdict = check(importing(statement), SPLIT, INDEXED, SYMBOL)
    assert verdict.verdict == "validated", verdict.reason


@pytest.mark.parametrize("module", ["missing_one", "names"])
def test_what_a_missing_package_gives_by_a_star_is_stood_in_for(check: Check, tmp_path: Path, module: str) -> None:
    """Also where a file of the project passes on what it got so."""
    (tmp_path / "names.py").write_text("import math\nfrom missing_one import *\nfrom missing_two import *\n")
    source = importing(
        f"from {module} import *\nWIDTH = defaults.width\n@delegates()\ndef show(): return Figure(WIDTH)"
    )
    verdict = check(source, SPLIT, INDEXED, SYMBOL)
    assert verdict.verdict == "validated", verdict.reason


def test_a_name_that_no_star_gives_is_an_error_of_the_code(check: Check) -> None:
    verdict = check(importing("from missing_one import thing\nWIDTH = defaults"), SPLIT, INDEXED, SYMBOL)
    assert verdict.verdict != "validated"
    assert "NameError" in verdict.reason


def test_what_a_star_gives_is_never_run(check: Check) -> None:
    source = importing("from missing_one import *")
    source = source.replace(
        "        q, k, v = qkv.unbind(0)", "        x = rearranged(x)\n        q, k, v = qkv.unbind(0)"
    )
    assert "rearranged" in source
    verdict = check(source, SPLIT, INDEXED, SYMBOL)
    assert verdict.verdict == "not exercised"
    assert "missing_one.rearranged, which is not installed" in verdict.reason


def test_what_is_calculated_with_a_stand_in_is_never_run(check: Check) -> None:
    source = importing("from missing_one import THING\nHEADS = [1] + THING").replace(
        "B, N, C = x.shape", "B, N, C = x.shape; y = HEADS[0] * x"
    )
    verdict = check(source, SPLIT, INDEXED, SYMBOL)
    assert verdict.verdict == "not exercised"
    assert "missing_one.THING" in verdict.reason


def test_a_class_with_a_missing_metaclass_is_never_built(check: Check) -> None:
    source = importing("from missing_one import ModelMeta\nclass Meta(ModelMeta): pass")
    verdict = check(source.replace("(nn.Module)", "(nn.Module, metaclass=Meta)"), SPLIT, INDEXED, SYMBOL)
    assert verdict.verdict == "not exercised"
    assert "missing_one.ModelMeta" in verdict.reason


def test_a_class_whose_base_is_missing_says_which(check: Check) -> None:
    source = importing("from missing_one import Block").replace("class Attention(nn.Module)", "class Attention(Block)")
    verdict = check(source, SPLIT, INDEXED, SYMBOL)
    assert verdict.verdict == "not exercised"
    assert "Attention inherits from missing_one.Block, which is not installed" in verdict.reason


@pytest.mark.skipif(find_spec("tensorboard") is not None, reason="tensorboard is installed")
def test_the_writer_of_torch_needs_no_tensorboard_to_be_imported(check: Check) -> None:
    statement = "from torch.utils.tensorboard import SummaryWriter"
    verdict = check(importing(statement), SPLIT, INDEXED, SYMBOL)
    assert verdict.verdict == "validated", verdict.reason
    used = importing(statement).replace("B, N, C = x.shape", "SummaryWriter('.'); B, N, C = x.shape")
    verdict = check(used, SPLIT, INDEXED, SYMBOL)
    assert verdict.verdict == "not exercised"
    assert "pip install tensorboard" in verdict.reason


LIGHT = next(name for name in ("einops", "einx", "yacs", "fvcore", "loguru") if find_spec(name) is None)


def test_of_a_light_package_that_is_missing_the_reason_says_how_to_install_it(check: Check) -> None:
    source = importing(f"from {LIGHT} import rearrange").replace(
        "B, N, C = x.shape", "B, N, C = x.shape; x = rearrange(x, 'b n c -> b n c')"
    )
    verdict = check(source, SPLIT, INDEXED, SYMBOL)
    assert verdict.verdict == "not exercised"
    assert f"it needs {LIGHT}.rearrange, which is not installed (pip install {LIGHT})" in verdict.reason
    assert "\n" not in verdict.reason


def test_nothing_is_advised_where_the_name_may_be_of_the_users_own(check: Check) -> None:
    source = importing("from layers import rotate").replace("B, N, C = x.shape", "B, N, C = rotate(x).shape")
    verdict = check(source, SPLIT, INDEXED, SYMBOL)
    assert "it needs layers.rotate, which is not installed" in verdict.reason
    assert "pip" not in verdict.reason
