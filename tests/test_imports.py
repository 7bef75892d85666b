"""Official files are read whatever wraps them; what is not the weights wanted is one line."""

import argparse
import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from cca import checkpoints, imports, models, plugins, tokenizers
from cca.cli import app
from cca.errors import CCAError

Write = Callable[..., Path]

VQ = {
    "image_size": 8,
    "channels": 3,
    "base_channels": 4,
    "channel_multipliers": [1, 2],
    "blocks": 1,
    "norm_groups": 2,
    "z_channels": 4,
    "codebook_size": 12,
    "codebook_dim": 4,
}
MULTISCALE = {key: value for key, value in VQ.items() if key != "codebook_dim"} | {"patch_sizes": [1, 2, 4]}
LLAMAGEN = {"dim": 16, "layers": 2, "heads": 2, "multiple_of": 16}
VAR = {"depth": 2, "dim": 16, "heads": 2}

SIZES = {"vq": VQ, "multiscale": MULTISCALE, "llamagen": LLAMAGEN, "var": VAR}
CODER = {"llamagen": "vq", "var": "multiscale"}


def network(family: str, **changes: object) -> nn.Module:
    """A network of ``family`` with random weights, of three classes if it is a model."""
    torch.manual_seed(0)
    if family not in CODER:
        return tokenizers.build(family, SIZES[family] | changes)
    return models.build(family, SIZES[family] | changes, network(CODER[family]), num_classes=3)


@pytest.fixture
def official(tmp_path: Path) -> Callable[..., Path]:
    """Writes a file of ``torch.save``."""

    def write(content: object, name: str = "official.pt") -> Path:
        torch.save(content, tmp_path / name)
        return tmp_path / name

    return write


EXTRA = {
    "llamagen": {"freqs_cis": torch.zeros(17, 4, 2)},
    "vq": {"quantize.codebook_used": torch.zeros(65536)},
    "multiscale": {"quantize.ema_vocab_hit_SV": torch.zeros(3, 12)},
    "var": {},
}


@pytest.mark.parametrize("extra", [False, True], ids=["", "with what only official files hold"])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"model": state, "steps": 5000, "args": argparse.Namespace(lr=1e-5)},
        lambda state: {"module": state},
        lambda state: {"state_dict": state},
        lambda state: {"ema": state, "optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}}},
        lambda state: {"epoch": 0, "iter": 1, "trainer": state, "args": {"depth": 2}},
        lambda state: {"model": {f"module._orig_mod.{name}": tensor for name, tensor in state.items()}},
    ],
    ids=["bare", "model", "module", "state_dict", "ema", "trainer", "prefixed"],
)
@pytest.mark.parametrize("family", SIZES)
def test_weights_are_found_whatever_wraps_them(family: str, wrap, extra: bool, official: Write) -> None:
    state = network(family).state_dict()
    path = official(wrap(state | EXTRA[family] if extra else state))
    read = imports.read(path, family, network(family).to("meta"))
    assert read.keys() == state.keys()
    assert all(torch.equal(read[name], tensor) for name, tensor in state.items())


def test_of_averaged_weights_and_those_sampled_officially_the_latter(official: Write) -> None:
    model = network("llamagen")
    averaged = {name: tensor + 1 for name, tensor in model.state_dict().items()}
    path = official({"ema": averaged, "discriminator": {"a": torch.ones(1)}, "model": model.state_dict()})
    assert torch.equal(imports.read(path, "llamagen", model)["norm.weight"], model.norm.weight)


def test_half_precision_and_files_of_before_zip_are_read(official: Write, tmp_path: Path) -> None:
    half = {name: tensor.half() for name, tensor in network("llamagen").state_dict().items()}
    torch.save(half, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    for path in (official(half), tmp_path / "old.pt"):
        read = imports.read(path, "llamagen", network("llamagen"))
        assert all(torch.equal(read[name], tensor.float()) for name, tensor in half.items())


def test_buffers_of_var_may_be_missing_but_not_others(official: Write) -> None:
    model = network("var")
    state = model.state_dict()
    kept = {name: tensor for name, tensor in state.items() if name in dict(model.named_parameters())}
    assert len(kept) == len(state) - 4
    read = imports.read(official(kept), "var", network("var").to("meta"))
    assert all(torch.equal(read[name], tensor) for name, tensor in state.items())
    finer = state["lvl_1L"].flip(1)
    with pytest.raises(CCAError, match="'lvl_1L' holds other numbers than those that the var's sizes give"):
        imports.read(official(state | {"lvl_1L": finer}), "var", model)


@pytest.mark.parametrize(
    ("family", "given", "message"),
    [
        (
            "llamagen",
            network("llamagen", layers=3),
            r"looks like a LlamaGen \(dim 16, 3 layers\), and differs .*"
            r"in 7 keys: 'layers.2.*' is not a key of the model; .*; and 4 more$",
        ),
        (
            "llamagen",
            network("llamagen", dim=32, heads=4),
            r"looks like a LlamaGen \(dim 32, 2 layers\), .*"
            r"'cls_embedding.embedding_table.weight' has shape \(4, 32\), not \(4, 16\)",
        ),
        (
            "llamagen",
            network("var"),
            r"looks like a VAR \(depth 2, dim 16\), .*'tok_embeddings.weight' is missing",
        ),
        (
            "var",
            network("llamagen"),
            r"looks like a LlamaGen \(dim 16, 2 layers\), and differs from the var wanted",
        ),
        (
            "vq",
            network("multiscale"),
            r"looks like a tokenizer of VAR's kind multiscale \(12 codes of 4 numbers\)",
        ),
        (
            "multiscale",
            network("vq"),
            r"looks like a tokenizer of LlamaGen's kind vq \(12 codes of 4 numbers\)",
        ),
        (
            "var",
            torch.nn.Linear(2, 2),
            r"looks like no official checkpoint \(its first keys are 'weight', 'bias'\)",
        ),
    ],
)
def test_what_differs_and_what_it_looks_like(family: str, given, message: str, official: Write) -> None:
    with pytest.raises(CCAError, match=message) as error:
        imports.read(official(given.state_dict()), family, network(family).to("meta"))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "size"), [("LlamaGen-B", "llamagen"), ("LlamaGen-3B", "llamagen"), ("VAR-d30", "var")]
)
def test_official_sizes_are_called_by_their_names(name: str, size: str) -> None:
    """An official file in the place of another is named; nothing of its size is in memory."""
    official = plugins.load("cca.imports", size)
    with torch.device("meta"):
        model = models.build(size, official.SIZES[name], network(CODER[size]), num_classes=1000)
    assert imports.describe(model.state_dict()).startswith(f"looks like {name} (")


