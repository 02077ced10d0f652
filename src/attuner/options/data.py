"""Where examples come from, how they are divided, which are left out."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from attuner.options.section import Section, items, shorthand


class Source(Section):
    """Where examples come from."""

    path: str
    """A file, folder, glob, `package:NAME` (catalogs inside an installed Python package), `hub:ID`
    (a data set on the Hugging Face Hub) or `embedded:reviews`, rated sentences for trying
    classification."""
    target_path: str | None = None
    """With a plain text file in `path`: the file that holds its translations, line by line."""
    config: str | None = None
    """Configuration of a Hub data set, such as `en-fr`."""
    revision: str | None = None
    """Branch, tag or commit of a Hub data set."""
    split: str = "train"
    """Split of a Hub data set."""
    streaming: bool = False
    """Read a Hub data set as it comes, and keep no copy of it on this disk: it is fetched anew for
    each run."""
    columns: dict[Literal["source", "target"], str] = {}
    """Names of the columns of a table, as `{source: english, target: french}`, or a template over
    several: `{source: "question: {question} context: {context}", target: answer}`. A column of
    lists gives several references. Where not given: columns named as the languages, `source` and
    `target`, or the Hub's `translation` column."""
    references: list[str] = []
    """Further columns of a table with target texts: what is scored may come near to any of them."""
    encoding: str = "utf-8"
    """Character encoding of text files that do not declare their own."""
    source_language: str | None = None
    """Language of this source's source side, where it is not the task's."""
    target_language: str | None = None
    """Language of this source's target side, where it is not the task's."""
    weight: Annotated[float, Field(gt=0)] = 1.0
    """How often an example of this source is seen in an epoch: 0.5 half of them, 2 each twice."""


Sources = Annotated[
    list[Annotated[Source, shorthand("path", Source)]], items(str | Source, (str, dict))
]


class Split(Section):
    """How examples are divided where no explicit files are given."""

    by: Literal["source", "catalog", "file", "random"] = "source"
    """What stays together. `source`: entries with the same source text (case, white space,
    accelerators, full stops, ellipsis or colons at the end, and the form of characters, by Unicode
    NFKC, aside), so that no evaluated text is in training. `catalog`: entries of one
    catalog. `file`: entries of one file. `random`: the rows of `datasets.train_test_split`;
    texts may leak, which is reported."""
    validation: Annotated[float, Field(ge=0)] = 0.1
    """Share (below 1) or number of examples for choices made while training."""
    test: Annotated[float, Field(ge=0)] = 0.1
    """Share (below 1) or number of examples for the final scores."""
    train_size: Annotated[float, Field(gt=0)] | None = None
    """With `by: random`: share or number of training rows; all others become validation."""
    seed: int = 20
    """Seed of the division."""


class Subset(Section):
    """The rows of `dataset.shuffle(seed).select(range(n))`."""

    n: Annotated[int, Field(gt=0)]
    """Number of examples."""
    seed: int = 42
    """Seed of the shuffle."""


class Mix(Section):
    """General text that is mixed into training, so that the model does not forget it."""

    sources: Annotated[Sources, Field(min_length=1)]
    """Where it comes from. It is never split, validated or tested; what has the source text of a
    validation or test example is left out."""
    share: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Its share of the examples that an epoch sees, whatever their number: of more than enough,
    each epoch sees others."""


class Data(Section):
    """What is learned from, what is held out, what is left out."""

    train: Annotated[Sources, Field(min_length=1)]
    """Sources of training examples; validation and test are split off them where not given."""
    validation: Sources | None = None
    """Sources for choices made while training: early stopping, the best weights."""
    test: Sources | None = None
    """Sources for the final scores."""
    split: Split = Split()
    """How examples are divided where no explicit files are given."""
    mix: Mix | None = None
    """General text that is mixed into training, so that the model does not forget it."""
    temperature: Annotated[float, Field(ge=1)] = 1.0
    """With several target languages: how evenly they are seen. A language with `n` of the examples
    is drawn in proportion to `n^(1/temperature)`: 1 leaves the proportions, 5 nearly evens them."""
    train_subset: Subset | None = None
    """Train on so many examples only."""
    evaluation_subset: Subset | None = None
    """Validate and test on so many examples only."""
    max_source_tokens: Annotated[int, Field(gt=1)] = 128
    """Longest source side in tokens, end token included; with classification, the longest text,
    or pair of texts together."""
    max_target_tokens: Annotated[int, Field(gt=1)] = 128
    """Longest target side in tokens, end token included."""
    too_long: Literal["cut", "skip"] = "cut"
    """What happens to longer sides. Counted either way."""
    duplicates: Literal["skip", "keep"] = "skip"
    """What happens to pairs that occurred before."""
    license: Annotated[list[str], items(str)] = []
    """Licence of the data, or several, as `cc-by-4.0` or in words: the model card says it."""
    bad_entries: Literal["fail", "skip"] = "fail"
    """What happens to entries that cannot be read. Skipped ones are counted."""
    cache: bool = True
    """Whether token ids of pairs of texts are kept in the cache folder, so that the next run on the
    same data need not make them. Those of labelled texts are made anew."""
