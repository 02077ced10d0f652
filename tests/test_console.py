"""What a person sees: the same lines in a terminal, a log and a notebook; nothing ever crashes."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from attuner import console as module
from attuner.console import Display, build_console, render_examples
from attuner.console_text import score_header, score_row
from attuner.training.events import (
    BadLoss,
    Compared,
    Comparison,
    DataPrepared,
    Delivered,
    Evaluated,
    Event,
    Finished,
    Noted,
    Planned,
    Progressed,
    Saved,
    Split,
    Stepped,
)

SIGNATURES = {"bleu": "nrefs:1|tok:13a", "chrf": "nrefs:1|nc:6"}
ROWS = (
    Comparison("Restart [kernel]", "Redémarrer [graine]", "Redémarrer [noyau]", "Relancer [noyau]"),
    Comparison("a\tb\x1b[31m", "x", "y", "y"),
)


def step(number: int) -> Stepped:
    return Stepped(number, 200, number / 100, 2.5, 1e-4, 1.0, 32, 400, float(number))


def whole_run() -> list[Event]:
    scores = {"loss": 3.0, "bleu": 38.9, "chrf": 58.1}
    after = {"loss": 2.0, "bleu": 47.25, "chrf": 65.0}
    return [
        Progressed("reading", 1000, 0),
        Progressed("reading", 1290, 0),
        DataPrepared(
            {
                "read": {"a.po": 1200, "b.po": 90},
                "skipped": {"fuzzy": 20, "duplicate": 70},
                "split": {"train": 1000, "validation": 100, "test": 100},
            },
            ("3 texts leak.",),
        ),
        Noted("fp16 needs a GPU: fp32 is used."),
        Evaluated("before", "validation", 0, 0.0, scores, SIGNATURES),
        Evaluated("before", "test", 0, 0.0, scores, SIGNATURES),
        Planned(
            1000, 12345, 2, 200, "2048 target tokens", 2, 7_600_000, "cpu", "fp32",
            "native kernels", "packed",
        ),
        *[step(number) for number in range(1, 101)],
        Evaluated("epoch", "validation", 100, 1.0, after, SIGNATURES, 2.5, is_best=True),
        Saved(100, Path("runs/x/checkpoints/step-000100"), is_best=True),
        Evaluated("epoch", "validation", 200, 2.0, {"loss": 2.1, "bleu": 40.0}, {}, 2.25),
        Finished("early stopping", 200, 4000, 130.0, 100.0, 100),
        Evaluated("after", "test", 200, 2.0, after, SIGNATURES),
        Compared(ROWS, 100, 40, 30, 5),
        Delivered(
            Path("runs/x"), Path("runs/x/model"), scores, after, SIGNATURES, "test", 7384.0,
            usage={
                "in a shell": 'attuner translate runs/x/model "Open the file"',
                "in Python": 'attuner.load("runs/x/model").translate("Open the file")',
                "with transformers": 'AutoModelForSeq2SeqLM.from_pretrained("runs/x/model")',
            },
        ),
    ]  # fmt: skip


def shown(events: list[Event], **options: object) -> str:
    file = io.StringIO()
    console = Console(file=file, **{"width": 100, "markup": False, **options})  # type: ignore[arg-type]
    with Display(console) as display:
        for event in events:
            display(event)
    return file.getvalue()


def test_a_whole_run_in_a_log() -> None:
    text = shown(whole_run())
    before_table, after_table = text.split("┏")[0], text.split("┘")[1]
    assert before_table == (
        "Read          1,290  a.po 1,200, b.po 90\n"
        "Skipped          90  fuzzy 20, duplicate 70\n"
        "Split         1,200  train 1,000, validation 100, test 100\n"
        "3 texts leak.\n"
        "fp16 needs a GPU: fp32 is used.\n"
        "\n"
        "   epoch  training loss  validation loss     BLEU     chrF\n"
        "  before                          3.0000    38.90    58.10\n"
        "Test before tuning: loss 3.00, BLEU 38.90, chrF 58.10\n"
        "Training  1,000 examples (12,345 target tokens), 2 epochs\n"
        "Updates   200 steps of 2048 target tokens, in 2 micro-batches\n"
        "Model     7.6 million parameters, on cpu, fp32, native kernels, packed\n"
        "    1.00         2.5000           2.0000    47.25    65.00  * best so far\n"
        "    2.00         2.2500           2.1000    40.00         \n"
        "\n"
        "Trained 200 steps in 2 min 10 s, evaluations included: 40.0 sentences/s, 2.00 steps/s "
        "while updating. Stopped early. Best weights: step 100.\n"
        "Test after tuning: loss 2.00, BLEU 47.25, chrF 65.00\n"
        "\n"
        "Of 100 held-out entries, 40 come out differently: 30 nearer to the reference, "
        "5 further from it (sentence chrF).\n"
        "Those that gained most:\n"
    )
    assert after_table == (
        "\n"
        "\n"
        "Scores on test, before → after tuning:\n"
        "  loss   3.00 → 2.00  (-1.00)\n"
        "  BLEU   38.90 → 47.25  (+8.35)\n"
        "  chrF   58.10 → 65.00  (+6.90)\n"
        "  BLEU: nrefs:1|tok:13a\n"
        "  chrF: nrefs:1|nc:6\n"
        "\n"
        "The tuned model is in runs/x/model (2 h 03 min in all). Use it\n"
        '  in a shell:         attuner translate runs/x/model "Open the file"\n'
        '  in Python:          attuner.load("runs/x/model").translate("Open the file")\n'
        '  with transformers:  AutoModelForSeq2SeqLM.from_pretrained("runs/x/model")\n'
    )


def test_examples_are_shown_as_they_are() -> None:
    file = io.StringIO()
    render_examples(ROWS, Console(file=file, width=100))
    text = file.getvalue()
    assert "Restart [kernel]" in text
    assert "a\\tb\\x1b[31m" in text  # neither obeyed nor dropped


def test_examples_stand_below_each_other_where_a_table_does_not_fit() -> None:
    file = io.StringIO()
    render_examples(ROWS[:1], Console(file=file, width=40))
    assert file.getvalue() == (
        "Source    Restart [kernel]\n"
        "Before    Redémarrer [graine]\n"
        "After     Redémarrer [noyau]\n"
        "Reference Relancer [noyau]\n"
        "\n"
    )


def test_progress_in_a_log_is_sparse(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    file = io.StringIO()
    with Display(Console(file=file, width=100)) as display:
        for number in range(1, 201):
            now[0] += 1.0
            display(step(number))
    lines = file.getvalue().splitlines()
    assert lines[0] == "Training: step 11 of 200, epoch 0.11, loss 2.500, 3 min 09 s left"
    assert lines[1] == "Training: step 21 of 200, epoch 0.21, loss 2.500, 2 min 59 s left"
    assert len(lines) == 19


def test_time_left_of_a_resumed_run(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    file = io.StringIO()
    with Display(Console(file=file, width=100)) as display:
        display(
            Planned(
                9, 99, 2, 200, "32 examples", 1, 10, "cpu", "fp32", "native kernels", "packed",
                first_step=100,
            )
        )  # fmt: skip
        for number in (101, 120):
            now[0] += 40.0
            display(step(number))
    assert "going on after step 100" in file.getvalue()
    assert file.getvalue().splitlines()[-1].endswith("loss 2.500, 2 min 48 s left")


@pytest.mark.parametrize("width", [1, 5, 20, 79, 300])
@pytest.mark.parametrize("is_terminal", [True, False])
def test_any_width(width: int, is_terminal: bool) -> None:
    text = shown(whole_run(), width=width, force_terminal=is_terminal)
    assert "runs/x/model" in text


@pytest.mark.parametrize("is_terminal", [True, False])
def test_ascii(is_terminal: bool) -> None:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding="ascii")  # errors="strict": anything else would raise
    console = Console(file=file, width=100, force_terminal=is_terminal, markup=False)
    with Display(console) as display:
        for event in whole_run():
            display(event)
    file.flush()
    text = raw.getvalue().decode("ascii")
    assert "before -> after tuning" in text
    assert "Red\\xe9marrer [noyau]" in text


def test_terminal_shows_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    file = io.StringIO()
    console = Console(file=file, width=100, force_terminal=True, _environ={"TERM": "xterm"})
    with Display(console) as display:
        display(step(100))
        display._progress._bar.refresh()  # type: ignore[union-attr]
        assert "100/200" in file.getvalue()
        now[0] += 50.0
        display(step(125))
        display(Progressed("scoring test", 64, 100))
        display._progress._bar.refresh()  # type: ignore[union-attr]
        assert "Scoring test" in file.getvalue()
        now[0] += 10.0
        display(step(130))  # the pace counts from the first step, the scoring included
        display._progress._bar.refresh()  # type: ignore[union-attr]
    assert "2 min 20 s left" in file.getvalue()


def test_json_leaves_standard_output_to_the_result(capsys: pytest.CaptureFixture[str]) -> None:
    Display(build_console(as_json=True))(Noted("A note."))
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "A note.\n")
    Display(build_console())(Noted("A note."))
    assert capsys.readouterr().out == "A note.\n"


def test_bad_losses_and_memory_that_ran_out_are_said_and_counted() -> None:
    names = tuple(f"a.po:{line}" for line in range(1, 8))
    events: list[Event] = [
        BadLoss(3, "the loss is nan", 1e-3, names, is_skipped=True),
        BadLoss(4, "the loss is inf", 1e-3, names, is_skipped=False),  # the error says it
        Split(5, num_splits=1, num_examples=8, total=1),
        Split(6, num_splits=1, num_examples=8, total=2),
        Split(7, num_splits=9, num_examples=8, total=11),
        Finished("done", 9, 40, 8.0, 4.0, num_skipped=1, num_splits=11),
    ]
    ran_out = (
        "memory ran out. A micro-batch was cut in two, and the update made all the same ({} so "
        "far). A higher training.accumulation saves the time."
    )
    assert shown(events).splitlines() == [
        "Step 3 skipped: the loss is nan. Its examples: a.po:1, a.po:2, a.po:3, a.po:4 and 3 more.",
        f"Step 5: {ran_out.format(1)}",
        f"Step 7: {ran_out.format(11)}",
        "",
        "Trained 9 steps in 8 s, evaluations included: 10.0 sentences/s, 2.25 steps/s while "
        "updating.",
        "Updates skipped for a bad loss: 1.",
        "Micro-batches cut in two as memory ran out: 11.",
    ]


def test_nothing_held_out() -> None:
    text = shown([Delivered(Path("r"), Path("r/model"), {}, {}, {}, "", 4.0)])
    assert "Scores" not in text
    assert "The tuned model is in r/model (4 s in all)." in text


def test_many_files_are_summed_up() -> None:
    counts = {"read": {f"{name}.mo": 10 for name in range(30)}, "skipped": {}}
    assert (
        shown([DataPrepared(counts)]) == "Read            300  from 30 files\nSkipped           0\n"
    )


def test_notebook_without_widgets_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    console = Console(file=io.StringIO(), force_jupyter=True)
    assert isinstance(Display(console)._progress, module._Lines)
    monkeypatch.setattr(module, "find_spec", lambda name: object())
    assert isinstance(Display(console)._progress, module._Bar)


def test_single_languages_stand_in_the_lines_of_the_end() -> None:
    signatures = {"bleu": "mean of bleu/de, bleu/fr", "bleu/de": "tok:13a", "bleu/fr": "tok:13a"}
    before = {"loss": 3.0, "bleu": 20.0, "bleu/de": 10.0, "bleu/fr": 30.0}
    after = {"loss": 2.0, "bleu": 30.0, "bleu/de": 20.0, "bleu/fr": 40.0}
    folder = Path("runs/x")
    text = shown(
        [
            Evaluated("before", "validation", 0, 0.0, before, signatures),
            Delivered(folder, folder / "model", before, after, signatures, "validation", 1.0),
        ]
    )
    lines = [line.rstrip() for line in text.splitlines()]
    assert "   epoch  training loss  validation loss     BLEU" in lines
    assert "  before                          3.0000    20.00" in lines
    assert "  BLEU     20.00 → 30.00  (+10.00)" in lines
    assert "  BLEU de  10.00 → 20.00  (+10.00)" in lines
    assert "  BLEU: mean of bleu/de, bleu/fr" in lines


def test_names_of_any_length_stand_over_their_numbers() -> None:
    names = ["kappa", "a_metric_of_ones_own", "macro_f1"]
    row = Evaluated("epoch", "validation", 1, 1.0, dict.fromkeys(names, 50.0), train_loss=1.0)
    head, line = score_header(names), score_row(row, names)
    assert len(head) == len(line)
    ends = [found.end() for found in re.finditer("50.00", line)]
    assert ends == [head.index(name) + len(name) for name in ("kappa", "own", "macro F1")]
