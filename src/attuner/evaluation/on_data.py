"""Score a model on files: every entry that has a translation, as it stands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from attuner.data.units import Example
from attuner.errors import DataError, UsageError
from attuner.evaluation.evaluate import Evaluation, evaluate, require_metrics
from attuner.evaluation.own_metrics import ScoreFunction

# How messages spell the arguments below; the command line gives its own spelling.
_KEYWORDS = {
    name: f'{name}="{{}}"'
    for name in (
        "source", "target", "source_column", "target_column", "target_path", "config", "revision",
        "split", "encoding", "bad_entries",
    )
}  # fmt: skip


def evaluate_data(
    model: str | Path,
    data: str | Path,
    *,
    source: str | None = None,
    target: str | None = None,
    source_column: str | None = None,
    target_column: str | None = None,
    target_path: str | None = None,
    config: str | None = None,
    revision: str | None = None,
    split: str = "train",
    encoding: str = "utf-8",
    bad_entries: Literal["fail", "skip"] = "fail",
    metrics: Sequence[str] | None = None,
    functions: Sequence[ScoreFunction] = (),
    engine: str = "auto",
    quantization: str | None = None,
    num_beams: int | None = None,
    max_new_tokens: int = 128,
    progress: Callable[[int, int], None] | None = None,
    options: Mapping[str, str] = _KEYWORDS,
) -> Evaluation:
    """Translate the sources that data hold and score them against their translations.

    Args:
        model: A model folder, a run folder, `embedded:en-fr` or a Hub id.
        data: A file, folder, glob, `package:NAME` or `hub:ID`.
        source: Language code of the source text; the model's where not given. A model that takes
            whole texts needs none.
        target: Language code of the references; the model's where not given, or English of a model
            that takes whole texts.
        source_column: Column of the source text in a table; found by its name where not given.
        target_column: Column of the references in a table.
        target_path: With a text file in `data`: the file with its translations, line by line.
        config: Configuration of a Hub data set.
        revision: Branch, tag or commit of a Hub data set.
        split: Split of a Hub data set.
        encoding: Encoding of text files that do not declare their own.
        bad_entries: `fail` raises those that cannot be read, `skip` counts them.
        metrics: Names of the scores; BLEU and chrF for a model that translates, ROUGE-L and chrF
            for one that takes whole texts.
        functions: Metrics of one's own: texts, and the references of each → values by name.
        engine: `ctranslate2`, `transformers`, or `auto`: CTranslate2 where it supports the model.
        quantization: Number format of CTranslate2's weights: `float32` or `int8`; that of an
            export is its own, of others `float32` where not given.
        num_beams: Width of the beam search; the model's own where not given.
        max_new_tokens: Longest translation of a line in tokens, end token included.
        progress: Called with the number of lines done and their total.
        options: How the arguments that messages advise are typed; `{}` stands for the value.

    Returns:
        `scores` (0 to 100) with their `signatures`, the settings behind them, one of
        `predictions` for each entry, and `counts` of what was read, skipped and scored.

    Raises:
        UsageError: The languages are not given, and the model does not say; or there is no such
            metric.
        MissingExtraError: A metric's library is not installed.
        DataError: The data cannot be read, or hold no translated entry.
        ModelError: The model cannot be used.
        UserError: A function raised an error, or gave no numbers.
    """
    from attuner.inference.translator import load
    from attuner.models.loading import resolve_model
    from attuner.models.usage import Usage, read_usage

    usage = read_usage(resolve_model(str(model))) or Usage()
    if metrics is None:
        metrics = ("rougeL", "chrf") if usage.whole_texts else ("bleu", "chrf")
    require_metrics(metrics)
    read = read_examples(
        model,
        data,
        source=source,
        target=target,
        source_column=source_column,
        target_column=target_column,
        target_path=target_path,
        config=config,
        revision=revision,
        split=split,
        encoding=encoding,
        bad_entries=bad_entries,
        options=options,
    )
    made = evaluate(
        load(
            model,
            source=read.source or None,
            target=read.target or None,
            engine=engine,
            quantization=quantization,
        ),
        read.examples,
        metrics=metrics,
        functions=functions,
        num_beams=num_beams,
        max_new_tokens=max_new_tokens,
        progress=progress,
    )
    return replace(made, counts=read.counts)


@dataclass(frozen=True, slots=True)
class ReadExamples:
    """Examples that data hold for a model.

    Attributes:
        examples: At least one.
        source: Language of their sources; "" where it is of no matter.
        target: Language of their references, likewise.
        counts: `read` by file, `skipped` by reason, and `scored`.
    """

    examples: list[Example]
    source: str
    target: str
    counts: Mapping[str, Mapping[str, int]]


def read_examples(
    model: str | Path,
    data: str | Path,
    *,
    source: str | None = None,
    target: str | None = None,
    source_column: str | None = None,
    target_column: str | None = None,
    target_path: str | None = None,
    config: str | None = None,
    revision: str | None = None,
    split: str = "train",
    encoding: str = "utf-8",
    bad_entries: Literal["fail", "skip"] = "fail",
    options: Mapping[str, str] = _KEYWORDS,
) -> ReadExamples:
    """Read what a model is scored on; arguments and errors as in `evaluate_data`."""
    from attuner.data.preparation import counted, examples_of, skipped_sentence
    from attuner.data.reading import read_units
    from attuner.models.loading import resolve_model
    from attuner.models.usage import Usage, folder_languages, read_usage

    folder = resolve_model(str(model))
    usage = read_usage(folder) or Usage()
    language = target or usage.target or "en"
    if usage.whole_texts:
        source, target = "", ""
    if source is None or target is None:
        known = folder_languages(folder)
        source, target = source or known[0], target or known[1]
    if not usage.whole_texts and not (source and target):
        raise UsageError(
            f"{model} does not say which languages it translates.",
            "The data need the languages that are to be scored.",
            f"Give them: {options['source'].format('en')} {options['target'].format('fr')}",
        )
    columns = {"source": source_column, "target": target_column}
    read: Counter[str] = Counter()
    skipped: Counter[str] = Counter()
    units = read_units(
        str(data),
        source_language=source,
        target_language=target,
        target_path=target_path,
        config=config,
        revision=revision,
        split=split,
        columns={side: name for side, name in columns.items() if name is not None},
        encoding=encoding,
        bad_entries=bad_entries,
        skipped=skipped,
        options=options,
    )
    if usage.whole_texts:
        units = (replace(unit, target_language=language) for unit in units)
    examples = list(examples_of(counted(units, read), "keep", skipped))
    if not examples:
        raise DataError(
            f"{data}: no pair is left to score: {skipped_sentence(skipped)}.",
            "Scores need entries that have a source text and a finished translation.",
            "Name other data.",
        )
    counts = {
        "read": dict(read),
        "skipped": dict(skipped.most_common()),
        "scored": {"entries": len(examples)},
    }
    return ReadExamples(examples, source, target, counts)
