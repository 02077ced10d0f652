"""From units as files hold them to examples ready to be learned from and scored on.

Nothing disappears uncounted: the numbers of units read equal those skipped, by reason, plus
those in the three parts and those mixed in.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from attuner.data.examples import EXAMPLES, UNITS
from attuner.data.hashes import HashSet, hash_of
from attuner.data.leaks import are_in, find_leaks, source_hashes
from attuner.data.line_pairs import num_unpaired, training_pairs
from attuner.data.mixing import with_share, with_temperature, without_held_out
from attuner.data.parts import PARTS, Parts, counted, merged, split_sizes, subset_of, without_leaks
from attuner.data.splitting import group_keys, split_groups, split_random
from attuner.data.stored import Stored
from attuner.data.units import Example, Unit
from attuner.errors import DataError

_LEAK = "source also in validation or test"
# What to do when nothing is left, by the reason that took most.
_REMEDIES = {
    "untranslated": "Translate some entries, or name other files in data.{part}.",
    "fuzzy": "Review the fuzzy entries and clear their flag, or name other files in data.{part}.",
    "duplicate": "Set data.duplicates=keep, or name other files in data.{part}.",
    _LEAK: (
        "Name files in data.validation and data.test that hold other texts, or set "
        "data.split.by=random to keep them in training."
    ),
    "not in the subset": "Choose a larger subset, or leave the subset out.",
}


@dataclass(frozen=True)
class Prepared(Parts[Example]):
    """Examples of each part, and what became of the others; see `Parts`.

    Those mixed in come last in `train`; `counts` has their number in `split`, as `mix`.

    Attributes:
        whole_texts: Whether a model sees texts as a whole, not line by line.
    """

    whole_texts: bool = False

    def training_pairs(self) -> Iterator[tuple[str, str, int]]:
        """Pairs of lines, or of whole texts, to learn from: see `training_pairs`."""
        return training_pairs(self.train, whole_texts=self.whole_texts)


def prepare(
    train: Iterable[Unit],
    validation: Iterable[Unit] | None = None,
    test: Iterable[Unit] | None = None,
    *,
    by: str = "source",
    validation_size: float = 0.1,
    test_size: float = 0.1,
    train_size: float | None = None,
    seed: int = 20,
    duplicates: str = "skip",
    train_subset: tuple[int, int] | None = None,
    evaluation_subset: tuple[int, int] | None = None,
    mix: Iterable[Unit] | None = None,
    mix_share: float = 0.2,
    temperature: float = 1.0,
    whole_texts: bool = False,
    skipped: Counter[str] | None = None,
) -> Prepared:
    """Filter units, divide them into parts, and count all that is left out.

    Units are filtered, then divided, then reduced to a subset; with `by="random"` they are
    divided and reduced as read, then filtered, so that the rows are the very ones that
    `datasets` gives to a script with the same seeds.

    Args:
        train: Units to learn from.
        validation: Units to make choices on; split off `train` where None.
        test: Units for the final scores; split off `train` where None (never with `by="random"`
            and `train_size`, where all other rows become validation).
        by: What stays together: "source", "catalog", "file", or "random" for nothing.
        validation_size: Share (below 1) or number of examples; 0 for none.
        test_size: Share (below 1) or number of examples; 0 for none.
        train_size: With `by="random"`: share or number of training rows.
        seed: Seed of the division.
        duplicates: "skip" or "keep" pairs that occurred before in the same part.
        train_subset: Number and seed: the rows of `dataset.shuffle(seed).select(range(n))`.
        evaluation_subset: The same for validation and for test.
        mix: Units of general text that are learned from as well, never held out.
        mix_share: Their share of what an epoch sees.
        temperature: How evenly several languages are seen; see `mixing.with_temperature`.
        whole_texts: Whether a model sees texts as a whole, not line by line.
        skipped: What reading has already skipped, by reason. Read last, for units are read
            lazily; not changed.

    Raises:
        DataError: Nothing is left of a part, or there is too little to divide.
    """
    given = {"train": train, "validation": validation, "test": test}
    sizes = split_sizes(given, validation=validation_size, test=test_size)
    if train_size is not None and by != "random":
        raise DataError(
            f"data.split.train_size={train_size:g} was given with data.split.by={by}.",
            "train_size belongs to random splits; elsewhere data.split.validation and "
            "data.split.test say how much is held out.",
            "Set data.split.by=random, or leave train_size out.",
        )
    read: Counter[str] = Counter()
    left_out: dict[str, Counter[str]] = {part: Counter() for part in (*PARTS, "mix.sources")}
    subsets = {"train": train_subset, "validation": evaluation_subset, "test": evaluation_subset}
    units = {part: counted(rows, read) for part, rows in given.items() if rows is not None}
    notes: list[str] = []
    if by == "random":
        rows = _split_as_read(units, train_size, sizes, seed)
        rows = {p: subset_of(p, rows[p], subsets[p], left_out[p], notes) for p in rows}
        parts = {p: _stored(rows[p], duplicates, left_out[p]) for p in rows}
        _refuse_empty(parts, left_out)
    else:
        parts = {p: _stored(units[p], duplicates, left_out[p]) for p in units}
        _refuse_empty(parts, left_out)
        if by == "source":
            parts["train"] = _without_leaks(parts, left_out["train"], notes)
            _refuse_empty(parts, left_out)
        parts = _split_groups(parts, by, sizes, seed, notes)
        parts = {p: subset_of(p, parts[p], subsets[p], left_out[p], notes) for p in parts}
    general = None
    if mix is not None:
        dropped = left_out["mix.sources"]
        found = examples_of(counted(mix, read), duplicates, dropped)
        held_out = [parts[part] for part in PARTS[1:] if part in parts]
        found = without_held_out(found, held_out, dropped)
        general = Stored.of(found, EXAMPLES, beside=parts["train"])
        _refuse_empty({"mix.sources": general}, left_out)
    reasons = sum(left_out.values(), Counter(skipped or {}))
    notes += _notes(parts, by, whole_texts)
    prepared = Prepared.of(parts, read, reasons, notes, whole_texts=whole_texts)
    prepared = replace(prepared, train=with_temperature(prepared.train, temperature))
    return prepared if general is None else _mixed(prepared, general, mix_share)


def _stored(units: Iterable[Unit], duplicates: str, left_out: Counter[str]) -> Stored[Example]:
    return Stored.of(examples_of(units, duplicates, left_out), EXAMPLES)


def _mixed(prepared: Prepared, general: Stored[Example], share: float) -> Prepared:
    """The prepared examples with general text after those of training."""
    weighted = with_share(general, share, math.fsum(prepared.train.weights))
    num_mixed = round(math.fsum(weighted.weights))
    split = {**prepared.counts["split"], "mix": len(general)}
    notes = [
        f"Mixed in  {num_mixed:,} of {len(general):,} examples of general text in an epoch, "
        f"{100 * share:g} % of what it sees"
    ]
    if not prepared.whole_texts:
        notes.extend(_unpaired_notes(general, "examples mixed in"))
    return replace(
        prepared,
        train=prepared.train.joined(weighted),
        counts={**prepared.counts, "split": split},
        notes=(*notes, *prepared.notes),
    )


def _unpaired_notes(examples: Iterable[Example], what: str) -> list[str]:
    """A line on those of which nothing is learned; none where there are none."""
    unpaired = num_unpaired(examples)
    if not unpaired:
        return []
    return [
        f"Nothing is learned from {unpaired:,} of the {what}: their two sides have different "
        "numbers of lines."
    ]


def examples_of(
    units: Iterable[Unit], duplicates: str, left_out: Counter[str]
) -> Iterator[Example]:
    """Examples of the usable units; the others are counted by reason."""
    seen = HashSet()
    for unit in units:
        targets = tuple(target for target in unit.targets if target.strip())
        reason: str | None = _fault(unit, targets)
        if (
            reason is None
            and duplicates == "skip"
            and not seen.add(hash_of(unit.target_language, unit.source, *targets))
        ):
            reason = "duplicate"
        if reason is not None:
            left_out[reason] += 1
            continue
        yield Example(
            source=unit.source,
            references=targets,
            source_language=unit.source_language,
            target_language=unit.target_language,
            address=unit.address,
            weight=unit.weight,
        )


def _fault(unit: Unit, targets: tuple[str, ...]) -> str | None:
    """Why a unit cannot be used, in the words of the counts."""
    if unit.state != "translated":
        return unit.state
    if not unit.source.strip():
        return "empty source"
    if not unit.targets:
        return "untranslated"
    return None if targets else "empty target"


def _split_as_read(
    units: dict[str, Iterator[Unit]], train_size: float | None, sizes: dict[str, float], seed: int
) -> dict[str, Stored[Unit]]:
    """With `by="random"`: the rows of each part, unfiltered, in the order of `datasets`."""
    parts = {part: Stored.of(rows, UNITS) for part, rows in units.items()}
    if train_size is not None and "validation" in units:
        raise DataError(
            f"data.split.train_size={train_size:g} was given together with data.validation.",
            "With train_size, all other rows of data.train become validation.",
            "Leave out data.split.train_size or data.validation.",
        )
    if not parts["train"] or not (train_size or any(sizes.values())):
        return parts
    rows = split_random(
        len(parts["train"]),
        train_size=train_size,
        validation=sizes["validation"],
        test=sizes["test"],
        seed=seed,
    )
    return merged(parts, rows)


def _split_groups(
    parts: dict[str, Stored[Example]],
    by: str,
    sizes: dict[str, float],
    seed: int,
    notes: list[str],
) -> dict[str, Stored[Example]]:
    """Split validation and test off training by groups, where their sizes are above 0."""
    if not any(sizes.values()):
        return parts
    rows = split_groups(
        group_keys(parts["train"], by),
        by=by,
        validation=sizes["validation"],
        test=sizes["test"],
        seed=seed,
    )
    for part, size in sizes.items():
        share = len(getattr(rows, part)) / len(parts["train"])
        wanted = size if size < 1 else size / len(parts["train"])
        if size and not 0.8 * wanted <= share <= 1.25 * wanted + 1 / len(parts["train"]):
            notes.append(
                f"{part} holds {100 * share:.1f} % of the examples where {100 * wanted:.1f} % "
                f"were wanted: what data.split.by={by} keeps together is too large."
            )
    return merged(parts, rows)


def _without_leaks(
    parts: dict[str, Stored[Example]], left_out: Counter[str], notes: list[str]
) -> Stored[Example]:
    """Training examples whose source text is in no given file of validation or test."""
    held_out = source_hashes(*(parts[part] for part in PARTS[1:] if part in parts))
    if not len(held_out):
        return parts["train"]
    leaks = are_in(parts["train"], held_out)
    return without_leaks(parts["train"], leaks, left_out, notes, _LEAK, "source text")


def _refuse_empty(parts: dict[str, Stored[Example]], left_out: dict[str, Counter[str]]) -> None:
    for part, examples in parts.items():
        reasons = left_out[part]
        if examples:
            continue
        if not reasons:
            purpose = "Training needs" if part == "train" else "A file named there must hold"
            raise DataError(
                f"No entry was found in data.{part}.",
                f"{purpose} entries that have a source text and a translation.",
                f"Name files with translations in data.{part}.",
            )
        commonest = reasons.most_common(1)[0][0]
        remedy = _REMEDIES.get(commonest, "Name other files in data.{part}.")
        raise DataError(
            f"No pair is left for {part}: {skipped_sentence(reasons)}.",
            "Every part needs entries that have a source text and a finished translation.",
            remedy.format(part=part),
        )


def skipped_sentence(reasons: Counter[str]) -> str:
    """How many entries were skipped and why, where none is left.

    >>> skipped_sentence(Counter({"fuzzy": 2, "untranslated": 1}))
    '3 entries were read and all were skipped (2 fuzzy, 1 untranslated)'
    >>> skipped_sentence(Counter())
    'no entry was found'
    """
    num = reasons.total()
    if not num:
        return "no entry was found"
    listed = ", ".join(f"{n:,} {reason}" for reason, n in reasons.most_common())
    what = f"{num:,} entries were read and all were" if num > 1 else "1 entry was read and"
    return f"{what} skipped ({listed})"


def _notes(parts: dict[str, Stored[Example]], by: str, whole_texts: bool) -> list[str]:
    """Lines on leaks, and on examples of which nothing is learned."""
    notes: list[str] = []
    if by != "source":  # there, none is left
        held_out = {part: parts[part] for part in PARTS[1:] if part in parts}
        leaks = find_leaks(parts["train"], **held_out)
        notes.extend(map(str, leaks))
        if leaks:
            notes.append("data.split.by=source keeps evaluated texts out of training.")
    if not whole_texts:
        notes.extend(_unpaired_notes(parts["train"], "training examples"))
    return notes
