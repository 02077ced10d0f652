"""The pipelines of transformers 4 that version 5 dropped, over a `Translator`.

They take what those took: a text, a list, or any iterable, which is read as far as results are
asked for; and return what those returned: `[{"translation_text": ...}]`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attuner.errors import UsageError, nearest
from attuner.models.json_files import read_json_object

if TYPE_CHECKING:
    from attuner.inference.translator import Translator

# By task: the key of what it returns.
_KEYS = {
    "translation": "translation_text",
    "text2text-generation": "generated_text",
    "summarization": "summary_text",
}
_CLASSIFYING = ("text-classification", "sentiment-analysis")
# What a call takes, each as transformers names it.
_OPTIONS = ("batch_size", "max_length", "max_new_tokens", "num_beams", "src_lang", "tgt_lang")
_LOADING = ("engine", "quantization", "revision")

Record = dict[str, str]


def pipeline(task: str, model: str | Path | None = None, **options: Any) -> Any:
    """A function of texts; see `TextPipeline`, and transformers for `text-classification`.

    Args:
        task: `translation`, `translation_XX_to_YY` (two codes), `text2text-generation`,
            `summarization`, `text-classification` or `sentiment-analysis`.
        model: A model folder, a run folder, `embedded:en-fr` or a Hub id.
        **options: Of each call, as `TextPipeline.__call__` takes them; of loading, `engine`,
            `quantization` and `revision`. With `text-classification`, transformers' own.

    Raises:
        UserError: There is no such task or option, or the model cannot be used.
    """
    kind, source, target = _parsed(task)
    if model is None:
        raise UsageError(
            f'pipeline("{task}") was given no model.',
            "There is no default one.",
            f'Call attuner.pipeline("{task}", model="runs/NAME"), or give a Hub id.',
        )
    if not isinstance(model, str | Path):
        raise UsageError(
            f"The pipeline was given a {type(model).__name__}.",
            "Expected the name of a model: a folder, or a Hub id.",
            "Save it together with its tokenizer: model.save_pretrained(FOLDER), "
            "tokenizer.save_pretrained(FOLDER)",
        )
    if kind in _CLASSIFYING:
        return _classifying(model, options)
    for name, found in (("src_lang", source), ("tgt_lang", target)):
        if found is not None:
            options.setdefault(name, found)
    how = {name: options.pop(name) for name in _LOADING if name in options}
    _require_known(options)
    return TextPipeline(kind, model, options, how)


class TextPipeline:
    """Translates, or makes other texts; `pipeline` makes one.

    Args:
        task: A name in the table of keys.
        model: As `attuner.load` takes it.
        options: Of each call, where it does not say otherwise.
        loading: Of `attuner.load`.
    """

    def __init__(
        self,
        task: str,
        model: str | Path,
        options: Mapping[str, Any],
        loading: Mapping[str, Any],
    ) -> None:
        from attuner.inference.translator import load

        self.task = task
        self._options = dict(options)
        self._translator: Translator = load(
            model, source=options.get("src_lang"), target=options.get("tgt_lang"), **loading
        )
        self._prefix = ""
        if task != "translation":
            self._prefix = self._prepare_whole_texts(model, loading.get("revision"))

    def _prepare_whole_texts(self, model: str | Path, revision: str | None) -> str:
        """Take texts whole, as the task wants; returns the words that published T5s want first."""
        from attuner.models.loading import resolve_model
        from attuner.models.usage import read_usage

        folder = resolve_model(str(model), revision=revision)
        if read_usage(folder) is not None:
            return ""  # it was tuned, and says itself what it wants
        self._translator.whole_texts = True
        special = read_json_object(folder / "config.json").get("task_specific_params") or {}
        return str((special.get(self.task) or {}).get("prefix") or "")

    def __call__(self, texts: str | Iterable[str], **options: Any) -> Any:
        """Translate a text, or several.

        Args:
            texts: A text or a list; or an iterable of texts, such as a generator or a data set,
                of which no more is read than results are asked for, up to `batch_size`.
            **options: `num_beams`; `max_new_tokens`, or `max_length`, which counts the start token
                as well; `src_lang` and `tgt_lang`; `batch_size`, how many texts are translated at
                once: of a list all, of an iterable one, where not given.

        Returns:
            Of a text, and of a list, a list of records. Of an iterable, an iterator over lists
            with a record each.

        Raises:
            UserError: There is no such option, or what is given is no text.
        """
        _require_known(options)
        chosen = {**self._options, **options}
        size = chosen.pop("batch_size", None)
        if size is not None and (type(size) is not int or size < 1):
            raise UsageError(
                f"batch_size is {size!r}.", "Expected a whole number from 1: texts at once."
            )
        arguments = _arguments(chosen)
        if isinstance(texts, str):
            return self._records([texts], arguments)
        if isinstance(texts, list | tuple):
            batches = _batches(texts, size or max(len(texts), 1))
            return [record for batch in batches for record in self._records(batch, arguments)]
        if isinstance(texts, Mapping) or not _is_iterable(texts):
            raise _no_text(texts)
        return (
            [record]
            for batch in _batches(_rows(texts), size or 1)
            for record in self._records(batch, arguments)
        )

    def _records(self, texts: list[str], arguments: Mapping[str, Any]) -> list[Record]:
        for text in texts:
            if not isinstance(text, str):
                raise _no_text(text)
        given = [f"{self._prefix}{text}" if text.strip() else text for text in texts]
        made = self._translator.translate(given, **arguments)
        return [{_KEYS[self.task]: text} for text in made]


def _parsed(task: str) -> tuple[str, str | None, str | None]:
    """The kind of a task, and the languages in its name.

    >>> _parsed("translation_en_to_fr"), _parsed("summarization")
    (('translation', 'en', 'fr'), ('summarization', None, None))
    """
    parts = task.split("_")
    if len(parts) == 4 and parts[0] == "translation" and parts[2] == "to":
        return "translation", parts[1], parts[3]
    known = (*_KEYS, *_CLASSIFYING)
    if task not in known:
        raise UsageError(
            f'There is no pipeline "{task}".',
            nearest(task, (*known, "translation_XX_to_YY")),
            "Others may be in transformers: transformers.pipeline(...)",
        )
    return task, None, None


def _arguments(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as `Translator.translate` takes them."""
    if options.get("max_length") is not None and options.get("max_new_tokens") is not None:
        raise UsageError(
            "Both max_length and max_new_tokens were given.",
            "They say the same: max_length counts the start token as well.",
            "Give one of them.",
        )
    most = options.get("max_new_tokens")
    if options.get("max_length") is not None:
        most = options["max_length"] - 1
    if most is not None and (type(most) is not int or most < 1):
        raise UsageError(
            f"The longest text is to have {most} tokens.",
            "Expected a max_new_tokens from 1, or a max_length from 2.",
        )
    found = {
        "source": options.get("src_lang"),
        "target": options.get("tgt_lang"),
        "num_beams": options.get("num_beams"),
        "max_new_tokens": most,
    }
    return {name: value for name, value in found.items() if value is not None}


