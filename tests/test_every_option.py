"""Each option of the command line has a test that runs the command with it and looks at what it changes."""

from __future__ import annotations

import ast
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from installed_command import COMMAND, Project, Register
from samples import BROKEN, CLEAN

from mha_lint.options import parser

HERE = Path(__file__).parent
CALLS = frozenset(("main", "run", "Popen", "command", "lint", "mha_lint", "codes", "refusal"))  # what runs the command
shows = Register()


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path)
    made.write("broken.py", BROKEN)
    made.write("clean.py", CLEAN)
    return made


def named_in_runs() -> Iterator[str]:
    """The options that a test function spells out, if the function, or one that it calls, runs the command."""
    for path in HERE.rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.FunctionDef) or not node.name.startswith("test_"):
                continue
            called = {
                ast.unparse(each.func).rpartition(".")[2] for each in ast.walk(node) if isinstance(each, ast.Call)
            }
            if called & CALLS:
                for each in ast.walk(node):
                    if isinstance(each, ast.Constant) and isinstance(each.value, str) and each.value.startswith("-"):
                        yield each.value


def test_every_option_is_in_a_test_that_runs_the_command() -> None:
    tested = shows.shown | set(named_in_runs())
    actions = [action for action in parser()._actions if action.option_strings]
    untested = [action.option_strings for action in actions if not tested.intersection(action.option_strings)]
    opposites = [name for action in actions for name in action.option_strings if name.startswith("--no-")]
    assert not untested
    assert not [name for name in opposites if name not in tested]


def test_an_option_that_no_test_names_is_noticed() -> None:
    assert "--no-such-option-" + "at-all" not in set(named_in_runs())
    assert {"--bench", "--verify", "--color"} <= shows.shown | set(named_in_runs())


# --- which settings


@shows("--config", "--isolated")
def test_a_key_is_set_on_the_command_line(project: Project) -> None:
    project.write("mha-lint.toml", 'view-fix = "contiguous"\nselect = ["MHA001"]')
    project.write("other.toml", 'view-fix = "reshape"\n')
    assert ".contiguous().view" in project.run("--config", 'view-fix = "contiguous"', "--config", "other.toml").stdout
    assert ".reshape(" in project.run("--config", "other.toml").stdout
    several = 'view-fix = "reshape"\nselect = ["ALL"]\nignore = ["MHA2"]'
    assert ".reshape(" in project.run("--config", several).stdout
    assert project.codes("--isolated", "--config", 'select = ["MHA005"]', "--config", "ignore = []") == []
    assert project.codes("--config", 'ignore = ["MHA001"]') == []
    assert project.codes("--config", 'ignore = ["MHA001"]', "--select", "MHA001") == ["MHA001"]


@pytest.mark.parametrize(
    ("arguments", "refusal"),
    [
        (["--config", "selct = []"], "--config: unknown key 'selct'; did you mean 'select'?"),
        (["--config", "view-fix = 1"], '--config: view-fix: expected "contiguous" or "reshape", not 1'),
        (["--config", "nonsense"], "'nonsense' is neither a settings file nor TOML (KEY = VALUE)"),
        (["--config", "none.toml"], "none.toml: cannot be read: no such file"),
        (["--config", 'extend = "x.toml"'], "'extend' is for settings files alone"),
        (["--config", 'required-version = "<0.0.1"'], "required-version: '<0.0.1' does not fit mha-lint"),
        (["--config", "a.toml", "--config", "b.toml"], "names several files: a.toml, b.toml"),
        (["--config", "a.toml", "--isolated"], "--config a.toml cannot be combined with --isolated"),
        (["--extend-per-file-ignores", "a:MHA9"], "--extend-per-file-ignores: unknown rule code 'MHA9'"),
    ],
)
def test_a_mistake_in_an_option_is_one_line_that_names_it(project: Project, arguments: list[str], refusal: str) -> None:
    assert refusal in project.refusal(*arguments)


@shows("--target-version", "--target-torch")
def test_targets_are_stronger_than_those_of_the_project(project: Project) -> None:
    project.write("pyproject.toml", '[project]\nrequires-python = ">=3.9"\ndependencies = ["torch>=2.1"]\n')
    shown = project.run("--show-settings", "--target-version", "py312", "--target-torch", "2.6", "broken.py").stdout
    assert '\ntarget-version = "py312"  # the command line\ntarget-torch = "2.6"  # the command line\n' in shown
    assert "expected two numbers" in project.run("--target-torch", "new").stderr


@shows("--show-settings")
def test_settings_are_shown_with_the_file_that_they_come_from(project: Project) -> None:
    base = project.write("base.toml", 'view-fix = "reshape"\nselect = ["MHA001"]')
    own = project.write("sub/mha-lint.toml", 'extend = "../base.toml"\nextend-select = ["MHA002"]')
    project.write("sub/a.py", BROKEN)
    lines = project.run("--show-settings", "--config", "fix = true", "sub/a.py").stdout.splitlines()
    assert lines[:2] == [f'Resolved settings for: "{project.folder}/sub/a.py"', f'Settings path: "{own}"']
    for line in (
        f'view-fix = "reshape"  # {base}',
        f'extend-select = ["MHA002"]  # {own}',
        "fix = true  # --config",
        "unsafe-fixes = false",
        'under it: select = ["MHA001"]',
        'rules = ["MHA001", "MHA002"]',
    ):
        assert line in lines


