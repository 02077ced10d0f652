# %% [markdown]
# # Translation by a loop of your own
#
# The training loop, written out with Attuner's blocks: every
# step is here to be changed. It runs as it is in a notebook,
# and as one or two processes that share each update:
#
#     pip install -c constraints.txt ".[demo]"
#     python examples/translation_loop.py
#     torchrun --standalone --nproc_per_node 2 \
#         examples/translation_loop.py
#
# The chapter's own model and data, with a network:
# `--model Helsinki-NLP/opus-mt-en-fr` and
# `--data hub:Helsinki-NLP/kde4`.

# %%
from argparse import ArgumentParser
from time import strftime

from attuner import blocks

parser = ArgumentParser()
parser.add_argument("--model", default="embedded:en-fr")
parser.add_argument(
    "--data", default="package:jupyterlab-language-pack-fr-FR"
)
parser.add_argument("--steps", type=int, help="only so many")
asked, _ = parser.parse_known_args()
epochs, peak = 2, 5e-4

# %% [markdown]
# ## One update
#
# Each process has its share of the update's strings, without
# padding. The loss is a sum over tokens. So the gradients of
# all processes are summed, and divided once by the number of
# tokens: two processes learn what one would.


# %%
def learn(task, train, update, optimizer, rate, processes):
    """Change the weights once; the mean loss of a token."""
    total = 0.0
    for rows in update.micro_batches:
        loss = task.loss(task.model, task.collate(train, rows))
        loss.backward()
        total += loss.item()
    (total,) = blocks.sum_gradients(
        optimizer, [total], processes
    )
    optimizer.clip(1.0, scale=1 / update.num_target_tokens)
    blocks.set_learning_rate(optimizer, rate)
    optimizer.step()
    optimizer.zero_grad()
    return total / update.num_target_tokens


# %% [markdown]
# ## A row of the table
#
# The strings to be scored are shared out, too: each is
# translated once (greedily, which is quick), and all
# processes get all translations.


# %%
def show(name, task, examples, processes, train_loss=None):
    """Score the model, and print a row of the table."""
    scores = task.evaluate(
        examples, processes=processes, num_beams=1
    ).scores
    learned = f"{train_loss:.3f}" if train_loss else ""
    if processes.is_main:
        print(
            f"{name:9}{learned:>7}{scores['loss']:7.3f}"
            f"{scores['bleu']:7.1f}{scores['chrf']:7.1f}"
        )


# %% [markdown]
# ## The loop

# %%
with blocks.joined() as processes:
    blocks.set_seeds(42, processes)
    data = blocks.split_pairs(
        blocks.read_pairs(asked.data, source="en", target="fr")
    )
    task = blocks.load_translation(
        asked.model,
        source="en",
        target="fr",
        label_smoothing=0.1,
    )
    train = task.encode(data.train).features
    plan = blocks.plan_batches(
        task, train, batch_tokens=1024, processes=processes
    )
    num_steps = asked.steps or plan.num_updates(epochs)
    optimizer = blocks.build_optimizer(
        task.model, learning_rate=peak
    )
    if processes.is_main:
        print(f"{processes.count} process(es), {task.batches}")
        print("            loss  valid   BLEU   chrF")
    show("before", task, data.validation, processes)
    with task.training():
        losses = []
        for step, update in zip(
            range(num_steps), plan, strict=False
        ):
            rate = blocks.learning_rate_at(
                step, peak=peak, num_steps=num_steps
            )
            loss = learn(
                task, train, update, optimizer, rate, processes
            )
            losses.append(loss)
            is_last = step == num_steps - 1
            if update.epoch.is_integer() or is_last:
                mean = sum(losses) / len(losses)
                show(
                    f"epoch {update.epoch:.1f}",
                    task,
                    data.validation,
                    processes,
                    mean,
                )
                losses.clear()
    show("test", task, data.test, processes)
    if processes.is_main:
        task.save(strftime("runs/loop-%H%M%S"))

# %% [markdown]
# ## Two processes
#
# The same file under `torchrun`: the same losses but for
# roundings.

# %% tags=["active-ipynb"]
# !torchrun --standalone --nproc_per_node 2 \
#     translation_loop.py --steps {num_steps}
