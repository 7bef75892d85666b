"""The losses of the official finetuning scripts, by the very lines that compute them there."""

import ast
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
import torch.nn.functional as F
from conftest import BETA, CLASSES, LABELS, LAM, NEGATIVES, OBJECTIVES, gradients
from torch import Tensor, nn

FIRST = ".loss_type == 'CCA'"
"""How the condition of the branches by objective begins, in either script."""
KINDS = {"cca": "CCA", "dpo": "DPO", "unlearn": "unlearning"}


def loss_arrays(
    script: Path, model: Callable[[str], nn.Module], likelihoods: Callable[[nn.Module, Tensor], Tensor]
) -> dict[str, np.ndarray]:
    """Every objective's loss and gradients, as ``script`` has it.

    Args:
        script: LlamaGen's or VAR's, which call the same things by other names.
        model: makes the network whose weights are salted by its argument.
        likelihoods: of the four images, twice, with eight labels: their logarithms by a network.
    """
    statements = (node for node in ast.walk(ast.parse(script.read_text())) if isinstance(node, ast.If))
    branches = next((node for node in statements if ast.unparse(node.test).endswith(FIRST)), None)
    if branches is None:
        raise SystemExit(f"{script}: no branches of the losses as at 7d5a073; check that commit out")
    labels, negatives = torch.tensor(LABELS), torch.tensor(NEGATIVES)
    sides = torch.cat([labels, negatives])
    with torch.no_grad():
        frozen = likelihoods(model("reference "), sides)
    arrays = {}
    for objective in OBJECTIVES:
        policy = model("")
        gaps = likelihoods(policy, sides) - frozen
        given = SimpleNamespace(loss_type=KINDS[objective], beta=BETA, lambda_=LAM, uncond_ratio=0.1)
        names = {
            **dict.fromkeys(("args", "self"), given),
            **dict.fromkeys(("c_indices", "label_B"), labels),
            **dict.fromkeys(("shuffled_c_indices", "shuffle_label_B"), negatives),
            "img_logp_gap": gaps[:4],
            "negative_img_logp_gap": gaps[4:],
            "TBM": labels == CLASSES,
            "torch": torch,
            "F": F,
        }
        exec(compile(ast.Module([branches], []), script, "exec"), names)
        names["loss"].backward()
        arrays[f"{objective}_loss"] = names["loss"].detach().numpy()
        arrays[f"{objective}_gradients"] = gradients(policy)
    return arrays
