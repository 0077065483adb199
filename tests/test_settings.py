"""``[tool.mha-lint]``: what it may say, how it is found, and how options override it."""

from __future__ import annotations

from pathlib import Path

import pytest

from mha_lint.files import DEFAULT_EXCLUDE
from mha_lint.rules import all_rules
from mha_lint.settings import Settings, SettingsError, check_codes, find_settings, known_codes, read_settings

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
    (declared,) = settings.harness
    assert (declared.target, declared.init, declared.inputs) == ("Attention", {"dim": 64}, {"x": ["b", "t", 64]})
    for path in ("models/attention.py", "src/models/attention.py", "models/attention/__init__.py"):
        assert declared.belongs_to(tmp_path / path)
    assert not declared.belongs_to(tmp_path / "attention.py")
    assert (settings.root, settings.file) == (tmp_path, file)


def test_without_a_table_the_defaults_hold(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.other]\nselect = 3\n")
    settings = find_settings(tmp_path)
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
        ('also = ["onnx"]', '[tool.mha-lint] also: expected "compile" or "export", not \'onnx\''),
        ('also = "compile"', "[tool.mha-lint] also: expected a list of strings, not a string ('compile')"),
        ('harness = { "attention" = {} }', "[tool.mha-lint.harness]: 'attention': expected \"package.module:Class\""),
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
        find_settings(tmp_path)
    assert str(caught.value).startswith(f"{file}: ")
    assert message in str(caught.value)


def test_a_table_that_is_no_table_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("tool.mha-lint = 1\n")
    with pytest.raises(SettingsError, match="must be a table, not a number"):
        find_settings(tmp_path)


def test_the_nearest_table_wins_and_files_without_one_are_passed_by(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    (inner / "deep").mkdir(parents=True)
    write(tmp_path, 'ignore = ["MHA001"]')
    (inner / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    assert find_settings(inner / "deep").root == tmp_path
    write(inner, 'ignore = ["MHA002"]')
    assert find_settings(inner / "deep").ignore == ("MHA002",)


def test_a_named_file_must_exist_and_hold_the_table(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"none\.toml: cannot be read: no such file"):
        read_settings(tmp_path / "none.toml")
    (tmp_path / "x.toml").write_text("")
    with pytest.raises(SettingsError, match=r"x\.toml: has no \[tool\.mha-lint\] table"):
        read_settings(tmp_path / "x.toml")


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


def test_unknown_codes_on_the_command_line_name_their_option() -> None:
    with pytest.raises(SettingsError, match=r"--ignore: unknown rule code 'MAH001'; did you mean 'MHA001'\?"):
        Settings().with_selection(None, (), ("MAH001",))


def test_codes_are_those_of_the_installed_rules() -> None:
    assert set(known_codes()) == CODES
    check_codes(["ALL", "M", "MHA", *CODES], "here")
