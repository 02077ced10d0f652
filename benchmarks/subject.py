"""What benchmarks work on: the opus-mt-en-fr architecture, and the user's strings as its ids."""

from __future__ import annotations

import argparse
import io
import json
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from attuner.data.features import SequencePairs, TokenColumn
from attuner.data.line_pairs import training_pairs
from attuner.data.preparation import examples_of
from attuner.data.reading import read_units
from attuner.data.units import Example

DATA = "package:jupyterlab-language-pack-fr-FR"
EOS, UNK = 0, 1
MAX_TOKENS = 128

# Helsinki-NLP/opus-mt-en-fr as it is published: 75.1 M parameters; random weights serve here.
OPUS: dict[str, Any] = {
    "model_type": "marian",
    "vocab_size": 59_514,
    "d_model": 512,
    "encoder_layers": 6,
    "decoder_layers": 6,
    "encoder_ffn_dim": 2048,
    "decoder_ffn_dim": 2048,
    "encoder_attention_heads": 8,
    "decoder_attention_heads": 8,
    "activation_function": "swish",
    "scale_embedding": True,
    "static_position_embeddings": True,
    "max_position_embeddings": 512,
    "pad_token_id": 59_513,
    "decoder_start_token_id": 59_513,
    "eos_token_id": EOS,
    "bos_token_id": EOS,
    "dropout": 0.1,
    "tie_word_embeddings": True,
    "share_encoder_decoder_embeddings": True,
}
# The same in small, to see that a benchmark runs.
TINY = {
    **OPUS,
    "vocab_size": 1001,
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "pad_token_id": 1000,
    "decoder_start_token_id": 1000,
}


def parser(doc: str | None, *, rounds: int = 5) -> argparse.ArgumentParser:
    """The options that all benchmarks have."""
    made = argparse.ArgumentParser(description=(doc or "").split("\n", 1)[0])
    made.add_argument("--data", default=DATA, help="anything that Attuner reads")
    made.add_argument("--source", default="en", help="language code")
    made.add_argument("--target", default="fr", help="language code")
    made.add_argument("--rounds", type=int, default=rounds)
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--tiny", action="store_true", help="only see that it runs")
    made.add_argument("--worker", help=argparse.SUPPRESS)
    made.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return made


def read_examples(args: argparse.Namespace) -> list[Example]:
    """All usable entries of the data, each pair once."""
    skipped: Counter[str] = Counter()
    units = read_units(
        args.data, source_language=args.source, target_language=args.target, skipped=skipped
    )
    return list(examples_of(units, "skip", skipped))


def short_pairs(args: argparse.Namespace, num: int) -> list[tuple[str, str]]:
    """`num` pairs of one line each with different sources, drawn at random, in random order."""
    pairs = {e.source.strip(): e.references[0].strip() for e in read_examples(args)}
    lines = [pair for pair in sorted(pairs.items()) if not {"\n", "\r"} & set("".join(pair))]
    return random.Random(args.seed).sample(lines, min(num, len(lines)))


@dataclass(frozen=True, slots=True)
class Subject:
    """What is trained.

    Attributes:
        config: The model's configuration, `model_type` included.
        features: Token ids of all pairs of lines, cut at 128.
    """

    config: dict[str, Any]
    features: SequencePairs

    def save(self, folder: Path) -> None:
        """Write it for the workers."""
        (folder / "config.json").write_text(json.dumps(self.config), encoding="utf-8")
        columns = {"source": self.features.source, "target": self.features.target}
        arrays = {f"{side}_{part}": getattr(column, part) for side, column in columns.items()
                  for part in ("values", "offsets")}  # fmt: skip
        np.savez(folder / "features.npz", **arrays)

    @classmethod
    def load(cls, folder: Path) -> Subject:
        """Read what `save` wrote."""
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        arrays = np.load(folder / "features.npz")
        source, target = (
            TokenColumn(arrays[f"{side}_values"], arrays[f"{side}_offsets"])
            for side in ("source", "target")
        )
        return cls(config, _pairs(source, target))

    def describe(self, data: str, weights: str = "random weights") -> str:
        """Data and architecture in two lines."""
        source, target = self.features.source.lengths, self.features.target.lengths
        shape = self.config
        return (
            f"Data: {data}: {len(self.features):,} pairs of lines, {source.mean():.1f} source and "
            f"{target.mean():.1f} target tokens on average\n"
            f"Model: {shape['model_type']}, d {shape['d_model']}, {shape['encoder_layers']}+"
            f"{shape['decoder_layers']} layers, vocabulary {shape['vocab_size']:,}, {weights}"
        )


def build_subject(args: argparse.Namespace) -> Subject:
    """Learn a unigram vocabulary from the data itself and encode them with it."""
    import sentencepiece

    config = TINY if args.tiny else OPUS
    pairs = [(source, target) for source, target, _ in training_pairs(read_examples(args))]
    if args.tiny:
        pairs = pairs[:500]
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([line for pair in pairs for line in pair]),
        model_writer=model,
        vocab_size=min(12_000, config["vocab_size"] - 1),
        hard_vocab_limit=False,
        eos_id=EOS,
        unk_id=UNK,
        bos_id=-1,
        minloglevel=2,
    )
    spm = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())

    def column(lines: Sequence[str]) -> TokenColumn:
        rows = spm.encode(list(lines))
        return TokenColumn.from_lists([[*ids[: MAX_TOKENS - 1], EOS] for ids in rows])

    sources, targets = zip(*pairs, strict=True)
    return Subject(config, _pairs(column(sources), column(targets)))


def some_rows(features: SequencePairs, rows: np.ndarray) -> SequencePairs:
    """Only these rows."""
    sides = (features.source, features.target)
    return _pairs(*(TokenColumn.from_lists([c[row].tolist() for row in rows]) for c in sides))


@contextmanager
def saved(subject: Subject) -> Iterator[list[str]]:
    """Arguments that tell workers where the subject lies."""
    with TemporaryDirectory(prefix="attuner-benchmark-") as folder:
        subject.save(Path(folder))
        yield ["--folder", folder]


def flops(config: dict[str, Any], source_tokens: int, target_tokens: int) -> float:
    """Operations of forward and backward on real tokens: 6 for each weight that a token meets.

    The keys and values of cross-attention are counted with the target tokens; attention's own
    products, small at these lengths, and the optimizer are left out.
    """
    width: int = config["d_model"]
    encoder = config["encoder_layers"] * (4 * width**2 + 2 * width * config["encoder_ffn_dim"])
    decoder = config["decoder_layers"] * (8 * width**2 + 2 * width * config["decoder_ffn_dim"])
    output = width * config["vocab_size"]
    return float(6 * (target_tokens * (decoder + output) + source_tokens * encoder))


def _pairs(source: TokenColumn, target: TokenColumn) -> SequencePairs:
    num = len(target)
    return SequencePairs(source, target, np.arange(num), np.ones(num))
