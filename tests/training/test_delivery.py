"""What is delivered is what was scored: with adapters, frozen parts, and means of weights."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lessons import Tune
from safetensors.torch import load_file
from tiny import tiny_model

import attuner
from attuner.data.line_pairs import training_pairs
from attuner.errors import ModelError, RecipeError, RunError
from attuner.evaluation.evaluate import evaluate
from attuner.models.codec import load_codec
from attuner.models.loading import load_seq2seq
from attuner.recipe import Recipe
from attuner.tasks.translation import TranslationTask, encode
from attuner.training.averaging import Ema, in_use
from attuner.training.data import prepare_data
from attuner.training.events import Event, Noted, Planned
from attuner.training.run import Run, resume, train
from attuner.training.scoring import token_loss

Build = Callable[..., Recipe]
ADAPTER = ("model.adapter=lora", "model.adapter.rank=4", "training.learning_rate=0.02")
FP32 = "training.precision=fp32"


def scored(run: Run, when: str) -> list[dict[str, Any]]:
    lines = (run.folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    events = [json.loads(line) for line in lines]
    return [event for event in events if event["event"] == "evaluated" and event["when"] == when]


def notes(events: list[Event]) -> list[str]:
    return [event.text for event in events if isinstance(event, Noted)]


def scores_of(folder: Path, recipe: Recipe) -> dict[str, float]:
    """Scores of a model folder on the lessons, found without any of the run's objects."""
    examples = prepare_data(recipe).validation
    model, codec = load_seq2seq(folder), load_codec(Path(recipe.model.checkpoint or ""))
    task = TranslationTask(model)
    features = encode(list(training_pairs(examples)), codec).features
    with task.prepared(model):
        loss = token_loss(model, task, features, torch.device("cpu"))
    found = evaluate(attuner.load(folder), examples, num_beams=1, max_new_tokens=40)
    return {"loss": loss, **found.scores}


def weights(folder: Path, name: str = "model.safetensors") -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = load_file(folder / name)
    return found


@pytest.mark.parametrize(
    "options",
    [
        pytest.param((*ADAPTER,), id="merged"),
        pytest.param((*ADAPTER, "model.adapter.save=separate"), id="separate"),
        pytest.param((*ADAPTER, "training.ema.decay=0.5"), id="adapter-ema"),
        pytest.param(("training.ema.decay=0.5",), id="ema"),
        pytest.param(("training.average_checkpoints=2", "training.learning_rate=0.02"), id="mean"),
    ],
)
def test_the_scores_of_a_run_are_those_of_the_folder_that_it_delivers(
    tune: Tune, lesson_recipe: Build, options: tuple[str, ...]
) -> None:
    run, _ = tune(*options, FP32, "training.best_metric=loss")
    (after,) = scored(run, "after")
    found = scores_of(run.model_folder, lesson_recipe())

    assert after["scores"] == pytest.approx(found, rel=1e-5)
    assert found["loss"] < run.before["loss"]
    while_training = scored(run, "epoch") + scored(run, "mean")
    best = min(event["scores"]["loss"] for event in while_training)
    assert found["loss"] == pytest.approx(best, rel=1e-5)


def test_an_adapter_trains_and_keeps_its_own_weights_only(tune: Tune, marian: Path) -> None:
    run, events = tune(*ADAPTER)
    stored = weights(run.folder / "checkpoints/step-000006")
    planned = next(event for event in events if isinstance(event, Planned))

    assert [name for name in stored if "lora_" not in name] == ["final_logits_bias"]
    assert planned.num_trained == sum(t.numel() for n, t in stored.items() if "lora_" in n)
    assert any(
        note.startswith("Adapter (lora) on q_proj, k_proj, v_proj, out_proj, fc1, fc2. Trained: ")
        for note in notes(events)
    )
    before, after = weights(marian), weights(run.model_folder)
    assert before.keys() == after.keys()
    assert torch.equal(before["model.shared.weight"], after["model.shared.weight"])


