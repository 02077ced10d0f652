"""The model that is made from checkpoints alone is the one that the run delivers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from lessons import Tune

import attuner
from attuner.cards.facts import Facts
from attuner.cards.truth import require_true_card, write_card
from attuner.errors import RunError
from attuner.training.card import facts_so_far
from attuner.training.folder import RunFolder
from attuner.training.snapshot import write_model_so_far


def content(path: Path) -> object:
    """A file's bytes; of peft's settings, which hold sets, what they say in any order."""
    if path.name != "adapter_config.json":
        return path.read_bytes()
    settings = json.loads(path.read_text(encoding="utf-8"))
    return {key: sorted(it) if isinstance(it, list) else it for key, it in settings.items()}


def assert_is_the_model_of(delivered: Path, made: Path) -> None:
    """Only a card is missing: it tells of scores, which are known at the end."""
    files = sorted(path.name for path in made.iterdir())
    assert sorted([*files, "README.md", "card.json"]) == sorted(
        path.name for path in delivered.iterdir()
    )
    for name in files:
        assert content(delivered / name) == content(made / name), name


@pytest.mark.parametrize(
    "overrides",
    [
        ["training.best_metric=loss"],
        ["training.evaluate=none"],
        ["training.ema.decay=0.9"],
        ["model.adapter={kind: lora, rank: 2}"],
        ["model.adapter={kind: lora, rank: 2, save: separate}"],
        ["model.freeze=[encoder]"],
    ],
)
def test_it_is_what_is_delivered(tune: Tune, tmp_path: Path, overrides: list[str]) -> None:
    run, _ = tune("training.precision=fp32", "training.epochs=2", *overrides)
    made = tmp_path / "made"
    made.mkdir()
    write_model_so_far(RunFolder(run.folder), made)

    assert_is_the_model_of(run.model_folder, made)


@pytest.mark.parametrize("save", ["merged", "separate"])
def test_its_card_gives_the_scores_that_its_weights_had(
    tune: Tune, tmp_path: Path, lessons: Path, save: str
) -> None:
    run, _ = tune(
        "training.precision=fp32", "training.best_metric=loss", "training.epochs=2",
        "model.adapter={kind: lora, rank: 2}", f"model.adapter.save={save}",
    )  # fmt: skip
    shutil.rmtree(run.folder / "checkpoints/step-000006")  # as if it were under way
    facts, text = card_so_far(run.folder, tmp_path / "made")
    scored = [line for line in map(json.loads, (run.folder / "metrics.jsonl").open())
              if line["event"] == "evaluated"]  # fmt: skip

    assert facts.so_far == "after step 3 of 6"
    assert facts.scored.after == next(e["scores"] for e in scored if e["step"] == 3)
    assert facts.scored.before == run.before
    assert [row.epoch for row in facts.evaluations] == [0, 1]
    assert (facts.name, facts.shown, facts.training.num_steps) == ("test", [], 3)
    assert "**In progress**: no result, but the state of a run after step 3 of 6." in text
    again = attuner.evaluate(tmp_path / "made", lessons, num_beams=1, max_new_tokens=40)
    assert again.scores["chrf"] == pytest.approx(facts.scored.after["chrf"], abs=1e-6)


def test_its_card_names_the_best_weights_where_they_are_not_the_last(
    tune: Tune, tmp_path: Path
) -> None:
    run, _ = tune("training.precision=fp32", "training.best_metric=loss", "training.epochs=2")
    last = run.folder / "checkpoints/step-000006"
    state = json.loads((last / "state.json").read_text())
    state["loop"]["best_step"] = 3
    (last / "state.json").write_text(json.dumps(state))
    facts, text = card_so_far(run.folder, tmp_path / "made")

    assert facts.so_far == (
        "after step 6 of 6, with the best weights until then, those after step 3"
    )
    (best,) = [e for e in run.epochs if e["step"] == 3]
    assert facts.scored.after == best["scores"]
    assert "with the best weights until then, those after step 3." in text


def test_its_card_says_where_nothing_was_scored(tune: Tune, tmp_path: Path) -> None:
    run, _ = tune("training.precision=fp32", "training.evaluate=none", "training.epochs=1")
    facts, text = card_so_far(run.folder, tmp_path / "made")

    assert facts.scored.after == {}
    assert "There are no scores so far." in text
    assert "Nothing was held out" not in text
    assert "nothing was held out" not in text


def card_so_far(folder: Path, made: Path) -> tuple[Facts, str]:
    """The card of a model that is made amid a run, which is true."""
    made.mkdir()
    snapshot = write_model_so_far(RunFolder(folder), made)
    write_card(facts_so_far(snapshot, RunFolder(folder), made), made)
    return require_true_card(made), (made / "README.md").read_text(encoding="utf-8")


def test_without_a_checkpoint_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(RunError) as caught:
        write_model_so_far(RunFolder(tmp_path), tmp_path / "made")
    assert str(caught.value) == (
        f"{tmp_path} has no checkpoint.\nA model so far is made from the latest ones."
    )
