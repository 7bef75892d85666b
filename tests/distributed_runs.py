"""Not tests, but what two processes do for `test_distributed.py`: torchrun starts this file in each."""

import os
import signal
import sys
from functools import partial
from pathlib import Path
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.amp import GradScaler

from cca import training
from cca.device import make_deterministic, pick
from cca.distributed import leave, processes
from cca.errors import StoppedError
from cca.settings import validate
from cca.stages import finetune, pretrain
from cca.training import Optimisation
from cca.training import progress as kept
from cca.training.progress import Progress

OBJECTIVE = {"name": "cca", "lam": 1}
OPTIMISATION = {"learning_rate": 1e-2}
BATCH = 16
SCORES = {"scores": {}, "scores_dropout": {"dropout": True}, "scores_fp16": {"precision": "fp16"}}
"""Files of scores, by what of the finetuning they are computed with."""


def finetuning(folder: Path, out: str, progress: Progress | None = None, **settings: object) -> None:
    """Five steps of stage ``finetune``."""
    values = {"objective": OBJECTIVE, "batch_size": BATCH, "optimisation": OPTIMISATION} | settings
    files = {name: folder / f"{name}.npz" for name in ("codes", "pairs")}
    files |= {name: folder / f"{name}.safetensors" for name in ("base", "tokenizer")}
    computed = next((name for name in SCORES if SCORES[name].items() & settings.items()), "scores")
    files["scores"] = folder / f"{computed}.npz"
    checked = validate(finetune.FinetuneSettings, values, "test")
    finetune.run(checked, **files, out=folder / f"{out}.safetensors", seed=0, progress=progress)


def pretraining(folder: Path, out: str, **settings: object) -> None:
    """Five steps of stage ``pretrain``."""
    values = {"family": "llamagen", "architecture": {"dim": 16, "layers": 2, "heads": 2, "multiple_of": 16}}
    values |= {"steps": 5, "batch_size": BATCH, "label_dropout": 0.3, "optimisation": OPTIMISATION} | settings
    files = {"tokenizer": folder / "tokenizer.safetensors", "codes": folder / "codes.npz"}
    pretrain.run(
        validate(pretrain.PretrainSettings, values, "test"), **files, out=folder / f"{out}.safetensors"
    )


def stopped_and_resumed(folder: Path, out: str, **settings: object) -> None:
    """The same, where the last process alone is told to stop in its third step."""
    progress = partial(Progress, folder / f"{out}.progress.pt", every=1e9, key=lambda: "key")
    rate = Optimisation.rate

    def telling(self: Optimisation, step: int, steps: int) -> float:
        if step == 2 and processes().rank == processes().count - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return rate(self, step, steps)

    Optimisation.rate = telling
    try:
        finetuning(folder, out, progress(), **settings)
        raise AssertionError("it was not stopped")
    except StoppedError:
        pass
    finally:
        Optimisation.rate = rate
    assert not (folder / f"{out}.log.csv").exists()
    again = progress()
    with patch.object(kept, "check_intact", wraps=kept.check_intact) as checking:
        finetuning(folder, out, again, **settings)
    assert checking.call_count == processes().first
    assert again.record["resumed_at_step"] == 3


def overflowing(folder: Path, out: str, sharded: bool) -> None:
    """Five steps in float16; in the third gradients overflow in the last process alone, and none takes it."""
    team, steps = processes(), iter(range(5))
    scale, update, last = GradScaler.scale, training.update, team.rank == team.count - 1

    def scaled(self: GradScaler, loss: Tensor) -> Tensor:
        here = next(steps) == 2 and last and not sharded
        return scale(self, loss) * (torch.inf if here else 1)

    def watched(module: nn.Module, *given: object, step: int, **others: object) -> float:
        parts = [part.to_local() if sharded else part for part in module.parameters()]
        if step == 2 and last and sharded:  # in its own shard, after all gradients are summed
            next(module.parameters()).grad.to_local().fill_(torch.inf)
        before = [part.detach().clone() for part in parts]
        norm = update(module, *given, step=step, **others)
        moved = not all(map(torch.equal, before, parts))
        assert team.gather(torch.tensor([int(moved)], device=pick())).tolist() == [step != 2] * team.count
        return norm

    with patch.object(GradScaler, "scale", scaled), patch.object(training, "update", watched):
        finetuning(folder, out, sharded=sharded, precision="fp16")


def main(folder: Path) -> None:
    """Everything that is compared with one process."""
    make_deterministic(1)
    finetuning(folder, "replicated")
    finetuning(folder, "accumulated", micro_batch=3)
    finetuning(folder, "sharded", sharded=True, micro_batch=3, activation_checkpointing=True)
    finetuning(folder, "sharded_fp16", sharded=True, precision="fp16")
    finetuning(folder, "replicated_fp16", precision="fp16")
    for kind in ("sharded", "replicated"):
        overflowing(folder, f"{kind}_overflow", sharded=kind == "sharded")
    finetuning(folder, "dropout", dropout=True)
    drawn = processes().gather(torch.rand(1)).tolist()
    assert len(set(drawn)) == len(drawn), "processes draw the same dropout"
    finetuning(folder, "sharded_dropout", dropout=True, sharded=True, micro_batch=4)
    stopped_and_resumed(folder, "dropout_resumed", dropout=True)
    stopped_and_resumed(folder, "sharded_resumed", sharded=True, micro_batch=3)
    pretraining(folder, "pretrained")
    pretraining(folder, "pretrained_sharded", sharded=True)
    leave()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
