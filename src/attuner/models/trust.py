"""What a model folder may not hold: code, files from elsewhere, sizes without weights."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any

from attuner.errors import ModelError
from attuner.models.json_files import read_json_object

# A table that is computed rather than stored, such as Marian's positions, may be so large.
_COMPUTED_VALUES = 2**26
_SIZE = re.compile(r"d_model|d_ff|d_kv|.*_(dim|size|positions|position_embeddings|buckets|heads)")
# The largest known vocabularies have some 260,000 pieces.
_MOST_PIECES = 1_000_000
TOKENIZER_REMEDY = "Copy the tokenizer's files from the checkpoint that the model was made from."
_WIDTHS = ("d_model", "hidden_size")


def refuse_code(file: Path, settings: Mapping[str, Any]) -> None:
    """Refuse a configuration that asks for code of its own.

    transformers would load such a checkpoint as something else, where it knows the type.

    Args:
        file: The configuration's file.
        settings: What it holds.

    Raises:
        ModelError: It has an `auto_map`; names it.
    """
    auto_map = settings.get("auto_map")
    if not auto_map:
        return
    raise ModelError(
        f"{file} asks for code of its own: auto_map is {auto_map}.",
        "Attuner runs no code from a model folder (transformers' trust_remote_code is off).",
        "Choose a checkpoint of an architecture that transformers itself has.",
    )


def refuse_elsewhere(folder: Path) -> None:
    """Refuse an index that leads to weights in other folders, or to none.

    Raises:
        ModelError: A weight's file is not a `*.safetensors` in the folder.
    """
    for index in sorted(folder.glob("*.safetensors.index.json")):
        files = read_json_object(index).get("weight_map")
        names = files.values() if isinstance(files, dict) else [files]
        for name in dict.fromkeys(str(name) for name in names):
            is_plain = re.fullmatch(r"[^/\\]+\.safetensors", name) is not None
            if not is_plain or not (folder / name).is_file():
                raise ModelError(
                    f"{index}: weights are to be in {name}.",
                    "An index names files *.safetensors beside it.",
                    "Copy the index and its files again from the checkpoint.",
                )


def refuse_absurd_sizes(folder: Path) -> None:
    """Refuse a configuration that needs far more memory than its weights hold.

    Raises:
        ModelError: There are more layers than tensors, or one matrix is larger than all weights.
        SafetensorError: The weights are damaged.
    """
    file = folder / "config.json"
    config = read_json_object(file)
    shapes = list(_shapes(folder))
    num_values = sum(prod(shape) for shape in shapes)
    sizes = {name: value for name, value in config.items() if type(value) is int}
    usual = max((sizes.get(name, 1) for name in _WIDTHS), default=1)
    for name, size in sizes.items():
        # ALBERT and its kin have narrow embeddings: IndicBERT 200,000 of 128 numbers.
        width = sizes.get("embedding_size", usual) if name == "vocab_size" else usual
        if name.endswith("layers") and size > len(shapes):
            what = f"the weights are {len(shapes)} tensors"
        elif _SIZE.fullmatch(name) and size * width > max(num_values, _COMPUTED_VALUES):
            what = f"the weights are {num_values} numbers"
        else:
            continue
        raise ModelError(
            f"{file}: {name} is {size}, but {what}.",
            "The configuration describes the weights beside it.",
            "Copy both again from one checkpoint.",
        )


def _shapes(folder: Path) -> Iterator[tuple[int, ...]]:
    from safetensors import safe_open

    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, "np") as opened:
            for name in opened.keys():  # noqa: SIM118 (it is no mapping)
                yield tuple(opened.get_slice(name).get_shape())


def refuse_ids(where: Path, ids: Mapping[str, Any], num_pieces: int) -> None:
    """Refuse a vocabulary that no model has weights for.

    Raises:
        ModelError: An id is no whole number from 0 to 999,999, or there are more pieces than that.
    """
    expected = f"A vocabulary has up to {_MOST_PIECES:,} pieces, with whole numbers from 0 as ids."
    if num_pieces > _MOST_PIECES:
        raise ModelError(f"{where}: {num_pieces:,} pieces.", expected, TOKENIZER_REMEDY)
    for piece, number in ids.items():
        if type(number) is not int or not 0 <= number < _MOST_PIECES:
            raise ModelError(
                f"{where}: the id of {piece!r:.60} is {number!r:.60}.", expected, TOKENIZER_REMEDY
            )
