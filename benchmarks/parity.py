"""Compare CTranslate2 with transformers' `generate` on real strings, in fp32.

    python benchmarks/parity.py [MODEL] [--data FILE --source en --target fr] [--n 1000]

Greedy search must give the same token ids; beam search may choose otherwise, but not worse: by
BLEU, and by the log-probability that one model (transformers, teacher forcing) gives to the
chosen translations.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass

from attuner.data.reading import read_units
from attuner.evaluation.metrics import METRICS
from attuner.inference.ctranslate2_engine import engine_from_model
from attuner.inference.engine import Engine, Hypothesis
from attuner.inference.transformers_engine import TransformersEngine
from attuner.models.codec import load_codec
from attuner.models.loading import load_seq2seq, resolve_model


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one engine made of the strings."""

    seconds: float
    hypotheses: list[Hypothesis]
    bleu: float
    log_probability: float  # mean over strings, of the sum over tokens
    log_probability_per_token: float  # mean over strings, of the mean over tokens


@dataclass(frozen=True, slots=True)
class Comparison:
    """Both engines with one width of the beam."""

    num_beams: int
    reference: Outcome
    candidate: Outcome

    @property
    def identical(self) -> float:
        """Share of strings with the same token ids, in percent."""
        ours, theirs = self.candidate.hypotheses, self.reference.hypotheses
        same = sum(a.token_ids == b.token_ids for a, b in zip(ours, theirs, strict=True))
        return 100 * same / len(ours)


def compare(
    reference: TransformersEngine,
    candidate: Engine,
    sources: Sequence[str],
    references: Sequence[str],
    *,
    target_language: str,
    num_beams: int,
) -> Comparison:
    """Let both engines translate `sources`, and rescore the results with the reference."""
    outcomes = []
    for engine in (reference, candidate):
        start = time.perf_counter()
        hypotheses = [best for best, *_ in engine.generate(sources, num_beams=num_beams)]
        seconds = time.perf_counter() - start
        scores = reference.score(sources, [h.token_ids for h in hypotheses])
        lengths = [len(h.token_ids) + 1 for h in hypotheses]
        per_token = [s / n for s, n in zip(scores, lengths, strict=True)]
        bleu = METRICS["bleu"](
            [h.text for h in hypotheses], [[r] for r in references], target_language
        )
        outcomes.append(
            Outcome(
                seconds,
                hypotheses,
                bleu.value,
                sum(scores) / len(scores),
                sum(per_token) / len(per_token),
            )
        )
    return Comparison(num_beams, *outcomes)


def read_pairs(data: str, source: str, target: str, n: int, seed: int) -> list[tuple[str, str]]:
    """`n` different pairs of one line each, drawn at random from whatever Attuner reads."""
    units = read_units(data, source_language=source, target_language=target)
    texts = {(unit.source.strip(), target.strip()) for unit in units for target in unit.targets}
    pairs = [pair for pair in sorted(texts) if all(pair) and not {"\n", "\r"} & set("".join(pair))]
    return random.Random(seed).sample(pairs, min(n, len(pairs)))


def main() -> None:
    """Print the comparison as a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", default="embedded:en-fr", help="folder or Hub id")
    parser.add_argument("--data", default="package:jupyterlab-language-pack-fr-FR")
    parser.add_argument("--source", default="en")
    parser.add_argument("--target", default="fr")
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--beams", type=int, nargs="+", default=[1, 4])
    args = parser.parse_args()

    folder = resolve_model(args.model)
    codec = load_codec(folder)
    model = load_seq2seq(folder)
    candidate, reference = engine_from_model(model, codec), TransformersEngine(model, codec)
    pairs = read_pairs(args.data, args.source, args.target, args.n, args.seed)
    sources, references = zip(*pairs, strict=True)
    print(f"{len(pairs)} strings of {args.data}, {args.model}")
    print(f"{'engine':28} beams  identical   BLEU  log-prob  per token  seconds")
    for num_beams in args.beams:
        result = compare(
            reference,
            candidate,
            sources,
            references,
            target_language=args.target,
            num_beams=num_beams,
        )
        rows = (
            (reference, result.reference, 100.0),
            (candidate, result.candidate, result.identical),
        )
        for engine, outcome, identical in rows:
            print(
                f"{engine.name:28} {num_beams:5} {identical:9.1f}% {outcome.bleu:6.2f} "
                f"{outcome.log_probability:9.4f} {outcome.log_probability_per_token:10.5f} "
                f"{outcome.seconds:8.1f}"
            )


if __name__ == "__main__":
    main()
