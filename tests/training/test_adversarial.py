"""The discriminator: hinge losses, receptive field, balanced gradients, when it takes part."""

import pytest
import torch
from torch import Tensor, nn

from cca.errors import CCAError
from cca.training.adversarial import (
    AdversarialSettings,
    Adversary,
    Discriminator,
    balance,
    discriminator_loss,
    generator_loss,
)

OPTIMISATION = {"learning_rate": 1e-2, "weight_decay": 0}


def adversary(start: int = 0, weight: float = 0.5) -> Adversary:
    torch.manual_seed(0)
    settings = AdversarialSettings(
        weight=weight, start=start, channels=8, layers=1, optimisation=OPTIMISATION
    )
    return Adversary(settings, 8, 1, steps=100, device=torch.device("cpu"))


def pictures(seed: int) -> Tensor:
    return torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_hinge_losses_by_hand() -> None:
    real, fake = torch.tensor([2.0, 0.5, -1.0]), torch.tensor([-3.0, 0.0, 1.0])
    assert discriminator_loss(real, fake).item() == pytest.approx(0.5 * ((0 + 0.5 + 2) / 3 + (0 + 1 + 2) / 3))
    assert generator_loss(fake).item() == pytest.approx(2 / 3)


@pytest.mark.parametrize(("layers", "side", "field"), [(1, 14, 16), (2, 6, 34), (3, 2, 70)])
def test_a_logit_sees_the_patch_of_pix2pix(layers: int, side: int, field: int) -> None:
    # Isola et al. 2017, 6.1.1: the 70 x 70 discriminator halves three times, the 16 x 16 one once
    torch.manual_seed(0)
    network = Discriminator(32, 3, 4, layers).eval()
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 1, side, side)
    large = torch.zeros(1, 3, 128, 128, requires_grad=True)
    logits = network(large)
    logits[0, 0, logits.shape[2] // 2, logits.shape[3] // 2].backward()
    rows = large.grad.abs().sum(dim=(0, 1, 3)).nonzero().flatten()
    assert rows.max() - rows.min() + 1 == field


def test_too_many_layers_for_an_image_are_refused() -> None:
    with pytest.raises(CCAError, match="layers 4 leave no patch of images of 32 px"):
        Discriminator(32, 3, 4, 4)


def test_balance_is_the_ratio_of_gradients() -> None:
    weights = torch.tensor([3.0, 4.0], requires_grad=True)
    reconstruction, adversarial = 2 * weights.sum(), (weights**2).sum() / 2
    assert balance(reconstruction, adversarial, weights).item() == pytest.approx(8**0.5 / (5 + 1e-4))
    assert balance(reconstruction, 0 * adversarial, weights).item() == pytest.approx(1e4)


def test_the_weighted_loss_pulls_as_hard_as_the_reconstruction() -> None:
    last, other = nn.Conv2d(1, 1, 3, padding=1), adversary(weight=0.25)
    images = pictures(1)
    outputs = last(images)
    reconstruction = (outputs - images).square().mean()
    loss, logged = other.loss(images, outputs, reconstruction, last.weight)
    pulls = [
        torch.autograd.grad(part, last.weight, retain_graph=True)[0].norm() for part in (loss, reconstruction)
    ]
    assert (pulls[0] / pulls[1]).item() == pytest.approx(0.25, rel=1e-2)
    assert loss.item() == pytest.approx(0.25 * logged["balance"].item() * logged["adversarial"].item())
    loss.backward()
    assert all(parameter.grad is None for parameter in other.discriminator.parameters())


def test_it_takes_part_from_its_first_step_on() -> None:
    other, images = adversary(start=2), pictures(1)
    outputs = pictures(2).requires_grad_()
    before = [parameter.clone() for parameter in other.discriminator.parameters()]
    for step in range(4):
        loss, logged = other.loss(images, outputs, outputs.square().sum(), outputs)
        assert bool(loss != 0) == (step >= 2) and set(logged) == {"adversarial", "balance", "discriminator"}
        other.learn()
        moved = any(
            not torch.equal(a, b) for a, b in zip(before, other.discriminator.parameters(), strict=True)
        )
        assert moved == (step >= 2)


def test_it_learns_to_tell_smooth_from_rough() -> None:
    other = adversary()
    for step in range(30):
        images = pictures(step)
        smooth = nn.functional.avg_pool2d(images, 3, stride=1, padding=1).requires_grad_()
        other.loss(images, smooth, smooth.square().sum(), smooth)
        other.learn()
    images = pictures(1000)
    smooth = nn.functional.avg_pool2d(images, 3, stride=1, padding=1)
    real, fake = (other.discriminator(batch).mean(dim=(1, 2, 3)) for batch in (images, smooth))
    assert real.min() > fake.max()
