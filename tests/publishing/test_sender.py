"""The process that pushes: it gives way to all else."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from attuner.publishing.outbox import Outbox
from attuner.publishing.sender import Sender


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(("is_background", "priority"), [(True, 19), (False, 0)])
def test_a_push_beside_a_run_has_what_the_run_leaves(
    tmp_path: Path, is_background: bool, priority: int
) -> None:
    sender = Sender(Outbox(tmp_path / "hub"), is_background=is_background)
    sender.start()
    try:
        process = sender._process
        assert process is not None
        assert os.getpriority(os.PRIO_PROCESS, process.pid) == priority
        session = Path(f"/proc/{process.pid}/autogroup")  # where sessions share the processor
        assert not session.exists() or session.read_text().endswith(f"nice {priority}\n")
    finally:
        sender.stop()
