"""The command, in this process where that is enough: what it prints, what it writes, and with which status it ends."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from samples import BROKEN, CLEAN, FIXED, ROW, SYNTAX_ERROR

from mha_lint import __version__
from mha_lint.cli import main
from mha_lint.files import Source
from mha_lint.findings import Found
from mha_lint.report.formats import FORMATS
from mha_lint.rules import all_rules
from mha_lint.settings import Settings

CODES = sorted(rule.code for rule in all_rules())
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project as working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    return tmp_path


def write(name: str, text: str | bytes = BROKEN) -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def codes(report: str) -> list[str]:
    return [finding["code"] for finding in json.loads(report)["findings"]]


# --- linting


def test_findings_end_with_1_and_none_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    write("clean.py", CLEAN)
    assert main([]) == 0
    assert capsys.readouterr().out == "All checks passed.\n"
    write("broken.py")
    assert main([]) == 1
    out = capsys.readouterr().out
    assert re.search(rf"^broken\.py:{ROW}:\d+: MHA001 error: ", out)
    assert "\n  = why: " not in out.splitlines()[0]
    assert out.endswith(
        "Found 1 finding (1 error).\n1 may be fixed with --fix (each is validated by execution first).\n"
    )


def test_full_underlines_the_flagged_source(capsys: pytest.CaptureFixture[str]) -> None:
    write("broken.py")
    main(["broken.py"])
    lines = capsys.readouterr().out.splitlines()
    place = next(number for number, line in enumerate(lines) if line.startswith(f"{ROW} | "))
    underlined = [char for char, mark in zip(lines[place], lines[place + 1], strict=False) if mark == "^"]
    assert "".join(underlined) == "view(b, t, c)"
    report = "\n".join(lines)
    assert "= why: " in report
    assert "= fix (safe, repaired): " in report
    assert f"{ROW} | + " in report


def test_concise_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    write("sub/broken.py")
    assert main(["--output-format", "concise", "-q"]) == 1
    assert re.fullmatch(rf"sub/broken\.py:{ROW}:\d+: MHA001 \[\*\] .+\n", capsys.readouterr().out)


def test_json_is_all_that_stdout_gets(capsys: pytest.CaptureFixture[str]) -> None:
    path = write("broken.py")
    write("gone.py").unlink()
    assert main(["broken.py", "gone.py", "--output-format", "json"]) == 2
    captured = capsys.readouterr()
    (finding,) = json.loads(captured.out)["findings"]
    assert finding["filename"] == str(path.resolve())
    assert finding["symbol"] == "Attention.forward"
    assert finding["fix"]["applicability"] == "safe"
    assert finding["validation"] is None
    assert "Found 1 finding (1 error)." in captured.err


def test_the_edits_in_json_make_the_fixed_file(capsys: pytest.CaptureFixture[str]) -> None:
    write("broken.py")
    main(["--output-format", "json"])
    (edit,) = json.loads(capsys.readouterr().out)["findings"][0]["fix"]["edits"]
    rows = BROKEN.splitlines(keepends=True)
    start, end = ((edit[key]["row"] - 1, edit[key]["column"] - 1) for key in ("location", "end_location"))
    assert start[0] == end[0]
    row = rows[start[0]]
    rows[start[0]] = row[: start[1]] + edit["content"] + row[end[1] :]
    assert "".join(rows) == FIXED


def test_github_writes_workflow_commands(capsys: pytest.CaptureFixture[str]) -> None:
    write("broken.py")
    assert main(["--output-format", "github"]) == 1
    captured = capsys.readouterr()
    assert re.fullmatch(rf"::error title=mha-lint \(MHA001\),file=broken\.py,line={ROW},.*::.*\n", captured.out)
    assert "Found 1 finding (1 error)." in captured.err


def test_every_output_format_has_a_report_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    write("broken.py")
    reports = set()
    for output_format in FORMATS:
        main(["-q", "--output-format", output_format])
        reports.add(capsys.readouterr().out)
    assert len(reports) == len(FORMATS)


def test_statistics_count(capsys: pytest.CaptureFixture[str]) -> None:
    write("a.py")
    write("b.py")
    assert main(["--statistics", "-q"]) == 1
    assert capsys.readouterr().out == "2  MHA001  [*] view-of-transposed\n"


def test_quiet_prints_findings_only_and_twice_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    write("broken.py")
    assert main(["-q", "broken.py"]) == 1
    captured = capsys.readouterr()
    assert "Found" not in captured.out + captured.err
    assert main(["-qq", "broken.py", "gone.py"]) == 2
    assert capsys.readouterr() == ("", "")


def test_output_file_takes_the_report(capsys: pytest.CaptureFixture[str]) -> None:
    write("broken.py")
    assert main(["--output-format", "json", "--output-file", "report.json"]) == 1
    assert capsys.readouterr().out == ""
    assert codes(Path("report.json").read_text()) == ["MHA001"]
    assert main(["-qq", "--output-format", "concise", "--output-file", "report.json"]) == 1
    assert re.fullmatch(r"broken\.py:.*\n", Path("report.json").read_text()), "what was there before is gone"
    assert main(["--output-file", "none/report.txt"]) == 2
    assert "none/report.txt: the report cannot be written" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("arguments", [["--output-file", "/dev/full"], ["-q"], ["--output-format", "json"]])
def test_a_full_disk_is_one_line_and_2(arguments: list[str]) -> None:
    write("broken.py")
    with open("/dev/full", "wb") as full:
        run = [sys.executable, "-m", "mha_lint", *arguments]
        done = subprocess.run(run, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2
    assert re.fullmatch(r"error: .*: the report cannot be written: no space left on device\n", done.stderr)


def test_force_exclude_leaves_out_what_is_given_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    write("gen/broken.py")
    write("pyproject.toml", '[tool.mha-lint]\nextend-exclude = ["gen"]\n')
    assert main(["gen/broken.py"]) == 1
    capsys.readouterr()
    assert main(["--force-exclude", "gen/broken.py"]) == 0
    assert capsys.readouterr() == ("All checks passed.\n", "")


def test_a_file_with_two_names_is_reported_under_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    write("real.py")
    Path("link.py").symlink_to("real.py")
    assert main(["-q", "--output-format", "concise", "link.py", "real.py"]) == 1
    assert re.fullmatch(r"real\.py:.*\n", capsys.readouterr().out)


def test_exit_zero_hides_findings_but_not_failures(capsys: pytest.CaptureFixture[str]) -> None:
    write("broken.py")
    assert main(["--exit-zero"]) == 0
    assert main(["--exit-zero", "gone.py"]) == 2


@pytest.mark.parametrize(
    ("severity", "status"),
    [(None, 1), ("info", 1), ("warning", 0), ("error", 0)],
    ids=["-", "info", "warning", "error"],
)
def test_findings_below_the_exit_severity_let_a_run_pass(severity: str | None, status: int) -> None:
    write("info.py", BROKEN.replace("transpose(1, 2).view", "transpose(1, 2).contiguous().reshape"))
    option = ["--exit-severity", severity] if severity else []
    assert main(["--select", "MHA004", *option]) == status
    assert main(["--select", "MHA004", *option, "info.py"]) == status
    write("pyproject.toml", f'[tool.mha-lint]\nexit-severity = "{severity or "info"}"\n')
    assert main(["--select", "MHA004"]) == status
    assert main(["--select", "MHA004", "--exit-severity", "info"]) == 1
    write("error.py")
    assert main(["--select", "MHA001,MHA004"]) == 1


def test_colours_are_for_terminals_or_on_demand(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write("broken.py")
    main([])
    assert "\x1b" not in capsys.readouterr().out
    monkeypatch.setenv("FORCE_COLOR", "1")
    main([])
    assert "\x1b[" in capsys.readouterr().out
    monkeypatch.setenv("NO_COLOR", "1")
    main([])
    assert "\x1b" not in capsys.readouterr().out


def test_errors_and_warnings_name_files_without_what_a_terminal_obeys(capsys: pytest.CaptureFixture[str]) -> None:
    write("\x1b]0;owned\x07.py", "def broken(:\n")
    write("\x1b]0;owned\x07.ipynb")
    main(["\x1b]0;owned\x07.py", "\x1b]0;owned\x07.ipynb", "--verbose"])
    main(["\x1b]0;missing.py"])
    main(["--debug-model", "\x1b]0;missing.py"])
    shown = "".join(capsys.readouterr())
    assert "owned" in shown
    assert shown.count("missing") == 2
    assert "\x1b" not in shown


def test_no_python_files_is_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "no Python files or notebooks found" in capsys.readouterr().err


# --- selection and settings


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--select", "MHA001"], 1),
        (["--select", "mha001"], 1),
        (["--select", "view-of-transposed"], 1),
        (["--select", "unbind-qkv,Missing-Output-Projection"], 0),
        (["--ignore", "view-of-transposed"], 0),
        (["--select", "MHA002,MHA003"], 0),
        (["--select", "MHA002", "--select", "MHA0"], 1),
        (["--ignore", "MHA001"], 0),
        (["--select", "MHA003", "--extend-select", "MHA001"], 1),
    ],
)
def test_selection(options: list[str], expected: int) -> None:
    write("broken.py")
    assert main(options) == expected


def test_pyproject_is_read_and_isolated_ignores_it(capsys: pytest.CaptureFixture[str]) -> None:
    write("broken.py")
    write("pyproject.toml", '[tool.mha-lint]\nignore = ["MHA001"]\n')
    assert main([]) == 0
    assert main(["--isolated"]) == 1
    write("other.toml", "")
    assert main(["--config", "other.toml"]) == 1


def test_per_file_ignores_and_exclude_hold(capsys: pytest.CaptureFixture[str]) -> None:
    write("tests/broken.py")
    write("gen/broken.py")
    write("src/broken.py")
    table = '[tool.mha-lint]\nextend-exclude = ["gen"]\nper-file-ignores = { "tests/*" = ["MHA001"] }\n'
    write("pyproject.toml", table)
    main(["--output-format", "json"])
    (finding,) = json.loads(capsys.readouterr().out)["findings"]
    assert finding["filename"].endswith("/src/broken.py")


def test_a_file_s_findings_do_not_depend_on_which_other_paths_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    write("a/broken.py")
    write("a/pyproject.toml", '[tool.mha-lint]\nignore = ["MHA001"]\n')
    write("b/broken.py")
    write("b/mha-lint.toml", 'exclude = ["x.py"]\n')
    write("b/x.py")
    write("b/deep/.mha-lint.toml", 'per-file-ignores = { "quiet.py" = ["ALL"] }\n')
    write("b/deep/quiet.py")
    write("b/deep/broken.py")

    def found(*paths: str) -> list[str]:
        main(["--output-format", "json", *paths])
        return [
            str(Path(f["filename"]).relative_to(Path.cwd())) for f in json.loads(capsys.readouterr().out)["findings"]
        ]

    assert found() == ["b/broken.py", "b/deep/broken.py"]
    assert found("a", "b") == ["b/broken.py", "b/deep/broken.py"]
    assert found("b/deep") == ["b/deep/broken.py"]
    assert found("a/broken.py", "b/deep/quiet.py") == []
    assert found("b/x.py") == ["b/x.py"], "it was given by name"
    os.chdir("b/deep")
    assert main(["quiet.py", "../../a"]) == 0
    assert main(["../broken.py"]) == 1


def test_a_mistake_in_a_nested_settings_file_ends_with_2_and_names_it(capsys: pytest.CaptureFixture[str]) -> None:
    write("broken.py")
    write("deep/mha-lint.toml", "selct = []\n")
    assert main([]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.endswith("deep/mha-lint.toml: unknown key 'selct'; did you mean 'select'?\n")
    assert captured.err.count("\n") == 1


def test_exclude_replaces_the_defaults_and_still_enters_no_virtual_environment(
    capsys: pytest.CaptureFixture[str],
) -> None:
    write("pyproject.toml", '[tool.mha-lint]\nexclude = ["third_party"]\n')
    write("third_party/broken.py")
    write("build/broken.py")
    write("env/pyvenv.cfg", "")
    write("env/lib/broken.py")
    write("lib/site-packages/broken.py")
    write(".git/hooks/broken.py")
    main(["--output-format", "concise", "-q"])
    assert [line.partition(":")[0] for line in capsys.readouterr().out.splitlines()] == ["build/broken.py"]
    for named in ("env", "lib/site-packages", ".git/hooks"):
        assert main([named]) == 1, "it was given by name"


def test_a_mistake_in_pyproject_ends_with_2_and_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    write("broken.py")
    write("pyproject.toml", '[tool.mha-lint]\nselect = ["MHA00I"]\n')
    assert main([]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert re.search(r"^error: .*pyproject\.toml: \[tool\.mha-lint\] select: unknown rule code 'MHA00I'", captured.err)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--nonsense"],
        ["--select", ""],
        ["--ignore", " , "],
        ["--device", "tpu"],
        ["--also", "onnx"],
        ["--also", ","],
        ["--require-device", "auto"],
        ["-j", "0"],
    ],
)
def test_wrong_usage_ends_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith("usage: mha-lint")


def test_noqa_silences(capsys: pytest.CaptureFixture[str]) -> None:
    write("a.py", BROKEN.replace("view(b, t, c)", "view(b, t, c)  # noqa: MHA001"))
    write("b.py", BROKEN.replace("view(b, t, c)", "view(b, t, c)  # noqa: E501"))
    write("c.py", "# mha-lint: noqa\n" + BROKEN)
    main(["--output-format", "json"])
    assert [Path(f["filename"]).name for f in json.loads(capsys.readouterr().out)["findings"]] == ["b.py"]


def test_list_rules_and_explain(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list-rules"]) == 0
    table = capsys.readouterr().out.splitlines()
    assert table[0].split() == ["code", "name", "severity", "fix", "default"]
    assert [row.split()[0] for row in table[1:]] == CODES
    for rule in all_rules():
        assert main(["--explain", rule.code.lower()]) == 0
        page = capsys.readouterr().out
        assert page.startswith(f"# {rule.code} {rule.name}\n")
        assert page.count(f"# {rule.code} {rule.name}\n") == 1
        assert len(page) > 300
    assert main(["--explain", "MHA00"]) == 2
    assert "unknown rule code 'MHA00'; did you mean 'MHA00" in capsys.readouterr().err


# --- syntax errors


def test_a_syntax_error_is_a_finding_in_words_at_its_place(capsys: pytest.CaptureFixture[str]) -> None:
    write("syntax.py", SYNTAX_ERROR)
    for options in ([], ["--select", "MHA003"], ["--exit-severity", "error"], ["--fix"]):
        assert main(["--no-cache", "--output-format", "concise", "-q", *options]) == 1
        told = f"syntax.py:3:7: MHA000 syntax error: '(' was never closed (read as Python {VERSION})\n"
        assert capsys.readouterr() == (told, "")
    assert main(["--output-format", "json"]) == 1
    (finding,) = json.loads(capsys.readouterr().out)["findings"]
    assert (finding["code"], finding["severity"], finding["location"]) == ("MHA000", "error", {"row": 3, "column": 7})
    assert main(["--output-format", "github"]) == 1
    assert "file=syntax.py,line=3,col=7" in capsys.readouterr().out
    assert main([]) == 1
    assert "x.view(" in capsys.readouterr().out


def test_a_comment_does_not_silence_a_syntax_error(capsys: pytest.CaptureFixture[str]) -> None:
    write("syntax.py", "# mha-lint: noqa\n" + SYNTAX_ERROR)
    assert main(["-q", "--output-format", "concise"]) == 1
    assert capsys.readouterr().out.startswith("syntax.py:4:7: MHA000 ")


@pytest.mark.filterwarnings("error")
def test_python_s_warnings_about_the_user_s_code_are_not_ours_to_print(capsys: pytest.CaptureFixture[str]) -> None:
    write("escape.py", BROKEN.replace("import torch\n", 'import torch\nPATTERN = "\\d" "\\w"\nx = 1 is 1\n', 1))
    write("syntax.py", 'PATTERN = "\\d"\n' + SYNTAX_ERROR)
    assert main(["-q", "--no-cache"]) == 1
    assert capsys.readouterr().err == ""


# --- files that lie about being Python


def test_each_unreadable_file_is_named_once_and_the_run_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    contents: dict[str, bytes] = {
        "binary.py": b"import torch\n\0\x01\x02",
        "undecodable.py": b"import torch # \xe9\n",
        "codec.py": b"# coding: klingon\nimport torch\n",
    }
    for name, data in contents.items():
        write(name, data)
    fine = {
        "syntax.py": SYNTAX_ERROR.encode(),
        "python2.py": b"import torch\nprint 'view'\n",
        "empty.py": b"",
        "latin1.py": ("# coding: latin-1\n# é\n" + BROKEN).encode("latin-1"),
        "crlf.py": BROKEN.replace("\n", "\r\n").encode(),
        "bom.py": b"\xef\xbb\xbf" + BROKEN.encode(),
        "tabs.py": BROKEN.replace("    ", "\t").encode(),
        "long.py": ("x = 1\n" * 2_000 + BROKEN).encode(),
    }
    for name, data in fine.items():
        write(name, data)
    write("x.py/inner.py")
    Path("broken.py").symlink_to("nowhere")
    before = {path: path.read_bytes() for path in Path().rglob("*.py") if path.is_file()}
    assert main(["--output-format", "json"]) == 2
    captured = capsys.readouterr()
    found = {Path(f["filename"]).name: f["location"]["row"] for f in json.loads(captured.out)["findings"]}
    assert found == {
        "syntax.py": 3,
        "python2.py": 2,
        "latin1.py": ROW + 2,
        "crlf.py": ROW,
        "bom.py": ROW,
        "tabs.py": ROW,
        "long.py": ROW + 2_000,
        "inner.py": ROW,
    }
    errors = [line for line in captured.err.splitlines() if line.startswith("error: ")]
    assert sorted(line.split(":")[1].strip() for line in errors) == sorted(contents)
    assert "Traceback" not in captured.err
    assert before == {path: path.read_bytes() for path in Path().rglob("*.py") if path.is_file()}


def test_a_crash_in_a_rule_costs_one_file_and_asks_for_a_report(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write("a.py")
    write("b.py")
    from mha_lint import linter

    real = linter.lint

    def lint(source: Source, settings: Settings, **options: Any) -> Found:
        if source.path.name == "a.py":
            raise RuntimeError("a bug")
        return real(source, settings, **options)

    monkeypatch.setattr(linter, "lint", lint)
    assert main(["--output-format", "json", "--no-cache"]) == 2
    captured = capsys.readouterr()
    assert codes(captured.out) == ["MHA001"]
    assert (
        f"error: a.py: mha-lint {__version__} failed while linting this file (RuntimeError: a bug); please report it"
        in captured.err
    )
    assert "Traceback" not in captured.err
    assert main(["-v", "--no-cache"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_a_crash_in_code_that_is_followed_into_another_file_names_the_file(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(_: object) -> None:
        raise AttributeError("a bug")

    monkeypatch.setattr("mha_lint.model.masking.bare", crash)
    write("hiding.py", b"def hide(scores, mask):\n    return scores.tril()\n")
    using = b"import torch\nfrom hiding import hide\n\n\ndef attend(q, k, v, mask):\n"
    using += b"    return torch.softmax(hide(q @ k.transpose(-2, -1), mask), -1) @ v\n"
    write("first.py", using)
    write("second.py", using)
    write("plain.py", b"x = 1\n")
    assert main(["--no-cache", "-j", "1"]) == 2
    captured = capsys.readouterr()
    assert "All checks passed" not in captured.out
    for name in ("first.py", "second.py"):
        assert (
            f"error: {name}: mha-lint {__version__} failed while linting this file (AttributeError: a bug)"
            in captured.err
        )


@pytest.mark.parametrize(
    "place", ["mha_lint.cache.Index.save", "mha_lint.cache.trim", "mha_lint.cache.LintCache.store"]
)
def test_a_crash_in_the_cache_costs_no_finding(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    def crash(*_: object) -> None:
        raise TypeError("a bug")

    monkeypatch.setattr(place, crash)
    write("broken.py")
    assert main(["--output-format", "json"]) == 2
    captured = capsys.readouterr()
    assert codes(captured.out) == ["MHA001"]
    assert re.search(
        rf"^error: (broken\.py: )?mha-lint {__version__} failed while .* \(TypeError: a bug\); ", captured.err
    )
    assert "Traceback" not in captured.err


def test_a_crash_of_the_command_is_one_line_and_2(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: object, **__: object) -> None:
        raise TypeError("a bug")

    monkeypatch.setattr("mha_lint.cli.show", crash)
    write("broken.py")
    assert main([]) == 2
    captured = capsys.readouterr()
    line = f"error: mha-lint {__version__} failed while running (TypeError: a bug); please report it at "
    assert captured.err.startswith(line)
    assert captured.err.count("\n") == 1
    assert main(["-v"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_a_missing_path_ends_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    write("broken.py")
    assert main(["none.py", "broken.py", "-q"]) == 2
    captured = capsys.readouterr()
    assert captured.err == "error: none.py: no such file or directory\n"
    assert "MHA001" in captured.out


# --- stdin


def stdin(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_stdin_is_linted_under_its_file_name(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, project: Path
) -> None:
    write("pyproject.toml", '[tool.mha-lint]\nper-file-ignores = { "quiet.py" = ["MHA001"] }\n')
    for name, status in (("loud.py", 1), ("quiet.py", 0)):
        stdin(monkeypatch, BROKEN.encode())
        assert main(["-", "--stdin-filename", name, "--output-format", "json"]) == status
        assert [f["filename"] for f in json.loads(capsys.readouterr().out)["findings"]] == [
            str(project / name)
        ] * status


def test_stdin_without_a_name_is_a_dash_in_every_format(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind, shown in (("json", '"filename": "-"'), ("concise", f"-:{ROW}:"), ("github", "file=-,"), ("full", "-:")):
        stdin(monkeypatch, BROKEN.encode())
        assert main(["-", "--output-format", kind]) == 1
        assert shown in capsys.readouterr().out


def test_stdin_with_other_paths_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-", "a.py"]) == 2
    assert "cannot be combined" in capsys.readouterr().err


# --- cache


def test_a_second_run_reads_the_cache_and_reports_the_same(capsys: pytest.CaptureFixture[str], project: Path) -> None:
    write("broken.py")
    main(["-v"])
    first = capsys.readouterr()
    main(["-v"])
    second = capsys.readouterr()
    assert first.out == second.out
    assert "of which 0 from the cache" in first.err
    assert "of which 1 from the cache" in second.err
    assert (project / ".mha_lint_cache/.gitignore").read_text() == "*\n"
    assert (
        (project / ".mha_lint_cache/CACHEDIR.TAG").read_text().startswith("Signature: 8a477f597d28d172789f06886806bc55")
    )


def test_the_cache_sees_every_change(capsys: pytest.CaptureFixture[str]) -> None:
    write("broken.py")
    assert main([]) == 1
    assert main(["--ignore", "MHA001"]) == 0
    write("broken.py", CLEAN)
    assert main([]) == 0


def test_a_broken_cache_is_ignored(capsys: pytest.CaptureFixture[str], project: Path) -> None:
    write("broken.py")
    main(["-q"])
    expected = capsys.readouterr().out
    (entry,) = (project / ".mha_lint_cache/lint").rglob("*.json")
    for damage in ("", "[1]", "{}", '[{"code": "MHA001"}]', "null", "\udcff"):
        entry.write_bytes(damage.encode(errors="surrogateescape"))
        assert main(["-q"]) == 1
        assert capsys.readouterr().out == expected


def test_no_cache_leaves_nothing_behind(project: Path) -> None:
    write("broken.py")
    main(["--no-cache"])
    assert os.listdir(project) == ["broken.py"]


def test_an_unwritable_cache_is_no_error(project: Path) -> None:
    write("broken.py")
    (project / ".mha_lint_cache").write_text("a file, not a folder")
    assert main([]) == 1
