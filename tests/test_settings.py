"""``[tool.mha-lint]``: what it may say, how it is found, and how options override it."""

from __future__ import annotations

from pathlib import Path

import pytest

from mha_lint.configuration import Configuration, read_settings
from mha_lint.files import DEFAULT_EXCLUDE
from mha_lint.rules import all_rules, codes
from mha_lint.settings import Settings, SettingsError, resolved
from mha_lint.settings_file import Layer

CODES = {rule.code for rule in all_rules()}
ON = {rule.code for rule in all_rules() if rule.default}


def write(folder: Path, table: str) -> Path:
    file = folder / "pyproject.toml"
    file.write_text(f"[tool.mha-lint]\n{table}\n")
    return file


def test_every_key_is_read(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        """
        select = ["MHA0"]
        extend-select = ["MHA001"]
        ignore = ["MHA003"]
        exclude = ["gen"]
        extend-exclude = ["old"]
        view-fix = "reshape"
        qkv-split = "index"
        out-proj-init = "default"
        unsafe-fixes = true
        fixable = ["MHA0"]
        extend-fixable = ["heads-merged-without-transpose"]
        unfixable = ["MHA004"]
        extend-safe-fixes = ["MHA003"]
        extend-unsafe-fixes = ["MHA108"]
        exit-severity = "warning"
        per-file-ignores = { "tests/*" = ["MHA"] }
        harness = { "models.attention:Attention" = { init = { dim = 64 }, inputs = { x = ["b", "t", 64] } } }
        """,
    )
    settings = read_settings(file)
    assert settings.enabled(tmp_path / "a.py") == {code for code in CODES if code.startswith("MHA0")} - {"MHA003"}
    assert settings.enabled(tmp_path / "tests/a.py") == set()
    assert settings.excluded == ("gen", "old")
    assert (settings.view_fix, settings.qkv_split, settings.out_proj_init) == ("reshape", "index", "default")
    assert settings.unsafe_fixes is True
    assert (settings.fixable, settings.extend_fixable, settings.unfixable) == (("MHA0",), ("MHA101",), ("MHA004",))
    assert (settings.extend_safe_fixes, settings.extend_unsafe_fixes) == (("MHA003",), ("MHA108",))
    assert settings.exit_severity == "warning"
    (declared,) = settings.harness
    assert (declared.target, declared.init, declared.inputs) == ("Attention", {"dim": 64}, {"x": ["b", "t", 64]})
    for path in ("models/attention.py", "src/models/attention.py", "models/attention/__init__.py"):
        assert declared.belongs_to(tmp_path / path)
    assert not declared.belongs_to(tmp_path / "attention.py")
    assert (settings.root, settings.file) == (tmp_path, file)


def test_without_a_table_the_defaults_hold(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.other]\nselect = 3\n")
    settings = Configuration().within(tmp_path)
    assert settings.enabled(Path("a.py")) == ON
    assert settings.excluded == DEFAULT_EXCLUDE
    assert settings.root == tmp_path


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ('selct = ["MHA001"]', "[tool.mha-lint]: unknown key 'selct'; did you mean 'select'?"),
        ('root = "x"', "[tool.mha-lint]: unknown key 'root'"),
        ('view_fix = "reshape"', "unknown key 'view_fix'; did you mean 'view-fix'?"),
        ('select = ["MHA0O1"]', "[tool.mha-lint] select: unknown rule code 'MHA0O1'; did you mean 'MHA001'?"),
        ('ignore = [""]', "[tool.mha-lint] ignore: unknown rule code ''"),
        ('select = "MHA001"', "[tool.mha-lint] select: expected a list of strings, not a string ('MHA001')"),
        ("exclude = [1]", "[tool.mha-lint] exclude: expected a list of strings, not a list that holds a number (1)"),
        ('view-fix = "clone"', '[tool.mha-lint] view-fix: expected "contiguous" or "reshape", not \'clone\''),
        ('unsafe-fixes = "yes"', "[tool.mha-lint] unsafe-fixes: expected true or false, not a string ('yes')"),
        ('per-file-ignores = ["a"]', "per-file-ignores: expected a table of globs and codes, not a list (['a'])"),
        ('per-file-ignores = { "a" = "MHA001" }', "per-file-ignores: 'a': expected a list of strings"),
        ('per-file-ignores = { "a" = ["E501"] }', "per-file-ignores: 'a': unknown rule code 'E501'"),
        ("select = [", "is not valid TOML"),
        ('exit-severity = "fatal"', 'exit-severity: expected "error" or "warning" or "info", not \'fatal\''),
        ('unfixable = ["MHA9"]', "[tool.mha-lint] unfixable: unknown rule code 'MHA9'"),
        ('also = ["onnx"]', '[tool.mha-lint] also: expected "compile" or "export", not \'onnx\''),
        ('also = "compile"', "[tool.mha-lint] also: expected a list of strings, not a string ('compile')"),
        ('harness = { "attention" = {} }', "[tool.mha-lint] harness: 'attention': expected \"package.module:Class\""),
        ('harness = { "a:B" = 3 }', "'a:B': expected a table with init and inputs, or factory, not 3"),
        ('harness = { "a:B" = { init = 3 } }', "'a:B' init: expected a table, or the arguments as a string, not 3"),
        ('harness = { "a:B" = { init = "64, (" } }', "'a:B' init: '64, (' is not valid Python"),
        ('harness = { "a:B" = { args = 1 } }', "'a:B': unknown key 'args'; known: init, inputs"),
        ('harness = { "a:B" = { inputs = { x = ["b", "q"] } } }', "'a:B' inputs: x: 'q' is no size: a number, or"),
        ('harness = { "a:B" = { inputs = { x = "zeros(" } } }', "'a:B' inputs: x: 'zeros(' is not valid Python"),
    ],
)
def test_a_mistake_is_an_error_that_names_file_key_and_what_was_meant(tmp_path: Path, table: str, message: str) -> None:
    file = write(tmp_path, table)
    with pytest.raises(SettingsError) as caught:
        Configuration().within(tmp_path)
    assert str(caught.value).startswith(f"{file}: ")
    assert message in str(caught.value)


