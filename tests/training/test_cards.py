"""Every way to a model folder gives it a card, whose scores are of the very weights in it."""

from __future__ import annotations

import io
import json
import re
import shutil
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard
from lessons import LESSONS, Tune
from safetensors.torch import load_file, save_file
from tiny_classifiers import reviews, write_encoder
from typer.testing import CliRunner

import attuner
from attuner.cards.facts import Facts, read_facts, write_facts
from attuner.cards.truth import require_true_card
from attuner.cli.app import app
from attuner.errors import ModelError
from attuner.inference.conversion import convert
from attuner.models.usage import load_codec_between
from attuner.recipe import Recipe
from attuner.recipe_loading import load_recipe
from attuner.training.events import Event, Saved
from attuner.training.run import Run, resume, train

ADAPTER = ("model.adapter=lora", "model.adapter.rank=4", "training.learning_rate=0.02")


@pytest.fixture
def delivered(tune: Tune) -> Run:
    return tune("data.license=cc-by-4.0", "output.license=mit")[0]


def card_command(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["card", *arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def change_weights(folder: Path, name: str = "model.safetensors") -> None:
    weights = load_file(folder / name)
    first = next(iter(weights))
    weights[first] = weights[first] + 1e-3
    save_file(weights, folder / name, metadata={"format": "pt"})


def run_blocks(text: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the Python of a card prints, run where its address leads."""
    monkeypatch.chdir(folder)
    said = []
    for code in re.findall(r"^```python\n(.*?)^```", text, re.S | re.M):
        with redirect_stdout(io.StringIO()) as out:
            exec(code, {})
        said.append(out.getvalue().strip())
    return said


def test_a_run_delivers_a_card_of_what_it_did(delivered: Run, lessons: Path) -> None:
    facts = require_true_card(delivered.model_folder)
    card = ModelCard.load(delivered.model_folder / "README.md")

    assert facts.scored.after == delivered.after
    assert facts.scored.before == delivered.before
    assert (card.data.license, card.data.language) == ("mit", ["en", "fr"])
    assert facts.data.counts["split"] == {"train": 8, "validation": 8, "test": 0}
    assert [row.when for row in facts.evaluations] == ["before", "epoch", "epoch", "epoch"]
    assert [row.source for row in facts.shown] == [list(LESSONS)[i] for i in (0, 1, 3, 4, 6)]
    assert facts.address == "test/model"
    assert "Licence of the data: cc-by-4.0." in card.text
    assert "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:" in card.text
    # Where the data and the run lie is the matter of this machine alone.
    assert str(lessons.parent) not in card.content
    assert str(lessons.parent) not in (delivered.model_folder / "card.json").read_text()
    shown = re.search(r"```yaml\n(.*?)```", card.text, re.S)
    assert shown is not None
    assert "path: lessons.jsonl" in shown[1]


def test_scores_are_no_longer_the_weights_once_these_change(delivered: Run) -> None:
    folder = delivered.model_folder
    path = folder / "README.md"
    before = path.read_text(encoding="utf-8")
    assert card_command(str(delivered.folder), "--check") == (
        0, f"{path} is true: its scores are of the files beside it.\n",
    )  # fmt: skip
    change_weights(folder)

    message = (
        f"{folder}: the card no longer matches: model.safetensors has changed.\n"
        "Its scores are of the files whose SHA-256 is in card.json, and of no others.\n"
        f"Put them back, or score the model as it is: attuner evaluate {folder} DATA\n"
    )
    assert card_command(str(delivered.folder), "--check") == (1, message)
    assert card_command(str(delivered.folder)) == (1, message)
    assert card_command(str(delivered.folder), "--overwrite") == (1, message)
    assert path.read_text(encoding="utf-8") == before


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda folder: (folder / "vocab.json").unlink(), "vocab.json is missing"),
        (lambda folder: shutil.copy(folder / "model.safetensors", folder / "other.safetensors"),
         "other.safetensors is new"),
        (lambda folder: (folder / "generation_config.json").write_text('{"num_beams": 1}'),
         "generation_config.json has changed"),
    ],
)  # fmt: skip
def test_what_else_decides_what_a_model_says_is_compared(
    delivered: Run, change: Callable[[Path], Any], said: str
) -> None:
    change(delivered.model_folder)

    with pytest.raises(ModelError) as caught:
        require_true_card(delivered.model_folder)
    assert caught.value.happened == (
        f"{delivered.model_folder}: the card no longer matches: {said}."
    )


def test_a_card_with_other_scores_is_found_and_rendered_anew(delivered: Run) -> None:
    folder = delivered.model_folder
    path = folder / "README.md"
    text = path.read_text(encoding="utf-8")
    computed = round(delivered.after["chrf"], 4)
    line = next(line for line in text.splitlines() if line.startswith("| chrF |"))
    boasting = text.replace(line, "| chrF | 1.00 | 99.00 | +98.00 |")
    path.write_text(boasting.replace(f"value: {computed}", "value: 99.0"), encoding="utf-8")

    assert card_command(str(folder), "--check") == (
        1,
        f"{path} gives other scores than were computed: chrF 99.0 in the metadata, computed "
        f"{computed}, the table lacks the line {line}.\n"
        "The scores of a card are those in card.json, computed from the weights beside it.\n"
        f"Render it anew: attuner card {folder} --overwrite\n",
    )
    assert card_command(str(folder)) == (
        1,
        f"{path} has been written into since it was rendered.\n"
        "Rendering it anew would lose that.\n"
        f"Keep a copy of it, then type: attuner card {folder} --overwrite\n",
    )
    assert card_command(str(folder), "--overwrite") == (0, f"Wrote {path}.\n")
    assert path.read_text(encoding="utf-8") == text
    path.write_text(f"{text}\nWords of our own.\n", encoding="utf-8")
    assert card_command(str(folder), "--check")[0] == 0  # they are no scores
    path.unlink()
    assert card_command(str(folder), "--check") == (
        1,
        f"{folder} has no README.md.\n"
        "The card is rendered from card.json, which is there.\n"
        f"Render it: attuner card {folder}\n",
    )
    code, said = card_command(str(folder), "--json")
    assert (code, json.loads(said)["card"]) == (0, str(path))
    assert path.read_text(encoding="utf-8") == text


def test_what_has_no_facts_or_broken_ones_or_is_no_folder(marian: Path, delivered: Run) -> None:
    assert card_command(str(marian), "--check") == (
        1,
        f"{marian} has no card.json: nothing is known of how it was tuned and scored.\n"
        "`attuner train` delivers a model folder with its facts and its card.\n"
        "Give the folder of a run that has ended, or copy the model with all of its files.\n",
    )
    assert card_command("embedded:en-fr") == (
        2,
        "embedded:en-fr is not a folder here: its card cannot be written.\n"
        "Expected a model folder or a run folder.\n"
        "To check the card: attuner card embedded:en-fr --check\n",
    )
    path = delivered.model_folder / "card.json"
    path.write_text(path.read_text().replace('"test/model"', "7"))
    assert card_command(str(delivered.folder)) == (
        1,
        f"{path}: address: Input should be a valid string.\n"
        "Expected the facts of a run, as `attuner train` wrote them.\n"
        "Copy the file again from the run that made the model.\n",
    )


@pytest.mark.slow
def test_the_code_in_a_card_works(tune: Tune, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, _ = tune("training.epochs=100", "training.precision=fp32", "training.evaluate=none")
    text = (run.model_folder / "README.md").read_text(encoding="utf-8")
    assert "attuner export test/model --to ctranslate2 --output exported" in text
    place = run.folder.parent
    codec = load_codec_between(run.model_folder)
    convert(run.model_folder, place / "exported", codec, quantization="float32")

    assert run_blocks(text, place, monkeypatch) == [
        "Ouvre le fichier", "['Ouvre le fichier']", "Ouvre le fichier",
    ]  # fmt: skip


def test_a_resumed_run_delivers_a_card(lesson_recipe: Callable[..., Recipe]) -> None:
    class PulledTheCable(BaseException):
        pass

    def pull(event: Event) -> None:
        if isinstance(event, Saved) and event.step == 6:
            raise PulledTheCable

    recipe = lesson_recipe()
    with pytest.raises(PulledTheCable):
        train(recipe, listeners=[pull])
    run = resume(Path(recipe.output.folder) / "test")
    facts = require_true_card(run.model_folder)

    assert facts.scored.after == run.after
    assert [row.when for row in facts.evaluations] == ["before", "epoch", "epoch", "epoch"]
    assert (facts.training.num_steps, facts.training.epochs) == (9, 3)


def test_the_best_of_several_seeds_has_a_card_of_all(tune: Tune) -> None:
    run, _ = tune("training.seeds=2", "training.epochs=1", "training.seed=7")
    facts = require_true_card(run.model_folder)

    assert facts.seeds is not None
    assert facts.seeds.seeds == [7, 8]
    assert (facts.name, facts.address) == ("test", "test/model")
    assert facts.scored.after == run.after
    assert "2 seeds were trained" in (run.model_folder / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("engine", ["ctranslate2", "transformers"])
@pytest.mark.parametrize("save", ["merged", "separate"])
def test_the_scores_of_an_adapter_are_those_of_the_delivered_weights(
    tune: Tune, lessons: Path, save: str, engine: str
) -> None:
    run, _ = tune(*ADAPTER, f"model.adapter.save={save}", f"generation.engine={engine}")
    facts = require_true_card(run.model_folder)
    again = attuner.evaluate(
        run.model_folder, lessons, num_beams=1, max_new_tokens=40, engine=engine
    )

    assert facts.scored.after["bleu"] == again.scores["bleu"]
    assert facts.scored.after["chrf"] == again.scores["chrf"]
    assert facts.base.is_separate == (save == "separate")


def test_an_adapter_that_is_merged_in_bf16_computes_with_its_copies(tune: Tune) -> None:
    run, _ = tune(*ADAPTER, "training.precision=bf16")

    assert run.after["loss"] == pytest.approx(_best(run), rel=0.02)


def _best(run: Run) -> float:
    best = [event for event in run.epochs if event["is_best"]][-1]
    return float(best["scores"]["loss"])


@pytest.mark.slow
def test_the_card_of_an_adapter_goes_with_its_base(
    tune: Tune, marian: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    base = tmp_path / "base"
    shutil.copytree(marian, base)
    run, _ = tune(
        *ADAPTER, f"model={base}", "model.adapter.save=separate", "training.epochs=3",
    )  # fmt: skip
    text = (run.model_folder / "README.md").read_text(encoding="utf-8")
    assert "- It is an adapter: without base it cannot be used." in text
    assert ModelCard(text).data.library_name == "peft"
    codec = load_codec_between(base, tuned=run.model_folder)
    convert(run.model_folder, run.folder.parent / "exported", codec, quantization="float32")
    said = run_blocks(text, run.folder.parent, monkeypatch)
    assert said == [said[0], f"[{said[0]!r}]", said[0]]
    assert said[0]
    change_weights(base)

    with pytest.raises(ModelError) as caught:
        require_true_card(run.model_folder)
    assert caught.value.happened == (
        f"{run.model_folder} is an adapter of {base}, whose weights are no longer those of then."
    )


def test_the_base_of_an_adapter_may_move(tune: Tune, marian: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(marian, base)
    run, _ = tune(*ADAPTER, f"model={base}", "model.adapter.save=separate", "training.epochs=1")
    folder = run.model_folder
    true = f"{folder / 'README.md'} is true: its scores are of the files beside it.\n"
    assert card_command(str(folder), "--check") == (0, true)
    moved = base.rename(tmp_path / "moved")
    not_compared = (
        f"Not compared: {folder} is an adapter of {base}, which cannot be used: {base}: no such "
        "folder.\n"
        f"If it has moved, name its place in base_model_name_or_path of {folder}/"
        "adapter_config.json.\n"
    )
    assert card_command(str(folder), "--check") == (0, true + not_compared)
    code, said = card_command(str(folder), "--check", "--json")
    assert json.loads(said)["not_compared"] == not_compared.split("\n")[0].split(": ", 1)[1]
    settings = json.loads((folder / "adapter_config.json").read_text())
    settings["base_model_name_or_path"] = str(moved)
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    assert card_command(str(folder), "--check") == (0, true)
    change_weights(moved)
    assert card_command(str(folder), "--check")[1].startswith(
        f"{folder} is an adapter of {moved}, whose weights are no longer those of then.\n"
    )
    shutil.rmtree(moved)
    settings["r"] = 1 + settings["r"]  # which decides what it says
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    code, said = card_command(str(folder), "--check")
    assert (code, said.split("\n")[0]) == (
        1, f"{folder}: the card no longer matches: adapter_config.json has changed.",
    )  # fmt: skip


@pytest.fixture(scope="module")
def moods(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Run]:
    """Trains classifiers of moods, stars or tags."""
    place = tmp_path_factory.mktemp("moods")
    encoder, data = write_encoder(place / "encoder"), reviews(place / "reviews.csv")

    def run(*overrides: str) -> Run:
        return train(
            load_recipe(
                None,
                [
                    "task.name=classification", "task.text=review", "task.label=mood",
                    f"model={encoder}", f"data.train={data}", "data.split.test=0.2",
                    "data.split.validation=0.2", "data.duplicates=keep", "training.epochs=6",
                    "training.batch_examples=8", "training.learning_rate=0.005",
                    f"output.folder={place}/runs", *overrides,
                ],
            )
        )  # fmt: skip

    return run


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("single", ()),
        ("adapter", ("model.adapter=lora", "training.learning_rate=0.02")),
        ("multi", ("task.label=tags", "task.kind=multi")),
        ("rating", ("task.label=stars", "task.kind=rating")),
    ],
)
def test_a_classifier_delivers_a_card(
    moods: Callable[..., Run], name: str, options: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = moods(f"output.name={name}", "training.precision=fp32", *options)
    facts = require_true_card(run.model_folder)
    text = (run.model_folder / "README.md").read_text(encoding="utf-8")

    assert facts.scored.after == pytest.approx(run.after, nan_ok=True)
    assert set(facts.scored.intervals) == {"before", "after"}
    assert bool(facts.labels) == (name != "rating")
    assert len(facts.shown) == 5
    (ours, theirs) = run_blocks(text, run.folder.parent, monkeypatch)
    label = facts.shown[0].after.split(" ")[0].rstrip(",")
    assert label in ours
    assert "'score':" in theirs
    assert _score_again(run, facts) == pytest.approx(
        facts.scored.after["mae" if name == "rating" else "accuracy"], abs=1e-4
    )


def test_labels_that_look_like_paths_and_texts_without_any(
    moods: Callable[..., Run], tmp_path: Path
) -> None:
    data = tmp_path / "topics.csv"
    topics = ["/arts/other", "/games/other", ""]
    rows = [f"{topic or 'plain'} text {i},{topic}" for i in range(10) for topic in topics]
    data.write_text("text,label\n" + "\n".join(rows) + "\n", encoding="utf-8")
    run = moods(
        f"data.train={data}", "task.text=text", "task.label=label", "task.kind=multi",
        "task.labels=[/arts/other, /games/other]", "training.epochs=1", "output.name=topics",
    )  # fmt: skip
    facts = require_true_card(run.model_folder)

    assert set(facts.data.counts["labels"]) == {"/arts/other", "/games/other"}
    assert set(facts.data.counts["read"]) == {"topics.csv"}
    assert "- /arts/other\n" in facts.training.recipe
    assert str(tmp_path) not in facts.training.recipe
    assert "none" in {row.reference for row in facts.shown}


def _score_again(run: Run, facts: Facts) -> float:
    """What the delivered folder scores on the test examples that the run has kept."""
    rows = [json.loads(line) for line in (run.folder / "predictions.jsonl").open(encoding="utf-8")]
    said = attuner.load(run.model_folder, precision="fp32").classify([r["text"] for r in rows])
    if facts.use.kind == "rating":
        return sum(abs(s.label - r["label"]) for s, r in zip(said, rows, strict=True)) / len(rows)
    equal = [
        (set(s.label) if isinstance(s.label, tuple) else s.label)
        == (set(r["label"]) if isinstance(r["label"], list) else r["label"])
        for s, r in zip(said, rows, strict=True)
    ]
    return 100 * sum(equal) / len(equal)


def test_confidential_texts_are_not_shown(tune: Tune) -> None:
    run, _ = tune("training.epochs=1", "output.card_examples=0")
    text = (run.model_folder / "README.md").read_text(encoding="utf-8")

    assert "Ouvre" not in text + (run.model_folder / "card.json").read_text(encoding="utf-8")
    assert ModelCard(text).data.get("widget") is None


def test_a_text_to_text_model_delivers_a_card(tune: Tune, tmp_path: Path) -> None:
    data = tmp_path / "texts.jsonl"
    rows = [{"source": en, "target": fr} for en, fr in LESSONS.items()]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    run, _ = tune(
        f"data.train={data}", f"data.validation={data}", "model.self_check=skip",
        "task={name: text-to-text, language: fr, metrics: [chrf], prefix: 'fr: '}",
        "training.epochs=1",
    )  # fmt: skip
    facts = require_true_card(run.model_folder)

    assert facts.use.prefix == "fr: "
    card = ModelCard.load(run.model_folder / "README.md")
    assert card.data.pipeline_tag == "text2text-generation"
    assert card.data.widget[0] == {"text": "fr: Open the file"}
    assert "A model that makes texts from texts" in card.text


def test_facts_are_read_as_they_were_written(delivered: Run, tmp_path: Path) -> None:
    facts = read_facts(delivered.model_folder)
    write_facts(facts, tmp_path)

    assert read_facts(tmp_path) == facts
