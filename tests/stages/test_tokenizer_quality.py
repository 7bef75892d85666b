"""The quality of a tokenizer: by hand, and its rFID through the evaluator."""

import errno
import os

import numpy as np
import pytest
import torch

from cca import tokenizers
from cca.data import images
from cca.errors import CCAError
from cca.evaluate.classifier import Classifier, ClassifierArchitecture
from cca.evaluate.evaluator import evaluate
from cca.evaluate.protocol import EvaluationSettings
from cca.evaluate.reference import run as make_reference
from cca.files import read_json
from cca.stages.sampling import PostProcessing, to_uint8
from cca.stages.tokenizer_quality import errors, run, use

from .test_train_tokenizer import Fake

SETTINGS = EvaluationSettings(extractor="cca-classifier", reference_images=30)


def test_errors_by_hand():
    black = np.zeros((2, 8, 8, 1), np.uint8)  # -1 everywhere, decoded as -0.75
    measured = errors(Fake().eval(), black)
    assert measured["l1"] == pytest.approx(0.25)
    assert measured["psnr"] == pytest.approx(10 * np.log10(4 / 0.25**2))


def test_errors_clamp_and_stay_finite():
    tokenizer = Fake().eval()
    with torch.no_grad():
        tokenizer.bias.fill_(-1.0)  # decoded as -1.75
    measured = errors(tokenizer, np.zeros((2, 8, 8, 1), np.uint8))
    assert measured["l1"] == 0
    assert measured["psnr"] == pytest.approx(106.0, abs=0.1)


def test_use_by_hand():
    measured = use(np.array([[0, 0, 3, 0], [0, 3, 0, 0]]), vocab_size=4)
    assert measured["codebook_use"] == 0.5
    assert measured["perplexity"] == pytest.approx(0.75**-0.75 * 0.25**-0.25)
    assert use(np.arange(7), vocab_size=7)["perplexity"] == pytest.approx(7)


@pytest.fixture
def judged(world, tmp_path):
    """The inputs of the stage: a classifier of random weights and its reference."""
    torch.manual_seed(0)
    architecture = ClassifierArchitecture(widths=[4], pool_size=2, spatial_stage=0, features=3)
    weights = tmp_path / "classifier.safetensors"
    Classifier(architecture, image_size=8, channels=1, num_classes=3).save(weights)
    reference = tmp_path / "reference.npz"
    make_reference(SETTINGS, images=world.images, weights=weights, out=reference)
    return {"images": world.images, "reference": reference, "weights": weights}


def test_rfid_is_the_evaluators_fid_of_reconstructed_training_images(world, judged, tmp_path):
    out = tmp_path / "quality.json"
    measured = run(SETTINGS, tokenizer=world.tokenizer, out=out, **judged)
    written = read_json(out)
    assert {key: written[key] for key in measured} == measured
    assert written["evaluation"]["num_samples"] == 30 and written["rfid"] == written["evaluation"]["fid"]
    assert written["num_images"] == 30
    # the same from all 40 training images, reconstructed here: of other images, so near but not equal
    data, coder = images.load(world.images), tokenizers.load(world.tokenizer)
    with torch.inference_mode():
        decoded = coder.decode(coder.encode(images.to_tensor(data.train_images)))
    np.savez(tmp_path / "all.npz", arr_0=to_uint8(decoded, PostProcessing()))
    whole = EvaluationSettings(extractor="cca-classifier", reference_images=40)
    expected = evaluate(
        judged["reference"], tmp_path / "all.npz", whole, weights=judged["weights"], cache=tmp_path
    )
    again = run(whole, tokenizer=world.tokenizer, out=out, **judged)
    assert again["rfid"] == pytest.approx(expected["fid"], rel=1e-6) and again["rfid"] != measured["rfid"]
    many = SETTINGS.model_copy(update={"reference_images": 1000})  # there are 40
    assert run(many, tokenizer=world.tokenizer, out=out, **judged)["num_images"] == 40


def test_a_checkpoint_of_something_else_is_one_line(world, judged, tmp_path):
    with pytest.raises(CCAError, match="a checkpoint of something else") as error:
        run(SETTINGS, tokenizer=judged["weights"], out=tmp_path / "quality.json", **judged)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "quality.json").exists()


def test_no_room_for_reconstructions_names_what_they_are_for(world, judged, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(
        CCAError, match=r"quality\.json: its reconstructions found no place: .*too large"
    ) as error:
        run(SETTINGS, tokenizer=world.tokenizer, out=tmp_path / "quality.json", **judged)
    assert "\n" not in str(error.value)
