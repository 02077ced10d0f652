"""The chapter on translation, in its own shape: a loop of one's own on Accelerate."""

import numpy as np
import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader
from transformers import (
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    DataCollatorForSeq2Seq,
    get_scheduler,
)

from attuner.compat import AdamW, load_dataset, load_metric

torch.manual_seed(0)
model_checkpoint = "opus-mt-en-fr"
max_length = 32
split_datasets = load_dataset("kde4", lang1="en", lang2="fr")["train"].train_test_split(
    train_size=0.9, seed=20
)
split_datasets["validation"] = split_datasets.pop("test")
tokenizer = AutoTokenizer.from_pretrained(model_checkpoint)


def preprocess_function(examples):
    sources = [pair["en"] for pair in examples["translation"]]
    targets = [pair["fr"] for pair in examples["translation"]]
    return tokenizer(sources, text_target=targets, max_length=max_length, truncation=True)


tokenized_datasets = split_datasets.map(
    preprocess_function, batched=True, remove_columns=split_datasets["train"].column_names
)
tokenized_datasets.set_format("torch")
model = AutoModelForSeq2SeqLM.from_pretrained(model_checkpoint)
data_collator = DataCollatorForSeq2Seq(tokenizer, model=model)
train_dataloader = DataLoader(
    tokenized_datasets["train"], shuffle=True, collate_fn=data_collator, batch_size=8
)
eval_dataloader = DataLoader(
    tokenized_datasets["validation"], collate_fn=data_collator, batch_size=8
)
optimizer = AdamW(model.parameters(), lr=5e-3)
accelerator = Accelerator()
model, optimizer, train_dataloader, eval_dataloader = accelerator.prepare(
    model, optimizer, train_dataloader, eval_dataloader
)
num_train_epochs = 40
num_training_steps = num_train_epochs * len(train_dataloader)
lr_scheduler = get_scheduler(
    "linear", optimizer=optimizer, num_warmup_steps=0, num_training_steps=num_training_steps
)
metric = load_metric("sacrebleu")


def postprocess(predictions, labels):
    predictions = predictions.cpu().numpy()
    labels = labels.cpu().numpy()
    decoded_preds = tokenizer.batch_decode(predictions, skip_special_tokens=True)
    labels = np.where(labels != -100, labels, tokenizer.pad_token_id)
    decoded_labels = tokenizer.batch_decode(labels, skip_special_tokens=True)
    return [pred.strip() for pred in decoded_preds], [[label.strip()] for label in decoded_labels]


for epoch in range(num_train_epochs):
    model.train()
    for batch in train_dataloader:
        loss = model(**batch).loss
        accelerator.backward(loss)
        optimizer.step()
        lr_scheduler.step()
        optimizer.zero_grad()

    model.eval()
    for batch in eval_dataloader:
        with torch.no_grad():
            generated_tokens = accelerator.unwrap_model(model).generate(
                batch["input_ids"], attention_mask=batch["attention_mask"], max_length=max_length
            )
        labels = batch["labels"]
        generated_tokens = accelerator.pad_across_processes(
            generated_tokens, dim=1, pad_index=tokenizer.pad_token_id
        )
        labels = accelerator.pad_across_processes(labels, dim=1, pad_index=-100)
        predictions, references = postprocess(
            accelerator.gather(generated_tokens), accelerator.gather(labels)
        )
        metric.add_batch(predictions=predictions, references=references)
    results = metric.compute()
    print(f"epoch {epoch}, loss: {loss.item():.4f}, bleu: {results['score']:.2f}")

    accelerator.wait_for_everyone()
    accelerator.unwrap_model(model).save_pretrained("looped", save_function=accelerator.save)
    if accelerator.is_main_process:
        tokenizer.save_pretrained("looped")
