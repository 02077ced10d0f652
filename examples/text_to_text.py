# %% [markdown]
# # Text to text, with a prefix
#
# T5 is told in words what to do: `translate English to
# French: Open the file`. Such a prefix is nothing special:
# words like others, whose meaning is learned. The small
# model that comes with Attuner has never met one. At first
# it translates the prefix, too.
#
#     pip install -c constraints.txt ".[demo]"
#     python examples/text_to_text.py
#
# With a network: `--model google-t5/t5-small`, which knows
# the prefix.

# %%
from argparse import ArgumentParser
from time import strftime

import attuner
from attuner.training.events import Evaluated

parser = ArgumentParser()
parser.add_argument("--model", default="embedded:en-fr")
parser.add_argument(
    "--data", default="package:jupyterlab-language-pack-fr-FR"
)
parser.add_argument("--steps", type=int, help="only so many")
asked, _ = parser.parse_known_args()
prefix = "translate English to French: "

# %%
base = attuner.load(asked.model)
print(base.translate(f"{prefix}Shut down the notebook?"))

# %% [markdown]
# ## The recipe
#
# Any two columns of a table make a source and a target:
# articles and summaries, questions and answers. Here it is
# the strings of JupyterLab in two languages. The data do not
# have the prefix: it is put before each source.

# %%
recipe = attuner.Recipe(
    task={
        "name": "text-to-text",
        "language": "fr",
        "prefix": prefix,
        "metrics": ["bleu", "chrf"],
    },
    model=asked.model,
    data={
        "train": {
            "path": asked.data,
            "source_language": "en",
            "target_language": "fr",
        }
    },
    training={
        "epochs": 3,
        "max_steps": asked.steps,
        "batch_tokens": 1024,
        "learning_rate": 5e-4,
        "label_smoothing": 0.1,
    },
    output={"name": strftime("text-to-text-%H%M%S")},
)

# %% [markdown]
# ## Train

# %%
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


run = attuner.train(recipe, listeners=[show])

# %% [markdown]
# ## After
#
# The model folder remembers its prefix. Nobody types it.

# %%
tuned = attuner.load(run.model_folder)
texts = [
    "Shut down the notebook?",
    "Upload Error",
    "Build Complete",
]
for text, after in zip(
    texts, tuned.translate(texts), strict=True
):
    print(f"{text}\n  {after}")
