"""Score a model on files: every entry that has a translation, as it stands."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from attuner.errors import UsageError
from attuner.evaluation.evaluate import Evaluation, evaluate
from attuner.models.json_files import read_json_object


def evaluate_data(
    model: str,
    data: str,
    *,
    source: str | None = None,
    target: str | None = None,
    num_beams: int | None = None,
    max_new_tokens: int = 128,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Translate the sources that `data` holds and score them against its translations.

    Args:
        model: A model folder, a run folder, `embedded:en-fr` or a Hub id.
        data: A file, folder, glob, `package:NAME` or `hub:ID`.
        source: Language code of the source text; the model's where not given.
        target: Language code of the references; the model's where not given.
        num_beams: Width of the beam search; the model's own where not given.
        max_new_tokens: Longest translation of a line in tokens, end token included.
        progress: Called with the number of lines done and their total.

    Raises:
        UsageError: The languages are not given, and the model does not say.
        DataError: The data cannot be read, or hold no translated entry.
        ModelError: The model cannot be used.
    """
    from attuner.data.preparation import prepare
    from attuner.data.reading import read_units
    from attuner.inference.translator import load
    from attuner.models.loading import resolve_model

    if source is None or target is None:
        known = model_languages(resolve_model(model))
        source, target = source or known[0], target or known[1]
    if not source or not target:
        raise UsageError(
            f"{model} does not say which languages it translates.",
            "The data need the languages that are to be scored.",
            "Give them: --source en --target fr",
        )
    units = read_units(data, source_language=source, target_language=target)
    prepared = prepare(units, validation_size=0, test_size=0, duplicates="keep")
    return evaluate(
        load(model),
        prepared.train,
        num_beams=num_beams,
        max_new_tokens=max_new_tokens,
        progress=progress,
    )


def model_languages(folder: Path) -> tuple[str, str]:
    """Source and target language, as Marian's tokenizer configuration names them; "" if unknown."""
    settings = read_json_object(folder / "tokenizer_config.json")
    return str(settings.get("source_lang") or ""), str(settings.get("target_lang") or "")
