"""Two versions of the tool are compared on the same files, and each difference of findings and fixes is told."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from checkout import commit_all, copy_to
from corpus_files import CORPUS
from mutants import changed, injected

from mha_lint.files import SourceError, decode
from mha_lint.linter import lint
from mha_lint.settings import Settings
from tests.bench.comparison.differences import Report, differences
from tests.bench.comparison.trees import ROOT, laid_out
from tests.bench.injection.sites import RULES
from tests.bench.same_findings import Text, compare

SCRIPT = Path(__file__).parent / "bench" / "same_findings.py"
MARKED = CORPUS / "view" / "sliced_prefix.py"
CLEAN = CORPUS / "clean" / "bert_two_classes.py"
ALL = Settings().with_selection(("ALL",), (), ("MHA2",))  # the texts attend by hand
FINDING = {
    "code": "MHA001",
    "severity": "error",
    "message": "first",
    "location": {"row": 3, "column": 1},
    "end_location": {"row": 3, "column": 9},
    "symbol": "",
    "fix": {"message": "fixed", "edits": []},
}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return laid_out(str(ROOT), tmp_path_factory.mktemp("here") / "tree")


def changed_copy(folder: Path, file: str, before: str, after: str) -> Path:
    """A checkout in which one text is another."""
    copy = copy_to(folder)
    text = (copy / file).read_text(encoding="utf-8")
    assert before in text
    (copy / file).write_text(text.replace(before, after), encoding="utf-8")
    return copy


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True)


def texts(*paths: Path) -> list[Text]:
    return [Text(path, path.name, path.read_bytes()) for path in paths]


# --- what is told


def test_the_same_version_has_no_differences_and_the_last_line_counts() -> None:
    done = run(str(MARKED), "--against", str(ROOT), "--jobs", "1")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "1 files, 1 findings, 0 differences"


def test_a_severity_that_is_another_in_the_commit_is_told(tmp_path: Path) -> None:
    copy = changed_copy(
        tmp_path / "copy", "mha_lint/rules/view_of_transposed.py", 'severity = "error"', 'severity = "info"'
    )
    commit_all(copy)
    (copy / "mha_lint" / "__init__.py").unlink()  # what is compared is the commit, not what lies there now
    done = run(str(MARKED), "--against", "HEAD", "--jobs", "1", "--repository", str(copy))
    assert (done.returncode, done.stderr) == (1, "")
    told, *_, last = done.stdout.splitlines()
    assert told == f"{MARKED}:26:27: MHA001 severity: 'info' → 'error'"
    assert last == "1 files, 1 findings, 1 differences"


def test_an_edit_that_another_version_writes_differently_is_told(here: Path, tmp_path: Path) -> None:
    copy = changed_copy(tmp_path / "copy", "fixers/view_of_transposed.py", '"contiguous()")', '"clone()")')
    other = laid_out(str(copy), tmp_path / "other")
    (compared,) = compare(texts(MARKED), here, other)
    (told,) = differences(compared.this, compared.other)
    assert (told.code, told.kind) == ("MHA001", "fix.edits")
    assert "'clone().' → " in told.detail and told.detail.endswith("'contiguous().'")
    assert differences(compared.this, compared.other, fixes=False) == []


def test_each_version_runs_its_own_rules(here: Path, tmp_path: Path) -> None:
    rule = 'MHA001 = "mha_lint.rules.view_of_transposed:ViewOfTransposed"\n'
    copy = changed_copy(tmp_path / "copy", "pyproject.toml", rule, "")
    other = laid_out(str(copy), tmp_path / "other")
    (compared,) = compare(texts(MARKED), here, other)
    assert [(told.code, told.kind) for told in differences(compared.this, compared.other)] == [("MHA001", "new")]
    (compared,) = compare(texts(MARKED), other, here)
    assert [(told.code, told.kind) for told in differences(compared.this, compared.other)] == [("MHA001", "lost")]


def test_a_version_that_looks_at_a_part_of_each_file_is_told_to_look_at_all(here: Path, tmp_path: Path) -> None:
    whole, part = "noqa: bool = True, ", "noqa: bool = True, screened: bool = True, "
    copy = changed_copy(tmp_path / "copy", "mha_lint/linter.py", whole, part)
    linter = copy / "mha_lint" / "linter.py"
    linter.write_text(linter.read_text().replace("look = looked(", "look = None if screened else looked("))
    losing = laid_out(str(copy), tmp_path / "losing")
    (compared,) = compare(texts(MARKED), here, losing)
    assert [told.kind for told in differences(compared.this, compared.other)] == ["new"]
    (compared,) = compare(texts(MARKED), here, losing, without_screen=True)
    assert differences(compared.this, compared.other) == []


def test_a_version_that_crashes_on_a_file_is_told_of_and_the_others_go_on(here: Path, tmp_path: Path) -> None:
    copy = changed_copy(
        tmp_path / "copy", "fixers/view_of_transposed.py", "    places, call =", "    1 / 0\n    places, call ="
    )
    other = laid_out(str(copy), tmp_path / "other")
    broken = Text(Path("broken.py"), "broken.py", b"import torch\nx = torch.ones(2).view(\n")
    crashed, clean, refused = compare([*texts(MARKED, CLEAN), broken], here, other, jobs=2)
    (told,) = differences(crashed.this, crashed.other)
    assert (
        told.code == "error" and told.detail.startswith("crash: ZeroDivisionError") and told.detail.endswith(" → none")
    )
    assert differences(clean.this, clean.other) == []
    assert refused.this.error and differences(refused.this, refused.other) == []


def test_a_version_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no-such-commit"):
        laid_out("no-such-commit", tmp_path / "tree")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("severity", "warning"),
        ("message", "another"),
        ("end_location", {"row": 3, "column": 2}),
        ("symbol", "f"),
        ("fix", None),
    ],
)
def test_every_field_of_a_finding_is_held_against_the_other(name: str, value: object) -> None:
    assert differences(Report((FINDING,)), Report((FINDING,))) == []
    (told,) = differences(Report((FINDING,)), Report((FINDING | {name: value},)))
    assert (told.place, told.code, told.kind) == ("3:1", "MHA001", name)


def test_two_findings_of_one_rule_at_one_place_are_told_apart() -> None:
    second = FINDING | {"message": "second"}
    (told,) = differences(Report((FINDING, second)), Report((second,)))
    assert (told.kind, told.detail) == ("new", "first")
    (told,) = differences(Report((second,)), Report((FINDING, second)))
    assert (told.kind, told.detail) == ("lost", "first")


# --- the mistakes that are written into files


def found(text: str) -> set[str]:
    try:
        return {finding.code for finding in lint(decode(Path("model.py"), text.encode()), ALL).findings}
    except SourceError:
        return set()


BASES = (
    "bert_two_classes",
    "cache_decoder",
    "caller_projects",
    "chunk_and_split",
    "convolution_after",
    "legal_merge",
    "sdpa_output",
    "sequential_filled_later",
)
ENTRIES_FIRST = """\
import torch
from torch import nn