def test_an_adapter_folder_is_evaluated_and_tuned_further(
    tune: Tune, lesson_recipe: Build, lessons: Path
) -> None:
    run, _ = tune(*ADAPTER, "model.adapter.save=separate", FP32)
    assert not (run.model_folder / "model.safetensors").exists()
    evaluated = attuner.evaluate(run.folder, lessons, num_beams=1, max_new_tokens=40)
    assert evaluated.scores["chrf"] == pytest.approx(run.after["chrf"])
    source = f"model={run.folder}"
    again = train(lesson_recipe(source, "output.name=again", "training.epochs=1", FP32))

    assert again.before == pytest.approx(run.after, rel=1e-5)
    assert (again.model_folder / "model.safetensors").exists()
    with pytest.raises(ModelError) as caught:
        train(lesson_recipe(source, *ADAPTER, "model.adapter.save=separate", "output.name=third"))
    assert str(caught.value) == (
        f"{run.model_folder} is itself an adapter: another one on top of it cannot be kept apart.\n"
        "An adapter that is delivered alone is found with a whole model as its base.\n"
        "Set model.adapter.save=merged, or start from the model that it is for."
    )


def test_frozen_parts_stay_as_they_were(tune: Tune, marian: Path) -> None:
    run, events = tune("model.freeze=[embeddings, encoder]")
    before, after = weights(marian), weights(run.model_folder)
    changed = {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}

    assert changed
    assert all(name.startswith("model.decoder.layers") for name in changed)
    model = load_seq2seq(marian)
    total = sum(p.numel() for p in model.parameters())
    trained = sum(p.numel() for n, p in model.named_parameters() if "decoder.layers" in n)
    trained += 64 * 32  # positions of the decoder, which no gradient reaches
    assert (
        "Frozen: embeddings, encoder, and the output layer, which shares the embeddings' weights. "
        f"Trained: {trained:,} of {total:,} parameters ({trained / total:.1%})." in notes(events)
    )


@pytest.mark.parametrize(
    "options",
    [
        pytest.param((*ADAPTER, "model.adapter.dropout=0.1"), id="adapter"),
        pytest.param(("model.adapter=ia3",), id="ia3"),
        pytest.param(("training.ema.decay=0.9",), id="ema"),
        pytest.param(("training.average_checkpoints=2",), id="mean"),
        pytest.param(("model.dropout=0.2", "training.r_drop=1"), id="r_drop"),
        pytest.param(
            ("model.dropout=0.2", "training.gradient_checkpointing=true"), id="recomputed"
        ),
    ],
)
def test_a_resumed_run_ends_as_an_uninterrupted_one(tune: Tune, options: tuple[str, ...]) -> None:
    whole, _ = tune(*options, "training.epochs=2", "output.name=whole")
    cut, _ = tune(*options, "training.epochs=2", "output.name=cut")
    for path in ("checkpoints/step-000006", "model"):
        shutil.rmtree(cut.folder / path)
    again = resume(cut.folder)

    assert again.after == whole.after
    last = "checkpoints/step-000006"
    for path in (whole.folder / last).glob("*.safetensors"):
        for name, tensor in weights(path.parent, path.name).items():
            assert torch.equal(weights(again.folder / last, path.name)[name], tensor), name
    for name, tensor in weights(whole.model_folder).items():
        assert torch.equal(weights(again.model_folder)[name], tensor), name


def test_a_run_is_not_resumed_from_another_model(
    tune: Tune, marian: Path, moved_marian: Path, tmp_path: Path
) -> None:
    own = Path(shutil.copytree(marian, tmp_path / "own"))
    run, _ = tune(*ADAPTER, f"model={own}", "training.epochs=1")
    shutil.copy(moved_marian / "model.safetensors", own)
    with pytest.raises(RunError) as caught:
        resume(run.folder)

    assert str(caught.value) == (
        f"The weights in {own} have changed since the run began.\n"
        "A run goes on with the very model that it began with: their SHA-256 is in "
        f"{run.folder}/manifest.json.\n"
        "Put them back as they were, or start a new run: "
        f"attuner train {run.folder}/recipe.yaml output.name=..."
    )


