"""What `model.generate` would give for source ids, by CTranslate2."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from attuner.compat.reasons import kind_of_model, method_of_its_own
from attuner.data.features import TokenColumn
from attuner.inference.settings import GenerationSettings, settings_of_model
from attuner.models.languages import Pair

# Options of transformers' generation that CTranslate2's engine does not take, and what they are
# where they do nothing.
_OFF: dict[str, tuple[Any, ...]] = {
    "do_sample": (False,),
    "num_return_sequences": (1,),
    "num_beam_groups": (1,),
    "min_length": (0,),
    "min_new_tokens": (0,),
    "encoder_repetition_penalty": (1.0,),
    "encoder_no_repeat_ngram_size": (0,),
    "diversity_penalty": (0.0,),
    "guidance_scale": (1.0,),
    **dict.fromkeys(
        (
            "penalty_alpha", "constraints", "force_words_ids", "sequence_bias", "suppress_tokens",
            "begin_suppress_tokens", "exponential_decay_length_penalty", "stop_strings", "max_time",
            "watermarking_config", "assistant_early_exit", "prompt_lookup_num_tokens",
        ),
        (),
    ),
}  # fmt: skip
_KNOWN = ("max_length", "max_new_tokens", "num_beams", "synced_gpus")
_DEFAULT_LENGTH = 20  # of transformers, where neither the model nor the caller says


@dataclass(frozen=True, slots=True)
class Search:
    """How to generate.

    Attributes:
        settings: What the model says of it.
        num_beams: Width of the beam; 1 is greedy.
        max_new_tokens: Longest result in tokens, end token included.
        end: The token that a result ends with.
        forced_end: The token that a result that is as long ends with all the same, if any.
    """

    settings: GenerationSettings
    num_beams: int
    max_new_tokens: int
    end: int
    forced_end: int | None


def search_of(model: Any, asked: Mapping[str, Any]) -> Search | str:
    """The search that `model.generate(**asked)` would do, or why CTranslate2 cannot do it."""
    config = copy.deepcopy(model.generation_config)
    given = {name: value for name, value in asked.items() if value is not None}
    unknown = [n for n in given if n not in _KNOWN and not hasattr(config, n)]
    if unknown:
        return f"generate is given {', '.join(sorted(unknown))}"
    for name, value in given.items():
        setattr(config, name, value)
    for name, off in _OFF.items():
        value = getattr(config, name, None)
        if value is not None and value not in off:
            return f"generation's {name} is {value!r}"
    settings = settings_of_model(SimpleNamespace(config=model.config, generation_config=config))
    if settings.decoder_start_token_id is None:
        return "the model does not say what its decoder starts with"
    ends = config.eos_token_id if config.eos_token_id is not None else model.config.eos_token_id
    if ends is None or (isinstance(ends, list) and len(ends) != 1):
        return f"generation's eos_token_id is {ends}"
    max_new_tokens = config.max_new_tokens or (config.max_length or _DEFAULT_LENGTH) - 1
    if max_new_tokens < 2:
        return f"max_new_tokens is {max_new_tokens}"
    return Search(
        settings,
        config.num_beams or 1,
        settings.within_positions(max_new_tokens),
        _one(ends),
        _one(config.forced_eos_token_id) if config.forced_eos_token_id is not None else None,
    )


def build_generator(model: Any, asked: Mapping[str, Any]) -> Generator | str:
    """What generates as `model.generate(**asked)`, or why CTranslate2 cannot."""
    from attuner.inference.conversion import CONVERTIBLE, ConversionError

    own = method_of_its_own(model)
    if own:
        return own
    family = str(getattr(model.config, "model_type", ""))
    if kind_of_model(model) != "text" or family not in CONVERTIBLE:
        return f"CTranslate2 does not know {family} models"
    search = search_of(model, asked)
    if isinstance(search, str):
        return search
    try:
        return Generator(model, search)
    except ConversionError as error:
        return error.happened.rstrip(".")


class Generator:
    """Generates with the weights that a model has just now, each source once.

    Args:
        model: An encoder-decoder model that CTranslate2 can take.
        search: How to generate.

    Attributes:
        most_tokens: Longest row that `rows` gives, in tokens.

    Raises:
        ConversionError: CTranslate2 does not support the model.
    """

    def __init__(self, model: Any, search: Search) -> None:
        from attuner.inference.ctranslate2_engine import engine_from_model

        self._engine = engine_from_model(model, IdCodec(model, search.end))
        self._engine.settings = search.settings
        self._search = search
        self._found: dict[tuple[int, ...], list[int]] = {}
        self.most_tokens = search.max_new_tokens + 1

    def rows(self, sources: Iterable[Sequence[int]]) -> list[list[int]]:
        """Of each source what `generate` has: the decoder's start, the ids, the end token.

        Args:
            sources: Source ids of each row, end token included, no padding.
        """
        wanted = [tuple(row) for row in sources]
        new = [row for row in dict.fromkeys(wanted) if row not in self._found]
        if new:
            self._found.update(zip(new, self._generate(new), strict=True))
        return [self._found[row] for row in wanted]

    def _generate(self, sources: Sequence[Sequence[int]]) -> Iterator[list[int]]:
        search, first_token = self._search, self._search.settings.forced_bos_token_id
        found = self._engine.generate_ids(
            sources,
            [[] if first_token is None else [first_token]] * len(sources),
            num_beams=search.num_beams,
            # The engine leaves room for a forced end token.
            max_new_tokens=search.max_new_tokens + (search.forced_end is None),
        )
        start = search.settings.decoder_start_token_id
        assert start is not None
        for (ids, *_), _scores in found:
            if len(ids) == search.max_new_tokens:  # it was broken off, and nothing is forced
                end = []
            elif len(ids) == search.max_new_tokens - 1 and search.forced_end is not None:
                end = [search.forced_end]
            else:
                end = [search.end]
            yield [start, *ids, *end]


def source_rows(batch: Mapping[str, Tensor]) -> list[list[int]]:
    """The real source ids of each row of a padded batch, (B, S)."""
    ids, mask = batch["input_ids"], batch.get("attention_mask")
    if mask is None:
        return ids.tolist()
    return [row[real.bool()].tolist() for row, real in zip(ids, mask, strict=True)]


def padded_rows(rows: Sequence[Sequence[int]], fill: int, width: int = 0) -> Tensor:
    """Rows of ids filled up to the longest, at least to `width`; (B, T) int64."""
    width = max(width, *map(len, rows))
    return torch.tensor([[*row, *[fill] * (width - len(row))] for row in rows])


class IdCodec:
    """A `TextCodec` without texts: tokens are spelled as their ids."""

    forced_bos_token_id: int | None = None
    decoder_start_token_id: int | None = None
    languages: tuple[str, ...] = ()
    pair = Pair()
    num_source_ends: int = 1
    source_prefix: str = ""

    def __init__(self, model: Any, end: int) -> None:
        self.eos_token_id = end
        self.pad_token_id: int = model.config.pad_token_id
        # What no row holds but padding: there is nothing unknown among ids.
        self.unk_token_id = self.pad_token_id
        sizes = (model.get_input_embeddings(), model.get_output_embeddings())
        source, target = (len(layer.weight) for layer in sizes)
        self.vocabulary_sizes = source, target

    def between(self, source: str | None, target: str | None) -> IdCodec:
        """The same: ids have no language."""
        return self

    def with_prefix(self, prefix: str) -> IdCodec:
        """The same: there is no text to put it before."""
        return self

    def encode_source(self, texts: Sequence[str]) -> TokenColumn:
        """Not to be had: there are no texts."""
        raise TypeError("ids only")

    encode_target = encode_source

    def source_tokens(self, ids: Sequence[int]) -> list[str]:
        """The ids as words."""
        return [str(number) for number in ids]

    target_tokens = source_tokens

    def decode(self, sequences: Sequence[Sequence[int]]) -> list[str]:
        """The ids as words, in one text."""
        return [" ".join(map(str, ids)) for ids in sequences]


def _one(given: Any) -> int:
    """An id; of several the first."""
    return int(given[0] if isinstance(given, list) else given)
