from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lessons import LESSONS, Tune

from attuner.errors import DataError, ModelError, RunError
from attuner.recipe import Recipe
from attuner.recipe_loading import dump_recipe, load_recipe
from attuner.training.events import Compared, Delivered, Evaluated, Event, Noted, Planned, Saved
from attuner.training.run import resume, train


def weights(folder: Path) -> dict[str, Any]:
    from safetensors.numpy import load_file

    return load_file(folder / "model.safetensors")


def test_it_overfits_eight_examples_and_predicts_the_same_when_reloaded(
    tune: Tune, cache: Path
) -> None:
    from attuner.inference.translator import load

    run, events = tune("training.epochs=100", "training.precision=fp32", "training.evaluate=none")
    assert run.after["bleu"] > 99
    assert run.before["bleu"] < 60
    assert run.after["loss"] < run.before["loss"]
    translator = load(str(run.folder))
    assert translator.translate(list(LESSONS)) == list(LESSONS.values())
    compared = next(event for event in events if isinstance(event, Compared))
    assert compared.num_examples == 8
    assert compared.num_nearer == compared.num_changed
    assert compared.rows[0].after == compared.rows[0].reference


def test_the_delivered_folder_is_read_by_transformers(
    tune: Tune,
) -> None:
    import torch
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    run, _ = tune("training.epochs=100", "training.precision=fp32", "training.evaluate=none")
    model = AutoModelForSeq2SeqLM.from_pretrained(run.model_folder)
    tokenizer = AutoTokenizer.from_pretrained(run.model_folder)
    batch = tokenizer(["Open all windows"], return_tensors="pt")
    with torch.no_grad():
        (ids,) = model.generate(**batch, num_beams=1, max_new_tokens=30)

    assert tokenizer.decode(ids, skip_special_tokens=True) == "Ouvre toutes les fenêtres"


