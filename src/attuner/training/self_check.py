"""Look whether a checkpoint is sound before hours are spent on it: seconds, on a few pairs."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from attuner.data.examples import languages_of
from attuner.data.languages import same_language
from attuner.data.line_pairs import training_pairs
from attuner.data.preparation import Prepared
from attuner.data.sides import Sides
from attuner.errors import ModelError
from attuner.models.families import family_of
from attuner.models.json_files import read_json_object
from attuner.models.soundness import (
    Finding,
    checkpoint_findings,
    is_tied,
    used_id_findings,
    vocabulary_rows,
)
from attuner.training.judgement import (
    Output,
    language_findings,
    loss_findings,
    output_findings,
    repeated_share,
    softened,
)

if TYPE_CHECKING:
    from torch import nn

    from attuner.data.features import SequencePairs
    from attuner.inference.transformers_engine import TransformersEngine
    from attuner.models.codec import TextCodec
    from attuner.recipe import Recipe
    from attuner.training.origin import Origin

Pair = tuple[str, str]  # source line, target line

_MOST_PAIRS = 1000  # that the two languages are learned from
_LOSS_PAIRS = 32
_LONGEST_LINE = 128  # characters
_LONGEST_TOKENS = 64
_TRANSLATED = 8
_MOST_NEW_TOKENS = 40


@dataclass(frozen=True, slots=True)
class SelfChecked:
    """What a self-check found.

    Attributes:
        name: The checkpoint, as the user calls it.
        findings: What is wrong, or looks so.
        facts: What was looked at and is as it should be, in words.
        seconds: Time that it took.
    """

    name: str
    findings: tuple[Finding, ...]
    facts: tuple[str, ...]
    seconds: float

    @property
    def damage(self) -> tuple[Finding, ...]:
        """The findings that are beyond doubt."""
        return tuple(finding for finding in self.findings if finding.is_certain)

    @property
    def lines(self) -> tuple[str, ...]:
        """The whole in words: one line where all is well, and a few for each finding."""
        found = [
            f"Self-check, {'damage' if finding.is_certain else 'suspicious'}: {finding}"
            for finding in self.findings
        ]
        return (*found, f"Self-check: {', '.join(self.facts)} ({self.seconds:.1f} s).")

    def require_sound(self) -> None:
        """Refuse a damaged checkpoint.

        Raises:
            ModelError: Names all damage, and how to go on all the same.
        """
        if not self.damage:
            return
        *others, last = self.damage
        happened = "\n".join([*map(str, others), last.happened])
        raise ModelError(
            f"{self.name} does not pass the self-check.\n{happened}",
            last.expected,
            f"{last.remedy}\nTo go on all the same: model.self_check=warn.",
        )


def self_check(
    model: nn.Module,
    codec: TextCodec,
    pairs: Iterable[Pair],
    *,
    folder: Path,
    source: str,
    target: str,
    name: str | None = None,
    features: Sequence[SequencePairs] = (),
) -> SelfChecked:
    """Look at a checkpoint's ties, weights and token ids, its loss and its translations.

    The model is run only where nothing is damaged. Its mode and the random state are left as they
    were.

    Args:
        model: An encoder-decoder model, bare, as loaded from `folder`.
        codec: Its tokens.
        pairs: Lines of the training data with their translations; some of them are used.
        folder: The model folder.
        source: Language of the source lines.
        target: Language of the target lines.
        name: The checkpoint, as messages call it; the folder where not given.
        features: Token ids that the model must know.
    """
    import torch

    began = time.perf_counter()
    lines = _spread(list(pairs), _MOST_PAIRS)
    findings = checkpoint_findings(model, codec, folder)
    for column in features:
        findings += used_id_findings(model, column.source, column.target)
    facts = [f"{'tied' if is_tied(model) else 'untied'} embeddings", "all weights found"]
    if lines and not any(finding.is_certain for finding in findings):
        with torch.random.fork_rng():
            found, seen = _run(model, codec, lines, folder, (source, target))
        findings, facts = findings + found, facts + seen
    elif lines:
        facts.append("not run")
    seconds = time.perf_counter() - began
    return SelfChecked(name or str(folder), tuple(findings), tuple(facts), seconds)


def check_origin(
    recipe: Recipe,
    origin: Origin,
    model: nn.Module,
    prepared: Prepared,
    features: Sequence[SequencePairs] = (),
) -> SelfChecked | None:
    """The self-check that a recipe asks for; None where it wants none or has random weights."""
    if origin.model_folder is None or recipe.model.self_check == "skip":
        return None
    source, target = recipe.text_task.told_languages
    told = np.fromiter(
        (not own or other == target for own, other in languages_of(prepared.train)), bool
    )
    places = np.flatnonzero(told)
    examples = prepared.train.select(places[:: max(1, len(places) // (2 * _MOST_PAIRS))])
    pairs = training_pairs(examples, whole_texts=prepared.whole_texts)
    return self_check(
        model,
        origin.codec,
        [(one, other) for one, other, _ in pairs],
        folder=origin.model_folder,
        source=source,
        target=target,
        name=origin.name,
        features=features,
    )


def _run(
    model: Any, codec: TextCodec, lines: list[Pair], folder: Path, languages: tuple[str, str]
) -> tuple[list[Finding], list[str]]:
    """What the loss and the translations say: findings, and facts in words."""
    from attuner.inference.transformers_engine import TransformersEngine
    from attuner.tasks.translation import encode

    only_translates = family_of(model.config.model_type).only_translates
    short = [pair for pair in lines if max(map(len, pair)) <= _LONGEST_LINE] or lines
    engine = TransformersEngine(model, codec)
    longest = engine.settings.within_positions(_LONGEST_TOKENS)
    sample = encode(
        [(*pair, 0) for pair in _spread(short, _LOSS_PAIRS)],
        codec,
        max_source_tokens=longest,
        max_target_tokens=longest,
    ).features
    findings = list(used_id_findings(model, sample.source, sample.target))
    if findings:
        return findings, ["not run"]
    loss = _loss(model, sample)
    findings = loss_findings(
        loss, len(sample), vocabulary_rows(model)[1], only_translates=only_translates
    )
    facts = [f"loss {loss:.2f} nats a token"]
    if not math.isfinite(loss):
        return findings, facts
    outputs = _translate(engine, _telling_pairs(short, codec))
    findings = softened(findings, outputs)
    degenerate = output_findings(outputs, only_translates=only_translates)
    findings += degenerate
    if not outputs:
        return findings, [*facts, "no source fit to generate from"]
    facts.append("degenerate greedy output" if degenerate else "greedy output sound")
    if languages[0] == languages[1]:
        return findings, facts
    sides = Sides(*zip(*lines, strict=True))
    if degenerate or not sides.are_distinct:
        return findings, [*facts, "its language not judged"]
    judged = language_findings(
        [output for output in outputs if not output.fault],
        sides,
        languages,
        _cause(codec, engine, folder, languages),
        only_translates=only_translates,
    )
    facts += [] if judged else [f"in {languages[1]}"]
    return findings + judged, facts


def _loss(model: nn.Module, sample: SequencePairs) -> float:
    from attuner.tasks.translation import TranslationTask
    from attuner.training.scoring import token_loss

    task = TranslationTask(model)
    device = next(model.parameters()).device
    with task.prepared(model):
        return token_loss(model, task, sample, device, batch_examples=_LOSS_PAIRS)


def _telling_pairs(lines: list[Pair], codec: TextCodec) -> list[Pair]:
    """Pairs of some words whose target is no copy, differs from the others' and is short.

    That a translation repeats itself or has no end says something only where the reference does
    not.
    """
    chosen: dict[str, str] = {}  # source → target
    for source, target in lines:
        if re.search(r"[^\W\d_]{2}.*\s.*[^\W\d_]{2}", source) and source != target:
            chosen.setdefault(source, target)
    distinct = {target: source for source, target in chosen.items()}
    references = codec.encode_target(list(distinct)).to_lists()
    telling = [
        (source, target)
        for (target, source), ids in zip(distinct.items(), references, strict=True)
        if len(ids) <= _MOST_NEW_TOKENS // 2 and not repeated_share(ids)
    ]
    return _spread(telling, _TRANSLATED)


def _translate(engine: TransformersEngine, pairs: list[Pair]) -> list[Output]:
    made = engine.generate(
        [source for source, _ in pairs],
        num_beams=1,
        max_new_tokens=_MOST_NEW_TOKENS,
        max_source_tokens=_LONGEST_TOKENS,
    )
    return [
        Output(*pair, best.text, best.token_ids, len(best.token_ids) < _MOST_NEW_TOKENS - 1)
        for pair, (best, *_) in zip(pairs, made, strict=True)
    ]


def _cause(
    codec: TextCodec, engine: TransformersEngine, folder: Path, languages: tuple[str, str]
) -> str:
    """Why translations are probably in the wrong language, and what to do."""
    source, target = languages
    settings = read_json_object(folder / "tokenizer_config.json")
    declared = [str(settings.get(f"{side}_lang") or "") for side in ("source", "target")]
    if all(declared) and same_language(declared[0], target) and same_language(declared[1], source):
        return (
            f"The checkpoint says that it translates {declared[0]} into {declared[1]}: take the "
            "one of the other direction."
        )
    if codec.pair.target_code is not None:
        return (
            f"The checkpoint was told to write {codec.pair.target_code} (task.target={target}): "
            "check that it has learned this language, and that the data's targets are in it."
        )
    forced = engine.settings.forced_bos_token_id
    if forced is not None:
        (token,) = codec.target_tokens([forced])
        return (
            f'Translations are made to begin with "{token}" (forced_bos_token_id {forced}): set it '
            f"to the token of {target} in generation_config.json."
        )
    if codec.source_prefix:
        return (
            f'Before each source stands "{codec.source_prefix}": check that the checkpoint was '
            "trained for that, or give other words: task.prefix."
        )
    return (
        f"Check that the checkpoint translates {source} into {target}, not the other way round, "
        "and that the data's sides are not swapped."
    )


def _spread(items: list[Any], most: int) -> list[Any]:
    """At most so many of them, evenly spread.

    >>> _spread([1, 2, 3, 4, 5], 2)
    [1, 3]
    """
    return [items[i * len(items) // most] for i in range(most)] if len(items) > most else items
