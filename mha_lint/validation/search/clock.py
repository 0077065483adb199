"""The clock of the search: the processor time of this process, so that a busy machine finds what a quiet one does."""

from __future__ import annotations

import time

now = time.process_time  # in seconds
