"""The loop: how long, how fast, when to look and to save."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from attuner.options.section import Section


class EarlyStopping(Section):
    """Stop when validation no longer gets better."""

    patience: Annotated[int, Field(gt=0)] = 3
    """Number of evaluations without a new best."""
    min_delta: Annotated[float, Field(ge=0)] = 0.0
    """Smallest gain that counts as better, in the metric's unit."""


class Ema(Section):
    """A running mean of the weights, which is what is evaluated and delivered."""

    decay: Annotated[float, Field(gt=0, lt=1)] = 0.999
    """Share of the mean that an update leaves: 0.999 is a mean over about the last 1000 updates.
    In the first ones less is left, by (1 + step) / (10 + step), so that the start is forgotten."""


class Training(Section):
    """The loop."""

    epochs: Annotated[float, Field(gt=0)] = 3
    """Passes over the training examples. With classification 20 where not given."""
    max_steps: Annotated[int, Field(gt=0)] | None = None
    """Number of optimizer updates; overrides `epochs`."""
    batch_tokens: Annotated[int, Field(gt=0)] | None = None
    """Real target tokens in one update, over all processes; with classification, tokens of the
    texts. 2048 where `batch_examples` is not given either."""
    batch_examples: Annotated[int, Field(gt=0)] | None = None
    """Instead of `batch_tokens`: examples in one update, over all processes. With classification
    16 where neither is given."""
    accumulation: Annotated[int, Field(gt=0)] = 1
    """Micro-batches that an update is cut into, to save memory. The result is the same."""
    learning_rate: Annotated[float, Field(gt=0)] = 3e-4
    """Peak learning rate. With classification 2e-5 where not given."""
    schedule: Literal["linear", "constant"] = "linear"
    """The learning rate after warm-up: falling to zero in a line, or constant."""
    warmup_steps: Annotated[float, Field(ge=0)] = 0
    """Updates in which the learning rate rises from zero; below 1, a share of all updates. With
    classification 0.1 where not given."""
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """With classification: factor of the learning rate from each layer to the one below it, 1 for
    none; 0.9 to 0.95 are usual. The head has the whole rate."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    """AdamW's decoupled weight decay; biases and norms are left out."""
    max_grad_norm: Annotated[float, Field(ge=0)] = 1.0
    """Gradients with a larger norm are scaled down to it; 0 switches clipping off."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the target's probability that is spread over the vocabulary, or over the labels."""
    r_drop: Annotated[float, Field(ge=0)] = 0.0
    """Weight of R-Drop: each example goes through dropout twice, and what the two outputs differ
    by (their symmetric Kullback-Leibler divergence, of ratings the squared difference) is added to
    the loss. 0 is without; 1 to 5 are usual. An update takes twice as long."""
    gradient_checkpointing: bool = False
    """Compute each layer's activations again for the backward pass, rather than keep them: less
    memory, a third more time, the same result."""
    fixed_shapes: bool = False
    """With `batch_examples`: pad every micro-batch to one shape, the longest source and target of
    the training examples and as many rows, instead of packing. For devices that compile a program
    for each shape that they meet, such as TPUs; not tried on one. The result is the same, but all
    the padding is computed."""
    ema: Ema | None = None
    """Evaluate and deliver a running mean of the weights; `{}` for its defaults."""
    average_checkpoints: Annotated[int, Field(gt=1)] | None = None
    """After training, try the mean of so many last checkpoints: it is delivered if it scores better
    on the validation examples than the best weights do."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Number format of the matrix products. `auto`: bf16 where the device is fast at it, fp32
    elsewhere. Weights and optimizer are always kept in fp32; on a processor, what is computed in
    bf16 goes through copies of the weights."""
    device: Literal["auto", "cpu"] = "auto"
    """Where to compute; `auto` takes an accelerator where there is one."""
    evaluate: Literal["none", "epoch", "steps"] = "epoch"
    """When to score the validation examples."""
    evaluate_every_steps: Annotated[int, Field(gt=0)] | None = None
    """With `evaluate: steps`: updates between two evaluations."""
    save: Literal["epoch", "steps"] = "epoch"
    """When to write a checkpoint that the run can be resumed from."""
    save_every_steps: Annotated[int, Field(gt=0)] | None = None
    """With `save: steps`: updates between two checkpoints."""
    keep_checkpoints: Annotated[int, Field(gt=0)] = 3
    """Number of latest checkpoints to keep; the best is always kept."""
    best_metric: str | None = None
    """The validation score that tells which weights are the best, and are delivered: `loss`, one of
    the task's metrics, or a name that a function of `evaluation.functions` gives. Where not given:
    chrF for translation; with classification accuracy, micro F1 of several labels, or the mean
    absolute error of ratings (`mae`); else the task's first metric."""
    early_stopping: EarlyStopping | None = None
    """Stop when `best_metric` no longer gets better. With classification after 5 evaluations
    without a new best, where not given."""
    on_bad_loss: Literal["stop", "skip"] = "stop"
    """What happens where the loss of an update is no number, or has exploded (more than 100 nats a
    target token, and ten times the lowest before; not looked at with `class_weights`, nor of
    ratings), or its gradient is no number: stop, or `skip` the update. The step and its examples
    are said and kept in `metrics.jsonl` either way."""
    max_bad_losses: Annotated[int, Field(ge=0)] = 10
    """With `on_bad_loss: skip`: stop after all when more updates than this are bad."""
    seed: int = 42
    """Seed of the data order and of dropout, of a new head; from scratch, of the weights and of the
    lines that the vocabulary is learned from."""

    seeds: Annotated[int, Field(gt=0)] = 1
    """Number of runs with the seeds `seed`, `seed` + 1, ..., which differ in all that chance
    decides but the division of the data. Their scores are given as mean ± standard deviation, and
    the best by validation is delivered."""

    @model_validator(mode="after")
    def _consistent(self) -> Training:
        if self.batch_tokens is not None and self.batch_examples is not None:
            raise ValueError("give either batch_tokens or batch_examples, not both")
        for what in ("evaluate", "save"):
            every = getattr(self, f"{what}_every_steps")
            if (getattr(self, what) == "steps") != (every is not None):
                raise ValueError(f"{what}: steps and {what}_every_steps go together")
        if self.fixed_shapes and self.batch_examples is None:
            raise ValueError(
                "fixed_shapes needs batch_examples, such as 32: tokens make any number of rows"
            )
        if self.fixed_shapes and self.r_drop:
            raise ValueError("fixed_shapes does not go with r_drop, which pairs real tokens")
        if self.seeds > 1 and self.evaluate == "none":
            raise ValueError("seeds: the best is chosen on validation, which evaluate: none skips")
        if self.warmup_steps > 1 and not float(self.warmup_steps).is_integer():
            raise ValueError(
                f"warmup_steps: {self.warmup_steps} is neither a whole number nor a share below 1"
            )
        if self.early_stopping is not None and self.evaluate == "none":
            raise ValueError("early_stopping needs evaluate: epoch or evaluate: steps")
        if self.average_checkpoints is not None:
            if self.ema is not None:
                raise ValueError("give either ema or average_checkpoints: one mean is enough")
            if self.average_checkpoints > self.keep_checkpoints:
                raise ValueError(
                    f"average_checkpoints: {self.average_checkpoints} needs as many: set "
                    f"keep_checkpoints: {self.average_checkpoints}"
                )
        return self
