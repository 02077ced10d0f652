"""What scripts for transformers 4 call: the same tasks, the same returns."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from checkpoints import write_checkpoint
from tiny import tiny_model
from tiny_classifiers import reviews, write_encoder
from transformers import pipeline as transformers_pipeline

import attuner
from attuner.errors import ModelError, UsageError
from attuner.recipe_loading import load_recipe
from attuner.training.run import Run, train


@pytest.fixture(autouse=True)
def _own_cache(cache: Path) -> None:
    """What is converted goes into a folder of the test."""


@pytest.fixture
def translate(marian: Path) -> Any:
    return attuner.pipeline("translation_en_to_fr", model=marian)


def test_a_text_and_a_list_give_a_list_of_records(translate: Any) -> None:
    assert translate("Open the file") == [{"translation_text": "Ouvrir le fichier"}]
    assert translate(["Open the file", "Delete file?", ""]) == [
        {"translation_text": "Ouvrir le fichier"},
        {"translation_text": "Supprimer le fichier ?"},
        {"translation_text": ""},
    ]
    assert translate([]) == []
    assert translate(["Open the file"] * 3, batch_size=2) == translate(["Open the file"] * 3)


def test_a_generator_is_read_as_far_as_results_are_asked_for(translate: Any) -> None:
    read: list[str] = []

    def texts() -> Iterator[str]:
        for text in ("Open the file", "Delete file?", "Open the file"):
            read.append(text)
            yield text

    results = translate(texts())
    assert read == []
    assert next(results) == [{"translation_text": "Ouvrir le fichier"}]
    assert read == ["Open the file"]
    assert list(results)[-1] == [{"translation_text": "Ouvrir le fichier"}]
    read.clear()
    assert next(translate(texts(), batch_size=2)) == [{"translation_text": "Ouvrir le fichier"}]
    assert read == ["Open the file", "Delete file?"]


def test_a_data_set_with_rows_alone_is_read(translate: Any) -> None:
    class Rows:
        def __len__(self) -> int:
            return 2

        def __getitem__(self, row: int) -> str:
            return ("Open the file", "Delete file?")[row]

    assert list(translate(Rows())) == [
        [{"translation_text": "Ouvrir le fichier"}],
        [{"translation_text": "Supprimer le fichier ?"}],
    ]  # fmt: skip


def test_max_length_counts_the_start_token(marian: Path, translate: Any) -> None:
    short = translate("Delete file?", max_length=4)
    assert short == translate("Delete file?", max_new_tokens=3)
    assert short != translate("Delete file?")
    assert attuner.pipeline("translation", marian, max_length=4)("Delete file?") == short
    assert attuner.pipeline("translation", marian, max_length=4)("Delete file?", max_length=99) == (
        translate("Delete file?")
    )


def test_languages_by_option_and_by_name(tmp_path: Path) -> None:
    write_checkpoint("nllb", tmp_path)
    by_name = attuner.pipeline("translation_en_to_fr", tmp_path, engine="transformers")
    by_option = attuner.pipeline(
        "translation", tmp_path, src_lang="en", tgt_lang="fr", engine="transformers"
    )
    loaded = attuner.load(tmp_path, source="en", target="fr", engine="transformers")
    text = "Open the file"

    assert by_name(text) == by_option(text) == [{"translation_text": loaded.translate(text)}]
    assert by_option(text, tgt_lang="de") == [
        {"translation_text": loaded.translate(text, target="de")}
    ]


def test_other_texts_are_taken_whole_under_their_own_key(marian: Path, tmp_path: Path) -> None:
    text = "Open the file\nDelete file?"
    (made,) = attuner.pipeline("text2text-generation", marian)(text)
    assert list(made) == ["generated_text"]
    assert "\n" not in made["generated_text"]
    (made,) = attuner.pipeline("summarization", marian)([text])
    assert list(made) == ["summary_text"]


def test_published_models_say_which_words_a_task_begins_with(marian: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(marian, folder)
    config = json.loads((folder / "config.json").read_text())
    config["task_specific_params"] = {"summarization": {"prefix": "Delete "}}
    (folder / "config.json").write_text(json.dumps(config))

    assert attuner.pipeline("summarization", folder)("file?") == [
        {"summary_text": attuner.load(marian).translate("Delete file?")}
    ]


@pytest.mark.parametrize(
    ("task", "options", "message"),
    [
        (
            "translation", {"device": 0},
            "The pipeline has no use of device.\n"
            "Known: batch_size, engine, max_length, max_new_tokens, num_beams, quantization, "
            "revision, src_lang, tgt_lang.\n"
            "Leave it out. The device is chosen by itself, and the tokenizer is the model's.",
        ),
        (
            "translation", {"model": None},
            'pipeline("translation") was given no model.\n'
            "There is no default one.\n"
            'Call attuner.pipeline("translation", model="runs/NAME"), or give a Hub id.',
        ),
        (
            "sumarization", {},
            'There is no pipeline "sumarization".\n'
            'Did you mean "summarization"? Known: sentiment-analysis, summarization, '
            "text-classification, text2text-generation, translation, translation_XX_to_YY.\n"
            "Others may be in transformers: transformers.pipeline(...)",
        ),
    ],
)  # fmt: skip
def test_what_there_is_not_is_said(
    marian: Path, task: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        attuner.pipeline(task, **{"model": marian, **options})
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("texts", "options", "message"),
    [
        (7, {}, "The pipeline was given int 7.\n"
         "Expected a text, a list of texts, or an iterable of texts."),
        ({"text": "a"}, {}, "The pipeline was given dict {'text': 'a'}.\n"
         "Expected a text, a list of texts, or an iterable of texts."),
        (["a", None], {}, "The pipeline was given NoneType None.\n"
         "Expected a text, a list of texts, or an iterable of texts."),
        ("a", {"batch_size": 0}, "batch_size is 0.\n"
         "Expected a whole number from 1: texts at once."),
        ("a", {"max_length": 1}, "The longest text is to have 0 tokens.\n"
         "Expected a max_new_tokens from 1, or a max_length from 2."),
        ("a", {"max_length": 9, "max_new_tokens": 9},
         "Both max_length and max_new_tokens were given.\n"
         "They say the same: max_length counts the start token as well.\nGive one of them."),
        ("a", {"num_return_sequences": 2}, "The pipeline has no use of num_return_sequences.\n"
         "Known: batch_size, engine, max_length, max_new_tokens, num_beams, quantization, "
         "revision, src_lang, tgt_lang.\n"
         "Leave it out. The device is chosen by itself, and the tokenizer is the model's."),
    ],
)  # fmt: skip
def test_a_call_that_cannot_be_says_why(
    translate: Any, texts: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        translate(texts, **options)
    assert str(caught.value) == message


@pytest.fixture(scope="module")
def moods(tmp_path_factory: pytest.TempPathFactory) -> Run:
    place = tmp_path_factory.mktemp("moods")
    encoder, data = write_encoder(place / "encoder"), reviews(place / "reviews.csv")
    overrides = [
        "task.name=classification", "task.text=review", "task.label=mood", f"model={encoder}",
        f"data.train={data}", "data.split.test=0.2", "data.split.validation=0.2",
        "data.duplicates=keep", "training.epochs=3", "training.batch_examples=8",
        "training.learning_rate=0.005", "training.precision=fp32", f"output.folder={place}/runs",
        "data.max_source_tokens=32",
    ]  # fmt: skip
    return train(load_recipe(None, overrides))


def test_a_model_in_memory_is_refused_by_its_type() -> None:
    with pytest.raises(UsageError) as caught:
        attuner.pipeline("translation", model=tiny_model())
    assert str(caught.value) == (
        "The pipeline was given a MarianMTModel.\n"
        "Expected the name of a model: a folder, or a Hub id.\n"
        "Save it together with its tokenizer: model.save_pretrained(FOLDER), "
        "tokenizer.save_pretrained(FOLDER)"
    )


def test_a_delivered_classifier_is_a_pipeline_of_transformers(moods: Run) -> None:
    theirs = transformers_pipeline("text-classification", model=str(moods.model_folder))
    text = "a good film"
    said = attuner.load(moods.model_folder, precision="fp32").classify([text])[0]

    best = pytest.approx(max(said.probabilities.values()), abs=1e-5)
    assert theirs(text) == [{"label": said.label, "score": best}]
    ours = attuner.pipeline("text-classification", moods.folder)
    for arguments in ({}, {"top_k": None}, {"top_k": 1}, {"top_k": 2}):
        assert ours(text, **arguments) == theirs(text, **arguments)
        assert ours([text, "bad"], **arguments) == theirs([text, "bad"], **arguments)
    assert attuner.pipeline("sentiment-analysis", moods.folder, top_k=None)(text) == (
        transformers_pipeline("sentiment-analysis", model=str(moods.model_folder), top_k=None)(text)
    )
    assert ours("good " * 500) == ours("good " * 30)  # cut where texts were cut in training


def test_labels_need_a_model_that_gives_some_and_texts_one_that_writes(
    moods: Run, marian: Path
) -> None:
    with pytest.raises(ModelError) as caught:
        attuner.pipeline("text-classification", marian)
    assert str(caught.value) == (
        f"{marian} gives no labels.\n"
        "text-classification needs a model that was trained to give some.\n"
        f'For one that writes text: attuner.pipeline("translation", model="{marian}")'
    )
    with pytest.raises(ModelError) as caught:
        attuner.pipeline("translation", moods.folder)
    assert caught.value.happened == f"{moods.folder} gives labels, it does not translate."
