# %% [markdown]
# # Tune a translation model with Keras
#
# `compile`, `fit`, callbacks: the TensorFlow side of the
# chapter. transformers has PyTorch only today, but Keras
# computes with PyTorch, too. `TaskModel` stands between them.
# No network is needed, and a few minutes on two processor
# cores:
#
#     pip install -c constraints.txt ".[demo,keras]"
#     python examples/keras_translation.py
#
# With a network, the chapter's own model and data:
# `--model Helsinki-NLP/opus-mt-en-fr --data kde4`

# %%
import os
import random
from argparse import ArgumentParser

os.environ["KERAS_BACKEND"] = "torch"  # before Keras

import keras
import matplotlib.pyplot as plt
import numpy as np
from torch.utils.data import DataLoader
from transformers import (
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    DataCollatorForSeq2Seq,
)

import attuner
from attuner.compat import load_dataset
from attuner.compat.keras import (
    KerasMetricCallback,
    PushToHubCallback,
    TaskModel,
)
from attuner.models.loading import resolve_model

parser = ArgumentParser()
parser.add_argument("--model", default="embedded:en-fr")
parser.add_argument(
    "--data", default="package:jupyterlab-language-pack-fr-FR"
)
parser.add_argument("--steps", type=int, help="only so many")
parser.add_argument("--hub-id", help="push to it, USER/NAME")
asked, _ = parser.parse_known_args()
keras.utils.set_random_seed(20)

# %% [markdown]
# ## Data
#
# Each English text is taken once, so that none is learned
# from and scored, too.

# %%
data = load_dataset(asked.data, lang1="en", lang2="fr")
pairs = {
    pair["en"]: pair["fr"]
    for pair in data["train"]["translation"]
}
checkpoint = resolve_model(asked.model)
tokenizer = AutoTokenizer.from_pretrained(checkpoint)
rows = [
    tokenizer(
        source,
        text_target=target,
        max_length=128,
        truncation=True,
    )
    for source, target in pairs.items()
]
random.shuffle(rows)
part = len(rows) // 10
print(f"{len(rows) - part:,} strings to train")
print(f"{part:,} strings to evaluate")

# %% [markdown]
# What `to_tf_dataset` made is a loader of torch today: batches
# of 32, shuffled, to train; of 16, in order, to evaluate.

# %%
module = AutoModelForSeq2SeqLM.from_pretrained(
    checkpoint, dtype="float32"
)
collate = DataCollatorForSeq2Seq(tokenizer, model=module)
train = DataLoader(
    rows[part:],
    batch_size=32,
    shuffle=True,
    collate_fn=collate,
)
validation = DataLoader(
    rows[:part], batch_size=16, collate_fn=collate
)

# %% [markdown]
# ## Model
#
# Mixed precision is asked for as ever. Keras' policy ends at
# Keras' own layers; `TaskModel` does it for the torch model:
# `torch.autocast` inside `train_step`. The chapter's
# `mixed_float16` is for GPUs; a processor has bf16, if any.

# %%
keras.mixed_precision.set_global_policy("mixed_bfloat16")
model = TaskModel(module)

# %% [markdown]
# `compile` is told no loss, as in the chapter: the model has
# its own, here the mean over the real target tokens of a
# batch. Biases and norms, all that is a vector, do not decay.

# %%
epochs = 1 if asked.steps else 3
num_steps = epochs * (asked.steps or len(train))
optimizer = keras.optimizers.AdamW(
    keras.optimizers.schedules.PolynomialDecay(
        5e-4, num_steps, end_learning_rate=0.0
    ),
    weight_decay=0.01,
)
optimizer.exclude_from_weight_decay(
    var_list=[
        weight
        for weight in model.trainable_variables
        if len(weight.shape) == 1
    ]
)
model.compile(optimizer)

# %% [markdown]
# ## Scores
#
# A callback translates the validation strings after each epoch
# and hands over what it generated, beside the labels. Its
# scores are in the logs, for `History` and `EarlyStopping`.

# %%
metric = attuner.metric("sacrebleu")


def score(found):
    """BLEU of the generated texts."""
    predictions, labels = found
    labels = np.where(
        labels < 0, tokenizer.pad_token_id, labels
    )
    texts, references = (
        tokenizer.batch_decode(ids, skip_special_tokens=True)
        for ids in (predictions, labels)
    )
    result = metric.compute(
        predictions=texts, references=[[r] for r in references]
    )
    return {"bleu": result["score"]}


scores = KerasMetricCallback(
    score, validation, {"max_new_tokens": 128}
)
scores.set_model(model)
before = {
    "val_loss": model.evaluate(validation, verbose=0),
    **scores.score(),
}

# %% [markdown]
# ## Train
#
# With `--hub-id` the model is pushed after each epoch, while
# training goes on.

# %%
folder = "runs/keras-translation"
callbacks = [scores]
if asked.hub_id:
    callbacks.append(
        PushToHubCallback(
            folder,
            tokenizer=tokenizer,
            hub_model_id=asked.hub_id,
        )
    )
history = model.fit(
    train,
    validation_data=validation,
    epochs=epochs,
    steps_per_epoch=asked.steps,
    callbacks=callbacks,
    verbose=0,
).history

# %%
print("epoch   loss  val_loss   BLEU")
print(
    f"{0:5}{'':7}{before['val_loss']:10.3f}"
    f"{before['bleu']:7.1f}"
)
rows = zip(
    history["loss"],
    history["val_loss"],
    history["bleu"],
    strict=True,
)
for epoch, (loss, val_loss, bleu) in enumerate(rows, 1):
    print(f"{epoch:5}{loss:7.3f}{val_loss:10.3f}{bleu:7.1f}")

# %%
figure, axes = plt.subplots(figsize=(4, 2.5))
axes.plot([before["bleu"], *history["bleu"]], marker="o")
axes.set(xlabel="epoch", ylabel="BLEU, validation")
figure.tight_layout()

# %% [markdown]
# ## Save, and use it anywhere
#
# A `.keras` file would hold a pickle of the torch model, which
# can run code where it is loaded: it is refused.
# `save_pretrained` writes the model folder that transformers
# and Attuner load. The weights are the same.

# %%
model.save_pretrained(folder, tokenizer)
loaded = AutoModelForSeq2SeqLM.from_pretrained(folder)
trained = module.state_dict()
for name, weight in loaded.state_dict().items():
    assert weight.equal(trained[name].cpu()), name

# %%
texts = [
    "Shut down the notebook?",
    "Upload Error",
    "Restart the kernel",
]
rows = zip(
    texts,
    attuner.load(asked.model).translate(texts),
    attuner.load(folder).translate(texts),
    strict=True,
)
for text, was, now in rows:
    print(f"{text}\n  before  {was}\n  after   {now}")
