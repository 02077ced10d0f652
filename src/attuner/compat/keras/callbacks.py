"""The callbacks that transformers had for Keras: scores after each epoch, and pushes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import keras
import numpy as np

from attuner.compat.generation import build_generator, padded_rows, source_rows
from attuner.compat.reasons import kind_of_model
from attuner.compat.spellings import logger
from attuner.errors import HubError, UsageError
from attuner.models.objective import IGNORED
from attuner.publishing.refusals import in_words

_READ = ("input_ids", "attention_mask")


class KerasMetricCallback(keras.callbacks.Callback):  # type: ignore[misc]
    """Scores after each epoch, among the logs of it: History and EarlyStopping see them.

    It stands before callbacks that look at its scores.

    Args:
        metric_fn: Takes (predictions, labels), arrays of all rows in the loader's order, and
            returns scores by name. Of a model of text to text predictions are generated ids,
            (N, T) int64, filled up with its padding token; of a classifier logits, (N, C).
            Labels (N, T) are filled up with -100.
        eval_dataset: A loader of padded batches with labels, in a fixed order.
        generate_kwargs: Of `generate`, such as `num_beams` and `max_new_tokens`.
        **options: What the old class took besides has no effect, and is said.
    """

    def __init__(
        self,
        metric_fn: Callable[[tuple[Any, Any]], Mapping[str, float]],
        eval_dataset: Any,
        generate_kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        if options:
            logger.warning("KerasMetricCallback: %s: no effect any more.", ", ".join(options))
        self._metric = metric_fn
        self._batches = eval_dataset
        self._asked = dict(generate_kwargs or {})
        self._said = ""

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Score the weights of just now."""
        found = self.score()
        if logs is not None:
            logs.update(found)

    def score(self) -> dict[str, float]:
        """The scores of the weights of just now."""
        is_text = kind_of_model(self.model.module) == "text"
        predictions = self._generated() if is_text else self.model.predict(self._batches, verbose=0)
        labels = [row for batch in self._batches for row in batch["labels"].tolist()]
        if labels and isinstance(labels[0], list):
            return dict(self._metric((predictions, padded_rows(labels, IGNORED).numpy())))
        return dict(self._metric((predictions, np.array(labels))))

    def _generated(self) -> Any:
        module = self.model.module
        generator = build_generator(module, self._asked)
        if not isinstance(generator, str):
            rows = generator.rows(row for batch in self._batches for row in source_rows(batch))
            return padded_rows(rows, module.config.pad_token_id).numpy()
        if generator != self._said:
            self._said = generator
            logger.warning("transformers generates: %s.", generator)
        module.eval()
        rows = []
        for batch in self._batches:
            inputs = {name: batch[name].to(module.device) for name in _READ if name in batch}
            rows += module.generate(**inputs, **self._asked).tolist()
        return padded_rows(rows, module.config.pad_token_id).numpy()


class PushToHubCallback(keras.callbacks.Callback):  # type: ignore[misc]
    """Saves the model after each epoch, or so many updates, and pushes it; the last state for sure.

    Training does not wait for a push: what comes while one is under way is left out. What goes
    wrong with it is said, and training goes on.

    Args:
        output_dir: The model folder.
        save_strategy: `epoch`; `steps`; or `no`, only at the end.
        save_steps: Updates between two states, with `steps`.
        tokenizer: Is saved beside the model.
        hub_model_id: `user/name` or `organisation/name`; the folder's name where not given.
        hub_token: Access token; that of `hf auth login` where not given.

    Raises:
        UsageError: There is no such strategy.
        HubError: Before the first update or after the last: the Hub does not allow it, or cannot
            be reached.
    """

    def __init__(
        self,
        output_dir: str | Path,
        save_strategy: str = "epoch",
        save_steps: int | None = None,
        tokenizer: Any = None,
        hub_model_id: str | None = None,
        hub_token: str | None = None,
    ) -> None:
        super().__init__()
        is_known = save_strategy in ("epoch", "steps", "no")
        if not is_known or (save_strategy == "steps") != bool(save_steps):
            raise UsageError(
                f'PushToHubCallback was given save_strategy="{save_strategy}" and '
                f"save_steps={save_steps}.",
                "Expected epoch, no, or steps with a number of updates.",
                'Give save_strategy="steps", save_steps=500, or leave both out.',
            )
        self._folder = Path(output_dir)
        self._strategy, self._every = save_strategy, save_steps
        self._tokenizer = tokenizer
        self._hub_id = hub_model_id or self._folder.resolve().name
        self._token = hub_token
        self._num_updates = 0
        self._pushing: Future[Any] | None = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Make the repository, or learn that it cannot be made before time is spent."""
        from huggingface_hub import HfApi

        self._api = HfApi(token=self._token)
        with self._in_words():
            self._hub_id = self._api.create_repo(self._hub_id, exist_ok=True).repo_id

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Save and push, where that is due by updates."""
        self._num_updates += 1
        if self._every and self._num_updates % self._every == 0:
            self._push_meanwhile(f"step {self._num_updates:,}")

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Save and push, where that is due by epochs."""
        if self._strategy == "epoch":
            self._push_meanwhile(f"epoch {epoch + 1}")

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Save and push the result, and wait for that."""
        if self._pushing is not None:
            self._settle(self._pushing)
        with self._in_words():
            self._push("Training complete").result()

    def _push_meanwhile(self, so_far: str) -> None:
        if self._pushing is not None:
            if not self._pushing.done():
                return
            self._settle(self._pushing)
        self._pushing = self._push(f"Training in progress, {so_far}")

    def _push(self, message: str) -> Future[Any]:
        self.model.save_pretrained(self._folder, tokenizer=self._tokenizer)
        return self._api.upload_folder(
            repo_id=self._hub_id,
            folder_path=self._folder,
            commit_message=message,
            ignore_patterns=[".*", "*/.*"],
            run_as_future=True,
        )

    def _settle(self, pushing: Future[Any]) -> None:
        """Wait for a push, and say what went wrong."""
        self._pushing = None
        try:
            with self._in_words():
                pushing.result()
        except HubError as error:
            logger.warning("Not pushed; training goes on. %s", error)

    def _in_words(self) -> AbstractContextManager[None]:
        return in_words(self._hub_id, f"attuner push {self._folder} {self._hub_id}")
