"""VAR's tokenizer: an image as the sum of coarse to fine code maps from one shared codebook.

Names and shapes of the weights are those of FoundationVision/VAR (78b9539), ``models/vqvae.py``,
``quant.py`` and ``basic_vae.py``; its ``vae_ch160v4096z32.pth`` is base_channels 160,
channel_multipliers 1, 1, 2, 2, 4 and the defaults below. Official files hold one tensor that is not
here: ``quantize.ema_vocab_hit_SV``, running counts of code use for their training log. The losses
beside the quantiser's are those of stage ``tokenizer``. Shapes below: B images, K scales of p x p
codes each, L codes of all scales, Z channels of the latent map of side S, V codes in the codebook.
"""

from collections.abc import Iterator
from functools import reduce
from itertools import accumulate, pairwise

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor, nn

from cca.device import full_precision
from cca.tokenizers import Tokenizer
from cca.tokenizers._blocks import ConvArchitecture, Decoder, Encoder, Layout, check_images
from cca.tokenizers._codebook import check_codes, draw_vectors, nearest

LAYOUT = Layout(
    down="down",
    up="up",
    up_finest_first=True,
    blocks="block",
    middle=("block_1", "attn_1", "block_2"),
    joint_qkv=True,
)


class Architecture(ConvArchitecture):
    """Sizes of the autoencoder, its codebook and its scales."""

    z_channels: int = Field(default=32, ge=1, description="channels of the latent map and of the codebook")
    codebook_size: int = Field(default=4096, ge=2)
    patch_sizes: tuple[PositiveInt, ...] = Field(
        default=(1, 2, 3, 4, 5, 6, 8, 10, 13, 16), min_length=1, description="side of each scale's code map"
    )
    phis: int = Field(default=4, ge=1, description="convolutions after upsampling, shared among the scales")
    phi_ratio: float = Field(default=0.5, ge=0, le=1, description="weight of that convolution; 1 - it skips")
    commitment: float = Field(default=0.25, ge=0, description="weight of the commitment loss")

    @model_validator(mode="after")
    def _scales_fit(self) -> "Architecture":
        if any(coarse >= fine for coarse, fine in pairwise(self.patch_sizes)):
            raise ValueError(f"patch_sizes {self.patch_sizes} do not increase")
        if self.patch_sizes[-1] != self.side:
            raise ValueError(
                f"the last of patch_sizes is {self.patch_sizes[-1]}, not the latent map's side "
                f"{self.side} = image_size {self.image_size} / {self.reduction}"
            )
        return self


class Phi(nn.Conv2d):
    """``(1 - ratio) x + ratio conv(x)``, a 3 x 3 convolution; in float32 under autocast too."""

    def __init__(self, channels: int, ratio: float):
        super().__init__(channels, channels, 3, padding=1)
        self.ratio = ratio

    def forward(self, x: Tensor) -> Tensor:
        """(B, Z, S, S) to the same."""
        with full_precision(x):
            return (1 - self.ratio) * x + self.ratio * super().forward(x)


def phi_of_scales(scales: int, phis: int) -> list[int]:
    """Which of the ``phis`` each scale uses: the one whose tick is nearest to k / (K - 1).

    Ticks are evenly spaced on [0, 1], from 1 / 2N to 1 - 1 / 2N; for N = 4 the official code takes 1 / 3N.
    """
    margin = 1 / (3 if phis == 4 else 2) / phis
    ticks = np.linspace(margin, 1 - margin, phis)
    return [int(np.abs(ticks - scale / max(scales - 1, 1)).argmin()) for scale in range(scales)]


