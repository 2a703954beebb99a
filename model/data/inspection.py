"""Inspects a folder of photographs before anything is trained on it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from tqdm import tqdm

from model.data.decoding import Decoded, decode
from model.data.file_names import has_words, joined, spelling
from model.data.layouts import DataError, Row, listing, passed_over
from model.data.photos import Photos
from model.generators import PICTURE_SIZE
from model.languages import Language
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
# Levels of 255, root mean square at 32 px. Saved again at half the size or as a small JPEG, a photo moves by 5 or less;
# with two per cent cut off its edges, as between two shots from one place, by 10 or more.
SAME = 7.0
FLAT = 1.0  # standard deviation of a channel over all pixels, in levels
HOW_TO_NAME = (
    "Name each file after its dish (beef_stew.jpg), or put the photographs of a dish into a folder of its name "
    "(beef stew/1.jpg), or list them in a metadata.csv (file_name,name)"
)
_BYTE = re.compile("<0x[0-9A-F]{2}>")


@dataclass(frozen=True)
class Findings:
    """The findings, as lists of labels and pairs of labels. A label identifies a photo in messages."""

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
    passed: dict[str, int] = field(default_factory=dict)
    """The number of files of each kind that other programs keep there."""
    copies: list[tuple[str, str]] = field(default_factory=list)
    """The same picture under the same name, at whatever size, left out, and the photo that stays."""
    alike: list[tuple[str, str]] = field(default_factory=list)
    """Nearly the same picture; both stay."""
    unnamed: list[str] = field(default_factory=list)
    """Photos that cameras and programs have named, and nobody after a dish; left out."""
    cut: list[str] = field(default_factory=list)
    """Photos whose end is missing, used all the same, and what they lack."""
    unread: dict[str, str] = field(default_factory=dict)
    """Names with letters that the tokenizer has never seen, and these letters."""

    def lines(self) -> list[str]:
        """The report, one line per finding."""
        names = Counter(self.photos.names)
        found = [f"{len(self.photos)} photographs of {len(names)} dishes"]

        def tell(what: str, items: Sequence[str]) -> None:
            if items:
                rest = f" and {len(items) - NAMED} more" if len(items) > NAMED else ""
                found.append(f"{len(items)} {what}: {', '.join(items[:NAMED])}{rest}")

        if names:
            found.append(f"names as they are understood: {joined(sorted(names.items()))}")
        if self.passed:
            found.append(f"passed over, as other programs keep them there: {passed_over(self.passed)}")
        tell("left out", self.left_out)
        tell("left out, since neither file nor folder has a dish's name", self.unnamed)
        tell("there twice, one of them left out", [f"{a} = {b}" for a, b in self.copies])
        tell("pairs nearly the same", [f"{a} ~ {b}" for a, b in self.alike])
        tell("cut off at the end, used all the same", self.cut)
        tell(f"under {SMALL} pixels, for stage 1 alone", [self.labels[row] for row in self.small])
        tell("blurred, used all the same", [self.labels[row] for row in self.blurred])
        letters = [f"{name} ({seen})" for name, seen in self.unread.items()]
        tell("names with letters that the text encoder has never seen", letters)
        return found


@dataclass(frozen=True)
class _Photo:
    row: Row  # with a name of "" where nobody has named it
    seen: Decoded


def look(data: Path | str, tokenizer: Tokenizer) -> Findings:
    """Inspects every photograph of a folder, or of anything else that `model.data.photos` reads.

    Raises:
        DataError: there are none, or fewer than FEWEST usable ones, or more than MOST, or most have no name. The
            message includes the other findings.
    """
    found = listing(data)
    if len(found.rows) > MOST:
        raise DataError(
            f"{data}: {len(found.rows):,} photographs are enough to train on: "
            "python -m model.train --from checkpoints (docs/training.md)"
        )
    rows, files = [*map(_normalized, found.rows)], found.photos()
    if rows:  # a photo without a name may be a copy of one that has a name
        rows += [Row(label, "") for label, _ in found.unnamed]
        files = chain(files, (path for _, path in found.unnamed))
    with ThreadPoolExecutor(4) as pool:
        results = [*tqdm(pool.map(_see, files), "looking", len(rows), unit=" photos", disable=None)]
    photos = [_Photo(row, seen) for row, seen in zip(rows, results, strict=True) if isinstance(seen, Decoded)]
    left_out = [*found.skipped]
    left_out += [f"{row.label} ({why})" for row, why in zip(rows, results, strict=True) if isinstance(why, str)]

    near = _alike([photo.seen.image for photo in photos])
    copies = _copies(photos, near)
    named = [n for n, photo in enumerate(photos) if photo.row.name and n not in copies]
    unnamed = [photo.row.label for n, photo in enumerate(photos) if not photo.row.name and n not in copies]
    unnamed += [] if rows else [label for label, _ in found.unnamed]
    at = {n: place for place, n in enumerate(named)}
    alike = [(at[a], at[b]) for a, b in near if a in at and b in at]
    kept = [photos[n] for n in named]
    labels, names = [photo.row.label for photo in kept], [photo.row.name for photo in kept]
    images = np.array([photo.seen.image for photo in kept], np.uint8).reshape(-1, PICTURE_SIZE, PICTURE_SIZE, 3)
    translations = [photo.row.translations for photo in kept]
    findings = Findings(
        photos=Photos(images, names, translations, [p.row.kind for p in kept], [p.row.source for p in kept]),
        labels=labels,
        groups=_groups(names, translations, alike),
        small=[i for i, photo in enumerate(kept) if photo.seen.side < SMALL],
        blurred=[i for i, image in enumerate(images) if _sharpness(image) < SHARP],
        left_out=left_out,
        passed=found.passed,
        copies=[(photos[a].row.label, photos[b].row.label) for a, b in copies.items()],
        alike=[(labels[a], labels[b]) for a, b in alike],
        unnamed=unnamed,
        cut=[f"{photo.row.label} (without {photo.seen.lost})" for photo in kept if photo.seen.lost],
        unread={name: letters for name in dict.fromkeys(names) if (letters := _unread(name, tokenizer))},
    )
    if refusal := _refusal(findings):
        raise DataError("\n".join([f"{data}: {refusal}", *findings.lines()]))
    return findings


def _refusal(findings: Findings) -> str:
    """Why the photographs cannot be used, "" if they can."""
    named, unnamed = len(findings.photos), findings.unnamed
    if len(unnamed) > named:
        return (
            f"{len(unnamed)} of {named + len(unnamed)} photographs have a number, a camera's name or a program's, "
            f"and no dish's ({', '.join(unnamed[:NAMED])}). {HOW_TO_NAME}"
        )
    if named >= FEWEST:
        return ""
    reasons = f"; left out: {', '.join(findings.left_out[:NAMED])}" if findings.left_out else ""
    reasons += f"; {len(findings.copies)} are copies of others" if findings.copies else ""
    reasons += f"; {len(unnamed)} have no dish's name" if unnamed else ""
    return f"{named} photographs can be used, and a cafeteria needs {FEWEST} at least{reasons}. Add some. {HOW_TO_NAME}"


def _normalized(row: Row) -> Row:
    name = normalize(row.name).text
    translations = {language: normalize(other).text for language, other in row.translations.items()}
    return Row(row.label, name if has_words(name) else "", translations, row.kind, row.source)


def _see(photo: bytes | Path) -> Decoded | str:
    """Decodes a photo; returns it, or why it cannot be used."""
    # Pillow meets a damaged file with nearly any exception, as in `model.data.photos`.
    try:
        seen = decode(photo, PICTURE_SIZE)
        return seen if seen.image.std(axis=(0, 1)).max() > FLAT else "one colour all over"
    except UnidentifiedImageError:
        return "not a picture"
    except Exception as error:
        return str(error) or type(error).__name__


def _copies(photos: Sequence[_Photo], near: Sequence[tuple[int, int]]) -> dict[int, int]:
    """Duplicates to leave out, and the photo that is kept for each: the same picture at least as large, with the same
    name.

    Names also count as the same if one has more words than the other ("ramen small"), or one is missing. Photos with
    different names are both kept; two shots of one dish are not the same picture.
    """
    tiny = [_reduced(photo.seen.image, 32, 32).astype(np.float32) for photo in photos]
    stays: dict[int, int] = {}
    order = sorted(near, key=lambda pair: -max(photos[n].seen.side for n in pair))
    for pair in order:
        larger, smaller = sorted(pair, key=lambda n: (not photos[n].row.name, -photos[n].seen.side, n))
        larger = stays.get(larger, larger)
        if smaller in stays or smaller == larger:
            continue
        names = [spelling(photos[n].row.name) for n in (larger, smaller)]
        apart = float(np.sqrt(((tiny[larger] - tiny[smaller]) ** 2).mean()))
        resized = photos[larger].seen.side != photos[smaller].seen.side or not all(names)
        if apart <= (SAME if resized else 0.0) and (names[0] in names[1] or names[1] in names[0]):
            stays[smaller] = larger
    return stays


def _sharpness(image: NDArray[np.uint8]) -> float:
    grey = np.asarray(Image.fromarray(image).convert("L"), np.float32)
    middle = grey[1:-1, 1:-1]
    return float((4 * middle - grey[:-2, 1:-1] - grey[2:, 1:-1] - grey[1:-1, :-2] - grey[1:-1, 2:]).var())


def _reduced(image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """(height, width) uint8, grey."""
    return np.asarray(Image.fromarray(image).convert("L").resize((width, height), Image.Resampling.LANCZOS))


def _alike(images: Sequence[NDArray[np.uint8]]) -> list[tuple[int, int]]:
    """Pairs of rows whose difference hashes (Krawetz 2013) are nearly equal.

    The hash takes two lines; ImageHash, the library for it, would bring in SciPy and PyWavelets.
    """
    small = np.array([_reduced(image, 9, 8) for image in images]).reshape(-1, 8, 9)
    bits = np.packbits(small[:, :, 1:] > small[:, :, :-1], axis=2)[..., 0]  # (N, 8) bytes
    pairs = []
    for row in range(len(bits) - 1):
        distance = np.bitwise_count(bits[row] ^ bits[row + 1 :]).sum(1)
        pairs += [(row, row + 1 + int(other)) for other in np.flatnonzero(distance <= ALIKE)]
    return pairs


def _groups(
    names: Sequence[str], translations: Sequence[Mapping[Language, str]], alike: Sequence[tuple[int, int]]
) -> list[int]:
    """Group numbers, shared by photos that have a name in common, however it is written or numbered, or that look
    alike."""
    first: dict[str, int] = {}
    every = [[own, *others.values()] for own, others in zip(names, translations, strict=True)]
    same = [(first.setdefault(spelling(name), row), row) for row, own in enumerate(every) for name in own if name]
    groups = list(range(len(names)))
    for a, b in [*same, *alike]:
        old, new = groups[b], groups[a]
        if old != new:
            groups = [new if group == old else group for group in groups]
    return groups


def _unread(name: str, tokenizer: Tokenizer) -> str:
    """The letters of a name that the tokenizer can only spell in bytes."""
    if not any(map(_BYTE.fullmatch, tokenizer.pieces(name))):
        return ""
    return "".join(dict.fromkeys(c for c in name if any(map(_BYTE.fullmatch, tokenizer.pieces(c)))))
