"""How a model is trained on the hardware at hand: precision, memory, compilation, shards."""

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from pydantic import Field
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from cca.device import Precision
from cca.distributed import processes
from cca.settings import Settings

if TYPE_CHECKING:  # the training of what is no model does not depend on models
    from cca.models import ARModel


class Execution(Settings):
    """What a training takes from the hardware; the defaults suit a model that fits."""

    precision: Precision = Field(
        default="auto", description="of products: auto is bf16 on a GPU, fp32 on a CPU; fp16 scales the loss"
    )
    activation_checkpointing: bool = Field(
        default=False,
        description="compute activations again in the backward pass",
    )
    sharded: bool = Field(
        default=False, description="each of several processes holds a part of weights and optimiser (FSDP2)"
    )
    compile: bool = Field(default=False, description="torch.compile the model's layers; minutes at the start")


def prepare(model: "ARModel", settings: Execution) -> nn.Module:
    """What to call in training: (codes (B, T), labels (B,)) to log p (B,), gradients averaged over processes.

    The model is changed in place, and its parameters stay those to optimise.
    """
    team = processes()
    if settings.activation_checkpointing:
        model.checkpoint_activations()
    if settings.compile:
        for layer in model.trunk:
            layer.compile()
    if settings.sharded and team.joined:
        from torch.distributed.fsdp import fully_shard  # seconds that other jobs save

        for layer in model.trunk:
            fully_shard(layer)
        fully_shard(model)
        return model
    if team.count > 1:
        return DistributedDataParallel(model, gradient_as_bucket_view=True)
    return model


def is_sharded(module: nn.Module) -> bool:
    """Whether `prepare` has left each process a part of the module."""
    if not processes().joined:
        return False
    from torch.distributed.fsdp import FSDPModule

    return isinstance(module, FSDPModule)


def accumulating(network: nn.Module) -> AbstractContextManager:
    """A block whose backward passes leave gradients unaveraged, because more of the batch follows.

    Shards average all the same: keeping whole gradients until then is what they are to avoid.
    """
    return network.no_sync() if isinstance(network, DistributedDataParallel) else nullcontext()