# --- which files


@shows("--exclude", "--extend-exclude", "--show-files", "--force-exclude", "--no-force-exclude")
def test_files_are_chosen(project: Project) -> None:
    project.write("gen/a.py", CLEAN)
    project.write("dist/a.py", CLEAN)

    def files(*arguments: str) -> list[str]:
        printed = project.run("--show-files", *arguments).stdout.splitlines()
        return [line.removeprefix(f"{project.folder}/") for line in printed]

    assert files() == ["broken.py", "clean.py", "gen/a.py"]
    assert files("--extend-exclude", "gen/,c*") == ["broken.py"]
    assert files("--exclude", "gen/*") == ["broken.py", "clean.py", "dist/a.py"]
    assert files("--exclude", "gen", "gen/a.py") == ["gen/a.py"]
    assert files("--exclude", "gen", "--force-exclude", "gen/a.py") == []
    project.write("sub/mha-lint.toml", "force-exclude = true")
    assert files("--config", "force-exclude = true", "--no-force-exclude", "--exclude", "gen", "gen/a.py") == [
        "gen/a.py"
    ]


@shows("--respect-gitignore", "--no-respect-gitignore")
def test_gitignore_is_asked_or_not(project: Project) -> None:
    subprocess.run(["git", "init", "-q", "."], cwd=project.folder, check=True)
    project.write(".gitignore", "broken.py\n")
    assert project.codes() == []
    assert project.codes("--no-respect-gitignore") == ["MHA001"]
    assert project.codes("--config", "respect-gitignore = false", "--respect-gitignore") == []


@shows("--per-file-ignores", "--extend-per-file-ignores")
def test_rules_are_left_out_in_some_files(project: Project) -> None:
    project.write("sub/mha-lint.toml", 'per-file-ignores = { "*" = ["ALL"] }')
    project.write("sub/a.py", BROKEN)
    assert project.codes() == ["MHA001"]
    assert project.codes("--per-file-ignores", "broken.py:MHA0,clean.py:MHA2") == ["MHA001"]  # that of sub/a.py
    assert project.codes("--extend-per-file-ignores", "broken.py:MHA001") == []
    assert project.codes("--per-file-ignores", "./sub/*.py:MHA0", "sub") == []
    done = project.run("--per-file-ignores", "broken.py")
    assert done.returncode == 2 and "expected GLOB:RULE" in done.stderr


# --- runs


@shows("--fix", "--no-fix", "--show-fixes", "--no-show-fixes", "--unsafe-fixes", "--no-unsafe-fixes")
def test_options_are_stronger_than_keys_of_fixing(project: Project) -> None:
    pytest.importorskip("torch")
    project.write("mha-lint.toml", "fix = true\nunsafe-fixes = true\nshow-fixes = true")
    shown = project.run("--show-settings", "--no-fix", "--no-unsafe-fixes", "--no-show-fixes").stdout
    assert "\nfix = false  #" in shown and "\nunsafe-fixes = false  #" in shown and "\nshow-fixes = false  #" in shown
    assert project.codes("--no-fix") == ["MHA001"]
    done = project.run("--fix", "--device", "cpu", "--no-show-fixes")
    assert done.returncode == 0 and "Fixed 1 finding" not in done.stdout
    project.write("broken.py", BROKEN)
    assert "    1 × MHA001 (view-of-transposed)\n" in project.run("--isolated", "--fix", "--show-fixes").stdout


@shows("--fixable", "--extend-fixable", "--unfixable")
def test_the_fixes_that_may_be_tried_are_chosen(project: Project) -> None:
    unfixable = "the settings make MHA001 unfixable"
    project.write("mha-lint.toml", 'fixable = ["MHA001"]')
    assert unfixable not in project.run().stdout
    assert unfixable in project.run("--fixable", "MHA002").stdout
    assert unfixable in project.run("--unfixable", "MHA001").stdout
    assert unfixable not in project.run("--fixable", "MHA002", "--extend-fixable", "view-of-transposed").stdout


@shows("--help")
def test_help_lists_every_option(project: Project) -> None:
    printed = project.run("--help").stdout
    for action in parser()._actions:
        assert all(name in printed for name in action.option_strings)


@shows("--cache-dir", "--no-cache")
def test_the_cache_lies_where_it_was_asked_for(project: Project) -> None:
    caches = ("kept/.mha_lint_cache", ".mha_lint_cache", "env/.mha_lint_cache")

    def made() -> list[bool]:
        return [(project.folder / each).exists() for each in caches]

    project.codes("--cache-dir", "kept", "--no-cache")
    project.codes("--cache-dir", "kept", MHA_LINT_NO_CACHE="1")
    assert made() == [False, False, False]
    project.codes("--cache-dir", "kept", MHA_LINT_CACHE_DIR="env")
    assert made() == [True, False, False]
    project.codes(MHA_LINT_CACHE_DIR="env")
    assert made() == [True, False, True]


