import io
import tracemalloc
import warnings
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cca.errors import CCAError
from cca.evaluate.samples import Features, read_side, write_features
from cca.files import archives


def rgb(count: int, size: int = 8) -> np.ndarray:
    return np.random.default_rng(0).integers(256, size=(count, size, size, 3), dtype=np.uint8)


def npz(path: Path, **arrays: np.ndarray) -> Path:
    np.savez_compressed(path, **arrays)
    return path


def pngs(folder: Path, images: np.ndarray, suffix: str = ".png") -> Path:
    folder.mkdir(exist_ok=True)
    for index, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{index:04}{suffix}")
    return folder


def everything(path: Path, size: int, **options: bool) -> np.ndarray:
    return np.concatenate(list(read_side(path, **options).images.batches(size)))


@pytest.mark.parametrize("size", [1, 4, 10, 100])
def test_archives_folders_and_shards_give_the_same_images(tmp_path, size):
    images = rgb(10)
    archive = npz(tmp_path / "samples.npz", arr_0=images)
    folder = pngs(tmp_path / "folder", images)
    shards = tmp_path / "shards"
    shards.mkdir()
    for shard, (first, last) in {"1": (6, 10), "0": (0, 6)}.items():  # written in another order
        place = {"start": np.array(first), "total": np.array(10)}
        npz(shards / f"shard_{shard}.npz", arr_0=images[first:last], labels=np.arange(first, last), **place)
    for path in (archive, folder, shards):
        np.testing.assert_array_equal(everything(path, size), images)
        assert read_side(path).images.shape == images.shape
    np.testing.assert_array_equal(read_side(shards).labels, np.arange(10))


def test_shards_are_ordered_by_their_place_not_their_name(tmp_path):
    images = rgb(12)
    for shard in range(12):
        place = {"start": np.array(shard), "total": np.array(12), "labels": np.array([shard])}
        npz(tmp_path / f"shard_{shard}.npz", arr_0=images[shard : shard + 1], **place)
    np.testing.assert_array_equal(everything(tmp_path, 5), images)


def test_checksums_follow_the_content(tmp_path):
    images = rgb(3)
    a, b = pngs(tmp_path / "a", images), pngs(tmp_path / "b", images)
    c = pngs(tmp_path / "c", images[::-1])
    assert read_side(a).sha256 == read_side(b).sha256 != read_side(c).sha256


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_stored_statistics(tmp_path, dtype):
    mean, covariance = np.arange(3, dtype=dtype), np.eye(3, dtype=dtype)
    path = npz(
        tmp_path / "r.npz", arr_0=rgb(5), mu=mean, sigma=covariance, mu_s=mean[:2], sigma_s=covariance[:2, :2]
    )
    statistics = read_side(path).statistics
    assert {name: s.mean.dtype for name, s in statistics.items()} == {
        "pool": np.float64,
        "spatial": np.float64,
    }
    np.testing.assert_array_equal(statistics["pool"].mean, mean)
    np.testing.assert_array_equal(statistics["spatial"].covariance, np.eye(2))
    assert statistics["pool"].count is None


def test_whole_arrays_in_fortran_order(tmp_path):
    array = np.asfortranarray(np.arange(9.0).reshape(3, 3))
    path = npz(tmp_path / "r.npz", sigma=array)
    np.testing.assert_array_equal(archives.Archive(path).read("sigma"), array)


def test_kept_features_come_back(tmp_path):
    rng = np.random.default_rng(0)
    features = Features(rng.normal(size=(6, 3)), rng.normal(size=(6, 4)), rng.normal(size=(6, 2)), np.ones(3))
    write_features(tmp_path / "f.npz", features, "name checksum", np.arange(6))
    side = read_side(tmp_path / "f.npz")
    for name in ("pool", "spatial", "logits", "colour"):
        np.testing.assert_array_equal(getattr(side.features, name), getattr(features, name))
    assert side.extractor == "name checksum"
    np.testing.assert_array_equal(side.labels, np.arange(6))


