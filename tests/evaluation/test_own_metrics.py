"""Metrics of one's own: where they are found, what they may give, and what is said else."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engines import Echo

from attuner.data.units import Address, Example
from attuner.errors import UsageError, UserError
from attuner.evaluation.evaluate import evaluate
from attuner.evaluation.own_functions import find_own, fingerprints, reference_of
from attuner.evaluation.own_metrics import own_scores

TRUE = np.array([0, 1, 1, 0, 1, 0])
SAID = np.array([0, 1, 0, 0, 1, 1])
EXPECTED = (
    "Expected a function of predictions and of what is true that returns a dictionary of numbers, "
    'such as {"kappa": 0.5}.\nMend it, or leave it out.'
)
WHERE = (
    "Expected a function in a file, my_metrics.py:kappa, or in what is installed, "
    "package.module:kappa."
)


def right(said: Any, true: Any) -> dict[str, float]:
    return {"right": float((said == true).mean())}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "my_metrics.py"
    path.write_text(
        "from dataclasses import dataclass\n\n"
        "@dataclass\nclass Share:\n    value: float\n\n"
        'def share(said, true):\n    return {"share": Share(sum(said) / len(said)).value}\n'
    )
    return path


def error_of(call: Callable[[], Any]) -> str:
    with pytest.raises(UserError) as caught:
        call()
    return str(caught.value)


def test_a_function_in_a_file_is_found_and_its_values_have_intervals(file: Path) -> None:
    (share,) = find_own([f"{file}:share"])
    made = own_scores([share, right], SAID, TRUE, seed=3)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()

    assert made.scores == {"share": 0.5, "right": pytest.approx(4 / 6)}
    low, high = made.intervals["right"]
    assert 0 < low < 4 / 6 < high <= 1
    assert made.signatures == {
        "share": f"n=6|bootstrap=200|seed=3|my_metrics.py:share@{digest[:8]}",
        "right": "n=6|bootstrap=200|seed=3|right",
    }
    assert fingerprints([f"{file}:share"]) == [{"name": "share", "sha256": digest}]
    assert [path.name for path in file.parent.iterdir()] == ["my_metrics.py"]  # no bytecode
    assert own_scores([share], SAID, TRUE, num_resamples=0).intervals == {}


def test_a_file_that_has_just_changed_is_read_anew(file: Path) -> None:
    find_own([f"{file}:share"])
    file.write_text(file.read_text().replace("len(said)", "10 * 1"))
    (share,) = find_own([f"{file}:share"])
    assert share(SAID, TRUE) == {"share": pytest.approx(0.3)}


def test_a_function_of_what_is_installed() -> None:
    (found,) = find_own(["attuner.data.hashes:hash_of"])  # any function will do
    assert found.name == "attuner.data.hashes:hash_of"
    (print_of,) = fingerprints(["attuner.data.hashes:hash_of"])
    source = sys.modules["attuner.data.hashes"].__file__
    assert source is not None
    assert print_of["sha256"] == hashlib.sha256(Path(source).read_bytes()).hexdigest()


def test_what_is_not_there_or_cannot_be_run(file: Path) -> None:
    def said(reference: str) -> str:
        return error_of(lambda: find_own([reference]))

    gone = file.parent / "gone.py"
    assert said(f"{gone}:share") == f"{gone}: no such file or directory.\n{WHERE}"
    assert said(f"{file}:shar") == (
        f'{file} has no function shar.\n{WHERE}\nDid you mean "share"? Known: share.'
    )
    assert said("no.such:share") == f"There is no module no.such.\n{WHERE}"
    assert said("share") == f"share names no function.\n{WHERE}"
    file.write_text("import sys\n\nsys.exit(3)\n")
    mend = "The file of a metric is run to find it; it can import what is installed.\nMend it."
    assert said(f"{file}:share") == f"{file}:3: SystemExit: 3\n{mend}"
    file.write_text("x = (\n")
    assert said(f"{file}:share").startswith(f"{file}:1: SyntaxError: ")
    file.write_text("from beside import share\n")
    assert said(f"{file}:share") == (
        f"{file}:1: ModuleNotFoundError: No module named 'beside'\n{mend}"
    )
    file.write_text("")
    assert said(f"{file}:share") == (
        f"{file} has no function share.\n{WHERE}\nIt has no functions."
    )


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (0.5, "own returned 0.5."),
        (None, "own returned None."),
        ({}, "own returned {}."),
        ({"a": "0.5"}, "own returned {'a': '0.5'}."),
        ({"a": None}, "own returned {'a': None}."),
    ],
)
def test_what_is_no_dictionary_of_numbers(given: Any, said: str) -> None:
    def own(predictions: Any, targets: Any) -> Any:
        return given

    assert error_of(lambda: own_scores([own], SAID, TRUE)) == f"{said}\n{EXPECTED}"


def test_numbers_of_numpy_are_numbers() -> None:
    def own(predictions: Any, targets: Any) -> Any:
        return {"a": np.float32(0.5), "b": np.int64(2), "c": True}

    assert own_scores([own], SAID, TRUE).scores == {"a": 0.5, "b": 2.0, "c": 1.0}


@pytest.mark.parametrize("name", ["accuracy", "loss", "bleu", "a/fr", "two words", "", 3])
def test_names_that_are_taken_or_none(name: Any) -> None:
    def own(predictions: Any, targets: Any) -> Any:
        return {name: 1.0}

    taken = ", which is that of another metric" if name in ("accuracy", "loss", "bleu") else ""
    assert error_of(lambda: own_scores([own], SAID, TRUE)) == (
        f"own gives a score the name {name!r}{taken}.\n"
        "Expected a name of its own, of letters, digits, `_`, `-`, `.` and `@`.\n"
        "Choose another one."
    )


def test_two_functions_with_one_name_or_one_with_two(file: Path) -> None:
    assert error_of(lambda: own_scores([right, right], SAID, TRUE)) == (
        "right gives a score the name 'right', as another function does.\n"
        "Expected names of their own.\nChoose another one."
    )
    file.write_text("def own(said, true):\n    return {f'first{said[0]}': 1.0}\n")
    (own,) = find_own([f"{file}:own"])
    own(SAID, TRUE)
    assert error_of(lambda: own(SAID[1:], TRUE[1:])) == (
        "my_metrics.py:own gave first0 before, and now first1.\n"
        "Expected the same names each time.\nMend it, or leave it out."
    )


def test_an_error_is_said_with_its_line(file: Path) -> None:
    file.write_text("import numpy as np\n\ndef own(said, true):\n    return np.stack([said, 1])\n")
    (own,) = find_own([f"{file}:own"])
    said = error_of(lambda: own(SAID, TRUE))  # though numpy's own lines come after
    assert said == (
        "my_metrics.py:own raised ValueError: all input arrays must have the same shape "
        f"(my_metrics.py:4).\n{EXPECTED}"
    )


def test_resamples_that_a_function_makes_nothing_of_are_left_out() -> None:
    """Of one label alone, many a metric is none."""

    def own(said: Any, true: Any) -> dict[str, float]:
        if len(set(true.tolist())) == 1:
            raise ValueError("one label")
        return {"own": 1.0}

    made = own_scores([own], SAID[:3], TRUE[:3])
    num = int(made.signatures["own"].split("bootstrap=")[1].split(" ")[0])
    assert 100 < num < 200
    assert f"|bootstrap={num} of 200|" in made.signatures["own"]
    assert made.intervals == {"own": (1.0, 1.0)}


def test_a_function_may_spoil_what_it_is_given() -> None:
    def own(said: Any, true: Any) -> dict[str, float]:
        said[:] = 0
        return {"own": float(said.sum())}

    assert own_scores([own, right], SAID, TRUE).scores["right"] == pytest.approx(4 / 6)
    assert SAID.sum() == 3


def example(source: str, *references: str, target: str = "fr") -> Example:
    return Example(source, references, "en", target, Address("a.po", "1"))


def equal(texts: list[str], references: list[list[str]]) -> dict[str, float]:
    return {"equal": sum(map(list.__contains__, references, texts)) / len(texts)}


def test_texts_are_scored_against_all_their_references() -> None:
    examples = [example("a", "b", "a"), example("c", "d")]
    made = evaluate(Echo(), examples, functions=[equal])
    assert list(made.scores) == ["bleu", "chrf", "equal"]
    assert made.scores["equal"] == 0.5
    assert made.intervals == {"equal": (0.0, 1.0)}
    assert made.signatures["equal"] == "n=2|bootstrap=200|seed=12345|equal"


def test_each_target_language_is_scored_for_itself() -> None:
    examples = [example("a", "a"), example("b", "x", target="de"), example("c", "c")]
    made = evaluate(Echo(), examples, metrics=[], functions=[equal])
    assert made.scores == {"equal": 0.5, "equal/de": 0.0, "equal/fr": 1.0}
    assert made.signatures["equal"] == "mean of equal/de, equal/fr"
    assert made.intervals == {"equal/de": (0.0, 0.0), "equal/fr": (1.0, 1.0)}


def test_what_names_a_function_of_a_program() -> None:
    assert reference_of(right) == f"{__file__}:right"
    assert reference_of(evaluate) == "attuner.evaluation.evaluate:evaluate"
    with pytest.raises(UsageError) as caught:
        reference_of(lambda said, true: {})
    assert str(caught.value).endswith(
        "<lambda> is not at the top of a file.\n"
        "A run notes where its metrics lie, so that it can be resumed.\n"
        'Write it into a file, such as my_metrics.py, or give its name: "my_metrics.py:kappa".'
    )


def test_the_program_that_runs_is_not_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "__main__", sys.modules[__name__])
    (found,) = find_own([f"{__file__}:right"])
    assert found._function is right
