"""Parts that the convolutional tokenizers share: residual encoder and decoder.

LlamaGen's VQ tokenizer (ce98ec4, ``tokenizer/tokenizer_image/vq_model.py``) and VAR's multi-scale one
(78b9539, ``models/basic_vae.py``) compute the same functions and differ in the names of their
weights only: a `Layout` says how a family names them.
"""

from itertools import pairwise
from typing import NamedTuple

import torch.nn.functional as F
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor, nn

from cca.errors import CCAError
from cca.settings import Settings


class ConvArchitecture(Settings):
    """Sizes of the residual encoder and decoder."""

    image_size: int = Field(ge=1, le=2048, description="pixels a side; images are square")
    channels: int = Field(ge=1, description="of the images: 1 or 3")
    base_channels: int = Field(default=128, ge=1)
    channel_multipliers: tuple[PositiveInt, ...] = Field(
        min_length=1, description="of base_channels, finest level first; each further level halves the sides"
    )
    blocks: int = Field(default=2, ge=1, description="residual blocks a level; the decoder has one more")
    z_channels: int = Field(ge=1, description="channels of the encoder's output")
    norm_groups: int = Field(default=32, ge=1, description="groups of the group normalisations")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="inside residual blocks, in training")

    @model_validator(mode="after")
    def _sizes_divide(self) -> "ConvArchitecture":
        if self.image_size % self.reduction:
            raise ValueError(
                f"image_size {self.image_size} is not divisible by {self.reduction}, the reduction of "
                f"{len(self.channel_multipliers)} levels"
            )
        for width in [self.base_channels, *self.widths]:
            if width % self.norm_groups:
                raise ValueError(
                    f"a level of {width} channels is not divisible by norm_groups {self.norm_groups}"
                )
        return self

    @property
    def widths(self) -> list[int]:
        """Channels of each level, finest first."""
        return [self.base_channels * multiplier for multiplier in self.channel_multipliers]

    @property
    def reduction(self) -> int:
        """Pixels of a side over cells of a side."""
        return 2 ** (len(self.channel_multipliers) - 1)

    @property
    def side(self) -> int:
        """Cells of a side of the encoder's output."""
        return self.image_size // self.reduction


class Layout(NamedTuple):
    """What a family calls the parts in its state dicts, and how it orders and stores them."""

    down: str
    """The encoder's list of levels, finest first."""
    up: str
    """The decoder's list of levels."""
    up_finest_first: bool
    """Whether the decoder's levels are numbered from the finest (else in the order they run)."""
    blocks: str
    """The list of residual blocks of a level."""
    middle: tuple[str, str, str]
    """The residual, attention and residual block at the lowest resolution."""
    joint_qkv: bool
    """Whether query, key and value are one convolution ``qkv`` (else ``q``, ``k``, ``v``)."""


def group_norm(channels: int, groups: int) -> nn.GroupNorm:
    """Group normalisation with the official epsilon."""
    return nn.GroupNorm(groups, channels, eps=1e-6)


class ResnetBlock(nn.Module):
    """Twice normalisation, SiLU, 3 x 3 convolution; a 1 x 1 shortcut where the width changes."""

    def __init__(self, inputs: int, outputs: int, groups: int, dropout: float):
        super().__init__()
        self.norm1 = group_norm(inputs, groups)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm2 = group_norm(outputs, groups)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        if inputs != outputs:
            self.nin_shortcut = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H, W)."""
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(self.dropout(F.silu(self.norm2(h))))
        return h + (self.nin_shortcut(x) if hasattr(self, "nin_shortcut") else x)


class AttentionBlock(nn.Module):
    """Residual self-attention of one head over all positions, scaled by channels^-0.5."""

    def __init__(self, channels: int, groups: int, joint_qkv: bool):
        super().__init__()
        self.norm = group_norm(channels, groups)
        if joint_qkv:
            self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        else:
            self.q, self.k, self.v = (nn.Conv2d(channels, channels, 1) for _ in range(3))
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) to the same."""
        h = self.norm(x)
        qkv = self.qkv(h).chunk(3, dim=1) if hasattr(self, "qkv") else (self.q(h), self.k(h), self.v(h))
        q, k, v = (part.flatten(2).transpose(1, 2).unsqueeze(1) for part in qkv)  # (B, 1, HW, C)
        attended = F.scaled_dot_product_attention(q, k, v).squeeze(1)
        return x + self.proj_out(attended.transpose(1, 2).reshape(x.shape))


