"""Both engines give the same, whatever row Marian's decoder starts from."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from pairs import PAIRS

from attuner.errors import ModelError
from attuner.inference.ctranslate2_engine import CTranslate2Engine, engine_from_model
from attuner.inference.engine import Engine
from attuner.inference.transformers_engine import TransformersEngine
from attuner.models.codec import load_codec
from attuner.models.loading import load_seq2seq

# Learned by heart, shuffled words, letters that the vocabulary lacks, long lines.
LINES = [
    *PAIRS,
    "Open windows",
    "restarts kernel the now The",
    "Open",
    "%1",
    "漢字",
    "Delete all windows as %1 now?",
    "e",
    "file " * 12 + "file",
]


Engines = tuple[TransformersEngine, CTranslate2Engine]


def engines_of(folder: Path) -> Engines:
    codec, model = load_codec(folder), load_seq2seq(folder)
    return TransformersEngine(model, codec), engine_from_model(model, codec)


@pytest.fixture(scope="session")
def plain(marian: Path) -> Engines:
    return engines_of(marian)


@pytest.fixture(scope="session")
def moved(moved_marian: Path) -> Engines:
    return engines_of(moved_marian)


@pytest.fixture(params=["zero pad row", "moved pad row"])
def engines(request: pytest.FixtureRequest, plain: Engines, moved: Engines) -> Engines:
    return plain if request.param == "zero pad row" else moved


def ids(engine: Engine, lines: list[str] = LINES, **options: Any) -> list[tuple[int, ...]]:
    return [best.token_ids for best, *_ in engine.generate(lines, **options)]


@pytest.mark.parametrize("max_new_tokens", [40, 6, 2])
def test_greedy_is_identical(engines: Engines, max_new_tokens: int) -> None:
    reference, fast = engines
    expected = ids(reference, num_beams=1, max_new_tokens=max_new_tokens)
    assert ids(fast, num_beams=1, max_new_tokens=max_new_tokens) == expected


def test_what_was_learned_comes_out(plain: Engines) -> None:
    for engine in plain:
        made = engine.generate(list(PAIRS), num_beams=4, max_new_tokens=40)
        assert [best.text for best, *_ in made] == list(PAIRS.values())


def test_the_end_token_counts_in_the_length(plain: Engines) -> None:
    for engine in plain:
        for num_beams in (1, 4):
            whole = ids(engine, list(PAIRS), num_beams=num_beams, max_new_tokens=40)
            longest = max(map(len, whole))
            for limit, met in ((longest + 1, longest), (longest, longest - 1), (2, 1)):
                made = ids(engine, list(PAIRS), num_beams=num_beams, max_new_tokens=limit)
                assert max(map(len, made)) == met


@pytest.mark.filterwarnings("ignore:Recommended")
def test_ctranslate2s_own_loader_falls_into_the_trap(
    moved: Engines, moved_marian: Path, tmp_path: Path
) -> None:
    """The case that the conversion exists for: without it the two disagree."""
    import ctranslate2
    from ctranslate2.converters import TransformersConverter

    reference, _ = moved
    TransformersConverter(str(moved_marian)).convert(str(tmp_path / "theirs"))
    codec = load_codec(moved_marian)
    theirs = ctranslate2.Translator(str(tmp_path / "theirs"))
    tokens = [codec.source_tokens(row) for row in codec.encode_source(LINES)]
    made = theirs.translate_batch(tokens, beam_size=1, max_decoding_length=39)
    expected = [codec.target_tokens(row) for row in ids(reference, num_beams=1, max_new_tokens=40)]
    assert [result.hypotheses[0] for result in made] != expected


def test_scores_are_sums_of_log_probabilities(engines: Engines, marian: Path) -> None:
    reference, fast = engines
    codec = load_codec(marian)
    # CTranslate2 leaves the pad token, which is never generated, out of the softmax as well.
    without_pad = copy.deepcopy(reference._model)
    without_pad.final_logits_bias[0, codec.pad_token_id] = -1e9
    for engine, judge in ((reference, reference), (fast, TransformersEngine(without_pad, codec))):
        for num_beams in (1, 3):
            made = engine.generate(
                list(PAIRS), num_beams=num_beams, num_hypotheses=num_beams, max_new_tokens=60
            )
            for line, hypotheses in zip(PAIRS, made, strict=True):
                assert len(hypotheses) == num_beams
                # At the limit the end is forced, not scored.
                ended = [h for h in hypotheses if len(h.token_ids) < 59]
                targets = [h.token_ids for h in ended]
                expected = judge.score([line] * len(ended), targets)
                assert [h.score for h in ended] == pytest.approx(expected, abs=1e-3)
                assert [h.text for h in ended] == codec.decode(targets)


def test_prefixes_begin_the_translations(engines: Engines) -> None:
    reference, fast = engines
    lines = ["Open the file", "Open the file", "Close all windows", "Open the file"]
    prefixes = ["Fermer", "Ouvrir le", "", "Fermer"]
    for engine in (reference, fast):
        made = engine.generate(lines, num_beams=1, target_prefixes=prefixes, max_new_tokens=20)
        assert all(m[0].text.startswith(p) for m, p in zip(made, prefixes, strict=True))
    options = {"num_beams": 1, "target_prefixes": prefixes, "max_new_tokens": 9}
    assert ids(fast, lines, **options) == ids(reference, lines, **options)


def test_order_and_equal_lines(engines: Engines) -> None:
    for engine in engines:
        lines = [LINES[i % 3] for i in (2, 0, 1, 0, 2)]
        alone = {line: engine.generate([line], num_beams=2)[0][0].text for line in LINES[:3]}
        for batch_tokens in (1, 12, 4096):
            made = engine.generate(lines, num_beams=2, batch_tokens=batch_tokens)
            assert [best.text for best, *_ in made] == [alone[line] for line in lines]
        assert engine.generate([]) == []


def test_long_sources_are_cut_alike(engines: Engines) -> None:
    reference, fast = engines
    options = {"num_beams": 1, "max_source_tokens": 5, "max_new_tokens": 20}
    assert ids(fast, **options) == ids(reference, **options)
    # The model has 64 positions: longer lines and results are cut instead of failing.
    long = ["file " * 200]
    for engine in (reference, fast):
        assert len(ids(engine, long, num_beams=1, max_new_tokens=500)[0]) <= 63


@pytest.mark.parametrize("quantization", ["float32", "int8"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_model_in_training_is_left_as_it_is(
    marian: Path, dtype: torch.dtype, quantization: str
) -> None:
    model, codec = load_seq2seq(marian).to(dtype).train(), load_codec(marian)
    before = copy.deepcopy(model.state_dict())
    config = model.config.to_dict()
    generation = model.generation_config.to_dict()
    threads = torch.get_num_threads()
    converted = engine_from_model(model, codec, quantization=quantization)
    assert torch.get_num_threads() == threads
    for engine in (converted, TransformersEngine(model, codec)):
        engine.generate(LINES, num_beams=2)
        assert model.training
        assert model.config.to_dict() == config
        assert model.generation_config.to_dict() == generation
        after = model.state_dict()
        assert all(torch.equal(after[k], before[k]) and after[k].dtype == dtype for k in before)


def test_int8_says_so(marian: Path) -> None:
    model, codec = load_seq2seq(marian), load_codec(marian)
    engine = engine_from_model(model, codec, quantization="int8")
    assert engine.name.startswith("ctranslate2 ")
    assert engine.name.endswith(" int8")
    made = engine.generate(list(PAIRS), num_beams=2)
    assert [best.text for best, *_ in made] == list(PAIRS.values())


def test_a_folder_without_engine(marian: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="CTranslate2 cannot load it"):
        CTranslate2Engine(tmp_path, load_codec(marian))


def test_an_engine_leaves_torch_its_threads(marian: Path) -> None:
    import torch

    codec, model = load_codec(marian), load_seq2seq(marian)
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        engine_from_model(model, codec).generate(["Open the file"])
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(threads)
