"""The gate of an export: what it compares on, what it refuses, what it leaves behind."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pairs import PAIRS
from test_cli import attuner

from attuner.cards.facts import read_facts
from attuner.cards.truth import require_true_card, rewrite_card
from attuner.errors import DataError, ExportError, ModelError, UsageError, UserError
from attuner.inference.conversion import convert_model
from attuner.models.loading import load_seq2seq
from attuner.publishing import to_ctranslate2
from attuner.publishing.export import export
from attuner.publishing.held_out import run_of, spread
from attuner.training.run import Run


@pytest.fixture
def damaging(monkeypatch: pytest.MonkeyPatch) -> None:
    """A conversion that goes wrong without a word: the encoder's first layer is lost."""

    def convert(folder: Path, output: Path, codec: Any, *, quantization: str) -> None:
        model: Any = load_seq2seq(folder)
        for parameter in model.model.encoder.layers[0].parameters():
            parameter.data.zero_()
        convert_model(model, output, codec, quantization=quantization)

    monkeypatch.setattr(to_ctranslate2, "convert", convert)


@pytest.mark.usefixtures("damaging")
def test_an_export_that_is_worse_is_refused_unless_forced(tuned: Run, tmp_path: Path) -> None:
    place = tmp_path / "new/made"
    options: dict[str, Any] = {"to": "ctranslate2", "quantization": "int8", "output": place}
    with pytest.raises(ExportError) as caught:
        export(tuned.folder, **options)

    kept = export(tuned.folder, **options, force=True)
    assert kept.exported is not None
    after = kept.exported.scores["bleu"]
    assert str(caught.value) == (
        f"The export is worse than {tuned.folder}: BLEU {after:.2f} on 5 validation examples of "
        f"{tuned.folder}, the model's is 100.00.\n"
        f"It may be worse by 0.5, and is so by {100 - after:.2f}. Nothing was written.\n"
        'Try a finer number format: quantization="float32". Or keep it as it is: force=True'
    )
    assert kept.is_worse
    assert json.loads((place / "export.json").read_text())["is_worse"]
    assert not export(tuned.folder, **options, margin=101).is_worse


