"""What every reader is asked for, and where it puts the entries that it cannot use."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from attuner.data.units import Address, State, Unit
from attuner.errors import DataError

_SHOWN = 10
SET_ENCODING = "Set its encoding, as in data.train[0].encoding=cp1252"
_OR_SKIP = "or set data.bad_entries=skip (skipped entries are counted)."


@dataclass(slots=True)
class Faults:
    """Collects bad entries, so that a user sees the first ten of them and not one at a time.

    Attributes:
        mode: `fail` raises them all at the end, `skip` counts them by reason.
        skipped: Number of entries left out, by reason.
    """

    mode: Literal["fail", "skip"] = "fail"
    skipped: Counter[str] = field(default_factory=Counter)
    _shown: list[tuple[str, str, str]] = field(default_factory=list)
    _total: int = 0

    def add(self, reason: str, happened: str, expected: str, mend: str) -> None:
        """Take note of a bad entry.

        Args:
            reason: Two or three words to count it under.
            happened: `file:line: what is wrong, with the value seen`.
            expected: What a good entry has, as a sentence.
            mend: What to do about it, as an order without full stop.
        """
        if self.mode == "skip":
            self.skipped[reason] += 1
            return
        self._total += 1
        if self._total <= _SHOWN:
            self._shown.append((happened, expected, mend))

    def leave_out(self, reason: str) -> None:
        """Count a sound entry that cannot be used as text, whatever the mode."""
        self.skipped[reason] += 1

    def raise_collected(self) -> None:
        """Raise the first ten bad entries and the total.

        Raises:
            DataError: There was at least one bad entry and the mode is `fail`.
        """
        if not self._total:
            return
        happened = [fault[0] for fault in self._shown]
        if self._total > len(happened):
            happened.append(f"... and {self._total - len(happened)} more.")
        if self._total > 1:
            happened.append(f"{self._total} bad entries in all.")
        # dict.fromkeys: distinct, in the order seen.
        expected = list(dict.fromkeys(fault[1] for fault in self._shown))
        mends = {fault[2] for fault in self._shown}
        mend = mends.pop() if len(mends) == 1 else "Mend them"
        expected[-1] += f" {mend}, {_OR_SKIP}"
        raise DataError("\n".join(happened), "\n".join(expected))


@dataclass(frozen=True, slots=True)
class Asked:
    """The wishes that a reader gets beside a path.

    Attributes:
        source_language: Language code of the source side.
        target_language: Language code of the target side.
        columns: Column names of a table by side, where the user named them.
        encoding: Encoding of text that does not declare its own.
        weight: Weight of every unit.
        faults: Where bad entries go.
    """

    source_language: str
    target_language: str
    columns: Mapping[str, str] = field(default_factory=dict)
    encoding: str = "utf-8"
    weight: float = 1.0
    faults: Faults = field(default_factory=Faults)

    def note_bad_encoding(self, where: str, fault: str) -> None:
        """Take note of a line of text that is not in the asked encoding."""
        expected = f"The file is read as {self.encoding}."
        self.faults.add("invalid encoding", f"{where}: {fault}.", expected, SET_ENCODING)

    def unit(
        self,
        address: Address,
        source: str,
        targets: tuple[str, ...],
        state: State = "translated",
    ) -> Unit | None:
        """A unit in the asked languages, or None (and a bad entry) where a text is unusable."""
        for text in (source, *targets):
            fault = text_fault(text)
            if fault is not None:
                reason, what = fault
                self.faults.add(
                    reason,
                    f"{address}: {what}.",
                    "A text consists of whole Unicode characters other than NUL.",
                    "Mend it",
                )
                return None
        if not any(targets):
            targets = ()
            state = state if state == "obsolete" else "untranslated"
        return Unit(
            address, source, targets, state, self.source_language, self.target_language, self.weight
        )


def text_fault(text: str) -> tuple[str, str] | None:
    r"""Why no tokenizer or file could take `text`: (reason, what is wrong), or None.

    >>> text_fault("caf\ud800")
    ('invalid encoding', 'half a surrogate pair, \\ud800, in the text')
    """
    if "\0" in text:
        return "NUL character", "NUL character in the text"
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            half = f"\\u{ord(text[error.start]):04x}"
            return "invalid encoding", f"half a surrogate pair, {half}, in the text"
    return None
