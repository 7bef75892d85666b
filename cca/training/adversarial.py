"""Adversarial training of a tokenizer: a patch discriminator that learns to tell images from reconstructions.

As in LlamaGen's and VAR's recipes, which are VQGAN's (Esser et al. 2021): a PatchGAN (Isola et al. 2017),
hinge losses, and a weight that balances gradients at the decoder's last layer.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from cca.errors import CCAError
from cca.settings import Settings
from cca.training import Optimisation, adamw, check_finite, update


class AdversarialSettings(Settings):
    """The discriminator, when it comes in, and how much it counts."""

    weight: float = Field(default=0.5, gt=0, description="of the adversarial loss, after it is balanced")
    start: int = Field(ge=0, description="first step in which the discriminator takes part")
    channels: int = Field(default=64, ge=1, description="of its first layer, doubled by each further one")
    layers: int = Field(default=3, ge=1, description="its layers that halve the image")
    optimisation: Optimisation


class Discriminator(nn.Sequential):
    """Images to one logit a patch, positive for real ones; initialised as pix2pix's.

    Raises:
        CCAError: images too small for that many layers.
    """

    def __init__(self, image_size: int, image_channels: int, channels: int, layers: int):
        if image_size >> layers < 3:
            raise CCAError(f"adversarial: layers {layers} leave no patch of images of {image_size} px")
        widths = [image_channels, *(channels * min(2**layer, 8) for layer in range(layers + 1))]
        parts: list[nn.Module] = []
        for layer, (inputs, outputs) in enumerate(pairwise(widths)):
            first, stride = layer == 0, 2 if layer < layers else 1
            parts.append(nn.Conv2d(inputs, outputs, 4, stride, padding=1, bias=first))
            parts += [] if first else [nn.BatchNorm2d(outputs)]
            parts.append(nn.LeakyReLU(0.2))
        super().__init__(*parts, nn.Conv2d(widths[-1], 1, 4, padding=1))
        for module in self:
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, 0, 0.02)
            elif isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.weight, 1, 0.02)


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Hinge loss of logits of images and of reconstructions: the mean of the two sides."""
    return 0.5 * (F.relu(1 - real).mean() + F.relu(1 + fake).mean())


def generator_loss(fake: Tensor) -> Tensor:
    """What the tokenizer minimises of the logits of its reconstructions."""
    return -fake.mean()


def balance(reconstruction: Tensor, adversarial: Tensor, last_layer: Tensor) -> Tensor:
    """VQGAN's λ (Esser et al. 2021, eq. 7): |∇ reconstruction| / (|∇ adversarial| + 1e-4), at most 1e4.

    Both are gradients of a scalar loss with respect to the weights ``last_layer``.
    """
    wanted, given = (
        torch.autograd.grad(loss, last_layer, retain_graph=True)[0].norm()
        for loss in (reconstruction, adversarial)
    )
    return (wanted / (given + 1e-4)).clamp(0, 1e4).detach()


class Adversary:
    """The discriminator beside a tokenizer's training: asked in each step, updated after it."""

    def __init__(
        self,
        settings: AdversarialSettings,
        image_size: int,
        image_channels: int,
        *,
        steps: int,
        device: torch.device,
    ):
        self.settings, self.steps, self.step = settings, steps, 0
        network = Discriminator(image_size, image_channels, settings.channels, settings.layers)
        self.discriminator = network.to(device).train().requires_grad_(False)
        self.optimizer = adamw(self.discriminator, settings.optimisation)
        self._seen: tuple[Tensor, Tensor] | None = None
        self._loss = torch.tensor(torch.nan)

    def loss(
        self, images: Tensor, outputs: Tensor, reconstruction: Tensor, last_layer: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted loss of reconstructions ``outputs`` of ``images`` (B, C, H, W), 0 before the start.

        Returns:
            The loss to add to ``reconstruction``, and what is logged: ``adversarial`` and ``balance``, before
            they are multiplied, and the ``discriminator``'s own loss after the last step.
        """
        if self.step < self.settings.start:
            nothing = torch.full((), torch.nan)
            return outputs.new_zeros(()), dict.fromkeys(("adversarial", "balance", "discriminator"), nothing)
        self._seen = images, outputs.detach()
        adversarial = generator_loss(self.discriminator(outputs))
        weight = balance(reconstruction, adversarial, last_layer)
        logged = {"adversarial": adversarial, "balance": weight, "discriminator": self._loss}
        return self.settings.weight * weight * adversarial, logged

    def learn(self) -> None:
        """Update the discriminator on the images that `loss` was last given, and count the step.

        Raises:
            CCAError: its loss or its gradient became NaN or infinite.
        """
        if self._seen is not None:
            optimisation, start = self.settings.optimisation, self.settings.start
            self.discriminator.requires_grad_(True)
            self.optimizer.zero_grad(set_to_none=True)
            loss = discriminator_loss(*(self.discriminator(images) for images in self._seen))
            loss.backward()
            self._loss = loss.detach()
            check_finite(loss.item(), self.step, "discriminator")
            rate = optimisation.rate(self.step - start, self.steps - start)
            given = self.discriminator, self.optimizer, rate, optimisation.clip
            update(*given, step=self.step, what="discriminator")
            self.discriminator.requires_grad_(False)
        self.step += 1

    def state_dict(self) -> dict:
        """All that the next step depends on."""
        return {
            "discriminator": self.discriminator.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "loss": self._loss,
            "step": self.step,
        }

    def load_state_dict(self, state: dict) -> None:
        """Go on from there."""
        self.discriminator.load_state_dict(state["discriminator"])
        self.optimizer.load_state_dict(state["optimizer"])
        self._loss, self.step = state["loss"], state["step"]
