"""Translate whole texts: white space and line breaks kept, each distinct line once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from attuner.data.segments import Segments, segment
from attuner.errors import ModelError, UsageError, nearest
from attuner.inference.settings import GenerationSettings, read_settings

if TYPE_CHECKING:
    from attuner.inference.engine import Engine
    from attuner.models.exports import ExportFormat

logger = logging.getLogger(__name__)

ENGINES = ("auto", "ctranslate2", "transformers")
QUANTIZATIONS = ("float32", "int8")

# What engines allow of a source where they are told nothing.
_SOURCE_TOKENS = 512
# Lines between two reports of progress: enough for full batches, as they are sorted by length.
_LINES_AT_ONCE = 256


class Translator:
    """A model that is ready to translate; `attuner.load` makes one.

    Args:
        engine: Generates lines.
        settings: Defaults of the search, as the checkpoint has them.
        source: Language of texts where `translate` is not told; the engine's where not given.
        target: Language to translate into where `translate` is not told; likewise.
        whole_texts: Whether the model takes a text as a whole, line breaks included, and what it
            makes of it stands alone.
        max_source_tokens: Longer sources are cut; 0 leaves it to the engine, which allows 512.
        says_limits: Whether it is logged how many texts met a limit; training says it by itself.

    Attributes:
        engine: Generates lines.
        settings: Defaults of the search.
        whole_texts: Whether the model takes a text as a whole.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        settings: GenerationSettings | None = None,
        source: str | None = None,
        target: str | None = None,
        whole_texts: bool = False,
        max_source_tokens: int = 0,
        says_limits: bool = False,
    ) -> None:
        self.engine = engine
        self.settings = settings or GenerationSettings()
        self.source = source
        self.target = target
        self.whole_texts = whole_texts
        self._max_source_tokens = max_source_tokens
        self._says_limits = says_limits

    # A str is a sequence of str, too: mypy asks which overload is meant; the first one is.
    @overload
    def translate(  # type: ignore[overload-overlap]
        self,
        texts: str,
        *,
        source: str | None = None,
        target: str | None = None,
        num_beams: int | None = None,
        max_new_tokens: int = 128,
        progress: Callable[[int, int], None] | None = None,
    ) -> str: ...

    @overload
    def translate(
        self,
        texts: Sequence[str],
        *,
        source: str | None = None,
        target: str | None = None,
        num_beams: int | None = None,
        max_new_tokens: int = 128,
        progress: Callable[[int, int], None] | None = None,
    ) -> list[str]: ...

    def translate(
        self,
        texts: str | Sequence[str],
        *,
        source: str | None = None,
        target: str | None = None,
        num_beams: int | None = None,
        max_new_tokens: int = 128,
        progress: Callable[[int, int], None] | None = None,
    ) -> str | list[str]:
        """Translate a text or several; a text gives a text, a list a list.

        White space at the edges of lines and line breaks are kept; blank texts come back as they
        are. A warning is logged of lines that are cut, and of translations that end at their limit.

        Args:
            texts: What to translate.
            source: Language of the texts, as a code such as `en`; that of `load` where not given.
            target: Language to translate into, as a code such as `pt-BR`; likewise.
            num_beams: Width of the beam search, 1 is greedy; the checkpoint's where not given.
            max_new_tokens: Longest translation of a line in tokens, end token included.
            progress: Called with the number of lines done and their total.

        Raises:
            ModelError: The checkpoint knows no such language, or has to be told one.
            UsageError: The width or the length is below 1.
        """
        for name, number in (("num_beams", num_beams), ("max_new_tokens", max_new_tokens)):
            if number is not None and number < 1:
                raise UsageError(f"{name} is {number}.", "Expected a whole number from 1.")
        engine = self._engine_between(source, target)
        single = isinstance(texts, str)
        listed = [texts] if isinstance(texts, str) else texts
        segmented = [segment(text, whole=self.whole_texts) for text in listed]
        options: dict[str, Any] = {
            "num_beams": num_beams or self.settings.num_beams, "max_new_tokens": max_new_tokens
        }  # fmt: skip
        if self._max_source_tokens:
            options["max_source_tokens"] = self._max_source_tokens
        translations = self._translate_lines(engine, segmented, options, progress)
        joined = [parts.join([translations[line] for line in parts.lines]) for parts in segmented]
        return joined[0] if single else joined

    @property
    def languages(self) -> tuple[str, ...]:
        """Codes of the languages that the checkpoint tells apart, in its spelling; often none."""
        return self.engine.codec.languages

    def _engine_between(self, source: str | None, target: str | None) -> Engine:
        """The engine for the languages asked for."""
        if source is None and target is None:
            return self.engine
        known = self.engine.codec.pair
        return self.engine.between(
            source or self.source or known.source, target or self.target or known.target
        )

    def _translate_lines(
        self,
        engine: Engine,
        segmented: Sequence[Segments],
        options: Mapping[str, Any],
        progress: Callable[[int, int], None] | None,
    ) -> dict[str, str]:
        """The translation of each distinct line; alike lengths are generated together."""
        distinct = {line for parts in segmented for line in parts.lines}
        lines = sorted(distinct, key=lambda line: (-len(line), line))
        translations: dict[str, str] = {}
        most = self.settings.within_positions(options["max_new_tokens"])
        num_broken_off = 0
        for start in range(0, len(lines), _LINES_AT_ONCE):
            chunk = lines[start : start + _LINES_AT_ONCE]
            results = engine.generate(chunk, **options)
            translations |= {
                line: best.text for line, (best, *_) in zip(chunk, results, strict=True)
            }
            num_broken_off += sum(len(best.token_ids) >= most - 1 for best, *_ in results)
            if progress is not None:
                progress(len(translations), len(lines))
        if self._says_limits and lines:
            self._say_limits(engine, lines, num_broken_off, most)
        return translations

    def _say_limits(
        self, engine: Engine, lines: Sequence[str], num_broken_off: int, most: int
    ) -> None:
        """Say how many lines were cut, and how many translations may be: nothing is lost unseen."""
        longest = self.settings.within_positions(self._max_source_tokens or _SOURCE_TOKENS)
        num_cut = int((engine.codec.encode_source(lines).lengths > longest).sum())
        unit = "texts" if self.whole_texts else "lines"
        if num_cut:
            logger.warning(
                "%d of %d %s have more than %d tokens: what is beyond was left out",
                num_cut, len(lines), unit, longest,
            )  # fmt: skip
        if num_broken_off:
            logger.warning(
                "what was made of %d of %d %s has %d tokens, the most that it may have: it may be "
                "broken off (max_new_tokens)",
                num_broken_off, len(lines), unit, most,
            )  # fmt: skip


