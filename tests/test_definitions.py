"""A notebook is imported without what its cells do: its definitions, with the rows and columns of the whole."""

from __future__ import annotations

from typing import Any

import pytest

from mha_lint.definitions import definitions

HEAD = "import torch\nfrom dataclasses import dataclass\n"
USE = "\n\ndef f(x):\n    return x, {name}\n"


@pytest.mark.parametrize(
    "statement",
    [
        "train(model)",
        "model = Attention(64)",
        "x = open('file').read()",
        "for epoch in range(3):\n    step(epoch)",
        "while True:\n    pass",
        "with torch.no_grad():\n    f(3)",
        "plt.show();",
        "print(1); print(2)",
        "assert f(3)",
        "del x",
        "await fetch()",
        "return 3",
        "raise SystemExit",
        "if download():\n    import os\n    x = 3",
        "'''A text.\n\nOf several rows.'''",
    ],
)
def test_what_a_cell_does_is_not_done(statement: str) -> None:
    pytest.importorskip("torch")
    kept = definitions(f"{HEAD}{statement}\n{USE.format(name='3')}")
    assert kept.count("\n") == f"{HEAD}{statement}\n{USE.format(name='3')}".count("\n")
    space: dict[str, object] = {}
    exec(compile(kept, "kept", "exec"), space)
    assert set(space) - {"__builtins__"} == {"torch", "dataclass", "f"}


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("n = 3", 3),
        ("m = 3\nn = m * 2", 6),
        ("n: int = 3", 3),
        ("n, m = 1, 2", 1),
        ("n = 1\nn += 2", 3),
        ("n = max(1, int(2.5))", 2),
        ("n = 'a' if torch.cuda.is_available() and False else f'{1}'", "1"),
        ("n = lambda: 3", None),
        ("if torch is None:\n    n = 1\n    print(n)\nelse:\n    print(3)\n    n = 2", 2),
        ("try:\n    import nothing_of_this_name\n    n = 1\nexcept ImportError:\n    print(1)\n    n = 2", 2),
        ("n = torch.ones(3, 3).tril().bool()", None),
    ],
)
def test_a_constant_that_a_function_needs_is_kept(setting: str, value: object) -> None:
    pytest.importorskip("torch")
    kept = definitions(f"{HEAD}{setting}\n{USE.format(name='n')}")
    assert "print" not in kept
    space: dict[str, object] = {}
    exec(compile(kept, "kept", "exec"), space)
    assert value is None or space["n"] == value


def test_a_constant_that_nobody_needs_is_not_kept() -> None:
    assert "other" not in definitions("other = 3\nn = 4\n\n\ndef f():\n    return n\n")


def test_a_configuration_of_a_record_is_kept_and_an_object_of_another_class_is_not() -> None:
    text = (
        f"{HEAD}\n@dataclass\nclass Config:\n    width: int = 8\n\n\nclass Model:\n    pass\n\n\n"
        "config = Config(width=4)\nmodel = Model()\n\n\ndef f():\n    return config, model\n"
    )
    kept = definitions(text)
    assert "config = Config(width=4)" in kept
    assert "model = Model()" not in kept


def test_a_condition_that_only_a_cell_can_evaluate_is_taken_to_hold_where_code_is_defined_under_it() -> None:
    text = (
        "if version() >= (2, 5):\n    import math\n\n    class A:\n        pass\n\n    print(A)\n"
        "elif other():\n    print(2)\nelse:\n    raise SystemExit\n"
    )
    kept = definitions(text)
    assert kept.startswith(f"if 1{' ' * 18}:\n")
    space: dict[str, object] = {}
    exec(compile(kept, "kept", "exec"), space)
    assert {"A", "math"} <= space.keys()


def test_a_method_that_is_given_later_belongs_to_its_class() -> None:
    text = "class A:\n    pass\n\n\ndef forward(self):\n    return 3\n\n\nA.forward = forward\nA().forward()\n"
    assert definitions(text) == text.replace("A().forward()", " " * 13)


def test_a_later_definition_of_the_same_name_does_not_hide_the_one_that_matters() -> None:
    first = "n = 1\n\n\nclass A:\n    def f(self):\n        return n\n"
    text = f"{first}\n\nn = 2\n\n\n@decorated\nclass A:\n    pass\n\n\nclass B(A):\n    pass\n"
    space: dict[str, Any] = {}
    kept = definitions(text, rows=[6])
    exec(compile(kept, "kept", "exec"), space)
    assert space["A"]().f() == 1
    assert "class B" in kept
    assert kept.count("\n") == text.count("\n")
    assert "n = 2" in definitions(text.replace("@decorated\n", ""))


@pytest.mark.parametrize("above", ["", "print(1)\n", "'''A text.'''\n", "import torch\n"])
def test_an_import_from_the_future_never_comes_too_late(above: str) -> None:
    kept = definitions(f"{above}from __future__ import annotations\n\n\ndef f(x: Unknown):\n    pass\n")
    compile(kept, "kept", "exec", dont_inherit=True)
    assert ("__future__" in kept) is (above != "import torch\n")


def test_characters_that_are_no_ascii_keep_the_columns() -> None:
    text = "print('größer'); import math\nx = 'é'; y = 3\n\n\ndef f():\n    return y\n"
    kept = definitions(text)
    assert [len(row) for row in kept.splitlines()] == [len(row) for row in text.splitlines()]
    assert kept.splitlines()[0].endswith("; import math")
    compile(kept, "kept", "exec")
