# %% [markdown]
# # Tune a translation model in one call
#
# The small English-French model that comes with Attuner
# knows software, but not the words of JupyterLab. Some 3,200
# of its strings teach them. No network is needed, and a few
# minutes on two processor cores:
#
#     pip install -c constraints.txt ".[demo]"
#     python examples/translation.py
#
# The chapter's own model and data, with a network:
# `--model Helsinki-NLP/opus-mt-en-fr` and
# `--data hub:Helsinki-NLP/kde4`.

# %%
from argparse import ArgumentParser
from time import strftime

import matplotlib.pyplot as plt

import attuner
from attuner.training.events import Evaluated

parser = ArgumentParser()
parser.add_argument("--model", default="embedded:en-fr")
parser.add_argument(
    "--data", default="package:jupyterlab-language-pack-fr-FR"
)
parser.add_argument("--steps", type=int, help="only so many")
asked, _ = parser.parse_known_args()

# %% [markdown]
# ## The recipe
#
# It says what is learned from what. A tenth of the strings is
# kept for validation and a tenth for the test: no source text
# is in two parts.

# %%
recipe = attuner.Recipe(
    task={
        "name": "translation",
        "source": "en",
        "target": "fr",
    },
    model=asked.model,
    data=asked.data,
    training={
        "epochs": 3,
        "max_steps": asked.steps,
        "batch_tokens": 1024,
        "learning_rate": 5e-4,
        "label_smoothing": 0.1,
    },
    output={"name": strftime("translation-%H%M%S")},
)

# %% [markdown]
# ## Train
#
# A listener is told all that happens. Without `listeners=`
# the run shows more of itself.

# %%
curve = []
print("when   part       epoch   loss   BLEU   chrF")


def show(event):
    """A row of the table for each evaluation."""
    if not isinstance(event, Evaluated):
        return
    loss, bleu, chrf = (
        event.scores.get(name, float("nan"))
        for name in ("loss", "bleu", "chrf")
    )
    print(
        f"{event.when:6} {event.split:10} {event.epoch:5.1f}"
        f"{loss:7.3f}{bleu:7.1f}{chrf:7.1f}"
    )
    if event.split == "validation":
        curve.append((event.epoch, bleu))


run = attuner.train(recipe, listeners=[show])

# %% [markdown]
# The weights with the best chrF on validation are delivered.

# %%
figure, axes = plt.subplots(figsize=(4, 2.5))
axes.plot(*zip(*curve, strict=True), marker="o")
axes.set(xlabel="epoch", ylabel="BLEU, validation")
figure.tight_layout()

# %% [markdown]
# ## Before and after

# %%
texts = [
    "Shut down the notebook?",
    "Upload Error",
    "Build Complete",
]
base = attuner.load(asked.model)
tuned = attuner.load(run.model_folder)
rows = zip(
    texts,
    base.translate(texts),
    tuned.translate(texts),
    strict=True,
)
for text, before, after in rows:
    print(f"{text}\n  before  {before}\n  after   {after}")