def test_a_table_of_positions_tells_256_from_384_pixels(official: Write) -> None:
    state = network("llamagen").state_dict() | {"freqs_cis": torch.zeros(26, 4, 2)}
    with pytest.raises(CCAError, match=r"'freqs_cis' has shape \(26, 4, 2\), not \(17, 4, 2\)"):
        imports.read(official(state), "llamagen", network("llamagen"))


def test_numbers_that_are_not_finite(official: Write) -> None:
    state = network("vq").state_dict()
    state["decoder.conv_out.bias"][1] = torch.nan
    with pytest.raises(CCAError, match=r"'decoder.conv_out.bias' holds numbers that are not finite"):
        imports.read(official(state), "vq", network("vq"))


class Harmful:
    """Runs code where a pickle is trusted."""

    def __reduce__(self) -> tuple:
        return (Path.touch, (Path("harmed"),))


@pytest.mark.filterwarnings("error")
def test_no_code_in_a_file_is_run(official: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = official({"model": network("vq").state_dict(), "x": Harmful()})
    bare = tmp_path / "bare.pt"
    bare.write_bytes(pickle.dumps(Harmful()))
    for given in (path, bare):
        with pytest.raises(
            CCAError, match="not a plain PyTorch state dict \\(more than tensors and plain values"
        ):
            checkpoints.read_torch(given)
    assert not Path("harmed").exists()


def test_truncated_foreign_and_empty_files(official: Write, tmp_path: Path) -> None:
    whole = official(network("vq").state_dict()).read_bytes()
    for content, message in (
        (whole[: len(whole) // 2], "damaged, as half a download is; fetch it again$"),
        (whole[:-100], "damaged, as half a download is; fetch it again$"),
        (b"<html>not found</html>", "a web page, no weights; "),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a pointer of Git LFS in place of "),
        (b"", "empty; fetch it again$"),
        (b"weights", "damaged or not a plain PyTorch state dict "),
    ):
        path = tmp_path / "broken.pt"
        path.write_bytes(content)
        with pytest.raises(CCAError, match=rf"broken.pt: {message}") as error:
            checkpoints.read_torch(path)
        assert "\n" not in str(error.value)
    with pytest.raises(CCAError, match="no weights in it"):
        imports.read(official([1, 2]), "vq", network("vq"))


def test_both_stages_write_what_the_dag_reads(official: Write, tmp_path: Path) -> None:
    coder, out = tmp_path / "tokenizer.safetensors", tmp_path / "model.safetensors"
    vq, model = network("vq"), network("llamagen")

    def run(*command: str) -> None:
        app(["--threads", "1", "import", *command], standalone_mode=False, obj={"debug": False})

    settings = json.dumps({"kind": "vq", "architecture": SIZES["vq"]})
    file = official({"model": vq.state_dict()}, "vq.pt")
    run("tokenizer", "--settings", settings, "--checkpoint", str(file), "--out", str(coder))
    settings = json.dumps({"family": "llamagen", "architecture": SIZES["llamagen"], "num_classes": 3})
    file = official({"model": model.state_dict()}, "c2i.pt")
    command = [
        "model",
        "--settings",
        settings,
        "--checkpoint",
        str(file),
        "--tokenizer",
        str(coder),
        "--out",
        str(out),
    ]
    whole = file.read_bytes()
    file.write_bytes(whole[:-100])
    with pytest.raises(CCAError, match="half a download"):
        run(*command)
    file.write_bytes(whole)  # and what was damaged has not been taken for the file at its first use
    run(*command)
    loaded = models.load(out, tokenizers.load(coder))
    codes = torch.arange(16).view(1, 16) % 12
    assert torch.equal(
        loaded.log_prob(codes, torch.tensor([2])), model.eval().log_prob(codes, torch.tensor([2]))
    )

    official({"model": {name: tensor + 1 for name, tensor in model.state_dict().items()}}, "c2i.pt")
    with pytest.raises(CCAError, match=r"its SHA-256 is .*: damaged, or another file than at its first use"):
        run(*command)
    wrong = json.dumps(json.loads(settings) | {"sha256": "0" * 64})
    with pytest.raises(CCAError, match=r"another file than was wanted; .* correct the key 'sha256'"):
        run("model", "--settings", wrong, *command[3:])
