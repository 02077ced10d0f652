"""Keras trains what transformers' loss trains, scores by generation, saves what others load."""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torch
import transformers
from datasets import Dataset
from lessons import LESSONS
from tiny import tiny_model
from tiny_classifiers import tiny_classifier
from torch.utils.data import DataLoader
from trainers import Padding, pairs
from transformers import AutoModelForSeq2SeqLM, DataCollatorForSeq2Seq, DataCollatorWithPadding

import attuner
import attuner.compat.keras
from attuner.compat.keras import KerasMetricCallback, TaskModel
from attuner.errors import MissingExtraError, UsageError


@pytest.fixture
def policy() -> Iterator[Any]:
    """Sets Keras' number format; as it is by default afterwards."""
    yield keras.mixed_precision.set_global_policy
    keras.config.set_dtype_policy("float32")


def loader(module: Any, data: Dataset | None = None, batch_size: int = 8) -> DataLoader[Any]:
    """Batches of random pairs, in order."""
    collate = DataCollatorForSeq2Seq(Padding(), model=module)
    return DataLoader(data or pairs(), batch_size=batch_size, collate_fn=collate)  # type: ignore[arg-type]


def labelled() -> DataLoader[Any]:
    """Batches of random texts with one of three labels each, in order."""
    data = pairs().remove_columns("labels").add_column("labels", [i % 3 for i in range(24)])
    return DataLoader(data, batch_size=8, collate_fn=DataCollatorWithPadding(Padding(1)))  # type: ignore[arg-type]


def plain_losses(module: Any, batches: Any, *, rate: float, epochs: int) -> list[float]:
    """What torch's own SGD and the model's own loss make of the same batches."""
    optimizer, found = torch.optim.SGD(module.parameters(), lr=rate), []
    for _ in range(epochs):
        sums, targets = 0.0, 0
        for batch in batches:
            loss = module(**batch).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            num = int(batch["labels"].ne(-100).sum())
            sums, targets = sums + loss.item() * num, targets + num
        found.append(sums / targets)
    return found


@pytest.mark.parametrize("family", ["marian", "t5", "m2m_100"])
def test_updates_are_those_of_torch(family: str) -> None:
    model = TaskModel(tiny_model(family))
    model.compile(keras.optimizers.SGD(0.1))
    found = model.fit(loader(model.module), epochs=3, verbose=0).history
    plain = tiny_model(family)
    wanted = plain_losses(plain, loader(plain), rate=0.1, epochs=3)
    assert found["loss"] == pytest.approx(wanted, rel=1e-5)
    assert found["loss"][-1] < found["loss"][0]
    weights = dict(plain.named_parameters())
    for name, weight in model.module.named_parameters():
        torch.testing.assert_close(weight, weights[name], rtol=1e-4, atol=1e-5)


def test_updates_of_classifiers_are_those_of_torch() -> None:
    model = TaskModel(tiny_classifier())
    model.compile(keras.optimizers.SGD(0.1))
    found = model.fit(labelled(), epochs=3, verbose=0).history
    assert found["loss"] == pytest.approx(
        plain_losses(tiny_classifier(), labelled(), rate=0.1, epochs=3), rel=1e-5
    )


def test_vectors_may_be_left_out_of_weight_decay_by_their_shape_alone() -> None:
    """As the page on Keras says; where names are found, the page is to be changed."""

    def train(decay: float, **excluded: Any) -> dict[str, torch.Tensor]:
        model = TaskModel(tiny_model())
        optimizer = keras.optimizers.SGD(0.1, weight_decay=decay)
        if "var_list" in excluded:
            excluded["var_list"] = [w for w in model.trainable_variables if len(w.shape) == 1]
        optimizer.exclude_from_weight_decay(**excluded)
        model.compile(optimizer)
        model.fit(loader(model.module, batch_size=24), epochs=1, verbose=0)
        return dict(model.module.named_parameters())

    plain, decayed = train(0.0), train(0.5)
    by_name, by_shape = train(0.5, var_names=["bias", "layer_norm"]), train(0.5, var_list=None)
    for name, weight in by_shape.items():
        assert torch.equal(by_name[name], decayed[name]), name
        assert torch.equal(weight, (plain if weight.ndim == 1 else decayed)[name]), name
    assert not torch.equal(plain["model.shared.weight"], decayed["model.shared.weight"])
    norm = "model.encoder.layers.0.final_layer_norm.weight"
    assert not torch.equal(plain[norm], decayed[norm])


def test_the_loss_is_the_mean_over_all_target_tokens() -> None:
    model = TaskModel(tiny_model())
    model.compile("sgd")
    found = model.evaluate(loader(model.module, batch_size=5), verbose=0)
    (whole,) = loader(model.module, batch_size=24)
    assert found == pytest.approx(model.module(**whole).loss.item(), rel=1e-5)


