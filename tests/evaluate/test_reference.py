import numpy as np
import pytest

from cca.errors import CCAError
from cca.evaluate import reference
from cca.evaluate.evaluator import EvaluationSettings, evaluate
from cca.evaluate.extractors import Extractor, extract, load
from cca.files import write_npz

IMAGES = np.random.default_rng(0).integers(256, size=(50, 8, 8, 3), dtype=np.uint8)


@pytest.fixture
def few() -> EvaluationSettings:
    return EvaluationSettings(extractor="cca-classifier", batch_size=7, reference_images=20)


def test_statistics_of_all_and_a_subset_of_the_images(classifier_file, few, tmp_path):
    out = tmp_path / "ref.npz"
    made = reference.make_reference(IMAGES, out, few, weights=classifier_file)
    assert made == {"images": 50, "kept": 20}
    features = extract(IMAGES, load(Extractor("cca-classifier", classifier_file)))
    with np.load(out) as stored:
        for mu, sigma, values in (("mu", "sigma", features.pool), ("mu_s", "sigma_s", features.spatial)):
            np.testing.assert_allclose(
                stored[mu], values.mean(axis=0, dtype=np.float64), rtol=1e-5, atol=1e-6
            )
            covariance = np.cov(values.astype(np.float64), rowvar=False)
            np.testing.assert_allclose(stored[sigma], covariance, rtol=1e-4, atol=1e-6)
            assert stored[mu].dtype == stored[sigma].dtype == np.float64
        places = [np.flatnonzero((image == IMAGES).all(axis=(1, 2, 3)))[0] for image in stored["arr_0"]]
        assert len(set(places)) == 20
        assert places == sorted(places) != list(range(20))
        np.testing.assert_allclose(stored["pool"], features.pool[places], atol=1e-5)


def test_the_seed_picks_the_subset(classifier_file, few, tmp_path):
    kept = []
    for index, seed in enumerate((0, 0, 1)):
        out = tmp_path / f"{index}.npz"
        settings = few.model_copy(update={"reference_seed": seed})
        reference.make_reference(IMAGES, out, settings, weights=classifier_file)
        kept.append(np.load(out)["arr_0"])
    np.testing.assert_array_equal(kept[0], kept[1])
    assert (kept[0] != kept[2]).any()


def test_a_made_reference_serves_the_evaluator_without_extracting_it(
    classifier_file, few, tmp_path, monkeypatch
):
    reference.make_reference(IMAGES, tmp_path / "ref.npz", few, weights=classifier_file)
    np.savez(tmp_path / "samples.npz", arr_0=IMAGES)
    result = evaluate(tmp_path / "ref.npz", tmp_path / "samples.npz", few, weights=classifier_file)
    assert result["fid"] == pytest.approx(0, abs=1e-5)
    assert result["sfid"] == pytest.approx(0, abs=1e-5)
    assert result["recall"] == 1
    assert (result["num_reference"], result["num_reference_statistics"]) == (20, 50)
    with np.load(tmp_path / "ref.npz") as stored:
        adm = {name: stored[name] for name in ("arr_0", "mu", "sigma", "mu_s", "sigma_s")}
    np.savez(tmp_path / "adm.npz", **adm)
    other = evaluate(tmp_path / "adm.npz", tmp_path / "samples.npz", few, weights=classifier_file)
    assert (other["fid"], other["precision"], other["recall"]) == (
        result["fid"],
        result["precision"],
        result["recall"],
    )


def test_training_images_of_the_data_stage(world, classifier_file, few, tmp_path):
    made = reference.run(few, images=world.images, weights=classifier_file, out=tmp_path / "ref.npz")
    assert made == {"images": 40, "kept": 20}
    with np.load(tmp_path / "ref.npz") as stored:
        assert stored["arr_0"].shape == (20, 8, 8, 3)
        assert (stored["arr_0"] == stored["arr_0"][..., :1]).all()


def test_bad_input(classifier_file, few, tmp_path):
    with pytest.raises(CCAError, match="at least 2 images, got 1"):
        reference.make_reference(IMAGES[:1], tmp_path / "ref.npz", few, weights=classifier_file)
    write_npz(tmp_path / "features.npz", pool=np.zeros((5, 3)))
    with pytest.raises(CCAError, match="a reference is made of images"):
        reference.run(
            few, images=tmp_path / "features.npz", out=tmp_path / "ref.npz", weights=classifier_file
        )
    assert not (tmp_path / "ref.npz").exists()
