"""Lines that IPython alone understands are hidden from Python, and every character keeps its place."""

from __future__ import annotations

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mha_lint.ipython import as_python


@pytest.mark.parametrize(
    ("source", "python"),
    [
        ("%matplotlib inline\nx = 1\n", "#matplotlib inline\nx = 1\n"),
        ("!pip install torch\n", "#pip install torch\n"),
        ("!pip install \\\n  torch\nx = 1", "#pip install \\\n  #orch\nx = 1"),
        ("for i in x:\n    !echo $i\n", "for i in x:\n    0#cho $i\n"),
        ("if x:\n\t%time f(\nelse:\n\t!", "if x:\n\t0#ime f(\nelse:\n\t0"),
        ("files = !ls 'a b\n", "files = _#s 'a b\n"),
        ("a, b = %timeit -o f(x)\n", "a, b = _#imeit -o f(x)\n"),
        ("torch.nn?\n", "#orch.nn?\n"),
        ("?torch.nn\n", "#torch.nn\n"),
        ("torch.Tensor.view??", "#orch.Tensor.view??"),
        ("pip install torch\n", "#ip install torch\n"),
        ("cd ..\n", "#d ..\n"),
        ("%%time\nx = 1\n", "#%time\nx = 1\n"),
        ("\n\n%%capture out\nx = 1\n", "\n\n#%capture out\nx = 1\n"),
        ("/f 1 2\n,f a b\n;f a b\n", "#f 1 2\n#f a b\n#f a b\n"),
        ("%cd x\r\ny = 2\r\n", "#cd x\r\ny = 2\r\n"),
    ],
)
def test_lines_of_ipython_are_hidden(source: str, python: str) -> None:
    assert as_python(source) == python
    assert len(python) == len(source)
    ast.parse(python)


@pytest.mark.parametrize(
    "source",
    [
        "x = (a\n     % b)\n",
        'text = """\n!ls\n%cd x\n"""\n',
        "text = '''\n?\n'''\n",
        "x = a \\\n  % b\n",
        "f(\n!= 3) if x != y else 0\n".replace("\n!= 3", "\nx != 3"),
        "x = [\n    # what is this?\n    1,\n]\n",
        "print('a = !b')\n",
        'd = {"a?": 1}  # really?\n',
        "x = 'is it?'\n",
        "time = (1 +\n  2)\n",
        "run and (\n  x)\n",
        "a %= 3\n",
        "ls -la\n",
        "await thing()\n",
        "return 3\n",
    ],
)
def test_python_is_left_as_it_is(source: str) -> None:
    assert as_python(source) == source
    ast.parse(source)


@pytest.mark.parametrize("magic", ["bash", "html", "javascript", "latex", "writefile x.py", "script ruby", "R", "sql"])
def test_a_cell_of_another_language_is_no_python(magic: str) -> None:
    assert as_python(f"%%{magic}\necho (\n") is None
    assert as_python(f"\n  %%{magic}\necho (\n") is None


@pytest.mark.parametrize("magic", ["time", "timeit", "capture", "prun", "python3"])
def test_a_cell_that_is_measured_is_python(magic: str) -> None:
    assert as_python(f"%%{magic}\nx = 1\n") == f"#%{magic}\nx = 1\n"


@given(
    st.lists(st.sampled_from(["%a", "!b", "x = 1", "  ", "\\", "'''", '"', "(", ")", "?", "#", "x = !y", "é", "\t"]))
)
def test_whatever_stands_in_a_cell_its_rows_and_columns_stay(parts: list[str]) -> None:
    for joint in ("", "\n", "\r\n"):
        source = joint.join(parts)
        python = as_python(source)
        assert python is not None
        assert len(python) == len(source)
        assert [at for at, each in enumerate(python) if each in "\r\n"] == [
            at for at, each in enumerate(source) if each in "\r\n"
        ]
