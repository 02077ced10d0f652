"""What a card says, and that what users write cannot break it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt

from attuner.cards.facts import (
    Base,
    Data,
    Evaluation,
    Export,
    Facts,
    LabelScore,
    Scored,
    Seeds,
    Shown,
    Source,
    Spread,
    Training,
    Use,
)
from attuner.cards.metadata import eval_results, license_in, metadata
from attuner.cards.render import render

HOSTILE = "|x| *a* <b>&amp; `c` $d$ [e](f)\n---\n# g"

TRANSLATION = Facts(
    name="kde",
    address="runs/kde/model",
    task="translation",
    license="apache-2.0",
    base=Base(
        name="Helsinki-NLP/opus-mt-en-fr", kind="hub", family="marian", license="apache-2.0",
        num_parameters=74_600_000, num_trained=74_600_000,
    ),
    data=Data(
        sources=[
            Source(name="hub:kde4", hub_id="kde4", config="en-fr", split="train", use="train")
        ],
        licenses=["gpl-2.0"],
        counts={"read": {"hub:kde4": 12_000}, "split": {"test": 500}},
        divided_by="source",
    ),
    use=Use(source="en", targets=["pt-BR", "no"], num_beams=4, runs_on_ctranslate2=True),
    scored=Scored(
        split="test", num_examples=500,
        before={"loss": 2.0, "bleu": 30.0, "chrf": 60.0},
        after={"loss": 1.25, "bleu": 41.23456, "chrf": 59.0},
        intervals={"after": {"bleu": (40.0, 42.5)}},
        signatures={"bleu": "nrefs:1|tok:13a", "chrf": "nrefs:1|nc:6"},
    ),
    evaluations=[
        Evaluation(when="before", epoch=0, scores={"loss": 2.0, "chrf": 60.0}),
        Evaluation(when="epoch", epoch=1, scores={"loss": 1.3, "chrf": 58.0}, train_loss=1.9),
        Evaluation(
            when="epoch", epoch=2, scores={"loss": 1.2, "chrf": 59.0}, train_loss=1.5, is_best=True
        ),
    ],
    shown=[Shown(source="Open it", before="Ouvrir", after="Ouvrez-le", reference="Ouvrez-le")],
    training=Training(num_steps=20, recipe="task: translation", versions={"torch": "2.13.0"}),
)  # fmt: skip
CLASSIFICATION = Facts(
    name="moods",
    address="runs/moods/model",
    task="classification",
    base=Base(name="encoder", family="bert"),
    use=Use(kind="single", labels=["bad", "good"]),
    scored=Scored(
        split="validation", num_examples=8, before={"accuracy": 50.0}, after={"accuracy": 100.0},
        intervals={"before": {"accuracy": (40.0, 60.0)}}, last={"accuracy": 87.5},
    ),
    labels=[LabelScore(name="bad", precision=100, recall=50, f1=66.667, num_examples=4)],
)  # fmt: skip


def body(facts: Facts) -> str:
    return str(ModelCard(render(facts)).text)


def cells(text: str) -> list[list[str]]:
    """The rows of all tables, as a reader of Markdown finds them."""
    rows: list[list[str]] = []
    for token in MarkdownIt("gfm-like", {"linkify": False}).parse(text):
        if token.type == "tr_open":
            rows.append([])
        if token.type == "inline" and rows and token.level == 4:
            children = token.children or []
            assert {child.type for child in children} <= {"text", "text_special"}, token.content
            rows[-1].append("".join(child.content for child in children))
    return rows


def test_the_scores_before_and_after_with_intervals_signatures_and_epochs() -> None:
    rows = cells(body(TRANSLATION))

    assert ["loss", "2.0000", "1.2500", "-0.7500"] in rows
    assert ["BLEU", "30.00", "41.23 [40.0, 42.5]", "+11.23"] in rows
    assert ["2.00 *", "1.5000", "1.2000", "59.00"] in rows
    assert ["read", "hub:kde4", "12,000"] in rows
    text = body(TRANSLATION)
    assert "- BLEU: `nrefs:1|tok:13a`" in text
    assert "Training data: `hub:kde4` (`en-fr`, `train`)." in text
    assert "Licence of the data: gpl-2.0." in text
    assert "translates English (en) into Portuguese (Brazil) (pt-BR), Norwegian (no)" in text
    assert "- By chrF it is worse than what it was tuned from." in text
    assert "```yaml\ntask: translation\n```" in text


def test_which_scores_are_worse_depends_on_the_metric() -> None:
    before = {"loss": 1.0, "ter/de": 40.0, "mae": 1.0, "kappa": 0.5, "bleu/fr": 30.0}
    scored = Scored(split="test", before=before, after=dict.fromkeys(before, 20.0))
    text = body(TRANSLATION.model_copy(update={"scored": scored}))

    assert "- By loss, MAE, BLEU fr it is worse than what it was tuned from." in text


def test_metadata_are_read_back_as_they_were_made(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text(render(TRANSLATION), encoding="utf-8")
    data = ModelCard.load(path).data

    assert data.to_dict() == metadata(TRANSLATION).to_dict()
    assert data.eval_results == eval_results(TRANSLATION)
    assert data.language == ["en", "pt", "no"]  # a string, though YAML 1.1 takes `no` for false
    assert (data.license, data.library_name) == ("apache-2.0", "transformers")
    assert (data.base_model, data.base_model_relation) == ("Helsinki-NLP/opus-mt-en-fr", "finetune")
    assert (data.datasets, data.metrics) == (["kde4"], ["bleu", "chrf"])
    assert data.tags == ["attuner", "marian"]
    assert (data.pipeline_tag, data.widget) == ("translation", [{"text": "Open it"}])
    bleu = next(result for result in data.eval_results if result.metric_type == "bleu")
    assert (bleu.metric_value, bleu.metric_name) == (41.2346, "BLEU")
    assert bleu.metric_args == {"signature": "nrefs:1|tok:13a"}
    assert (bleu.dataset_type, bleu.dataset_config, bleu.dataset_split) == ("kde4", "en-fr", "test")
    assert license_in(tmp_path) == "apache-2.0"


def test_a_classifier_has_a_table_of_labels_and_says_on_what_it_was_chosen() -> None:
    text = body(CLASSIFICATION)

    assert ["bad", "100.00", "50.00", "66.67", "4"] in cells(text)
    assert "A model that gives a text one of 2 labels: bad, good; tuned from `encoder`." in text
    assert "at the last evaluation, without a choice: accuracy 87.50." in text
    assert "- There was no test split: its scores are on the validation examples" in text
    assert "- Only 8 examples were held out" in text
    assert "Not stated. Ask whoever gave you the model" in text
    assert "Licence of the data: not stated." in text
    assert metadata(CLASSIFICATION).license is None
    assert metadata(CLASSIFICATION).base_model is None  # a folder is no id


def test_what_users_write_is_shown_and_not_obeyed() -> None:
    line = HOSTILE.replace("\n", " ")
    hostile = TRANSLATION.model_copy(
        update={
            "name": HOSTILE,
            "license": "Our own: yes | #1",
            "data": Data(
                sources=[Source(name="|x|.csv", use="train")], licenses=[HOSTILE],
                counts={"read": {"|x|.csv": 3, "\x1b[2J.po": 1}}, notes=["# no heading", "1. a"],
            ),
            "shown": [
                Shown(source=HOSTILE, before="- a", after="+ b", reference="==="),
                Shown(source="key: [\u2028 ---", before="", after="a\u202eb", reference="\ud800"),
            ],
            "training": Training(recipe="a: ```\n````"),
        }
    )  # fmt: skip
    text = render(hostile)
    card = ModelCard(text)
    rows = cells(card.text)

    assert card.data.license == "other"
    assert card.data.license_name == "Our own: yes | #1"
    assert card.data.model_name == line
    assert card.data.widget == [{"text": line}, {"text": "key: [  ---"}]
    assert ["read", "|x|.csv", "3"] in rows
    assert [line, "- a", "+ b", "==="] in rows
    assert ["key: [  ---", "", "a\\u202eb", "\\ud800"] in rows
    assert ["read", "\\x1b[2J.po", "1"] in rows
    assert "`````yaml\na: ```\n````\n`````" in text
    tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(card.text)
    headings = [tokens[i + 1].content for i, t in enumerate(tokens) if t.type == "heading_open"]
    assert headings[1:] == [
        "Use it", "What it was tuned from and on", "Scores", "Limits", "How it was tuned",
        "Licence",
    ]  # fmt: skip
    text.encode("utf-8")


def test_a_score_that_is_no_number_is_left_out_of_the_metadata() -> None:
    scored = Scored(split="test", num_examples=9, before={"pearson": 1.0}, after={"pearson": None})
    facts = CLASSIFICATION.model_copy(update={"scored": scored, "use": Use(kind="rating")})

    assert ["Pearson", "1.00", "no number", ""] in cells(body(facts))
    assert eval_results(facts) == []


def test_without_held_out_examples_there_are_no_scores() -> None:
    facts = TRANSLATION.model_copy(update={"scored": Scored(), "evaluations": [], "shown": []})
    text = body(facts)

    assert "Nothing was held out: there are no scores." in text
    assert "- Nothing was held out, so that nothing is known of how good it is." in text
    assert yaml.safe_load(metadata(facts).to_yaml()).get("model-index") is None


def test_exports_and_seeds_have_their_place() -> None:
    facts = TRANSLATION.model_copy(
        update={
            "exports": [
                Export(name="original", num_bytes=300_000_000, per_second=20.4, split="validation",
                       num_examples=500, scores={"bleu": 41.0}, machine="EPYC"),
                Export(name="ctranslate2 int8", num_bytes=80_000_000, per_second=99.0,
                       split="validation", num_examples=500, scores={"bleu": 40.9}, machine="EPYC"),
            ],
            "seeds": Seeds(seeds=[7, 8], metric="chrf", best=8,
                           spreads={"test": Spread(mean={"bleu": 41.0}, deviation={"bleu": 0.5})}),
        }
    )  # fmt: skip
    text = body(facts)

    assert ["ctranslate2 int8", "80.0 MB", "99.0", "40.90"] in cells(text)
    assert "Scores on 500 validation examples. Speed on EPYC." in text
    assert "this is that of seed 8, with the best validation chrF" in text
    assert "- test: BLEU 41.00 ± 0.50" in text


@pytest.mark.parametrize("number", [31, 400])
def test_of_many_evaluations_some_are_shown_and_the_best_among_them(number: int) -> None:
    rows = [
        Evaluation(when="steps", epoch=i / 10, scores={"chrf": i}, is_best=i == 7)
        for i in range(number)
    ]
    shown = cells(body(TRANSLATION.model_copy(update={"evaluations": rows})))
    epochs = [row[0] for row in shown[shown.index(["epoch", "training loss", "chrF"]) + 1 :]]

    assert len(epochs) <= 32
    assert "0.70 *" in epochs
    assert epochs[-1] == f"{(number - 1) / 10:.2f}"
