"""Decodes a photo's file into pixels: upright, square, RGB."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError
from pillow_heif import register_heif_opener

from model.data.damaged import MOST_PIXELS, cut_off, orientation, repaired

register_heif_opener()
Image.MAX_IMAGE_PIXELS = None  # Pillow's own bound is below a telephone's; `decode` has MOST_PIXELS


class TooSmall(ValueError):
    """The photo has fewer pixels than requested."""


class _TooLarge(ValueError):
    pass


@dataclass(frozen=True)
class Decoded:
    """A decoded photo.

    image: (size, size, 3) uint8, upright, central square, RGB.
    side: the shorter side of the picture in the file, in pixels.
    lost: the part of the picture that the file has lost, "" for none.
    """

    image: np.ndarray
    side: int
    lost: str = ""


def decode(photo: bytes | Path, size: int, min_pixels: int = 0) -> Decoded:
    """Decodes one photo, from its bytes or its file.

    Only the orientation and the colour profile matter among its metadata. A file that lacks up to
    `model.data.damaged.MISSING` of its rows is read as far as it goes.

    Raises:
        TooSmall: its shorter side is less than `min_pixels`.
        Exception: nearly any from Pillow, if the file cannot be read.
    """
    content = photo if isinstance(photo, bytes) else photo.read_bytes()
    try:
        if cut_off(content):
            raise UnidentifiedImageError("its end is missing")
        with Image.open(io.BytesIO(content)) as image:
            _check_size(image, min_pixels)
            side = min(image.size)
            # A JPEG can be read at a fraction of its size, which is far faster; twice the target suits Lanczos.
            image.draft("RGB", (2 * size, 2 * size))
            image.load()  # which turns a TIFF by itself
            return Decoded(_square(image, size, orientation(image), image.info.get("icc_profile")), side)
    except (TooSmall, _TooLarge):
        raise
    except Exception:
        whole = repaired(content)
        if whole is None:
            raise
    with Image.open(io.BytesIO(whole.content)) as image:
        _check_size(image, min_pixels)
        image.load()
        there = image.crop(whole.box)
        missing = 1 - there.width * there.height / (image.width * image.height)
        lost = f"{missing:.1%} of its rows" if missing else "some of its details" if whole.blurred else ""
        return Decoded(_square(there, size, whole.orientation, whole.profile), min(image.size), lost)


def _check_size(image: Image.Image, min_pixels: int) -> None:
    if min(image.size) < min_pixels:
        raise TooSmall(f"{min(image.size)} pixels")
    if image.width * image.height > MOST_PIXELS:
        raise _TooLarge(f"too large: {image.width * image.height // 10**6} megapixels")


_TURNED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip


def _square(image: Image.Image, size: int, turned: int, profile: bytes | None) -> np.ndarray:
    """An opened photo → (size, size, 3) uint8; `turned`: its EXIF orientation."""
    upright = _on_white(image)
    if turned in _TURNED:
        upright = upright.transpose(_TURNED[turned])
    square = ImageOps.fit(upright, (size, size), Image.Resampling.LANCZOS)
    if profile:
        # A profile that is broken, or is of grey or of inks, says nothing of these colours.
        srgb = ImageCms.createProfile("sRGB")
        with contextlib.suppress(ImageCms.PyCMSError, OSError, TypeError, ValueError):
            ImageCms.profileToProfile(square, ImageCms.ImageCmsProfile(io.BytesIO(profile)), srgb, inPlace=True)
    return np.asarray(square)


def _on_white(image: Image.Image) -> Image.Image:
    """Converts any image to RGB, with white for transparent areas."""
    clear = image.info.get("transparency")
    if image.mode.startswith(("I", "F")):
        flat = _eight_bit(image).convert("RGB")
        if isinstance(clear, int):  # a grey of as many bits as the others
            flat.paste("white", mask=Image.fromarray(np.asarray(image) == clear))
        return flat
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return image.convert("RGB")


def _eight_bit(image: Image.Image) -> Image.Image:
    """Scales 16- and 32-bit greyscale to 8 bits; Pillow would clip it at 255."""
    greys = np.nan_to_num(np.asarray(image).astype(np.float32))
    top = 65535.0 if image.mode.startswith("I;16") else float(greys.max(initial=0))
    top = next((bound for bound in (1.0, 255.0, 65535.0) if top <= bound), top)
    return Image.fromarray((greys.clip(0) * (255 / top)).round().astype(np.uint8))
