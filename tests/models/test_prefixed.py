from __future__ import annotations

from pathlib import Path

from attuner.models.codec import load_codec
from attuner.models.prefixed import with_prefix, without_prefix


def test_the_prefix_stands_before_each_source_and_nowhere_else(marian: Path) -> None:
    codec = load_codec(marian)
    prefixed = with_prefix(codec, "Open ")
    texts = ["the file", "all windows"]
    expected = codec.encode_source([f"Open {text}" for text in texts]).to_lists()
    assert prefixed.encode_source(texts).to_lists() == expected
    assert prefixed.between("en", "fr").encode_source(texts).to_lists() == expected
    assert prefixed.encode_target(texts).to_lists() == codec.encode_target(texts).to_lists()
    assert prefixed.decode(expected) == [f"Open {text}" for text in texts]
    ids = expected[0]
    assert prefixed.source_tokens(ids) == codec.source_tokens(ids)
    assert prefixed.target_tokens(ids) == codec.target_tokens(ids)
    assert prefixed.pad_token_id == codec.pad_token_id
    assert without_prefix(prefixed) is codec
    assert without_prefix(codec) is with_prefix(codec, "") is codec
