"""Make ``var.npz``, ``multiscale.npz``, ``random_crop.npz`` and half of ``keys.json`` with the official code.

Needs checkouts of FoundationVision/VAR at 78b9539 and of thu-ml/CCA at 7d5a073:

    PYTHONPATH=VAR python tests/golden/make_var.py CCA
"""

import sys
from functools import partial
from pathlib import Path

import numpy as np
import torch
from conftest import (
    CLASSES,
    LABELS,
    VAE,
    VAR,
    codes,
    fill,
    meta,
    photograph,
    picture,
    write_keys,
)
from models import var as official
from models.vqvae import VQVAE
from official_losses import loss_arrays
from PIL import Image
from torchvision.transforms import InterpolationMode, transforms

HERE = Path(__file__).parent


def tokenizer() -> VQVAE:
    """The official tokenizer."""
    return fill(VQVAE(vocab_size=VAE["codebook_size"], z_channels=VAE["z_channels"], ch=VAE["base_channels"]))


def transformer(vae: VQVAE, salt: str = "") -> official.VAR:
    """The official model, without stochastic depth."""
    sizes = {"depth": VAR["depth"], "embed_dim": VAR["dim"], "num_heads": VAR["heads"]}
    return fill(official.VAR(vae, num_classes=CLASSES, **sizes, cond_drop_rate=0, attn_l2_norm=True), salt)


def log_probs(model: official.VAR, vae: VQVAE, tokens: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Per token, teacher-forced."""
    scales = tokens.split([size**2 for size in model.patch_nums], dim=1)
    logits = model(labels, vae.quantize.idxBl_to_var_input(scales))
    return torch.gather(logits.log_softmax(-1), dim=2, index=tokens.unsqueeze(2)).squeeze(2)


def model_arrays(cca: Path) -> dict[str, np.ndarray]:
    """Log-likelihoods, greedy codes, and every objective's loss and gradients."""
    vae = tokenizer()
    tokens = codes("var", 4, 680, VAE["codebook_size"])
    labels, model = torch.tensor(LABELS), transformer(vae)

    def likelihoods(model: official.VAR, labels: torch.Tensor) -> torch.Tensor:
        return log_probs(model, vae, tokens.repeat(2, 1), labels).sum(-1)

    with torch.no_grad():
        arrays = {"log_probs": log_probs(model, vae, tokens, labels).numpy()}
    arrays |= loss_arrays(cca / "VAR_CCA_trainer.py", partial(transformer, vae), likelihoods)
    draw = official.sample_with_top_k_top_p_
    for scale in (0.0, 1.5):
        drawn, margins = [], []

        def noted(
            logits: torch.Tensor, drawn: list = drawn, margins: list = margins, **options: object
        ) -> torch.Tensor:
            margins.append(logits.topk(2, dim=-1)[0].diff(dim=-1).abs().min().item())
            drawn.append(draw(logits, **options))
            return drawn[-1]

        official.sample_with_top_k_top_p_ = noted
        image = model.autoregressive_infer_cfg(B=2, label_B=labels[:2], cfg=scale, top_k=1)
        print(f"s={scale:g}: smallest margin of the greedy choices", min(margins))
        arrays[f"greedy_s={scale:g}"] = torch.cat(drawn, dim=1)[:, :, 0].numpy().astype(np.uint8)
        arrays[f"pixels_s={scale:g}"] = (
            image.permute(0, 2, 3, 1).mul_(255).cpu().numpy().astype(np.uint8)[:, ::11, ::11]
        )
    return arrays


def tokenizer_arrays() -> dict[str, np.ndarray]:
    """Codes of an image, and pixels of the decoded codes."""
    vae = tokenizer()
    with torch.no_grad():
        indices = vae.img_to_idxBl(picture(VAE["image_size"]))
        decoded = vae.idxBl_to_img(indices, same_shape=True, last_one=True)
    found = torch.cat(indices, dim=1)
    print("codes", len(found.unique()))
    return {"codes": found.numpy().astype(np.uint8), "decoded": decoded[0, :, ::13, ::13].numpy()}


def crop_arrays() -> dict[str, np.ndarray]:
    """Every 11th pixel of the image that crops are cut from: the shorter side of 288."""
    resize = transforms.Resize(round(1.125 * 256), interpolation=InterpolationMode.LANCZOS)
    sizes = ((260, 333), (900, 801))
    return {
        f"{height}x{width}": np.asarray(resize(Image.fromarray(photograph(height, width))))[::11, ::11]
        for height, width in sizes
    }


def networks() -> dict[str, torch.nn.Module]:
    """Every official size at 256 pixels, and the tokenizer."""
    with meta():
        vae = VQVAE(vocab_size=4096, z_channels=32, ch=160)
        sizes = {f"VAR-d{depth}": depth for depth in (16, 20, 24, 30)}
        models = {
            name: official.VAR(vae, depth=depth, embed_dim=64 * depth, num_heads=depth, attn_l2_norm=True)
            for name, depth in sizes.items()
        }
        return models | {"vae_ch160v4096z32": vae}


if __name__ == "__main__":
    write_keys(networks())
    np.savez_compressed(HERE / "var.npz", **model_arrays(Path(sys.argv[1])))
    np.savez_compressed(HERE / "multiscale.npz", **tokenizer_arrays())
    np.savez_compressed(HERE / "random_crop.npz", **crop_arrays())
