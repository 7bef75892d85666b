"""Reading ``.npz`` files of unknown origin: a piece at a time, and nothing in them is believed."""

import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path

import numpy as np

from cca.errors import CCAError, one_line

BOMB_BYTES, BOMB_RATIO = 2**30, 200
"""Arrays that unpack to more than this, from so many times less, are refused."""
METHODS = {zipfile.ZIP_STORED: 1, zipfile.ZIP_DEFLATED: 1032}
"""The compressions that NumPy writes, and how many times smaller they can make anything at all."""


class Archive:
    """The arrays of an ``.npz``, whose shapes are known without reading them.

    Raises:
        CCAError: in every method, one line: missing or truncated file, missing or damaged array,
            pickled objects, an array that unpacks to suspiciously much.
    """

    def __init__(self, path: Path):
        self.path = path
        if not path.is_file():
            raise CCAError(f"{path}: no such file")
        self._size = path.stat().st_size
        with self._guard(), path.open("rb") as stream:
            if stream.read(6) == np.lib.format.MAGIC_PREFIX:
                raise CCAError(f"{path}: a bare .npy array where an .npz archive is wanted")
        with self._guard(), zipfile.ZipFile(path) as archive:
            self._members = {
                info.filename.removesuffix(".npy"): info
                for info in archive.infolist()
                if info.filename.endswith(".npy")
            }

    def __contains__(self, name: str) -> bool:
        return name in self._members

    @property
    def names(self) -> list[str]:
        """Names of the arrays."""
        return list(self._members)

    def header(self, name: str) -> tuple[tuple[int, ...], np.dtype]:
        """Shape and type of an array."""
        with self._open(name) as (_, shape, _, dtype):
            return shape, dtype

    def read(self, name: str) -> np.ndarray:
        """A whole array; look at its `header` first."""
        with self._open(name) as (stream, shape, fortran, dtype):
            return _array(stream, dtype, shape[::-1]).T if fortran else _array(stream, dtype, shape)

    def read_small(self, name: str, shape: tuple[int, ...], kinds: str) -> np.ndarray:
        """An array that must have this shape and one of these kinds of types (`numpy.dtype.kind`)."""
        found, dtype = self.header(name)
        if found != shape or dtype.kind not in kinds:
            raise CCAError(
                f"{self.path}: '{name}' is {dtype} of shape {found}, which is not what belongs there"
            )
        return self.read(name)

    def integer(self, name: str) -> int:
        """An array that must be a single integer."""
        return int(self.read_small(name, (), "iu"))

    def stream(self, name: str, rows: int) -> Iterator[np.ndarray]:
        """An array in pieces of ``rows`` along its first axis, the last one possibly shorter."""
        with self._open(name) as (stream, shape, fortran, dtype):
            if fortran:
                raise CCAError(f"{self.path}: '{name}' is in Fortran order; save np.ascontiguousarray of it")
            for start in range(0, shape[0], rows):
                piece = (min(rows, shape[0] - start), *shape[1:])
                yield _array(stream, dtype, piece)

    @contextmanager
    def _open(self, name: str) -> Iterator[tuple[zipfile.ZipExtFile, tuple[int, ...], bool, np.dtype]]:
        """The stream of an array behind its header, its shape, Fortran order and type."""
        info = self._members.get(name)
        if info is None:
            held = ", ".join(self.names) or "no arrays"
            raise CCAError(f"{self.path}: array '{name}' is missing; the file holds {held}")
        times = METHODS.get(info.compress_type)
        if times is None:
            raise CCAError(f"{self.path}: '{name}' is compressed in a way that numpy.savez never uses")
        if info.compress_size > self._size or info.file_size > times * info.compress_size:
            raise CCAError(f"{self.path}: '{name}' is said to be larger than the file can hold: damaged")
        if info.file_size > BOMB_BYTES and info.file_size > BOMB_RATIO * info.compress_size:
            raise CCAError(
                f"{self.path}: '{name}' unpacks from {info.compress_size} to {info.file_size} bytes; "
                "refused as a zip bomb"
            )
        with self._guard(), zipfile.ZipFile(self.path) as archive, archive.open(info) as stream:
            assert isinstance(stream, zipfile.ZipExtFile)  # what reading gives, though typed more widely
            version = np.lib.format.read_magic(stream)
            if version != (1, 0):  # later ones, whose headers may be huge, are for types no array here has
                raise CCAError(f"{self.path}: '{name}' has the format {version}; save it with numpy.savez")
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
            if dtype.hasobject:
                raise CCAError(f"{self.path}: '{name}' holds pickled objects, which are never loaded")
            if dtype.kind == "V":
                raise CCAError(f"{self.path}: '{name}' holds structures; save their fields as arrays")
            if min(shape, default=0) < 0 or stream.tell() + prod(shape) * dtype.itemsize != info.file_size:
                raise CCAError(f"{self.path}: '{name}' is truncated or longer than its shape {shape} says")
            yield stream, shape, fortran, dtype

    @contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            yield
        except CCAError:
            raise
        except Exception as error:  # whatever zipfile, zlib or NumPy's header makes of such bytes
            raise CCAError(
                f"{self.path}: damaged or not an .npz file ({one_line(error)}); delete it and make it again"
            ) from error


def _array(stream: zipfile.ZipExtFile, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    """The next values of a stream, in C order; NumPy would make strings of what are no characters, too."""
    content = bytearray(prod(shape) * dtype.itemsize)
    rest = memoryview(content)
    while rest and (read := stream.readinto(rest[: 2**20])):
        rest = rest[read:]
    if rest:
        raise EOFError(f"{len(rest)} bytes are missing")
    if dtype.kind == "U":
        characters = np.frombuffer(content, np.dtype("u4").newbyteorder(dtype.byteorder))
        if characters.max(initial=0) > sys.maxunicode:
            raise ValueError("a text of numbers that are no characters")
    return np.frombuffer(content, dtype).reshape(shape)
