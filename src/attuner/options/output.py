"""How outputs are made, and where a run and its model go."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from attuner.options.section import Section, items

Tracker = Literal["tensorboard", "trackio", "wandb"]


class Generation(Section):
    """How translations are generated when the model is scored and used."""

    engine: Literal["auto", "ctranslate2", "transformers"] = "auto"
    """`ctranslate2` is many times faster, `transformers` the reference. `auto`: CTranslate2
    where it supports the model."""
    quantization: Literal["float32", "int8"] = "float32"
    """Number format of CTranslate2's weights."""
    num_beams: Annotated[int, Field(gt=0)] = 4
    """Width of the beam search; 1 is greedy."""
    max_new_tokens: Annotated[int, Field(gt=0)] = 128
    """Longest generated translation of a line, in tokens."""
    batch_examples: Annotated[int, Field(gt=0)] = 64
    """Examples in one batch of generation or validation loss."""


class Output(Section):
    """Where the run goes."""

    name: str = "run"
    """Name of the run folder."""
    folder: str = "runs"
    """Folder that holds the run folders."""
    trackers: Annotated[list[Tracker], items(Tracker)] = []
    """Who is told the numbers of the run as it goes: `tensorboard`, `trackio`, `wandb`, one or a
    list. All stay on this machine unless told otherwise in the environment. Each needs its extra,
    such as `attuner[tensorboard]`."""
    license: str | None = None
    """Licence of the delivered model, as `apache-2.0` or in words, for its card. Where not given,
    that of the checkpoint, as far as its own card names one."""
    card_examples: Annotated[int, Field(ge=0)] = 5
    """Number of held-out texts that the model card shows, before and after; 0 for none, as where
    they are confidential."""


class Publish(Section):
    """Pushing the run to the Hugging Face Hub, in the background, after each checkpoint."""

    hub_id: str | None = None
    """Repository that the run is pushed to, such as `user/name` or `organisation/name`; a bare name
    is one of yours. Nothing is pushed where it is not given."""
    private: bool = True
    """Whether a new repository can be seen by you, or your organisation, alone."""
    message: str = "Training"
    """Beginning of the commit messages, which go on with `in progress, epoch 1` or `complete`."""
    tag: str | None = None
    """Git tag of the commit with the finished model."""
    checkpoints: bool = True
    """Whether what the run can be resumed from on another machine is pushed, too, while it goes:
    three times the size of the trained weights, and the test examples with their predictions."""
    wait_seconds: Annotated[float, Field(ge=0)] = 600
    """How long the run waits at its end for the last push."""
