"""LlamaGen's tokenizer: a residual autoencoder with one code a cell from an L2-normalised codebook.

Names and shapes of the weights are those of FoundationVision/LlamaGen (ce98ec4),
``tokenizer/tokenizer_image/vq_model.py``; its VQ-16 is base_channels 128, channel_multipliers
1, 1, 2, 2, 4, z_channels 256 and a codebook of 16384 x 8. Official files hold one tensor that is not
here: ``quantize.codebook_used`` (65536), a ring buffer of recent codes for their training log. Their
entropy loss, by default unused, is not here either; the other losses are those of stage ``tokenizer``.
"""

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from cca.tokenizers import Tokenizer
from cca.tokenizers._blocks import ConvArchitecture, Decoder, Encoder, Layout, check_images
from cca.tokenizers._codebook import check_codes, draw_vectors, nearest

LAYOUT = Layout(
    down="conv_blocks",
    up="conv_blocks",
    up_finest_first=False,
    blocks="res",
    middle=("0", "1", "2"),
    joint_qkv=False,
)


class Architecture(ConvArchitecture):
    """Sizes of the autoencoder and its codebook."""

    codebook_size: int = Field(ge=2)
    codebook_dim: int = Field(ge=2)
    commitment: float = Field(default=0.25, ge=0, description="weight of the commitment loss")


class Quantizer(nn.Module):
    """Replaces vectors by the nearest entry of a codebook, both at unit length (L2-normalised)."""

    def __init__(self, size: int, dim: int, commitment: float):
        super().__init__()
        self.commitment = commitment
        self.embedding = nn.Embedding(size, dim)
        with torch.no_grad():
            self.embedding.weight.copy_(F.normalize(self.embedding.weight.uniform_(-1, 1), dim=1))

    def entries(self) -> Tensor:
        """The codebook at unit length: (V, D)."""
        return F.normalize(self.embedding.weight, dim=1)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Quantise unit vectors, with the gradient of the result passed on to ``z`` unchanged.

        The loss is that of VQ-VAE (van den Oord et al. 2017, eq. 3), each term a mean over numbers:
        mean (e - sg[z])² + commitment mean (sg[e] - z)².

        Args:
            z: (N, D) of unit length.

        Returns:
            Quantised vectors (N, D), the scalar loss, and the codes (N,).
        """
        codebook = self.entries()
        codes = nearest(z, codebook)
        entries = F.embedding(codes, codebook)
        loss = F.mse_loss(entries, z.detach()) + self.commitment * F.mse_loss(z, entries.detach())
        return z + (entries - z).detach(), loss, codes


class Model(Tokenizer):
    """The autoencoder; its codes are a (side, side) map in raster order, side = image_size / reduction."""

    def __init__(self, architecture: Architecture):
        super().__init__()
        self.architecture = architecture
        self.image_size, self.channels = architecture.image_size, architecture.channels
        self.side = architecture.side
        self.num_tokens, self.vocab_size = self.side**2, architecture.codebook_size
        self.encoder = Encoder(architecture, LAYOUT)
        self.decoder = Decoder(architecture, LAYOUT)
        self.quantize = Quantizer(
            architecture.codebook_size, architecture.codebook_dim, architecture.commitment
        )
        self.quant_conv = nn.Conv2d(architecture.z_channels, architecture.codebook_dim, 1)
        self.post_quant_conv = nn.Conv2d(architecture.codebook_dim, architecture.z_channels, 1)

    def encode(self, images: Tensor) -> Tensor:
        """Codes of images, as `Tokenizer.encode`.

        Raises:
            CCAError: images of another size or number of channels.
        """
        return nearest(self._project(images), self.quantize.entries()).view(len(images), -1)

    def decode(self, codes: Tensor) -> Tensor:
        """Images of codes, as `Tokenizer.decode`.

        Raises:
            CCAError: codes of another length, out of range, or not integers.
        """
        check_codes(codes, self.num_tokens, self.vocab_size)
        return self._reconstruct(F.embedding(codes, self.quantize.entries()))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """One training pass, as `Tokenizer.forward`.

        Raises:
            CCAError: images of another size or number of channels.
        """
        quantised, loss, codes = self.quantize(self._project(images))
        shape = len(images), self.num_tokens
        return self._reconstruct(quantised.view(*shape, -1)), loss, codes.view(shape)

    @property
    def last_layer(self) -> Tensor:
        """The decoder's last weights, as `Tokenizer.last_layer`."""
        return self.decoder.conv_out.weight

    @torch.no_grad()
    def revive(self, images: Tensor, unused: np.ndarray, rng: np.random.Generator) -> None:
        """Move entries, as `Tokenizer.revive`; the others keep their bits."""
        moved = draw_vectors(self._project(images), len(unused), rng)
        rows = torch.from_numpy(unused).to(moved.device)
        self.quantize.embedding.weight[rows] = moved

    def _project(self, images: Tensor) -> Tensor:
        """Unit vectors of the cells, (B * T, D) float32."""
        check_images(images, self.architecture)
        z = self.quant_conv(self.encoder(images)).float()
        return F.normalize(z.permute(0, 2, 3, 1).flatten(0, 2), dim=1)

    def _reconstruct(self, vectors: Tensor) -> Tensor:
        """Vectors (B, T, D) of the cells to images."""
        z = vectors.transpose(1, 2).unflatten(2, (self.side, self.side))
        return self.decoder(self.post_quant_conv(z))