def test_labels_of_guided_diffusion(tmp_path):
    path = npz(tmp_path / "s.npz", arr_0=rgb(5), arr_1=np.arange(5))
    np.testing.assert_array_equal(read_side(path).labels, np.arange(5))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": rgb(2)}, "'arr_0' is missing; the file holds images"),
        ({"arr_0": rgb(2).astype(np.float32) / 255}, "is float32; images must be uint8"),
        ({"arr_0": rgb(2).transpose(0, 3, 1, 2)}, "channels first"),
        ({"arr_0": rgb(2)[..., :1]}, "are grey"),
        ({"arr_0": rgb(2)[..., 0]}, "are grey"),
        ({"arr_0": np.concatenate([rgb(2), rgb(2)[..., :1]], axis=3)}, "have alpha"),
        ({"arr_0": rgb(2).reshape(2, -1)}, "images are N x H x W x 3"),
        ({"arr_0": rgb(0)}, "is empty"),
        ({"arr_0": np.array([{"a": 1}], dtype=object)}, "pickled objects, which are never loaded"),
        ({"arr_0": rgb(2), "mu": np.zeros(3)}, "'sigma' is missing"),
        ({"arr_0": rgb(2), "mu": np.zeros(3), "sigma": np.eye(4)}, "are not statistics"),
        ({"arr_0": rgb(2), "mu": np.zeros(3, int), "sigma": np.eye(3)}, "are not statistics"),
        ({"arr_0": rgb(2), "start": np.array(0), "total": np.array(9)}, "one shard of 9 samples"),
        ({"arr_0": rgb(2), "pool": np.zeros((3, 4))}, "features of 3 images beside 2"),
        ({"pool": np.zeros((3, 4)), "logits": np.zeros((2, 4))}, "2 rows of 'logits', 3 of 'pool'"),
        ({"pool": np.zeros((3, 4), int)}, "features are float"),
        ({"pool": np.zeros((3, 4), np.longdouble)}, "features are float16, float32 or float64"),
        ({"pool": np.array([[0.0, np.nan]])}, "'pool' is NaN or infinite"),
        ({"pool": np.zeros((1, 2)), "logits": np.array([[0.0, np.inf]])}, "'logits' is NaN or infinite"),
        ({"pool": np.zeros((3, 4)), "colour": np.zeros(7)}, "'colour' is float64 of shape"),
        ({"pool": np.zeros((3, 4)), "extractor": np.zeros(3)}, "'extractor' is float64 of shape"),
        ({"arr_0": rgb(2), "total": np.array("x")}, "'total' is <U1 of shape"),
        ({"arr_0": rgb(1)[0]}, "a single image"),
        ({"arr_0": rgb(2).transpose(0, 3, 1, 2)[:, :1]}, "channels first"),
        ({"mu": np.full(3, np.nan), "sigma": np.eye(3)}, "'mu' is NaN or infinite"),
        ({"mu": np.zeros(3), "sigma": -np.eye(3)}, "'sigma' is no covariance"),
        ({"mu": np.zeros(3), "sigma": np.triu(np.ones((3, 3)))}, "'sigma' is no covariance"),
    ],
)
def test_bad_arrays(tmp_path, arrays, message):
    with pytest.raises(CCAError, match=message) as error:
        read_side(npz(tmp_path / "bad.npz", **arrays))
    assert str(error.value).startswith(str(tmp_path / "bad.npz"))
    assert "\n" not in str(error.value)


