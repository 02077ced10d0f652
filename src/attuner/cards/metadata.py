"""The metadata of a card, as the Hub reads them; made, and read back, by `huggingface_hub`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attuner.cards.markdown import one_line
from attuner.errors import ModelError, first_line
from attuner.evaluation.metric_names import metric_name
from attuner.models.json_files import refuse_huge

if TYPE_CHECKING:
    from huggingface_hub import EvalResult, ModelCardData

    from attuner.cards.facts import Facts

FILE = "README.md"

# What the Hub calls the tasks.
_PIPELINES = {
    "translation": "translation",
    "text-to-text": "text2text-generation",
    "classification": "text-classification",
}
_TASKS = {
    "translation": "Translation",
    "text-to-text": "Text to text",
    "classification": "Text classification",
}
# The Hub's licences are written so; others go by `other` and a name of their own.
_IDENTIFIER = re.compile(r"[a-z][a-z0-9]*(?:[.-][a-z0-9]+)*")
_NUM_WIDGETS = 3
_DIGITS = 4


def metadata(facts: Facts) -> ModelCardData:
    """What stands at the head of the card."""
    from huggingface_hub import ModelCardData

    results = eval_results(facts)
    identifier, name = _license(facts.license)
    hub_sets = [source.hub_id for source in facts.data.sources if source.hub_id]
    metrics = [name.partition("/")[0] for name in facts.scored.after if name != "loss"]
    pipeline = _PIPELINES[facts.task]
    return ModelCardData(
        language=_languages(facts) or None,
        license=identifier,
        license_name=name,
        library_name="peft" if facts.base.is_separate else "transformers",
        pipeline_tag=pipeline,
        base_model=facts.base.name if facts.base.kind == "hub" else None,
        base_model_relation=_relation(facts) if facts.base.kind == "hub" else None,
        datasets=list(dict.fromkeys(hub_sets)) or None,
        metrics=list(dict.fromkeys(metrics)) or None,
        tags=list(dict.fromkeys(filter(None, ["attuner", facts.base.family, facts.base.adapter]))),
        widget=_widget(facts) or None,
        model_name=one_line(facts.name),
        eval_results=results or None,
    )


def eval_results(facts: Facts) -> list[EvalResult]:
    """The scores of the weights in the folder, one by one; none that is no number."""
    from huggingface_hub import EvalResult

    scored = facts.scored
    source = next((s for s in facts.data.sources if s.use == scored.split), None) or next(
        iter(facts.data.sources), None
    )
    is_own = source is not None and source.use == scored.split
    name = one_line(source.name) if source else "held-out examples"
    return [
        EvalResult(
            task_type=_PIPELINES[facts.task],
            task_name=_TASKS[facts.task],
            dataset_type=(source and source.hub_id) or name,
            dataset_name=name,
            dataset_config=source.config if source else None,
            dataset_split=(source.split if source and is_own and source.hub_id else scored.split),
            dataset_revision=source.revision if source else None,
            metric_type=metric.partition("/")[0],
            metric_name=metric_name(metric),
            metric_value=round(value, _DIGITS),
            metric_args={"signature": scored.signatures[metric]}
            if metric in scored.signatures
            else None,
        )
        for metric, value in scored.after.items()
        if value is not None
    ]


def license_in(folder: Path) -> str | None:
    """The licence that a model folder's own card names; None where it does not."""
    card = read_metadata(folder / FILE)
    found = card.get("license")
    if found == "other":
        found = card.get("license_name")
    return found if isinstance(found, str) else None


def read_metadata(path: Path) -> Mapping[str, Any]:
    """The metadata of a card of anybody's; none where there is no card, or one that is broken."""
    import yaml
    from huggingface_hub import metadata_load

    try:
        refuse_huge(path)
        return dict(metadata_load(path) or {})
    except (OSError, ValueError, TypeError, yaml.YAMLError, ModelError, RecursionError):
        return {}


def read_eval_results(path: Path) -> list[EvalResult]:
    """The scores in the metadata of a card.

    Raises:
        ModelError: They cannot be read.
    """
    import yaml
    from huggingface_hub import ModelCard

    try:
        return list(ModelCard.load(path).data.eval_results or [])
    except (OSError, ValueError, TypeError, KeyError, yaml.YAMLError) as error:
        raise ModelError(
            f"{path}: its metadata cannot be read: {first_line(error)}",
            "A model card begins with YAML between two lines of three hyphens.",
            f"Render it anew: attuner card {path.parent} --overwrite",
        ) from error


def _languages(facts: Facts) -> list[str]:
    """Of `pt-BR` only `pt`: the Hub knows ISO 639 alone."""
    codes = [facts.use.source, *facts.use.targets]
    return list(dict.fromkeys(re.split("[-_]", code)[0].lower() for code in codes if code))


def _license(name: str | None) -> tuple[str | None, str | None]:
    """A licence as an identifier or, where it is none, as `other` and its name."""
    if name is None or _IDENTIFIER.fullmatch(name.lower()):
        return name and name.lower(), None
    return "other", one_line(name)


def _widget(facts: Facts) -> list[dict[str, str]]:
    """Texts to try on the model's page, as it reads them; a page has no place for pairs."""
    shown = [] if facts.use.is_pair else facts.shown[:_NUM_WIDGETS]
    return [{"text": one_line(facts.use.prefix + row.source)} for row in shown]


def _relation(facts: Facts) -> str:
    return "adapter" if facts.base.is_separate else "finetune"