class Quantizer(nn.Module):
    """Turns a latent map into code maps, coarse scale first, and back; all in float32.

    A scale's codes stand for the map ``phi(upsample(entries))``. Each scale quantises what the coarser
    ones left of the latent map, averaged over its cells.
    """

    def __init__(self, a: Architecture):
        super().__init__()
        self.patch_sizes, self.side = a.patch_sizes, a.side
        self.commitment = a.commitment
        self.embedding = nn.Embedding(a.codebook_size, a.z_channels)
        phis = nn.ModuleList(Phi(a.z_channels, a.phi_ratio) for _ in range(a.phis))
        self.quant_resi = nn.ModuleDict({"qresi_ls": phis})
        self.phi_of_scale = phi_of_scales(len(a.patch_sizes), a.phis)

    @property
    def spans(self) -> list[slice]:
        """Where each scale's codes are among all L, coarse scale first."""
        ends = accumulate((size**2 for size in self.patch_sizes), initial=0)
        return [slice(start, end) for start, end in pairwise(ends)]

    def pool(self, maps: Tensor, scale: int) -> Tensor:
        """Averages of maps (B, Z, S, S) over the cells of ``scale``: (B, p², Z)."""
        size = self.patch_sizes[scale]
        return F.interpolate(maps, size=(size, size), mode="area").flatten(2).transpose(1, 2)

    def spread(self, codes: Tensor, scale: int) -> Tensor:
        """The map (B, Z, S, S) that the codes (B, p²) of ``scale`` stand for."""
        size = self.patch_sizes[scale]
        entries = self.embedding(codes).transpose(1, 2).unflatten(2, (size, size))
        if size != self.side:
            entries = F.interpolate(entries, size=(self.side, self.side), mode="bicubic")
        phis = self.quant_resi["qresi_ls"]
        assert isinstance(phis, nn.ModuleList)
        return phis[self.phi_of_scale[scale]](entries)

    def lookup(self, vectors: Tensor) -> Tensor:
        """Codes (...) of the entries nearest to vectors (..., Z)."""
        return nearest(vectors.flatten(0, -2), self.embedding.weight).view(vectors.shape[:-1])

    def scales(self, latent: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Quantise a latent map (B, Z, S, S), scale by scale.

        Yields:
            The vectors (B, p², Z) that the scale quantises, their codes (B, p²), and the map
            (B, Z, S, S) that these stand for, with gradients to the codebook and the phis.
        """
        rest = latent.detach()
        for scale in range(len(self.patch_sizes)):
            vectors = self.pool(rest, scale)
            codes = self.lookup(vectors)
            part = self.spread(codes, scale)
            rest = rest - part.detach()
            yield vectors, codes, part

    def forward(self, latent: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Quantise a latent map, with the gradient of the result passed on to it unchanged.

        The loss is the mean over scales of ``mean (f_k - sg[f])² + commitment mean (sg[f_k] - f)²``
        with the latent map f and the sum f_k of the parts up to scale k.

        Returns:
            The quantised map (B, Z, S, S), the scalar loss, and the codes (B, L).
        """
        quantised, losses, codes = torch.zeros_like(latent), [], []
        for _, scale_codes, part in self.scales(latent):
            quantised = quantised + part
            codebook = F.mse_loss(quantised, latent.detach())
            losses.append(codebook + self.commitment * F.mse_loss(latent, quantised.detach()))
            codes.append(scale_codes)
        return latent + (quantised - latent).detach(), torch.stack(losses).mean(), torch.cat(codes, dim=1)

    def assemble(self, codes: Tensor) -> Tensor:
        """The map (B, Z, S, S) that codes (B, L) of all scales stand for."""
        parts = [self.spread(codes[:, span], scale) for scale, span in enumerate(self.spans)]
        return reduce(torch.add, parts)

    @torch.no_grad()
    def teacher_inputs(self, codes: Tensor) -> Tensor:
        """What VAR reads where it predicts each scale but the first, given codes (B, L): (B, L - p_0², Z).

        A scale's input is the sum of the parts of all coarser scales, pooled to its own cells. While
        sampling, the same comes scale by scale from ``spread`` and ``pool``.
        """
        inputs: list[Tensor] = []
        total: Tensor | float = 0.0
        for scale, span in enumerate(self.spans[:-1]):
            total = total + self.spread(codes[:, span], scale)
            inputs.append(self.pool(total, scale + 1))
        if not inputs:  # a single scale
            return self.embedding.weight.new_empty(len(codes), 0, self.embedding.embedding_dim)
        return torch.cat(inputs, dim=1)


class Model(Tokenizer):
    """The autoencoder; its codes are the maps of all scales, coarse first, each in raster order."""

    def __init__(self, architecture: Architecture):
        super().__init__()
        a = self.architecture = architecture
        self.image_size, self.channels = a.image_size, a.channels
        self.num_tokens = sum(size**2 for size in a.patch_sizes)
        self.vocab_size = a.codebook_size
        self.encoder, self.decoder = Encoder(a, LAYOUT), Decoder(a, LAYOUT)
        self.quantize = Quantizer(a)
        self.quant_conv = nn.Conv2d(a.z_channels, a.z_channels, 3, padding=1)
        self.post_quant_conv = nn.Conv2d(a.z_channels, a.z_channels, 3, padding=1)

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """Codes of images, as `Tokenizer.encode`.

        Raises:
            CCAError: images of another size or number of channels.
        """
        return torch.cat([codes for _, codes, _ in self.quantize.scales(self._latent(images))], dim=1)

    def decode(self, codes: Tensor) -> Tensor:
        """Images of codes, as `Tokenizer.decode`.

        Raises:
            CCAError: codes of another length, out of range, or not integers.
        """
        check_codes(codes, self.num_tokens, self.vocab_size)
        return self.decoder(self.post_quant_conv(self.quantize.assemble(codes)))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """One training pass, as `Tokenizer.forward`.

        Raises:
            CCAError: images of another size or number of channels.
        """
        quantised, loss, codes = self.quantize(self._latent(images))
        return self.decoder(self.post_quant_conv(quantised)), loss, codes

    @property
    def last_layer(self) -> Tensor:
        """The decoder's last weights, as `Tokenizer.last_layer`."""
        return self.decoder.conv_out.weight

    @torch.no_grad()
    def revive(self, images: Tensor, unused: np.ndarray, rng: np.random.Generator) -> None:
        """Move entries, as `Tokenizer.revive`, onto vectors that some scale quantises."""
        vectors = [v.flatten(0, 1) for v, _, _ in self.quantize.scales(self._latent(images))]
        moved = draw_vectors(torch.cat(vectors), len(unused), rng)
        self.quantize.embedding.weight[torch.from_numpy(unused).to(moved.device)] = moved

    def _latent(self, images: Tensor) -> Tensor:
        """The map (B, Z, S, S) float32 before quantisation."""
        check_images(images, self.architecture)
        return self.quant_conv(self.encoder(images)).float()
