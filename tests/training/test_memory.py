"""What glibc is told, seen from outside: page faults of a process that frees and asks again."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys
import numpy
from attuner.training.memory import reuse_freed_memory

if sys.argv[1] == "reuse":
    reuse_freed_memory()
for number in range(6):
    if number == 1:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    numpy.ones(5_000_000)  # 40 MB, freed at once
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone has mallopt")
def test_freed_memory_is_used_again_without_page_faults() -> None:
    def page_faults(what: str) -> int:
        command = [sys.executable, "-c", SCRIPT, what]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    usual = page_faults("leave")
    assert page_faults("reuse") < usual / 10
