"""What torch's standard means do beside Attuner's, part by part of an update.

    python benchmarks/standard_means.py [--data FILE] [--rounds 5] [--parts loss attention ...]

On the opus-mt-en-fr architecture with random weights, 32 examples an update in random order, bf16
where the processor has it. Four parts, forward and backward: output layer and loss, attention of an
encoder layer, the optimizer, and all but the optimizer. All ways of a part are tried once, then
compute in turn, on the same numbers. torch.compile takes minutes, and a C++ compiler;
`--no-compile` leaves it out.
"""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import torch
from engines import new_model
from side_by_side import describe_machine, note, ratio_table
from subject import Subject, build_subject, parser
from torch import Tensor
from torch.nn import functional as F

from attuner.models.attention import packed_attention
from attuner.models.objective import _MAX_LOGITS, LinearCrossEntropy, Lookups
from attuner.models.precision import has_fast_bf16
from attuner.tasks.translation import TranslationTask
from attuner.training.adamw import AdamW

Work = Callable[[], object]

CPU = torch.device("cpu")
ATTUNER, PLAIN = "attuner", "attuner-plain"
PARTS = {
    "loss": "Output layer and loss",
    "attention": "Attention of an encoder layer",
    "optimizer": "Clipping and optimizer",
    "passes": "Forward and backward, an update",
}


def without_kernels() -> AbstractContextManager[Any]:
    """As where there is no C++ compiler."""
    return mock.patch("attuner.kernels.native", return_value=None)


def plainly(work: Work) -> Work:
    """The same work without own kernels."""

    def do() -> None:
        with without_kernels():
            work()

    return do


