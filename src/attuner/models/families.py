"""What is special in each family of encoder-decoder checkpoints: one row a family."""

from __future__ import annotations

from dataclasses import dataclass

_BART_LINEAR = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")
_T5_LINEAR = ("q", "k", "v", "o", "wi", "wi_0", "wi_1", "wo")


@dataclass(frozen=True, slots=True)
class Family:
    """How to handle checkpoints of one `model_type`.

    Attributes:
        title: The family as people call it.
        positions: How a token's position is known: `passed` to the position embedding, `counted`
            by it from the ids, `relative` in the attention, or `unknown`.
        adapter_targets: Names of the linear layers that adapters are put on.
        takes_fp16: Whether activations stay within fp16's range.
        only_translates: Whether each of its checkpoints was trained to translate. Others may be
            raw ones, which know languages but no task yet.
        prefix: Words before each source that the published checkpoints were trained with, with
            the English names of the languages; "" where there are none.
    """

    title: str
    positions: str = "unknown"
    adapter_targets: tuple[str, ...] = _BART_LINEAR
    takes_fp16: bool = True
    only_translates: bool = False
    prefix: str = ""

    @property
    def is_packable(self) -> bool:
        """Whether positions can restart within a row, so that many sequences share it."""
        return self.positions in ("passed", "counted")


# By the configuration's `model_type`.
FAMILIES: dict[str, Family] = {
    "marian": Family("Marian", "passed", only_translates=True),
    "bart": Family("BART", "passed"),
    "pegasus": Family("Pegasus", "passed"),
    "mbart": Family("mBART", "passed"),
    "m2m_100": Family("M2M100 and NLLB", "counted", only_translates=True),
    "t5": Family(
        "T5",
        "relative",
        adapter_targets=_T5_LINEAR,
        takes_fp16=False,
        prefix="translate {source} to {target}: ",
    ),
    "mt5": Family("mT5", "relative", adapter_targets=_T5_LINEAR, takes_fp16=False),
    "umt5": Family("UMT5", "relative", adapter_targets=_T5_LINEAR, takes_fp16=False),
}


def family_of(model_type: str) -> Family:
    """The family's row; of an unknown one, what holds for any encoder-decoder model.

    >>> family_of("marian").title, family_of("prophetnet").title
    ('Marian', 'prophetnet')
    """
    return FAMILIES.get(model_type, Family(model_type, adapter_targets=()))


@dataclass(frozen=True, slots=True)
class LanguageTokens:
    """How a tokenizer of many languages marks them.

    Attributes:
        spelling: The token of a language, `{}` for its code.
        code: Regular expression of the codes.
        is_text: Whether the target's token stands as text before each source, and nowhere else.
            Else the source's own token is added to the source, and the target's to the target.
        follows: Whether the token stands after the text and its end token, not before the text.
        starts_decoder: Whether the decoder starts with the target's token. Else it starts with the
            end token and is forced to generate the language's first.
    """

    spelling: str
    code: str
    is_text: bool = False
    follows: bool = False
    starts_decoder: bool = False


_MBART_CODE = "[a-z]{2}_[A-Z]{2}"
# By the tokenizer's class: M2M100 and NLLB share one `model_type`, and both mBARTs do.
LANGUAGE_TOKENS: dict[str, LanguageTokens] = {
    "M2M100Tokenizer": LanguageTokens("__{}__", "[a-z]{2,3}"),
    "NllbTokenizer": LanguageTokens("{}", "[a-z]{3}_[A-Z][a-z]{3}"),
    "MBartTokenizer": LanguageTokens("{}", _MBART_CODE, follows=True, starts_decoder=True),
    "MBart50Tokenizer": LanguageTokens("{}", _MBART_CODE),
    "MarianTokenizer": LanguageTokens(">>{}<<", ".+", is_text=True),
    # MADLAD-400; T5's own vocabulary has no such tokens.
    "T5Tokenizer": LanguageTokens("<2{}>", "[a-z]{2,3}(?:_[A-Za-z0-9]+)*", is_text=True),
}
