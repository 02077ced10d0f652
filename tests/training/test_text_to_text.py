"""Any text from any other: whole texts, a prefix, templates, several references, own metrics."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from attuner.errors import MissingExtraError
from attuner.evaluation.on_data import evaluate_data
from attuner.inference.translator import load
from attuner.models.usage import Usage, read_usage
from attuner.recipe import Recipe
from attuner.recipe_loading import load_recipe
from attuner.training.check import check
from attuner.training.run import train
from attuner.training.setup import generation_options

# Question, context, answers: the first is learned, all count.
ROWS = [
    ("Open", "the file\nall windows", ["Ouvrir toutes\nles fenêtres", "Ouvrir"]),
    ("Close", "the file\nall windows", ["Fermer", "Fermer le fichier", "Fermer tout"]),
    ("Delete file?", "Save the file as %1", ["Supprimer"]),
    ("Save", "The kernel restarts now", ["Enregistrer le noyau", "Enregistrer"]),
    ("Save all", "the file\nas %1", ["Enregistrer sous %1"]),
    ("Open the kernel", "Close\nall", ["Ouvrir le noyau"]),
]
QUESTION = "question: {question} context: {context}"

Build = Callable[..., Recipe]


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    path = tmp_path / "questions.jsonl"
    rows = [{"question": q, "context": c, "answers": {"text": a}} for q, c, a in ROWS]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def answering(marian: Path, questions: Path, tmp_path: Path) -> Build:
    def build(*overrides: str) -> Recipe:
        return load_recipe(
            None,
            [
                f"data.validation={questions}",
                f"data.validation[0].columns={{source: '{QUESTION}', target: answers.text}}",
                "data.split={by: random, test: 0}", "task.prefix='answer: '",
                "task.metrics=[token_f1, exact_match, rougeL]",
                "training={batch_examples: 4, learning_rate: 0.005, precision: fp32}",
                "generation={num_beams: 1, max_new_tokens: 40}",
                f"output.folder={tmp_path}/runs", "model.self_check=warn", *overrides,
            ],
            {
                "task": "text-to-text", "model": str(marian), "data": [str(questions)],
                "source_column": QUESTION, "target_column": "answers.text",
            },
        )  # fmt: skip

    return build


@pytest.mark.slow
def test_it_learns_whole_texts_and_is_scored_on_all_references(
    answering: Build, questions: Path, cache: Path
) -> None:
    run = train(answering("training.epochs=80", "training.evaluate=none"))
    assert list(run.after) == ["loss", "token_f1", "exact_match", "rougeL"]
    assert run.before["exact_match"] == 0
    assert run.after["exact_match"] == 100
    assert read_usage(run.model_folder) == Usage("en", "en", "answer: ", whole_texts=True)
    translator = load(run.folder)
    texts = [f"question: {q} context: {c}" for q, c, _ in ROWS]
    expected = [" ".join(answers[0].split()) for _, _, answers in ROWS]  # its tokens have no breaks
    assert translator.translate(texts) == expected
    rows = [json.loads(line) for line in (run.folder / "translations.jsonl").open()]
    assert [row["source"] for row in rows] == texts  # without the prefix
    assert [row["references"] for row in rows] == [answers for _, _, answers in ROWS]

    again = evaluate_data(
        run.folder, questions, source_column=QUESTION, target_column="answers.text",
        metrics=["exact_match", "bleu"], num_beams=1, max_new_tokens=40,
    )  # fmt: skip
    assert again.scores["exact_match"] == 100
    assert "nrefs:var" in again.signatures["bleu"]
    default = evaluate_data(
        run.folder, questions, source_column="question", target_column="answers.text"
    )
    assert list(default.scores) == ["rougeL", "chrf"]


def test_the_first_metric_tells_the_best_weights(answering: Build) -> None:
    run = train(answering("training.epochs=4", "training.keep_checkpoints=1"))
    best = max(run.epochs[1:], key=lambda event: event["scores"]["token_f1"])
    assert run.after["token_f1"] == pytest.approx(best["scores"]["token_f1"])


@pytest.mark.parametrize(("learned", "used"), [(128, 0), (512, 0), (1024, 1024)])
def test_sources_are_used_as_long_as_they_were_learned(
    answering: Build, learned: int, used: int
) -> None:
    recipe = answering(f"data.max_source_tokens={learned}")
    assert generation_options(recipe).max_source_tokens == used


def test_check_shows_whole_texts_with_the_prefix(answering: Build) -> None:
    checked = check(answering("data.max_source_tokens=200", "training.max_steps=1"))
    assert checked.inspection is not None
    assert checked.inspection.num_pairs == len(ROWS)
    assert checked.inspection.languages == {"en": 2 * len(ROWS)}
    assert [trip.side for trip in checked.inspection.round_trips] == ["source", "target"]
    (line,) = checked.shown[0].source_lines
    assert line.text == "question: Open context: the file\nall windows"
    bare = check(answering("task.prefix=''"), row=1).shown[0].source_lines[0]
    assert len(line.tokens) > len(bare.tokens)
    longest = next(row for row in checked.inspection.lengths if row.side == "source").longest
    assert longest == max(len(check(answering(), row=n).shown[0].source_lines[0].tokens)
                          for n in range(1, len(ROWS) + 1))  # fmt: skip


def test_a_missing_library_is_said_before_any_work(
    answering: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "rouge_score.rouge_scorer", None)
    with pytest.raises(MissingExtraError):
        train(answering("data.train=nowhere.jsonl"))
    assert not (tmp_path / "runs").exists()
