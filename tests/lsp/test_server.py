"""The language server, asked by a real client over stdin and stdout."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from lsprotocol import types

from mha_lint.files import decode
from mha_lint.linter import lint
from mha_lint.settings import Settings

from .client import Client, capabilities, connected

ATTENTION = """\
import torch
from torch import nn


class Attention(nn.Module):
    def __init__(self, dim=32, heads=4):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x):
        B, T, C = x.shape
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        q = q.view(B, T, self.heads, C // self.heads).transpose(1, 2)
        k = k.view(B, T, self.heads, C // self.heads).transpose(1, 2)
        v = v.view(B, T, self.heads, C // self.heads).transpose(1, 2)
        scores = q @ k.transpose(-2, -1) * (C // self.heads) ** -0.5
        self.weights = scores.softmax(dim=-1)
        y = self.weights @ v
        y = y.transpose(1, 2).view(B, T, C)
        return self.proj(y.contiguous())
"""
VIEW = 20  # the row of MHA001, from 0
MASKED = ATTENTION.replace(
    "        self.weights = ",
    """\
        mask = torch.ones(T, T, dtype=torch.bool, device=x.device).tril()
        scores = scores.masked_fill(mask, float("-inf"))
        self.weights = """,
).replace("y.transpose(1, 2).view(", "y.transpose(1, 2).reshape(")

Scenario = Callable[[Path], Coroutine[Any, Any, None]]


def run(scenario: Scenario, folder: Path) -> None:
    asyncio.run(asyncio.wait_for(scenario(folder), 120))


def codes(found: list[types.Diagnostic]) -> list[object]:
    return [each.code for each in found]


def expected(text: str, name: str = "a.py") -> list[str]:
    return [each.code for each in lint(decode(Path(name), text.encode()), Settings()).findings]


# --- diagnostics


def test_a_buffer_that_was_never_saved_is_linted_as_the_command_lints_it(tmp_path: Path) -> None:
    async def scenario(folder: Path) -> None:
        async with connected(folder) as client:
            uri = client.open(folder / "a.py", ATTENTION)
            found = await client.pushed(uri)
            assert codes(found) == expected(ATTENTION) == ["MHA001", "MHA004"]
            view, needless = found
            assert view.range == types.Range(types.Position(VIEW, 30), types.Position(VIEW, 43))
            assert view.severity == types.DiagnosticSeverity.Error
            assert view.source == "mha-lint"
            assert view.code_description is not None
            assert view.code_description.href.endswith("docs/rules/view-of-transposed.md")
            assert view.tags is None
            assert needless.severity == types.DiagnosticSeverity.Information
            assert needless.tags == (types.DiagnosticTag.Unnecessary,)

            row = ATTENTION.splitlines()[VIEW]
            start = types.Position(VIEW, row.index(".view"))
            edit = types.TextDocumentContentChangePartial(types.Range(start, start), ".contiguous()")
            version = client.change(uri, edit)
            assert codes(await client.pushed(uri, version)) == ["MHA004"]

    run(scenario, tmp_path)


def test_a_client_that_pulls_gets_the_same_and_nothing_is_pushed_to_it(tmp_path: Path) -> None:
    async def scenario(folder: Path) -> None:
        async with connected(folder, capabilities(pull=True)) as client:
            uri = client.open(folder / "a.py", ATTENTION)
            assert codes(await client.pulled(uri)) == ["MHA001", "MHA004"]
            client.replace(uri, ATTENTION.replace(".view(B, T, C)", ".reshape(B, T, C)"))
            assert codes(await client.pulled(uri)) == expected(ATTENTION.replace(".view(B, T, C)", ".reshape(B, T, C)"))
            assert not client.diagnostics

    run(scenario, tmp_path)


def test_comments_silence_and_a_syntax_error_is_a_finding(tmp_path: Path) -> None:
    async def scenario(folder: Path) -> None:
        async with connected(folder) as client:
            silent = ATTENTION.replace("view(B, T, C)", "view(B, T, C)  # noqa: MHA001")
            uri = client.open(folder / "a.py", silent)
            assert codes(await client.pushed(uri)) == ["MHA004"]
            version = client.replace(uri, ATTENTION + "def (:\n")
            (broken,) = await client.pushed(uri, version)
            assert broken.code == "MHA000"
            assert broken.range.start.line == ATTENTION.count("\n")
            version = client.replace(uri, ATTENTION)
            assert codes(await client.pushed(uri, version)) == ["MHA001", "MHA004"]

    run(scenario, tmp_path)


def test_settings_are_read_anew_when_they_change_on_the_disk(tmp_path: Path) -> None:
    async def scenario(folder: Path) -> None:
        async with connected(folder) as client:
            uri = client.open(folder / "a.py", ATTENTION)
            assert codes(await client.pushed(uri)) == ["MHA001", "MHA004"]
            (folder / "mha-lint.toml").write_text('ignore = ["MHA001"]\n')
            version = client.replace(uri, ATTENTION + "\n")
            assert codes(await client.pushed(uri, version)) == ["MHA004"]
            (folder / "mha-lint.toml").write_text('exclude = ["a.py"]\n')
            version = client.replace(uri, ATTENTION)
            assert codes(await client.pushed(uri, version)) == []
            (folder / "mha-lint.toml").write_text("nonsense = 1\n")
            client.diagnostics.clear()
            client.replace(uri, ATTENTION + "\n")
            while not client.logged:
                await asyncio.sleep(0.02)
            assert "nonsense" in client.logged[0]
            (folder / "mha-lint.toml").unlink()
            client.workspace_did_change_watched_files(types.DidChangeWatchedFilesParams([]))
            version = client.replace(uri, ATTENTION)
            assert codes(await client.pushed(uri, version)) == ["MHA001", "MHA004"]

    run(scenario, tmp_path)


@pytest.mark.parametrize("encoding", list(types.PositionEncodingKind))
def test_positions_count_code_units_of_the_encoding_that_was_agreed_on(
    tmp_path: Path, encoding: types.PositionEncodingKind
) -> None:
    async def scenario(folder: Path) -> None:
        async with connected(folder, capabilities(encodings=[encoding])) as client:
            text = ATTENTION.replace("y = y.transpose(1, 2).view", '"😀ä"; y = y.transpose(1, 2).view')
            row = text.splitlines()[VIEW]
            before = row[: row.index("view")]
            width = {"utf-8": 1, "utf-16": 2, "utf-32": 4}[encoding.value]
            codec = {"utf-8": "utf-8", "utf-16": "utf-16-le", "utf-32": "utf-32-le"}[encoding.value]
            at = len(before.encode(codec)) // width
            uri = client.open(folder / "a.py", text)
            found = await client.pushed(uri)
            assert found[0].range.start == types.Position(VIEW, at)
            start = types.Position(VIEW, at)
            change = types.TextDocumentContentChangePartial(types.Range(start, start), "contiguous().")
            version = client.change(uri, change)
            assert codes(await client.pushed(uri, version)) == ["MHA004"]
            assert await client.hovered(uri, VIEW, at + 3) is not None

    run(scenario, tmp_path)


def test_a_change_behind_a_form_feed_is_made_in_the_row_where_the_client_made_it(tmp_path: Path) -> None:
    async def scenario(folder: Path) -> None:
        async with connected(folder) as client:
            text = "# \x0c \u2028 page\n" + ATTENTION
            uri = client.open(folder / "a.py", text)
            assert [each.range.start.line for each in await client.pushed(uri)] == [VIEW + 1, VIEW + 2]
            column = ATTENTION.splitlines()[VIEW].index(".view")
            start = types.Position(VIEW + 1, column)
            version = client.change(
                uri, types.TextDocumentContentChangePartial(types.Range(start, start), ".contiguous()")
            )
            assert codes(await client.pushed(uri, version)) == ["MHA004"]

    run(scenario, tmp_path)


# --- what is shown of a place


def test_hover_shows_the_tensor_and_the_page_of_the_rule(tmp_path: Path) -> None:
    async def scenario(folder: Path) -> None:
        async with connected(folder) as client:
            uri = client.open(folder / "a.py", ATTENTION)
            row = ATTENTION.splitlines()[VIEW]
            tensor = await client.hovered(uri, VIEW, row.index("transpose"))
            assert tensor == "`(B, T, heads, (dim // heads)) · memory B·heads·T·(dim // heads) · contiguous: never`  "
            rule = await client.hovered(uri, VIEW, row.index("view"))
            assert rule is not None
            assert "# MHA001 view-of-transposed" in rule
            assert await client.hovered(uri, 2, 0) is None
            assert await client.hovered(uri, 10_000, 7) is None

    run(scenario, tmp_path)


@pytest.mark.parametrize("hints", [False, True])
def test_inlay_hints_are_off_unless_the_client_sets_them(tmp_path: Path, hints: bool) -> None:
    async def scenario(folder: Path) -> None:
        async with connected(folder, options={"inlayHints": hints}) as client:
            uri = client.open(folder / "a.py", ATTENTION)
            everything = types.Range(types.Position(0, 0), types.Position(99, 0))
            found = await client.text_document_inlay_hint_async(
                types.InlayHintParams(types.TextDocumentIdentifier(uri), everything)
            )
            told = {(each.position.line, each.label) for each in found or []}
            assert ((VIEW, ": (B, T, C)") in told) == hints
            assert bool(told) == hints

    run(scenario, tmp_path)


# --- actions


def _edits(action: types.CodeAction) -> list[tuple[int, str]]:
    assert action.edit is not None and action.edit.document_changes
    (change,) = action.edit.document_changes
    assert isinstance(change, types.TextDocumentEdit)
    return [(edit.range.start.line, edit.new_text) for edit in change.edits if isinstance(edit, types.TextEdit)]


def test_a_finding_has_its_fix_its_validation_and_a_comment_and_only_safe_fixes_are_preferred(tmp_path: Path) -> None:
    async def scenario(folder: Path) -> None:
        async with connected(folder) as client:
            uri = client.open(folder / "a.py", ATTENTION)
            at = types.Range(types.Position(VIEW, 32), types.Position(VIEW, 32))
            fix, validated, validate, noqa = await client.actions(uri, at)
            assert fix.is_preferred
            assert "not validated" in fix.title
            assert _edits(fix) == [(VIEW, "contiguous().")]
            assert validated.command is not None and validated.command.command == "mha-lint.fix"
            assert validate.command is not None and validate.command.command == "mha-lint.validate"
            assert _edits(noqa) == [(VIEW, "  # noqa: MHA001")]

            uri = client.open(folder / "masked.py", MASKED)
            unsafe = [each for each in await client.actions(uri) if each.edit and "unsafe" in each.title]
            assert unsafe
            assert not any(each.is_preferred for each in unsafe)

    run(scenario, tmp_path)


def test_nothing_is_executed_until_a_command_asks_for_it(tmp_path: Path) -> None:
    async def scenario(folder: Path) -> None:
        trace = folder / "was_run"
        text = ATTENTION + f"\n\nopen({str(trace)!r}, 'w').close()\n"
        async with connected(folder, options={"validate": "never"}) as client:
            uri = client.open(folder / "a.py", text)
            assert await client.pushed(uri)
            assert not any(each.command for each in await client.actions(uri))
            client.text_document_did_save(types.DidSaveTextDocumentParams(types.TextDocumentIdentifier(uri)))
            refused = types.Command("", "mha-lint.validate", arguments=[uri])
            assert await client.execute(refused) == []
            assert "never" in client.shown[-1]
            assert not await client.actions(uri, only=["source.fixAll.mhaLint"])
        assert not (folder / ".mha_lint_cache").exists()

    run(scenario, tmp_path)


def test_a_fix_is_called_validated_for_the_very_bytes_alone(tmp_path: Path) -> None:
    pytest.importorskip("torch")

    async def scenario(folder: Path) -> None:
        async with connected(folder) as client:
            uri = client.open(folder / "a.py", ATTENTION)
            at = types.Range(types.Position(VIEW, 32), types.Position(VIEW, 32))
            command = next(a.command for a in await client.actions(uri, at) if a.command)
            (told,) = await client.execute(command)
            assert told["verdict"] == "validated"
            (made,) = client.applied
            assert made.document_changes is not None
            view = next(each for each in await client.pushed(uri) if each.code == "MHA001")
            assert "validated: module" in view.message
            assert "(MHA001, safe, validated)" in (await client.actions(uri, at))[0].title

            version = client.replace(uri, ATTENTION + "# edited\n")
            assert all("validated" not in each.message for each in await client.pushed(uri, version))
            assert "not validated" in (await client.actions(uri, at))[0].title
            version = client.replace(uri, ATTENTION)  # undone: these bytes are known
            view = next(each for each in await client.pushed(uri, version) if each.code == "MHA001")
            assert "validated: module" in view.message

            assert not await client.actions(uri, only=["source.fixAll"])  # no code runs for each linter's fixes
            (every,) = await client.actions(uri, only=["source.fixAll.mhaLint"])
            assert every.command is not None
            assert await client.execute(every.command) == 2
            (edit,) = await client.actions(uri, only=["source.fixAll"])
            assert edit.title.endswith("(validated)")
            ((row, content),) = _edits(edit)
            assert row == VIEW
            assert ".contiguous().view(B, T, C)\n" in content

    run(scenario, tmp_path)


def test_a_correction_brings_its_counterexample_and_is_no_part_of_all_fixes(tmp_path: Path) -> None:
    pytest.importorskip("torch")

    async def scenario(folder: Path) -> None:
        async with connected(folder) as client:
            uri = client.open(folder / "masked.py", MASKED)
            found = await client.pushed(uri)
            place = next(each.data for each in found if each.code == "MHA106")
            arguments = [uri, place["code"], place["row"], place["column"]]
            (told,) = await client.execute(types.Command("", "mha-lint.validate", arguments=arguments))
            assert told["verdict"] == "validated"
            judged = next(each for each in (await client.pushed(uri)) if each.code == "MHA106")
            assert judged.related_information
            assert judged.data["verdict"]["counterexample"] == judged.related_information[0].message
            titles = [each.title for each in await client.actions(uri, only=["source.fixAll.mhaLint"])]
            assert not any("MHA106" in title for title in titles)
            await client.execute(types.Command("", "mha-lint.fixAll", arguments=[uri]))
            assert all(
                "~" not in edit.new_text
                for applied in client.applied
                for change in applied.document_changes or []
                if isinstance(change, types.TextDocumentEdit)
                for edit in change.edits
                if isinstance(edit, types.TextEdit)
            )

    run(scenario, tmp_path)


def test_unsafe_fixes_are_among_all_fixes_only_if_the_client_sets_them(tmp_path: Path) -> None:
    async def scenario(folder: Path) -> None:
        for unsafe, count in ((None, 0), (False, 0), (True, 1)):
            async with connected(folder, options={"unsafeFixes": unsafe}) as client:
                text = MASKED.replace("y.contiguous()", "y")
                uri = client.open(folder / "masked.py", text)
                found = await client.actions(uri, only=["source.fixAll.mhaLint"])
                assert len(found) == count

    run(scenario, tmp_path)


# --- notebooks


def test_the_cells_of_a_notebook_are_one_module_and_each_has_its_own_diagnostics(tmp_path: Path) -> None:
    async def scenario(folder: Path) -> None:
        async with connected(folder) as client:
            head, body = ATTENTION.split("\n\n\n")
            cells = [("c1", head), ("c2", "%matplotlib inline\nprint('🙂')"), ("c3", body)]
            uri = (folder / "n.ipynb").as_uri()
            kind = types.NotebookCellKind.Code
            client.notebook_document_did_open(
                types.DidOpenNotebookDocumentParams(
                    types.NotebookDocument(uri, "jupyter-notebook", 1, [types.NotebookCell(kind, n) for n, _ in cells]),
                    [types.TextDocumentItem(n, types.LanguageKind.Python, 1, text) for n, text in cells],
                )
            )
            assert codes(await client.pushed("c3")) == ["MHA001", "MHA004"]
            assert (await client.pushed("c3"))[0].range.start.line == VIEW - 4
            assert await client.pushed("c1") == [] == await client.pushed("c2")
            assert await client.hovered("c3", VIEW - 4, 20) is not None
            fixes = await client.actions("c3")
            assert _edits(fixes[0]) == [(VIEW - 4, "contiguous().")]
            row = body.splitlines()[VIEW - 4]
            start = types.Position(VIEW - 4, row.index(".view"))
            change = types.TextDocumentContentChangePartial(types.Range(start, start), ".contiguous()")
            identifier = types.VersionedTextDocumentIdentifier(2, "c3")
            client.notebook_document_did_change(
                types.DidChangeNotebookDocumentParams(
                    types.VersionedNotebookDocumentIdentifier(2, uri),
                    types.NotebookDocumentChangeEvent(
                        cells=types.NotebookDocumentCellChanges(
                            text_content=[types.NotebookDocumentCellContentChanges(identifier, [change])]
                        )
                    ),
                )
            )
            assert codes(await client.pushed("c3", 2)) == ["MHA004"]

    run(scenario, tmp_path)


# --- bad input


async def _answers(client: Client, folder: Path) -> None:
    """The server still does its work."""
    uri = client.open(folder / "still.py", ATTENTION)
    assert codes(await client.pushed(uri)) == ["MHA001", "MHA004"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\0 torch.softmax",
        "(" * 3000 + "torch.softmax",
        "x = torch.softmax(" + "-" * 40_000 + "1)",
        "\ufefftorch nn.softmax(",
        "\r\r\n",
    ],
    ids=["empty", "zero", "brackets", "minus", "mark", "returns"],
)  # fmt: skip
def test_a_text_that_cannot_be_read_costs_nothing_else(tmp_path: Path, text: str) -> None:
    async def scenario(folder: Path) -> None:
        async with connected(folder) as client:
            uri = client.open(folder / "bad.py", text)
            await client.pushed(uri)
            await client.actions(uri)
            await client.hovered(uri, 0, 0)
            await _answers(client, folder)
            assert not [line for line in client.logged if "failed while" in line]

    run(scenario, tmp_path)


def test_other_schemes_deleted_files_and_unknown_ones_are_silent(tmp_path: Path) -> None:
    async def scenario(folder: Path) -> None:
        async with connected(folder) as client:
            client.open("git:/somewhere/a.py", ATTENTION)
            client.open((folder / "notes.txt").as_uri(), ATTENTION)
            unsaved = client.open("untitled:Untitled-1", ATTENTION)
            assert codes(await client.pushed(unsaved)) == ["MHA001", "MHA004"]
            path = folder / "gone.py"
            path.write_text(ATTENTION)
            uri = client.open(path, ATTENTION)
            path.unlink()
            assert codes(await client.pushed(uri)) == ["MHA001", "MHA004"]
            client.text_document_did_close(types.DidCloseTextDocumentParams(types.TextDocumentIdentifier(uri)))
            assert await client.pushed(uri, None) == []
            assert await client.hovered("file:///nowhere/at/all.py", 0, 0) is None
            assert await client.actions("file:///nowhere/at/all.py") == []
            assert "git:/somewhere/a.py" not in client.diagnostics
            await _answers(client, folder)

    run(scenario, tmp_path)


def test_a_mistake_of_a_rule_is_logged_and_the_server_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "site"
    broken.mkdir()
    (broken / "sitecustomize.py").write_text(
        "import mha_lint.rules.view_of_transposed as rule\n"
        "def check(self, model, places):\n"
        "    if 'boom' in places.text: raise ZeroDivisionError('boom')\n"
        "    return iter(())\n"
        "rule.ViewOfTransposed.check = check\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(broken))

    async def scenario(folder: Path) -> None:
        async with connected(folder) as client:
            client.open(folder / "boom.py", ATTENTION + "boom = 1\n")
            while not client.logged:
                await asyncio.sleep(0.02)
            assert "ZeroDivisionError" in client.logged[0]
            uri = client.open(folder / "fine.py", ATTENTION)
            assert codes(await client.pushed(uri)) == ["MHA004"]

    run(scenario, tmp_path)


def _spoken(*methods: str) -> bytes:
    data = b""
    for number, method in enumerate(methods):
        message: dict[str, Any] = {"jsonrpc": "2.0", "method": method}
        if method != "exit":
            message["id"] = number
        if method == "initialize":
            message["params"] = {"capabilities": {}, "processId": None, "rootUri": None}
        body = json.dumps(message).encode()
        data += b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
    return data


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (_spoken("initialize", "shutdown", "exit"), 0),
        (_spoken("initialize", "exit"), 1),
        (_spoken("initialize"), 1),
        (b"Content-Length: 5\r\n\r\n{nope" + _spoken("initialize", "shutdown", "exit"), 0),
        (_spoken("initialize", "no/such", "shutdown", "exit"), 0),
    ],
)
def test_the_exit_status_says_whether_the_client_took_leave(said: bytes, status: int) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mha_lint", "server"], input=said, capture_output=True, timeout=120, check=False
    )
    assert done.returncode == status
    assert done.stderr == b""


def test_without_pygls_one_line_says_what_to_install(tmp_path: Path) -> None:
    hide = (
        "import importlib.util as util, sys; found = util.find_spec\n"
        "util.find_spec = lambda name, *rest: None if name == 'pygls' else found(name, *rest)\n"
        "sys.argv = ['mha-lint', 'server']; from mha_lint.cli import entry; entry()"
    )
    done = subprocess.run([sys.executable, "-c", hide], capture_output=True, timeout=120, check=False, text=True)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert 'pip install "mha-lint[lsp]"' in done.stderr
    assert done.stdout == ""


def test_a_folder_named_server_is_linted_by_its_path(tmp_path: Path) -> None:
    (tmp_path / "server").mkdir()
    (tmp_path / "server" / "a.py").write_text(ATTENTION)
    command = [sys.executable, "-m", "mha_lint", "--no-cache", "--output-format", "concise", "./server"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=120, check=False, text=True)
    assert done.returncode == 1
    assert f"server/a.py:{VIEW + 1}:31: MHA001" in done.stdout
