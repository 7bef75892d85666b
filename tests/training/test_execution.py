"""What moves results by rounding only: precision, checkpointed activations, compilation; on a GPU if any."""

from pathlib import Path

import pytest
import torch
from torch import nn

from cca import models, tokenizers
from cca.device import autocast, loss_scaler, pick
from cca.errors import CCAError
from cca.models import ARModel
from cca.training import Optimisation, adamw, optimise, update
from cca.training.execution import Execution, prepare

from ..conftest import MODEL, TOKENIZER
from ..models.test_var import random_model as random_var

on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")


def random_llamagen() -> ARModel:
    model = models.build(
        "llamagen", MODEL | {"dropout": 0.2}, tokenizers.build("vq", TOKENIZER), num_classes=3
    )
    for weight in model.parameters():
        nn.init.normal_(weight, std=0.3)
    return model


def gradients(
    model: ARModel, precision: str = "fp32", train: bool = True, **execution: bool
) -> tuple[float, list[torch.Tensor]]:
    """Of the same images' mean log-likelihood, with dropout drawn from the same seed."""
    device = pick()
    network = prepare(model.to(device).train(train), Execution(**execution))
    torch.manual_seed(1)
    codes = torch.randint(model.vocab_size, (4, model.num_tokens)).to(device)
    with autocast(device, precision):
        loss = network(codes, torch.arange(4, device=device) % 3).mean()
    loss.backward()
    return loss.item(), [parameter.grad for parameter in model.parameters()]


@pytest.mark.parametrize("make", [random_llamagen, random_var])
def test_activation_checkpointing_gives_the_same_gradients(make: object) -> None:
    torch.manual_seed(0)
    plain, expected = gradients(make())
    torch.manual_seed(0)
    again, ours = gradients(make(), activation_checkpointing=True)
    rounding = 1e-4 if torch.cuda.is_available() else 0  # a GPU's sums are in no fixed order
    assert again == pytest.approx(plain, rel=rounding, abs=0)
    for gradient, wanted in zip(ours, expected, strict=True):
        assert (gradient - wanted).norm() <= rounding * wanted.norm()


def test_activation_checkpointing_keeps_less_for_the_backward_pass() -> None:
    def kept(**execution: bool) -> int:
        sizes: list[int] = []
        hooks = torch.autograd.graph.saved_tensors_hooks(
            lambda tensor: (sizes.append(tensor.numel()), tensor)[1], lambda tensor: tensor
        )
        model = random_llamagen().eval()
        network = prepare(model, Execution(**execution))
        with hooks:
            network(torch.zeros(2, model.num_tokens, dtype=torch.int64), torch.zeros(2, dtype=torch.int64))
        return sum(sizes)

    assert kept(activation_checkpointing=True) < 0.5 * kept()


@pytest.mark.parametrize(("precision", "tolerance"), [("bf16", 0.008), ("fp16", 0.001)])
@pytest.mark.parametrize("make", [random_llamagen, random_var])
def test_products_are_of_the_precision_that_is_asked_for(
    make: object, precision: str, tolerance: float
) -> None:
    """Largest difference seen: 0.0008 of the loss in bf16, 0.0001 in fp16."""
    torch.manual_seed(0)
    plain, _ = gradients(make())
    torch.manual_seed(0)
    loss, ours = gradients(make(), precision)
    assert 0 < abs(loss - plain) < tolerance * abs(plain)
    assert all(gradient.dtype == torch.float32 and gradient.isfinite().all() for gradient in ours)


@on_gpu
@pytest.mark.parametrize("make", [random_llamagen, random_var])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_compiled_layers_give_the_same_gradients(make: object, checkpointing: bool) -> None:
    torch.manual_seed(0)
    plain, expected = gradients(make(), train=False, activation_checkpointing=checkpointing)
    torch.manual_seed(0)
    loss, ours = gradients(make(), train=False, compile=True, activation_checkpointing=checkpointing)
    assert loss == pytest.approx(plain, rel=1e-4)
    for gradient, wanted in zip(ours, expected, strict=True):
        assert (gradient - wanted).norm() <= 1e-3 * wanted.norm() + 1e-6


@on_gpu
def test_adamw_on_a_gpu_is_fused() -> None:
    module = nn.Linear(2, 2).to(pick())
    assert adamw(module, Optimisation(learning_rate=1)).param_groups[0]["fused"]


def test_float16_gradients_that_overflow_leave_the_step_out_until_no_scale_is_left() -> None:
    device = pick()
    module = nn.Linear(2, 1).to(device)
    before = module.weight.detach().clone()
    settings = Optimisation(learning_rate=1)
    optimizer, scaler = adamw(module, settings), loss_scaler(device, "fp16")
    scales = []
    with pytest.raises(
        CCAError, match="fit: float16 cannot hold the gradients of step 11, with whatever"
    ) as error:
        for step in range(20):
            optimizer.zero_grad()
            scaler.scale(module.weight.sum() * torch.inf).backward()
            update(module, optimizer, 1.0, 1.0, step=step, what="fit", scaler=scaler)
            scales.append(scaler.get_scale())
    assert scales == [2.0**power for power in range(10, -1, -1)]
    assert torch.equal(module.weight, before) and "\n" not in str(error.value)


def test_a_scaled_loss_trains_as_an_unscaled_one(tmp_path: Path) -> None:
    device = pick()

    def trained(precision: str) -> nn.Linear:
        torch.manual_seed(0)
        module = nn.Linear(2, 1).to(device)

        def loss_of(batch: object) -> tuple:
            return module(torch.ones(2, 2, device=device)).square(), {}

        scaler, settings = loss_scaler(device, precision), Optimisation(learning_rate=0.1, clip=0.5)
        where = {"log": tmp_path / "log.csv", "what": "fit", "steps": 3}
        optimise(module, [[0, 1]] * 3, loss_of, settings, scaler=scaler, **where)
        return module

    assert loss_scaler(device, "bf16") is None
    assert trained("fp16").weight.tolist() == [pytest.approx(row) for row in trained("fp32").weight.tolist()]