class Encoder(nn.Module):
    def __init__(self, c, pixels):
        super().__init__()
        self.patches = nn.Conv2d(3, c, 4, 4)
        self.positions = nn.Parameter(torch.zeros(pixels, c))
        self.attend = nn.MultiheadAttention(c, 4, batch_first=True)

    def forward(self, image):
        x = self.patches(image).flatten(2).transpose(1, 2)
        x = x + self.positions
        x = self.attend(x, x, x, need_weights=False)[0]
        return x.mean(dim=1)
"""
ENTRIES_OF_HEADS = """\
import torch
from torch import nn


class Attention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads, self.d = heads, dim // heads
        self.q, self.k, self.v, self.out = (nn.Linear(dim, dim) for _ in range(4))

    def forward(self, x, mask):
        b, t, c = x.shape
        shape = (b, t, self.heads, self.d)
        split = (m(x).view(shape).transpose(1, 2) for m in (self.q, self.k, self.v))
        q, k, v = (part.contiguous().view(b * self.heads, t, self.d) for part in split)
        scores = torch.bmm(q, k.transpose(1, 2)) * self.d**-0.5
        scores = scores.masked_fill(mask.repeat_interleave(self.heads, dim=0), float("-inf"))
        y = torch.bmm(scores.softmax(-1), v)
        return self.out(y.view(b, self.heads, t, self.d).transpose(1, 2).contiguous().view(b, t, c))
"""
OF_LAYOUT = {"MHA001", "MHA002", "MHA003", "MHA004", "MHA005"}  # their mistakes are changes of single operations


def test_mistakes_of_every_rule_that_the_injection_knows_are_written_and_found() -> None:
    written: set[str] = set()
    bases = [(CORPUS / "clean" / f"{name}.py").read_text(encoding="utf-8") for name in BASES]
    bases.append((CORPUS / "rotary" / "phase_in_single.py").read_text(encoding="utf-8"))
    turning = (ROOT / "examples" / "rotary_phase_in_half.py").read_text(encoding="utf-8")
    for text in (*bases, ENTRIES_FIRST, ENTRIES_OF_HEADS, turning.replace("inv_freq.to(x.dtype)", "inv_freq")):
        assert not found(text)
        for mutant in changed(text):
            written |= found(mutant)
        for label, mutant in injected(text):
            written |= found(mutant) & {label[:6]}
    assert written == {*RULES, *OF_LAYOUT}


def test_the_width_of_the_model_is_written_under_a_name_for_that_of_a_head() -> None:
    text = (CORPUS / "clean" / "sequential_out.py").read_text(encoding="utf-8")
    (renamed,) = [mutant for label, mutant in injected(text) if "by another name" in label]
    assert "key_dim = " in renamed and "MHA104" in found(renamed)


def test_the_mistakes_are_the_same_each_time_and_others_with_another_seed() -> None:
    text = (CORPUS / "clean" / "bert_two_classes.py").read_text(encoding="utf-8")
    assert list(injected(text, 1)) == list(injected(text, 1))
    assert any(list(injected(text, 1)) != list(injected(text, seed)) for seed in range(2, 6))
