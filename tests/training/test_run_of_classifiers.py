"""Classifiers through a whole run: what it learns, says, keeps and delivers."""

from __future__ import annotations

import csv
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_classifiers import WORDS, reviews, write_encoder

import attuner
from attuner.errors import DataError, RunError, StoppedError, UserError
from attuner.ready_recipes import ready_recipe
from attuner.recipe import Recipe
from attuner.recipe_loading import load_recipe
from attuner.training.events import (
    Delivered,
    Evaluated,
    Event,
    Noted,
    Planned,
    Relabelled,
    Saved,
    SeedsCompared,
    Stepped,
)
from attuner.training.folder import read_lines
from attuner.training.run import Run, resume, train

Build = Callable[..., Recipe]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture
def build(encoder: Path, tmp_path: Path) -> Build:
    """A recipe that learns moods by heart."""
    data = reviews(tmp_path / "reviews.csv")

    def recipe(*overrides: str) -> Recipe:
        return load_recipe(
            None,
            [
                "task.name=classification", "task.text=review", "task.label=mood",
                f"model={encoder}", f"data.train={data}", "data.split.test=0.2",
                "data.split.validation=0.2", "data.duplicates=keep", "training.epochs=6",
                "training.batch_examples=8", "training.learning_rate=0.005",
                "training.precision=fp32", f"output.folder={tmp_path}/runs", "output.name=test",
                *overrides,
            ],
        )  # fmt: skip

    return recipe


def run(recipe: Recipe) -> tuple[Run, list[Event]]:
    events: list[Event] = []
    return train(recipe, listeners=[events.append]), events


def test_what_is_made_from_checkpoints_alone_is_what_is_delivered(
    build: Build, tmp_path: Path
) -> None:
    from attuner.cards.truth import require_true_card, write_card
    from attuner.training.card import facts_so_far
    from attuner.training.folder import RunFolder
    from attuner.training.snapshot import write_model_so_far

    done, _ = run(build("training.epochs=2"))
    (tmp_path / "reviews.csv").unlink()  # the labels are known without the data
    made = tmp_path / "made"
    made.mkdir()
    snapshot = write_model_so_far(RunFolder(done.folder), made)
    files = sorted(path.name for path in made.iterdir())
    delivered = sorted(path.name for path in done.model_folder.iterdir())
    assert sorted([*files, "README.md", "card.json"]) == delivered  # the card tells of scores
    for name in files:
        assert (done.model_folder / name).read_bytes() == (made / name).read_bytes(), name
    write_card(facts_so_far(snapshot, RunFolder(done.folder), made), made)
    (best,) = [event for event in done.epochs if event["step"] == snapshot.step]
    assert require_true_card(made).scored.after == best["scores"]


def test_r_drop_is_added_to_the_loss(build: Build) -> None:
    """By its weight alone: with next to none, copies of the texts leave the loss as it is."""
    losses = []
    for weight in (1e-9, 0.0, 1e5):
        options = (f"training.r_drop={weight}", "model.dropout=0.1", "training.max_steps=1")
        _, events = run(build(*options, f"output.name=weight-{weight}"))
        (first,) = [event.loss for event in events if isinstance(event, Stepped)]
        losses.append(first)
    nothing, without, much = losses
    assert nothing == pytest.approx(without, rel=0.05)
    assert much > 1.2 * nothing


def notes(events: list[Event]) -> list[str]:
    return [event.text for event in events if isinstance(event, Noted)]


