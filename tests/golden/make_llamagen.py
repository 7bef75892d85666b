"""Make ``llamagen.npz``, ``vq.npz``, ``ten_crops.npz`` and half of ``keys.json`` with the official code.

Needs checkouts of FoundationVision/LlamaGen at ce98ec4 and of thu-ml/CCA at 7d5a073:

    PYTHONPATH=LlamaGen python tests/golden/make_llamagen.py CCA
"""

import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from autoregressive.models import generate as official
from autoregressive.models import gpt
from conftest import (
    CLASSES,
    LABELS,
    LLAMAGEN,
    VQ,
    codes,
    fill,
    meta,
    photograph,
    picture,
    write_keys,
)
from dataset.augmentation import center_crop_arr
from official_losses import loss_arrays
from PIL import Image
from tokenizer.tokenizer_image import vq_model
from torchvision import transforms

HERE = Path(__file__).parent
SIDE = 24  # codes along a side at 384 pixels
torch.backends.cuda.sdp_kernel = lambda **_: nullcontext()  # newer torch has it no more


def transformer(salt: str = "") -> gpt.Transformer:
    """The official model, without any dropout."""
    none = {f"{part}_dropout_p": 0.0 for part in ("token", "attn", "resid", "ffn")}
    sizes = {"n_layer": LLAMAGEN["layers"], "n_head": LLAMAGEN["heads"], "dim": LLAMAGEN["dim"]}
    arguments = gpt.ModelArgs(
        **sizes, **none, vocab_size=VQ["codebook_size"], block_size=SIDE**2, num_classes=CLASSES
    )
    model = fill(gpt.Transformer(arguments), salt)
    model.cls_embedding.dropout_prob = 0
    return model


def log_probs(model: gpt.Transformer, tokens: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Per token, teacher-forced, which the official model does in training mode only."""
    logits, _ = model.train()(idx=tokens[:, :-1], cond_idx=labels, targets=tokens)
    return torch.gather(logits.log_softmax(-1), dim=2, index=tokens.unsqueeze(2)).squeeze(2)


def model_arrays(cca: Path) -> dict[str, np.ndarray]:
    """Log-likelihoods, greedy codes, and every objective's loss and gradients."""
    tokens = codes("llamagen", 4, SIDE**2, VQ["codebook_size"])
    labels, model = torch.tensor(LABELS), transformer()

    def likelihoods(model: gpt.Transformer, labels: torch.Tensor) -> torch.Tensor:
        return log_probs(model, tokens.repeat(2, 1), labels).sum(-1)

    arrays = {"log_probs": log_probs(model, tokens, labels).detach().numpy()}
    arrays |= loss_arrays(cca / "LlamaGen_finetune.py", transformer, likelihoods)
    for scale in (0.0, 1.0):
        drawn = official.generate(
            model.eval(),
            labels[:2],
            SIDE**2,
            cfg_scale=scale + 1,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            sample_logits=False,
        )
        arrays[f"greedy_s={scale:g}"] = drawn.numpy().astype(np.uint8)
    return arrays


def tokenizer_arrays() -> dict[str, np.ndarray]:
    """Codes of an image, and the decoded image before and after the sampling script's last lines."""
    config = vq_model.ModelArgs(VQ["codebook_size"], VQ["codebook_dim"], z_channels=VQ["z_channels"])
    model = vq_model.VQModel(config)
    sizes = {"ch": VQ["base_channels"], "ch_mult": VQ["channel_multipliers"], "z_channels": VQ["z_channels"]}
    model.encoder, model.decoder = vq_model.Encoder(**sizes), vq_model.Decoder(**sizes)
    fill(model)
    with torch.no_grad():
        _, _, (_, _, indices) = model.encode(picture(VQ["image_size"]))
        side = VQ["image_size"] // 16
        z = (
            F.normalize(model.quant_conv(model.encoder(picture(VQ["image_size"]))), dim=1)
            .permute(0, 2, 3, 1)
            .reshape(-1, 8)
        )
        distances = (
            torch.cdist(z, F.normalize(model.quantize.embedding.weight, dim=1)).square().sort(dim=1)[0]
        )
        print(
            "codes",
            len(indices.unique()),
            "smallest margin",
            (distances[:, 1] - distances[:, 0]).min().item(),
        )
        decoded = model.decode_code(indices, [1, VQ["codebook_dim"], side, side])
        resized = F.interpolate(decoded, size=(256, 256), mode="bicubic")
        pixels = (
            torch.clamp(127.5 * resized + 128.0, 0, 255)
            .permute(0, 2, 3, 1)
            .to("cpu", dtype=torch.uint8)
            .numpy()
        )
    return {
        "codes": indices.view(1, -1).numpy().astype(np.uint8),
        "decoded": decoded[0, :, ::13, ::13].numpy(),
        "pixels": pixels[0, ::5, ::5],
    }


def crop_arrays() -> dict[str, np.ndarray]:
    """Every 17th pixel of the ten crops of a wide and of a large, high image."""
    arrays = {}
    for height, width in ((260, 333), (900, 801)):
        cut = center_crop_arr(Image.fromarray(photograph(height, width)), int(384 * 1.1))
        ten = np.stack([np.asarray(crop) for crop in transforms.TenCrop(384)(cut)])
        arrays[f"{height}x{width}"] = ten[:, ::17, ::17]
    return arrays


def networks() -> dict[str, torch.nn.Module]:
    """Every official size at 384 pixels, and the tokenizer."""
    with meta():
        models = {
            f"LlamaGen-{size}": gpt.GPT_models[f"GPT-{size}"](vocab_size=16384, block_size=SIDE**2)
            for size in ("B", "L", "XL", "XXL", "3B")
        }
        return models | {"VQ-16": vq_model.VQ_models["VQ-16"]()}


if __name__ == "__main__":
    write_keys(networks())
    np.savez_compressed(HERE / "llamagen.npz", **model_arrays(Path(sys.argv[1])))
    np.savez_compressed(HERE / "vq.npz", **tokenizer_arrays())
    np.savez_compressed(HERE / "ten_crops.npz", **crop_arrays())
