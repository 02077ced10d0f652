"""Whether a card is true: its scores are of the very files that lie beside it."""

from __future__ import annotations

from pathlib import Path

from attuner.cards.facts import Facts, read_facts, write_facts
from attuner.cards.metadata import FILE, eval_results, read_eval_results
from attuner.cards.render import render
from attuner.cards.tables import score_table
from attuner.errors import ModelError
from attuner.models.adapter_folder import base_folder, require_same_base
from attuner.models.fingerprint import file_sha256, model_fingerprint


def write_card(facts: Facts, folder: Path) -> None:
    """Write the facts of a model folder whose scores were computed just now, and the card of them.

    Args:
        facts: All but the fingerprints, which are those of the folder's files as they are.
        folder: The model folder, all of whose weights are written.
    """
    _write(facts.model_copy(update={"files": model_fingerprint(folder)}), folder)


def rewrite_card(facts: Facts, folder: Path, *, overwrite: bool = False) -> None:
    """Write changed facts of a model folder, such as its exports, and render its card anew.

    Args:
        facts: Those that the folder has, with what is new.
        folder: The model folder.
        overwrite: Also where somebody has written into the card, which would be lost.

    Raises:
        ModelError: The scores are of other files, or the card has been written into.
    """
    require_true_scores(folder, facts)
    if _is_edited(folder, facts) and not overwrite:
        raise ModelError(
            f"{folder / FILE} has been written into since it was rendered.",
            "Rendering it anew would lose that.",
            f"Keep a copy of it, then type: attuner card {folder} --overwrite",
        )
    _write(facts, folder)


def write_at(address: str, folder: Path, target: Path) -> bool:
    """Write the card and the facts of a model folder as they are where it has another address.

    Args:
        address: What its usage calls it by there.
        folder: The model folder.
        target: Where to write.

    Returns:
        Whether they were written: not where somebody has written into the card.

    Raises:
        ModelError: The facts are broken.
    """
    facts = read_facts(folder)
    if _is_edited(folder, facts):
        return False
    _write(facts.model_copy(update={"address": address}), target)
    return True


def require_true_scores(folder: Path, facts: Facts) -> None:
    """Refuse facts whose scores are of other files than those in the folder.

    The model that an adapter is for is compared where it is found; see `missing_base`.

    Raises:
        ModelError: The weights, the tokenizer or a configuration are not those that were scored.
    """
    faults = _changed(folder, facts)
    if faults:
        raise ModelError(
            f"{folder}: the card no longer matches: {', '.join(faults)}.",
            "Its scores are of the files whose SHA-256 is in card.json, and of no others.",
            f"Put them back, or score the model as it is: attuner evaluate {folder} DATA",
        )
    if missing_base(folder):
        return
    base = base_folder(folder)
    if base is not None:
        require_same_base(folder, base)


def missing_base(folder: Path) -> str:
    """Why the model that an adapter is for cannot be compared: it is not found; "" where it is."""
    try:
        base_folder(folder)
    except ModelError as error:
        return error.happened
    return ""


def require_true_card(folder: Path) -> Facts:
    """Refuse a card that gives other scores than were computed from the files beside it.

    Returns:
        The facts that it was rendered from.

    Raises:
        ModelError: There is no card, its files are others, or its scores are.
    """
    facts = read_facts(folder)
    require_true_scores(folder, facts)
    path = folder / FILE
    if not path.is_file():
        raise ModelError(
            f"{folder} has no {FILE}.",
            "The card is rendered from card.json, which is there.",
            f"Render it: attuner card {folder}",
        )
    faults = _other_scores(path, facts)
    if faults:
        raise ModelError(
            f"{path} gives other scores than were computed: {', '.join(faults)}.",
            "The scores of a card are those in card.json, computed from the weights beside it.",
            f"Render it anew: attuner card {folder} --overwrite",
        )
    return facts


def _write(facts: Facts, folder: Path) -> None:
    path = folder / FILE
    path.write_text(render(facts), encoding="utf-8", newline="\n")
    write_facts(facts.model_copy(update={"card": file_sha256(path)}), folder)


def _is_edited(folder: Path, facts: Facts) -> bool:
    """Whether a folder has a card that is not as it was rendered."""
    path = folder / FILE
    return path.is_file() and file_sha256(path) != facts.card


def _changed(folder: Path, facts: Facts) -> list[str]:
    """What is no longer as it was scored, in words."""
    now = model_fingerprint(folder)
    found = []
    for name in dict.fromkeys([*facts.files, *now]):
        if name not in now:
            found.append(f"{name} is missing")
        elif name not in facts.files:
            found.append(f"{name} is new")
        elif now[name] != facts.files[name]:
            found.append(f"{name} has changed")
    return found


def _other_scores(path: Path, facts: Facts) -> list[str]:
    """Scores in the metadata and the table of a card that are not the computed ones."""
    wanted = {result.metric_name: result.metric_value for result in eval_results(facts)}
    given = {result.metric_name: result.metric_value for result in read_eval_results(path)}
    found = [
        f"{name} {given.get(name, 'is missing')} in the metadata, computed {value}"
        for name, value in wanted.items()
        if given.get(name) != value
    ]
    found += [f"{name} in the metadata, not computed" for name in given if name not in wanted]
    text = path.read_text(encoding="utf-8", errors="replace")
    missing = [line for line in score_table(facts).splitlines() if line not in text]
    return found + [f"the table lacks the line {line}" for line in missing]
