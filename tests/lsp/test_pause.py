"""What the client is shown at a key, and once nobody types."""

from __future__ import annotations

import asyncio
from pathlib import Path

from .client import capabilities, connected
from .test_server import ATTENTION, codes, expected, run

NEXT = ATTENTION.removeprefix("import torch\nfrom torch import nn\n")
LONG = (  # long enough to be previewed
    ATTENTION.replace("y.transpose(1, 2).view(B, T, C)", "merged(y, B, T, C)")
    + "\n\ndef merged(y, b, t, c):\n    return y.view(b, t, c)\n"
    + "".join(NEXT.replace("Attention", f"Attention{n}") for n in range(60))
)
MENDED = LONG.replace("merged(y, B", "merged(y.transpose(1, 2).contiguous(), B")


def test_what_other_code_tells_of_an_edit_is_shown_once_nobody_types(tmp_path: Path) -> None:
    async def scenario(folder: Path) -> None:
        async with connected(folder) as client:
            uri = client.open(folder / "a.py", LONG)
            before = codes(await client.pushed(uri))
            assert before == expected(LONG)
            version = client.replace(uri, MENDED)
            while codes(await client.pushed(uri, version)) != expected(MENDED):
                await asyncio.sleep(0.02)
            first = next(each for each in client.history if each.version == version)
            assert codes(list(first.diagnostics)) == expected(LONG)  # what was known

    run(scenario, tmp_path)


def test_a_client_that_cannot_be_told_later_waits_for_the_whole(tmp_path: Path) -> None:
    async def scenario(folder: Path) -> None:
        told = capabilities(pull=True)
        assert told.workspace is not None
        told.workspace.diagnostics = None
        async with connected(folder, told) as client:
            uri = client.open(folder / "a.py", LONG)
            assert codes(await client.pulled(uri)) == expected(LONG)
            client.replace(uri, MENDED)
            assert codes(await client.pulled(uri)) == expected(MENDED) != expected(LONG)

    run(scenario, tmp_path)
