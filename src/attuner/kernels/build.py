"""Compile the kernels once, for this processor, with whatever C++ compiler is here.

A plain install needs none of it: where no compiler is found, torch's own operations serve.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from attuner.cache_folder import cache_folder

logger = logging.getLogger(__name__)

_SOURCE = Path(__file__).with_name("kernels.cpp")
# Not -ffast-math: it would switch off denormal numbers for the whole process, and NaN for us.
_FLAGS = (
    "-O3",
    "-std=c++17",
    "-march=native",
    "-mprefer-vector-width=512",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fPIC",
    "-fopenmp",
)
_SECONDS = 120
_DIGEST_BYTES = 32


def load_library() -> ctypes.CDLL | None:
    """The compiled kernels, built at first use; None where they cannot be had.

    The library lies in the cache folder, under a name made of source, flags, compiler and
    processor, so that a home folder can be shared by unlike machines.
    """
    openmp = _openmp_of_torch()
    compiler = _compiler()
    if openmp is None or compiler is None:
        return None
    key = hashlib.sha256()
    for part in (_SOURCE.read_bytes(), *map(str.encode, (*_FLAGS, compiler, openmp, _processor()))):
        key.update(part + b"\0")
    library = cache_folder() / "kernels" / f"{key.hexdigest()[:16]}.so"
    try:
        if not _is_whole(library):
            _build(compiler, openmp, library)
        return ctypes.CDLL(str(library))
    except (OSError, subprocess.SubprocessError) as error:
        # A full disk, a compiler without OpenMP, a folder that may not hold programs.
        logger.info("The kernels cannot be built here: %s", error)
        return None


def _build(compiler: str, openmp: str, library: Path) -> None:
    library.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=library.parent, prefix=".") as folder:
        built, compiled = Path(folder, "kernels.o"), Path(folder, "kernels.so")
        # Linked to the very OpenMP that torch uses: two pools of threads would fight.
        commands = (
            [compiler, *_FLAGS, "-c", str(_SOURCE), "-o", str(built)],
            [compiler, "-shared", str(built), openmp, "-lm", "-o", str(compiled)],
        )
        for command in commands:
            done = subprocess.run(command, capture_output=True, timeout=_SECONDS, check=False)
            if done.returncode:
                raise OSError(f"{command[0]}: {done.stderr.decode(errors='replace')[:500]}")
        with compiled.open("ab") as file:
            file.write(_digest(compiled.read_bytes()))
        compiled.replace(library)


def _is_whole(library: Path) -> bool:
    """Whether it is there and ends with its digest: to load half of one ends the process."""
    content = library.read_bytes() if library.is_file() else b""
    body, digest = content[:-_DIGEST_BYTES], content[-_DIGEST_BYTES:]
    return bool(body) and _digest(body) == digest


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def _compiler() -> str | None:
    names = (os.environ.get("CXX"), "c++", "g++", "clang++")
    return next((found for name in names if name and (found := shutil.which(name))), None)


def _openmp_of_torch() -> str | None:
    """The OpenMP library that torch has loaded; only Linux tells."""
    if not sys.platform.startswith("linux") or platform.machine() not in ("x86_64", "AMD64"):
        return None
    import torch  # noqa: F401 - so that it is loaded

    maps = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")
    found = re.search(r"(/\S*/lib(?:gomp|omp|iomp5)[^/\s]*\.so[^/\s]*)", maps)
    return found.group(1) if found else None


def _processor() -> str:
    """The processor's name and abilities, as far as the system tells."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    wanted = ("model name", "flags")
    return "\n".join(dict.fromkeys(line for line in lines if line.startswith(wanted)))