def test_it_learns_is_delivered_and_says_the_same(build: Build, tmp_path: Path) -> None:
    done, events = run(build())

    assert done.split == "test"
    assert done.after["accuracy"] == 100 > done.before["accuracy"]
    assert list(done.after) == ["loss", "accuracy", "f1", "macro_f1", "micro_f1", "mcc"]
    names = {path.name for path in done.folder.iterdir()}
    assert names == {
        "recipe.yaml", "manifest.json", "metrics.jsonl", "predictions.jsonl", "labels.csv",
        "confusion.png", "curves.png", "checkpoints", "model", "vocabulary",
    }  # fmt: skip
    rows = [json.loads(line) for line in (done.folder / "predictions.jsonl").open()]
    assert {row["label"] for row in rows} == {"bad", "good"}
    assert all(row["after"]["label"] == row["label"] for row in rows)
    assert all(row["before"]["probabilities"].keys() == {"bad", "good"} for row in rows)
    model = attuner.load(done.folder)
    assert isinstance(model, attuner.Classifier)
    said = model.classify([row["text"] for row in rows])
    assert [one.label for one in said] == [row["label"] for row in rows]
    with (done.folder / "labels.csv").open() as file:
        assert [row["name"] for row in csv.DictReader(file)] == ["bad", "good"]
    assert (done.folder / "confusion.png").read_bytes().startswith(b"\x89PNG")
    (changed,) = [event for event in events if isinstance(event, Relabelled)]
    assert changed.num_examples == len(rows)
    assert changed.num_better == changed.num_changed == sum(
        row["before"]["label"] != row["label"] for row in rows
    )  # fmt: skip
    delivered = events[-1]
    assert isinstance(delivered, Delivered)
    low, high = delivered.intervals["after"]["accuracy"]
    assert low == high == 100
    assert delivered.usage["in a shell"] == f'attuner classify {done.model_folder} "A text."'
    assert not delivered.last
    assert any(note.startswith("The head that gives the labels is new: ") for note in notes(events))
    assert "scikit-learn" in json.loads((done.folder / "manifest.json").read_text())["versions"]
    found = attuner.evaluate(done.folder, str(tmp_path / "reviews.csv"))
    assert found.scores["accuracy"] > 90
    assert found.counts["scored"] == {"examples": 48}


def test_texts_may_hold_what_unicode_calls_the_end_of_a_line(build: Build, tmp_path: Path) -> None:
    data = tmp_path / "reviews.csv"
    recipe = build("training.epochs=1")
    data.write_text(data.read_text().replace(" ", " \u2028 \x85 "))
    done, _ = run(recipe)

    texts = [row["text"] for row in read_lines(done.folder / "predictions.jsonl")]
    assert len(texts) == 10
    assert all("\u2028 \x85" in text for text in texts)


def test_an_interrupted_run_ends_as_an_uninterrupted_one(build: Build, tmp_path: Path) -> None:
    settings = (
        "model.dropout=0.2", "training.epochs=3", "training.early_stopping=null",
        "training.layer_decay=0.8",
    )  # fmt: skip
    whole, _ = run(build(*settings, "output.name=whole"))

    class PulledTheCable(BaseException):
        pass

    def pull(event: Event) -> None:
        if isinstance(event, Saved) and event.step == 4:
            raise PulledTheCable

    with pytest.raises(PulledTheCable):
        train(build(*settings, "output.name=cut", "training.save=steps",
                    "training.save_every_steps=2"), listeners=[pull])  # fmt: skip
    cut = resume(tmp_path / "runs/cut")

    from safetensors.numpy import load_file

    ours, theirs = (load_file(r.model_folder / "model.safetensors") for r in (cut, whole))
    assert ours.keys() == theirs.keys()
    for name, weight in theirs.items():
        np.testing.assert_array_equal(ours[name], weight, err_msg=name)
    assert cut.after == whole.after


def test_with_validation_alone_the_last_evaluation_stands_beside_the_best(build: Build) -> None:
    done, events = run(build("data.split.test=0", "training.epochs=4"))

    assert done.split == "validation"
    delivered = events[-1]
    assert isinstance(delivered, Delivered)
    last = [e for e in events if isinstance(e, Evaluated) and e.when == "epoch"][-1]
    assert delivered.last == done.last == last.scores
    assert not last.intervals


@pytest.mark.parametrize(
    ("kind", "label", "metric"), [("multi", "tags", "micro_f1"), ("rating", "stars", "mae")]
)
def test_other_kinds_of_labels(build: Build, kind: str, label: str, metric: str) -> None:
    recipe = build(f"task.kind={kind}", f"task.label={label}", "training.epochs=40",
                   "training.early_stopping=null")  # fmt: skip
    assert recipe.best_metric == metric
    done, events = run(recipe)

    model = attuner.load(done.folder)
    (said,) = model.classify(["good film blue"])
    if kind == "multi":
        assert done.after["micro_f1"] > done.before["micro_f1"]
        assert model.labels.names == ("bad", "blue", "good", "red")
        assert any(note.startswith("A label is given from a probability of ") for note in
                   notes(events))  # fmt: skip
        assert 0 < model.threshold < 1
        assert "good" in said.label
    else:
        assert done.after["mae"] < done.before["mae"]
        assert said.label == pytest.approx(5, abs=1.5)
    assert (done.folder / "labels.csv").exists() == (kind == "multi")


