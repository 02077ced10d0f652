"""What NLLB-3.3B needs on 8 GPUs and on 4 machines of 8: a plan on paper, nothing is measured.

    python benchmarks/scaling_plan.py

prints the tables of docs/explanation/scaling.md, whose formulas these functions are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

GB = 1e9
# Assumed: the share of a GPU's peak that training reaches (model FLOPs utilisation), and what
# CUDA, NCCL and the allocator's gaps take.
UTILISATION = 0.35
OVERHEAD_BYTES = 4 * GB
# `models.objective._MAX_LOGITS`: a chunk's logits in bf16, twice in fp32, and their gradient.
LOGITS_BYTES = 2**26 * (2 + 4 + 4 + 2)


@dataclass(frozen=True)
class Shape:
    """An encoder-decoder model whose embeddings and output layer share their weights."""

    width: int = 2048
    feed_forward: int = 8192
    layers: int = 24  # of either side
    vocabulary: int = 256_206

    @property
    def attention(self) -> int:
        """Weights of four projections with biases, and of the norm before them."""
        return 4 * (self.width**2 + self.width) + 2 * self.width

    @property
    def encoder_layer(self) -> int:
        """Weights of attention and feed-forward, with a norm before each."""
        d, f = self.width, self.feed_forward
        return self.attention + 2 * d * f + d + f + 2 * d

    @property
    def decoder_layer(self) -> int:
        """Weights of a layer that attends to the source, too."""
        return self.encoder_layer + self.attention

    @property
    def embeddings(self) -> int:
        """Weights of the words, and of the output layer: they are the same."""
        return self.vocabulary * self.width

    @property
    def in_layers(self) -> int:
        """Weights of all layers."""
        return self.layers * (self.encoder_layer + self.decoder_layer)

    @property
    def parameters(self) -> int:
        """All weights; positions are computed."""
        return self.in_layers + self.embeddings + 4 * self.width


@dataclass(frozen=True)
class Gpu:
    """A GPU as its maker describes it: memory in GB, dense bf16 FLOP/s."""

    name: str
    memory: float
    flops: float


@dataclass(frozen=True)
class Plan:
    """A run.

    Attributes:
        machines: Machines of 8 GPUs.
        shares: GPUs that share one copy of the model.
        tokens: Target tokens of a GPU's micro-batch; the source has as many.
        recomputes: Whether activations are computed again (`training.gradient_checkpointing`).
    """

    machines: int
    shares: int
    tokens: int = 8192
    recomputes: bool = True

    @property
    def gpus(self) -> int:
        """All GPUs."""
        return 8 * self.machines


H100, A100 = Gpu("H100 80 GB", 80, 989e12), Gpu("A100 80 GB", 80, 312e12)
NLLB = Shape()
PLANS = {
    "8 GPUs": Plan(1, 8),
    "4 × 8, a copy in each machine": Plan(4, 8),
    "4 × 8, one copy among all": Plan(4, 32),
}


def share_bytes(shape: Shape, shares: int) -> float:
    """Weights (4 bytes), AdamW's two moments (8) and the gradient (4), in fp32: a share of each."""
    return 16 * shape.parameters / shares


def gathered_bytes(shape: Shape) -> float:
    """In bf16: embeddings, and two layers with gradients, which are fp32 while they are summed."""
    return 2 * shape.embeddings + 2 * (2 + 2 + 4) * shape.decoder_layer


def loss_bytes(shape: Shape) -> float:
    """A chunk's logits, and the output layer's gradient: a chunk's in bf16, their sum in fp32."""
    return LOGITS_BYTES + (2 + 4) * shape.embeddings


def activation_bytes(shape: Shape, tokens: int, *, recomputes: bool) -> float:
    """Activations of as many source and target tokens, in bf16 with dropout.

    A layer keeps 34 numbers of bytes a token and unit of width (Korthikanti et al. 2022, equation
    1, without the matrix of scores, which SDPA does not keep), attention to the source 13 more;
    padded blocks of queries, keys, values and results about 10 for each attention. Recomputed, a
    layer keeps its input, 2 bytes, and one layer at a time the rest.
    """
    encoder, decoder = 34 + 10, 34 + 10 + 13 + 10
    if recomputes:
        return tokens * shape.width * (2 * 2 * shape.layers + decoder)
    return tokens * shape.width * shape.layers * (encoder + decoder)


