"""The public pieces: each is there, documented, and does alone what it says."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lessons import LESSONS
from tiny_classifiers import reviews, write_encoder

import attuner
from attuner import blocks
from attuner.data.preparation import Prepared
from attuner.errors import DataError, UsageError


@pytest.fixture
def lessons() -> Prepared:
    units = blocks.pairs_from(LESSONS.items(), source="en", target="fr")
    return blocks.split_pairs(units, validation_size=2, test_size=2)


@pytest.fixture
def task(marian: Path) -> blocks.Translation:
    return blocks.load_translation(marian)


@pytest.fixture
def moods(tmp_path: Path) -> tuple[Any, blocks.Classification]:
    reviews(tmp_path / "reviews.csv")
    rows = blocks.read_labelled(tmp_path / "reviews.csv", text="review", label="mood")
    data, labels = blocks.split_labelled(rows, duplicates="keep")
    return data, blocks.load_classification(write_encoder(tmp_path / "encoder"), labels)


def learn(task: Any, features: Any, *, epochs: int = 2, rate: float = 3e-3) -> list[float]:
    """A loop with plain torch: its optimizer, its clipping; the mean loss of each update."""
    optimizer = torch.optim.AdamW(task.model.parameters(), lr=rate)
    plan = blocks.plan_batches(task, features, batch_examples=4)
    losses = []
    with task.training():
        for _, update in zip(range(plan.num_updates(epochs)), plan, strict=False):
            for rows in update.micro_batches:
                loss = task.loss(task.model, task.collate(features, rows))
                (loss / update.num_target_tokens).backward()
                losses.append(loss.item() / update.num_target_tokens)
            torch.nn.utils.clip_grad_norm_(task.model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
    return losses


def test_every_name_is_there_and_shown_at_work() -> None:
    for name in blocks.__all__:
        documented = inspect.getdoc(getattr(blocks, name)) or ""
        assert documented, name
        assert name in dir(blocks)
        # What loads a task is shown where the task is.
        beside = {"load_translation": "Translation", "load_classification": "Classification"}
        shown = inspect.getdoc(getattr(blocks, beside.get(name, name))) or ""
        assert ">>>" in shown, name
    with pytest.raises(AttributeError, match=r"'attuner\.blocks' has no attribute 'tran'"):
        blocks.tran  # noqa: B018


def test_importing_the_pieces_loads_nothing_heavy() -> None:
    code = "import sys; from attuner import blocks; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "False"


def test_a_loop_of_plain_torch_learns_text(
    task: blocks.Translation, lessons: Prepared, tmp_path: Path
) -> None:
    encoded = task.encode(lessons.train)
    before = task.evaluate(lessons.train, num_beams=1)
    losses = learn(task, encoded.features, epochs=60)
    after = task.evaluate(lessons.train, num_beams=1)
    task.save(tmp_path / "tuned")

    assert before.scores["loss"] > 1 > losses[-1]
    assert after.scores["bleu"] > 90
    assert list(after.scores) == ["loss", "bleu", "chrf"]
    assert len(after.predictions) == len(lessons.train)
    sources = [example.source for example in lessons.train]
    loaded = attuner.load(tmp_path / "tuned")
    assert loaded.translate(sources, num_beams=1) == after.predictions
    assert not task.model.training


def test_a_loop_of_plain_torch_learns_labels(
    moods: tuple[Any, blocks.Classification], tmp_path: Path
) -> None:
    data, task = moods
    losses = learn(task, task.encode(data.train).features, epochs=10)
    after = task.evaluate(data.test, num_resamples=20)
    task.save(tmp_path / "tuned", text="review", label="mood")

    assert losses[-1] < losses[0]
    assert after.scores["accuracy"] > 90
    assert set(after.intervals) == set(after.scores) - {"loss"}
    said = attuner.load(tmp_path / "tuned").classify([example.text for example in data.test])
    assert [one.label for one in said] == after.predictions
    assert attuner.evaluate(tmp_path / "tuned", tmp_path / "reviews.csv").scores["accuracy"] > 90


def test_what_is_evaluated_inside_the_block_is_what_is_outside(
    task: blocks.Translation, lessons: Prepared, moods: tuple[Any, blocks.Classification]
) -> None:
    for own, examples, options in (
        (task, lessons.train, {"num_beams": 1}),
        (moods[1], moods[0].train, {}),
    ):
        random = torch.get_rng_state()
        outside = own.evaluate(examples, **options)
        with own.training():
            inside = own.evaluate(examples, **options)
            assert own.model.training
            features = own.encode(examples).features
            own.loss(own.model, own.collate(features, np.arange(2)))  # the hooks are back
        assert inside == outside
        assert torch.equal(torch.get_rng_state(), random)


@pytest.mark.parametrize("layout", ["packed", "padded"])
def test_the_loss_of_no_rows_is_none_and_has_a_gradient(
    task: blocks.Translation,
    lessons: Prepared,
    moods: tuple[Any, blocks.Classification],
    layout: str,
) -> None:
    for own, examples in ((task, lessons.train), (moods[1], moods[0].train)):
        own.is_packed = layout == "packed"
        features = own.encode(examples).features
        with own.training():
            loss = own.loss(own.model, own.collate(features, np.arange(0)))
            loss.backward()
        gradients = [p.grad for p in own.model.parameters() if p.grad is not None]
        assert float(loss) == 0.0
        assert gradients
        assert not any(bool(gradient.any()) for gradient in gradients)


def test_text_to_text(marian: Path, lessons: Prepared) -> None:
    rows = [(text, target) for text, target in LESSONS.items() if "\n" not in text]
    data = blocks.split_pairs(
        blocks.pairs_from(rows), whole_texts=True, validation_size=0, test_size=0
    )
    task = blocks.load_translation(
        marian, source="en", target="en", prefix="Open ", whole_texts=True
    )
    plain = blocks.load_translation(marian, source="en", target="en", whole_texts=True)

    assert {example.languages for example in data.train} == {(None, None)}
    longer, shorter = (one.encode(data.train).features.source.lengths for one in (task, plain))
    assert (longer > shorter).all()
    found = task.evaluate(data.train, metrics=["chrf", "exact_match"], num_beams=1)
    assert list(found.scores) == ["loss", "chrf", "exact_match"]


def test_what_is_cut_or_left_out_is_counted(
    task: blocks.Translation, marian: Path, lessons: Prepared
) -> None:
    limit = int(np.median(task.encode(lessons.train).features.source.lengths))
    short = blocks.load_translation(marian, max_source_tokens=limit)
    cut, kept = short.encode(lessons.train), short.encode(lessons.train, too_long="skip")

    assert cut.counts["source cut"] > 0
    assert cut.features.source.lengths.max() == limit
    assert len(kept.features) > 0
    assert len(kept.features) + kept.counts["too long"] == len(cut.features)
    with pytest.raises(DataError) as caught:
        blocks.load_translation(marian, max_source_tokens=2).encode(lessons.train, too_long="skip")
    assert str(caught.value) == (
        "No pair of texts is left of 4 examples.\n"
        "Expected examples whose two sides have as many lines, and pairs with at most 2 and 64 "
        "tokens.\n"
        'Give other examples, or too_long="cut".'
    )


def test_rows_in_memory_need_a_label() -> None:
    with pytest.raises(DataError) as caught:
        list(blocks.labelled_from([("good", "a"), ("bad", None)]))
    assert str(caught.value) == (
        "rows in memory: row 2: no label.\n"
        'Each row is a text, or two, and its label (kind="single").\n'
        "Leave out the rows that have none."
    )
    rated = list(blocks.labelled_from([("good", "too", 4)], kind="rating"))
    assert (rated[0].text_pair, rated[0].label) == ("too", 4.0)


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        (("Open", None), "None is no text"),
        ((float("nan"), "Ouvrir"), "nan is no text"),
        (("Open", ["Ouvrir", 3]), "3 is no text"),
    ],
)
def test_rows_in_memory_need_texts(row: Any, fault: str) -> None:
    with pytest.raises(DataError) as caught:
        list(blocks.pairs_from([("Save", "Enregistrer"), row]))
    assert str(caught.value) == (
        f"rows in memory: row 2: {fault}.\n"
        "Each row is a source text and its target text, or several references.\n"
        "Leave out the rows that have none."
    )


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ((None, "a"), "None is no text"),
        (("good", float("nan"), "a"), "nan is no text"),
        (("good", "very", "bad", "a"), "there are 3 texts"),
        (("a",), "there are 0 texts"),
    ],
)
def test_labelled_rows_in_memory_need_one_text_or_two(row: Any, fault: str) -> None:
    with pytest.raises(DataError) as caught:
        list(blocks.labelled_from([("fine", "b"), row]))
    assert str(caught.value) == (
        f"rows in memory: row 2: {fault}.\n"
        'Each row is a text, or two, and its label (kind="single").\n'
        "Leave out the rows that have none."
    )


def test_messages_name_the_arguments() -> None:
    rows = [("a", "b"), ("c", "d")]
    with pytest.raises(DataError) as caught:
        blocks.split_pairs(blocks.pairs_from(rows), validation_size=0.5, test_size=1)
    assert str(caught.value) == (
        "2 examples cannot be split: 1 for validation and 1 for test leave none for training.\n"
        "Every part needs at least one example.\n"
        "Give more data, or make the held-out parts smaller: validation_size=... test_size=..."
    )
    rows = [(f"a text {n}", "same") for n in range(9)]
    with pytest.raises(DataError) as caught:
        blocks.split_labelled(blocks.labelled_from(rows))
    assert str(caught.value).endswith('or name another column: label="COLUMN"')
    with pytest.raises(DataError, match=r'as target="CODE"'):
        list(blocks.read_pairs("package:jupyterlab-language-pack-fr-FR", source="en", target="de"))
    data = blocks.split_pairs(
        blocks.pairs_from([("a", "b"), ("a", "c"), ("d", "e")]), by="random", test_size=0,
        validation_size=1,
    )  # fmt: skip
    assert not any("data." in note for note in data.notes)


def test_a_folder_that_is_no_model_is_left_alone(task: blocks.Translation, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work", "utf-8")
    with pytest.raises(UsageError) as caught:
        task.save(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path} is there, and holds no model.\n"
        "A model is saved to a new folder, or in place of another model.\n"
        "Name another folder, or delete this one."
    )
    assert (tmp_path / "thesis.txt").exists()


def test_class_weights_by_name(moods: tuple[Any, blocks.Classification], tmp_path: Path) -> None:
    data, plain = moods
    names = plain.labels.names
    weighted = blocks.load_classification(
        tmp_path / "encoder", plain.labels, class_weights=dict.fromkeys(names, 3.0)
    )
    scores = [own.evaluate(data.test).scores["loss"] for own in (plain, weighted)]

    assert scores[1] == pytest.approx(3 * scores[0], rel=1e-5)