@pytest.mark.parametrize(
    "option",
    [
        "model.adapter={kind: lora, rank: 4}",
        "model.freeze=[embeddings]",
        "model.freeze=[encoder]",
        "training.ema={decay: 0.5}",
        "training.average_checkpoints=2",
        "training.gradient_checkpointing=true",
        "training.label_smoothing=0.1",
        "training.layer_decay=0.9",
        "task.class_weights=balanced",
        "training.batch_tokens=64",
    ],
)
def test_options_work_for_classifiers(build: Build, option: str) -> None:
    extra = ["training.batch_examples=null"] if "batch_tokens" in option else []
    rate = "training.learning_rate=0.02" if "adapter" in option else "training.warmup_steps=0.2"
    done, _ = run(build(option, *extra, rate, "training.epochs=8", "training.best_metric=loss"))

    assert done.after["loss"] < done.before["loss"]
    assert attuner.predict(done.folder, ["good film"])[0] in ("bad", "good")


def test_frozen_layers_and_adapters_leave_the_head_to_learn(build: Build, encoder: Path) -> None:
    from safetensors.numpy import load_file

    done, events = run(build("model.freeze=[embeddings, encoder]", "training.epochs=2"))
    before = load_file(encoder / "model.safetensors")
    after = load_file(done.model_folder / "model.safetensors")
    moved = {n for n, w in before.items() if not np.array_equal(after[f"bert.{n}"], w)}
    assert moved == {"pooler.dense.bias", "pooler.dense.weight"}
    assert any(note.startswith("Frozen: embeddings, encoder. Trained: ") for note in notes(events))


def test_unknown_labels_in_validation_are_refused_or_counted(build: Build, tmp_path: Path) -> None:
    held_out = tmp_path / "held.csv"
    held_out.write_text("review,mood\na red film,good\na blue film,strange\n")
    with pytest.raises(DataError) as caught:
        run(build(f"data.validation={held_out}", "data.split.test=0"))
    assert str(caught.value) == (
        "Unknown labels in validation: `strange` 1.\n"
        "Known are: bad, good.\n"
        "Nothing can be learned of a label without training examples: mend it, name all labels in "
        "task.labels, or set data.bad_entries=skip to leave such examples out, counted."
    )
    done, _ = run(build(f"data.validation={held_out}", "data.split.test=0",
                        "data.bad_entries=skip", "training.epochs=1"))  # fmt: skip
    assert done.counts["skipped"] == {"label not in training": 1}
    assert done.counts["split"]["validation"] == 1


def test_data_with_one_label_are_refused(build: Build, tmp_path: Path) -> None:
    data = tmp_path / "one.csv"
    data.write_text("review,mood\n" + "".join(f"film {word},good\n" for word in WORDS[:12]))
    with pytest.raises(DataError) as caught:
        run(build(f"data.train={data}"))
    assert caught.value.happened == "All 6 training examples have the label `good`."


def test_f1_of_two_labels_is_no_choice_among_three(build: Build, tmp_path: Path) -> None:
    data = tmp_path / "three.csv"
    data.write_text(
        "review,mood\n" + "".join(f"{w},{'abc'[i % 3]}\n" for i, w in enumerate(WORDS[:12]))
    )
    with pytest.raises(UserError) as caught:
        run(build(f"data.train={data}", "training.best_metric=f1", "data.split.test=0"))
    assert str(caught.value) == (
        "training.best_metric is f1, and there are 3 labels.\n"
        "f1 is that of the second of two labels.\n"
        "Set training.best_metric=macro_f1, or accuracy."
    )


def test_long_texts_are_cut_and_the_model_limits_them(build: Build) -> None:
    _, events = run(build("training.epochs=1"))
    assert notes(events)[0] == (
        "The model takes at most 64 tokens, less than data.max_source_tokens=128: that is the "
        "limit."
    )
    done, events = run(build("training.epochs=1", "data.max_source_tokens=6", "output.name=cut"))
    assert done.counts["cut"]["train"] > 0
    assert any(note.startswith("Texts cut (at 6 tokens): train ") for note in notes(events))
    assert attuner.load(done.folder).max_tokens == 6


def test_warm_up_is_a_share_of_the_updates(build: Build) -> None:
    recipe = build("training.warmup_steps=0.5", "training.epochs=2", "training.evaluate=none")
    done, events = run(recipe)
    steps = [json.loads(line) for line in (done.folder / "metrics.jsonl").open()]
    rates = [line["learning_rate"] for line in steps if line["event"] == "stepped"]
    (planned,) = [event for event in events if isinstance(event, Planned)]
    assert len(rates) == planned.num_steps
    assert rates.index(max(rates)) == planned.num_steps // 2
    assert planned.unit == "tokens"


