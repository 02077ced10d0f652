"""Each ready recipe runs on a tiny model of its family: tuned, scored, delivered, used."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from checkpoints import write_checkpoint
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

import attuner
from attuner.ready_recipes import list_recipes, ready_recipe
from attuner.recipe_loading import load_recipe
from attuner.training.run import train

THINGS = {"file": "le fichier", "window": "la fenêtre", "kernel": "le noyau", "tab": "l'onglet"}
STRINGS = [
    (source.format(thing), target.format(chose))
    for source, target in [
        ("Open the {}", "Ouvrir {}"), ("Close the {}", "Fermer {}"), ("Save {}?", "Garder {} ?"),
    ]
    for thing, chose in THINGS.items()
]  # fmt: skip
# Recipe → the kind of checkpoint that it is for, in `checkpoints`.
CHECKPOINTS = {
    "opus-mt-kde": "marian",
    "nllb-domain": "nllb",
    "nllb-3.3b": "nllb",
    "m2m100": "m2m100",
    "mbart50": "mbart50",
    "t5-translation": "t5",
    "t5-summaries": "t5",
}
# Tried elsewhere: by the demos' tests, from scratch, as the defaults, and on tiny classifiers.
OTHERS = {
    "demo", "demo-classification", "pretrain-en-fr", "translation", "chapter-translation",
    "classification", "chapter-mrpc", "chapter-reviews",
}  # fmt: skip


def test_every_recipe_is_tried() -> None:
    assert set(list_recipes()) == {*CHECKPOINTS, *OTHERS}


@pytest.fixture
def strings(tmp_path: Path) -> Path:
    path = tmp_path / "strings.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("en", "fr"), *STRINGS])
    return path


@pytest.fixture
def articles(tmp_path: Path) -> Path:
    path = tmp_path / "articles.jsonl"
    rows = [
        {"article": f"{source}.\nThen {STRINGS[i - 1][0]}. {source}!", "highlights": source}
        for i, (source, _) in enumerate(STRINGS)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.filterwarnings("ignore:Recommended")
@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_recipe_tunes_scores_and_delivers(
    name: str,
    marian: Path,
    strings: Path,
    articles: Path,
    tmp_path: Path,
    cache: Path,
) -> None:
    kind = CHECKPOINTS[name]
    checkpoint = marian if kind == "marian" else write_checkpoint(kind, tmp_path / "origin")
    is_summary = name == "t5-summaries"
    columns = "{source: article, target: highlights}" if is_summary else "{}"
    path = articles if is_summary else strings
    recipe = load_recipe(
        ready_recipe(name),
        [
            f"model.checkpoint={checkpoint}", "model.self_check=warn",
            f"data.train=[{{path: {path}, columns: {columns}}}]",
            "training.epochs=3", "training.batch_tokens=40",
            "training.learning_rate=0.01", "training.warmup_steps=2", "training.best_metric=loss",
            "generation={num_beams: 1, max_new_tokens: 20}", f"output.folder={tmp_path}/runs",
        ],
    )  # fmt: skip
    run = train(recipe)

    metrics = ["rougeL", "rouge1", "rouge2"] if is_summary else ["bleu", "chrf"]
    assert list(run.before) == list(run.after) == ["loss", *metrics]
    assert run.after["loss"] < run.before["loss"]
    assert [event["epoch"] for event in run.epochs] == [0, 1, 2, 3]
    text = "Open the file"
    model = attuner.load(run.folder, engine="transformers")
    made = model.translate(text, num_beams=1, max_new_tokens=20)
    assert isinstance(made, str)
    assert plain_output(run.model_folder, text) == made.strip()


def plain_output(folder: Path, text: str) -> str:
    """What transformers makes of the delivered folder, with the words that it names."""
    prefix = json.loads((folder / "attuner.json").read_text())["prefix"]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSeq2SeqLM.from_pretrained(folder)
    made = model.generate(
        **tokenizer([prefix + text], return_tensors="pt"),
        num_beams=1,
        max_new_tokens=20,
        forced_eos_token_id=tokenizer.eos_token_id,
    )
    (decoded,) = tokenizer.batch_decode(
        made, skip_special_tokens=True, clean_up_tokenization_spaces=False
    )
    return str(decoded).strip()
