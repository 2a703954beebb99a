"""PNG files with metadata about the name, seed and model that they came from."""

import io
import struct
from collections.abc import Mapping

import numpy as np
from isal import isal_zlib
from PIL import Image, PngImagePlugin, UnidentifiedImageError

SOFTWARE = "Imaginary Cafeteria"
SIGNATURE = b"\x89PNG\r\n\x1a\n"
UP = 2  # the filter that keeps a row's difference to the row above


def describe(name: str, seed: int, version: str) -> dict[str, str]:
    """A picture's metadata: everything needed to make it again."""
    return {"Name": name, "Seed": str(seed), "Model": version, "Software": SOFTWARE}


def encode(image: np.ndarray, metadata: Mapping[str, str]) -> bytes:
    """(H, W, 3) uint8 RGB -> a PNG file with each entry of `metadata` as tEXt, or as iTXt beyond Latin-1.

    Keys are 1 to 79 characters of Latin-1, as the PNG standard requires (section 11.3.3).

    A PNG file is a handful of chunks, and the time goes into choosing filters and compressing. A single filter for all
    rows and Intel's ISA-L take a ninth of Pillow's time, for a sixth more bytes (docs/benchmarks.md).
    """
    text = PngImagePlugin.PngInfo()
    for key, value in metadata.items():
        try:
            value.encode("latin-1")
            text.add_text(key, value)
        except UnicodeEncodeError:
            text.add_itxt(key, value)
    height, width, _ = image.shape
    file = io.BytesIO()
    file.write(SIGNATURE)
    PngImagePlugin.putchunk(file, b"IHDR", struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0))
    for kind, data, *_ in text.chunks:
        PngImagePlugin.putchunk(file, kind, data)
    PngImagePlugin.putchunk(file, b"IDAT", isal_zlib.compress(filtered(image), 1))
    PngImagePlugin.putchunk(file, b"IEND", b"")
    return file.getvalue()


def filtered(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 -> (H, 1 + 3W) uint8: the rows of a PNG file before compression, all with the filter "up"."""
    flat = image.reshape(len(image), -1)
    rows = np.empty((len(image), 1 + flat.shape[1]), np.uint8)
    rows[:, 0], rows[0, 1:] = UP, flat[0]
    np.subtract(flat[1:], flat[:-1], out=rows[1:, 1:])
    return rows


def read_metadata(data: bytes) -> dict[str, str]:
    """Reads the text metadata of a PNG file. Raises ValueError if the bytes are not a complete PNG file."""
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            image.load()
            assert isinstance(image, PngImagePlugin.PngImageFile)
            return {key: str(value) for key, value in image.text.items()}
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise ValueError(f"not a whole PNG file: {error}") from error