def test_the_mean_is_delivered_only_where_it_is_better(tune: Tune) -> None:
    run, events = tune(
        "training.average_checkpoints=3", "training.learning_rate=0.001",
        "training.schedule=constant", "training.best_metric=loss",
    )  # fmt: skip
    (mean,) = scored(run, "mean")
    best = min(event["scores"]["loss"] for event in scored(run, "epoch"))

    assert mean["scores"]["loss"] > best  # it still fell at the end
    assert not mean["is_best"]
    assert (
        "Not delivered is the mean of the last checkpoints (steps 3, 6, 9): validation loss "
        f"{mean['scores']['loss']:.4f}, against {best:.4f} of the best step." in notes(events)
    )
    last = weights(run.folder / "checkpoints/step-000009")
    delivered = weights(run.model_folder)
    assert all(torch.equal(tensor, last[name]) for name, tensor in delivered.items())


def test_the_mean_is_that_of_the_checkpoints(tune: Tune) -> None:
    run, events = tune("training.average_checkpoints=2", "training.evaluate=none")
    two = [weights(run.folder / f"checkpoints/step-00000{step}") for step in (6, 9)]

    for name, tensor in weights(run.model_folder).items():
        torch.testing.assert_close(tensor, (two[0][name] + two[1][name]) / 2)
    assert (
        "Delivered is the mean of the last checkpoints (steps 6, 9); nothing was validated that "
        "it could be compared with." in notes(events)
    )


def test_the_running_mean_follows_the_weights() -> None:
    model = tiny_model()
    parameter = model.model.encoder.layers[0].fc1.weight
    ema = Ema(model, 0.75)
    name = "model.encoder.layers.0.fc1.weight"
    expected, own = parameter.detach().clone(), None
    for step in range(1, 41):
        with torch.no_grad():
            parameter.add_(1.0)
        ema.update(step)
        decay = min(0.75, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * parameter.detach()
    torch.testing.assert_close(ema.weights[name], expected)
    own = parameter.detach().clone()
    with ema.in_use():
        assert torch.equal(parameter, ema.weights[name])
    with pytest.raises(ZeroDivisionError), in_use(ema.weights, model):
        raise ZeroDivisionError
    assert torch.equal(parameter, own)


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (
            ("model.adapter=lora", "model.freeze=[encoder]"),
            "override model.freeze=[encoder] model: adapter freezes all of the checkpoint: "
            "leave freeze out.",
        ),
        (
            ("model.adapter.kind=ia3", "model.adapter.rank=8"),
            "model.adapter: kind: ia3 has no rank.",
        ),
        (
            ("training.ema.decay=0.9", "training.average_checkpoints=2"),
            "training: give either ema or average_checkpoints: one mean is enough.",
        ),
        (
            ("training.average_checkpoints=5",),
            "training: average_checkpoints: 5 needs as many: set keep_checkpoints: 5.",
        ),
        (
            ("training.batch_examples=null", "training.fixed_shapes=true"),
            "training: fixed_shapes needs batch_examples, such as 32: tokens make any number of "
            "rows.",
        ),
        (
            ("training.r_drop=1", "training.fixed_shapes=true"),
            "training: fixed_shapes does not go with r_drop, which pairs real tokens.",
        ),
        (
            ("model.dropout=0", "training.r_drop=1"),
            "training.r_drop needs dropout, by which two outputs differ: set model.dropout above "
            "0, such as 0.1.",
        ),
    ],
)
def test_options_that_contradict_each_other(
    lesson_recipe: Build, options: tuple[str, ...], fault: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        lesson_recipe(*options)
    assert fault in str(caught.value)


def test_r_drop_wants_dropout_in_the_checkpoint(tune: Tune) -> None:
    with pytest.raises(ModelError, match=r"training\.r_drop: this model has no dropout"):
        tune("training.r_drop=1")
