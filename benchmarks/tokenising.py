"""Tokenising against `datasets.map` with `MarianTokenizer`: pairs a second, ids, the second run.

    python benchmarks/tokenising.py [--data FILE ...] [--source en --target fr] [--pairs 200000]

Both sides turn the same lines in memory into token ids cut at 128, in turn, each in a process of
its own: Attuner's `encode` into flat arrays, and `Dataset.map(batched=True)` with its cache off.
The ids must be identical. Lines in which a special token stands literally are left out: Attuner
takes it for text, on purpose. Then a run fills an empty cache, and a fresh process finds it.
"""

from __future__ import annotations

import argparse
import hashlib
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from side_by_side import Arm, Channel, describe_machine, interleave, ratio_table, ratios, started

from attuner.data.line_pairs import training_pairs
from attuner.data.preparation import examples_of
from attuner.data.reading import read_units
from attuner.data.units import Example
from attuner.models.loading import resolve_model

MODEL = "embedded:en-fr"
MAX_TOKENS = 128
_SPECIAL = ("</s>", "<unk>", "<pad>")

Pairs = list[tuple[str, str, int]]
Arrays = list[np.ndarray[Any, Any]]


def read_examples(args: argparse.Namespace) -> list[Example]:
    """As many examples as pairs are wanted, those of `--data` repeated where they are fewer."""
    found: list[Example] = []
    for data in args.data:
        units = read_units(data, source_language=args.source, target_language=args.target)
        found += examples_of(units, "keep", Counter())
    found = [
        example
        for example in found
        if not any(special in example.source + example.references[0] for special in _SPECIAL)
    ]
    return list(islice(cycle(found), args.pairs))


def pairs_of(examples: list[Example], num_pairs: int) -> Pairs:
    """The first pairs of lines."""
    return list(islice(training_pairs(examples), num_pairs))


def attuner_arm(pairs: Pairs) -> Callable[[], Arrays]:
    """Attuner's way: columns of ids."""
    from attuner.models.codec import load_codec
    from attuner.tasks.translation import encode

    codec = load_codec(resolve_model(MODEL))

    def work() -> Arrays:
        made = encode(pairs, codec, max_source_tokens=MAX_TOKENS, max_target_tokens=MAX_TOKENS)
        source, target = made.features.source, made.features.target
        return [source.values, source.offsets, target.values, target.offsets]

    return work


def datasets_arm(pairs: Pairs) -> Callable[[], Arrays]:
    """The stock way: a table of ids, made by the Python tokenizer."""
    import datasets
    from transformers import MarianTokenizer

    datasets.disable_caching()
    datasets.disable_progress_bars()
    tokenizer = MarianTokenizer.from_pretrained(resolve_model(MODEL))
    table = datasets.Dataset.from_dict(
        {"source": [source for source, _, _ in pairs], "target": [target for _, target, _ in pairs]}
    )

    def tokenise(batch: dict[str, list[str]]) -> Any:
        return tokenizer(
            batch["source"], text_target=batch["target"], max_length=MAX_TOKENS, truncation=True
        )

    def work() -> Arrays:
        made = table.map(tokenise, batched=True, remove_columns=table.column_names)
        columns = [made.data.column(name).combine_chunks() for name in ("input_ids", "labels")]
        return [array.to_numpy() for c in columns for array in (c.flatten(), c.offsets)]

    return work


ARMS = {"attuner": attuner_arm, "datasets.map": datasets_arm}


def digest(arrays: Arrays) -> str:
    """Hash of ids and of where sequences begin, whatever their width."""
    made = hashlib.blake2b(digest_size=16)
    for array in arrays:
        made.update(array.astype(np.int64).tobytes())
    return made.hexdigest()


def run_arm(name: str, args: argparse.Namespace) -> None:
    """Work each time that the parent says so."""
    channel = Channel()
    work = ARMS[name](pairs_of(read_examples(args), args.pairs))
    channel.reply()
    while channel.go():
        start = time.perf_counter()
        arrays = work()
        seconds = time.perf_counter() - start
        channel.reply(pairs_a_second=args.pairs / seconds, ids=digest(arrays))


def run_cached(args: argparse.Namespace) -> None:
    """From examples to features as a run does it, with the cache: hash, look, encode or read."""
    channel = Channel()
    from attuner.models.codec import load_codec
    from attuner.models.fingerprint import tokenizer_fingerprint
    from attuner.tasks.translation import Encoded, encoded_chunks
    from attuner.training.encoded_cache import cached, encoded_key

    examples = read_examples(args)
    folder = resolve_model(MODEL)
    codec = load_codec(folder)
    channel.reply()
    while channel.go():
        is_hit = True

        def make(pairs: Pairs, options: dict[str, int]) -> Iterator[Encoded]:
            nonlocal is_hit
            is_hit = False
            return encoded_chunks(pairs, codec, **options)  # type: ignore[arg-type]

        start = time.perf_counter()
        pairs = pairs_of(examples, args.pairs)
        options = {"max_source_tokens": MAX_TOKENS, "max_target_tokens": MAX_TOKENS}
        key = encoded_key(pairs, tokenizer=tokenizer_fingerprint(folder), **options)
        made = cached(key, lambda pairs=pairs, options=options: make(pairs, options)).features
        arrays = [made.source.values, made.source.offsets, made.target.values, made.target.offsets]
        sum(int(array.sum()) for array in arrays)  # mapped memory is read when it is used
        seconds = time.perf_counter() - start
        channel.reply(seconds=seconds, ids=digest(arrays), is_hit=is_hit)


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", default=["package:jupyterlab-language-pack-fr-FR"])
    parser.add_argument("--source", default="en")
    parser.add_argument("--target", default="fr")
    parser.add_argument("--pairs", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tiny", action="store_true", help="only see that it runs")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.tiny:
        args.pairs, args.rounds = 500, 1
    if args.worker:
        run_cached(args) if args.worker == "cached" else run_arm(args.worker, args)
        return

    arguments = sys.argv[1:]
    arms = [Arm(name) for name in ARMS]
    _, found = interleave(arms, __file__, arguments, rounds=args.rounds)
    runs = []
    with TemporaryDirectory(prefix="attuner-") as cache:
        for _ in range(2):
            with started(Arm("cached", {"ATTUNER_CACHE": cache}), __file__, arguments) as worker:
                runs.append(worker.round())
    assert [run["is_hit"] for run in runs] == [False, True]
    ids = {figures["ids"] for rounds in found.values() for figures in rounds}
    ids |= {run["ids"] for run in runs}
    median = statistics.median(ratios(found, "pairs_a_second", "attuner", "datasets.map"))
    print(describe_machine())
    print(f"{args.pairs:,} pairs of {', '.join(args.data)}, {args.rounds} rounds\n")
    print(
        ratio_table(found, "pairs_a_second", unit="pairs/s", baselines=["datasets.map"], digits=0)
    )
    print(
        f"\nAttuner is {median:.1f} times as fast; ids {'identical' if len(ids) == 1 else 'DIFFER'}"
    )
    first, second = (run["seconds"] for run in runs)
    print(f"From examples to features: first run {first:.2f} s, second {second:.2f} s (cached)")
    if len(ids) > 1:
        raise SystemExit("The ids differ.")


if __name__ == "__main__":
    main()
