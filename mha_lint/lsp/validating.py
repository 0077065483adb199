"""Validates fixes of open documents in the background, as the command does, and only where the user asks for it."""

from __future__ import annotations

import threading
from pathlib import Path

from msgspec.structs import replace

from mha_lint.cache import prepare
from mha_lint.findings import Finding, Verdict
from mha_lint.fixing import fix_source, verify_source
from mha_lint.lsp.analysis import Analysis, fixable
from mha_lint.lsp.session import Session
from mha_lint.settings import Settings
from mha_lint.validation import Validator


class Validators:
    """A validator for each root of settings, whose cache of evidence the command shares."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_root: dict[Path, Validator] = {}

    def of(self, settings: Settings) -> Validator:
        with self._lock:
            found = self._by_root.get(settings.root)
            if found is None:
                found = self._by_root[settings.root] = Validator(cache_dir=prepare(settings))
            return found

    def close(self) -> None:
        with self._lock:
            for validator in self._by_root.values():
                validator.close()
            self._by_root.clear()


def validate(analysis: Analysis, findings: tuple[Finding, ...], validators: Validators) -> list[Finding]:
    """Execute each finding alone: its fix, or, where it has none, what shows the code wrong. Return them judged.

    Raises TorchMissing where this Python has no torch.
    """
    settings = analysis.settings
    assert settings is not None
    judged = []
    for finding in findings:
        known = analysis.verdicts.get((finding.code, finding.location))
        if known is None and (finding.fix is not None or finding.demonstration is not None):
            known = _verdict(analysis, finding, settings, validators.of(settings))
            if known is not None:
                analysis.verdicts[finding.code, finding.location] = known
        judged.append(replace(finding, verdict=known))
    return judged


def _verdict(analysis: Analysis, finding: Finding, settings: Settings, validator: Validator) -> Verdict | None:
    fixed = verify_source(analysis.document.source, [finding], settings, validator)
    return fixed.remaining[0].verdict


def fix_all(
    session: Session, analysis: Analysis, findings: tuple[Finding, ...], validators: Validators
) -> tuple[str, int]:
    """Validate the fixes of a document together, as ``--fix`` does: the text that they make, and how many did.

    Raises TorchMissing where this Python has no torch.
    """
    settings, document = analysis.settings, analysis.document
    assert settings is not None
    tried = [replace(finding, verdict=None) for finding in findings]
    if not any(finding.fixable(unsafe=settings.unsafe_fixes) for finding in fixable(tuple(tried))):
        return document.source.text, 0
    fixed = fix_source(document.source, tried, settings, validators.of(settings))
    session.note_fixed(document, settings, fixed.text)
    return fixed.text, len(fixed.fixed)
