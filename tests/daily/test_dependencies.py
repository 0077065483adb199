"""What a run says of a file follows what other files of the project say, with a cache as without one."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from .conftest import Day

LAYERS = """\
import torch


def split_heads(x, heads):
    b, t, c = x.shape
    return x.view(b, t, heads, c // heads).transpose(1, 2)
"""
MODEL = """\
import torch
from layers import split_heads


def merged(x, heads):
    b, t, c = x.shape
    return split_heads(x, heads).view(b, heads, t * (c // heads))
"""
HARMLESS = LAYERS.replace(".transpose(1, 2)", ".transpose(1, 2).contiguous()")


def _of_model(day: Day) -> list[str]:
    return [each["code"] for each in day.same_again("model.py")]


def _project(day: Day) -> None:
    (day.folder / "model.py").write_text(MODEL)
    (day.folder / "layers.py").write_text(LAYERS)
    day.settle()


def test_an_edit_of_what_a_file_imports_is_seen_in_the_next_run(day: Day) -> None:
    _project(day)
    assert _of_model(day) == ["MHA001"]
    (day.folder / "layers.py").write_text(HARMLESS)
    assert _of_model(day) == []
    day.settle()
    assert _of_model(day) == []
    (day.folder / "layers.py").write_text(LAYERS)
    day.settle()
    assert _of_model(day) == ["MHA001"]


def test_a_module_that_goes_and_comes_back_is_seen(day: Day) -> None:
    _project(day)
    assert _of_model(day) == ["MHA001"]
    (day.folder / "layers.py").rename(day.folder / "other.py")
    day.settle()
    assert _of_model(day) == []
    (day.folder / "layers").mkdir()
    (day.folder / "layers/__init__.py").write_text("from .heads import *\n")
    (day.folder / "layers/heads.py").write_text(LAYERS)
    day.settle()
    assert _of_model(day) == ["MHA001"]


def test_only_the_files_that_depend_on_a_change_are_linted_again(day: Day) -> None:
    _project(day)
    (day.folder / "alone.py").write_text(LAYERS.replace("split_heads", "alone"))
    day.settle()
    day.same_again()
    day.settle()
    day.same_again()
    (day.folder / "layers.py").write_text(HARMLESS)
    told = day.lint("-v", ".").stderr
    files = [line for line in told.splitlines() if line.startswith("files: ")]
    assert len(files) == 1
    linted, cached = _counts(files[0])
    assert linted - cached == 2  # layers.py, and model.py that imports it


def _counts(line: str) -> tuple[int, int]:
    numbers = [int(word) for word in line.replace(",", " ").replace("(", " ").split() if word.isdigit()]
    return numbers[0], numbers[1]


def test_what_is_said_does_not_depend_on_which_paths_are_named(day: Day) -> None:
    _project(day)
    alone = day.findings("model.py")
    together = [each for each in day.findings(".") if Path(each["filename"]).name == "model.py"]
    assert alone == together != []


def test_imports_are_not_followed_where_the_settings_say_so(day: Day) -> None:
    _project(day)
    (day.folder / ".mha-lint.toml").write_text("follow-imports = false\n")
    assert _of_model(day) == []


def test_stdin_and_flake8_know_the_project_too(day: Day) -> None:
    _project(day)
    flagged = day.run("bash", "-c", f"{sys.executable} -m mha_lint --stdin-filename model.py - < model.py")
    assert "MHA001" in flagged.stdout
    assert "MHA001" in day.run(sys.executable, "-m", "flake8", "--select", "MHA", "model.py").stdout


def test_a_fix_of_code_whose_layout_another_file_decides_is_validated(day: Day) -> None:
    pytest.importorskip("torch")
    _project(day)
    fixed = day.lint("--fix", "model.py", status=(0,))
    assert "1 fixed" in fixed.stdout + fixed.stderr
    assert ".contiguous().view(" in (day.folder / "model.py").read_text()
    assert (day.folder / "layers.py").read_text() == LAYERS
    assert _of_model(day) == []


ATTENTION = """\
import torch
from torch import nn


class Attend(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads, self.qkv = heads, nn.Linear(dim, 3 * dim)

    def forward(self, x):
        b, n, c = x.shape
        q, k, v = self.qkv(x).view(b, n, 3, self.heads, c // self.heads).unbind(2)
        q, k, v = (each.transpose(1, 2) for each in (q, k, v))
        return nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
"""
BLOCK = """\
from torch import nn

from .layers import Attend


class Block(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.attend, self.out = Attend(dim, heads), nn.Linear(dim, dim)

    def forward(self, x):
        return x + self.out(self.attend(x))
"""


def _of_layers(day: Day) -> list[str]:
    return [each["code"] for each in day.same_again("net/layers.py")]


def test_who_calls_a_class_in_other_files_is_seen_as_they_come_change_and_go(day: Day) -> None:
    package = day.folder / "net"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "layers.py").write_text(ATTENTION)
    day.settle()
    assert _of_layers(day) == ["MHA003"]
    (package / "block.py").write_text(BLOCK)
    day.settle()
    assert _of_layers(day) == []
    (package / "block.py").write_text(BLOCK.replace("self.out(self.attend(x))", "self.attend(x)"))
    day.settle()
    assert _of_layers(day) == ["MHA003"]
    (package / "block.py").write_text("import torch\n")
    (package / "deeper").mkdir()
    (package / "deeper/__init__.py").write_text("")
    (package / "deeper/block.py").write_text(BLOCK.replace(".layers", "..layers"))
    day.settle()
    assert _of_layers(day) == []
    (package / "deeper/block.py").unlink()
    day.settle()
    assert _of_layers(day) == ["MHA003"]