def load(
    model: str | Path,
    *,
    source: str | None = None,
    target: str | None = None,
    engine: str = "auto",
    quantization: str | None = None,
    revision: str | None = None,
) -> Translator:
    """Load a translation model for use.

    Args:
        model: A model folder or that of an adapter, an export, a run folder, `embedded:en-fr` or a
            Hub id.
        source: Language of the texts, as a code such as `en`; what the model was tuned for where
            not given. `translate` can be told another.
        target: Language to translate into, as a code such as `pt-BR`; likewise.
        engine: `ctranslate2`, `transformers`, or `auto`: CTranslate2 where it supports the model.
        quantization: Number format of CTranslate2's weights: `float32` or `int8`; that of an
            export is its own, of others `float32` where not given.
        revision: Branch, tag or commit of a Hub id.

    Raises:
        ModelError: There is no such model, it is incomplete, or the engine asked for does not
            support it, or it knows no such language.
        UsageError: There is no such engine or quantization, or an export has another one.
    """
    from attuner.inference.conversion import ConversionError
    from attuner.models.adapter_folder import base_folder
    from attuner.models.exports import export_format
    from attuner.models.loading import load_seq2seq, resolve_model
    from attuner.models.usage import Usage, load_codec_between, read_usage

    if engine not in ENGINES:
        raise UsageError(f'There is no engine "{engine}".', nearest(engine, ENGINES))
    if quantization is not None and quantization not in QUANTIZATIONS:
        raise UsageError(
            f'There is no quantization "{quantization}".', nearest(quantization, QUANTIZATIONS)
        )
    folder = resolve_model(str(model), revision=revision)
    _refuse_classifier(model, folder)
    exported = export_format(folder)
    if exported is not None:
        _refuse_other(model, exported, engine, quantization)
    whole = base_folder(folder) or folder  # an adapter has its base's settings and tokens
    settings = read_settings(whole)
    chosen = choose_engine(whole) if engine == "auto" else engine
    codec = load_codec_between(whole, source, target, tuned=folder)
    usage = read_usage(folder) or Usage()
    how: dict[str, Any] = {
        "settings": settings,
        "source": source,
        "target": target,
        "whole_texts": usage.whole_texts,
        "max_source_tokens": usage.max_source_tokens,
        "says_limits": True,
    }
    if exported is not None:
        from attuner.inference.ctranslate2_engine import CTranslate2Engine

        numbers = exported.number_format
        ready = CTranslate2Engine(folder, codec, quantization=numbers, settings=settings)
        return Translator(ready, **how)
    if chosen == "ctranslate2":
        from attuner.inference.cache import cached_engine

        try:
            made = cached_engine(
                folder, codec, quantization=quantization or "float32", settings=settings
            )
            return Translator(made, **how)
        except ConversionError as error:
            if engine != "auto":
                raise
            logger.warning("%s: transformers generates", error.happened.rstrip("."))
    from attuner.inference.transformers_engine import TransformersEngine

    model_in_memory = load_seq2seq(folder)
    reference = TransformersEngine(model_in_memory, codec, settings=settings)
    return Translator(reference, **how)


def choose_engine(folder: Path) -> str:
    """CTranslate2 where it supports the model's family, else transformers; no library imported."""
    from attuner.inference.conversion import CONVERTIBLE
    from attuner.models.loading import model_type

    family = model_type(folder)
    if family in CONVERTIBLE:
        return "ctranslate2"
    logger.info("CTranslate2 does not support %s models: transformers generates", family)
    return "transformers"


def _refuse_other(
    model: str | Path, exported: ExportFormat, engine: str, quantization: str | None
) -> None:
    """Refuse another engine or number format than those that an export was made for."""
    numbers = exported.number_format
    for option, asked, own in (
        ("engine", engine if engine != "auto" else None, exported.name),
        ("quantization", quantization, numbers),
    ):
        if asked not in (None, own):
            raise UsageError(
                f"{model} is an export for {exported.title} in {numbers}: {option} {asked} is "
                "not for it.",
                "Engine and number format of an export are its own.",
                f"Leave {option} out, or name the model that the export was made from.",
            )


def _refuse_classifier(model: str | Path, folder: Path) -> None:
    from attuner.models.classifiers import labels_of

    if labels_of(folder) is not None:
        raise ModelError(
            f"{model} gives labels, it does not translate.",
            "Expected a model that writes text.",
            f'Give it texts to classify: attuner classify {model} "A text."',
        )
