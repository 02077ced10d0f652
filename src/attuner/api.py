"""What a Python program calls: the same work as the commands, with the same display."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from attuner.evaluation.evaluate import Evaluation
    from attuner.evaluation.labels_on_data import LabelEvaluation
    from attuner.publishing.exported import Exported
    from attuner.publishing.pushing import Pushed
    from attuner.recipe import Recipe
    from attuner.training.events import Listener
    from attuner.training.run import Run

__all__ = ["evaluate", "export", "load", "pipeline", "predict", "push", "train"]


def train(
    recipe: Recipe | str | Path | None = None,
    *overrides: str,
    resume: str | Path | bool | None = None,
    inexact: bool = False,
    functions: Sequence[Callable[..., Any] | str] = (),
    listeners: Sequence[Listener] | None = None,
) -> Run:
    """Tune a model by a recipe, score it before and after, and write a run folder.

    Args:
        recipe: A `Recipe`, or the path of a YAML file.
        *overrides: `section.key=value`, as on the command line.
        resume: The run folder to go on with, by its own recipe or by the one given. True: the
            folder that the recipe names (a new run if there is none), or without a recipe the
            latest run in `runs` that was interrupted. `hub:ID`: a run that was pushed, fetched
            into `runs`.
        inexact: With `resume`: take changed options though the result is of neither recipe.
        functions: Metrics of your own, instead of the recipe's `evaluation.functions`: functions
            at the top of a file, or their names, such as `my_metrics.py:kappa`.
        listeners: Functions that are told each event. Where not given, progress is shown: a bar
            and a growing table in a terminal or notebook, plain lines elsewhere.

    Returns:
        The run: `scores`, `report`, `model_folder`; `hub_url` where it was pushed.

    Raises:
        UserError: The recipe, the data, the model or the run folder cannot be used.
        StoppedError: Ctrl-C or SIGTERM: the run has saved, and can be resumed.

    A run from a file:

        run = attuner.train("recipe.yaml", "training.epochs=5")
        print(run.report)
    """
    from attuner.console import Display
    from attuner.errors import UsageError
    from attuner.evaluation.own_functions import reference_of
    from attuner.options.evaluation import Evaluation
    from attuner.publishing.fetching import fetch_run, is_on_hub
    from attuner.publishing.pusher import Pusher
    from attuner.recipe_loading import load_recipe
    from attuner.training import run as runs
    from attuner.training.resuming import latest_run

    if recipe is None and not resume:
        raise UsageError(
            "train() was given neither a recipe nor resume=.",
            "A run is begun with a recipe, or gone on with.",
            'Call attuner.train("recipe.yaml") or attuner.train(resume="runs/NAME").',
        )
    own = [one if isinstance(one, str) else reference_of(one) for one in functions]
    with ExitStack() as stack:
        if listeners is None:
            listeners = [stack.enter_context(Display())]
        pusher = stack.enter_context(Pusher(listeners))
        told: list[Listener] = [*listeners, pusher]
        run = None
        if recipe is None:
            run = latest_run(Path("runs")) if resume is True else Path(str(resume))
        elif resume and resume is not True:
            run = Path(resume)
        if run is not None and is_on_hub(str(run)):
            run = fetch_run(str(run), Path("runs"), pusher.tell)
        if recipe is None and (overrides or own):
            assert run is not None
            recipe = run / "recipe.yaml"
        if isinstance(recipe, str | Path) or overrides:
            recipe = load_recipe(_as_path(recipe), overrides, {"functions": own})
        elif recipe is not None and own:
            update = {"evaluation": Evaluation(functions=own)}
            recipe = recipe.model_copy(update=update)
        if run is not None:
            done = runs.resume(run, recipe, inexact=inexact, listeners=told)
        else:
            assert recipe is not None
            begin = partial(runs.begin_or_resume, inexact=inexact) if resume else runs.train
            done = begin(recipe, listeners=told)
    return pusher.with_url(done)


def load(model: str | Path, **options: Any) -> Any:
    """Load a model for use.

    Args:
        model: A model folder, a run folder, `embedded:en-fr` or a Hub id.
        **options: Of `inference.translator.load` or, for a model that gives labels,
            `inference.classifier.load_labels`.

    Returns:
        A `Translator` or, for a model that gives labels, a `Classifier`.

    Raises:
        UserError: The model cannot be used.
    """
    if is_classifier(model, revision=options.get("revision")):
        from attuner.inference.classifier import load_labels

        return load_labels(model, **options)
    from attuner.inference.translator import load as load_translator

    return load_translator(model, **options)


def is_classifier(model: str | Path, *, revision: str | None = None) -> bool:
    """Whether a model, of a Hub id at a revision, gives labels.

    Raises:
        ModelError: There is no such model.
    """
    from attuner.models.classifiers import labels_of
    from attuner.models.loading import resolve_model

    return labels_of(resolve_model(str(model), revision=revision)) is not None


def pipeline(task: str, model: str | Path | None = None, **options: Any) -> Any:
    """A function of texts that gives what transformers' pipelines of this task give, or gave.

    Args:
        task: `translation`, or `translation_en_to_fr`; `text2text-generation`, `summarization`;
            `text-classification`, which is transformers' own.
        model: A model folder, a run folder, `embedded:en-fr` or a Hub id.
        **options: Of `compat.pipelines.pipeline`.

    Raises:
        UserError: There is no such task, or the model cannot be used.
    """
    from attuner.compat.pipelines import pipeline as build_pipeline

    return build_pipeline(task, model, **options)


def push(place: str | Path, hub_id: str | None = None, **options: Any) -> Pushed:
    """Push a run's model, or its state so far, or a model folder to the Hugging Face Hub.

    Args:
        place: A run folder or model folder.
        hub_id: The repository: `user/name` or `organisation/name`; a bare name is one of the
            user's own. Where not given, as the run's recipe says, or named as the run.
        **options: Of `publishing.pushing.push`: `private`, `message`, `tag`, `force`.

    Returns:
        `hub_id`, and `url`, that of the commit.

    Raises:
        UserError: There is nothing to push, or the Hub does not allow it.
    """
    from attuner.console import Display
    from attuner.publishing import pushing

    with Display() as display:
        return pushing.push(Path(place), hub_id, **{"listener": display, **options})


def evaluate(model: str | Path, data: str | Path, **options: Any) -> Evaluation | LabelEvaluation:
    """Score a model on data that have references, or labels.

    Args:
        model: A model folder, a run folder, `embedded:en-fr` or a Hub id.
        data: A file, folder, glob, `package:NAME` or `hub:ID`.
        **options: Of `evaluation.on_data.evaluate_data` or, for a model that gives labels,
            `evaluation.labels_on_data.evaluate_labels`.

    Raises:
        UserError: The model or the data cannot be used.
    """
    if is_classifier(model):
        from attuner.evaluation.labels_on_data import evaluate_labels

        return evaluate_labels(model, data, **options)
    from attuner.evaluation.on_data import evaluate_data

    return evaluate_data(model, data, **options)


def export(model: str | Path, *, to: str, **options: Any) -> Exported:
    """Export a model for another runtime, and keep the export where it is no worse.

    Args:
        model: A model folder, a run folder, `embedded:en-fr` or a Hub id.
        to: `ctranslate2`, `onnx` or `transformers`.
        **options: Of `publishing.export.export`: `quantization`, `dtype`, `output`, `data`, ...

    Returns:
        Its `folder`, and how it compares with the model: sizes, scores, speed.

    Raises:
        UserError: The model cannot be exported so, or the export is worse.
    """
    from attuner.publishing.export import export as export_model

    return export_model(model, to=to, **options)


def predict(model: str | Path, texts: str | Sequence[str], **options: Any) -> Any:
    """Translate texts with a model, or give them labels, in one call.

    Args:
        model: A model folder, a run folder, `embedded:en-fr` or a Hub id.
        texts: A text or several; white space at the edges and line breaks are kept.
        **options: Of `Translator.translate`: `num_beams`, `max_new_tokens`; or of
            `Classifier.classify`: `pairs`.

    Returns:
        A translation of each text; or its label, labels or rating. A text gives one, a list a list.

    Raises:
        UserError: The model cannot be used.
    """
    if isinstance(texts, str):
        return predict(model, [texts], **options)[0]
    loaded = load(model)
    if hasattr(loaded, "classify"):
        return [said.label for said in loaded.classify(list(texts), **options)]
    return loaded.translate(list(texts), **options)


def _as_path(recipe: Recipe | str | Path | None) -> Path | None:
    from attuner.errors import UsageError

    if recipe is None or isinstance(recipe, str | Path):
        return None if recipe is None else Path(recipe)
    raise UsageError(
        "Overrides were given together with a Recipe object.",
        "Overrides change a recipe file.",
        "Pass the path of the file, or make the Recipe with the values that you want.",
    )
