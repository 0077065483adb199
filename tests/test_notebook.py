"""Notebooks: what is read, where findings are, and that a fix changes the lines that it must and no other byte."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from checkout import ROOT
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from notebooks import CLASS, COLUMN, IMPORTS, PYTHON, ROW, broken, code, notebook, text
from samples import BROKEN, CLEAN

from mha_lint.cli import main
from mha_lint.files import SourceError, decode, encode
from mha_lint.findings import Cells, Position, Verdict
from mha_lint.fixing import fix_source
from mha_lint.linter import lint
from mha_lint.notebook import Notebook, NotebookError, read
from mha_lint.notebook_writing import rewritten
from mha_lint.report.cells import counted_in_cells
from mha_lint.settings import Settings
from mha_lint.shortcut import passed

if TYPE_CHECKING:
    from mha_lint.validation import Validator

FIXED = ".transpose(1, 2).contiguous().view(b, t, c)"
UNFIXED = ".transpose(1, 2).view(b, t, c)"
FOUND = f"a.ipynb:cell 3:{ROW}:{COLUMN}: MHA001 [*] `.view()` of a transposed tensor, with no `.contiguous()` between"


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def validator() -> Iterator[Validator]:
    pytest.importorskip("torch")
    from mha_lint.validation import Validator

    with Validator(devices=("cpu",), timeout=600.0) as running:
        yield running


def write(written: str | bytes, name: str = "a.ipynb") -> Path:
    path = Path(name)
    path.write_bytes(written.encode() if isinstance(written, str) else written)
    return path


def run(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mha_lint", "--isolated", "--device", "cpu", *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=600)


def concise(*arguments: str) -> list[str]:
    """The lines of the command's report on ``a.ipynb``."""
    done = run("--output-format", "concise", "-q", *(arguments or ("a.ipynb",)))
    assert done.stderr == ""
    return done.stdout.splitlines()


# --- findings


@pytest.mark.parametrize("indent", [None, 1, 2, 4])
@pytest.mark.parametrize("whole", [False, True])
def test_a_finding_names_its_cell_as_ruff_does(indent: int | None, whole: bool) -> None:
    cells = text("# Attention\n"), code(f"%matplotlib inline\n{IMPORTS}", whole=whole), code(CLASS, whole=whole)
    write(notebook(*cells, indent=indent, end=""))
    assert concise() == [FOUND]


def test_cells_are_counted_as_ruff_counts_them() -> None:
    write(notebook(text("a"), code("%%bash\nls"), text("b"), code("import os\n"), code(f"{IMPORTS}\n\n\n{CLASS}")))
    ruff = [sys.executable, "-m", "ruff", "check", "--isolated", "--no-cache", "--select", "F401,N", "a.ipynb"]
    done = subprocess.run([*ruff, "--output-format", "concise"], capture_output=True, text=True)
    assert "a.ipynb:cell 4:1:8: F401" in done.stdout
    rows = len(IMPORTS.splitlines()) + 2
    assert [line.partition(" MHA")[0] for line in concise()] == [f"a.ipynb:cell 5:{ROW + rows}:{COLUMN}:"]


def test_the_excerpt_shows_the_code_of_the_cell() -> None:
    write(broken())
    shown = run("a.ipynb").stdout
    assert f"{ROW} |         y = (weights @ v)" in shown
    assert f"{ROW} | +         y = (weights @ v){FIXED}" in shown


def test_json_has_the_cell_and_positions_in_it() -> None:
    write(broken())
    (found,) = json.loads(run("--output-format", "json", "a.ipynb").stdout)["findings"]
    place = {"row": ROW, "column": COLUMN}
    assert (found["cell"], found["location"], found["noqa_row"]) == (3, place, ROW)
    assert found["end_location"] == {"row": ROW, "column": COLUMN + len("view(b, t, c)")}
    assert found["fix"]["edits"] == [
        {"cell": 3, "content": "contiguous().", "location": place, "end_location": place},
    ]