def test_damaged_archives(tmp_path):
    whole = npz(tmp_path / "whole.npz", arr_0=rgb(50)).read_bytes()
    bad = tmp_path / "bad.npz"
    for content in (b"", b"hello", whole[: len(whole) // 2], whole[:-10]):
        bad.write_bytes(content)
        with pytest.raises(CCAError, match="damaged or not an"):
            read_side(bad)
    with pytest.raises(CCAError, match="no such file"):
        read_side(tmp_path / "none.npz")
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 255
    bad.write_bytes(flipped)
    with pytest.raises(CCAError, match="damaged or not an"):
        everything(bad, 10)


def test_headers_that_lie(tmp_path):
    """A shape of many images in front of a few."""
    buffer = io.BytesIO()
    header = {"descr": "|u1", "fortran_order": False, "shape": (10**12, 8, 8, 3)}
    np.lib.format.write_array_header_1_0(buffer, header)
    with zipfile.ZipFile(tmp_path / "bad.npz", "w") as archive:
        archive.writestr("arr_0.npy", buffer.getvalue() + bytes(100))
    with pytest.raises(CCAError, match="truncated or longer"):
        read_side(tmp_path / "bad.npz")


def test_headers_that_unpack_to_much_are_not_read(tmp_path):
    content = b"\x93NUMPY\x02\x00" + (10**7).to_bytes(4, "little") + bytes(10**7)
    with zipfile.ZipFile(tmp_path / "bad.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("arr_0.npy", content)
    tracemalloc.start()
    try:
        with pytest.raises(CCAError, match=r"'arr_0' has the format \(2, 0\)"):
            read_side(tmp_path / "bad.npz")
        assert tracemalloc.get_traced_memory()[1] < 10**6
    finally:
        tracemalloc.stop()


def test_streaming_holds_a_batch_not_the_file(tmp_path):
    path = npz(tmp_path / "many.npz", arr_0=rgb(2000, 32))  # 6 MB
    tracemalloc.start()
    try:
        total = sum(len(batch) for batch in read_side(path).images.batches(16))
        assert tracemalloc.get_traced_memory()[1] < 10**6
    finally:
        tracemalloc.stop()
    assert total == 2000


def test_zip_bombs(tmp_path, monkeypatch):
    path = npz(tmp_path / "bomb.npz", arr_0=np.zeros((2000, 16, 16, 3), np.uint8))
    assert read_side(path).images.shape[0] == 2000
    monkeypatch.setattr(archives, "BOMB_BYTES", 2**20)
    with pytest.raises(CCAError, match="refused as a zip bomb"):
        read_side(path)


def test_image_files_that_are_refused(tmp_path):
    with pytest.raises(CCAError, match="no images"):
        read_side(tmp_path)
    jpegs = pngs(tmp_path / "jpegs", rgb(3), ".jpg")
    with pytest.raises(CCAError, match="lossy compression moves FID"):
        read_side(jpegs)
    assert everything(jpegs, 2, allow_jpeg=True).shape == (3, 8, 8, 3)
    (jpegs / "0000.jpg").rename(jpegs / "0000.png")
    with pytest.raises(CCAError, match=r"0000\.png|0001\.jpg"):
        read_side(jpegs)
    disguised = tmp_path / "disguised"
    disguised.mkdir()
    (jpegs / "0000.png").rename(disguised / "0000.png")
    with pytest.raises(CCAError, match="lossy compression moves FID"):
        read_side(disguised)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "I;16"])
def test_grey_palette_and_alpha_files(tmp_path, mode):
    pngs(tmp_path, rgb(2))
    image = Image.new(mode, (8, 8))
    image.save(tmp_path / "0001.png")
    with pytest.raises(CCAError, match=rf"0001\.png: an image of mode {mode}"):
        everything(tmp_path, 10)


def test_files_of_another_size_or_damaged(tmp_path):
    pngs(tmp_path, rgb(3))
    Image.new("RGB", (9, 8)).save(tmp_path / "0001.png")
    with pytest.raises(CCAError, match=r"0001\.png: 9 x 8 px, where 0000\.png has 8 x 8"):
        everything(tmp_path, 10)
    (tmp_path / "0001.png").write_bytes((tmp_path / "0002.png").read_bytes()[:60])
    with pytest.raises(CCAError, match=r"0001\.png: a damaged image"):
        everything(tmp_path, 10)
    whole = bytearray((tmp_path / "0002.png").read_bytes())
    whole[16:24] = (20_000).to_bytes(4, "big") * 2  # width and height, and the checksum of their chunk
    whole[29:33] = zlib.crc32(whole[12:29]).to_bytes(4, "big")
    (tmp_path / "0001.png").write_bytes(whole)
    with pytest.raises(CCAError, match=r"0001\.png: more than .* pixels; refused as a decompression bomb"):
        everything(tmp_path, 10)
    (tmp_path / "0001.png").write_bytes(b"hello")
    with pytest.raises(CCAError, match=r"0001\.png: not an image"):
        everything(tmp_path, 10)


def test_a_little_too_many_pixels_are_refused_and_warnings_stay_as_they_are(tmp_path, monkeypatch):
    pngs(tmp_path, rgb(3))
    before = list(warnings.filters)
    images = read_side(tmp_path).images
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)  # below 64: Pillow warns only
    for read in (lambda: list(images.batches(2)), lambda: read_side(tmp_path)):
        with pytest.raises(
            CCAError, match=r"0000\.png: more than 50 pixels; refused as a decompression bomb"
        ):
            read()
    assert warnings.filters == before


@pytest.mark.parametrize(
    ("places", "message"),
    [
        ([(0, 4, 10), (7, 10, 10)], "samples 4 to 6 are missing"),
        ([(0, 4, 10), (4, 9, 10)], "9 of 10 samples"),
        ([(4, 10, 10)], "samples 0 to 3 are missing"),
        ([(0, 6, 10), (4, 10, 10)], "samples 4 to 5 are there twice"),
        ([(0, 6, 10), (6, 10, 12)], "a shard of 12 samples among shards of 10"),
    ],
)
def test_shards_that_do_not_fit(tmp_path, places, message):
    for shard, (first, last, total) in enumerate(places):
        place = {"start": np.array(first), "total": np.array(total)}
        npz(tmp_path / f"shard_{shard}.npz", arr_0=rgb(last - first), **place)
    with pytest.raises(CCAError, match=message):
        read_side(tmp_path)


def test_a_short_shard_of_right_place(tmp_path):
    npz(tmp_path / "shard_0.npz", arr_0=rgb(3), start=np.array(0), total=np.array(8))
    npz(tmp_path / "shard_1.npz", arr_0=rgb(4), start=np.array(4), total=np.array(8))
    with pytest.raises(CCAError, match="samples 3 to 3 are missing"):
        read_side(tmp_path)
