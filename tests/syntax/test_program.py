"""What an imported name refers to in the other files of a project."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from mha_lint.neighbours import MOST_FILES, around, listing, texts
from mha_lint.syntax.changes import read, rebound
from mha_lint.syntax.module import Module
from mha_lint.syntax.names import ClassInfo, Definition
from mha_lint.syntax.program import MAX_MODULES, MAX_USERS, Program


def program(folder: Path, path: str, *, follows: bool = True) -> Program:
    file = folder / path
    return Program(file, Module(file.read_text()), [folder, folder / "src"], follows=follows)


def write(folder: Path, **files: str) -> None:
    """Write files; ``a__b`` stands for ``a/b.py``, and ``a__`` for the ``__init__.py`` of the package ``a``."""
    for name, text in files.items():
        name = f"{name}init" if name.endswith("__") else name
        path = folder / f"{name.replace('__', '/')}.py".replace("/init.py", "/__init__.py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def refers(program: Program, name: str) -> str:
    """``file:kind`` of what a name of the main module refers to, or the full name of what lies elsewhere."""
    found = program.main.definition(program.main.imports[name]) if name in program.main.imports else None
    found = program.main.star(name) if found is None else found
    if isinstance(found, Definition):
        value = found.value.node if isinstance(found.value, ClassInfo) else found.value
        return f"{Path(found.home.path).name}:{type(value).__name__}"
    return str(found)


LAYERS = "class Attention: pass\ndef split(x): return x\nHEADS = 8\n"


@pytest.mark.parametrize(
    ("importing", "name", "expected"),
    [
        ("from .layers import Attention", "Attention", "layers.py:ClassDef"),
        ("from .layers import split as s", "s", "layers.py:FunctionDef"),
        ("from .layers import HEADS", "HEADS", "layers.py:Constant"),
        ("from pkg.layers import Attention", "Attention", "layers.py:ClassDef"),
        ("from ..pkg.layers import Attention", "Attention", "layers.py:ClassDef"),
        ("from . import Attention", "Attention", "layers.py:ClassDef"),
        ("from pkg import Attention", "Attention", "layers.py:ClassDef"),
        ("from .layers import *", "Attention", "layers.py:ClassDef"),
        ("from .every import *", "Attention", "layers.py:ClassDef"),
        ("from .every import nn", "nn", "torch.nn"),
        ("from .every import *", "nn", "torch.nn"),
        ("try:\n    from .layers import Attention\nexcept ImportError:\n    Attention = None", "Attention",
         "layers.py:ClassDef"),
        ("if TYPE_CHECKING:\n    from .layers import Attention", "Attention", "layers.py:ClassDef"),
        ("from .circle import Attention", "Attention", ".circle.Attention"),
        ("from .layers import Missing", "Missing", ".layers.Missing"),
        ("from .nowhere import Attention", "Attention", ".nowhere.Attention"),
        ("from torch.nn import Linear", "Linear", "torch.nn.Linear"),
        ("from timm.layers import Mlp", "Mlp", "timm.layers.Mlp"),
        ("from .torn import Attention", "Attention", ".torn.Attention"),
        ("from .same import same", "same", "same.py:FunctionDef"),
        ("from . import same", "same", "same.py:FunctionDef"),
        ("from . import layers", "layers", ".layers"),
    ],
)  # fmt: skip
def test_an_import_refers_to_what_another_file_defines(
    tmp_path: Path, importing: str, name: str, expected: str
) -> None:
    write(
        tmp_path,
        pkg__="from .layers import Attention\nfrom .same import same\n",
        pkg__layers=LAYERS,
        pkg__every="from torch import nn\nfrom .layers import *\n",
        pkg__circle="from .other import Attention\n",
        pkg__other="from .circle import Attention\n",
        pkg__torn="class Attention(:\n",
        pkg__same="def same(): pass\n",
        pkg__model=importing,
    )
    assert refers(program(tmp_path, "pkg/model.py"), name) == expected


def test_a_script_imports_what_lies_beside_it_and_what_the_project_holds(tmp_path: Path) -> None:
    write(tmp_path, scripts__train="from layers import split\nfrom pkg.a import A\nfrom lib.b import B\n")
    write(tmp_path, scripts__layers=LAYERS, pkg__a="class A: pass\n", src__lib__b="class B: pass\n")
    found = program(tmp_path, "scripts/train.py")
    assert [refers(found, name) for name in ("split", "A", "B")] == [
        "layers.py:FunctionDef", "a.py:ClassDef", "b.py:ClassDef",
    ]  # fmt: skip


def test_of_what_is_installed_only_the_same_package_is_followed(tmp_path: Path) -> None:
    folder = tmp_path / "site-packages"
    write(folder, one__="", one__a="from one.b import B\nfrom two.c import C\n", one__b="class B: pass\n")
    write(folder, two__="", two__c="class C: pass\n")
    found = program(folder, "one/a.py")
    assert (refers(found, "B"), refers(found, "C")) == ("b.py:ClassDef", "two.c.C")


def test_imports_are_not_followed_where_the_settings_say_so(tmp_path: Path) -> None:
    write(tmp_path, a="from b import B\nfrom torch.nn import *\n", b="class B: pass\n")
    found = program(tmp_path, "a.py", follows=False)
    assert (refers(found, "B"), refers(found, "nn")) == ("b.B", "torch.nn")
    assert found.dependencies == {}


@pytest.mark.parametrize(
    ("stars", "name", "full"),
    [
        ("torch.nn", "Linear", "torch.nn.Linear"),
        ("torch", "softmax", "torch.softmax"),
        ("fastai.basics", "nn", "torch.nn"),
        ("fastai.basics", "F", "torch.nn.functional"),
        ("fastai.basics", "Linear", "None"),
        ("torch", "sum", "None"),
        ("torch.nn", "_private", "None"),
    ],
)
def test_star_imports_of_other_packages_are_known_by_convention(
    tmp_path: Path, stars: str, name: str, full: str
) -> None:
    write(tmp_path, a=f"from {stars} import *\n")
    assert refers(program(tmp_path, "a.py"), name) == full


def test_a_class_has_the_methods_of_its_base_in_another_file(tmp_path: Path) -> None:
    write(tmp_path, p__="", p__base="from torch import nn\nclass Base(nn.Module):\n    def forward(self): pass\n")
    write(tmp_path, p__mid="from . import base\nclass Mid(base.Base): pass\n")
    write(tmp_path, p__a="from .mid import *\nclass A(Mid): pass\n")
    cls = program(tmp_path, "p/a.py").main.classes["A"]
    assert [info.name for info in cls.lineage] == ["A", "Mid", "Base"]
    assert cls.method("forward") is not None
    assert cls.lineage[-1].bases == ("torch.nn.Module",)


def test_what_was_asked_for_is_recorded_be_it_there_or_not(tmp_path: Path) -> None:
    write(tmp_path, a="from b import B\nfrom c import C\nimport d\n", b="class B: pass\n")
    found = program(tmp_path, "a.py")
    assert found.dependencies == {}
    refers(found, "B")
    refers(found, "C")
    there = {path for path, digest in found.dependencies.items() if digest is not None}
    assert there == {str(tmp_path / "b.py")}
    assert found.dependencies[str(tmp_path / "c.py")] is None
    assert str(tmp_path / "d.py") not in found.dependencies


def test_a_module_that_changes_is_read_again(tmp_path: Path) -> None:
    write(tmp_path, a="from b import B\n", b="class B: pass\n")
    assert refers(program(tmp_path, "a.py"), "B") == "b.py:ClassDef"
    write(tmp_path, b="def B(): pass   # longer\n")
    assert refers(program(tmp_path, "a.py"), "B") == "b.py:FunctionDef"


def test_no_more_than_so_many_modules_are_read_for_one_file(tmp_path: Path) -> None:
    chain = {f"m{index}": f"from m{index + 1} import X\n" for index in range(MAX_MODULES + 10)}
    write(tmp_path, **chain, **{f"m{MAX_MODULES + 10}": "class X: pass\n"})
    assert refers(program(tmp_path, "m0.py"), "X").endswith(".X")


def test_a_lazy_import_binds_the_module() -> None:
    found = Program(Path("a.py"), Module('einops, _ = optional_import("einops")\n'), [])
    assert found.main.qualify(ast.parse("einops.rearrange", mode="eval").body) == "einops.rearrange"


def test_the_modules_of_the_package_that_say_a_name_are_found_by_their_bytes(tmp_path: Path) -> None:
    write(tmp_path, p__="", p__layers="class Attend: pass\n", p__other="Attended = 1\n", aside="Attend = 1\n")
    write(tmp_path, p__inner__="", p__inner__block="from ..layers import Attend\n", p__loose__block="Attend = 1\n")
    found = program(tmp_path, "p/layers.py")
    assert [Path(module.path).name for module in found.main.users("Attend")] == ["block.py"]
    assert found.dependencies[str(tmp_path / "p")] == listing(texts(str(tmp_path / "p")))
    assert found.dependencies[str(tmp_path / "p/inner/block.py")] is not None
    assert str(tmp_path / "p/other.py") not in found.dependencies
    assert program(tmp_path, "p/layers.py", follows=False).main.users("Attend") == []


def test_of_a_folder_that_is_no_package_the_files_in_it_are_looked_at(tmp_path: Path) -> None:
    write(tmp_path, layers="class Attend: pass\n", use="Attend = 1\n", deeper__use="Attend = 1\n")
    found = program(tmp_path, "layers.py").main.users("Attend")
    assert [module.path for module in found] == [str(tmp_path / "use.py")]


def test_no_more_than_so_many_files_are_looked_at_and_read_for_a_name(tmp_path: Path) -> None:
    users = {f"p__u{index:03}": "Attend = 1\n" for index in range(MOST_FILES + 20)}
    write(tmp_path, p__="", p__layers="class Attend: pass\n", **users)
    assert len(around(str(tmp_path / "p"))) == MOST_FILES
    assert len(program(tmp_path, "p/layers.py").main.users("Attend")) == MAX_USERS


def test_the_listing_of_a_package_changes_with_the_files_in_it(tmp_path: Path) -> None:
    write(tmp_path, p__="", p__a="x = 1\n", p__inner__="", p__inner__b="y = 2\n")
    before = listing(texts(str(tmp_path / "p")))
    assert listing(texts(str(tmp_path / "p"))) == before
    write(tmp_path, p__inner__b="y = 20\n")
    edited = listing(texts(str(tmp_path / "p")))
    write(tmp_path, p__c="")
    assert len({before, edited, listing(texts(str(tmp_path / "p")))}) == 3


def test_a_module_of_a_package_does_not_import_what_lies_beside_it_by_its_bare_name(tmp_path: Path) -> None:
    write(tmp_path, pkg__="", pkg__model="from layers import split\n", pkg__layers=LAYERS)
    assert refers(program(tmp_path, "pkg/model.py"), "split") == "layers.split"


def test_a_folder_of_packages_is_one_project_where_a_file_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "packages"
    write(folder, one__="", one__a="from two.b import B\n", two__="", two__b="class B: pass\n")
    assert refers(program(folder.parent / "packages", "one/a.py"), "B") == "b.py:ClassDef"
    elsewhere = Program(folder / "one/a.py", Module((folder / "one/a.py").read_text()), [tmp_path])
    assert refers(elsewhere, "B") == "two.b.B"
    (folder / "pyproject.toml").touch()
    marked = Program(folder / "one/a.py", Module((folder / "one/a.py").read_text()), [tmp_path])
    assert refers(marked, "B") == "b.py:ClassDef"


def test_names_bound_twice_are_the_same_however_much_is_read() -> None:
    text = "a = 1\nif a:\n    a = 2\nfor b in c: pass\nb = 3\nclass K:\n    a = 4\ndef f():\n    d = 1\n    d = 2\n"
    (tree,) = [Module(text).tree]
    assert rebound(tree) == read(tree).rebound == {"a", "b"}


def test_a_module_stands_before_a_folder_of_its_name_that_is_no_package(tmp_path: Path) -> None:
    write(tmp_path, pkg__="", pkg__model="from .layers import split\n", pkg__layers=LAYERS)
    (tmp_path / "pkg/layers").mkdir()
    assert refers(program(tmp_path, "pkg/model.py"), "split") == "layers.py:FunctionDef"
    write(tmp_path, pkg__layers__="class split: pass\n")
    assert refers(program(tmp_path, "pkg/model.py"), "split") == "__init__.py:ClassDef"


def test_that_a_folder_is_a_package_is_a_thing_that_findings_depend_on(tmp_path: Path) -> None:
    write(tmp_path, pkg__="", pkg__model="from pkg.layers import split\n", pkg__layers=LAYERS)
    found = program(tmp_path / "pkg", "model.py")
    assert refers(found, "split") == "layers.py:FunctionDef"
    assert found.dependencies[str(tmp_path / "pkg/__init__.py")] is not None
    (tmp_path / "pkg/__init__.py").unlink()
    assert refers(program(tmp_path / "pkg", "model.py"), "split") == "pkg.layers.split"