def test_lines_that_a_message_names_are_counted_in_their_cells() -> None:
    helper = "    def merged(self, y, b, t, c):\n        return y.view(b, t, c)\n\n    def forward"
    unsure = "self.merged((weights @ v).transpose(1, 2) if t > 3 else weights @ v, b, t, c)"
    called = CLASS.replace("    def forward", helper).replace(f"(weights @ v){UNFIXED}", unsure)
    write(notebook(text("# Attention\n"), code(f"%matplotlib inline\n{IMPORTS}"), code(called)))
    (line,) = [line for line in concise() if "MHA001" in line]
    assert line.endswith(f"(reached from line {ROW + 3} of cell 3)")


def test_lines_of_several_cells_are_told_apart() -> None:
    cells = Cells(rows=(0, 10, 20), numbers=(2, 3, 7))
    verdict = Verdict("not exercised", reason="the changed lines 3, 12, 13 never ran, nor line 25")
    finding = lint(decode(Path("b.py"), BROKEN.encode()), Settings()).findings[0]
    told = counted_in_cells(replace(finding, verdict=verdict), cells)
    assert told.verdict
    assert told.verdict.reason == "the changed lines 3 of cell 2, 2, 3 of cell 3 never ran, nor line 5 of cell 7"


def test_github_shows_it_at_the_top_of_the_file_and_says_where_it_is() -> None:
    write(broken())
    shown = run("--output-format", "github", "a.ipynb").stdout
    assert ",file=a.ipynb,line=1,col=1,endLine=1,endColumn=1::" in shown
    assert f"::a.ipynb:cell 3:{ROW}:{COLUMN}: MHA001" in shown


def test_a_cell_that_python_cannot_read_is_named() -> None:
    write(notebook(code(f"{IMPORTS}\nx.view(1).softmax(0)"), text("b"), code("x = = 3")))
    (line,) = concise()
    assert line.startswith("a.ipynb:cell 3:1:5: MHA000 syntax error")
    assert "Python cannot read this cell" in run("a.ipynb").stdout


@pytest.mark.parametrize("cell", ["x = (1,\n2", "def f(:", 'x = """', "x\x00 = 1", "'\ud800'", "print 3"])
def test_a_cell_that_python_cannot_read_costs_no_other_one_its_findings(cell: str) -> None:
    written = notebook(text("a"), code(IMPORTS), code(CLASS), code(cell), code(CLASS))
    write(written.replace("\ud800", "\\ud800"))
    lines = concise()
    assert [line.split()[2] for line in lines] == ["MHA001", "MHA000", "MHA001"]
    assert lines[0] == FOUND
    assert lines[1].startswith("a.ipynb:cell 4:")
    assert lines[2] == FOUND.replace("cell 3", "cell 5")


def test_a_cell_that_is_indented_as_a_whole_is_no_mistake() -> None:
    write(notebook(text("a"), code(IMPORTS), code(CLASS), code("    x = 1\n    y = 2")))
    assert concise() == [FOUND]


def test_notebooks_are_found_in_folders_and_given_through_stdin() -> None:
    Path("deep/.ipynb_checkpoints").mkdir(parents=True)
    write(broken(), "deep/a.ipynb")
    write(broken(), "deep/.ipynb_checkpoints/a-checkpoint.ipynb")
    assert concise(".") == [f"deep/{FOUND}"]
    done = run("--stdin-filename", "a.ipynb", "--output-format", "concise", "-q", "-", stdin=broken())
    assert done.stdout == f"{FOUND}\n"


def test_what_is_silenced_in_a_notebook_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    noted = CLASS.replace(UNFIXED, f"{UNFIXED}  # noqa: MHA001")
    write(notebook(code(IMPORTS), code(noted)))
    assert concise() == []
    write(notebook(code("# mha-lint: noqa"), code(IMPORTS), code(CLASS)))
    assert concise() == []
    write(broken())
    for setting in ('per-file-ignores = { "*.ipynb" = ["MHA001"] }', 'extend-exclude = ["*.ipynb"]'):
        assert main(["--isolated", "-q", "."]) == 1
        assert capsys.readouterr().out
        Path("mha-lint.toml").write_text(setting)
        assert main(["--device", "cpu", "-q", "."]) == 0
    assert capsys.readouterr() == ("", "")


