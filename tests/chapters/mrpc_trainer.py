"""The chapter on fine-tuning BERT, in its own shape: sentence pairs by Trainer."""

import numpy as np
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
)

from attuner.compat import Trainer, TrainingArguments, evaluate, load_dataset

raw_datasets = load_dataset("mrpc")
checkpoint = "bert-base-uncased"
tokenizer = AutoTokenizer.from_pretrained(checkpoint)


def tokenize_function(example):
    return tokenizer(example["sentence1"], example["sentence2"], truncation=True)


tokenized_datasets = raw_datasets.map(tokenize_function, batched=True)
data_collator = DataCollatorWithPadding(tokenizer=tokenizer)


def compute_metrics(eval_preds):
    metric = evaluate.load("glue", "mrpc")
    logits, labels = eval_preds
    predictions = np.argmax(logits, axis=-1)
    return metric.compute(predictions=predictions, references=labels)


training_args = TrainingArguments(
    "pairs", evaluation_strategy="epoch", learning_rate=5e-3, num_train_epochs=5, no_cuda=True,
    report_to="none",
)  # fmt: skip
model = AutoModelForSequenceClassification.from_pretrained(checkpoint, num_labels=2)
trainer = Trainer(
    model,
    training_args,
    train_dataset=tokenized_datasets["train"],
    eval_dataset=tokenized_datasets["validation"],
    data_collator=data_collator,
    tokenizer=tokenizer,
    compute_metrics=compute_metrics,
)
trainer.train()
predictions = trainer.predict(tokenized_datasets["validation"])
print("shapes", predictions.predictions.shape, predictions.label_ids.shape)
for line in trainer.state.log_history:
    print(line)
