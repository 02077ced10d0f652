# %% [markdown]
# # Use a tuned model
#
# In a pipeline, on a file, on many texts at once, and in
# plain transformers. A short run tunes a model first; give
# one of yours with `--model runs/NAME`.
#
#     pip install -c constraints.txt ".[demo]"
#     python examples/use_it.py

# %%
from argparse import ArgumentParser
from pathlib import Path
from time import perf_counter, strftime

from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

import attuner
from attuner import blocks

parser = ArgumentParser()
parser.add_argument("--model", help="a run, or a model folder")
parser.add_argument("--steps", type=int, help="only so many")
asked, _ = parser.parse_known_args()

# %%
folder = asked.model
if folder is None:
    recipe = attuner.Recipe(
        task={
            "name": "translation",
            "source": "en",
            "target": "fr",
        },
        model="embedded:en-fr",
        data="package:jupyterlab-language-pack-fr-FR",
        training={
            "epochs": 3,
            "max_steps": asked.steps,
            "batch_tokens": 1024,
            "learning_rate": 5e-4,
            "evaluate": "none",
        },
        output={"name": strftime("use-it-%H%M%S")},
    )
    run = attuner.train(recipe, listeners=[])
    folder = run.model_folder

# %% [markdown]
# ## Pipeline
#
# As transformers 4 had it: a text, a list, or a generator of
# texts of any number.

# %%
translate = attuner.pipeline("translation", model=folder)
print(translate("Open the file"))


def lines():
    """Texts that come one after the other."""
    yield "Restart the kernel"
    yield "Close all tabs"


for records in translate(lines(), batch_size=8):
    print(records)

# %% [markdown]
# ## File
#
# Line breaks, and the spaces at the edges of lines, stay as
# they are. In a shell: `attuner translate MODEL notes.txt`

# %%
Path("runs").mkdir(exist_ok=True)
notes = Path("runs/notes.txt")
notes.write_text("Upload Error\n\n  Shut down the notebook?\n")
model = attuner.load(folder)
result = Path("runs/notes.fr.txt")
result.write_text(model.translate(notes.read_text()))
print(result.read_text())

# %% [markdown]
# ## Batch
#
# A list is translated at once: alike lengths together, each
# distinct text once. One by one takes longer.

# %%
units = blocks.read_pairs(
    "package:jupyterlab-language-pack-fr-FR",
    source="en",
    target="fr",
)
texts = list(dict.fromkeys(unit.source for unit in units))[:200]


def seconds(translate):
    """How long it takes to translate all texts."""
    start = perf_counter()
    translate()
    return perf_counter() - start


model.translate(texts[0])
slow = seconds(lambda: [model.translate(t) for t in texts])
fast = seconds(lambda: model.translate(texts))
print(f"one by one {len(texts) / slow:6.0f} texts a second")
print(f"as a list  {len(texts) / fast:6.0f} texts a second")

# %% [markdown]
# ## In plain transformers
#
# The folder is a model like any other.

# %%
tokenizer = AutoTokenizer.from_pretrained(folder)
plain = AutoModelForSeq2SeqLM.from_pretrained(folder)
ids = tokenizer("Restart the kernel", return_tensors="pt")
made = plain.generate(**ids)
print(tokenizer.decode(made[0], skip_special_tokens=True))

# %% [markdown]
# ## Before and after

# %%
few = [
    "Shut down the notebook?",
    "Upload Error",
    "Restart the kernel",
]
rows = zip(
    few,
    attuner.load("embedded:en-fr").translate(few),
    model.translate(few),
    strict=True,
)
for text, before, after in rows:
    print(f"{text}\n  before  {before}\n  after   {after}")