def test_what_a_notebook_shows_in_use_has_no_projection_all_the_same() -> None:
    unprojected = CLASS.replace("self.out_proj(y)", "y").replace("        self.out_proj = nn.Linear(dim, dim)\n", "")
    write(notebook(code(IMPORTS), code(unprojected), code("mha = Attention()\nx = mha(torch.randn(2, 3, 24))")))
    assert [line.split()[2] for line in concise()] == ["MHA003", "MHA001"]


@pytest.mark.parametrize("escaped", ["\\u0074orch", "t\\u006frch"])
def test_words_that_json_spells_otherwise_are_seen(escaped: str) -> None:
    written = broken().replace("torch", escaped).replace(".view(", ".vi\\u0065w(").replace("softmax", "soft\\u006dax")
    write(written)
    assert concise() == [FOUND]
    assert not passed(["a.ipynb", "--isolated", "-q"])


def test_the_shortcut_ends_early_for_plain_notebooks_alone() -> None:
    write(notebook(code("import os\n"), code("print('torch')", whole=True)))
    assert passed(["a.ipynb", "--isolated", "-q"])
    write("not JSON", "b.ipynb")
    assert not passed(["b.ipynb", "--isolated", "-q"])


# --- what can't be read


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("", "a.ipynb:1: is no notebook: it is not JSON (Expecting value)"),
        ('{\n"cells": [,]}', "a.ipynb:2: is no notebook: it is not JSON (Expecting value)"),
        ("import torch\n", "a.ipynb:1: is no notebook: it is not JSON (Expecting value)"),
        ("{}", "a.ipynb: is no notebook: it has no list of cells"),
        ("[1]", "a.ipynb: is no notebook: it has no list of cells"),
        ('{"cells": {}, "nbformat": 4}', "a.ipynb: is no notebook: it has no list of cells"),
        ('{"cells": [3], "nbformat": 4}', "a.ipynb: is no notebook: its cell 1 has no cell_type"),
        (
            '{"cells": [{"cell_type": "code", "source": [3]}], "nbformat": 4}',
            "a.ipynb: is no notebook: the source of its cell 1 is neither text nor a list of lines",
        ),
        (
            '{"worksheets": [], "nbformat": 3}',
            "a.ipynb: is a notebook of the old format 3; `jupyter nbconvert --to notebook --inplace` makes it one of "
            "format 4",
        ),
        (b'{"cells": [\n"\xff"]}', "a.ipynb:2: is no notebook: it is not valid utf-8 (byte 0xff)"),
        ("[" * 100_000, "a.ipynb: is nested too deeply to be read"),
    ],
)
def test_what_is_no_notebook_gets_one_message_and_the_run_goes_on(
    written: str | bytes, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write(written)
    write(BROKEN, "b.py")
    assert main(["--isolated", "--no-cache", "a.ipynb", "b.py"]) == 2
    shown = capsys.readouterr()
    assert shown.err == f"error: {message}\n"
    assert "b.py:" in shown.out


@pytest.mark.parametrize(
    "metadata",
    [
        {"kernelspec": {"language": "R", "name": "ir"}},
        {"kernelspec": {"language": "julia"}},
        {"language_info": {"name": "scala"}, "kernelspec": {"language": "python"}},
    ],
)
def test_a_notebook_in_another_language_is_passed_by(metadata: object) -> None:
    write(notebook(code("x <- c(1, 2\n"), code(BROKEN), metadata=metadata))
    assert concise() == []


@pytest.mark.parametrize("metadata", [{}, {"language_info": {}}, {"kernelspec": {"language": "python3"}}, None])
def test_a_notebook_that_names_no_language_is_in_python(metadata: object) -> None:
    write(notebook(text(""), code(IMPORTS), code(CLASS), metadata=metadata))
    assert concise() == [FOUND]


def test_a_cell_with_a_language_of_its_own_is_passed_by() -> None:
    write(notebook(text(""), code(f"{IMPORTS}"), code(CLASS), code("select *", vscode={"languageId": "sql"})))
    assert concise() == [FOUND]


def test_numbers_that_are_no_json_do_not_matter() -> None:
    output = {"output_type": "display_data", "data": {"application/json": {"loss": float("nan")}}, "metadata": {}}
    write(notebook(text(""), code(IMPORTS, outputs=[output]), code(CLASS)))
    assert concise() == [FOUND]


# --- what is written


WORDS = st.sampled_from(
    [
        "x = 1",
        "é = 'größer'",
        "\\",
        '"""',
        "\t",
        "😀",
        "\ud800",
        "\x7f",
        "</script>",
        " ",
        "",
        "# %% next cell",
        "\r",
        "a?",
        "!b",
    ]
)
SOURCES = st.lists(WORDS, max_size=5).map("\n".join)


@st.composite
def split_anywhere(draw: st.DrawFn, source: str) -> list[str]:
    """A source as a list of strings, which need not be its lines."""
    if draw(st.booleans()):
        return source.splitlines(keepends=True)
    cuts = sorted(draw(st.lists(st.integers(0, len(source)), max_size=3)))
    parts = [source[start:end] for start, end in zip([0, *cuts], [*cuts, len(source)], strict=True)]
    return [part for part in parts if part]


@st.composite
def notebooks(draw: st.DrawFn) -> str:
    """A notebook as text, in one of many forms."""
    cells: list[dict[str, Any]] = []
    for source in draw(st.lists(SOURCES, min_size=1, max_size=4)):
        cell = code(source, outputs=[{"name": "stdout", "text": [draw(WORDS)]}], key=draw(WORDS))
        cell["source"] = draw(st.one_of(st.just(source), split_anywhere(source)))
        cells += [cell, *([text(source)] if draw(st.booleans()) else [])]
    document = {"cells": cells, "metadata": PYTHON, "nbformat": 4, "source": ["x"]}
    written = json.dumps(
        document,
        indent=draw(st.sampled_from([None, 1, 2, "\t"])),
        ensure_ascii=draw(st.booleans()),
        sort_keys=draw(st.booleans()),
        separators=draw(st.sampled_from([None, (",", ":"), (" , ", " : ")])),
    )
    written = re.sub("[\ud800-\udfff]", lambda match: f"\\u{ord(match[0]):04x}", written)
    if draw(st.booleans()):
        written = written.replace("x = 1", "x\\u0020= 1").replace("</", "<\\/")
    return written + draw(st.sampled_from(["", "\n", "\r\n", "\n\n"]))


def others(written: str) -> str:
    """All of a notebook but for the sources of its cells."""
    return re.sub(r'"source"\s*:\s*(\[[^\]]*?\]|"(?:[^"\\]|\\.)*")', '"source"', written)


@given(notebooks())
def test_what_is_not_changed_is_written_as_it_was(written: str) -> None:
    found = read(written)
    assert rewritten(found, found.program) == written
    assert found.split(found.program) == [cell.code for cell in found.cells]


@given(notebooks(), st.data())
def test_a_changed_line_changes_its_string_and_nothing_else(written: str, data: st.DataObject) -> None:
    found = read(written)
    number = data.draw(st.integers(0, len(found.cells) - 1)) if found.cells else None
    if number is None:
        return
    cell = found.cells[number]
    lines = cell.code.split("\n")
    at = data.draw(st.integers(0, len(lines)))
    new = [*lines[:at], "changed = 'ö'", *lines[at + data.draw(st.integers(0, 1)) :]]
    codes = [each.code for each in found.cells]
    codes[number] = "\n".join(new)
    program = f"{found.marker}\n".join(f"{each}\n" for each in codes)
    try:
        result = rewritten(found, program)
    except NotebookError:
        assert cell.source != cell.code or any("'''" in line or '"""' in line or "\\" in line for line in lines)
        return
    before, after = json.loads(written), json.loads(result)
    assert [each.code for each in read(result).cells] == codes
    changed = before["cells"][cell.number - 1]
    assert after["cells"][cell.number - 1].keys() == changed.keys()
    changed["source"] = after["cells"][cell.number - 1]["source"]
    assert after == before
    start = next(i for i, (a, b) in enumerate(zip(written, result, strict=False)) if a != b)
    kept = next(i for i, (a, b) in enumerate(zip(written[::-1], result[::-1], strict=False)) if a != b)
    inside = max(len(line) for line in lines) * 12 + 60  # as long as an escaped line, with what parts it from others
    assert len(written) - kept - start <= inside
    assert written.isascii() <= result.isascii()


FORMS: dict[str, str] = {
    "one space": broken(indent=1),
    "two spaces": broken(indent=2),
    "no indent, no newline": broken(indent=None, end=""),
    "strings": notebook(text("a"), code(IMPORTS, whole=True), code(CLASS, whole=True)),
    "carriage returns": broken().replace("\n", "\r\n"),
    "escapes": broken().replace("torch", "\\u0074orch").replace("@", "\\u0040").replace("/", "\\/"),
    "carriage returns in the code": notebook(text(""), code(IMPORTS), code(CLASS.replace("\n", "\r\n"))),
    "outputs": notebook(
        text("größer 😀"),
        code(IMPORTS, outputs=[{"output_type": "stream", "name": "stdout", "text": [UNFIXED, '"source": []']}]),
        code(CLASS, tags=["source"], note={"source": ["x"]}),
        metadata={**PYTHON, "cells": [{"source": [CLASS]}]},
    ),
    "a byte order mark": "\ufeff" + broken(),
    "ascii": notebook(text(""), code(IMPORTS), code(f"# größer\n{CLASS}"))
    .replace("ö", "\\u00f6")
    .replace("ß", "\\u00df"),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.slow
def test_a_fix_that_torch_has_validated_changes_one_line_of_the_file(form: str, validator: Validator) -> None:
    written = FORMS[form].encode()
    source = decode(Path("a.ipynb"), written)
    found = lint(source, Settings()).findings
    assert [finding.code for finding in found] == ["MHA001"]
    fixed = fix_source(source, found, Settings(), validator)
    assert [finding.verdict.harness for finding in fixed.fixed if finding.verdict] == ["module"]
    result = encode(source, fixed.text)
    merged = re.search(rb"y = \(weights (@|\\u0040) v\)\.transpose\(1, 2\)(?=\.view)", written)
    assert merged is not None
    at = merged.end()
    assert result == written[:at] + b".contiguous()" + written[at:]
    again = decode(Path("a.ipynb"), result)
    assert again.text == fixed.text
    assert lint(again, Settings()).findings == ()


@pytest.mark.slow
def test_the_command_writes_shows_and_remembers_what_it_does() -> None:
    pytest.importorskip("torch")
    write(written := broken())
    diff = run("--diff", "a.ipynb")
    assert diff.stdout.startswith("--- a.ipynb:cell 3\n+++ a.ipynb:cell 3\n@@ -")
    assert f"-        y = (weights @ v){UNFIXED}\n+        y = (weights @ v){FIXED}\n" in diff.stdout
    assert Path("a.ipynb").read_text() == written
    filtered = run("--fix", "--stdin-filename", "a.ipynb", "-", stdin=written)
    assert filtered.stdout == written.replace(UNFIXED, FIXED)
    done = run("--fix", "a.ipynb")
    assert f"a.ipynb:cell 3:{ROW}:{COLUMN}: MHA001 error: [fixed]" in done.stdout
    assert "1 fixed (validated on cpu)" in done.stdout
    assert Path("a.ipynb").read_text() == written.replace(UNFIXED, FIXED)
    assert run("--fix", "a.ipynb").stdout == "All checks passed.\n"
    edited = notebook(text("# Attention\n"), code(f"{IMPORTS}\n\nx = 3"), text(""), code(CLASS), code("%cd ..\n"))
    write(edited)
    assert concise() == [FOUND.replace("cell 3", "cell 4")]
    run("--fix", "a.ipynb")
    assert Path("a.ipynb").read_text() == edited.replace(UNFIXED, FIXED)


@pytest.mark.slow
def test_what_cells_do_is_not_done_when_a_fix_is_validated(validator: Validator, project: Path) -> None:
    mark = project / "done"
    effects = f"open({str(mark)!r}, 'w')\nraise SystemExit(3)"
    use = (
        "mha = Attention()\nfor _ in range(3):\n    %time mha(torch.randn(2, 3, 24))\n    !touch done\nawait nothing()"
    )
    cells = (code(effects), code(f"{IMPORTS}\nwidth = 24"), code(CLASS.replace("dim: int = 24", "dim: int = width")))
    source = decode(project / "a.ipynb", notebook(*cells, code(use), code(effects)).encode())
    fixed = fix_source(source, list(lint(source, Settings()).findings), Settings(), validator)
    assert [finding.code for finding in fixed.fixed] == ["MHA001"]
    assert not mark.exists()


@pytest.mark.slow
def test_each_of_two_classes_of_one_name_is_validated_as_it_was_when_its_cell_ran(validator: Validator) -> None:
    second = CLASS.replace("heads: int = 4", "heads: int = 2")
    source = decode(Path("a.ipynb"), notebook(code(IMPORTS), code(CLASS), code("x = 3"), code(second)).encode())
    fixed = fix_source(source, list(lint(source, Settings()).findings), Settings(), validator)
    assert [finding.code for finding in fixed.fixed] == ["MHA001", "MHA001"]
    assert fixed.text.count(FIXED) == 2


SCALED = """\
class Attention(nn.Module):
    def __init__(self, dim: int = 24, heads: int = 4) -> None:
        super().__init__()
        self.dim, self.heads = dim, heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out_proj = nn.Linear(dim, dim)

    def forward(self, x):
        b, t, c = x.shape
        width = c // self.heads
        q, k, v = self.qkv(x).view(b, t, 3, self.heads, width).transpose(1, 3).unbind(2)
        weights = (q @ k.transpose(-2, -1) / math.sqrt(self.dim)).softmax(dim=-1)
        return self.out_proj((weights @ v).transpose(1, 2).reshape(b, t, c))
"""


@pytest.mark.slow
def test_a_fix_leaves_a_cell_that_python_cannot_read(validator: Validator) -> None:
    written = notebook(code(IMPORTS), code("def f(:\n    pass"), code(CLASS), code("x = (1,"))
    source = decode(Path("a.ipynb"), written.encode())
    fixed = fix_source(source, list(lint(source, Settings()).findings), Settings(), validator)
    assert [finding.code for finding in fixed.fixed] == ["MHA001"]
    assert [finding.code for finding in fixed.remaining] == ["MHA000", "MHA000"]
    assert encode(source, fixed.text).decode() == written.replace(UNFIXED, FIXED)


@pytest.mark.parametrize(
    "used", ["", "%timeit math.sqrt(3)", "def f():\n    !echo {math.pi}", "roots = !echo {math.e}"]
)
@pytest.mark.slow
def test_an_import_in_another_cell_goes_unless_a_line_of_ipython_needs_it(used: str, validator: Validator) -> None:
    written = notebook(code("import math"), code(IMPORTS), code(SCALED), code(used))
    source = decode(Path("a.ipynb"), written.encode())
    settings = Settings(ignore=("MHA2",), unsafe_fixes=True)
    fixed = fix_source(source, list(lint(source, settings).findings), settings, validator)
    assert [finding.code for finding in fixed.fixed] == ["MHA104"]
    cells = json.loads(encode(source, fixed.text))["cells"]
    assert cells[0]["source"] == (["import math"] if used else [])
    assert cells[3] == json.loads(written)["cells"][3]


def test_the_excerpt_names_the_cell_of_a_change_in_another_one() -> None:
    write(notebook(text("a"), code("import math"), code(IMPORTS), code(SCALED)))
    row = 1 + SCALED[: SCALED.index("math.sqrt")].count("\n")
    shown = run("a.ipynb").stdout
    assert f"a.ipynb:cell 4:{row}:" in shown
    assert "\n2:1 | - import math\n" in shown
    assert f"\n{row:>3} | -         weights = " in shown


def test_a_notebook_that_changed_meanwhile_or_is_read_only_is_left_alone() -> None:
    from mha_lint.files import read_source, write_source

    path = write(broken())
    source = read_source(path)
    text = source.text.replace(UNFIXED, FIXED)
    write(broken(indent=2))
    with pytest.raises(SourceError, match="changed on disk"):
        write_source(source, text)
    assert path.read_text() == broken(indent=2)
    write_source(read_source(path), text)
    assert path.read_text() == broken(indent=2).replace(UNFIXED, FIXED)
    assert [each.name for each in Path().iterdir()] == ["a.ipynb"]


def test_an_interrupted_write_leaves_the_notebook_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    from mha_lint.files import read_source, write_source

    source = read_source(write(broken()))

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_source(source, source.text.replace(UNFIXED, FIXED))
    assert Path("a.ipynb").read_text() == broken()
    assert [each.name for each in Path().iterdir()] == ["a.ipynb"]


def test_a_line_of_ipython_is_never_written_as_python() -> None:
    found = read(notebook(code("def f():\n    !ls\n    return 3\n")))
    with pytest.raises(NotebookError, match="only IPython reads"):
        rewritten(found, "def f():\n    return 3\n\n")
    changed = rewritten(found, found.program.replace("3", "4"))
    assert json.loads(changed)["cells"][0]["source"] == ["def f():\n", "    !ls\n", "    return 4\n"]


def test_a_fix_across_cells_is_left_alone() -> None:
    found = read(notebook(code("x = 1"), code("y = 2")))
    with pytest.raises(NotebookError, match="across cells"):
        rewritten(found, "x = 1\ny = 2\n")


# --- positions


@given(st.lists(st.lists(st.sampled_from(["x", "", "é"]), max_size=4).map("\n".join), min_size=1, max_size=5))
def test_each_row_of_the_program_is_a_row_of_its_cell(sources: list[str]) -> None:
    found: Notebook = read(notebook(*(cell for source in sources for cell in (text("a"), code(source)))))
    places = found.places(found.program)
    assert places is not None
    rows = found.program.split("\n")
    for number, first, last in found.rows():
        source = sources[number // 2 - 1].split("\n")
        for row in range(first, last + 1):
            cell, place = places.place(Position(row, 1))
            assert (cell, rows[row - 1]) == (number, source[place.row - 1])


def test_questions_about_a_notebook_are_answered_too() -> None:
    pytest.importorskip("torch")
    write(notebook(text("a"), code("raise SystemExit(3)"), code(CLEAN)))
    shown = run("--debug-model", "a.ipynb").stdout
    assert shown.startswith("cell 2: rows 1 to 1 of the program that the cells make\ncell 3: rows 3 to")
    assert "Attention.forward" in shown
    probed = run("--probe", "a.ipynb:Attention")
    assert "a.ipynb: Attention(" in probed.stdout


def test_the_page_shows_what_the_command_prints() -> None:
    page = (ROOT / "docs/notebooks.md").read_text("utf-8")
    command, _, printed = re.findall(r"^```console\n\$ mha-lint (.*?)^```", page, re.DOTALL | re.MULTILINE)[
        0
    ].partition("\n")
    done = subprocess.run(
        [sys.executable, "-m", "mha_lint", "--isolated", "--no-cache", *command.split()],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.stdout == printed
