"""The callback that pushes, against the stand-in for the Hub."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import pytest
from datasets import Dataset
from hub.server import Hub, wait_until
from safetensors.torch import load, load_file
from tiny import tiny_model
from torch.utils.data import DataLoader
from trainers import Padding, pairs
from transformers import AutoTokenizer, DataCollatorForSeq2Seq

from attuner.compat.keras import PushToHubCallback, TaskModel
from attuner.errors import HubError, UsageError


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A Hub that this process takes for the real one."""
    with Hub() as running:
        for name, value in running.environment(tmp_path / "home").items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", running.endpoint)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
        monkeypatch.chdir(tmp_path)
        yield running


class Each(keras.callbacks.Callback):  # type: ignore[misc]
    """Does something after each epoch."""

    def __init__(self, do: Callable[[], Any]) -> None:
        super().__init__()
        self._do = do

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._do()


def fit(*callbacks: Any, epochs: int = 2, data: Dataset | None = None) -> Any:
    model = TaskModel(tiny_model())
    model.compile(keras.optimizers.SGD(0.1))
    collate = DataCollatorForSeq2Seq(Padding(), model=model.module)
    batches = DataLoader(data or pairs(), batch_size=8, collate_fn=collate)  # type: ignore[arg-type]
    model.fit(batches, epochs=epochs, verbose=0, callbacks=list(callbacks))
    return model


def test_each_state_is_a_model_folder(hub: Hub, marian: Path, tmp_path: Path) -> None:
    callback = PushToHubCallback("tuned", tokenizer=AutoTokenizer.from_pretrained(marian))

    def wait() -> None:
        wait_until(lambda: callback._pushing is None or callback._pushing.done())

    model = fit(callback, Each(wait), epochs=2)
    repo = hub.repos["alice/tuned"]
    # The result is the last of them: nothing is left to push.
    assert repo.messages == ["Training in progress, epoch 1", "Training in progress, epoch 2"]
    files = hub.files("alice/tuned")
    assert {"config.json", "model.safetensors", "source.spm", "vocab.json"} <= set(files)
    assert {path.name for path in Path("tuned").iterdir()} == set(files)
    pushed, trained = load(files["model.safetensors"]), model.module.state_dict()
    for name, weight in pushed.items():
        assert weight.equal(trained[name]), name
    first = hub.clone("alice/tuned", tmp_path / "first", revision=repo.commits[1].oid)
    earlier = load_file(first / "model.safetensors")
    assert not earlier["model.shared.weight"].equal(pushed["model.shared.weight"])


def test_pushes_are_due_by_updates(hub: Hub) -> None:
    callback = PushToHubCallback("tuned", "steps", 2, hub_model_id="team/model")

    class Wait(keras.callbacks.Callback):  # type: ignore[misc]
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            wait_until(lambda: callback._pushing is None or callback._pushing.done())

    fit(callback, Wait(), epochs=1, data=pairs(40))
    assert hub.repos["team/model"].messages[:2] == [
        "Training in progress, step 2", "Training in progress, step 4",
    ]  # fmt: skip


def test_only_the_result_is_pushed_where_that_is_asked(hub: Hub) -> None:
    fit(PushToHubCallback("tuned", "no"))
    assert hub.repos["alice/tuned"].messages == ["Training complete"]


def test_training_does_not_wait_for_a_push(hub: Hub) -> None:
    hub.fault("POST /api/models/alice/tuned/commit", seconds=2, times=1)
    fit(PushToHubCallback("tuned"), epochs=4)
    assert hub.repos["alice/tuned"].messages == [
        "Training in progress, epoch 1", "Training complete",
    ]  # fmt: skip


def test_a_push_that_fails_does_not_end_training(
    hub: Hub, caplog: pytest.LogCaptureFixture
) -> None:
    hub.fault("POST /api/models/alice/tuned/commit", status=403, message="No entry", times=1)
    with caplog.at_level(logging.WARNING, "attuner.compat"):
        fit(PushToHubCallback("tuned"), epochs=1)
    assert hub.repos["alice/tuned"].messages == ["Training complete"]
    (said,) = caplog.messages
    assert said.startswith(
        "Not pushed; training goes on. alice/tuned: the Hub does not allow it: No entry (403).\n"
    )
    assert said.endswith("Then type: attuner push tuned alice/tuned")


def test_who_may_not_push_learns_it_before_training(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_reader")
    seen: list[int] = []
    with pytest.raises(HubError, match="the Hub does not allow it"):
        fit(PushToHubCallback("tuned"), Each(lambda: seen.append(1)))
    assert not seen
    fit(PushToHubCallback("tuned", hub_token="hf_bob"), epochs=1)
    assert "bob/tuned" in hub.repos


@pytest.mark.parametrize(("strategy", "steps"), [("batch", None), ("steps", None), ("epoch", 5)])
def test_strategies_that_are_not_there(strategy: str, steps: int | None) -> None:
    with pytest.raises(UsageError) as found:
        PushToHubCallback("tuned", strategy, steps)
    assert str(found.value) == (
        f'PushToHubCallback was given save_strategy="{strategy}" and save_steps={steps}.\n'
        "Expected epoch, no, or steps with a number of updates.\n"
        'Give save_strategy="steps", save_steps=500, or leave both out.'
    )