class Upsample(nn.Module):
    """Each pixel repeated 2 x 2, then a 3 x 3 convolution."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, 2H, 2W)."""
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class Downsample(nn.Module):
    """3 x 3 convolution of stride 2, padded by one row below and one column on the right only."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, H/2, W/2)."""
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Level(nn.Module):
    """Residual blocks at one resolution, each followed by attention where wanted, then resampling."""

    def __init__(
        self,
        settings: ConvArchitecture,
        layout: Layout,
        widths: list[int],
        attention: bool,
        **resampling: nn.Module,
    ):
        super().__init__()
        groups, dropout = settings.norm_groups, settings.dropout
        blocks = [ResnetBlock(*pair, groups, dropout) for pair in pairwise(widths)]
        attentions = [AttentionBlock(width, groups, layout.joint_qkv) for width in widths[1:] if attention]
        self.add_module(layout.blocks, nn.ModuleList(blocks))
        self.attn = nn.ModuleList(attentions)
        for name, module in resampling.items():
            self.add_module(name, module)

    def forward(self, x: Tensor) -> Tensor:
        """(B, widths[0], H, W) to (B, widths[-1], H', W')."""
        blocks, attentions, *resampling = self.children()
        assert isinstance(blocks, nn.ModuleList) and isinstance(attentions, nn.ModuleList)
        for i, block in enumerate(blocks):
            x = block(x)
            if attentions:
                x = attentions[i](x)
        return resampling[0](x) if resampling else x


def middle(settings: ConvArchitecture, layout: Layout) -> nn.Sequential:
    """The blocks at the lowest resolution: residual, attention, residual."""
    width, groups = settings.widths[-1], settings.norm_groups
    parts = (
        ResnetBlock(width, width, groups, settings.dropout),
        AttentionBlock(width, groups, layout.joint_qkv),
        ResnetBlock(width, width, groups, settings.dropout),
    )
    sequence = nn.Sequential()
    for name, part in zip(layout.middle, parts, strict=True):
        sequence.add_module(name, part)
    return sequence


class Encoder(nn.Module):
    """Images to a map of ``z_channels``, ``reduction`` times smaller; attention at its lowest resolution."""

    def __init__(self, settings: ConvArchitecture, layout: Layout):
        super().__init__()
        self.layout = layout
        self.conv_in = nn.Conv2d(settings.channels, settings.base_channels, 3, padding=1)
        levels, width = nn.ModuleList(), settings.base_channels
        for index, outputs in enumerate(settings.widths):
            coarsest = index == len(settings.widths) - 1
            resampling = {} if coarsest else {"downsample": Downsample(outputs)}
            widths = [width] + settings.blocks * [outputs]
            levels.append(Level(settings, layout, widths, coarsest, **resampling))
            width = outputs
        self.add_module(layout.down, levels)
        self.mid = middle(settings, layout)
        self.norm_out = group_norm(width, settings.norm_groups)
        self.conv_out = nn.Conv2d(width, settings.z_channels, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """(B, channels, image_size, image_size) to (B, z_channels, side, side)."""
        h = self.conv_in(images)
        for level in self.get_submodule(self.layout.down).children():
            h = level(h)
        return self.conv_out(F.silu(self.norm_out(self.mid(h))))


class Decoder(nn.Module):
    """The way back: a map of ``z_channels`` to images, with one residual block more a level."""

    def __init__(self, settings: ConvArchitecture, layout: Layout):
        super().__init__()
        self.layout = layout
        width = settings.widths[-1]
        self.conv_in = nn.Conv2d(settings.z_channels, width, 3, padding=1)
        self.mid = middle(settings, layout)
        levels = []  # in the order they run, coarsest first
        for index, outputs in reversed(list(enumerate(settings.widths))):
            coarsest = index == len(settings.widths) - 1
            resampling = {} if index == 0 else {"upsample": Upsample(outputs)}
            widths = [width] + (settings.blocks + 1) * [outputs]
            levels.append(Level(settings, layout, widths, coarsest, **resampling))
            width = outputs
        self.add_module(layout.up, nn.ModuleList(levels[::-1] if layout.up_finest_first else levels))
        self.norm_out = group_norm(width, settings.norm_groups)
        self.conv_out = nn.Conv2d(width, settings.channels, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        """(B, z_channels, side, side) to (B, channels, image_size, image_size)."""
        h = self.mid(self.conv_in(z))
        levels = list(self.get_submodule(self.layout.up).children())
        for level in levels[::-1] if self.layout.up_finest_first else levels:
            h = level(h)
        return self.conv_out(F.silu(self.norm_out(h)))


def check_images(images: Tensor, settings: ConvArchitecture) -> None:
    """Raise a `CCAError` unless ``images`` are (B, channels, image_size, image_size)."""
    wanted = (settings.channels, settings.image_size, settings.image_size)
    if images.dim() != 4 or tuple(images.shape[1:]) != wanted:
        raise CCAError(
            f"tokenizer: images of shape {tuple(images.shape)} where (B, {', '.join(map(str, wanted))}) "
            "is wanted"
        )