def losses(
    batch: Mapping[str, Any], config: Mapping[str, Any], dtype: torch.dtype
) -> dict[str, Work]:
    """Output layer and loss of the batch's target tokens."""
    labels = batch["targets"].flatten()
    labels = labels[labels != -100]
    hidden = torch.randn(len(labels), config["d_model"]).to(dtype).requires_grad_()
    weight = torch.randn(config["vocab_size"], config["d_model"]).mul_(0.02).to(dtype)
    weight.requires_grad_()

    def plain(hidden: Tensor, weight: Tensor) -> Tensor:
        return F.cross_entropy(F.linear(hidden, weight), labels, reduction="sum")

    def chunked(hidden: Tensor, weight: Tensor) -> Tensor:
        options = torch.nn.LinearCrossEntropyOptions()
        return F.linear_cross_entropy(hidden, weight, labels, reduction="sum", options=options)

    def ours(hidden: Tensor, weight: Tensor) -> Tensor:
        chunk = _MAX_LOGITS // len(weight)
        found: Tensor = LinearCrossEntropy.apply(
            hidden, weight, None, labels, 0.0, chunk, Lookups()
        )
        return found

    def learn(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
        hidden.grad = weight.grad = None
        loss(hidden, weight).backward()

    return {
        ATTUNER: partial(learn, ours),
        PLAIN: plainly(partial(learn, ours)),
        "linear_cross_entropy": partial(learn, chunked),
        "linear, cross_entropy": partial(learn, plain),
        "the same, compiled": partial(learn, torch.compile(plain)),
    }


def attentions(
    batch: Mapping[str, Any], config: Mapping[str, Any], dtype: torch.dtype
) -> dict[str, Work]:
    """Self-attention of the batch's source tokens."""
    packed = batch["packed"]
    lengths = packed.source_starts.diff()
    num, longest = len(lengths), int(lengths.max())
    heads = config["encoder_attention_heads"]
    size = config["d_model"] // heads

    def some(*shape: int) -> list[Tensor]:
        return [torch.randn(shape).to(dtype).requires_grad_() for _ in range(3)]

    rows = some(1, heads, batch["input_ids"].shape[1], size)
    blocks = some(num, heads, longest, size)
    nested = [
        torch.nested.nested_tensor(
            [torch.randn(n, heads, size).to(dtype) for n in lengths.tolist()],
            layout=torch.jagged, requires_grad=True,
        )
        for _ in range(3)
    ]  # fmt: skip
    is_real = torch.arange(longest) < lengths[:, None]
    owners = torch.repeat_interleave(torch.arange(num), lengths)
    owners = F.pad(owners, (0, rows[0].shape[2] - len(owners)), value=num)
    role = SimpleNamespace(attuner_role="encoder")

    def ours() -> Tensor:
        return packed_attention(role, *rows, None, packed=packed)[0]  # type: ignore[arg-type]

    def sdpa(inputs: list[Tensor], mask: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(*inputs, attn_mask=mask)

    def eager() -> Tensor:
        query, key, value = blocks
        scores = query @ key.transpose(2, 3) / size**0.5
        return scores.masked_fill(~is_real[:, None, None], -1e9).softmax(-1) @ value

    def jagged() -> Tensor:
        return F.scaled_dot_product_attention(*(x.transpose(1, 2) for x in nested)).values()

    def learn(attend: Callable[[], Tensor]) -> None:
        for tensor in (*rows, *blocks, *nested):
            tensor.grad = None
        output = attend()
        output.backward(torch.ones_like(output))

    return {
        ATTUNER: partial(learn, ours),
        PLAIN: plainly(partial(learn, ours)),
        "sdpa, padded": partial(learn, partial(sdpa, blocks, is_real[:, None, None])),
        "eager, padded": partial(learn, eager),
        "sdpa, one row and a mask": partial(
            learn, partial(sdpa, rows, owners[:, None] == owners[None])
        ),
        "sdpa, nested tensors": partial(learn, jagged),
    }


def optimizers(model: Any, dtype: torch.dtype) -> dict[str, Work]:
    """Clipping and an update of all weights, and of the copies that bf16 computes with."""
    shapes = [parameter.shape for parameter in model.parameters()]
    grads = [(1e-3 * torch.randn(shape)).to(dtype) for shape in shapes]

    def fresh() -> list[torch.nn.Parameter]:
        return [torch.nn.Parameter(torch.randn(shape)) for shape in shapes]

    def of_ours() -> Work:
        weights = fresh()
        optimizer = AdamW(
            [{"params": weights}], learning_rate=1e-5,
            computes_in=dtype if dtype != torch.float32 else None,
        )  # fmt: skip

        def update() -> None:
            with optimizer.computing():
                for weight, grad in zip(weights, grads, strict=True):
                    weight.grad = grad
                optimizer.collect()
            if dtype == torch.float32:
                for weight, grad in zip(weights, grads, strict=True):
                    weight.grad = grad
            optimizer.clip(1.0)
            optimizer.step()
            optimizer.zero_grad()

        return update

    def of_torch(**options: bool) -> Work:
        weights = fresh()
        copies = [weight.detach().to(dtype) for weight in weights]
        optimizer = torch.optim.AdamW(weights, lr=1e-5, weight_decay=0.0, **options)

        def update() -> None:
            for weight, grad in zip(weights, grads, strict=True):
                weight.grad = grad.float()
            torch.nn.utils.clip_grad_norm_(weights, 1.0)
            optimizer.step()
            for copy, weight in zip(copies, weights, strict=True):
                copy.copy_(weight.detach())

        return update

    return {
        ATTUNER: of_ours(),
        PLAIN: plainly(of_ours()),
        "torch's, fused": of_torch(fused=True),
        "torch's, foreach": of_torch(foreach=True),
    }


def passes(
    subject: Subject, rows: np.ndarray, updates: int, seed: int, dtype: torch.dtype
) -> dict[str, Work]:
    """Forward and backward of some updates, dropout included."""
    chosen = [rows[start : start + 32] for start in range(0, 32 * updates, 32)]

    def ours() -> Work:
        model = new_model(subject.config, seed).to(dtype).train()
        task = TranslationTask(model)

        def learn() -> None:
            with task.prepared(model):
                for some in chosen:
                    model.zero_grad()
                    task.loss(model, task.collate(subject.features, some, CPU)).backward()

        return learn

    def stock(attention: str, *, compiles: bool = False) -> Work:
        model = new_model(subject.config, seed).to(dtype).train()
        model.set_attn_implementation(attention)
        run = torch.compile(model, dynamic=True) if compiles else model

        def learn() -> None:
            for some in chosen:
                model.zero_grad()
                run(**_padded(subject, some), use_cache=False).loss.backward()

        return learn

    return {
        ATTUNER: ours(),
        PLAIN: plainly(ours()),
        "padded, eager": stock("eager"),
        "padded, sdpa": stock("sdpa"),
        "padded, eager, compiled": stock("eager", compiles=True),
    }


def _padded(subject: Subject, rows: np.ndarray) -> dict[str, Tensor]:
    """A batch as collators make it."""
    sides = (subject.features.source, subject.features.target)
    source, target = (
        torch.nn.utils.rnn.pad_sequence(
            [torch.from_numpy(side[row].astype(np.int64)) for row in rows],
            batch_first=True, padding_value=-100,
        )
        for side in sides
    )  # fmt: skip
    pad = subject.config["pad_token_id"]
    return {
        "input_ids": source.masked_fill(source == -100, pad),
        "attention_mask": (source != -100).long(),
        "labels": target,
    }


def compare(part: str, ways: Mapping[str, Work], rounds: int, per: int = 1) -> str:
    """Milliseconds of each way, and what they are to ours; what a way costs at its first call."""
    said, found = [], {}
    for name, work in ways.items():
        note(f"{part}: {name}, for the first time")
        began = time.perf_counter()
        try:
            work()
            first = time.perf_counter() - began
            work()
        except Exception as error:  # a standard means that does not go here is a finding
            said.append(f"{name}: {type(error).__name__}: {str(error).strip().splitlines()[0]}")
            continue
        found[name] = []
        if first > 5:
            said.append(f"{name}: the first time took {first:.0f} s")
    names = list(found)
    for number in range(rounds):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            times = []
            while len(times) < 2 or sum(times) < 0.2:
                began = time.perf_counter()
                ways[name]()
                times.append(time.perf_counter() - began)
            found[name].append({"ms": 1000 * statistics.median(times) / per})
    text = ratio_table(found, "ms", unit="ms", baselines=(ATTUNER,))
    return "\n".join([f"{part}:\n", text, *(f"\n{line}" for line in said)])


def main() -> None:
    """Print a table for each part."""
    made = parser(__doc__)
    made.add_argument("--updates", type=int, default=6, help="updates of the part `passes`")
    made.add_argument("--parts", nargs="+", default=list(PARTS), choices=list(PARTS))
    made.add_argument("--no-compile", action="store_true", help="without torch.compile")
    args = made.parse_args()
    warnings.filterwarnings("ignore")
    print(describe_machine())
    subject = build_subject(args)
    dtype = torch.bfloat16 if has_fast_bf16() else torch.float32
    print(subject.describe(args.data))
    print(f"32 examples an update, {str(dtype).removeprefix('torch.')}\n", flush=True)
    torch.manual_seed(args.seed)
    rows = np.random.default_rng(args.seed).permutation(len(subject.features))
    model = new_model(subject.config, args.seed)
    batch = TranslationTask(model).collate(subject.features, rows[:32], CPU)
    work: dict[str, Callable[[], dict[str, Work]]] = {
        "loss": partial(losses, batch, subject.config, dtype),
        "attention": partial(attentions, batch, subject.config, dtype),
        "optimizer": partial(optimizers, model, dtype),
        "passes": partial(passes, subject, rows, args.updates, args.seed, dtype),
    }
    for part in args.parts:
        ways = work[part]()
        if args.no_compile:
            ways = {name: way for name, way in ways.items() if "compiled" not in name}
        per = args.updates if part == "passes" else 1
        print(compare(PARTS[part], ways, args.rounds, per) + "\n", flush=True)


if __name__ == "__main__":
    main()
