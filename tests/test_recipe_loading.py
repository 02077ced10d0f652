"""Recipes from files, overrides and flags; faults in full; the round trip."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attuner.errors import RecipeError, UsageError
from attuner.options.model import Adapter
from attuner.options.training import Training
from attuner.ready_recipes import copy_recipe, list_recipes, ready_recipe
from attuner.recipe import Recipe
from attuner.recipe_loading import dump_recipe, load_recipe

FLAGS = {"source": "en", "target": "no", "model": "some/model", "data": ["a.po"]}
ADVICE = "Options and their defaults: attuner schema"
FIRST_RUN = "--task translation --source en --target fr --model ID --data"


def write(folder: Path, text: str) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def message(path: Path | None, *overrides: str, **flags: object) -> str:
    with pytest.raises(RecipeError) as caught:
        load_recipe(path, overrides, flags)
    return str(caught.value)


def test_file_with_words_and_numbers_of_yaml_1_2(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "task: {name: translation, source: en, target: no}\n"
        "model: some/model\n"
        "data: strings.po\n"
        "training: {learning_rate: 1e-4, seed: 0x10}\n"
        "output: {name: 2024-01-01}\n",
    )
    recipe = load_recipe(path)
    assert recipe.task.target == "no"
    assert recipe.model.checkpoint == "some/model"
    assert [source.path for source in recipe.data.train] == ["strings.po"]
    assert recipe.training.learning_rate == 1e-4
    assert recipe.training.seed == 16
    assert recipe.output.name == "2024-01-01"


def test_flags_make_a_recipe_without_a_file() -> None:
    recipe = load_recipe(None, (), {**FLAGS, "task": None, "name": "first"})
    task = {"name": "translation", "source": "en", "target": "no"}
    assert recipe.task.model_dump(exclude_defaults=True) | {"name": recipe.task.name} == task
    assert recipe.output.name == "first"


def test_overrides_reach_everything() -> None:
    recipe = load_recipe(
        None,
        [
            "data=*.po",
            "data.train[0].columns={source: en, target: fr}",
            "data.train[1]=more.tmx",
            "data.train[1].weight=2",
            "data.validation=v.po",
            "data.split.by=catalog",
            "model=other/model",
            "model.dropout=0.2",
            "training.early_stopping.patience=5",
            "output.name='no'",
        ],
        FLAGS,
    )
    assert [(s.path, s.weight) for s in recipe.data.train] == [("*.po", 1.0), ("more.tmx", 2.0)]
    assert recipe.data.train[0].columns == {"source": "en", "target": "fr"}
    assert recipe.data.validation is not None
    assert recipe.data.validation[0].path == "v.po"
    assert recipe.data.split.by == "catalog"
    assert (recipe.model.checkpoint, recipe.model.dropout) == ("other/model", 0.2)
    assert recipe.training.early_stopping is not None
    assert recipe.training.early_stopping.patience == 5
    assert recipe.output.name == "no"


def test_a_bare_value_for_a_section_keeps_its_other_options() -> None:
    recipe = load_recipe(ready_recipe("translation"), ["data=x.po", "model=other/model"])
    assert recipe.data.train[0].path == "x.po"
    assert recipe.data.split.seed == 20
    assert recipe.model.checkpoint == "other/model"


def test_a_checkpoint_takes_the_place_of_training_from_scratch() -> None:
    path = ready_recipe("pretrain-en-fr")
    recipe = load_recipe(path, ["data=x.po", "model.dropout=0.1", "model=embedded:en-fr"])
    assert recipe.model.model_dump(exclude_defaults=True) == {
        "checkpoint": "embedded:en-fr",
        "dropout": 0.1,
    }
    assert load_recipe(path, ["data=x.po"], {"model": "some/model"}).model.config is None


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("{config: {model_type: marian}}", "config needs either vocabulary or tokenizer."),
        (
            "{config: {model_type: marian}, vocabulary: {}, tokenizer: t}",
            "config needs either vocabulary or tokenizer.",
        ),
        (
            "{checkpoint: c, vocabulary: {}}",
            "tokenizer and vocabulary go with config, not with checkpoint.",
        ),
        (
            "{config: {model_type: t5}, vocabulary: {}}",
            "vocabulary needs model_type: marian in config; other models need a tokenizer.",
        ),
    ],
)
def test_training_from_scratch_needs_one_vocabulary(tmp_path: Path, model: str, said: str) -> None:
    path = write(tmp_path, f"task: {{source: en, target: fr}}\nmodel: {model}\ndata: x.po\n")
    assert f"  {path}:2 model: {said}" in message(path).splitlines()


def test_faults_of_a_vocabulary() -> None:
    model = "{config: {model_type: marian}, vocabulary: {sizes: 9, character_coverage: 0.5}}"
    said = message(None, f"model={model}", **{**FLAGS, "model": None}).splitlines()[1:3]
    assert [line.partition(" model.vocabulary.")[2] for line in said] == [
        "character_coverage: 0.5. Expected: greater than or equal to 0.98.",
        'sizes: unknown option (value 9). Did you mean "size"? Known: byte_fallback, '
        "character_coverage, normalisation, size.",
    ]


def test_three_faults_in_one_message(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "task: {name: translation, source: en}\n"
        "model: some/model\n"
        "data: strings.po\n"
        "trainig:\n"
        "  epochs: 3\n"
        "training:\n"
        "  epochs: -1\n",
    )
    assert message(path) == (
        f"{path} has 3 faults:\n"
        f"  {path}:1 task.target: missing. Language of the target text, as a code.\n"
        f'  {path}:4 trainig: unknown option (value {{epochs: 3}}). Did you mean "training"? '
        "Known: data, evaluation, generation, model, output, publish, task, training.\n"
        f"  {path}:7 training.epochs: -1. Expected: greater than 0.\n"
        f"{ADVICE}"
    )


def test_each_kind_of_fault_in_plain_words(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "task: {name: translaton, source: en, target: fr}\n"
        "model: {checkpoint: a, config: {b: 1}, tokenizer: t}\n"
        "data:\n"
        "  train:\n"
        "    - {pth: x.po}\n"
        "    - {path: y.csv, columns: {sorce: en}}\n"
        "  test: []\n"
        "  split: random\n"
        "training:\n"
        "  precision: fp61\n"
        "  epochs: .inf\n"
        "  accumulation: 1.5\n"
        "  early_stopping: {patience: no}\n"
        "output: {name: 42}\n",
    )
    lines = message(path).splitlines()
    assert lines[0] == f"{path} has 10 faults:"
    known_source = (
        "Known: columns, config, encoding, path, references, revision, source_language, split, "
        "streaming, target_language, target_path, weight."
    )
    assert [line.removeprefix(f"  {path}:") for line in lines[1:-1]] == [
        '1 task: translaton. Did you mean "translation"? Known: classification, text-to-text, '
        "translation.",
        "2 model: give either checkpoint or config.",
        f'5 data.train[0].pth: unknown option (value x.po). Did you mean "path"? {known_source}',
        '6 data.train[1].columns.sorce: unknown key sorce. Did you mean "source"? '
        "Known: source, target.",
        "8 data.split: random. Expected: a section with the keys by, seed, test, train_size, "
        "validation.",
        '10 training.precision: fp61. Did you mean "fp16"? Known: auto, bf16, fp16, fp32.',
        "11 training.epochs: inf. Expected: a finite number.",
        "12 training.accumulation: 1.5. Expected: a whole number, such as 3.",
        "13 training.early_stopping.patience: no. Expected: a whole number, such as 3.",
        "14 output.name: 42. Expected: text; put it in quotes where it is meant as text.",
    ]


def test_options_that_contradict_each_other() -> None:
    assert message(
        None, "training.batch_tokens=5", "training.batch_examples=3", "training.save=steps", **FLAGS
    ).splitlines()[1] == (
        "  override training.save=steps training: give either batch_tokens or batch_examples, "
        "not both."
    )


def test_faults_of_overrides() -> None:
    said = message(
        None,
        "epochs 3",
        "data.train[7]=x",
        "output.name.x=1",
        "data.split={by: [}",
        "training.learning_rat=1",
        "training.epochs=0",
        **FLAGS,
    )
    assert said.splitlines() == [
        "The recipe has 6 faults:",
        "  override epochs 3: Expected: section.key=value.",
        "  override data.train[7]=x: data.train has 1 items, counted from 0.",
        "  override data.split={by: [}: expected the node content, but found '}'.",
        "  override output.name.x=1 output.name: {x: 1}. Expected: text; put it in quotes where "
        "it is meant as text.",
        "  override training.learning_rat=1 training.learning_rat: unknown option (value 1). "
        'Did you mean "learning_rate"? Known: accumulation, average_checkpoints, batch_examples, '
        "batch_tokens, best_metric, device, early_stopping, ema, epochs, evaluate, "
        "evaluate_every_steps, fixed_shapes, gradient_checkpointing, keep_checkpoints, "
        "label_smoothing, layer_decay, learning_rate, max_bad_losses, max_grad_norm, max_steps, "
        "on_bad_loss, precision, r_drop, save, save_every_steps, schedule, seed, seeds, "
        "warmup_steps, weight_decay.",
        "  override training.epochs=0 training.epochs: 0. Expected: greater than 0.",
        ADVICE,
        "Without a recipe file, a first run needs: --task translation --source en --target fr "
        "--model ID --data FILE",
    ]


def test_an_option_in_the_wrong_section_is_found() -> None:
    assert message(None, "epochs=1", "data.config=en-fr", **FLAGS).splitlines()[1:3] == [
        "  override epochs=1 epochs: unknown option (value 1). There is training.epochs.",
        "  override data.config=en-fr data.config: unknown option (value en-fr). There is "
        "model.config and data.train[0].config.",
    ]


def test_nothing_given_says_what_a_first_run_needs() -> None:
    assert message(None) == (
        "The recipe has 3 faults:\n"
        "  task: missing. What the model is to learn.\n"
        "  model: missing. What it starts from.\n"
        "  data: missing. What it learns from.\n"
        f"{ADVICE}\n"
        "Without a recipe file, a first run needs: --task translation --source en --target fr "
        "--model ID --data FILE"
    )


def test_a_wrong_task_is_blamed_on_its_own_flag() -> None:
    assert message(None, **{**FLAGS, "task": "summaries"}) == (
        "The recipe has 1 fault:\n"
        "  --task task: summaries. Known: classification, text-to-text, translation.\n"
        f"{ADVICE}\n"
        f"Without a recipe file, a first run needs: {FIRST_RUN} FILE"
    )


def test_a_slip_of_the_pen_is_one_fault(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "task: {name: translation, souce: en}\nmodle: some/model\ndata: [{pth: x.po}]\n",
    )
    assert message(path) == (
        f"{path} has 4 faults:\n"
        f"  {path}:1 task.target: missing. Language of the target text, as a code.\n"
        f'  {path}:1 task.souce: unknown option (value en). Did you mean "source"? '
        "Known: metrics, name, prefix, source, target.\n"
        f'  {path}:2 modle: unknown option (value some/model). Did you mean "model"? '
        "Known: data, evaluation, generation, model, output, publish, task, training.\n"
        f'  {path}:3 data.train[0].pth: unknown option (value x.po). Did you mean "path"? '
        "Known: columns, config, encoding, path, references, revision, source_language, split, "
        "streaming, target_language, target_path, weight.\n"
        f"{ADVICE}"
    )


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("training.epochs=zero", "zero. Expected: a number, such as 0.5 or 1e-4."),
        ("training.epochs=null", "null. Expected: a number, such as 0.5 or 1e-4."),
        ("training.seed=1e99", "1e+99. Expected: a whole number, such as 3."),
        ("training.accumulation=two", "two. Expected: a whole number, such as 3."),
        ("model.config=x", "x. Expected: a section, such as {key: value}."),
        ("data.train=3", "3. Expected: a list."),
    ],
)
def test_wrong_kinds_of_values_in_plain_words(override: str, said: str) -> None:
    key = override.partition("=")[0]
    assert (
        message(None, override, **FLAGS).splitlines()[1] == f"  override {override} {key}: {said}"
    )


def test_values_that_may_be_of_several_kinds() -> None:
    overrides = ("task=classification", "task.class_weights=[1, 2]", "model=m", "data=a.csv")
    where = "  override task.class_weights=[1, 2] task.class_weights: [1, 2]."
    assert message(None, *overrides).splitlines()[1:3] == [
        f"{where} Known: balanced.",
        f"{where} Expected: a section, such as {{key: value}}.",
    ]


def test_a_section_given_as_an_object_has_the_defaults_of_the_task() -> None:
    training = Training(epochs=2, batch_tokens=512)
    made = Recipe.model_validate(
        {"task": "classification", "model": "m", "data": "a.csv", "training": training}
    )
    written = {"epochs": 2, "batch_tokens": 512}
    assert (
        made.training
        == Recipe.model_validate(
            {"task": "classification", "model": "m", "data": "a.csv", "training": written}
        ).training
    )
    assert (made.training.learning_rate, made.training.batch_examples) == (2e-5, None)


@pytest.mark.parametrize("name", ["ok.po", "absent.csv.gz"])
def test_data_where_a_recipe_belongs(tmp_path: Path, name: str) -> None:
    (tmp_path / "ok.po").write_text('msgid "a"\nmsgstr "b"\n')
    assert message(tmp_path / name) == (
        f"{tmp_path / name} is a data file by its suffix.\n"
        "A recipe is a YAML file.\n"
        f"For a first run without a recipe, give it as data: {FIRST_RUN} {tmp_path / name}"
    )


def test_a_recipe_may_be_json(tmp_path: Path) -> None:
    path = tmp_path / "recipe.json"
    path.write_text(
        '{"task": {"name": "translation", "source": "en", "target": "fr"}, "model": "m", '
        '"data": "x.po"}'
    )
    assert load_recipe(path).task.target == "fr"


def test_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "demo.yaml"
    assert message(path) == (
        f"{path}: no such file.\n"
        "A recipe is a YAML file.\n"
        f"demo is a ready recipe. Copy it: attuner recipes copy demo {path}"
    )


def test_a_list_is_no_recipe(tmp_path: Path) -> None:
    path = write(tmp_path, "- one\n- two\n")
    assert message(path) == (
        f"{path} holds [one, two].\n"
        "A recipe has the sections task, model, data, training, generation, evaluation, publish, "
        "output.\n"
        "Start from a ready one: attuner recipes list"
    )


@pytest.mark.parametrize("value", ["no", "1e-05", "2024-01-01", "~", "", " a", "a: b", "é\u2028"])
def test_round_trip_of_awkward_words(tmp_path: Path, value: str) -> None:
    recipe = load_recipe(None, ["training.learning_rate=1e-05"], {**FLAGS, "target": "no"})
    recipe = recipe.model_copy(update={"output": recipe.output.model_copy(update={"name": value})})
    assert load_recipe(write(tmp_path, dump_recipe(recipe))) == recipe


@given(name=st.text(st.characters(exclude_categories=["Cs", "Cc"])), rate=st.floats(1e-300, 1e300))
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, name: str, rate: float) -> None:
    tree = {
        "task": {"name": "translation", "source": "en", "target": name},
        "model": {
            "config": {name: [1, None, True, rate], "model_type": "marian"},
            "vocabulary": {"size": 9},
        },
        "data": {"train": [{"path": name, "columns": {"source": name}}], "train_subset": {"n": 1}},
        "training": {"learning_rate": rate},
    }
    recipe = Recipe.model_validate(tree)
    path = tmp_path_factory.getbasetemp() / "round.yaml"
    path.write_bytes(dump_recipe(recipe).encode())
    assert load_recipe(path) == recipe


@pytest.mark.parametrize("name", list_recipes())
def test_ready_recipes_load(name: str) -> None:
    text = (ready_recipe(name)).read_text()
    overrides = ["data=x.po"] if "# train: " in text else []
    load_recipe(ready_recipe(name), overrides)


def test_translation_recipe_shows_the_defaults() -> None:
    recipe = load_recipe(ready_recipe("translation"), ["data=x.po"])
    plain = load_recipe(
        None, (), {"source": "en", "target": "fr", "model": "embedded:en-fr", "data": ["x.po"]}
    )
    explicit = plain.training.model_copy(update={"batch_tokens": 2048, "best_metric": "chrf"})
    assert recipe == plain.model_copy(update={"training": explicit})


def test_chapter_recipe_has_the_chapters_settings() -> None:
    recipe = load_recipe(ready_recipe("chapter-translation"))
    training, split = recipe.training, recipe.data.split
    assert recipe.model.checkpoint == "Helsinki-NLP/opus-mt-en-fr"
    assert (recipe.data.train[0].path, recipe.data.train[0].config) == (
        "hub:Helsinki-NLP/kde4",
        "en-fr",
    )
    assert (split.by, split.train_size, split.seed) == ("random", 0.9, 20)
    assert (training.learning_rate, training.weight_decay, training.epochs) == (2e-5, 0.01, 3)
    assert (training.batch_examples, training.batch_tokens, training.precision) == (
        32,
        None,
        "fp16",
    )
    assert (training.schedule, training.warmup_steps) == ("linear", 0)
    assert (training.evaluate, training.save, training.keep_checkpoints) == ("epoch", "epoch", 3)
    assert (recipe.data.max_source_tokens, recipe.data.max_target_tokens) == (128, 128)
    assert (recipe.generation.batch_examples, recipe.data.duplicates) == (64, "keep")


def test_options_are_added_to_an_adapter_that_is_named_by_its_kind() -> None:
    recipe = load_recipe(
        None,
        [
            "task.name=translation", "task.source=en", "task.target=fr", "model=embedded:en-fr",
            "data.train=strings.po", "model.adapter=dora", "model.adapter.rank=8",
        ],
    )  # fmt: skip
    assert recipe.model.adapter == Adapter(kind="dora", rank=8)


def test_copy_never_overwrites(tmp_path: Path) -> None:
    written = copy_recipe("demo", tmp_path)
    assert written == tmp_path / "demo.yaml"
    assert written.read_text() == ready_recipe("demo").read_text()
    with pytest.raises(UsageError) as caught:
        copy_recipe("demo", written)
    assert str(caught.value) == (
        f"{written} exists already.\n"
        "A copy never overwrites a file.\n"
        "Choose another name: attuner recipes copy demo my-demo.yaml"
    )


def test_copy_of_an_unknown_recipe() -> None:
    with pytest.raises(UsageError) as caught:
        copy_recipe("dem")
    assert str(caught.value) == (
        'There is no ready recipe "dem".\n'
        'Did you mean "demo"? Known: chapter-mrpc, chapter-reviews, chapter-translation, '
        "classification, demo, demo-classification, fsdp-4x8-gpus, fsdp-8-gpus, m2m100, mbart50, "
        "nllb-3.3b, nllb-domain, opus-mt-kde, pretrain-en-fr, t5-summaries, t5-translation, "
        "translation.\n"
        "See what each does: attuner recipes list"
    )


def test_text_to_text_needs_no_languages() -> None:
    recipe = load_recipe(
        None, ("task.prefix='summarize: '",), {"task": "text-to-text", "model": "m", "data": ["x"]}
    )
    assert recipe.task.model_dump() == {
        "name": "text-to-text",
        "language": "en",
        "prefix": "summarize: ",
        "metrics": ["rougeL", "chrf"],
    }
    assert recipe.best_metric == "rougeL"
    assert message(None, "task.source=fr", task="text-to-text", model="m", data=["x"]).splitlines()[
        1
    ] == (
        "  override task.source=fr task.source: unknown option (value fr). There is task.source of "
        "translation."
    )


def test_column_flags_are_those_of_all_sources() -> None:
    recipe = load_recipe(
        None,
        (),
        {**FLAGS, "data": ["x.csv", "y.csv"], "source_column": "a", "target_column": "b"},
    )
    columns = {"source": "a", "target": "b"}
    assert [source.columns for source in recipe.data.train] == [columns, columns]


@pytest.mark.parametrize(
    ("overrides", "best"),
    [
        ([], "chrf"),
        (["training.best_metric=loss"], "loss"),
        (["task.metrics=[ter, bleu]"], "ter"),
        (["task.metrics=[bleu, chrf, ter]", "training.best_metric=ter"], "ter"),
    ],
)
def test_what_tells_the_best_weights(overrides: list[str], best: str) -> None:
    assert load_recipe(None, overrides, FLAGS).best_metric == best


CODES = "Expected: a language code such as fr, or a list of several."


@pytest.mark.parametrize(
    ("override", "said"),
    [
        (
            "training.best_metric=ter",
            "training.best_metric is ter, which is not scored. Expected: one of loss, bleu, chrf, "
            "or add ter to task.metrics.",
        ),
        ("task.metrics=[]", "task.metrics: []. Expected: at least 1 item."),
        ("task.target=[]", f"task.target: []. {CODES}"),
        ("task.target=[fr, fr]", f"task.target: [fr, fr]. {CODES}"),
        ("task.target=3", f"task.target: 3. {CODES}"),
        ("data.mix={share: 0.5}", "data.mix.sources: missing. Where it comes from."),
    ],
)
def test_faults_of_tasks_and_mixes(override: str, said: str) -> None:
    line = message(None, override, **FLAGS).splitlines()[1].removeprefix(f"  override {override}")
    assert line.removeprefix(":").strip() == said


def test_several_target_languages() -> None:
    recipe = load_recipe(None, ["task.target=[fr, no]"], FLAGS)
    assert recipe.task.targets == ("fr", "no")
    assert load_recipe(None, ["task.target=[fr]"], FLAGS).task.target == "fr"


def test_an_empty_key_is_an_unknown_option(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(
        "task: {name: translation, source: en, target: fr}\nmodel: m\ndata: a.po\n'': 1\n"
    )
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    assert (
        str(caught.value)
        .splitlines()[1]
        .startswith(f"  {path}:4: unknown option (value 1). Known: data, evaluation, generation, ")
    )


def test_an_index_of_thousands_of_digits() -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(None, [f"data.train[{'9' * 5000}].path=x"])
    assert str(caught.value).splitlines()[1] == (
        f"  override data.train[{'9' * 46}...: Expected: section.key=value."
    )
