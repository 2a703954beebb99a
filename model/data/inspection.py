"""What is in a folder of photographs, looked at before anything is trained on it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from tqdm import tqdm

from model.data.decoding import decode
from model.data.layouts import DataError, Row, listing
from model.data.photos import Photos
from model.generators import PICTURE_SIZE
from model.names import normalize
from model.text_encoder import Tokenizer

FEWEST = 20
MOST = 3000  # held in memory at full size, 200 kB each; who has more has enough to train on
SMALL = 150  # pixels, as for training stage 2
# Variance of the Laplacian (Pech-Pacheco et al. 2000) at 256 px. Of 134 sharp phone photos one in a hundred has under
# 110; blurred by two pixels, half have under 10.
SHARP = 40.0
# Bits of 64. Of the same photos no two are nearer than 10; saved again as a small JPEG, a photo moves by 3 or less.
ALIKE = 6
NAMED = 5  # how many of a kind are named one by one
# What telephones, cameras and messengers call a photo: a prefix, and then digits.
_CAMERA = re.compile(
    r"((fb )?img([ _]?e)?|imgp|cimg|image|photo|picture|dsc[nf]?|pxl|mvimg|gopr|dji|sam|vid|p|s|screenshot|received"
    r"|whatsapp image|signal|line( album)?|写真|画像|スクリーンショット)?"
    r"[\W\d_]*\d{3}[\W\d_]*((at|wa|am|pm|mp|burst|portrait|night|hdr|cover|edited)[\W\d_]*)*",
    re.IGNORECASE,
)
_BYTE = re.compile("<0x[0-9A-F]{2}>")


@dataclass(frozen=True)
class Findings:
    """What was found. Lists of labels and of pairs of labels, a label being what a photo is called in a message."""

    photos: Photos
    """(N, 256, 256, 3), in memory: those that can be used."""
    labels: list[str]
    groups: list[int]
    """(N,): photos with the same number have one name or nearly one picture, and are not to be parted."""
    small: list[int]
    """Rows of photos under 150 pixels a side: stage 1 alone is shown them."""
    blurred: list[int]
    left_out: list[str]
    """Each with the reason."""
    copies: list[tuple[str, str]] = field(default_factory=list)
    """The same picture under the same name, left out, and the photo that stays."""
    alike: list[tuple[str, str]] = field(default_factory=list)
    """Nearly the same picture; both stay."""
    cameras: list[str] = field(default_factory=list)
    """Photos that a camera has named, and nobody after a dish."""
    unread: dict[str, str] = field(default_factory=dict)
    """Names with letters that the tokenizer has never seen, and these letters."""

    def lines(self) -> list[str]:
        """The report, a line a matter."""
        found = [f"{len(self.photos)} photographs of {len(set(self.photos.names))} dishes"]

        def tell(what: str, items: Sequence[str]) -> None:
            if items:
                rest = f" and {len(items) - NAMED} more" if len(items) > NAMED else ""
                found.append(f"{len(items)} {what}: {', '.join(items[:NAMED])}{rest}")

        tell("left out", self.left_out)
        tell("there twice, one of them left out", [f"{a} = {b}" for a, b in self.copies])
        tell("pairs nearly the same", [f"{a} ~ {b}" for a, b in self.alike])
        tell(f"under {SMALL} pixels, for stage 1 alone", [self.labels[row] for row in self.small])
        tell("blurred, used all the same", [self.labels[row] for row in self.blurred])
        tell("named by a camera and after no dish: rename them", self.cameras)
        letters = [f"{name} ({seen})" for name, seen in self.unread.items()]
        tell("names with letters that the text encoder has never seen", letters)
        return found


@dataclass(frozen=True)
class _Seen:
    image: NDArray[np.uint8]
    side: int  # pixels of the photo's shorter side


def look(data: Path | str, tokenizer: Tokenizer) -> Findings:
    """Looks at every photograph of a folder, or of whatever else `model.data.photos` reads.

    Raises:
        DataError: none are there, or fewer than FEWEST can be used, or more than MOST are there.
    """
    found = listing(data)
    if len(found.rows) > MOST:
        raise DataError(
            f"{data}: {len(found.rows):,} photographs are enough to train on: "
            "python -m model.train --from checkpoints (docs/training.md)"
        )
    with ThreadPoolExecutor(4) as pool:
        progress = tqdm(pool.map(_see, found.photos()), "looking", len(found.rows), unit=" photos", disable=None)
        seen = list(progress)

    left_out = list(found.skipped)
    copies: list[tuple[str, str]] = []
    first: dict[tuple[str, str], str] = {}
    kept: list[tuple[Row, _Seen]] = []
    for row, result in zip(found.rows, seen, strict=True):
        if isinstance(result, str):
            left_out.append(f"{row.label} ({result})")
            continue
        name, japanese = normalize(row.name).text, row.name_ja and normalize(row.name_ja).text
        picture = hashlib.sha256(result.image.tobytes()).hexdigest()
        if (picture, name) in first:
            copies.append((row.label, first[picture, name]))
            continue
        first[picture, name] = row.label
        kept.append((Row(row.label, name, japanese, row.kind, row.source), result))

    if len(kept) < FEWEST:
        reasons = f"; left out: {', '.join(left_out[:NAMED])}" if left_out else ""
        reasons += f"; {len(copies)} are copies of others" if copies else ""
        raise DataError(
            f"{data}: {len(kept)} photographs can be used, and a cafeteria needs {FEWEST} at least"
            f"{reasons}. Add photographs, each in a file named after its dish"
        )
    rows = [row for row, _ in kept]
    cameras = [row.label for row in rows if _CAMERA.fullmatch(row.name)]
    if 2 * len(cameras) > len(rows):
        raise DataError(
            f"{data}: {len(cameras)} of {len(rows)} photographs have a camera's name and no dish's "
            f"({', '.join(cameras[:NAMED])}). Name each file after its dish"
        )
    images = np.stack([photo.image for _, photo in kept])
    labels, names = [row.label for row in rows], [row.name for row in rows]
    alike = _alike(images)
    return Findings(
        photos=Photos(images, names, [r.name_ja for r in rows], [r.kind for r in rows], [r.source for r in rows]),
        labels=labels,
        groups=_groups(names, alike),
        small=[i for i, (_, photo) in enumerate(kept) if photo.side < SMALL],
        blurred=[i for i, image in enumerate(images) if _sharpness(image) < SHARP],
        left_out=left_out,
        copies=copies,
        cameras=cameras,
        alike=[(labels[a], labels[b]) for a, b in alike],
        unread={name: letters for name in dict.fromkeys(names) if (letters := _unread(name, tokenizer))},
    )


def _see(photo: bytes | Path) -> _Seen | str:
    """A photo, or why it cannot be read."""
    # Pillow meets a damaged file with nearly any exception, as in `model.data.photos`.
    try:
        seen = decode(photo, PICTURE_SIZE)
        return _Seen(seen.image, seen.side)
    except UnidentifiedImageError:
        return "not a picture"
    except Exception as error:
        return str(error) or type(error).__name__


def _sharpness(image: NDArray[np.uint8]) -> float:
    grey = np.asarray(Image.fromarray(image).convert("L"), np.float32)
    middle = grey[1:-1, 1:-1]
    return float((4 * middle - grey[:-2, 1:-1] - grey[2:, 1:-1] - grey[1:-1, :-2] - grey[1:-1, 2:]).var())


def _alike(images: NDArray[np.uint8]) -> list[tuple[int, int]]:
    """Pairs of rows that a difference hash (Krawetz 2013) hardly tells apart.

    The hash is two lines; ImageHash, the library for it, would bring SciPy and PyWavelets along.
    """
    small = np.stack([
        np.asarray(Image.fromarray(image).convert("L").resize((9, 8), Image.Resampling.LANCZOS)) for image in images
    ])  # fmt: skip
    bits = np.packbits(small[:, :, 1:] > small[:, :, :-1], axis=2)[..., 0]  # (N, 8) bytes
    pairs = []
    for row in range(len(bits) - 1):
        distance = np.bitwise_count(bits[row] ^ bits[row + 1 :]).sum(1)
        pairs += [(row, row + 1 + int(other)) for other in np.flatnonzero(distance <= ALIKE)]
    return pairs


def _groups(names: Sequence[str], alike: Sequence[tuple[int, int]]) -> list[int]:
    first: dict[str, int] = {}
    groups = [first.setdefault(name.casefold(), row) for row, name in enumerate(names)]
    for a, b in alike:
        old, new = groups[b], groups[a]
        groups = [new if group == old else group for group in groups]
    return groups


def _unread(name: str, tokenizer: Tokenizer) -> str:
    """The letters of a name that the tokenizer has only bytes for."""
    if not any(map(_BYTE.fullmatch, tokenizer.pieces(name))):
        return ""
    return "".join(dict.fromkeys(c for c in name if any(map(_BYTE.fullmatch, tokenizer.pieces(c)))))
