"""Photographs whose files are damaged beside the pixels, or at their very end."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from model.data.decoding import decode
from tests.cases import case

GREEN, RED, GREY = (30, 160, 30), (200, 30, 30), 120
SIDE = 32


def halves() -> Image.Image:
    """Green on the left and red on the right: with orientation 6, green above red."""
    picture = Image.new("RGB", (400, 300), RED)
    picture.paste(GREEN, (0, 0, 200, 300))
    return picture


def saved(picture: Image.Image, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return buffer.getvalue()


def exif(*entries: tuple[int, int, int, bytes], order: str = "<") -> bytes:
    """EXIF of these entries (tag, type, count, four bytes), the last few of which need not make sense."""
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8)
    body = b"".join(struct.pack(f"{order}HHI", *entry[:3]) + entry[3] for entry in entries)
    return b"Exif\0\0" + head + struct.pack(f"{order}H", len(entries)) + body + bytes(20)


TURNED = (0x0112, 3, 1, b"\6\0\0\0")
ODD_EXIF = {
    "in order": exif(TURNED),
    "big-endian": exif((0x0112, 3, 1, b"\0\6\0\0"), order=">"),
    "a signed rational": exif(TURNED, (0x011A, 10, 1, struct.pack("<I", 30))),
    "a negative number": exif((0x0100, 9, 1, struct.pack("<i", -5)), TURNED),
    "a float that is no number": exif(TURNED, (0x9999, 11, 1, struct.pack("<f", float("nan")))),
    "a division by zero": exif(TURNED, (0x011A, 5, 1, struct.pack("<I", 38))),
    "a place beyond the end": exif((0x010F, 2, 500, struct.pack("<I", 99_999)), TURNED),
    "a type that is none": exif((0x0100, 99, 1, bytes(4)), TURNED),
    "a pointer to itself": exif(TURNED, (0x8769, 4, 1, struct.pack("<I", 8))),
    "cut off": exif(TURNED, (0x011A, 5, 1, bytes(4)))[:30],
    "more entries promised": exif(TURNED).replace(b"\1\0\x12\1", b"\xff\xff\x12\1"),
    "orientation as a long": exif((0x0112, 4, 1, b"\6\0\0\0")),
    "orientation as a byte": exif((0x0112, 1, 1, b"\6\0\0\0")),
    "orientation as text": exif((0x0112, 2, 2, b"6\0\0\0")),
    "orientation as a float": exif((0x0112, 11, 1, struct.pack("<f", 6))),
}


def is_turned(photo: bytes | Path) -> bool:
    pixels = decode(photo, SIDE).image.astype(int)
    return bool(np.abs(pixels[4, 16] - GREEN).max() < 12 and np.abs(pixels[-4, 16] - RED).max() < 12)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("odd", ODD_EXIF)
def test_a_photo_is_turned_whatever_else_its_exif_holds(odd: str, form: str) -> None:
    assert is_turned(saved(halves(), form, exif=ODD_EXIF[odd]))


@pytest.mark.parametrize("value", [0, 9, 700])
def test_an_orientation_that_is_none_turns_nothing(value: int) -> None:
    photo = saved(halves(), "JPEG", exif=exif((0x0112, 3, 1, struct.pack("<HH", value, 0))))
    assert np.abs(decode(photo, SIDE).image[16, 4].astype(int) - GREEN).max() < 12


def test_a_tiff_is_turned_once() -> None:
    photo = saved(halves(), "TIFF", tiffinfo={0x0112: 6})
    assert is_turned(photo)


# ---- PNG ---------------------------------------------------------------------------------------------------


def chunk(kind: bytes, body: bytes, checksum: int | None = None) -> bytes:
    right = zlib.crc32(kind + body) if checksum is None else checksum
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", right)


LONG = zlib.compress(b"x" * 3_000_000)
ODD_CHUNKS = {
    "long text": chunk(b"zTXt", b"Comment\0\0" + LONG),
    "much text": chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"x" * 1_000_000)) * 70,
    "a long XMP packet": chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + LONG),
    "a long profile that is none": chunk(b"iCCP", b"icc\0\0" + LONG),
    "a comment with a wrong checksum": chunk(b"tEXt", b"Comment\0hello", 0),
    "a time with a wrong checksum": chunk(b"tIME", bytes(7), 1),
    "something unknown": chunk(b"abCd", b"?", 2),
    "a short pHYs": chunk(b"pHYs", b"\0"),
    "an empty gAMA": chunk(b"gAMA", b""),
    "a short tRNS": chunk(b"tRNS", b"\0"),
    "a broken animation": chunk(b"acTL", b"\0"),
}


@pytest.mark.parametrize("odd", ODD_CHUNKS)
def test_what_a_png_holds_besides_its_pixels_does_not_matter(odd: str) -> None:
    whole = saved(halves(), "PNG", exif=exif(TURNED))
    assert is_turned(whole[:33] + ODD_CHUNKS[odd] + whole[33:])


def test_a_long_xmp_packet_can_say_how_to_turn_a_png() -> None:
    whole = saved(halves(), "PNG")
    packet = zlib.compress(b'<rdf:Description tiff:Orientation="6"/>' + b" " * 3_000_000)
    assert is_turned(whole[:33] + chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + packet) + whole[33:])


def test_a_png_without_its_last_chunk_and_one_with_more_behind_it_are_read() -> None:
    whole = saved(halves(), "PNG", exif=exif(TURNED))
    for photo in (whole[:-12], whole[:-16] + bytes(4) + whole[-12:], whole + b"junk"):
        assert is_turned(photo) and decode(photo, SIDE).lost == ""


def test_what_a_grey_of_16_bits_has_transparent_is_white_and_nothing_else(tmp_path: Path) -> None:
    greys = np.full((60, 60), GREY * 257, np.uint16)
    greys[:, :30] = 65_535
    whole = saved(Image.fromarray(greys), "PNG")
    for clear, right in ((65_535, GREY), (GREY * 257, 255), (7, GREY)):
        pixels = decode(whole[:33] + chunk(b"tRNS", struct.pack(">H", clear)) + whole[33:], SIDE).image
        assert pixels[:, 4].min() == 255
        assert abs(int(pixels[:, -4].mean()) - right) <= 1


# ---- JPEG --------------------------------------------------------------------------------------------------


def segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


ODD_SEGMENTS = {
    "Photoshop's": segment(0xED, b"Photoshop 3.0\x008BIM\4\4" + b"\xff" * 30),
    "several pictures": segment(0xE2, b"MPF\0garbage"),
    "a profile that is none": segment(0xE2, b"ICC_PROFILE\0\1\1junk"),
    "a comment": segment(0xFE, b"\xff" * 1000),
    "an XMP packet that is none": segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta tiff:Orientation='?'"),
    "a short JFIF": segment(0xE0, b"JFIF\0"),
    "an empty one": segment(0xE1, b""),
    "bytes between": b"\0\0garbage",
}


@pytest.mark.parametrize("odd", ODD_SEGMENTS)
def test_what_a_jpeg_holds_besides_its_pixels_does_not_matter(odd: str) -> None:
    whole = saved(halves(), "JPEG", exif=exif(TURNED))
    assert is_turned(whole[:2] + ODD_SEGMENTS[odd] + whole[2:])


# ---- cut off -----------------------------------------------------------------------------------------------


def textured() -> Image.Image:
    """As many bytes for every row."""
    noise = np.random.default_rng(0).integers(0, 60, (800, 400, 3))
    return Image.fromarray((noise + 100).astype(np.uint8))


FORMATS = [
    ("JPEG", {}), ("JPEG", {"subsampling": 0}), ("PNG", {}), ("BMP", {}), ("WEBP", {"lossless": True}), ("TIFF", {}),
]  # fmt: skip


@pytest.mark.parametrize(("form", "options"), FORMATS)
def test_of_a_file_that_lacks_its_end_the_rest_is_used_and_that_is_said(form: str, options: dict[str, Any]) -> None:
    whole = saved(textured(), form, **options)
    found = decode(whole[: int(0.98 * len(whole))], SIDE)
    assert found.lost.endswith("% of its rows") and 1 < float(found.lost.partition("%")[0]) < 5
    assert found.side == 400
    # Nothing black or grey stands for what is missing.
    assert np.abs(found.image.astype(int) - decode(whole, SIDE).image).mean() < 6


@pytest.mark.parametrize(("form", "options"), [*FORMATS, ("GIF", {}), ("AVIF", {}), ("JPEG2000", {})])
def test_a_file_that_lacks_much_is_not_used(form: str, options: dict[str, Any]) -> None:
    whole = saved(textured(), form, **options)
    for share in (0.5, 0.85):
        with pytest.raises(OSError, match="truncated|identify|broken|decoder|missing"):
            decode(whole[: int(share * len(whole))], SIDE)


@pytest.mark.parametrize(("form", "options"), FORMATS[:3])
def test_zeros_in_place_of_the_end_are_no_picture(form: str, options: dict[str, Any]) -> None:
    whole = saved(textured(), form, **options)
    end = int(0.98 * len(whole))
    assert decode(whole[:end] + bytes(len(whole) - end), SIDE).lost.endswith("% of its rows")
    assert decode(whole + bytes(5000), SIDE).lost == ""  # behind the end, as some cameras put them
    with pytest.raises(OSError, match="truncated|identify|broken|decoder|missing"):
        decode(whole[: len(whole) // 2] + bytes(len(whole) // 2), SIDE)


def test_a_jpeg_without_its_end_marker_lacks_nothing() -> None:
    whole = saved(halves(), "JPEG", exif=exif(TURNED))
    assert is_turned(whole[:-2]) and decode(whole[:-2], SIDE).lost == ""


def test_a_progressive_jpeg_lacks_details_and_not_rows() -> None:
    whole = saved(textured().resize((800, 1600)), "JPEG", progressive=True)
    assert decode(whole, SIDE).lost == ""
    assert decode(whole[: int(0.9 * len(whole))], SIDE).lost == "some of its details"
    for share in (0.05, 0.2):  # before its last scans
        with pytest.raises(OSError, match="truncated|identify|broken|decoder|missing"):
            decode(whole[: int(share * len(whole))], SIDE)


# ---- the shared cases --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [
    "comment_chunk_bad_crc.png", "exif_chunk_garbage.png", "long_compressed_text.png", "long_compressed_xmp.png",
    "no_end_marker.jpg",
])  # fmt: skip
def test_shared_photographs_are_read(name: str) -> None:
    found = decode(case(f"photos/{name}"), SIDE)
    assert found.lost == "" and found.side == 300
    assert np.ptp(found.image) > 100


def test_shared_photographs_are_turned() -> None:
    upright = decode(case("photos/no_end_marker.jpg"), SIDE).image.astype(int)
    for name in ("turned_signed_rational.jpg", "turned_negative_slong.jpg"):
        turned = decode(case(f"photos/{name}"), SIDE).image.astype(int)
        assert np.abs(np.rot90(turned) - upright).mean() < np.abs(turned - upright).mean()


def test_a_shared_grey_plate_is_a_grey_plate() -> None:
    pixels = decode(case("photos/grey16_with_transparent_white.png"), SIDE).image
    assert 100 < pixels.mean() < 230 and np.ptp(pixels) > 50
    assert np.ptp(pixels.astype(int), axis=2).max() == 0