def test_the_defaults_are_those_of_classification(build: Any, encoder: Path) -> None:
    recipe = load_recipe(None, ["task=classification", f"model={encoder}", "data=a.csv"])
    training = recipe.training
    assert (training.epochs, training.batch_examples) == (20, 16)
    assert (training.learning_rate, training.warmup_steps) == (2e-5, 0.1)
    assert training.early_stopping is not None
    assert training.early_stopping.patience == 5
    other = load_recipe(
        None,
        ["task=classification", f"model={encoder}", "data=a.csv", "training.batch_tokens=9",
         "training.evaluate=none", "training.epochs=3"],
    ).training  # fmt: skip
    assert (other.epochs, other.batch_examples, other.early_stopping) == (3, None, None)


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (["data.mix.sources=x.csv", "generation.num_beams=2"],
         "task: classification has no use of data.mix, generation."),
        (["data.train[0].target_path=x", "data.temperature=2"],
         "task: classification has no use of data.temperature, target_path."),
        (["model.adapter={save: separate}"],
         "task: classification has no use of model.adapter.save=separate."),
        (["task.kind=multi", "training.label_smoothing=0.1"],
         "training.label_smoothing goes with kind: single."),
        (["training.best_metric=bleu"],
         "training.best_metric is bleu, which is not scored. Expected: one of loss, accuracy, f1, "
         "macro_f1, micro_f1, mcc."),
    ],
)  # fmt: skip
def test_options_without_use_are_refused(build: Build, options: list[str], fault: str) -> None:
    with pytest.raises(UserError) as caught:
        build(*options)
    assert fault in str(caught.value)


def test_layer_decay_is_of_classification() -> None:
    task = "task={name: translation, source: en, target: fr}"
    with pytest.raises(UserError) as caught:
        load_recipe(None, [task, "model=m", "data=a.po", "training.layer_decay=0.9"])
    assert "training.layer_decay goes with task: classification." in str(caught.value)


def test_recipe_and_metrics_name_the_same() -> None:
    from attuner.evaluation.label_metrics import METRICS
    from attuner.options.task import LABEL_METRICS

    assert {kind: set(names) for kind, names in LABEL_METRICS.items()} == {
        kind: set(metrics) for kind, metrics in METRICS.items()
    }


def test_seeds_give_mean_and_spread_and_the_best_is_delivered(build: Build) -> None:
    recipe = build("training.seeds=3", "training.epochs=2", "training.learning_rate=1e-3")
    done, events = run(recipe)

    (compared,) = [event for event in events if isinstance(event, SeedsCompared)]
    assert compared.seeds == (42, 43, 44)
    rows = [json.loads(line) for line in (done.folder / "seeds.jsonl").open()]
    tests = [row["after"]["accuracy"] for row in rows]
    spread = compared.spreads["test"]
    assert spread.mean["accuracy"] == pytest.approx(np.mean(tests))
    assert spread.deviation["accuracy"] == pytest.approx(np.std(tests, ddof=1))
    assert {"validation, best epoch", "validation, last epoch"} < set(compared.spreads)
    bests = [max(e["scores"]["accuracy"] for e in row["epochs"][1:]) for row in rows]
    assert compared.best == 42 + bests.index(max(bests))
    model = f"seed-{compared.best}/model/model.safetensors"
    assert (done.model_folder / "model.safetensors").read_bytes() == (
        done.folder / model
    ).read_bytes()
    assert [type(event) for event in events].count(Delivered) == 1
    assert done.spreads["test"]["mean"] == spread.mean
    assert not (done.folder / "seed-42/checkpoints").exists()
    assert attuner.load(done.folder).classify(["good"])


def test_interrupted_seeds_are_gone_on_with(build: Build, tmp_path: Path) -> None:
    settings = ("training.seeds=2", "training.epochs=2", "training.early_stopping=null")
    whole, _ = run(build(*settings, "output.name=whole"))

    class PulledTheCable(BaseException):
        pass

    saved = 0

    def pull(event: Event) -> None:
        nonlocal saved
        saved += isinstance(event, Saved)
        if saved == 3:  # the second seed's first epoch
            raise PulledTheCable

    with pytest.raises(PulledTheCable):
        train(build(*settings, "output.name=cut"), listeners=[pull])
    cut = resume(tmp_path / "runs/cut")

    assert cut.spreads == whole.spreads
    ours, theirs = (r.model_folder / "model.safetensors" for r in (cut, whole))
    assert ours.read_bytes() == theirs.read_bytes()