def test_what_attuner_does_not_know_is_left_to_transformers(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def otherwise(rows: Any) -> Any:
        batch = dict(DataCollatorForSeq2Seq(Padding())(rows))
        return {**batch, "decoder_input_ids": batch["labels"].clamp(min=0)}

    batches = DataLoader(pairs(), batch_size=8, collate_fn=otherwise)  # type: ignore[arg-type]
    model = TaskModel(tiny_model())
    model.compile(keras.optimizers.SGD(0.1))
    with caplog.at_level(logging.WARNING, "attuner.compat"):
        found = model.fit(batches, epochs=2, verbose=0).history
    assert caplog.messages == [
        "transformers computes the loss: decoder_input_ids are not the labels behind the start "
        "token."
    ]
    wanted = plain_losses(tiny_model(), batches, rate=0.1, epochs=2)
    assert found["loss"] == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("name", ["mixed_bfloat16", "mixed_float16"])
def test_the_policy_is_autocast_within_a_step(
    name: str, policy: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("attuner.models.precision.has_fast_bf16", lambda: True)
    exact = TaskModel(tiny_model())
    exact.compile(keras.optimizers.SGD(0.1))
    policy(name)
    model = TaskModel(tiny_model())
    formats: list[torch.dtype] = []
    model.module.model.encoder.layers[0].fc1.register_forward_hook(
        lambda layer, inputs, output: formats.append(output.dtype)
    )
    model.compile(keras.optimizers.SGD(0.1))
    found = model.fit(
        loader(model.module), validation_data=loader(model.module), epochs=2, verbose=0
    ).history
    wanted = exact.fit(
        loader(exact.module), validation_data=loader(exact.module), epochs=2, verbose=0
    ).history
    assert set(formats) == {torch.bfloat16}
    assert {weight.dtype for weight in model.module.parameters()} == {torch.float32}
    for key in ("loss", "val_loss"):
        assert found[key] != wanted[key]
        assert found[key] == pytest.approx(wanted[key], rel=0.01)
    said = ["fp16 is for accelerators; on this processor bf16 is used."]
    assert caplog.messages == (said if name == "mixed_float16" else [])


def test_only_what_is_not_frozen_is_trained() -> None:
    module = tiny_model()
    module.model.encoder.requires_grad_(False)
    module.model.shared.requires_grad_(True)
    before = {name: weight.clone() for name, weight in module.named_parameters()}
    model = TaskModel(module)
    model.compile(keras.optimizers.SGD(0.1))
    model.fit(loader(module), epochs=1, verbose=0)
    for name, weight in module.named_parameters():
        is_same = torch.equal(weight, before[name])
        assert is_same == (not weight.requires_grad), name


@pytest.fixture(scope="module")
def tuned(marian: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any, Path]:
    """A model that Keras has taught eight pairs, what `fit` said, and where it is saved."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(marian)
    module = AutoModelForSeq2SeqLM.from_pretrained(marian, dtype="float32")
    sources = [source.strip().replace("\n", " ") for source in LESSONS]
    targets = [target.strip().replace("\n", " ") for target in LESSONS.values()]
    data = Dataset.from_dict(dict(tokenizer(sources, text_target=targets)))
    collate = DataCollatorForSeq2Seq(tokenizer, model=module)
    keras.utils.set_random_seed(0)
    train = DataLoader(data, batch_size=4, shuffle=True, collate_fn=collate)  # type: ignore[arg-type]
    validation = DataLoader(data, batch_size=3, collate_fn=collate)  # type: ignore[arg-type]
    metric = attuner.metric("sacrebleu")

    def score(found: Any) -> dict[str, float]:
        texts, references = (
            tokenizer.batch_decode(
                np.where(ids < 0, tokenizer.pad_token_id, ids), skip_special_tokens=True
            )
            for ids in found
        )
        result = metric.compute(predictions=texts, references=[[r] for r in references])
        return {"bleu": result["score"]}

    model = TaskModel(module)
    schedule = keras.optimizers.schedules.PolynomialDecay(5e-3, 120, end_learning_rate=5e-4)
    model.compile(keras.optimizers.AdamW(schedule, beta_2=0.98))
    history = model.fit(
        train, validation_data=validation, epochs=60, verbose=0,
        callbacks=[KerasMetricCallback(score, validation, {"max_new_tokens": 20})],
    ).history  # fmt: skip
    folder = tmp_path_factory.mktemp("tuned")
    (folder / "notes.txt").write_text("of the user")
    model.save_pretrained(folder, tokenizer)
    return model, history, folder


@pytest.mark.slow
def test_it_learns_by_heart(tuned: tuple[Any, Any, Path]) -> None:
    _, history, folder = tuned
    assert {"loss", "val_loss", "bleu"} == set(history)
    assert history["bleu"][0] < 60
    assert history["bleu"][-1] == pytest.approx(100)
    translate = attuner.load(folder).translate
    assert translate(list(LESSONS)[:7]) == list(LESSONS.values())[:7]


@pytest.mark.slow
def test_the_same_weights_load_in_transformers(tuned: tuple[Any, Any, Path]) -> None:
    model, _, folder = tuned
    loaded = AutoModelForSeq2SeqLM.from_pretrained(folder)
    trained = model.module.state_dict()
    assert loaded.state_dict().keys() == trained.keys()
    for name, weight in loaded.state_dict().items():
        assert torch.equal(weight, trained[name]), name
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    inputs = tokenizer(list(LESSONS), return_tensors="pt", padding=True)
    model.module.eval()
    wanted = model.module.generate(**inputs, max_new_tokens=20)
    assert torch.equal(loaded.generate(**inputs, max_new_tokens=20), wanted)


@pytest.mark.slow
def test_a_model_folder_is_written_beside_what_is_there(tuned: tuple[Any, Any, Path]) -> None:
    _, _, folder = tuned
    assert (folder / "notes.txt").read_text() == "of the user"
    assert not list(folder.glob(".saving-*"))
    assert (folder / "model.safetensors").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("family", ["marian", "t5"])
def test_a_metric_sees_what_generate_gives(family: str) -> None:
    seen: list[Any] = []

    def keep(found: Any) -> dict[str, float]:
        seen.append(found)
        return {"rows": len(found[0])}

    model = TaskModel(tiny_model(family))
    model.compile("sgd")
    batches = loader(model.module, batch_size=5)
    logs = model.fit(
        batches, verbose=0, callbacks=[KerasMetricCallback(keep, batches, {"max_new_tokens": 6})]
    ).history
    assert logs["rows"] == [24]
    ((predictions, labels),) = seen
    model.module.eval()
    (whole,) = loader(model.module, batch_size=24)
    inputs = {name: whole[name] for name in ("input_ids", "attention_mask")}
    wanted = model.module.generate(**inputs, max_new_tokens=6)
    assert predictions.tolist() == wanted.tolist()
    assert labels.tolist() == whole["labels"].tolist()


def test_what_ctranslate2_cannot_do_is_left_to_transformers_generate(
    caplog: pytest.LogCaptureFixture,
) -> None:
    seen: list[Any] = []
    model = TaskModel(tiny_model())
    batches = loader(model.module)
    asked = {"min_length": 4, "max_length": 6}
    scores = KerasMetricCallback(lambda found: seen.append(found) or {}, batches, asked)
    scores.set_model(model)
    scores.score()
    scores.score()
    assert caplog.messages == ["transformers generates: generation's min_length is 4."]
    first = next(iter(batches))
    inputs = {name: first[name] for name in ("input_ids", "attention_mask")}
    wanted = model.module.generate(**inputs, **asked)
    assert seen[0][0][:8, : wanted.shape[1]].tolist() == wanted.tolist()


def test_a_metric_of_a_classifier_sees_logits() -> None:
    model = TaskModel(tiny_classifier())
    model.compile("sgd")

    def accuracy(found: Any) -> dict[str, float]:
        logits, labels = found
        assert logits.shape == (24, 3)
        return {"accuracy": float((logits.argmax(-1) == labels).mean())}

    batches = labelled()
    scores = KerasMetricCallback(accuracy, batches)
    scores.set_model(model)
    right = []
    for batch in batches:
        labels = batch.pop("labels")
        right += (model.module(**batch).logits.argmax(-1) == labels).tolist()
    assert scores.score() == {"accuracy": np.mean(right)}


def test_other_callbacks_see_the_scores() -> None:
    falling = iter((3.0, 2.0, 1.0))
    model = TaskModel(tiny_model())
    model.compile(keras.optimizers.SGD(0.1))
    batches = loader(model.module)
    kept: list[Any] = []

    class Keep(keras.callbacks.Callback):  # type: ignore[misc]
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            kept.append(self.model.module.model.shared.weight.clone())

    stopping = keras.callbacks.EarlyStopping(
        "score", mode="max", patience=2, restore_best_weights=True
    )
    scores = KerasMetricCallback(lambda _: {"score": next(falling)}, batches)
    history = model.fit(batches, epochs=9, verbose=0, callbacks=[scores, Keep(), stopping]).history
    assert history["score"] == [3.0, 2.0, 1.0]
    assert torch.equal(model.module.model.shared.weight, kept[0])


def test_a_backup_goes_on_where_it_was(tmp_path: Path) -> None:
    def fit(module: Any, epochs: int) -> TaskModel:
        model = TaskModel(module)
        model.compile(keras.optimizers.AdamW(1e-3))
        backup = keras.callbacks.BackupAndRestore(tmp_path / "backup", delete_checkpoint=False)
        model.fit(loader(module), epochs=epochs, verbose=0, callbacks=[backup])
        return model

    fit(tiny_model(), 1)
    resumed = fit(tiny_model(seed=1), 3)
    whole = TaskModel(tiny_model())
    whole.compile(keras.optimizers.AdamW(1e-3))
    whole.fit(loader(whole.module), epochs=3, verbose=0)
    weights = dict(whole.module.named_parameters())
    for name, weight in resumed.module.named_parameters():
        torch.testing.assert_close(weight, weights[name])


def test_old_options_of_the_callback_are_said(caplog: pytest.LogCaptureFixture) -> None:
    KerasMetricCallback(dict, [], predict_with_generate=True, use_xla_generation=True)
    assert caplog.messages == [
        "KerasMetricCallback: predict_with_generate, use_xla_generation: no effect any more."
    ]


@pytest.mark.parametrize("name", ["loss", "metrics"])
def test_keras_own_losses_and_metrics_are_refused(name: str) -> None:
    with pytest.raises(UsageError) as found:
        TaskModel(tiny_model()).compile("adam", **{name: "mse"})
    assert str(found.value) == (
        f"compile was given {name}.\n"
        "The loss is the task's own, made without the outputs that Keras' losses and metrics "
        "compare.\n"
        f"Leave {name} out; for scores give KerasMetricCallback to fit."
    )


def test_a_keras_file_is_refused(tmp_path: Path) -> None:
    model = TaskModel(tiny_model())
    model.compile("sgd")
    said = (
        "A model of transformers was to be saved in Keras' own format.\n"
        "A .keras file holds it as a pickle, which can run code where it is loaded.\n"
        "Call save_pretrained(FOLDER), or give save_weights_only=True to ModelCheckpoint."
    )
    with pytest.raises(UsageError) as found:
        model.save(tmp_path / "model.keras")
    assert str(found.value) == said
    checkpoint = keras.callbacks.ModelCheckpoint(tmp_path / "model.keras")
    with pytest.raises(UsageError) as found:
        model.fit(loader(model.module), verbose=0, callbacks=[checkpoint])
    assert str(found.value) == said
    assert not list(tmp_path.iterdir())


def test_weights_alone_may_be_kept_by_keras(tmp_path: Path) -> None:
    file = tmp_path / "best.weights.h5"
    model = TaskModel(tiny_model())
    model.compile(keras.optimizers.SGD(0.1))
    keeping = keras.callbacks.ModelCheckpoint(file, save_weights_only=True)
    model.fit(loader(model.module), verbose=0, callbacks=[keeping])
    other = TaskModel(tiny_model(seed=1))
    other.load_weights(file)
    weights = model.module.state_dict()
    for name, weight in other.module.state_dict().items():
        assert torch.equal(weight, weights[name]), name


def test_what_is_no_model_of_texts_is_refused() -> None:
    with pytest.raises(UsageError) as found:
        TaskModel(torch.nn.Linear(2, 2))
    assert str(found.value) == (
        "TaskModel was given a Linear.\n"
        "Expected a model of transformers that makes text of text, or a classifier of texts.\n"
        "Load it with AutoModelForSeq2SeqLM or AutoModelForSequenceClassification."
    )
    with pytest.raises(UsageError) as found:
        TaskModel(tiny_model().half())
    assert str(found.value) == (
        "TaskModel was given weights in float16.\n"
        "Updates are too small for it: weights are kept in fp32, whatever they compute in.\n"
        'Load the model with from_pretrained(MODEL, dtype="float32").'
    )


def test_predict_is_for_classifiers() -> None:
    model = TaskModel(tiny_model())
    model.compile("sgd")
    with pytest.raises(UsageError) as found:
        model.predict(loader(model.module), verbose=0)
    assert str(found.value) == (
        "predict was called on a model of text to text.\n"
        "It gives arrays of one shape; texts have lengths of their own.\n"
        "Call model.module.generate(...), or for many texts attuner.load(FOLDER)."
    )


def test_keras_has_to_compute_with_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    remedy = (
        'Set KERAS_BACKEND=torch, in Python with os.environ["KERAS_BACKEND"] = "torch" before '
        "anything imports Keras, and start Python anew."
    )
    with monkeypatch.context() as patch:
        patch.setattr(keras.backend, "backend", lambda: "jax")
        with pytest.raises(UsageError) as found:
            importlib.reload(attuner.compat.keras)
    assert str(found.value) == (
        "Keras computes with jax here.\n"
        f"Attuner's models are torch modules: Keras has to compute with torch.\n{remedy}"
    )
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "keras", None)
        with pytest.raises(MissingExtraError, match=r"attuner\[keras\]"):
            importlib.reload(attuner.compat.keras)
    importlib.reload(attuner.compat.keras)
