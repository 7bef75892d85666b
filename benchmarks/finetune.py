"""Time and peak memory of a CCA training step, ours beside the official one's, on the same weights and batch.

The official step is made of LlamaGen's or VAR's own transformer as thu-ml/CCA's ``LlamaGen_finetune.py`` and
``VAR_CCA_trainer.py`` use it: a frozen copy's forward pass in every step, logits of both labels' sequences,
log-softmax and gather, AdamW (fused), gradients clipped. VAR's also encodes its images in every step, which
is left out. Each measurement is a process of its own; methods take turns.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import networks
import numpy as np
import torch
from tabulate import tabulate
from torch import nn
from torch.nn.functional import logsigmoid

from cca.device import pick
from cca.models import ARModel
from cca.objectives import bind
from cca.training import Optimisation, optimise
from cca.training.execution import Execution, prepare

BETA, LAMBDA = 0.02, 1.0
SETTINGS = Optimisation(learning_rate=1e-5, clip=1.0)


def batch(model: ARModel, pairs: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Codes (2 B, T) and labels (2 B,): the positives, then the negatives."""
    generator = torch.Generator().manual_seed(1)
    codes = torch.randint(model.vocab_size, (pairs, model.num_tokens), generator=generator)
    labels = torch.randint(networks.CLASSES, (pairs,), generator=generator)
    return codes.repeat(2, 1), torch.cat([labels, labels.roll(-1)])


def clocks() -> tuple[float, float]:
    """Seconds on the wall and of all processors, which a busy machine moves less."""
    return time.perf_counter(), time.process_time()


def ours(sizes: argparse.Namespace) -> dict:
    """`cca.training.optimise` as stage ``finetune`` calls it, after stage ``score``."""
    device, objective = pick(), bind({"name": "cca", "beta": BETA, "lam": LAMBDA})
    model = networks.build(sizes.family, sizes).to(device).eval()
    codes, labels = (tensor.to(device) for tensor in batch(model, sizes.pairs))
    begun = time.perf_counter()
    with torch.inference_mode():
        reference = model.log_prob(codes, labels).view(2, -1)
    scored = time.perf_counter() - begun
    network = prepare(model, Execution(activation_checkpointing=sizes.checkpointing))
    no_positive_pair = torch.zeros(sizes.pairs, dtype=torch.bool, device=device)
    losses, ends = [], [clocks()]

    def loss_of(index: np.ndarray) -> tuple[torch.Tensor, dict]:
        both = np.concatenate([index, index + sizes.pairs])
        g = network(codes[both], labels[both]).view(2, -1) - reference[:, index]
        loss = objective(g[0], g[1], no_positive_pair[index])
        losses.append(loss.sum().item() / sizes.pairs)
        return loss, {}

    with tempfile.TemporaryDirectory() as folder:
        steps = {"steps": sizes.steps, "what": "ours", "log": Path(folder) / "log.csv"}
        batches = [np.arange(sizes.pairs)] * sizes.steps
        after = {"after_step": lambda step: ends.append(clocks())}
        pieces = {"micro_batch": sizes.micro_batch}
        optimise(model, batches, loss_of, SETTINGS, **steps, **after, **pieces, network=network)
    means = np.reshape(losses, (sizes.steps, -1)).sum(axis=1)  # of the pieces of a batch
    return {"seconds": np.diff(ends, axis=0).tolist(), "losses": means.tolist(), "scored": scored}