@pytest.mark.usefixtures("damaging")
def test_what_is_refused_leaves_an_earlier_export_as_it_was(tuned: Run, tmp_path: Path) -> None:
    with pytest.raises(ExportError):
        export(tuned.folder, to="ctranslate2", output=tmp_path / "new/made")
    assert list(tmp_path.iterdir()) == []
    earlier = export(tuned.folder, to="ctranslate2", output=tmp_path / "made", check=False)
    before = {path: path.read_bytes() for path in earlier.folder.iterdir()}
    with pytest.raises(ExportError):
        export(tuned.folder, to="ctranslate2", output=tmp_path / "made")
    assert {path: path.read_bytes() for path in earlier.folder.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_data_can_be_named(marian: Path, held_out: Path, tmp_path: Path) -> None:
    made = export(
        marian, to="ctranslate2", output=tmp_path / "made", data=held_out, source="en",
        target="fr", limit=3, metric="chrf",
    )  # fmt: skip
    assert made.examples == f"3 examples of {held_out}"
    assert made.part == "data"
    assert made.metric == "chrf"
    assert made.original is not None
    assert list(made.original.scores) == ["chrf", "bleu"]


def test_none_to_compare_on(marian: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        export(marian, to="ctranslate2", output=tmp_path / "made", data="held-out.po", limit=0)
    assert str(caught.value) == (
        "limit is 0.\nExpected a whole number from 1: the most examples to compare on."
    )


def test_without_anything_to_compare_on(
    marian: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError) as caught:
        export(marian, to="ctranslate2", output=tmp_path / "made")
    assert str(caught.value) == (
        f"{marian} lies in no run: there are no validation examples to compare the export with it "
        "on.\n"
        "An export is kept where it is no worse than its model, which takes examples.\n"
        'Name some: data="FILE"; or export without comparing: check=False'
    )
    monkeypatch.chdir(tmp_path)
    made = export(marian, to="ctranslate2", check=False)
    assert made.folder == Path(f"{marian.name}-ctranslate2-float32")
    assert not made.is_checked
    assert json.loads((made.folder / "export.json").read_text())["is_checked"] is False


def test_a_run_whose_data_are_others_now(tuned: Run, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(tuned.folder, run)
    manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    (data,) = manifest["data"]
    for now, what in (
        ({data: "0" * 64}, f"{data} has changed since the run."),
        (
            {f"{tmp_path}/gone.po": "0" * 64},
            f"{tmp_path}/gone.po is missing, which the run read.",
        ),
    ):
        (run / "manifest.json").write_text(json.dumps({**manifest, "data": now}))
        with pytest.raises(DataError) as caught:
            export(run, to="ctranslate2")
        assert str(caught.value) == (
            f"{what}\nAn export is compared with its model on the validation examples of {run}: "
            "its data as they were, relative paths counted from here.\n"
            'Name other examples: data="FILE"; or export without comparing: check=False'
        )


def test_a_run_that_held_nothing_out(tune: Any) -> None:
    run = tune("data.validation=null", "data.split.validation=0")
    with pytest.raises(DataError) as caught:
        export(run.folder, to="ctranslate2")
    assert str(caught.value) == (
        f"{run.folder} held nothing out: there is nothing to compare the export with its model "
        "on.\n"
        "Expected a run with validation examples, or data to compare on.\n"
        'Name other examples: data="FILE"; or export without comparing: check=False'
    )


def test_which_folder_is_a_run_s(tuned: Run, marian: Path) -> None:
    found = run_of(tuned.model_folder)
    assert found is not None
    assert found.path == tuned.folder
    assert run_of(marian) is None
    assert run_of(tuned.folder / "checkpoints") is None


def test_examples_are_spread_over_all() -> None:
    assert spread(range(10), 4) == [0, 2, 5, 7]
    assert spread(range(3), 4) == [0, 1, 2]


def test_what_is_no_export_is_not_replaced(tuned: Run, tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters/dear.txt").write_text("Dear")
    for place in (tmp_path / "letters", tuned.model_folder):
        before = sorted(path.name for path in place.iterdir())
        with pytest.raises(ExportError) as caught:
            export(tuned.folder, to="ctranslate2", output=place)
        assert str(caught.value) == (
            f"{place} exists, and is no earlier export.\n"
            "An export is written into a new folder, or replaces an export.\n"
            'Choose another place: output="FOLDER"'
        )
        assert sorted(path.name for path in place.iterdir()) == before


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system too small for the model."""
    folder = tmp_path / "small"
    folder.mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", 0, b"size=64k") != 0:
        pytest.skip(f"a file system cannot be mounted here: {os.strerror(ctypes.get_errno())}")
    yield folder
    libc.umount2(os.fsencode(folder), 2)


def _full(place: Path) -> str:
    return (
        f"{place}: the disk is full.\n"
        "An export is written whole or not at all: nothing of it is left.\n"
        'Mend that, or choose another place: output="FOLDER"'
    )


@pytest.mark.parametrize("to", ["ctranslate2", "transformers"])
def test_a_full_disk_leaves_nothing(tuned: Run, small_disk: Path, to: str) -> None:
    place = small_disk / "new/made"
    with pytest.raises(ExportError) as caught:
        export(tuned.folder, to=to, output=place)
    assert str(caught.value) == _full(place)
    assert list(small_disk.iterdir()) == []


def test_a_disk_that_fills_up_at_the_last_file_leaves_nothing(
    tuned: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Stands in for the small disk where none can be mounted.
    def copy_around(_: object, folder: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(folder / "vocab.json"))

    monkeypatch.setattr(to_ctranslate2, "copy_around", copy_around)
    with pytest.raises(ExportError) as caught:
        export(tuned.folder, to="ctranslate2", output=tmp_path / "new/made")
    assert str(caught.value) == _full(tmp_path / "new/made")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("architecture", "auto_class"),
    [
        ("MarianMTModel", "AutoModelForSeq2SeqLM"),
        ("BertForSequenceClassification", "AutoModelForSequenceClassification"),
    ],
)
def test_pickled_weights_are_refused(tmp_path: Path, architecture: str, auto_class: str) -> None:
    folder = tmp_path / "pickled"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"architectures": [architecture]}))
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(ModelError) as caught:
        export(folder, to="transformers")
    assert str(caught.value) == (
        f"{folder} has no *.safetensors weights but pytorch_model.bin, which is a pickle and can "
        "run code.\n"
        "Weights are loaded from safetensors only.\n"
        "Convert them where you trust the file: "
        f"{auto_class}.from_pretrained(FOLDER).save_pretrained(NEW_FOLDER)."
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"to": "ctranslat"},
            'There is no format "ctranslat" to export to.\n'
            'Did you mean "ctranslate2"? Known: ctranslate2, onnx, transformers.',
        ),
        (
            {"to": "ctranslate2", "quantization": "int4"},
            'There is no quantization "int4".\n'
            'Did you mean "int8"? Known: float32, int8, int8_float32.',
        ),
        (
            {"to": "transformers", "dtype": "fp16"},
            'There is no dtype "fp16".\nKnown: bfloat16, float16, float32.',
        ),
        (
            {"to": "transformers", "quantization": "int8"},
            'quantization="int8" was given with an export to transformers.\n'
            "quantization is for ctranslate2, dtype for transformers.\nLeave it out.",
        ),
        (
            {"to": "ctranslate2", "adapter": "separate"},
            "{model} is no adapter: it cannot be separate.\n"
            "Expected the folder of an adapter, as model.adapter.save=separate delivers it.\n"
            "Leave the option out.",
        ),
        (
            {"to": "ctranslate2", "adapter": "merge"},
            'An adapter is not exported "merge".\nDid you mean "merged"? Known: merged, separate.',
        ),
        (
            {"to": "ctranslate2", "source": "en"},
            "source was given without data.\nOptions of the data go with data.\n"
            'Name them: data="FILE"',
        ),
        (
            {"to": "ctranslate2", "check": False, "data": "a.po"},
            "Data were given together with check=False.\n"
            "They are to compare the export with its model.\nLeave one of them out.",
        ),
        (
            {"to": "ctranslate2", "text": "review"},
            "{model} writes text: it has no use of text.\n"
            "Options of the data go with what the model does.\n"
            "Leave it out.",
        ),
        (
            {"to": "onnx"},
            "{model} writes text: only classifiers are exported to ONNX.\n"
            "Writing text needs a search around the model, which an ONNX file does not hold.\n"
            "Export it for CTranslate2: attuner export {model} --to ctranslate2",
        ),
    ],
)
def test_what_does_not_go_together(
    tuned: Run, options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as caught:
        export(tuned.folder, output=tmp_path / "made", **options)
    assert str(caught.value) == message.format(model=tuned.folder)
    assert list(tmp_path.iterdir()) == []


def test_the_card_tells_of_it(tuned: Run, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(tuned.folder, run)
    facts = read_facts(run / "model")  # other tests have exported it, too
    rewrite_card(facts.model_copy(update={"exports": []}), run / "model")
    for _ in range(2):
        export(run, to="ctranslate2", quantization="int8")
    made = export(run, to="ctranslate2", check=False)
    facts = require_true_card(run / "model")

    assert made.card == f"The model's card tells of it: {run}/model/README.md"
    original, small, whole = facts.exports
    assert original.name == "original"
    assert small.name == "ctranslate2 int8"
    assert whole.model_dump(exclude_defaults=True).keys() == {"name", "num_bytes"}
    for entry in (original, small):
        assert entry.split == "validation"
        assert entry.scores["bleu"] == pytest.approx(100)
        assert entry.num_bytes > 0
        assert entry.per_second
        assert entry.machine
    assert "ctranslate2 int8" in (run / "model/README.md").read_text(encoding="utf-8")


def test_a_card_that_somebody_wrote_into_is_left_alone(tuned: Run, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(tuned.folder, run)
    card = run / "model/README.md"
    card.write_text("Mine.", encoding="utf-8")
    made = export(run, to="ctranslate2", check=False)
    assert made.card == (
        f"The model's card does not tell of it: {card} has been written into since it was rendered."
    )
    assert card.read_text(encoding="utf-8") == "Mine."


def test_a_model_that_was_named_otherwise_than_by_its_folder_stays_as_it_is(
    tuned: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached = tmp_path / "cache"
    shutil.copytree(tuned.model_folder, cached)
    before = {path.name: path.read_bytes() for path in cached.iterdir()}
    monkeypatch.setattr("attuner.publishing.origin.resolve_model", lambda name: cached)
    made = export("team/strings", to="ctranslate2", output=tmp_path / "made", check=False)
    assert made.card == ""
    assert {path.name: path.read_bytes() for path in cached.iterdir()} == before


def test_on_the_command_line(tuned: Run, tmp_path: Path) -> None:
    place = tmp_path / "made"
    told = ("export", str(tuned.folder), "--to", "ctranslate2", "--output", str(place))
    shown = attuner(*told)
    assert shown.exit_code == 0, shown.stderr
    lines = shown.stdout.splitlines()
    assert lines[0] == f"Exported {tuned.folder} for CTranslate2 (float32): {place}"
    assert f"Compared with its model on 5 validation examples of {tuned.folder}:" in lines
    head, model, exported = lines[3:6]
    assert head.split() == ["size", "BLEU", "chrF", "a", "second", "computed", "by"]
    assert [row.split()[3] for row in (model, exported)] == ["100.00", "100.00"]
    assert "The same for 5 of 5." in lines
    assert lines[-1] == f'Use it: attuner translate {place} "A text."'
    found = json.loads(attuner(*told, "--json").stdout)
    assert found["folder"] == str(place)
    assert found["exported"]["scores"]["bleu"] == pytest.approx(100)
    unchecked = attuner(*told, "--no-check")
    assert "It was not compared with its model." in unchecked.stdout
    refused = attuner(*told, "--no-check", "--data", "a.po")
    assert refused.exit_code == 2
    assert refused.stderr.startswith("Data were given together with --no-check.\n")
    assert attuner("translate", str(place), next(iter(PAIRS))).stdout == "Ouvrir le fichier\n"
