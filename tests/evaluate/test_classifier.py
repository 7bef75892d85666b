import numpy as np
import pytest
import torch

from cca import checkpoints
from cca.errors import CCAError
from cca.evaluate.classifier import (
    Classifier,
    ClassifierArchitecture,
    accuracy,
    fit_scales,
    load_classifier,
    to_input,
)
from cca.rng import generator, seed_torch


def grey(count: int) -> np.ndarray:
    return generator("grey").integers(256, size=(count, 8, 8, 1), dtype=np.uint8)


@pytest.fixture
def model(classifier_file) -> Classifier:
    return load_classifier(classifier_file)


def test_shapes_and_types(model):
    output = model(to_input(grey(7)))
    assert [tuple(part.shape) for part in output] == [(7, 5), (7, 2 * 2 * 3), (7, 4), (7, 4 * 4 * 3)]
    assert {part.dtype for part in output} == {torch.float32}
    assert (output.pool >= 0).all()


def test_grey_networks_see_the_mean_of_the_channels(model):
    images = torch.tensor([30, 60, 120], dtype=torch.uint8)[:, None, None].expand(3, 8, 8)[None]
    mean = torch.full((1, 3, 8, 8), 70, dtype=torch.uint8)
    torch.testing.assert_close(model(images).logits, model(mean).logits)
    assert not torch.allclose(model(images).logits, model(mean + 20).logits)


def test_colour_networks_tell_red_from_blue():
    seed_torch("colour")
    architecture = ClassifierArchitecture(
        widths=[4, 4], blocks=1, pool_size=1, features=3, spatial_channels=2
    )
    model = Classifier(architecture, image_size=16, channels=3, num_classes=2).eval()
    images = torch.zeros(1, 3, 16, 16, dtype=torch.uint8)
    images[:, 0] = 255
    assert not torch.allclose(model(images).logits, model(images.flip(1)).logits)


def test_spatial_features_are_flattened_height_width_channel(model):
    kept = []
    model.stages[1].register_forward_hook(lambda module, inputs, output: kept.append(output))
    spatial = model(to_input(grey(3))).spatial
    for h, w, c in [(0, 1, 0), (1, 0, 2), (1, 1, 1)]:
        torch.testing.assert_close(spatial[:, (2 * h + w) * 3 + c], kept[0][:, c, h, w] / model.spatial_scale)


def test_later_spatial_features_are_of_the_next_stage_and_after_the_last_one_of_the_first(model):
    kept = []
    model.stages[0].register_forward_hook(lambda module, inputs, output: kept.append(output))
    later = model(to_input(grey(3))).later_spatial
    for h, w, c in [(0, 3, 0), (2, 1, 2)]:
        torch.testing.assert_close(later[:, (4 * h + w) * 3 + c], kept[0][:, c, h, w] / model.spatial_scale)


def test_scales_give_unit_deviation_and_leave_logits_alone(model):
    images = grey(60)
    before = model(to_input(images)).logits
    for _ in range(2):  # fitting again changes nothing
        fit_scales(model, images, batch_size=17)
        output = model(to_input(images))
        assert output.pool.double().std(correction=0).item() == pytest.approx(1, rel=1e-5)
        assert output.spatial.double().std(correction=0).item() == pytest.approx(1, rel=1e-5)
        torch.testing.assert_close(output.logits, before)


def test_accuracy_counts_the_last_batch_as_well(model):
    images = grey(23)
    predicted = model(to_input(images)).logits.argmax(dim=1).numpy()
    labels = predicted.copy()
    labels[-3:] = (labels[-3:] + 1) % 4
    assert accuracy(model, images, labels, batch_size=5) == pytest.approx(20 / 23)


def test_checkpoints_keep_everything(model, tmp_path):
    fit_scales(model, grey(60))
    model.save(tmp_path / "again.safetensors", accuracy=0.5)
    again = load_classifier(tmp_path / "again.safetensors")
    for a, b in zip(model(to_input(grey(4))), again(to_input(grey(4))), strict=True):
        assert torch.equal(a, b)
    assert checkpoints.read(tmp_path / "again.safetensors")[1]["accuracy"] == 0.5


def test_checkpoint_of_something_else(tmp_path):
    checkpoints.save(tmp_path / "other.safetensors", torch.nn.Linear(2, 2), {"kind": "vq"})
    with pytest.raises(CCAError, match="has no 'classifier'"):
        load_classifier(tmp_path / "other.safetensors")


def test_a_map_too_small_for_the_pool_is_refused():
    with pytest.raises(CCAError, match="pool_size"):
        Classifier(ClassifierArchitecture(widths=[4, 4, 4]), image_size=8, channels=1, num_classes=2)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"widths": [4], "spatial_stage": 1}, "spatial_stage 1 is not one of 1 stages"),
        ({"widths": [4, 4], "spatial_stage": 0, "spatial_channels": 5}, "spatial_channels 5 are more"),
    ],
)
def test_spatial_maps_that_do_not_exist_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        ClassifierArchitecture(**values)
