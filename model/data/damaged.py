"""Repairs picture files that are damaged outside the pixel data, or at their very end.

Only a file's pixels, orientation and colour profile matter; everything else in it may be odd, broken or larger than
Pillow accepts. Pillow's own tolerance is a process-wide setting, which would let damaged files pass elsewhere too, and
it does not tell how much of a picture is missing.
"""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

MOST_PIXELS = 300_000_000  # of a photo; telephones make 200 million, and three bytes each are in memory at once
MISSING = 0.05  # of the rows: a picture that lacks more is not used
LONGEST = 64 * 2**20  # bytes of a profile or an XMP packet, unpacked
_ORIENTATION = 0x0112  # of TIFF and EXIF
_FORMS = {1: "B", 2: "c", 4: "I", 6: "b", 7: "B", 8: "h", 9: "i", 11: "f"}  # of its types, which should be 3
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by the colour type of PNG


@dataclass(frozen=True)
class Repaired:
    """A file reduced to its pixels, with the other data that matters.

    box: the part of `content` whose pixels are still in the file, as for `Image.crop`.
    blurred: some pixels lack their finest details, as in a truncated progressive JPEG.
    """

    content: bytes
    box: tuple[int, int, int, int]
    orientation: int = 1
    profile: bytes | None = None
    blurred: bool = False