def test_a_table_that_is_no_table_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("tool.mha-lint = 1\n")
    with pytest.raises(SettingsError, match="must be a table, not a number"):
        Configuration().within(tmp_path)


def test_the_nearest_table_wins_and_files_without_one_are_passed_by(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    (inner / "deep").mkdir(parents=True)
    write(tmp_path, 'ignore = ["MHA001"]')
    (inner / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    assert Configuration().within(inner / "deep").root == tmp_path
    write(inner, 'ignore = ["MHA002"]')
    assert Configuration().within(inner / "deep").ignore == ("MHA002",)


def test_a_named_file_must_exist_and_hold_the_table(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"none\.toml: cannot be read: no such file"):
        read_settings(tmp_path / "none.toml")
    (tmp_path / "pyproject.toml").write_text("")
    with pytest.raises(SettingsError, match=r"pyproject\.toml: has no \[tool\.mha-lint\] table"):
        read_settings(tmp_path / "pyproject.toml")


def test_a_file_of_any_other_name_holds_the_keys_at_its_top(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text('ignore = ["MHA001"]')
    assert read_settings(tmp_path / "x.toml").ignore == ("MHA001",)


@pytest.mark.parametrize(
    ("select", "extend", "ignore", "expected"),
    [
        (None, (), (), ON),
        (("ALL",), (), (), CODES),
        ((), (), (), set()),
        (("MHA001",), (), (), {"MHA001"}),
        (("MHA0",), (), ("MHA001",), {c for c in CODES if c.startswith("MHA0")} - {"MHA001"}),
        (("MHA001",), (), ("MHA0",), {"MHA001"}),
        (("MHA001",), (), ("MHA001",), set()),
        (("MHA001",), ("MHA002",), (), {"MHA001", "MHA002"}),
        (("ALL",), (), ("ALL",), set()),
        (("MHA003",), (), ("ALL",), {"MHA003"}),
        (None, (), ("MHA",), set()),
    ],
)
def test_the_longest_prefix_decides(
    select: tuple[str, ...] | None, extend: tuple[str, ...], ignore: tuple[str, ...], expected: set[str]
) -> None:
    assert Settings(select=select, extend_select=extend, ignore=ignore).enabled(Path("a.py")) == expected


def test_rules_that_are_off_by_default_run_when_selected() -> None:
    for code in CODES - ON:
        assert code not in Settings().enabled(Path("a.py"))
        assert code in Settings(extend_select=(code,)).enabled(Path("a.py"))


def test_per_file_ignores_are_relative_to_the_project(tmp_path: Path) -> None:
    settings = Settings(per_file_ignores={"models/*": ("MHA001",), "test_*.py": ("ALL",)}, root=tmp_path)
    assert settings.enabled(tmp_path / "a.py") == ON
    assert settings.enabled(tmp_path / "models/deep/a.py") == ON - {"MHA001"}
    assert settings.enabled(tmp_path / "models2/a.py") == ON
    assert settings.enabled(tmp_path / "deep/test_a.py") == set()


def test_select_on_the_command_line_puts_the_files_selection_aside() -> None:
    chosen = Settings(extend_select=("MHA002",), ignore=("MHA001",)).with_selection(("MHA001",), (), ())
    assert chosen.enabled(Path("a.py")) == {"MHA001"}


def test_the_other_options_add_to_the_files_selection() -> None:
    settings = Settings(select=("MHA001", "MHA002"), ignore=("MHA003",))
    assert settings.with_selection(None, (), ("MHA002",)).enabled(Path("a.py")) == {"MHA001"}
    assert settings.with_selection(None, ("MHA003",), ()).enabled(Path("a.py")) == {"MHA001", "MHA002", "MHA003"}


def test_an_unknown_rule_names_the_place_and_what_was_meant() -> None:
    with pytest.raises(SettingsError, match=r"--ignore: unknown rule code 'MAH001'; did you mean 'MHA001'\?"):
        resolved(["MAH001"], "--ignore")
    with pytest.raises(SettingsError, match=r"--select: unknown rule 'view-of-transpose'; did you mean 'view-of-tra"):
        resolved(["view-of-transpose"], "--select")


def test_rules_go_by_code_prefix_and_name() -> None:
    assert set(codes()) == CODES
    assert resolved(["ALL", "M", "mha0", *CODES], "here") == ("ALL", "M", "MHA0", *CODES)
    for rule in all_rules():
        assert resolved([rule.name], "here") == (rule.code,)


# --- fixes


@pytest.mark.parametrize(
    ("settings", "may"),
    [
        (Settings(), True),
        (Settings(unfixable=("MHA003",)), False),
        (Settings(unfixable=("MHA",)), False),
        (Settings(unfixable=("MHA0",), extend_fixable=("MHA003",)), True),
        (Settings(fixable=("MHA1",)), False),
        (Settings(fixable=("MHA1",), extend_fixable=("MHA003",)), True),
        (Settings(fixable=("MHA003",), unfixable=("ALL",)), True),
    ],
)
def test_fixable_and_unfixable_are_decided_by_the_longest_prefix(settings: Settings, may: bool) -> None:
    assert settings.may_fix("MHA003") is may


@pytest.mark.parametrize(
    ("safe", "unsafe", "expected"),
    [
        ((), (), "unsafe"),
        (("MHA003",), (), "safe"),
        (("MHA0",), (), "safe"),
        (("MHA0",), ("MHA003",), "unsafe"),
        (("MHA003",), ("MHA0",), "safe"),
        (("MHA003",), ("MHA003",), "unsafe"),
    ],
)
def test_the_settings_say_which_fixes_are_safe(safe: tuple[str, ...], unsafe: tuple[str, ...], expected: str) -> None:
    settings = Settings(extend_safe_fixes=safe, extend_unsafe_fixes=unsafe)
    assert settings.applicability("MHA003", "unsafe") == expected
    assert settings.applicability("MHA108", "safe") == ("unsafe" if unsafe == ("MHA",) else "safe")


# --- which settings hold for which file


def test_the_nearest_settings_file_above_a_file_holds_for_it(tmp_path: Path) -> None:
    for folder in ("a/deep", "b", "c"):
        (tmp_path / folder).mkdir(parents=True)
    write(tmp_path, 'ignore = ["MHA001"]')
    (tmp_path / "a/mha-lint.toml").write_text('ignore = ["MHA002"]\n')
    (tmp_path / "b/.mha-lint.toml").write_text('ignore = ["MHA003"]\n')
    configuration = Configuration()
    ignored = {name: configuration.of(tmp_path / name).ignore for name in ("x.py", "a/x.py", "a/deep/x.py", "b/x.py")}
    assert ignored == {
        "x.py": ("MHA001",),
        "a/x.py": ("MHA002",),
        "a/deep/x.py": ("MHA002",),
        "b/x.py": ("MHA003",),
    }
    assert configuration.of(tmp_path / "c/x.py").root == tmp_path
    assert configuration.of(tmp_path / "a/deep/x.py").root == tmp_path / "a"


def test_of_several_settings_files_in_a_folder_ours_come_first(tmp_path: Path) -> None:
    write(tmp_path, 'ignore = ["MHA001"]')
    (tmp_path / "mha-lint.toml").write_text('ignore = ["MHA002"]\n')
    assert Configuration().within(tmp_path).ignore == ("MHA002",)
    (tmp_path / ".mha-lint.toml").write_text('ignore = ["MHA003"]\n')
    assert Configuration().within(tmp_path).ignore == ("MHA003",)


def test_a_mistake_in_a_file_of_ours_names_the_key(tmp_path: Path) -> None:
    file = tmp_path / "mha-lint.toml"
    file.write_text("selct = []\n")
    with pytest.raises(SettingsError) as caught:
        Configuration().within(tmp_path)
    assert str(caught.value) == f"{file}: unknown key 'selct'; did you mean 'select'?"
    file.write_text('[tool.mha-lint]\nselect = ["MHA001"]\n')
    with pytest.raises(SettingsError, match=r"mha-lint\.toml: unknown key 'tool'"):
        Configuration().within(tmp_path)


def test_options_hold_over_every_settings_file(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    write(tmp_path, "unsafe-fixes = false")
    write(tmp_path / "a", 'select = ["MHA001"]\nexit-severity = "error"\nfixable = ["MHA001"]')
    options = {
        "select": ("MHA002",),
        "unsafe_fixes": True,
        "exit_severity": "warning",
        "fixable": ("MHA002",),
    }
    configuration = Configuration(layers=(Layer(options, "the command line"),))
    for name in ("x.py", "a/x.py"):
        settings = configuration.of(tmp_path / name)
        assert settings.enabled(tmp_path / name) == {"MHA002"}
        assert (settings.unsafe_fixes, settings.exit_severity, settings.fixable) == (True, "warning", ("MHA002",))
