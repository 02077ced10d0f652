"""What a run starts from, and which of it is trained."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from attuner.options.section import Section, shorthand


class Vocabulary(Section):
    """SentencePiece's unigram pieces, learned from the training texts of both languages."""

    size: Annotated[int, Field(gt=3)] = 8000
    """Number of pieces, the end and the unknown token among them; the padding token comes on top,
    as the last. Small data give fewer."""
    # Of 42 million characters of English and French, 0.9995 leaves out À, û and œ, 0.9999 È and ë.
    character_coverage: Annotated[float, Field(ge=0.98, le=1)] = 0.99999
    """Share of the text whose characters get pieces of their own, the commonest first; 1 for all
    characters."""
    byte_fallback: bool = False
    """Spell characters without a piece in bytes, which takes 256 pieces, so that nothing is
    unknown."""
    normalisation: Literal["identity", "nmt_nfkc"] = "identity"
    """What is done to characters first: `identity` keeps them as they are, `nmt_nfkc` unites those
    that look alike, such as no-break and plain spaces, or `…` and `...`."""


class Adapter(Section):
    """Few weights trained instead of the model's own, which stay as they are."""

    kind: Literal["lora", "dora", "ia3"] = "lora"
    """`lora`: two thin matrices beside each weight. `dora`: its direction by LoRA, its length on
    its own. `ia3`: factors of keys, values and feed-forward activations, fewest of all."""
    rank: Annotated[int, Field(gt=0)] = 16
    """Rank of the change of a weight."""
    alpha: Annotated[float, Field(gt=0)] = 32
    """The change is scaled by alpha / rank."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of a layer's input that is dropped on the adapter's way."""
    rslora: bool = False
    """Scale by alpha / √rank instead, for high ranks."""
    targets: Annotated[list[str], Field(min_length=1)] | None = None
    """Names of the linear layers that it is put on, such as `[q_proj, v_proj]`; those of attention
    and feed-forward where not given."""
    save: Literal["merged", "separate"] = "merged"
    """What is delivered. `merged`: a model folder like any other. `separate`: the adapter alone,
    of a few megabytes, which needs the checkpoint that it was trained on."""

    @model_validator(mode="after")
    def _consistent(self) -> Adapter:
        of_lora = ("rank", "alpha", "dropout", "rslora")  # a run's recipe has defaults written out
        given = [key for key in of_lora if getattr(self, key) != Adapter.model_fields[key].default]
        if self.kind == "ia3" and given:
            raise ValueError(f"kind: ia3 has no {' and no '.join(given)}")
        return self


class Model(Section):
    """The model to start from: a checkpoint, or a configuration for training from scratch."""

    checkpoint: str | None = None
    """Hub id or folder of a pretrained model, or `package:NAME` for one inside an installed Python
    package; `embedded:en-fr` is the one that comes with Attuner."""
    revision: str | None = None
    """Branch, tag or commit of a Hub checkpoint."""
    config: dict[str, Any] | None = None
    """Instead of a checkpoint: a transformers configuration (`model_type: marian`, `d_model:
    256`, ...) that is filled with random weights."""
    vocabulary: Vocabulary | None = None
    """With `config` of a Marian model: learn the vocabulary from the training texts. The
    configuration's `vocab_size` and token ids follow from it."""
    tokenizer: str | None = None
    """With `config`, instead of a vocabulary: the folder or Hub id whose tokenizer is used."""
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Dropout while tuning, as a share of activations; the checkpoint's own where not given."""
    self_check: Literal["fail", "warn", "skip"] = "fail"
    """What happens where a checkpoint seems damaged before tuning: stop (`fail`), or say so and go
    on (`warn`). What is only suspicious is said either way; `skip` does not look."""
    adapter: Annotated[Adapter, shorthand("kind", Adapter)] | None = None
    """Train an adapter instead of the checkpoint's own weights. A bare string is its kind."""
    freeze: list[Literal["embeddings", "encoder", "decoder"]] = []
    """Parts of the checkpoint that are not trained. Where the output layer shares the weights of
    the embeddings, it is frozen with them."""

    @model_validator(mode="after")
    def _one_origin(self) -> Model:
        if (self.checkpoint is None) == (self.config is None):
            raise ValueError("give either checkpoint or config")
        if self.adapter is not None and self.freeze:
            raise ValueError("adapter freezes all of the checkpoint: leave freeze out")
        if self.config is not None and (self.adapter is not None or self.freeze):
            raise ValueError("adapter and freeze go with checkpoint: random weights have to learn")
        if self.config is None:
            if self.tokenizer is not None or self.vocabulary is not None:
                raise ValueError("tokenizer and vocabulary go with config, not with checkpoint")
            return self
        if (self.tokenizer is None) == (self.vocabulary is None):
            raise ValueError("config needs either vocabulary or tokenizer")
        if self.vocabulary is not None and self.config.get("model_type") != "marian":
            raise ValueError(
                "vocabulary needs model_type: marian in config; other models need a tokenizer"
            )
        return self