def repaired(data: bytes) -> Repaired | None:
    """Returns the picture without anything that could prevent reading it; None if too little of it is left."""
    if data.startswith(b"\xff\xd8"):
        return _jpeg(data)
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return _png(data)
    end = data.rstrip(b"\0") if cut_off(data) else data
    room = max(int(len(end) * MISSING / (1 - MISSING)) + 1, len(data) - len(end))
    return _with_rows(end + bytes(room), end + (_NOISE * (room // len(_NOISE) + 1))[:room])


def cut_off(data: bytes) -> bool:
    """Returns whether a file ends in zeros before the picture does, as left by an interrupted download into
    preallocated space."""
    end = data.rstrip(b"\0")
    if data.startswith(b"\xff\xd8"):
        return len(data) - len(end) >= 16 and b"\xff\xd9" not in end[-512:]
    if data.startswith(b"\x89PNG"):
        return len(data) - len(end) >= 16 and b"IEND" not in end[-16:]
    return data[8:12] == b"WEBP" and len(data) - len(end) >= 512


def orientation(image: Image.Image) -> int:
    """The orientation of a loaded picture, 1 to 8 as in EXIF; 1 if it cannot be read."""
    if isinstance(exif := image.info.get("exif"), bytes):
        return exif_orientation(exif)
    with suppress(Exception):  # Pillow meets damaged metadata with nearly any exception
        return _valid(image.getexif().get(_ORIENTATION, 1))
    return 1


def exif_orientation(exif: bytes) -> int:
    """The orientation from EXIF data that may otherwise be damaged."""
    start = 6 if exif.startswith(b"Exif\0\0") else 0
    order = {b"II": "<", b"MM": ">"}.get(exif[start : start + 2])
    with suppress(struct.error):
        if order:
            (first,) = struct.unpack_from(f"{order}I", exif, start + 4)
            (count,) = struct.unpack_from(f"{order}H", exif, start + first)
            for entry in range(count):
                at = start + first + 2 + 12 * entry
                tag, kind = struct.unpack_from(f"{order}HH", exif, at)
                if tag == _ORIENTATION:
                    return _valid(struct.unpack_from(order + _FORMS.get(kind, "H"), exif, at + 8)[0])
    return 1


def _valid(value: object) -> int:
    with suppress(TypeError, ValueError):
        number = int(float(value))  # type: ignore[arg-type]
        return number if 1 <= number <= 8 else 1
    return 1


# ---- JPEG ------------------------------------------------------------------------------------------------


BLURRED = 6.0  # levels that a row of a progressive JPEG may still be off
_NOISE = bytes(range(1, 255)) * 16  # goes on where data ends, and makes other pixels of the rest than nothing does
_END = b"\xff\xd9" * 40  # of a JPEG: one for each scan that a cut off progressive one may still lack


def _jpeg(data: bytes) -> Repaired | None:
    kept, profiles, turned, rest, components = [b"\xff\xd8"], {}, 1, b"", 0
    for marker, segment in _segments(data):
        if marker == 0xDA:
            rest = segment.rstrip(b"\0").rstrip(b"\xff")  # which would be half of a marker
        elif marker == 0xE1 and segment[4:10] == b"Exif\0\0":
            turned = exif_orientation(segment[4:])
        elif marker == 0xE2 and segment[4:16] == b"ICC_PROFILE\0":
            profiles[segment[16:17]] = segment[18:]
        elif marker == 0xEE or not (0xE0 <= marker <= 0xEF or marker == 0xFE):  # APP14 says how colours are stored
            kept.append(segment)
            if marker == 0xC2:  # progressive
                components = segment[9]
    if components and _scans(rest) < 2 * components:
        return None
    head = b"".join([*kept, rest])
    profile = b"".join(profiles[number] for number in sorted(profiles)) or None
    found = _with_rows(head + _END, head + _NOISE + _END, BLURRED if components else 0.0)
    if found is None:
        return None
    return replace(found, orientation=turned, profile=profile)


def _scans(rest: bytes) -> int:
    """The number of a progressive JPEG's components that are complete to the last bit: in DC, and in AC
    coefficients."""
    finest = set()
    for scan in re.finditer(rb"\xff\xda..([\x01-\x04])", rest, re.DOTALL):
        count, at = scan[1][0], scan.end()
        parameters = rest[at + 2 * count : at + 2 * count + 3]
        if len(parameters) == 3 and not parameters[2] & 15:
            finest |= {(rest[at + 2 * n], parameters[0] == 0) for n in range(count)}
    return len(finest)


def _with_rows(first: bytes, second: bytes, tolerance: float = 0.0) -> Repaired | None:
    """Compares a file with two different endings; returns the first version, and the rows where both agree, which are
    in the file itself. None if those are too few.

    Some decoders refuse the second. Then all that is known is that little of the file is missing, at its end.
    """
    pixels = []
    for content in (first, second):
        try:
            with Image.open(io.BytesIO(content)) as image:
                if image.width * image.height > MOST_PIXELS:
                    return None
                pixels.append(np.asarray(image.convert("RGB"), np.int16))
        except Exception:  # Pillow meets a damaged file with nearly any
            if content is first:
                return None
    height, width = pixels[0].shape[:2]
    if len(pixels) < 2:
        return Repaired(first, (0, 0, width, height), blurred=True)
    other = np.abs(pixels[0] - pixels[1]).mean(axis=2)
    (top, bottom), (left, right) = (_kept(other.mean(axis=axis) > tolerance) for axis in (1, 0))
    if bottom - top >= (1 - MISSING) * height:
        return Repaired(first, (0, top, width, bottom), blurred=bool(other[top:bottom].any()))
    # Columns where the picture was turned as it was read.
    if not tolerance and right - left >= (1 - MISSING) * width:
        return Repaired(first, (left, 0, right, height))
    return None


def _kept(differ: NDArray[np.bool_]) -> tuple[int, int]:
    """The lines before the first that differs, or after the last if those at the beginning differ."""
    lost = np.flatnonzero(differ)
    if not len(lost):
        return 0, len(differ)
    return (int(lost[-1]) + 1, len(differ)) if lost[0] == 0 else (0, int(lost[0]))


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The markers of a JPEG and their segments; the last one is everything from the first scan on."""
    at = 2
    while 0 <= (at := data.find(b"\xff", at)) < len(data) - 4:
        marker, (length,) = data[at + 1], struct.unpack_from(">H", data, at + 2)
        if marker in (0x00, 0x01, 0xFF) or 0xD0 <= marker <= 0xD9:
            at += 1
        elif marker == 0xDA:
            yield marker, data[at:]
            return
        else:
            yield marker, data[at : at + 2 + length]
            at += 2 + length


# ---- PNG -------------------------------------------------------------------------------------------------


def _png(data: bytes) -> Repaired | None:
    if cut_off(data):  # zeros are data, too
        data = data.rstrip(b"\0")
    chunks: dict[bytes, bytes] = {}
    raw, inflate, turned, profile = bytearray(), zlib.decompressobj(), 1, None
    for kind, body in _chunks(data):
        if kind == b"IDAT":
            # In small pieces, so that an error loses no more than one.
            with suppress(zlib.error):
                for at in range(0, len(body), 1024):
                    raw += inflate.decompress(body[at : at + 1024])
        elif kind == b"iCCP":
            profile = _inflated(body.partition(b"\0")[2][1:])
        elif kind == b"eXIf":
            turned = exif_orientation(body)
        elif kind == b"iTXt" and body.startswith(b"XML:com.adobe.xmp\0"):
            packed, text = body[18:19] == b"\1", body[20:].split(b"\0", 2)[-1]
            found = re.search(rb"tiff:Orientation(?:=.|>)([1-8])", (_inflated(text) or b"") if packed else text)
            turned = int(found[1]) if found and turned == 1 else turned
        elif kind in (b"IHDR", b"PLTE", b"tRNS"):
            chunks.setdefault(kind, body)
    header = chunks.get(b"IHDR", b"")
    if len(header) < 13:
        return None
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", header[:13])
    stride = 1 + (width * depth * _CHANNELS.get(colour, 4) + 7) // 8
    rows = height if interlaced else min(height, len(raw) // stride)
    if len(chunks.get(b"tRNS", b"")) not in {0: (2,), 2: (6,), 3: range(1, 257)}.get(colour, ()):
        chunks.pop(b"tRNS", None)
    if not 0 < width * height <= MOST_PIXELS or rows < (1 - MISSING) * height:
        return None
    chunks[b"IHDR"] = header[:8] + struct.pack(">BBBBB", depth, colour, 0, 0, interlaced)
    if not interlaced:
        del raw[stride * rows :]
        raw += bytes(stride * (height - rows))
    chunks[b"IDAT"], chunks[b"IEND"] = zlib.compress(raw, 1), b""
    content = data[:8]
    for kind in (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"):
        if kind in chunks:
            length, checked = struct.pack(">I", len(chunks[kind])), kind + chunks[kind]
            content += length + checked + struct.pack(">I", zlib.crc32(checked))
    return Repaired(content, (0, 0, width, rows), turned, profile)


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The chunks of a PNG, without verifying checksums; the last may be shorter than its stated length."""
    at = 8
    while at + 8 <= len(data):
        (length,), kind = struct.unpack_from(">I", data, at), data[at + 4 : at + 8]
        yield kind, data[at + 8 : at + 8 + length]
        at += 12 + length


def _inflated(data: bytes) -> bytes | None:
    with suppress(zlib.error):
        return zlib.decompressobj().decompress(data, LONGEST)
    return None
