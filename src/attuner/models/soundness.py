"""Whether a checkpoint is what it says: ties, weights, token ids. No data are needed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attuner.data.flat_arrays import blocks_of
from attuner.models.json_files import read_json_object

if TYPE_CHECKING:
    from torch import nn

    from attuner.data.features import TokenColumn
    from attuner.models.codec import TextCodec

# A token that training or generation looks up by an id of the configuration.
_SPECIAL_IDS = ("pad_token_id", "eos_token_id", "decoder_start_token_id", "forced_bos_token_id")
_SIDES = ("source", "target")
_GET_AGAIN = "Download or save the checkpoint again."


@dataclass(frozen=True, slots=True)
class Finding:
    """Something in a checkpoint that is wrong, or looks so.

    Attributes:
        happened: What was found.
        expected: What was expected.
        remedy: What to type or change.
        is_certain: Whether it is damage beyond doubt; else it is a suspicion.
    """

    happened: str
    expected: str
    remedy: str
    is_certain: bool = True

    def __str__(self) -> str:
        return "\n".join((self.happened, self.expected, self.remedy))


def checkpoint_findings(model: nn.Module, codec: TextCodec, folder: Path) -> list[Finding]:
    """All that can be said of a checkpoint without running it.

    Args:
        model: As it was loaded from `folder`.
        codec: Its tokens.
        folder: Its folder.
    """
    return [
        *tie_findings(model, folder),
        *weight_findings(model),
        *unused_findings(model, folder),
        *id_findings(model, codec),
    ]


def is_tied(model: Any) -> bool:
    """Whether the output layer is the (decoder's) embedding."""
    output = model.get_output_embeddings().weight
    return any(output is layer.weight for layer in (_embedding(model, s) for s in _SIDES))


def tie_findings(model: Any, folder: Path) -> Iterator[Finding]:
    """Weights that should be one and are two, or should be two and are one.

    transformers unties what is stored twice with different values. It also says of every T5 that
    its output layer is tied (version 5), though only the first T5 was: the stored configuration,
    and whether the output is scaled, tell them apart.
    """
    stored = read_json_object(folder / "config.json").get("tie_word_embeddings")
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    output_name = names[id(model.get_output_embeddings().weight)]
    untied = {**model.config.to_dict(), "tie_word_embeddings": False}
    forces_ties = type(model.config).from_dict(untied).tie_word_embeddings
    may_untie = forces_ties and not getattr(model.config, "scale_decoder_outputs", False)
    if stored is False and is_tied(model):
        yield Finding(
            "config.json says that the output layer has weights of its own "
            "(tie_word_embeddings is false), but the checkpoint stores none: the embeddings took "
            "their place.",
            "Expected a checkpoint that stores the weights of its output layer.",
            f'{_GET_AGAIN} If the model does share them, set "tie_word_embeddings": true in '
            "config.json.",
        )
    expected = model.get_expanded_tied_weights_keys(all_submodels=True)
    for target, source in expected.items():
        if model.get_parameter(target) is model.get_parameter(source):
            continue
        if may_untie and target == output_name:
            continue
        yield Finding(
            f"{source} and {target} are stored with different values, though config.json says "
            "that they are one (tie_word_embeddings).",
            "Expected one tensor for both, or a configuration that says that they are two.",
            'Set "tie_word_embeddings": false in config.json if they were trained apart; else '
            "delete the wrong one, or download or save the checkpoint again.",
        )


def weight_findings(model: nn.Module) -> Iterator[Finding]:
    """Weights that hold NaN or infinity, and matrices that are zero throughout."""
    broken, empty = [], []
    matrices = {name for name, parameter in model.named_parameters() if parameter.dim() > 1}
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if not tensor.is_floating_point() or not tensor.numel():
            continue
        least, most = (float(value) for value in tensor.detach().aminmax())
        if not (abs(least) < float("inf") and abs(most) < float("inf")):  # NaN is neither
            broken.append(name)
        # Marian's and BART's bias, a buffer, may be zero; an adapter's second matrix begins so.
        elif least == most == 0 and name in matrices and "lora_" not in name:
            empty.append(name)
    if broken:
        yield Finding(
            f"{_counted(len(broken), 'weight holds', 'weights hold')} numbers that are not finite, "
            f"{broken[0]} first.",
            "Expected finite numbers: such a model computes nothing but NaN.",
            f"{_GET_AGAIN} If its training overflowed, take an earlier checkpoint.",
        )
    if empty:
        yield Finding(
            f"{_counted(len(empty), 'weight matrix is', 'weight matrices are')} zero throughout, "
            f"{empty[0]} first.",
            "Expected numbers: a matrix that was trained is not zero.",
            f"{_GET_AGAIN} If its makers meant it so, go on.",
            is_certain=False,
        )


def unused_findings(model: Any, folder: Path) -> Iterator[Finding]:
    """Weights in the files that the model did not take."""
    from safetensors import safe_open

    known = set(model.state_dict())
    prefix = f"{model.base_model_prefix}."
    ignored = model._keys_to_ignore_on_load_unexpected or ()

    def is_taken(name: str) -> bool:
        # transformers reads LayerNorms of old under their names in TensorFlow, and models that
        # were saved without their output layer.
        name = name.replace("LayerNorm.gamma", "LayerNorm.weight")
        name = name.replace("LayerNorm.beta", "LayerNorm.bias")
        return bool({name, prefix + name, name.removeprefix(prefix)} & known) or any(
            re.search(pattern, name) for pattern in ignored
        )

    unused = []
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            unused += [name for name in file.keys() if not is_taken(name)]  # noqa: SIM118
    if unused:
        yield Finding(
            f"The checkpoint stores {_counted(len(unused), 'weight', 'weights')} that the model "
            f"does not take, {unused[0]} first.",
            "Expected the layers and names that config.json describes.",
            "If the model has more layers or is of another type, mend config.json; else go on: "
            "what is not taken is left out.",
            is_certain=False,
        )


def id_findings(model: Any, codec: TextCodec) -> Iterator[Finding]:
    """Token ids that the model has no row for, or that model and tokenizer disagree on."""
    source_rows, target_rows = vocabulary_rows(model)
    config, generation = model.config, model.generation_config
    for name in _SPECIAL_IDS:
        for file, values in (("config.json", config), ("generation_config.json", generation)):
            wrong = [i for i in _ids(getattr(values, name, None)) if not 0 <= i < target_rows]
            if wrong:
                yield Finding(
                    f"{file}: {name} is {wrong[0]:,}, the model has {target_rows:,} tokens.",
                    f"Expected an id from 0 to {target_rows - 1:,}.",
                    f"Set {name} to the id that the tokenizer has for it.",
                )
    for side, size, rows in zip(
        _SIDES, codec.vocabulary_sizes, (source_rows, target_rows), strict=True
    ):
        if size > rows:
            yield Finding(
                f"The tokenizer has {side} ids up to {size - 1:,}, the model has {rows:,} tokens.",
                "Expected a row of the embeddings for each id: a text that needs a higher one "
                "stops the run.",
                "Take the tokenizer that belongs to the checkpoint.",
                is_certain=False,
            )
    ends = {*_ids(generation.eos_token_id), *_ids(config.eos_token_id)}
    if ends and codec.eos_token_id not in ends:
        yield Finding(
            f"The tokenizer ends texts with id {codec.eos_token_id:,}, the model with "
            f"{', '.join(f'{i:,}' for i in sorted(ends))} (eos_token_id).",
            "Expected the same id: what the model is taught to end with would not stop it.",
            "Take the tokenizer that belongs to the checkpoint, or set eos_token_id in config.json "
            "and generation_config.json.",
        )
    if config.pad_token_id not in (None, codec.pad_token_id):
        yield Finding(
            f"The tokenizer pads with id {codec.pad_token_id:,}, the model with "
            f"{config.pad_token_id:,} (pad_token_id).",
            "Expected the same id.",
            "Take the tokenizer that belongs to the checkpoint, or set pad_token_id in "
            "config.json.",
            is_certain=False,
        )
    yield from _start_findings(config, generation, codec, target_rows)


def used_id_findings(model: Any, source: TokenColumn, target: TokenColumn) -> Iterator[Finding]:
    """Ids in the data that the model has no row for: looking them up would stop the run."""
    for side, column, rows in zip(_SIDES, (source, target), vocabulary_rows(model), strict=True):
        high = [block[block >= rows] for block in blocks_of(column.values)]
        num = sum(map(len, high))
        if num:
            first = next(int(ids[0]) for ids in high if len(ids))
            yield Finding(
                f"{num:,} {side} tokens of the data have ids that the model does not know, "
                f"{first:,} first; it has {rows:,} tokens.",
                f"Expected ids from 0 to {rows - 1:,}.",
                "Take the tokenizer that belongs to the checkpoint.",
            )


def vocabulary_rows(model: Any) -> tuple[int, int]:
    """Tokens that the model can read on the source side, and read and write on the target side."""
    source, target = (len(_embedding(model, side).weight) for side in _SIDES)
    return source, min(target, len(model.get_output_embeddings().weight))


def _embedding(model: Any, side: str) -> Any:
    stack = model.get_encoder() if side == "source" else model.get_decoder()
    return stack.get_input_embeddings()


def _start_findings(config: Any, generation: Any, codec: TextCodec, rows: int) -> Iterator[Finding]:
    """What each target begins with: an ordinary word there is a wrong id."""
    starts = {
        i
        for values in (config, generation)
        for i in _ids(getattr(values, "decoder_start_token_id", None))
    }
    if len(starts) > 1:
        yield Finding(
            "config.json and generation_config.json name different tokens to begin with "
            f"(decoder_start_token_id): {', '.join(f'{i:,}' for i in sorted(starts))}.",
            "Expected the same id: the model is trained with the first file's, and used with the "
            "second's.",
            "Set decoder_start_token_id in both to what the model was trained with.",
            is_certain=False,
        )
    forced = _ids(getattr(generation, "forced_bos_token_id", None))
    for name, ids in (("decoder_start_token_id", starts), ("forced_bos_token_id", forced)):
        for i in sorted(i for i in ids if 0 <= i < rows):
            (text,) = codec.decode([[i]])  # special tokens are left out
            if text:
                yield Finding(
                    f'{name} is {i:,}, which the tokenizer writes as "{text}".',
                    "Expected a special token, such as the padding, the end or a language.",
                    f"Set {name} to what the model was trained with, or take the tokenizer that "
                    "belongs to the checkpoint.",
                    is_certain=False,
                )


def _ids(value: Any) -> list[int]:
    """An id, several or none, as a list."""
    if value is None:
        return []
    return [int(i) for i in (value if isinstance(value, list | tuple) else [value])]


def _counted(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"