def memory_bytes(shape: Shape, plan: Plan) -> float:
    """The most that a GPU holds: when the loss is made and all activations are there."""
    activations = activation_bytes(shape, plan.tokens, recomputes=plan.recomputes)
    return (
        share_bytes(shape, plan.shares) + gathered_bytes(shape) + loss_bytes(shape)
        + activations + OVERHEAD_BYTES
    )  # fmt: skip


def flops_per_token(shape: Shape, *, recomputes: bool) -> float:
    """FLOPs of a target token and a source token: 6 a weight, 8 in layers computed twice."""
    return (8 if recomputes else 6) * shape.in_layers + 6 * shape.embeddings


def step_seconds(shape: Shape, plan: Plan, gpu: Gpu) -> float:
    """Computing time of a micro-batch."""
    flops = plan.tokens * flops_per_token(shape, recomputes=plan.recomputes)
    return flops / (UTILISATION * gpu.flops)


def tokens_per_second(shape: Shape, plan: Plan, gpu: Gpu) -> float:
    """Target tokens a second of all GPUs, if the network hides behind computing."""
    return plan.gpus * plan.tokens / step_seconds(shape, plan, gpu)


def gathering_bytes(shape: Shape, shares: int) -> float:
    """What each GPU sends, in a ring, within a copy of the model, for a micro-batch.

    Layers are gathered twice and the rest once, in bf16; gradients are scattered in fp32.
    """
    gathered = 2 * (2 * shape.in_layers + shape.parameters - shape.in_layers)
    return (shares - 1) / shares * (gathered + 4 * shape.parameters)


def machine_bytes(shape: Shape, plan: Plan) -> float:
    """What each machine sends to another one for an update of one micro-batch.

    A ring over all GPUs leaves a machine at one place, with all that each GPU sends. Copies in
    machines sum their gradients, fp32: 2 · (m - 1)/m of them.
    """
    if plan.machines == 1:
        return 0.0
    if plan.shares > 8:
        return gathering_bytes(shape, plan.shares)
    return 2 * (plan.machines - 1) / plan.machines * 4 * shape.parameters


def gbits(num_bytes: float, seconds: float) -> float:
    """Gbit/s that take so many bytes in so many seconds."""
    return 8 * num_bytes / seconds / 1e9


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown, its first column to the left."""
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *rows))


def memory_table(shape: Shape = NLLB) -> str:
    """Memory of a GPU by what it is for, in GB."""
    rows = []
    for name, plan in PLANS.items():
        for recomputes in (True, False):
            chosen = Plan(plan.machines, plan.shares, plan.tokens, recomputes)
            kept = activation_bytes(shape, plan.tokens, recomputes=recomputes)
            cells = (share_bytes(shape, plan.shares), gathered_bytes(shape), loss_bytes(shape),
                     kept, OVERHEAD_BYTES, memory_bytes(shape, chosen))  # fmt: skip
            how = "recomputed" if recomputes else "kept"
            rows.append([name, how, *(f"{cell / GB:.1f}" for cell in cells)])
    head = ["", "activations", "shares", "gathered", "loss", "activations", "overhead", "in all"]
    return table(head, rows)


def speed_table(shape: Shape = NLLB) -> str:
    """Time and tokens, and the network that hides behind them."""
    rows = []
    for name, plan in PLANS.items():
        for gpu in (H100, A100):
            seconds = step_seconds(shape, plan, gpu)
            inside = gathering_bytes(shape, plan.shares)
            outside = machine_bytes(shape, plan)
            rows.append([
                name, gpu.name, f"{seconds:.2f}", f"{tokens_per_second(shape, plan, gpu):,.0f}",
                f"{inside / GB:.1f}", f"{inside / seconds / GB:.0f}",
                f"{outside / GB:.1f}", f"{gbits(outside, seconds):.0f}",
            ])  # fmt: skip
    head = ["", "GPU", "seconds a step", "target tokens a second", "GB a GPU sends", "GB/s",
            "GB a machine sends", "Gbit/s"]  # fmt: skip
    return table(head, rows)


def parts_table(shape: Shape = NLLB) -> str:
    """Where the weights are, in millions."""
    rows = [
        ("embeddings, which are the output layer, too", shape.embeddings),
        ("24 layers of the encoder", shape.layers * shape.encoder_layer),
        ("24 layers of the decoder", shape.layers * shape.decoder_layer),
        ("all, with the last norms", shape.parameters),
    ]
    return table(["", "million weights"], [[name, f"{num / 1e6:,.1f}"] for name, num in rows])


TABLES = (parts_table, memory_table, speed_table)

if __name__ == "__main__":
    print("\n\n".join(make() for make in TABLES))