def _classifying(model: str | Path, options: dict[str, Any]) -> Any:
    """The pipeline of transformers; it cuts long texts where they were cut in training."""
    import transformers

    from attuner.errors import ModelError
    from attuner.models.classifier_usage import read_label_usage
    from attuner.models.classifiers import labels_of
    from attuner.models.loading import resolve_model

    folder = resolve_model(str(model), revision=options.pop("revision", None))
    if labels_of(folder) is None:
        raise ModelError(
            f"{model} gives no labels.",
            "text-classification needs a model that was trained to give some.",
            f'For one that writes text: attuner.pipeline("translation", model="{model}")',
        )
    longest = read_label_usage(folder).max_tokens
    limit = {"max_length": longest} if longest else {}
    return transformers.pipeline(
        "text-classification", model=str(folder), **{"truncation": True, **limit, **options}
    )


def _require_known(options: Mapping[str, Any]) -> None:
    for name in options:
        if name not in _OPTIONS:
            raise UsageError(
                f"The pipeline has no use of {name}.",
                nearest(name, (*_OPTIONS, *_LOADING)),
                "Leave it out. The device is chosen by itself, and the tokenizer is the model's.",
            )


def _rows(texts: Any) -> Iterator[str]:
    """The texts one after the other; a data set of torch may have no more than length and rows."""
    if hasattr(texts, "__iter__"):
        yield from texts
    else:
        for row in range(len(texts)):
            yield texts[row]


def _is_iterable(texts: Any) -> bool:
    has_rows = hasattr(texts, "__getitem__") and hasattr(texts, "__len__")
    return has_rows or hasattr(texts, "__iter__")


def _batches(texts: Iterable[str], size: int) -> Iterator[list[str]]:
    rows = iter(texts)
    while batch := list(islice(rows, size)):
        yield batch


def _no_text(given: object) -> UsageError:
    return UsageError(
        f"The pipeline was given {type(given).__name__} {given!r:.60}.",
        "Expected a text, a list of texts, or an iterable of texts.",
    )
