"""The chapter on translation, in its own shape: tune by Seq2SeqTrainer, score by BLEU, use."""

import numpy as np
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, DataCollatorForSeq2Seq

from attuner.compat import (
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
    evaluate,
    load_dataset,
    pipeline,
)

model_checkpoint = "opus-mt-en-fr"
raw_datasets = load_dataset("kde4", lang1="en", lang2="fr")
split_datasets = raw_datasets["train"].train_test_split(train_size=0.9, seed=20)
split_datasets["validation"] = split_datasets.pop("test")

tokenizer = AutoTokenizer.from_pretrained(model_checkpoint)
max_length = 32


def preprocess_function(examples):
    sources = [pair["en"] for pair in examples["translation"]]
    targets = [pair["fr"] for pair in examples["translation"]]
    return tokenizer(sources, text_target=targets, max_length=max_length, truncation=True)


tokenized_datasets = split_datasets.map(
    preprocess_function, batched=True, remove_columns=split_datasets["train"].column_names
)
model = AutoModelForSeq2SeqLM.from_pretrained(model_checkpoint)
data_collator = DataCollatorForSeq2Seq(tokenizer, model=model)
metric = evaluate.load("sacrebleu")


def compute_metrics(eval_preds):
    preds, labels = eval_preds
    if isinstance(preds, tuple):
        preds = preds[0]
    decoded_preds = tokenizer.batch_decode(preds, skip_special_tokens=True)
    labels = np.where(labels != -100, labels, tokenizer.pad_token_id)
    decoded_labels = tokenizer.batch_decode(labels, skip_special_tokens=True)
    decoded_preds = [pred.strip() for pred in decoded_preds]
    decoded_labels = [[label.strip()] for label in decoded_labels]
    result = metric.compute(predictions=decoded_preds, references=decoded_labels)
    return {"bleu": result["score"]}


args = Seq2SeqTrainingArguments(
    "tuned",
    evaluation_strategy="no",
    save_strategy="epoch",
    learning_rate=5e-3,
    per_device_train_batch_size=8,
    per_device_eval_batch_size=16,
    weight_decay=0.01,
    save_total_limit=3,
    num_train_epochs=20,
    predict_with_generate=True,
    fp16=True,
    push_to_hub=False,
    report_to="none",
)
trainer = Seq2SeqTrainer(
    model,
    args,
    train_dataset=tokenized_datasets["train"],
    eval_dataset=tokenized_datasets["validation"],
    data_collator=data_collator,
    tokenizer=tokenizer,
    compute_metrics=compute_metrics,
)
print("before", trainer.evaluate(max_length=max_length))
trainer.train()
print("after", trainer.evaluate(max_length=max_length))
trainer.save_model("tuned/final")

translator = pipeline("translation", model="tuned/final")
print("translated", translator("Close the file of the plugin"))
