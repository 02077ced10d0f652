"""Feed one input to its reader, and say what is wrong with the answer."""

from __future__ import annotations

import re
import resource
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any, Literal, NamedTuple

from attuner.data.reading import read_units
from attuner.data.units import Unit
from attuner.errors import UserError
from attuner.recipe_loading import dump_recipe, load_recipe
from fuzz.counting import count_entries, usable_entries
from fuzz.grammars import generate
from fuzz.mutations import mutate

LIMIT_SECONDS = 5
LIMIT_BYTES = 512 * 2**20
LONGEST_MESSAGE = 20_000
_ENCODINGS = ("utf-16", "utf-7", "latin-1", "shift_jis", "idna", "hex", "\0", "unicode_escape")
_COLLECTED = re.compile(r"^(\d+) bad entries in all\.$", re.MULTILINE)


class Outcome(NamedTuple):
    """What became of an input.

    Attributes:
        verdict: Whether its reader accepted it, or refused it with a UserError.
        skipped: Entries that were counted as skipped.
        seconds: Processor time that all readings of it took.
        fault: What is wrong with the answer, or "".
    """

    verdict: Literal["accepted", "refused", "fault"]
    skipped: int = 0
    seconds: float = 0.0
    fault: str = ""


class TooSlow(BaseException):
    """The time is over; not an Exception, so that no reader takes it for a fault of the file."""


class WrongAnswerError(AssertionError):
    """The reader answered, but not rightly."""


def input_of(name: str, sample: bytes, seed: int, index: int) -> bytes:
    """The content of an input: the sample or a whole new file, spoilt or not."""
    random = Random(f"{name} {seed} {index}")
    content = sample if random.random() < 0.5 else generate(name, random)
    return mutate(content, random) if content is sample or random.random() < 0.3 else content


def probe(path: Path, content: bytes, *, seed: int = 0, index: int = 0) -> Outcome:
    """Write `content` to `path` and read it in every way that its format has.

    Args:
        path: Where to write it; its name tells the reader.
        content: The input.
        seed: Seed of the options that it is read with.
        index: Number of the input, likewise.
    """
    path.write_bytes(content)
    random = Random(f"options {seed} {index}")
    check = _check_recipe if path.suffix == ".yaml" else _check_units
    peak, start = _peak_bytes(), time.process_time()
    try:
        with _time_limit():
            verdict, skipped = check(path, content, random)
    except TooSlow as error:
        return Outcome("fault", fault=f"more than {LIMIT_SECONDS} s, in {_place(error)}")
    except Exception as error:  # any other answer than a UserError is what is looked for
        return Outcome("fault", fault=f"{type(error).__name__}: {error} in {_place(error)}")
    grown = _peak_bytes() - peak
    if grown > LIMIT_BYTES:
        return Outcome("fault", fault=f"{grown // 2**20} MiB of memory")
    return Outcome(verdict, skipped, time.process_time() - start)


Answer = tuple[Literal["accepted", "refused"], int]


def _check_units(path: Path, content: bytes, random: Random) -> Answer:
    """Read in both modes: they agree, every entry is accounted for, every text can be written."""
    options: dict[str, Any] = {}
    if path.suffix == ".txt":
        target = path.with_suffix(".fr")
        target.write_bytes(content if random.random() < 0.8 else content + b"\nx\n")
        options["target_path"] = str(target)
    if random.random() < 0.1:
        options["encoding"] = random.choice(_ENCODINGS)
    if random.random() < 0.1:
        options["columns"] = {"source": random.choice(("en", "fr", "x", "")), "target": "fr"}

    def read(mode: Literal["fail", "skip"]) -> tuple[list[Unit] | UserError, Counter[str]]:
        skipped: Counter[str] = Counter()
        units = read_units(
            str(path),
            source_language="en",
            target_language="fr",
            bad_entries=mode,
            skipped=skipped,
            **options,
        )
        return _answer(lambda: list(units)), skipped

    strict, left_out = read("fail")
    units, skipped = read("skip")
    if isinstance(units, UserError):
        _demand(isinstance(strict, UserError), "refused with bad_entries=skip only")
        return "refused", 0
    if isinstance(strict, UserError):
        found = _COLLECTED.search(strict.happened)
        num_bad = int(found.group(1)) if found else 1
        counted = skipped.total() - left_out.total()
        _demand(num_bad == counted, f"{num_bad} bad entries, of which {counted} are counted")
    else:
        _demand(units == strict and skipped == left_out, "the two modes differ")
    for unit in units:
        for text in (unit.source, *unit.targets, unit.address.context, unit.address.unit):
            _demand(type(text) is str and "\0" not in text, f"a text is {text!r:.60}")
            text.encode()
    if "encoding" not in options:
        num_read, num_used = count_entries(path.name, content), usable_entries(units)
        accounted = num_used + skipped.total()
        _demand(num_read <= accounted, f"{num_read} entries, {accounted} accounted for")
    return "accepted", skipped.total()


def _check_recipe(path: Path, content: bytes, random: Random) -> Answer:
    """Load it as a file and as an override; what is accepted comes back from its own dump."""
    override = content[:200].decode("utf-8", "surrogateescape")
    key = random.choice(
        ("data.train", "training.seed", "model.config.x", "a[0].b", "data.train[0].path")
    )
    _answer(lambda: load_recipe(None, [f"{key}={override}"]))
    recipe = _answer(lambda: load_recipe(path))
    if isinstance(recipe, UserError):
        return "refused", 0
    dumped = dump_recipe(recipe)
    path.write_text(dumped, encoding="utf-8")
    _demand(dump_recipe(load_recipe(path)) == dumped, "another recipe comes back from its dump")
    return "accepted", 0


def _answer(work: Callable[[], Any]) -> Any:
    """The result of `work`, or the UserError that it ends with, if a console can show it."""
    try:
        return work()
    except UserError as error:
        message = str(error)
        _demand(bool(error.happened), "a UserError without words")
        _demand(len(message) < LONGEST_MESSAGE, f"a message of {len(message)} characters")
        shown = all(c.isprintable() or c in "\n\t" or ord(c) >= 0xA0 for c in message)
        _demand(shown, f"control characters in the message {message!r:.300}")
        message.encode()
        return error


def _demand(is_so: bool, otherwise: str) -> None:
    if not is_so:
        raise WrongAnswerError(otherwise)


@contextmanager
def _time_limit() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise TooSlow

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, LIMIT_SECONDS)  # of the processor, however busy it is
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _peak_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _place(error: BaseException) -> str:
    """Where the error left the project, such as `po_catalogs.py:44`."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if "attuner" in f.filename] or frames
    return f"{Path(ours[-1].filename).name}:{ours[-1].lineno}"
