"""Training from scratch: the vocabulary is learned once, from training texts, and kept."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lessons import LESSONS

from attuner.errors import ModelError, RunError
from attuner.ready_recipes import ready_recipe
from attuner.recipe import Recipe
from attuner.recipe_loading import load_recipe
from attuner.training import vocabulary
from attuner.training.check import check
from attuner.training.events import Event, Noted, Planned, Saved
from attuner.training.run import resume, train

TINY = (
    "model.config={model_type: marian, d_model: 32, encoder_layers: 1, decoder_layers: 1, "
    "encoder_ffn_dim: 64, decoder_ffn_dim: 64, encoder_attention_heads: 2, "
    "decoder_attention_heads: 2, activation_function: swish, scale_embedding: true, "
    "max_position_embeddings: 64, dropout: 0.0}"
)
FILES = ("source.spm", "target.spm", "vocab.json", "tokenizer_config.json")

Build = Callable[..., Recipe]


@pytest.fixture
def scratch(lesson_recipe: Build) -> Build:
    """The lessons, learned by a model without any knowledge."""

    def build(*overrides: str) -> Recipe:
        return lesson_recipe(
            "model={config: {}, vocabulary: {size: 100}}", TINY, "training.precision=fp32",
            *overrides,
        )  # fmt: skip

    return build


@pytest.mark.filterwarnings("ignore:Recommended")
def test_it_learns_eight_examples_from_nothing(scratch: Build, cache: Path) -> None:
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    from attuner.inference.ctranslate2_engine import CTranslate2Engine
    from attuner.inference.translator import load

    events: list[Event] = []
    recipe = scratch(
        "training.epochs=100", "training.learning_rate=0.005", "training.evaluate=none"
    )
    run = train(recipe, listeners=[events.append])

    assert run.after["bleu"] > 99
    translator = load(str(run.folder))
    assert isinstance(translator.engine, CTranslate2Engine)
    assert translator.translate(list(LESSONS)) == list(LESSONS.values())
    notes = [event.text for event in events if isinstance(event, Noted)]
    (size,) = [note for note in notes if note.startswith("Vocabulary of ")]
    assert size.startswith("Vocabulary of 56 pieces, learned from 18 lines of training text in ")
    for name in FILES:
        kept = (run.folder / "vocabulary" / name).read_bytes()
        assert (run.model_folder / name).read_bytes() == kept
    model = AutoModelForSeq2SeqLM.from_pretrained(run.model_folder)
    tokenizer = AutoTokenizer.from_pretrained(run.model_folder)
    assert not model.get_input_embeddings().weight[tokenizer.pad_token_id].any()
    ids = model.generate(**tokenizer(["Open the file"], return_tensors="pt"), max_new_tokens=30)
    assert tokenizer.batch_decode(ids, skip_special_tokens=True) == ["Ouvre le fichier"]


def test_a_resumed_run_keeps_its_vocabulary(
    scratch: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class PulledTheCable(BaseException):
        pass

    def pull(event: Event) -> None:
        if isinstance(event, Saved) and event.step == 3:
            raise PulledTheCable

    whole = train(scratch("output.name=whole"))
    with pytest.raises(PulledTheCable):
        train(scratch("output.name=cut"), listeners=[pull])
    monkeypatch.delattr(vocabulary, "learn")
    events: list[Event] = []
    run = resume(tmp_path / "runs/cut", listeners=[events.append])

    assert next(event for event in events if isinstance(event, Planned)).first_step == 3
    assert run.after == whole.after
    for name in FILES:
        assert (run.model_folder / name).read_bytes() == (whole.model_folder / name).read_bytes()

    shutil.rmtree(run.folder / "vocabulary")
    with pytest.raises(RunError) as caught:
        resume(run.folder)
    assert str(caught.value) == (
        f"{run.folder}/vocabulary is missing.\n"
        "The run goes on with the vocabulary that it began with: its weights belong to it.\n"
        "Put the folder back, or start a new run."
    )


@pytest.mark.parametrize(("by", "is_known"), [("random", True), ("source", False)])
def test_held_out_texts_are_no_part_of_the_vocabulary(
    scratch: Build, lessons: Path, tmp_path: Path, by: str, is_known: bool
) -> None:
    row = json.dumps({"en": "Open the ☃", "fr": "Ouvre le ☃"})
    (tmp_path / "held-out.jsonl").write_text(row, encoding="utf-8")
    (tmp_path / "more.jsonl").write_text(row, encoding="utf-8")
    run = train(
        scratch(
            f"data.train=[{lessons}, {tmp_path}/more.jsonl]",
            f"data.test={tmp_path}/held-out.jsonl",
            "data.validation=null",
            "data.split.validation=0",
            f"data.split.by={by}",
            "model.vocabulary.character_coverage=1",
            "training.max_steps=1",
        )
    )
    pieces = json.loads((run.folder / "vocabulary/vocab.json").read_text(encoding="utf-8"))
    assert any("☃" in piece for piece in pieces) is is_known


def test_of_many_examples_a_sample_is_learned_from(
    scratch: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vocabulary, "MOST_EXAMPLES", 6)
    events: list[Event] = []
    check(scratch(), row=1, listener=events.append)
    notes = [event.text for event in events if isinstance(event, Noted)]
    assert int(notes[0].split("learned from ")[1].split(" lines")[0]) in (12, 14)
    assert notes[1] == "They give no more pieces (model.vocabulary.size=100)."


def test_a_check_shows_the_pieces_and_leaves_nothing_behind(
    scratch: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    recipe = scratch("data.validation=null", "data.split.validation=2", "training.max_steps=2")
    checked = check(recipe)
    assert checked.cost is not None
    assert checked.cost.num_steps == 2
    assert checked.shown[0].source_lines[0].tokens[-1] == "</s>"
    assert not list((tmp_path / "tmp").iterdir())
    assert not (tmp_path / "runs").exists()


def test_a_contradicting_configuration_leaves_no_run(scratch: Build, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"^model\.config has pad_token_id=0\.\n"):
        train(scratch("model.config.pad_token_id=0"))
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("from_checkpoint", [False, True])
def test_the_ready_recipe(
    from_checkpoint: bool, lessons: Path, marian: Path, tmp_path: Path, cache: Path
) -> None:
    overrides = [f"model={marian}"] if from_checkpoint else [TINY, "model.vocabulary.size=100"]
    recipe = load_recipe(
        ready_recipe("pretrain-en-fr"),
        [
            f"data={lessons}", "data.split.validation=2", "data.split.test=2",
            "data.max_source_tokens=60", "data.max_target_tokens=60",
            "generation.max_new_tokens=10", "training.max_steps=4", f"output.folder={tmp_path}",
            *overrides,
        ],
    )  # fmt: skip
    run = train(recipe)
    assert (run.folder / "vocabulary").is_dir() is not from_checkpoint
    assert set(run.after) >= {"loss", "bleu", "chrf"}
    origin: dict[str, Any] = json.loads((run.folder / "manifest.json").read_text())["model"]
    assert origin["name"] == (str(marian) if from_checkpoint else "marian from scratch")