def test_the_run_folder_holds_what_it_should(tune: Tune, lessons: Path) -> None:
    run, events = tune()

    names = {path.name for path in run.folder.iterdir()}
    assert names == {
        "recipe.yaml", "manifest.json", "metrics.jsonl", "translations.jsonl", "curves.png",
        "checkpoints", "model",
    }  # fmt: skip
    manifest = json.loads((run.folder / "manifest.json").read_text())
    assert set(manifest["data"]) == {str(lessons)}
    assert (manifest["machine"]["device"], manifest["hub_data"]) == ("cpu", [])
    assert manifest["machine"]["precision"] in ("fp32", "bf16")
    assert manifest["seeds"] == {"training": 42, "split": 20}
    assert {"torch", "ctranslate2", "attuner", "python"} <= set(manifest["versions"])
    lines = [json.loads(line) for line in (run.folder / "metrics.jsonl").open()]
    kinds = [line["event"] for line in lines]
    assert kinds.count("stepped") == 9  # nine lines in updates of 4, 4 and 1, three epochs
    assert kinds.count("evaluated") == 1 + 3 + 1  # before, each epoch, after
    assert kinds[-1] == "delivered"
    assert load_recipe(run.folder / "recipe.yaml").training.epochs == 3
    rows = [json.loads(line) for line in (run.folder / "translations.jsonl").open()]
    assert [row["source"] for row in rows] == list(LESSONS)
    assert all(isinstance(row["before"], str) and isinstance(row["after"], str) for row in rows)
    assert (run.folder / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert not list(run.folder.rglob("*.bin")), "nothing is pickled"
    assert isinstance(events[-1], Delivered)


def test_the_delivered_scores_are_those_of_the_delivered_weights(
    tune: Tune, lessons: Path, cache: Path
) -> None:
    from attuner.evaluation.on_data import evaluate_data

    # A rate that first helps and then harms: the last weights are not the best.
    run, events = tune(
        "training.epochs=20", "training.learning_rate=0.05", "training.schedule=constant"
    )
    best = max(
        (event for event in events if isinstance(event, Evaluated) and event.when == "epoch"),
        key=lambda event: event.scores["chrf"],
    )
    delivered = next(event for event in events if isinstance(event, Saved) and event.is_best)

    assert delivered.step <= best.step
    assert run.after["chrf"] == pytest.approx(best.scores["chrf"], abs=1e-6)
    again = evaluate_data(str(run.model_folder), str(lessons), num_beams=1, max_new_tokens=40)
    assert again.scores["chrf"] == pytest.approx(run.after["chrf"], abs=1e-6)


def test_an_interrupted_run_ends_as_an_uninterrupted_one(tune: Tune, tmp_path: Path) -> None:
    whole, _ = tune("model.dropout=0.2", "output.name=whole", "training.precision=fp32")

    class PulledTheCable(BaseException):
        pass

    def pull(event: Event) -> None:
        if isinstance(event, Saved) and event.step == 6:
            raise PulledTheCable

    recipe = load_recipe(whole.folder / "recipe.yaml", ["output.name=cut"])
    with pytest.raises(PulledTheCable):
        train(recipe, listeners=[pull])
    events: list[Event] = []
    run = resume(tmp_path / "runs/cut", listeners=[events.append])

    assert next(e for e in events if isinstance(e, Planned)).first_step == 6
    expected, found = weights(whole.model_folder), weights(run.model_folder)
    assert all((expected[name] == found[name]).all() for name in expected)
    assert run.before == whole.before
    assert run.after == whole.after

    def scores(folder: Path) -> list[Any]:
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").open()]
        return [
            (line["event"], line["step"], line.get("scores"), line.get("loss"))
            for line in lines
            if line["event"] in ("stepped", "evaluated")
        ]

    assert scores(run.folder) == scores(whole.folder)


def test_a_processor_without_fp16_says_what_it_uses_instead(
    tune: Tune, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("attuner.models.precision.has_fast_bf16", lambda: False)
    _, events = tune("training.precision=fp16", "training.device=cpu")

    notes = [event.text for event in events if isinstance(event, Noted)]
    assert "fp16 is for accelerators; on this processor fp32 is used." in notes


def test_training_from_scratch_needs_no_checkpoint(
    marian: Path, lessons: Path, tmp_path: Path
) -> None:
    size = len(json.loads((marian / "vocab.json").read_text()))
    config = json.loads((marian / "config.json").read_text())
    ids = {name: config[name] for name in ("pad_token_id", "eos_token_id")}
    recipe = tmp_path / "scratch.yaml"
    recipe.write_text(
        f"""
task: {{name: translation, source: en, target: fr}}
model:
  tokenizer: {marian}
  config: {{model_type: marian, vocab_size: {size}, d_model: 16, encoder_layers: 1,
    decoder_layers: 1, encoder_attention_heads: 2, decoder_attention_heads: 2,
    encoder_ffn_dim: 16, decoder_ffn_dim: 16, pad_token_id: {ids["pad_token_id"]},
    eos_token_id: {ids["eos_token_id"]}, decoder_start_token_id: {ids["pad_token_id"]}}}
data: {{train: {lessons}, validation: {lessons}, split: {{by: random}}}}
training: {{epochs: 2, learning_rate: 0.01, batch_examples: 8, best_metric: loss}}
generation: {{num_beams: 1, max_new_tokens: 10}}
output: {{folder: {tmp_path}/runs}}
"""
    )
    run = train(load_recipe(recipe))

    assert run.after["loss"] < run.before["loss"]


def test_a_taken_run_folder_is_not_overwritten(tune: Tune, tmp_path: Path) -> None:
    taken = tmp_path / "runs/test"
    taken.mkdir(parents=True)
    (taken / "precious").write_text("mine")
    with pytest.raises(RunError) as caught:
        tune()

    assert str(caught.value) == (
        f"{taken} exists already.\n"
        "A run needs a folder of its own; nothing is overwritten.\n"
        "Choose another name with output.name=..."
    )
    assert (taken / "precious").read_text() == "mine"


def test_a_full_disk_is_found_before_training(
    tune: Tune, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr("attuner.training.disk.shutil.disk_usage", lambda _: usage)
    with pytest.raises(RunError) as caught:
        tune()

    assert str(caught.value) == (
        f"{tmp_path}/runs/test: 0.001 MB are free, the run needs about 1.86 MB.\n"
        "A checkpoint takes three times the model in fp32; the latest ones and the best are "
        "kept.\n"
        "Make room, keep fewer (training.keep_checkpoints=1), or choose another place "
        "(output.folder=...)."
    )
    assert not (tmp_path / "runs/test").exists()


def test_a_run_folder_that_cannot_be_made_says_why(tune: Tune, tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(RunError) as caught:
        tune()

    assert str(caught.value) == (
        f"{tmp_path}/runs/test cannot be made: Not a directory.\n"
        "Expected a folder that you may write to.\n"
        "Choose another place with output.folder=..."
    )


def test_a_run_that_fails_early_leaves_no_folder(tune: Tune, tmp_path: Path) -> None:
    with pytest.raises(DataError):
        tune("data.train=nowhere.po", "data.validation=nowhere.po")

    assert not (tmp_path / "runs/test").exists()


def test_a_checkpoint_without_tokenizer_is_refused(
    tune: Tune, marian: Path, tmp_path: Path
) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.copy(marian / name, bare)
    with pytest.raises(ModelError, match="tokenizer"):
        tune(f"model={bare}")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda folder: None,
            "{0} is no run folder: it has no recipe.yaml.\n"
            "Expected a folder that `attuner train` wrote, such as runs/NAME.",
        ),
        (
            lambda folder: (folder / "model").mkdir(),
            "{0} holds a model, but no checkpoint.\n"
            "A run can be resumed from its first checkpoint on.\n"
            "Start a new run: attuner train {0}/recipe.yaml output.name=...",
        ),
    ],
)
def test_what_cannot_be_resumed(
    lesson_recipe: Callable[..., Recipe],
    tmp_path: Path,
    make: Callable[[Path], None],
    message: str,
) -> None:
    make(tmp_path)
    if (tmp_path / "model").exists():
        (tmp_path / "recipe.yaml").write_text(dump_recipe(lesson_recipe()), encoding="utf-8")
    with pytest.raises(RunError) as caught:
        resume(tmp_path)

    assert str(caught.value) == message.format(tmp_path)