def test_stopped_seeds_are_gone_on_with_as_one_run_by_one_recipe(
    build: Build, tmp_path: Path
) -> None:
    settings = ("training.seeds=2", "training.epochs=2", "output.name=cut")

    def interrupt(event: Event) -> None:
        if isinstance(event, Saved):
            os.kill(os.getpid(), signal.SIGINT)

    folder = tmp_path / "runs/cut"
    with pytest.raises(StoppedError) as stopped:
        train(build(*settings), listeners=[interrupt])
    assert str(stopped.value).splitlines()[1:] == [f"Go on with: attuner train --resume {folder}"]
    with pytest.raises(RunError) as refused:
        resume(folder, build(*settings, "training.learning_rate=0.1"))
    assert str(refused.value) == (
        f"{folder} trains several seeds by a recipe that differs in training.learning_rate.\n"
        "All seeds of a run have one recipe.\n"
        "Resume it without changes, or start a new run: output.name=..."
    )


@pytest.mark.parametrize("name", ["classification", "chapter-mrpc", "chapter-reviews"])
def test_ready_recipes_train(
    name: str, encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a tiny model, and where they name the Hub on a stand-in for its data sets."""
    import datasets

    asked = []

    def load(path: str, config: str | None, *, split: str, revision: str | None) -> Any:
        asked.append((path, config, split))
        random = np.random.default_rng(len(asked))
        names = ["not_equivalent", "equivalent"] if config else [f"{n} star" for n in range(1, 6)]
        columns = ["sentence1", "sentence2"] if config else ["text"]
        rows = [
            {"label": row % len(names), "idx": row}
            | {column: " ".join(random.choice(WORDS, 5)) for column in columns}
            for row in range(20)
        ]
        texts = {column: datasets.Value("string") for column in columns}
        label = {"label": datasets.ClassLabel(names=names), "idx": datasets.Value("int32")}
        return datasets.Dataset.from_list(rows, features=datasets.Features(texts | label))

    monkeypatch.setattr(datasets, "load_dataset", load)
    monkeypatch.chdir(tmp_path)
    given = [f"data={reviews(tmp_path / 'a.csv')}", "task.text=review", "task.label=mood"]
    recipe = load_recipe(
        ready_recipe(name),
        [f"model={encoder}", "training.epochs=1", f"output.folder={tmp_path}/runs",
         *(given if name == "classification" else [])],
    )  # fmt: skip
    done, _ = run(recipe)

    labels = attuner.load(done.folder).labels.names
    if name == "chapter-mrpc":
        assert set(asked) == {("nyu-mll/glue", "mrpc", s) for s in ("train", "validation")}
        assert labels == ("not_equivalent", "equivalent")
        assert done.split == "validation"
        assert "f1" in done.after
    elif name == "chapter-reviews":
        assert set(asked) == {("Yelp/yelp_review_full", None, s) for s in ("train", "test")}
        assert labels == tuple(f"{number} star" for number in range(1, 6))
    else:
        assert labels == ("bad", "good")
        assert recipe.training == load_recipe(
            None, ["task=classification", "model=m", "data=a.csv", "training.epochs=1",
                   "training.best_metric=accuracy"]).training  # fmt: skip


def test_the_chapters_recipe_has_the_chapters_settings() -> None:
    training = load_recipe(ready_recipe("chapter-mrpc")).training
    assert (training.learning_rate, training.batch_examples, training.epochs) == (5e-5, 8, 3)
    assert (training.schedule, training.warmup_steps) == ("linear", 0)
    assert training.early_stopping is None


def test_the_loss_of_a_label_with_a_large_weight_is_no_explosion(build: Build) -> None:
    _, events = run(
        build(
            "task.class_weights={bad: 0.01, good: 1000}",
            "training.batch_examples=1",
            "training.epochs=1",
        )
    )
    losses = [event.loss for event in events if isinstance(event, Stepped)]
    assert max(losses) > 100 > 10 * min(losses)


def test_the_error_of_large_ratings_is_no_explosion(build: Build, tmp_path: Path) -> None:
    data = tmp_path / "years.csv"
    rows = [f"{word} film,{1900 + 80 * (row % 2)}\n" for row, word in enumerate(WORDS[:12])]
    data.write_text(f"review,mood\n{''.join(rows)}")
    done, events = run(
        build(f"data.train={data}", "task.kind=rating", "training.epochs=1", "data.split.test=0")
    )
    assert done.before["loss"] > 1000
    assert any(isinstance(event, Saved) for event in events)
