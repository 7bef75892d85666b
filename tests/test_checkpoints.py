"""Checkpoints come back as what they were; what does not fit is one line."""

import json
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from cca import checkpoints, models, tokenizers
from cca.errors import CCAError
from cca.models import llamagen, var


def test_a_model_comes_back_with_its_weights_and_in_eval_mode(world, tmp_path: Path) -> None:
    tokenizer = tokenizers.load(world.tokenizer)
    model = models.load(world.model, tokenizer)
    assert not model.training and not tokenizer.training
    assert (model.num_classes, model.num_tokens, model.vocab_size) == (3, 16, 12)
    state, metadata = checkpoints.read(world.model)
    assert all((model.state_dict()[name] == tensor).all() for name, tensor in state.items())
    assert metadata["family"] == "llamagen"
    assert metadata["parameters"] == sum(p.numel() for p in model.parameters())


def test_metadata_is_read_without_the_tensors(world, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = checkpoints.read(world.model)[1]
    monkeypatch.setattr(checkpoints, "read", None)
    assert checkpoints.metadata(world.model) == wanted
    with pytest.raises(CCAError, match="damaged or not a safetensors file"):
        checkpoints.metadata(world.codes)


def test_identity_is_that_of_names_types_shapes_and_values() -> None:
    module = nn.Linear(4, 2)
    identities = {checkpoints.identity(module)}
    for changed in (nn.Linear(2, 4), nn.ModuleList([module]), module.double()):
        identities.add(checkpoints.identity(changed))
    assert len(identities) == 4
    before = checkpoints.identity(module.train())
    assert checkpoints.identity(module.eval()) == before
    with torch.no_grad():
        module.bias[1] += 1e-9
    assert checkpoints.identity(module) != before


def test_a_model_is_not_given_the_codes_of_another_tokenizer(world) -> None:
    tokenizer = tokenizers.load(world.tokenizer)
    with torch.no_grad():
        next(tokenizer.parameters()).flatten()[0] += 0.1  # the same shapes, other codes
    with pytest.raises(CCAError, match="a model of another tokenizer's codes") as error:
        models.load(world.model, tokenizer)
    assert "\n" not in str(error.value)


def test_architectures_are_written_with_their_defaults(world) -> None:
    assert checkpoints.metadata(world.model)["architecture"]["rope_base"] == 10000.0
    assert checkpoints.metadata(world.tokenizer)["architecture"]["commitment"] == 0.25


def damaged(path: Path, data: bytes) -> None:
    path.write_bytes(data[: len(data) // 2])


def foreign(path: Path, data: bytes) -> None:
    path.write_bytes(b"PK\x03\x04" + b"0" * 100)


@pytest.mark.parametrize("spoil", [damaged, foreign])
def test_damaged_files_are_one_line(world, tmp_path: Path, spoil: object) -> None:
    path = tmp_path / "model.safetensors"
    spoil(path, world.model.read_bytes())
    with pytest.raises(CCAError, match="damaged or not a safetensors file") as error:
        checkpoints.read(path)
    assert "\n" not in str(error.value)


def test_missing_and_undescribed_files(tmp_path: Path) -> None:
    with pytest.raises(CCAError, match="no such file"):
        checkpoints.read(tmp_path / "model.safetensors")
    from safetensors.torch import save_file

    save_file({"w": torch.zeros(1)}, tmp_path / "bare.safetensors")
    with pytest.raises(CCAError, match="no description of the module"):
        checkpoints.read(tmp_path / "bare.safetensors")


def test_a_tokenizer_is_not_a_model(world) -> None:
    tokenizer = tokenizers.load(world.tokenizer)
    with pytest.raises(CCAError, match="its header has no 'family'"):
        models.load(world.tokenizer, tokenizer)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("bias"), "'bias' is missing"),
        (lambda state: state.update(extra=torch.zeros(1)), "'extra' is not a key of the model"),
        (lambda state: state.update(bias=torch.zeros(3)), r"'bias' has shape \(3,\), not \(2,\)"),
        (
            lambda state: state.update(bias=torch.zeros(3), weight=torch.zeros(1)),
            r"'weight' has shape .* \(and 1 more\)",
        ),
    ],
)
def test_keys_and_shapes_that_do_not_fit_are_named(change: object, message: str) -> None:
    module = nn.Linear(4, 2)
    state = dict(module.state_dict())
    change(state)
    with pytest.raises(CCAError, match=message):
        checkpoints.fill(module, state, Path("x.safetensors"))


