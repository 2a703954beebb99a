"""Lossy WebP files, an eighth of a PNG's size, with metadata about the name, seed and model that they came from."""

import io
from collections.abc import Mapping, Sequence
from xml.sax.saxutils import quoteattr

import numpy as np
from PIL import Image

QUALITY = 85
METHOD = 0  # the quickest search: a third of the time of libwebp's default, for a fifth more bytes (docs/benchmarks.md)
ANIMATED = {"quality": 80, "method": 2}  # a frame is seen for a moment, and a file of them is made once
NAMESPACE = "urn:imaginary-cafeteria"


def encode(image: np.ndarray, metadata: Mapping[str, str]) -> bytes:
    """(H, W, 3) uint8 RGB -> a WebP file with `metadata` as XMP."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "WEBP", quality=QUALITY, method=METHOD, xmp=xmp(metadata))
    return file.getvalue()


def animate(frames: Sequence[np.ndarray], milliseconds: Sequence[int], metadata: Mapping[str, str]) -> bytes:
    """Frames (H, W, 3) uint8 RGB and their durations -> a looping WebP file with `metadata` as XMP."""
    first, *others = (Image.fromarray(frame) for frame in frames)
    file = io.BytesIO()
    first.save(
        file,
        "WEBP",
        save_all=True,
        append_images=others,
        duration=list(milliseconds),
        loop=0,
        xmp=xmp(metadata),
        **ANIMATED,
    )
    return file.getvalue()


def xmp(metadata: Mapping[str, str]) -> bytes:
    """An XMP packet (ISO 16684-1) with each entry as a property of `NAMESPACE`. Keys are XML names."""
    properties = " ".join(f"cafeteria:{key}={quoteattr(value)}" for key, value in metadata.items())
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description rdf:about="" xmlns:cafeteria="{NAMESPACE}" {properties}/>'
        "</rdf:RDF></x:xmpmeta>"
    ).encode()
