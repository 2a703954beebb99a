"""Lists the contents of a folder of photographs: pictures, recognized by content, and files that other programs keep
there."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

EXTENSIONS = {
    ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".jp2", ".png", ".webp", ".avif", ".heic", ".heif", ".hif",
    ".tif", ".tiff", ".bmp", ".gif",
}  # fmt: skip
HEAD = 32  # bytes that tell what a file is

# Folders and files, in small letters, of file managers, NAS systems, sync tools and photo libraries.
_FOLDERS = (
    "@eadir", "@tmp", "@recycle", "@recently-snapshot", "@__thumb", "@sharebin", "#recycle", "#snapshot",
    "__macosx", "$recycle.bin", "recycler", "recycled", "system volume information", "lost+found", "lost.dir",
    "found.0*", "network trash folder", "temporary items", "icloud photos.trash", "thumbnails", "thumbnail",
    "thumbs", "thumb", "_thumbs", "thmbnl", "_vti_*", "*.lrdata", "*.lrcat-data", "*.lrlibrary",
    "*.photoslibrary", "*.photolibrary", "*.migratedphotolibrary", "*.aplibrary", "*.cocatalog",
    "*.cosessiondb", "captureone", "photo booth library", "ipod photo cache", "picasa originals", "appdata_oc*",
    "files_trashbin", "files_versions", "plex versions", "node_modules", "__pycache__",
)  # fmt: skip
_FILES = (
    "thumbs.db*", "ehthumbs*.db", "desktop.ini", "icon\r", "*.sync-conflict-*", "*conflict*", "*konflikt*",
    "*copie en conflit*", "*競合コピー*", "~*", "*~", "*.bak", "*.tmp", "*.part", "*.partial", "*.crdownload",
    "*.download", "*.!sync", "*.opdownload", "*.*_original", "*.orig", "*.thm", "*.tnl", "*.lrprev",
    "*.lrfprev", "*.dthumb", "synophoto_*", "synofile_*", "albumart*", "zbthumbnail.info", "*.aae", "*.xmp",
    "*.pp3", "*.dop", "*.cos", "*.comask",
)  # fmt: skip

_OTHERS = {
    "a camera's raw file; export it as JPEG": "dng cr2 cr3 crw nef nrw arw srf sr2 raf orf rw2 rwl raw pef ptx"
    " srw x3f 3fr fff iiq mef mos mrw dcr kdc erf gpr",
    "not a format that is read; export it as JPEG": "jxl psd psb svg eps ai pdf xcf kra afphoto pxd procreate exr hdr"
    " jxr wdp tga",
    "an archive; unpack it": "zip rar 7z tar gz tgz bz2 xz zst cbz",
    "a shortcut; put what it leads to here": "lnk url webloc alias symlink",
}
_REASONS = {f".{ending}": reason for reason, endings in _OTHERS.items() for ending in endings.split()}
_HEADS = (
    (rb"\xff\n|\0\0\0\x0cJXL |8BPS|%PDF|%!PS|<svg|<\?xml[^>]*>\s*<svg", "not a format that is read; export it as JPEG"),
    (rb"PK\x03\x04|Rar!|7z\xbc\xaf", "an archive; unpack it"),
)
_VIDEOS = {".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".3gp", ".mts", ".m2ts", ".mpg", ".mpeg", ".wmv", ".insv"}
_TABLES = {".csv", ".tsv", ".jsonl", ".ndjson"}
_SHEETS = {".xlsx", ".xls", ".ods", ".numbers", ".json", ".txt"}
_TIFF = (b"II*\0", b"MM\0*")
_PICTURE = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n|GIF8[79]a|BM.{12}[\x0c(l|@8]\0\0\0|II\*\0|MM\0\*|RIFF.{4}WEBP|\0\0\0\x0cjP  |\xffO\xffQ"
    rb"|.{4}ftyp(heic|heix|heim|heis|hevc|hevx|mif1|msf1|avif|avis)",
    re.DOTALL,
)


@dataclass
class Contents:
    """The files found. Paths are sorted; unreadable files are listed with the reason."""

    photos: list[Path] = field(default_factory=list)
    tables: list[Path] = field(default_factory=list)
    """`metadata.*` of the folder itself."""
    unread: list[str] = field(default_factory=list)
    passed: Counter[str] = field(default_factory=Counter)
    """The number of files of each kind that other programs keep there."""


def contents(root: Path, without: set[str]) -> Contents:
    """Scans a folder recursively, following links to folders; `without` are folders in it to skip."""
    found = Contents()
    captions: list[Path] = []
    for path in _files(root, without, found):
        ending = path.suffix.lower()
        if path.stem.lower() == "metadata" and ending in _TABLES | _SHEETS:
            if path.parent == root and ending in _TABLES:
                found.tables.append(path)
            elif not (root / path.stem).with_suffix(".csv").exists():
                found.unread.append(f"{label(path, root)}: not read; save it as metadata.csv beside the photographs")
        elif ending in EXTENSIONS:
            found.photos.append(path)
        elif ending in _REASONS and (not _picture(path) or _head(path).startswith(_TIFF)):  # as most raw files are
            found.unread.append(f"{label(path, root)}: {_REASONS[ending]}")
        elif ending in _VIDEOS:
            found.passed["videos"] += 1
        elif ending == ".txt":
            captions.append(path)
        elif ending in _TABLES | _SHEETS:
            if path.parent == root and ending != ".json":
                found.unread.append(f"{label(path, root)}: not read; a table of names is called metadata.csv")
        elif _picture(path):
            found.photos.append(path)
        elif reason := _by_content(path):
            found.unread.append(f"{label(path, root)}: {reason}")
    stems = {path.with_suffix("") for path in found.photos}
    beside = [path for path in captions if path.with_suffix("") in stems]
    if beside:
        found.unread.append(
            f"{len(beside)} captions in .txt files ({label(beside[0], root)}…): not read; put them into a metadata.csv"
        )
    found.photos.sort()
    found.tables.sort()
    return found


def label(path: Path, root: Path) -> str:
    """A file's label in messages."""
    return path.relative_to(root).as_posix().encode("utf-8", "backslashreplace").decode()


