"""Rows are watched in the files that are asked for alone, whatever these are called, and whatever runs in between."""

from __future__ import annotations

import sys
import types

import pytest

from mha_lint.validation.trials.coverage import unwatched, watch

TEXT = "def doubled(value):\n    return 2 * value\n"


def loaded(name: str, path: str, monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    module = types.ModuleType(name)
    module.__file__ = path
    monkeypatch.setitem(sys.modules, name, module)
    exec(compile(TEXT, f"{path}#before", "exec"), module.__dict__)
    return module


@pytest.mark.parametrize("name", ["attention", "colorsys", "torch.nn.of_a_test"])
def test_a_file_is_watched_though_it_has_the_name_of_one_of_pythons_or_torchs(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = loaded(name, "/somewhere/file.py", monkeypatch)
    with watch("/somewhere/file.py#before") as rows:
        module.doubled(1)
    assert rows.of("/somewhere/file.py#before") == {2}


def test_both_texts_of_a_file_are_watched_though_they_share_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    before = loaded("colorsys", "/somewhere/file.py", monkeypatch)
    after = types.ModuleType("colorsys")
    after.__file__ = "/somewhere/file.py"
    exec(compile(TEXT, "/somewhere/file.py#after", "exec"), after.__dict__)
    with watch("/somewhere/file.py#before", "/somewhere/file.py#after") as rows:
        before.doubled(1)
        after.doubled(1)
    assert rows.of("/somewhere/file.py#before") == rows.of("/somewhere/file.py#after") == {2}


def test_watching_goes_on_after_what_runs_unwatched_though_that_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    module = loaded("attention", "/somewhere/file.py", monkeypatch)

    @unwatched
    def fails() -> None:
        raise ValueError("told")

    with watch("/somewhere/file.py#before") as rows:
        with pytest.raises(ValueError, match="told"):
            fails()
        module.doubled(1)
    assert rows.of("/somewhere/file.py#before") == {2}


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="there, watched code alone is slower")
def test_what_is_unwatched_is_not_traced(monkeypatch: pytest.MonkeyPatch) -> None:
    traced: list[object] = []

    @unwatched
    def look() -> None:
        traced.append(sys.gettrace())

    with watch("/somewhere/file.py#before"):
        look()
    assert traced == [None]