@shows("--output-format")
def test_the_environment_chooses_a_format_for_files_without_attention_too(project: Project) -> None:
    project.write("plain.py", "x = 1\n")
    assert json.loads(project.run("plain.py", MHA_LINT_OUTPUT_FORMAT="json").stdout)["findings"] == []
    assert "MHA_LINT_OUTPUT_FORMAT: output-format: expected" in project.run(MHA_LINT_OUTPUT_FORMAT="xml").stderr


@shows("--color")
@pytest.mark.parametrize(
    ("option", "environment", "coloured"),
    [
        ([], {}, False),
        ([], {"FORCE_COLOR": "1"}, True),
        ([], {"CLICOLOR_FORCE": "1"}, True),
        ([], {"FORCE_COLOR": ""}, False),
        ([], {"NO_COLOR": "1", "FORCE_COLOR": "1"}, False),
        (["--color", "auto"], {"FORCE_COLOR": "1"}, True),
        (["--color", "always"], {"NO_COLOR": "1"}, True),
        (["--color", "never"], {"FORCE_COLOR": "1"}, False),
    ],
)
def test_colours_are_as_ruff_has_them(
    project: Project, option: list[str], environment: dict[str, str], coloured: bool
) -> None:
    assert ("\x1b[" in project.run("broken.py", *option, **environment).stdout) == coloured


@shows("--print-completion")
@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_a_shell_completes_options(project: Project, shell: str) -> None:
    script = project.run("--print-completion", shell).stdout
    assert "per-file-ignores" in script and "print-completion" in script
    if shell == "bash":
        asked = f"{script}\nCOMP_WORDS=(mha-lint --show-s); COMP_CWORD=1; _shtab_mha_lint; echo ${{COMPREPLY[@]}}"
        done = subprocess.run(["bash", "-c", asked], capture_output=True, text=True)
        assert done.stdout.split() == ["--show-settings"], done.stderr


@pytest.mark.parametrize(("options", "name"), [(["--print-completion", "bash"], "shtab"), (["--watch"], "watchfiles")])
def test_a_package_that_is_missing_is_named(project: Project, options: list[str], name: str) -> None:
    code = f"import sys; sys.modules[{name!r}] = None; from mha_lint.cli import main; sys.exit(main({options!r}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=project.folder, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (2, f"error: {options[0]} needs {name}: pip install {name}\n")


@shows("--watch")
def test_a_watch_lints_again_what_changes_until_ctrl_c(project: Project) -> None:
    log = project.folder.with_name(f"{project.folder.name}.log")

    def printed(wanted: str, times: int) -> str:
        """What the watch has printed once it says this so many times."""
        for _ in range(600):
            text = log.read_text("utf-8")
            if text.count(wanted) >= times:
                return text
            time.sleep(0.1)
        raise AssertionError(text)

    watching = "Watching for file changes.\n"
    with log.open("w") as out:
        command = [COMMAND, "--watch", "--output-format", "concise", "-v"]
        process = subprocess.Popen(command, cwd=project.folder, stdout=out, stderr=out, preexec_fn=_interruptible)
        try:
            assert printed(watching, 1).count("MHA001") == 1
            time.sleep(2.5)  # until the kernel tells of changes; and a file that is older is known by its status
            (project.folder / "broken.py").write_text(CLEAN)
            assert "All checks passed." in printed(watching, 2)
            (project.folder / "mha-lint.toml").write_text("selct = []")
            assert "unknown key 'selct'" in printed(watching, 3)
            (project.folder / "notes.txt").write_text("not watched")
            (project.folder / "mha-lint.toml").write_text('exit-severity = "error"')
            (project.folder / "new.py").write_text(BROKEN)
            assert "new.py:" in printed(watching, 4)
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 130
        finally:
            process.kill()
    text = log.read_text("utf-8")
    assert "\x1b" not in text and "Traceback" not in text
    assert re.search(r"^\[\d\d:\d\d:\d\d\] Starting linter in watch mode\.\.\.$", text, re.MULTILINE)
    assert re.search(r"^\[\d\d:\d\d:\d\d\] File change detected\.\.\.$", text, re.MULTILINE)


def _interruptible() -> None:
    """Let the process hear Ctrl-C, which a shell that runs it in the background may have switched off."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_a_watch_of_what_is_not_there_is_an_error(project: Project) -> None:
    assert "none.py: cannot be watched" in project.refusal("--watch", "none.py")
    assert "--watch cannot be combined with - (stdin)" in project.refusal("--watch", "-")


def test_an_import_of_the_optional_packages_is_not_paid_by_a_lint(project: Project) -> None:
    code = (
        "import sys; from mha_lint.cli import main; main(['--no-cache', 'broken.py']); "
        "print([name for name in ('shtab', 'watchfiles', 'packaging.specifiers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=project.folder, capture_output=True, text=True)
    assert done.stdout.endswith("[]\n"), done.stderr
