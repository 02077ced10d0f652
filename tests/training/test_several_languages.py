"""Several target languages in one run: read, weighted, encoded, scored and used each for itself."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from checkpoints import write_checkpoint
from lessons import LESSONS

from attuner.data.batching import BatchPlan
from attuner.errors import DataError
from attuner.inference.translator import load
from attuner.models.codec import MarianCodec, TextCodec
from attuner.recipe import Recipe
from attuner.recipe_loading import load_recipe
from attuner.training.data import prepare_data
from attuner.training.events import Evaluated, Event
from attuner.training.origin import find_origin
from attuner.training.parts import encode_parts
from attuner.training.run import train

GERMAN = {"Open the file": "Datei le Ouvrir", "Close all windows": "Fenêtres fermer"}

Build = Callable[..., Recipe]


@pytest.fixture
def polyglot(monkeypatch: pytest.MonkeyPatch) -> None:
    """Marian's tokens, with a word for each language before the source."""

    def between(self: MarianCodec, source: str | None, target: str | None) -> TextCodec:
        return self.with_prefix("Delete " if target == "de" else "")

    monkeypatch.setattr(MarianCodec, "between", between)


@pytest.fixture
def build(marian: Path, tmp_path: Path) -> Build:
    path = tmp_path / "lessons.jsonl"
    rows = [
        {"translation": {"en": en, "fr": fr, "de": GERMAN.get(en)}} for en, fr in LESSONS.items()
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    def recipe(*overrides: str) -> Recipe:
        return load_recipe(
            None,
            [
                "task={name: translation, source: en, target: [fr, de]}", f"model={marian}",
                f"data={{train: {path}, validation: {path}, split: {{by: random, test: 0}}}}",
                "training={batch_examples: 4, learning_rate: 0.005, precision: fp32}",
                "generation={num_beams: 1, max_new_tokens: 40}",
                f"output.folder={tmp_path}/runs", "model.self_check=warn", *overrides,
            ],
        )  # fmt: skip

    return recipe


@pytest.mark.slow
def test_one_model_learns_two_languages(polyglot: None, build: Build, cache: Path) -> None:
    events: list[Event] = []
    recipe = build("training.epochs=60", "training.evaluate=none", "data.temperature=5")
    run = train(recipe, listeners=[events.append])
    assert list(run.after) == ["loss", "bleu", "bleu/de", "bleu/fr", "chrf", "chrf/de", "chrf/fr"]
    assert run.after["chrf"] == (run.after["chrf/fr"] + run.after["chrf/de"]) / 2
    assert run.after["chrf/de"] > 99
    assert run.after["chrf/fr"] > 99
    assert run.signatures["chrf"] == "mean of chrf/de, chrf/fr"
    assert set(run.before) == set(run.after)
    assert "chrf/de: " in run.report
    translator = load(run.folder)
    for text, german in GERMAN.items():
        assert translator.translate(text, source="en", target="de") == german
        assert translator.translate(text, source="en", target="fr") == LESSONS[text]
    scored = next(event for event in events if isinstance(event, Evaluated))
    lines = [json.loads(line) for line in (run.folder / "metrics.jsonl").open()]
    assert next(e for e in lines if e["event"] == "evaluated")["scores"] == dict(scored.scores)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "other", "rate", "epochs"),
    [
        ("nllb", "de", 0.01, 100),
        ("m2m100", "de", 0.01, 100),
        ("mbart50", "de", 0.01, 100),
        # Its targets do not begin with their language: the source's first token has to tell.
        ("marian-multi", "pt-BR", 0.003, 600),
    ],
)
def test_a_checkpoint_of_many_languages_learns_two(
    kind: str, other: str, rate: float, epochs: int, build: Build, tmp_path: Path, cache: Path
) -> None:
    path = tmp_path / "two.jsonl"
    rows = [{"en": en, "fr": LESSONS[en], other: german} for en, german in GERMAN.items()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    origin = write_checkpoint(kind, tmp_path / "origin")
    run = train(
        build(
            f"task.target=[fr, {other}]", f"model={origin}", "model.self_check=warn",
            f"data.train={path}", f"data.validation={path}", "data.temperature=5",
            f"training.epochs={epochs}", f"training.learning_rate={rate}",
            "training.evaluate=none",
        )
    )  # fmt: skip
    for language in ("fr", other):
        assert run.after[f"chrf/{language}"] > run.before[f"chrf/{language}"] + 20
    translator = load(run.folder)
    text = "Open the file"
    made = {language: translator.translate(text, target=language) for language in ("fr", other)}
    assert made["fr"] != made[other]
    assert translator.translate(text) == made["fr"]  # the first of the list


def test_a_file_gives_all_languages_that_it_holds(build: Build) -> None:
    prepared = prepare_data(build())
    assert Counter(example.target_language for example in prepared.train) == {"fr": 8, "de": 2}
    assert prepared.counts["skipped"] == {"untranslated": 12}
    assert [note for note in prepared.notes if note.startswith("Columns")] == [
        f"Columns   translation.en → translation.{code} in {prepared.train[0].address.file}"
        for code in ("fr", "de")
    ]


@pytest.mark.parametrize(("temperature", "german"), [(1.0, 2.0), (2.0, 10 / 3), (100.0, 4.96)])
def test_temperature_evens_languages_out(build: Build, temperature: float, german: float) -> None:
    examples = prepare_data(build(f"data.temperature={temperature}")).train
    seen: Counter[str] = Counter()
    for example in examples:
        seen[example.target_language] += example.weight
    # n^(1/T) of 8 and 2: 2 * sqrt(2) against sqrt(2) at T=2, so a third of 10.
    assert seen["de"] == pytest.approx(german, abs=0.01)
    assert seen.total() == pytest.approx(10)


def test_each_pair_of_languages_is_encoded_by_its_own_codec(
    polyglot: None, build: Build, marian: Path, cache: Path
) -> None:
    recipe = build("data.cache=true")
    origin = find_origin(recipe)
    assert origin is not None
    for _ in ("made", "from the cache"):
        prepared = prepare_data(recipe)
        features, parts, _ = encode_parts(recipe, prepared, origin, lambda event: None)
        spelt = {
            (prepared.train[example].target_language, origin.codec.decode([ids])[0])
            for example, ids in zip(features.example, features.source.to_lists(), strict=True)
        }
        assert ("fr", "Open the file") in spelt
        assert ("de", "Delete Open the file") in spelt
        assert len(features) == len(parts["validation"].features) == 9 + 2
        plan = BatchPlan(features.target.lengths, features.source.lengths, batch_examples=4)
        assert sum(len(update) for update in plan._updates(0)) == 11


@pytest.mark.parametrize("name", ["x.po", "x.csv", "x.txt"])
def test_a_file_in_one_language_has_to_say_which(build: Build, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("source,target\na,b\n" if name == "x.csv" else 'msgid "a"\nmsgstr "b"\n')
    pair = f", target_path: {path}" if name == "x.txt" else ""
    with pytest.raises(DataError) as caught:
        prepare_data(build(f"data.train[0]={{path: {path}{pair}}}"))
    assert str(caught.value) == (
        f"{path}: which of the target languages fr, de it holds is not said.\n"
        "With several target languages, a source names its own, unless it is TMX or a table with a "
        "column for each.\n"
        "Name it: data.train[0].target_language=fr"
    )
    if name == "x.csv":
        named = build(f"data.train[0]={{path: {path}, target_language: de}}")
        assert [example.target_language for example in prepare_data(named).train] == ["de"]


def test_a_tmx_with_three_languages(build: Build, tmp_path: Path) -> None:
    path = tmp_path / "x.tmx"

    def tu(number: int, *codes: str) -> str:
        texts = (f'<tuv xml:lang="{code}"><seg>{code} {number}</seg></tuv>' for code in codes)
        return f"<tu>{''.join(texts)}</tu>"

    units = tu(0, "en", "fr", "de") + tu(1, "en", "fr")
    path.write_text(
        f'<?xml version="1.0"?><tmx version="1.4"><header srclang="en"/><body>{units}</body></tmx>'
    )
    train = prepare_data(build(f"data.train={path}")).train
    assert [(e.source, e.references, e.target_language) for e in train] == [
        ("en 0", ("fr 0",), "fr"), ("en 1", ("fr 1",), "fr"), ("en 0", ("de 0",), "de"),
    ]  # fmt: skip


def test_one_word_in_two_languages_is_no_duplicate(build: Build, tmp_path: Path) -> None:
    path = tmp_path / "ok.csv"
    path.write_text("en,fr,de\nOK,OK,OK\n")
    prepared = prepare_data(build(f"data.train={path}"))
    assert [example.target_language for example in prepared.train] == ["fr", "de"]
