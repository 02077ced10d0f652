"""Classifying texts: the same as transformers one by one, whatever is packed or said twice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_classifiers import WORDS, tiny_classifier, tiny_texts, write_encoder
from transformers import pipeline

from attuner.data.labels import LabelSet
from attuner.errors import UsageError
from attuner.inference.classifier import (
    Classifier,
    TransformersLabels,
    load_labels,
    predict_logits,
)
from attuner.models.classifier_tokens import ClassifierTokens
from attuner.models.classifiers import load_classifier, save_classifier, set_threshold
from attuner.tasks.classification import ClassificationTask

MOODS = LabelSet("single", ("good", "bad", "fine"))


def some_texts(num: int = 60) -> list[str]:
    random = np.random.default_rng(0)
    return [" ".join(random.choice(WORDS, random.integers(1, 30))) for _ in range(num)]


def save(folder: Path, labels: LabelSet, *, threshold: float | None = None) -> Path:
    """A classifier with random weights, whose labels differ from text to text."""
    encoder = write_encoder(folder / "encoder")
    model = load_classifier(encoder, labels).model
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    tokens = ClassifierTokens(encoder)
    logits = Classifier(TransformersLabels(model, labels.kind), tokens, labels).logits(some_texts())
    model.classifier.bias.data -= torch.from_numpy(logits.mean(0))
    model.classifier.weight.data /= logits.std(0).mean().item()
    model.classifier.bias.data /= logits.std(0).mean().item()
    if threshold is not None:
        set_threshold(model, threshold)
    save_classifier(model, tokens, encoder, folder / "model")
    return folder / "model"


@pytest.mark.parametrize("pairs", [None, some_texts()[::-1]])
def test_labels_and_probabilities_are_those_of_transformers(
    tmp_path: Path, pairs: list[str] | None
) -> None:
    folder, texts = save(tmp_path, MOODS), some_texts()
    found = load_labels(folder, precision="fp32").classify(texts, pairs)
    theirs = pipeline("text-classification", model=str(folder), top_k=None)
    rows = (
        theirs(texts, truncation=True)
        if pairs is None
        else [
            theirs({"text": text, "text_pair": pair}, truncation=True)
            for text, pair in zip(texts, pairs, strict=True)
        ]
    )
    assert len({classified.label for classified in found}) > 1
    for classified, row in zip(found, rows, strict=True):
        wanted = {said["label"]: said["score"] for said in row}
        assert classified.probabilities == pytest.approx(wanted, abs=1e-5)
        assert classified.label == max(wanted, key=lambda name: wanted[name])
        assert list(classified.probabilities) == list(MOODS.names)


def test_texts_said_twice_are_computed_once(tmp_path: Path) -> None:
    classifier = load_labels(save(tmp_path, MOODS), precision="fp32")
    heard: list[tuple[int, int]] = []
    twice = ["a good film", "bad", "a good film"]
    logits = classifier.logits(twice, progress=lambda done, total: heard.append((done, total)))
    assert heard[-1] == (2, 2)
    assert np.array_equal(logits[0], logits[2])
    assert classifier.classify([]) == []


def test_several_labels_have_the_threshold_of_their_model(tmp_path: Path) -> None:
    labels = LabelSet("multi", ("a", "b", "c"))
    classifier = load_labels(save(tmp_path, labels, threshold=0.3), precision="fp32")
    assert classifier.threshold == 0.3
    found = classifier.classify(some_texts())
    assert len({classified.label for classified in found}) > 1
    for classified in found:
        given = tuple(name for name, share in classified.probabilities.items() if share >= 0.3)
        assert classified.label == given


def test_ratings(tmp_path: Path) -> None:
    classifier = load_labels(save(tmp_path, LabelSet("rating")), precision="fp32")
    (found,) = classifier.classify(["a good film"])
    assert found.label == pytest.approx(found.logits[0])
    assert found.probabilities == {}


def test_long_and_empty_texts(tmp_path: Path) -> None:
    classifier = load_labels(save(tmp_path, MOODS), precision="fp32")
    assert classifier.max_tokens == 64
    found = classifier.classify(["", "good " * 500, "good " * 600])
    assert found[1] == found[2]
    assert np.isfinite(found[0].logits).all()


def test_precision(tmp_path: Path) -> None:
    folder, texts = save(tmp_path, MOODS), some_texts()
    exact = load_labels(folder, precision="fp32")
    assert exact.name.endswith("float32")
    in_bf16 = load_classifier(folder).model.to(torch.bfloat16)
    rounded = Classifier(TransformersLabels(in_bf16, "single"), ClassifierTokens(folder), MOODS)
    wanted = exact.logits(texts)  # their spread is about 1
    assert 0 < np.abs(rounded.logits(texts) - wanted).mean() < 0.08


@pytest.mark.parametrize("family", ["bert", "deberta-v2"])
def test_batches_make_no_difference(family: str) -> None:
    model, features = tiny_classifier(family).train(), tiny_texts()
    task = ClassificationTask(model, "single")
    sizes = (1, 60, 10_000)
    with task.prepared(model):
        found = [predict_logits(model, task, features, batch_tokens=size) for size in sizes]
    assert model.training
    for logits in found[1:]:
        np.testing.assert_allclose(logits, found[0], atol=1e-5)


@pytest.mark.parametrize(("texts", "pairs"), [("good", None), (["good"], "bad")])
def test_a_text_is_not_taken_for_a_list_of_letters(
    tmp_path: Path, texts: str | list[str], pairs: str | None
) -> None:
    with pytest.raises(UsageError) as caught:
        load_labels(save(tmp_path, MOODS)).classify(texts, pairs)
    assert str(caught.value) == (
        "The classifier was given a text.\n"
        "It takes a list of texts: of a text it would classify each letter.\n"
        "Put the text in a list: classify([text]), or classify([text], [second])."
    )


def test_an_unknown_precision() -> None:
    with pytest.raises(UsageError) as caught:
        load_labels("no such folder", precision="fp61")
    assert str(caught.value) == (
        'There is no precision "fp61".\nDid you mean "fp16"? Known: auto, bf16, fp16, fp32.'
    )
