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
        is_packable: Whether positions can be passed in, so that many sequences share a row.
        adapter_targets: Names of the linear layers that adapters are put on.
        takes_fp16: Whether activations stay within fp16's range.
        only_translates: Whether each of its checkpoints was trained to translate. Others may be
            raw ones, which know languages but no task yet.
    """

    title: str
    is_packable: bool = False
    adapter_targets: tuple[str, ...] = _BART_LINEAR
    takes_fp16: bool = True
    only_translates: bool = False


# By the configuration's `model_type`.
FAMILIES: dict[str, Family] = {
    "marian": Family("Marian", is_packable=True, only_translates=True),
    "bart": Family("BART"),
    "pegasus": Family("Pegasus"),
    "mbart": Family("mBART"),
    "m2m_100": Family("M2M100 and NLLB", only_translates=True),
    "t5": Family("T5", adapter_targets=_T5_LINEAR, takes_fp16=False),
    "mt5": Family("mT5", adapter_targets=_T5_LINEAR, takes_fp16=False),
    "umt5": Family("UMT5", adapter_targets=_T5_LINEAR, takes_fp16=False),
}


def family_of(model_type: str) -> Family:
    """The family's row; of an unknown one, what holds for any encoder-decoder model.

    >>> family_of("marian").title, family_of("prophetnet").title
    ('Marian', 'prophetnet')
    """
    return FAMILIES.get(model_type, Family(model_type, adapter_targets=()))