def _files(root: Path, without: set[str], found: Contents) -> Iterator[Path]:
    """The user's own files; others are counted in `found`."""

    def unreadable(error: OSError) -> None:
        found.unread.append(f"{label(Path(error.filename), root)}: {error.strerror}")

    seen = {_identity(root)}
    for folder, folders, files in os.walk(root, onerror=unreadable, followlinks=True):
        here = Path(folder)
        for name in sorted(folders):
            path = here / name
            if here == root and name in without:
                folders.remove(name)
            elif kind := _left(name, _FOLDERS):
                folders.remove(name)
                found.passed[kind] += sum(len(inside) for _, _, inside in os.walk(path)) or 1
            elif (identity := _identity(path)) in seen:  # a link back would be followed for ever
                folders.remove(name)
                found.unread.append(f"{label(path, root)}: a link to a folder that is here already")
            else:
                seen.add(identity)
        folders.sort()
        for name in sorted(files):
            path = here / name
            if name.startswith(".") and name.endswith(".icloud"):
                found.unread.append(f"{label(path, root)}: still in iCloud; download it")
            elif kind := _left(name, _FILES):
                found.passed[kind] += 1
            elif not path.exists():
                found.unread.append(f"{label(path, root)}: a link to nothing")
            elif path.is_file():
                yield path


def _left(name: str, patterns: tuple[str, ...]) -> str:
    """The pattern by which a name is recognized as a program's, "" for a user's."""
    if name.startswith("._"):
        return "._*"
    if name.startswith("."):
        return name if name == ".DS_Store" or patterns is _FOLDERS else "hidden files"
    small = name.lower()
    for pattern in patterns:
        if fnmatch(small, pattern):
            return name if "*" not in pattern else pattern
    return ""


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(HEAD)
    except OSError:
        return b""


def _picture(path: Path) -> bool:
    return bool(_PICTURE.match(_head(path)))


def _by_content(path: Path) -> str:
    """Why the user might miss a file that is not read, "" if there is no reason."""
    head = _head(path)
    return next((reason for pattern, reason in _HEADS if re.match(pattern, head, re.DOTALL)), "")
