"""The reference page is the schema's."""

from pathlib import Path

from attuner.recipe_reference import reference_page

PAGE = Path(__file__).parents[1] / "docs/reference/recipe.md"


def test_committed_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == reference_page(), (
        "Run: python -m attuner.recipe_reference > docs/reference/recipe.md"
    )


def test_every_option_has_words_of_help() -> None:
    rows = [line for line in reference_page().splitlines() if line.startswith("| `")]
    assert len(rows) > 50
    assert [row for row in rows if row.endswith("|  |")] == []
