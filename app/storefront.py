"""Draws the look of the pages for preview cards: paper, noren, lanterns, an order slip, a plate.

Colours and shapes are those of the light theme in static/style.css.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from app import typesetting

PAPER, WAVE, SLIP = "#f6efdf", "#efe5cf", "#fffdf7"
INK, SOFT, LINE, RED = "#2a211b", "#66574a", "#d5c6a8", "#a92f1d"
INDIGO, FOLD, CLOTH = "#24406a", "#1c3356", "#f6efdf"
ROD, ROD_SHADE = "#8a6a45", "#5d452b"
RIM, GLAZE = "#fffefb", "#efe9dc"
WOOD, WOOD_EDGE, WOOD_INK = "#ecd9b6", "#cbb186", "#33261a"
LANTERN, CAP, RIBS, SHADE = "#c4412b", "#4a3524", "#8f2a1a", "#462d14"
NAME = "空想食堂"
FINE = 4  # drawn this many times as large and then reduced, since Pillow's shapes have hard edges
# The foot of a panel of cloth, left and right to it, in hundredths of its width and height; they take turns.
HEMS = (
    ((0, 0), (100, 0), (98, 97), (76, 100), (50, 97), (24, 100), (2, 97)),
    ((0, 0), (100, 0), (98, 98), (70, 96), (46, 100), (22, 97), (2, 100)),
)


@cache
def wall(width: int, height: int, waves: int) -> Image.Image:
    """A paper background, with a fading pattern of waves on its upper `waves` pixels."""
    tile = np.linspace(0, 56, 56 * FINE, endpoint=False), np.linspace(0, 28, 28 * FINE, endpoint=False)
    x, y = np.meshgrid(*tile)
    radius = np.hypot(x - 28, y - 28) / np.hypot(28, 28)
    ring = ((radius > 0.21) & (radius < 0.3)) | ((radius > 0.45) & (radius < 0.54))
    small = np.asarray(Image.fromarray((ring * 255).astype(np.uint8)).reduce(FINE))
    pattern = np.tile(small, (height // 28 + 1, width // 56 + 1))[:height, :width].astype(float)
    pattern *= np.clip(2 - 2 * np.arange(height) / waves, 0, 1)[:, None]
    paper = Image.new("RGB", (width, height), PAPER)
    paper.paste(WAVE, mask=Image.fromarray(pattern.astype(np.uint8)))
    return paper


def hang(sheet: Image.Image, centre: int, top: int, panel: tuple[int, int], rod: int) -> None:
    """Draws a noren of four panels of this size on a rod of this length, between two lanterns."""
    cloth, lantern = _noren(*panel), _lantern(round(panel[1] * 0.8))
    left = centre - cloth.width // 2
    sheet.paste(_rod(rod), (centre - rod // 2, top - 6), _rod(rod))
    sheet.paste(cloth, (left, top), cloth)
    aside = (rod + cloth.width) // 4  # halfway between the cloth and the end of the rod
    for x in (centre - aside, centre + aside):
        sheet.paste(lantern, (x - lantern.width // 2, top + 2), lantern)


def slip(sheet: Image.Image, box: tuple[int, int, int, int]) -> None:
    """Draws an order slip, torn off a pad, in the box left, top, right, bottom."""
    left, top, right, bottom = box
    width, height = right - left, bottom - top
    mask = _rounded(width, height, 8)
    teeth = Image.new("L", (width * FINE, 10 * FINE), 255)
    draw = ImageDraw.Draw(teeth)
    for k in range(round(width / 18) + 1):
        x, r = k * 18 * FINE, 5 * FINE
        draw.ellipse((x - r, -r, x + r, r), fill=0)
    mask.paste(teeth.reduce(FINE), (0, 0))
    _shadow(sheet, mask, (left, top), drop=10, blur=16, strength=0.3)
    sheet.paste(SLIP, (left, top), mask)


def plate(sheet: Image.Image, picture: Image.Image, left: int, top: int, side: int) -> None:
    """Draws a dish on a square plate."""
    rim = _rounded(side, side, round(side * 0.14))
    _shadow(sheet, rim, (left, top), drop=side // 40, blur=side // 28, strength=0.35)
    sheet.paste(_gradient(side, side, RIM, GLAZE), (left, top), rim)
    edge = ImageChops.subtract(rim, _rounded(side - 2, side - 2, round(side * 0.14) - 1, 1))
    sheet.paste(LINE, (left, top), edge)
    inner = round(side * 0.91)
    at = left + (side - inner) // 2, top + (side - inner) // 2
    resized = picture.resize((inner, inner), Image.Resampling.LANCZOS)
    sheet.paste(resized, at, _rounded(inner, inner, round(side * 0.1)))


def tag(sheet: Image.Image, box: tuple[int, int, int, int]) -> None:
    """Draws a wooden tag in the box left, top, right, bottom."""
    left, top, right, bottom = box
    mask = _rounded(right - left, bottom - top, 8)
    _shadow(sheet, mask, (left, top), drop=2, blur=3, strength=0.3)
    sheet.paste(WOOD_EDGE, (left, top), mask)
    mask = _rounded(right - left - 2, bottom - top - 2, 7)
    sheet.paste(WOOD, (left + 1, top + 1), mask)


def rule(sheet: Image.Image, centre: int, y: int) -> None:
    """Draws the double line under a heading."""
    for k in (0, 4):
        sheet.paste(RED, (centre - 32, y + k, centre + 32, y + k + 1))


def write(
    sheet: Image.Image, face: typesetting.Face, lines: list[str], centre: float, y: float, colour: str
) -> None:
    """Writes lines from `y` down, each centred on `centre`."""
    draw = ImageDraw.Draw(sheet)
    for k, line in enumerate(lines):
        at = centre - face.width(line) / 2
        for font, run in face.runs(line):
            draw.text((at, y + face.size * typesetting.LEADING * (k + 0.5)), run, colour, font, anchor="lm")
            at += font.getlength(run)


@cache
def _noren(width: int, height: int) -> Image.Image:
    cloth = Image.new("RGBA", (4 * width + 6, height))
    for k, letter in enumerate(NAME):
        stops = ((0, FOLD), (0.22, INDIGO), (0.6, INDIGO), (0.78, FOLD), (1, INDIGO))
        panel = _stripes(width, height, stops)
        mask = Image.new("L", (width * FINE, height * FINE))
        hem = [(x * width * FINE / 100, y * height * FINE / 100) for x, y in HEMS[k % 2]]
        ImageDraw.Draw(mask).polygon(hem, fill=255)
        face = typesetting.face(NAME, round(width * 0.63))
        write(panel, face, [letter], width / 2, height * 0.47 - face.size * typesetting.LEADING / 2, CLOTH)
        cloth.paste(panel, (k * (width + 2), 0), mask.reduce(FINE))
    return cloth


@cache
def _rod(length: int) -> Image.Image:
    rod = _stripes(11, length, ((0, ROD), (1, ROD_SHADE))).transpose(Image.Transpose.ROTATE_270).convert("RGBA")
    rod.putalpha(_rounded(length, 11, 5))
    return rod


@cache
def _lantern(height: int) -> Image.Image:
    """A lantern, like the 60 by 104 drawing in templates/base.html."""
    scale = height * FINE / 104
    lantern = Image.new("RGBA", (round(60 * scale), height * FINE))
    draw = ImageDraw.Draw(lantern)

    def line(x0: float, y0: float, x1: float, y1: float, colour: str) -> None:
        draw.line([(x0 * scale, y0 * scale), (x1 * scale, y1 * scale)], colour, round(2 * scale))

    for x, y0, y1 in ((30, 0, 14), (30, 90, 102), (26, 94, 103), (34, 94, 103)):
        line(x, y0, x, y1, SOFT)
    # A cubic curve from 18, 21 by 3, 32 and 3, 72 to 18, 83, and its mirror image.
    t = np.linspace(0, 1, 40)
    powers = np.stack([(1 - t) ** 3, 3 * (1 - t) ** 2 * t, 3 * (1 - t) * t**2, t**3], axis=-1)
    side = powers @ np.array([(18, 21), (3, 32), (3, 72), (18, 83)])
    shade = np.concatenate([side, (60, 0) + side[::-1] * (-1, 1)]) * scale
    draw.polygon([(x, y) for x, y in shade.tolist()], fill=LANTERN)
    for x0, y, x1 in ((11, 31, 49), (7, 42, 53), (6, 52, 54), (7, 62, 53), (11, 73, 49)):
        line(x0, y, x1, y, RIBS)
    for y in (13, 82):
        draw.rounded_rectangle([17 * scale, y * scale, 43 * scale, (y + 8) * scale], 2 * scale, fill=CAP)
    return lantern.reduce(FINE)


@cache
def _rounded(width: int, height: int, radius: int, margin: int = 0) -> Image.Image:
    """A mask of a box with rounded corners, inset by `margin` from a larger one."""
    mask = Image.new("L", ((width + 2 * margin) * FINE, (height + 2 * margin) * FINE))
    box = [margin * FINE, margin * FINE, (width + margin) * FINE - 1, (height + margin) * FINE - 1]
    ImageDraw.Draw(mask).rounded_rectangle(box, radius * FINE, fill=255)
    return mask.reduce(FINE)


@cache
def _gradient(width: int, height: int, begin: str, end: str) -> Image.Image:
    """A gradient from the upper left corner to the lower right."""
    slope = np.add.outer(np.linspace(0, 127, height), np.linspace(0, 128, width)).astype(np.uint8)
    image = Image.new("RGB", (width, height), begin)
    image.paste(end, mask=Image.fromarray(slope))
    return image


def _stripes(width: int, height: int, stops: tuple[tuple[float, str], ...]) -> Image.Image:
    """A gradient from left to right through colours at these positions from 0 to 1."""
    places, colours = zip(*stops, strict=True)
    rgb = np.array([Image.new("RGB", (1, 1), colour).getpixel((0, 0)) for colour in colours])
    x = np.linspace(0, 1, width)
    row = np.stack([np.interp(x, places, channel) for channel in rgb.T], axis=-1)
    return Image.fromarray(np.broadcast_to(row.astype(np.uint8), (height, width, 3)).copy())


def _shadow(
    sheet: Image.Image, mask: Image.Image, at: tuple[int, int], *, drop: int, blur: int, strength: float
) -> None:
    """Draws the shadow of something with this mask onto the sheet."""
    room = 3 * blur
    shade = Image.new("L", (mask.width + 2 * room, mask.height + 2 * room))
    shade.paste(mask.point(lambda value: int(value * strength)), (room, room))
    sheet.paste(SHADE, (at[0] - room, at[1] - room + drop), shade.filter(ImageFilter.GaussianBlur(blur)))