def test_interrupted_saving_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.safetensors"
    checkpoints.save(path, nn.Linear(2, 2), {"a": 1})
    before = path.read_bytes()

    def half(state: dict, file: Path, metadata: dict) -> None:
        Path(file).write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoints, "save_file", half)
    with pytest.raises(KeyboardInterrupt):
        checkpoints.save(path, nn.Linear(2, 2), {})
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"dim": 2**20}, "no tensor has the shape"),
        ({"layers": 10**12}, "has many more than its"),
        ({"dim": 10**40}, "its header describes no module"),
        ({"layers": 3}, "does not fit the model: 'layers.2"),
    ],
)
def test_a_header_cannot_ask_for_more_than_the_file_holds(
    world, tmp_path: Path, sizes: dict, message: str
) -> None:
    """Sizes that would take minutes and terabytes, were the module built before it is looked at."""
    state, metadata = checkpoints.read(world.model)
    metadata["architecture"] |= sizes
    path = tmp_path / "m.safetensors"
    save_file(state, path, metadata={"cca": json.dumps(metadata)})
    with pytest.raises(CCAError, match=message) as error:
        models.load(path, tokenizers.load(world.tokenizer))
    assert str(error.value).startswith(f"{path}: ") and "\n" not in str(error.value)


def test_nor_does_a_tokenizers_header_of_what_a_model_computes(
    world, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The number of codes follows from the images' size, and no weight of LlamaGen is as long."""
    state, metadata = checkpoints.read(world.tokenizer)
    metadata["architecture"]["image_size"] = 2048
    path = tmp_path / "t.safetensors"
    save_file(state, path, metadata={"cca": json.dumps(metadata)})
    monkeypatch.setattr(checkpoints, "LARGEST_TABLE", 0)
    models.load(world.model, tokenizers.load(world.tokenizer))
    monkeypatch.setattr(llamagen, "rotation_table", None)  # would take the memory
    with pytest.raises(CCAError, match=r"'table' has the shape .*, more numbers than the file") as error:
        models.load(world.model, tokenizers.load(path))
    assert str(error.value).startswith(f"{world.model}: ") and "\n" not in str(error.value)


def test_nor_do_the_scales_of_a_small_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """VAR's mask has as many numbers as there are pairs of codes, whose positions alone are in the file."""
    sizes = {"image_size": 8, "channels": 1, "base_channels": 4, "blocks": 1, "norm_groups": 2}
    sizes |= {"channel_multipliers": [1, 1], "z_channels": 4, "codebook_size": 12, "patch_sizes": [1, 2, 4]}
    tokenizer = tokenizers.build("multiscale", sizes)
    model = models.build("var", {"depth": 1, "dim": 2, "heads": 1}, tokenizer, num_classes=3)
    assert set(checkpoints.shapes(model.state_dict()).values()) >= {(1, 21), (1, 1, 21, 21)}
    state = model.state_dict() | {"pos_1LC": torch.zeros(1, 21 + 10**4, 2)}
    tokenizer.num_tokens = 21 + 10**4
    monkeypatch.setattr(var, "level_buffers", None)  # would take the memory
    with pytest.raises(CCAError, match=r"'attn_bias_for_masking' has .*, more numbers than the file"):
        checkpoints.built(lambda: var.Model(model.architecture, tokenizer, 3), state, tmp_path / "m")


@pytest.mark.parametrize("header", ["[1]", "{", "[" * 10_000])
def test_a_header_that_describes_nothing_is_one_line(tmp_path: Path, header: str) -> None:
    save_file({"a": torch.ones(1)}, tmp_path / "m.safetensors", metadata={"cca": header})
    with pytest.raises(CCAError, match=r"m.safetensors: damaged: the file's header describes no module"):
        checkpoints.read(tmp_path / "m.safetensors")


def test_a_torch_file_of_another_checksum_or_compressed_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save({"a": torch.arange(1000)}, path)
    assert torch.equal(checkpoints.read_torch(path)["a"], torch.arange(1000))
    content = bytearray(path.read_bytes())
    content[content.index(torch.arange(500, 510).numpy().tobytes())] ^= 1
    path.write_bytes(content)
    with pytest.raises(CCAError, match=r"w.pth: damaged: the checksum of '.*data/0' is another"):
        checkpoints.read_torch(path)
    torch.save({"a": torch.zeros(10**6)}, path)
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(tmp_path / "b.pth", "w", zipfile.ZIP_DEFLATED) as new:
        for info in old.infolist():
            new.writestr(info.filename, old.read(info))
    with pytest.raises(CCAError, match=r"b.pth: compressed, as torch.save never does"):
        checkpoints.read_torch(tmp_path / "b.pth")


def test_a_checkpoint_may_be_read_by_whoever_may_read_other_files(tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    checkpoints.save(tmp_path / "model.safetensors", nn.Linear(2, 2), {})
    assert (tmp_path / "model.safetensors").stat().st_mode == (tmp_path / "other").stat().st_mode
