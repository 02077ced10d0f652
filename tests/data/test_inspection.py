import dataclasses
import json

import pytest

from attuner.data.characters import changed_texts, lost_characters
from attuner.data.features import TokenColumn
from attuner.data.inspection import Lengths, inspect
from attuner.data.leaks import Leak
from attuner.data.preparation import Prepared
from attuner.data.suspicion import find_suspicious
from attuner.data.units import Address, Example

# A tokenizer of one token a character: it lacks what is not Latin-1 (id 0), makes no-break
# spaces plain, and drops soft hyphens. Id 1 ends.
KNOWN = [chr(code) for code in range(256)]


def encode(texts):
    normal = [text.replace("\u00a0", " ").replace("\u00ad", "") for text in texts]
    return TokenColumn.from_lists(
        [[ord(c) + 2 if ord(c) < 256 else 0 for c in text] + [1] for text in normal]
    )


def decode(sequences):
    return ["".join(chr(i - 2) for i in ids if i > 1) for ids in sequences]


def example(source, *targets, file="a.po", number=1):
    return Example(source, targets, "en", "fr", Address(file, str(number), number))


def look(train, validation=(), test=(), **options):
    counts = {"read": {"a.po": len(train)}, "skipped": {}, "split": {}}
    prepared = Prepared(list(train), list(validation), list(test), counts, ("a note",))
    return inspect(
        prepared,
        encode_source=encode,
        encode_target=encode,
        decode=decode,
        unk_token_id=0,
        max_source_tokens=options.pop("max_source_tokens", 9),
        max_target_tokens=9,
        **options,
    )


def test_a_vocabulary_without_latin_letters_does_not_lose_all():
    def only_greek(texts):
        return TokenColumn.from_lists([[ord(c) if c in "αβγ " else 0 for c in t] for t in texts])

    def back(rows):
        return ["".join(chr(i) for i in row if i) for row in rows]

    lost = lost_characters(["αβγ αβγ", "γ!"], only_greek, back, unk_token_id=0)
    assert [(entry.character, entry.fate) for entry in lost] == [("!", "unknown")]


def test_lost_characters_are_counted_and_their_fate_is_told():
    lost = lost_characters(["a\u00a0b\u00a0", "Ω\u00ad", "plain é"], encode, decode, unk_token_id=0)
    assert [(entry.name, entry.count, entry.fate) for entry in lost] == [
        ("U+00A0 NO-BREAK SPACE", 2, 'becomes " "'),
        ("U+00AD SOFT HYPHEN", 1, "vanishes"),
        ("U+03A9 GREEK CAPITAL LETTER OMEGA", 1, "unknown"),
    ]


def test_combining_marks_are_not_tried_alone():
    assert lost_characters(["e\u0301"], encode, decode, unk_token_id=0) == []


def test_changed_texts():
    assert changed_texts(["plain", "a\u00a0b"], encode, decode) == [(1, "a\u00a0b", "a b")]


def test_lengths_count_lines_in_tokens_by_part_and_side():
    texts = ["x" * n for n in range(1, 101)]
    inspection = look(
        [example(text, "y") for text in texts], [example("a\n\nbcd", "e")], max_source_tokens=91
    )
    source, target, validation_source, _ = inspection.lengths
    assert source == Lengths(
        part="train",
        side="source",
        num_lines=100,
        num_tokens=100 + sum(range(101)),
        percentiles={50: 51, 90: 91, 95: 96, 99: 100},
        longest=101,
        limit=91,
        num_too_long=10,
    )
    assert (target.part, target.side, target.longest) == ("train", "target", 2)
    # Other numbers of lines on the two sides: no pair in training, but two lines to translate.
    assert (validation_source.num_lines, validation_source.num_tokens) == (2, 6)


def test_an_inspection_counts_languages_pairs_and_ambiguous_sources():
    train = [
        example("Open", "Ouvrir"),
        example("&open", "Ouvre"),
        example("a\nb", "c\nd"),
        example("a\nb\nc", "d"),
    ]
    inspection = look(train, [example("OPEN", "x"), example("new", "y")])
    assert inspection.languages == {"en → fr": 6}
    assert inspection.num_pairs == 4
    assert inspection.num_ambiguous == 2
    assert inspection.leaks == (Leak("validation", 2, 1, 0),)
    assert inspection.notes == ("a note",)


def test_round_trips_tell_what_the_tokenizer_loses_on_each_side():
    inspection = look([example("Open", "Ouvrir\u00a0:"), example("Ω", "x")])
    source, target = inspection.round_trips
    assert (source.side, source.num_tried, source.num_changed) == ("source", 2, 1)
    assert source.shown == (("Ω", ""),)
    assert [lost.character for lost in source.lost] == ["Ω"]
    assert [lost.character for lost in target.lost] == ["\u00a0"]


def test_a_source_side_with_a_vocabulary_of_its_own_is_not_decoded():
    def shifted(texts):
        ids = encode(texts)
        return TokenColumn(ids.values + 1, ids.offsets)

    prepared = Prepared([example("a", "b")], [], [], {}, ())
    inspection = inspect(
        prepared,
        encode_source=shifted,
        encode_target=encode,
        decode=decode,
        unk_token_id=0,
        max_source_tokens=9,
        max_target_tokens=9,
    )
    assert [trip.side for trip in inspection.round_trips] == ["target"]


def test_an_inspection_is_plain_data():
    plain = dataclasses.asdict(look([example("Open", "Ouvrir\u00a0:"), example("%1", "x")]))
    assert json.loads(json.dumps(plain))["suspicious"][0]["shown"][0]["detail"] == "lacks %1"


@pytest.mark.parametrize(
    ("source", "target", "reason", "detail"),
    [
        ("Copy %1 to %2", "Copier %1 vers %3", "placeholders", "lacks %2, adds %3"),
        ("A sentence of some length", "Non", "length", "25 characters against 3"),
        ("Short", "Une phrase bien plus longue", "length", "5 characters against 27"),
        ("Left alone", "Left alone", "copied", ""),
        ("One\nTwo", "Un deux", "lines", "2 lines against 1"),
    ],
)
def test_odd_pairs_are_found(source, target, reason, detail):
    usual = [example(f"a text of usual length {n}", f"un texte de longueur {n}") for n in range(20)]
    (suspicion,) = find_suspicious([*usual, example(source, target, number=42)])
    assert (suspicion.reason, suspicion.count) == (reason, 1)
    (suspect,) = suspicion.shown
    assert (suspect.address, suspect.detail) == ("a.po:42", detail)
    assert (suspect.source, suspect.target) == (source, target)


def test_the_usual_ratio_is_that_of_the_languages():
    # Chinese takes a third of the characters: that is no reason for suspicion.
    pairs = [
        example("The file could not be opened. " * 2, "无法打开该文件。" * 2) for _ in range(9)
    ]
    assert find_suspicious(pairs) == []


def test_numbers_alike_on_both_sides_are_no_copies():
    assert find_suspicious([example("100 %", "100 %")]) == []


def test_only_a_few_are_shown_the_longest_copies_first():
    pairs = [example("word " * n + "end", "word " * n + "end") for n in range(8)]
    (suspicion,) = find_suspicious(pairs, num_shown=2)
    assert suspicion.count == 8
    assert [len(suspect.source.split()) for suspect in suspicion.shown] == [8, 7]