def official(sizes: argparse.Namespace) -> dict:
    """The official transformer and a frozen copy of it."""
    device, start = pick(), networks.build(sizes.family, sizes)
    codes, labels = (tensor.to(device) for tensor in batch(start, sizes.pairs))
    build = {"llamagen": networks.official_llamagen, "var": networks.official_var}[sizes.family]
    model, frozen = (build(start, sizes.official).to(device).train() for _ in range(2))
    del start
    frozen.requires_grad_(False)
    logits_of = {"llamagen": llamagen_logits, "var": var_logits}[sizes.family]
    groups = [
        {"params": [p for p in model.parameters() if p.dim() >= 2], "weight_decay": SETTINGS.weight_decay},
        {"params": [p for p in model.parameters() if p.dim() < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=SETTINGS.learning_rate, betas=SETTINGS.betas, fused=True)
    losses, ends = [], [clocks()]
    for _ in range(sizes.steps):
        with torch.no_grad():
            frozen_logits = logits_of(frozen, codes, labels)
        logits = logits_of(model, codes, labels)
        halves = [*logits.chunk(2), *frozen_logits.chunk(2)]
        positive, negative, frozen_positive, frozen_negative = (
            half.log_softmax(-1).gather(2, codes[: sizes.pairs, :, None]).squeeze(2).sum(-1)
            for half in halves
        )
        g = positive - frozen_positive, negative - frozen_negative
        loss = (-logsigmoid(BETA * g[0]) - LAMBDA * logsigmoid(-BETA * g[1])).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), SETTINGS.clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
        ends.append(clocks())
    return {"seconds": np.diff(ends, axis=0).tolist(), "losses": losses}


def llamagen_logits(model: nn.Module, codes: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """(2 B, T, V), of the call of ``LlamaGen_finetune.py``."""
    return model(cond_idx=labels, idx=codes[:, :-1], targets=codes)[0]


def var_logits(model: nn.Module, codes: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """(2 B, T, V); the inputs are made of the codes once for both labels, as in ``VAR_CCA_trainer.py``."""
    scales = codes.chunk(2)[0].split([size**2 for size in networks.SCALES], dim=1)
    inputs = model.vae_quant_proxy[0].idxBl_to_var_input(scales)
    return model(labels, inputs.repeat(2, 1, 1))


def measure(method: str, arguments: list[str]) -> dict:
    """What a method takes, in a process of its own."""
    command = [sys.executable, __file__, *arguments, "--method", method]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Print a table and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("family", choices=["llamagen", "var"])
    parser.add_argument(
        "--official", type=Path, required=True, help="checkout of thu-ml/CCA, with submodules"
    )
    networks.add_sizes(parser)
    parser.add_argument("--pairs", type=int, default=2)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--micro-batch", type=int, help="pairs in memory at a time in ours; default: all")
    parser.add_argument("--checkpointing", action="store_true", help="activation_checkpointing in ours")
    parser.add_argument("--method", choices=["ours", "official"], help=argparse.SUPPRESS)
    sizes = parser.parse_args()
    if sizes.method:
        torch.set_num_threads(sizes.threads)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        result = {"ours": ours, "official": official}[sizes.method](sizes)
        result["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        if pick().type == "cuda":
            result["peak"] = torch.cuda.max_memory_allocated() / 1024
        print(json.dumps(result))
        return
    turns = [{m: measure(m, sys.argv[1:]) for m in ("ours", "official")} for _ in range(sizes.repeats)]
    rows = {}
    for method in ("official", "ours"):
        times = [seconds for turn in turns for seconds in turn[method]["seconds"][1:]]  # the first warms up
        rows[method] = *np.median(times, axis=0), median(turn[method]["peak"] for turn in turns) / 2**20
    table = [[method, *(f"{value:.2f}" for value in row)] for method, row in rows.items()]
    print(tabulate(table, ["", "seconds a step", "CPU seconds a step", "GiB above the start"]))
    losses = [turns[0][method]["losses"] for method in ("official", "ours")]
    print(f"largest difference of losses: {np.abs(np.subtract(*losses)).max():.1e}")
    print(f"ours scores the pairs once, before: {median(turn['ours']['scored'] for turn in turns):.2f} s")
    wall, cpu, memory = (theirs / own for theirs, own in zip(rows["official"], rows["ours"], strict=True))
    print(f"a step of ours is {wall:.2f}x as fast, {cpu:.2f}x by CPU time")
    print(f"its peak is {1 - 1 / memory:.0%} lower")


if __name__ == "__main__":
    main()
