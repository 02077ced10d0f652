"""Checkpoints that are sound, and such as only running them shows to be damaged."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from lessons import Tune
from pairs import PAIRS
from tiny import FAMILIES

from attuner.data.features import SequencePairs
from attuner.errors import ModelError
from attuner.inference.transformers_engine import TransformersEngine
from attuner.models.codec import load_codec
from attuner.models.json_files import read_json_object
from attuner.models.loading import load_seq2seq, resolve_model
from attuner.models.usage import load_codec_between
from attuner.recipe import Recipe
from attuner.tasks.translation import encode
from attuner.training.check import check
from attuner.training.events import Event, Noted, Planned
from attuner.training.run import resume, train
from attuner.training.self_check import SelfChecked, self_check

Build = Callable[..., Recipe]

THINGS = {
    "file": "le fichier", "window": "la fenêtre", "message": "le message", "folder": "le dossier",
    "page": "la page", "image": "l'image", "table": "le tableau", "document": "le document",
}  # fmt: skip
STRINGS = {
    f"{verb} the {thing}": f"{verbe} {chose}"
    for verb, verbe in (("Open", "Ouvrir"), ("Close", "Fermer"), ("Delete", "Supprimer"))
    for thing, chose in THINGS.items()
}
SWAPPED = {target: source for source, target in STRINGS.items()}


def looked_at(
    name: str | Path,
    pairs: dict[str, str],
    *,
    source: str = "en",
    target: str = "fr",
    damage: Callable[[Any], object] = lambda model: None,
    codec: Any = None,
) -> SelfChecked:
    folder = resolve_model(str(name))
    model = load_seq2seq(folder)
    with torch.no_grad():
        damage(model)
    return self_check(
        model, codec or load_codec(folder), pairs.items(), folder=folder, source=source,
        target=target, name="the model",
    )  # fmt: skip


def said(events: list[Event]) -> list[str]:
    texts = [event.text for event in events if isinstance(event, Noted)]
    return [text for text in texts if text.startswith("Self-check")]


def refusal(checked: SelfChecked) -> str:
    with pytest.raises(ModelError) as caught:
        checked.require_sound()
    return str(caught.value)


def test_the_embedded_model_passes_in_seconds() -> None:
    checked = looked_at("embedded:en-fr", STRINGS)

    assert checked.findings == ()
    assert checked.seconds < 20
    (line,) = checked.lines
    assert re.fullmatch(
        r"Self-check: tied embeddings, all weights found, loss \d\.\d\d nats a token, greedy "
        r"output sound, in fr \(\d+\.\d s\)\.",
        line,
    )
    checked.require_sound()


def test_neither_mode_nor_random_state_nor_weights_are_changed() -> None:
    folder = resolve_model("embedded:en-fr")
    model = load_seq2seq(folder).train()
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.get_rng_state()
    self_check(model, load_codec(folder), STRINGS.items(), folder=folder, source="en", target="fr")

    assert model.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(weights[name], t) for name, t in model.state_dict().items())


def test_what_a_model_has_learned_by_heart_passes(marian: Path) -> None:
    checked = looked_at(marian, PAIRS)
    assert checked.findings == ()
    assert checked.facts[2:] == (
        f"loss {float(checked.facts[2].split()[1]):.2f} nats a token",
        "greedy output sound",
        "its language not judged",  # of five pairs
    )


def test_a_checkpoint_of_the_other_direction() -> None:
    checked = looked_at("embedded:en-fr", SWAPPED, source="fr", target="en")
    (found,) = checked.damage
    example = re.search(r'such as "(.+)" for "(.+)"\.', found.happened)

    assert example is not None
    assert example[2] in SWAPPED
    assert refusal(checked) == (
        "the model does not pass the self-check.\n"
        "Of the model's greedy outputs for 8 training sources 6 look like fr rather than en, "
        f"such as {example[0].removeprefix('such as ')}\n"
        "Expected en, as the targets of the data are.\n"
        "The checkpoint says that it translates en into fr: take the one of the other direction.\n"
        "To go on all the same: model.self_check=warn."
    )
    assert checked.facts[-1] == "greedy output sound"  # and no language


@pytest.mark.parametrize("name", ["embedded:en-fr", "marian"])
def test_rows_of_another_vocabulary(name: str, request: pytest.FixtureRequest) -> None:
    def shuffle(model: Any) -> None:
        rows = model.model.shared.weight
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))
        rows.copy_(rows[order])

    folder = request.getfixturevalue(name) if name == "marian" else name
    checked = looked_at(folder, PAIRS, damage=shuffle)
    found = checked.damage[0]
    size = 8001 if name != "marian" else load_codec(folder).vocabulary_sizes[1]
    guess = torch.tensor(size).log().item()
    loss = float(checked.facts[2].split()[1])

    assert loss > guess
    assert str(found) == (
        f"The loss on 5 training pairs is {loss:.2f} nats a token; guessing blindly among "
        f"{size:,} tokens gives {guess:.2f}.\n"
        f"Expected less than {0.75 * guess:.2f}, also on texts that are new to the model.\n"
        "Check that the tokenizer belongs to the checkpoint, and that the checkpoint knows the "
        "languages of the task."
    )


def test_a_decoder_that_was_zeroed(marian: Path) -> None:
    def zero(model: Any) -> None:
        for parameter in model.model.decoder.layers[0].parameters():
            parameter.zero_()

    checked = looked_at(marian, STRINGS, damage=zero)
    degenerate = next(found for found in checked.damage if "greedy" in found.happened)

    assert re.fullmatch(
        "Of the model's greedy outputs for 8 training sources (all 8 are the same|8 are empty|"
        '8 repeat themselves|8 do not end), such as ".*" for ".*"\\.\n'
        "Expected outputs that differ, end, and do not go in circles\\.\n"
        "Check that the checkpoint is whole, that the tokenizer belongs to it, and that it knows "
        "the languages of the task\\.",
        str(degenerate),
    )
    assert checked.facts[-2:] == ("degenerate greedy output", "its language not judged")
    assert next(f.happened for f in checked.findings if not f.is_certain).endswith(
        "zero throughout, model.decoder.layers.0.self_attn.k_proj.weight first."
    )


def test_a_damaged_model_is_not_run(marian: Path) -> None:
    checked = looked_at(
        marian, PAIRS, damage=lambda m: m.model.shared.weight[4].fill_(float("nan"))
    )
    assert checked.facts == ("tied embeddings", "all weights found", "not run")
    assert refusal(checked) == (
        "the model does not pass the self-check.\n"
        "1 weight holds numbers that are not finite, model.shared.weight first.\n"
        "Expected finite numbers: such a model computes nothing but NaN.\n"
        "Download or save the checkpoint again. If its training overflowed, take an earlier "
        "checkpoint.\n"
        "To go on all the same: model.self_check=warn."
    )


def test_a_vocabulary_that_is_too_small(marian: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(marian, tmp_path / "model"))
    model, codec = load_seq2seq(folder), load_codec(folder)
    features: SequencePairs = encode([(*p, 0) for p in PAIRS.items()], codec).features
    rows = int(features.target.values.max())
    model.resize_token_embeddings(rows)  # type: ignore[operator]
    model.config.pad_token_id = model.config.decoder_start_token_id = 0  # type: ignore[union-attr]
    model.generation_config.decoder_start_token_id = None  # type: ignore[union-attr]
    model.generation_config.pad_token_id = None  # type: ignore[union-attr]
    checked = self_check(
        model, codec, PAIRS.items(), folder=folder, source="en", target="fr", features=[features]
    )
    found = checked.damage[-1]

    assert str(found) == (
        f"{int((features.target.values >= rows).sum())} target tokens of the data have ids that "
        f"the model does not know, {rows} first; it has {rows} tokens.\n"
        f"Expected ids from 0 to {rows - 1}.\n"
        "Take the tokenizer that belongs to the checkpoint."
    )
    assert checked.facts[-1] == "not run"


def test_the_codec_s_language_comes_first_whatever_the_checkpoint_forces(marian: Path) -> None:
    codec = load_codec(marian)
    (first, *_), other = codec.encode_target(["Ouvrir le fichier"]).to_lists()[0], 20
    codec.forced_bos_token_id = first
    model = load_seq2seq(marian)
    cast(Any, model).generation_config.forced_bos_token_id = other
    (made,) = TransformersEngine(model, codec).generate(["Delete file?"], num_beams=1)
    assert made[0].token_ids[0] == first != other


CAUSES = [
    (
        {},
        {"tokenizer_config.json": {"source_lang": None}},
        "Check that the checkpoint translates fr into en, not the other way round, and that the "
        "data's sides are not swapped.",
    ),
    (
        {"forced_bos_token_id": 20},
        {"tokenizer_config.json": {"source_lang": None}},
        'Translations are made to begin with "{token}" (forced_bos_token_id 20): set it to the '
        "token of en in generation_config.json.",
    ),
    (
        {},
        {"vocab.json": {">>eng<<": 7, ">>ron<<": 8}, "tokenizer_config.json": {"source_lang": ""}},
        "The checkpoint was told to write eng (task.target=en): check that it has learned this "
        "language, and that the data's targets are in it.",
    ),
    (
        {},
        {"attuner.json": {"prefix": "do: "}, "tokenizer_config.json": {"source_lang": ""}},
        'Before each source stands "do: ": check that the checkpoint was trained for that, or give '
        "other words: task.prefix.",
    ),
]


@pytest.mark.parametrize(("generation", "files", "cause"), CAUSES)
def test_the_probable_cause_of_the_wrong_language(
    tmp_path: Path, generation: dict[str, int], files: dict[str, Any], cause: str
) -> None:
    folder = Path(shutil.copytree(resolve_model("embedded:en-fr"), tmp_path / "model"))
    for name, values in files.items():
        settings = read_json_object(folder / name)
        (folder / name).write_text(json.dumps({**settings, **values}))
    codec = load_codec_between(folder, "fr", "en")

    def force(model: Any) -> None:
        model.generation_config.update(**generation)

    checked = looked_at(folder, SWAPPED, source="fr", target="en", damage=force, codec=codec)
    (found,) = checked.damage
    assert found.remedy == cause.format(token=codec.target_tokens([20])[0])


@pytest.mark.parametrize("family", ["bart", "t5"])
def test_a_raw_model_is_suspicious_and_not_refused(
    family: str, marian: Path, tmp_path: Path
) -> None:
    from transformers import AutoConfig, AutoModelForSeq2SeqLM

    folder = Path(shutil.copytree(marian, tmp_path / "model"))
    codec = load_codec(marian)
    ids = {"pad_token_id": codec.pad_token_id, "eos_token_id": 0}
    settings = {**FAMILIES[family], **ids, "vocab_size": codec.vocabulary_sizes[1]}
    settings["decoder_start_token_id"] = codec.pad_token_id
    torch.manual_seed(0)
    AutoModelForSeq2SeqLM.from_config(AutoConfig.for_model(**settings)).save_pretrained(folder)
    checked = looked_at(folder, STRINGS, codec=codec)

    assert checked.damage == ()
    assert len(checked.findings) == 2  # the loss, and translations that go in circles
    for found in checked.findings:
        assert found.remedy.endswith(
            "A raw pretrained model, such as T5 or mBART as published, has not learned the task "
            "yet: then go on."
        )
    checked.require_sound()
    assert checked.lines[0] == f"Self-check, suspicious: {checked.findings[0]}"


def test_without_data_only_the_checkpoint_is_looked_at(marian: Path) -> None:
    checked = looked_at(marian, {})
    assert (checked.findings, checked.facts) == ((), ("tied embeddings", "all weights found"))


def test_data_without_words_are_not_translated(marian: Path) -> None:
    checked = looked_at(marian, {f"%{n}": f"%{n} " for n in range(9)})
    assert checked.damage == ()
    assert checked.facts[-1] == "no source fit to generate from"


@pytest.fixture
def damaged(marian: Path, tmp_path: Path) -> Path:
    from safetensors.torch import load_file, save_file

    folder = Path(shutil.copytree(marian, tmp_path / "damaged"))
    weights = load_file(folder / "model.safetensors")
    weights["model.decoder.layers.0.fc1.weight"][0, 0] = float("inf")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


INFINITE = (
    "1 weight holds numbers that are not finite, model.decoder.layers.0.fc1.weight first.\n"
    "Expected finite numbers: such a model computes nothing but NaN.\n"
    "Download or save the checkpoint again. If its training overflowed, take an earlier checkpoint."
)


def test_training_refuses_a_damaged_checkpoint(
    lesson_recipe: Build, damaged: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModelError) as caught:
        train(lesson_recipe(f"model={damaged}"))

    assert str(caught.value) == (
        f"{damaged} does not pass the self-check.\n{INFINITE}\n"
        "To go on all the same: model.self_check=warn."
    )
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("mode", ["warn", "skip"])
def test_training_goes_on_where_the_recipe_says_so(
    lesson_recipe: Build, damaged: Path, mode: str
) -> None:
    class EnoughError(Exception):
        pass

    events: list[Event] = []

    def listen(event: Event) -> None:
        events.append(event)
        if isinstance(event, Planned):
            raise EnoughError

    overrides = (f"model={damaged}", f"model.self_check={mode}", "data.split.validation=0")
    recipe = lesson_recipe(*overrides)
    recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"validation": None})})
    with pytest.raises(EnoughError):
        train(recipe, listeners=[listen])
    assert said(events)[:1] == ([f"Self-check, damage: {INFINITE}"] if mode == "warn" else [])


def test_a_run_says_what_it_looked_at_and_a_resumed_one_does_not_look(tune: Tune) -> None:
    run, events = tune("training.evaluate=none")
    suspicion, line = said(events)
    assert suspicion.startswith("Self-check, suspicious: The loss on 9 training pairs is ")
    assert line.startswith("Self-check: tied embeddings, all weights found, loss ")
    assert ", greedy output sound, " in line
    again: list[Event] = []
    resume(run.folder, listeners=[again.append])
    assert said(again) == []


def test_check_reports_damage_and_measures_no_cost(lesson_recipe: Build, damaged: Path) -> None:
    checked = check(lesson_recipe(f"model={damaged}"))

    assert checked.self_check is not None
    assert [str(found) for found in checked.self_check.damage] == [INFINITE]
    assert (checked.cost, checked.is_refused) == (None, True)
    assert not check(lesson_recipe(f"model={damaged}", "model.self_check=warn")).is_refused
    skipped = check(lesson_recipe("model.self_check=skip"))
    assert (skipped.self_check, skipped.is_refused) == (None, False)
    assert skipped.cost is not None
