"""What every reader is asked for, and where it puts the entries that it cannot use."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from attuner.data.units import Address, State, Unit
from attuner.errors import DataError

_SHOWN = 10
WHOLE_TEXT = "A text consists of whole Unicode characters other than NUL."


def recipe_options(
    place: str = "data.train[0]", *, source_of: str = "task", target_of: str = "task"
) -> dict[str, str]:
    """How each option that messages advise is typed in a recipe; `{}` stands for the value.

    Args:
        place: The source in the recipe, such as `data.validation[0]`.
        source_of: Which section has the source language: `task`, or `data` for each source's own.
        target_of: Likewise the target language.

    >>> recipe_options("data.test[1]")["encoding"].format("cp1252")
    'data.test[1].encoding=cp1252'
    """
    own = ("target_path", "config", "revision", "split", "encoding")
    return {
        **{
            side: f"task.{side}={{}}" if section == "task" else f"{place}.{side}_language={{}}"
            for side, section in (("source", source_of), ("target", target_of))
        },
        "bad_entries": "data.bad_entries={}",
        **{name: f"task.{name}={{}}" for name in ("text", "text_pair", "label")},
        **{f"{side}_column": f"{place}.columns.{side}={{}}" for side in ("source", "target")},
        **{name: f"{place}.{name}={{}}" for name in own},
    }


@dataclass(slots=True)
class Faults:
    """Collects bad entries, so that a user sees the first ten of them and not one at a time.

    Attributes:
        mode: `fail` raises them all at the end, `skip` counts them by reason.
        skipped: Number of entries left out, by reason.
        skip_option: What to type to skip bad entries.
    """

    mode: Literal["fail", "skip"] = "fail"
    skipped: Counter[str] = field(default_factory=Counter)
    skip_option: str = "data.bad_entries=skip"
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
        expected[-1] += f" {mend}, or set {self.skip_option} (skipped entries are counted)."
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
        options: How the options that messages advise are typed: see `recipe_options`.
        columns_found: Where readers of tables note the columns that they took, by file.
        one_of_targets: All target languages of the task, where the file is to say which of its
            texts are in `target_language`; empty where all are.
        references: Further columns of a table with target texts.
    """

    source_language: str
    target_language: str
    columns: Mapping[str, str] = field(default_factory=dict)
    encoding: str = "utf-8"
    weight: float = 1.0
    faults: Faults = field(default_factory=Faults)
    options: Mapping[str, str] = field(default_factory=recipe_options)
    columns_found: dict[str, str] = field(default_factory=dict)
    one_of_targets: tuple[str, ...] = ()
    references: tuple[str, ...] = ()

    def typed(self, option: str, value: str) -> str:
        """What to type to give an option a value: `data.train[0].encoding=cp1252`."""
        return self.options[option].format(value)

    def language_of(self, side: str) -> str:
        """The language code of a side, `source` or `target`."""
        return self.source_language if side == "source" else self.target_language

    def require_one_target(self, file: str) -> None:
        """Refuse a file that does not say which of several target languages it is in.

        Raises:
            DataError: The task has several, and the recipe's source names none.
        """
        if self.one_of_targets:
            raise DataError(
                f"{file}: which of the target languages {', '.join(self.one_of_targets)} it holds "
                "is not said.",
                "With several target languages, a source names its own, unless it is TMX or a "
                "table with a column for each.",
                f"Name it: {self.typed('target', self.one_of_targets[0])}",
            )

    @property
    def set_encoding(self) -> str:
        """What to do where the encoding is another."""
        return f"Set its encoding, as in {self.typed('encoding', 'cp1252')}"

    def note_bad_encoding(self, where: str, fault: str) -> None:
        """Take note of a line of text that is not in the asked encoding."""
        expected = f"The file is read as {self.encoding}."
        self.faults.add("invalid encoding", f"{where}: {fault}.", expected, self.set_encoding)

    def unit(
        self,
        address: Address,
        source: str,
        targets: tuple[str, ...],
        state: State = "translated",
    ) -> Unit | None:
        """A unit in the asked languages, or None (and a bad entry) where a text is unusable."""
        for text in (source, *targets, address.unit, address.context):
            fault = text_fault(text)
            if fault is not None:
                reason, what = fault
                self.faults.add(
                    reason,
                    f"{address}: {what}.",
                    WHOLE_TEXT,
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
