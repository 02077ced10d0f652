"""What a run folder's files hold is read again as it was written."""

from __future__ import annotations

from pathlib import Path

from attuner.training.events import BadLoss
from attuner.training.folder import RunFolder, read_lines, write_lines
from attuner.training.past_reading import read_run

# Letters at which `str.splitlines` ends a line, and JSON does not.
_SEPARATED = "one\u2028two\x85three\r\nfour"


def bad_loss(*examples: str) -> BadLoss:
    return BadLoss(1, "the loss is nan", 0.1, examples, is_skipped=True)


def test_rows_end_where_they_were_ended(tmp_path: Path) -> None:
    rows = [{"text": _SEPARATED}, {"text": "five"}]
    write_lines(tmp_path / "rows.jsonl", rows)

    assert read_lines(tmp_path / "rows.jsonl") == rows


def test_events_end_where_they_were_ended(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    for event in (bad_loss(_SEPARATED), bad_loss("b.po:2")):
        folder.append(event)
    folder.recipe.write_text("{task: {}, model: {}, training: {}, output: {}}")

    assert [event["examples"] for event in folder.events()] == [[_SEPARATED], ["b.po:2"]]
    run = read_run(tmp_path)
    assert run.events == (bad_loss(_SEPARATED), bad_loss("b.po:2"))
    assert run.num_unreadable == 0


def test_an_event_that_was_cut_short_amid_a_letter_is_left_out(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.append(bad_loss("a.po:1"))
    with folder.metrics.open("ab") as file:
        file.write('{"event": "badloss", "examples": ["donné'.encode()[:-1])

    assert [event["examples"] for event in folder.events()] == [["a.po:1"]]
    folder.keep_events_until(1)
    assert len(read_lines(folder.metrics)) == 1
