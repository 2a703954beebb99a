"""The evaluator's report: one HTML file with every metric and the pictures that go with it."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.languages import Language

Picture = NDArray[np.uint8]  # (H, W, 3)
QUALITY = 88  # of the JPEG files inside
SMALL = 128  # pixels at most, where pictures are shown small


@dataclass(frozen=True)
class Sample:
    """A validation photograph with pictures of its name; `sketch` is the first of them after stage 1."""

    name: str
    translations: Mapping[Language, str]
    photo: Picture
    sketch: Picture | None
    pictures: list[Picture]


@dataclass(frozen=True)
class Closest:
    """A picture and its nearest training photograph."""

    picture: Picture
    photo: Picture
    name: str
    photo_name: str
    distance: float


@dataclass(frozen=True)
class ContrastImages:
    """Pictures of two names that differ in one word, and whether colour and matching head tell them apart correctly."""

    names: tuple[str, str]
    colours: tuple[str, str]
    pictures: tuple[list[Picture], list[Picture]]
    colour: bool
    head: bool


@dataclass
class ReportImages:
    """The pictures of one size."""

    samples: list[Sample]
    crowd: list[tuple[str, list[Picture]]] = field(default_factory=list)
    """Names with many latents each."""
    closest: list[Closest] = field(default_factory=list)
    contrasts: list[ContrastImages] = field(default_factory=list)


def render(figures: dict[str, Any], images: dict[str, ReportImages]) -> str:
    """Renders a self-contained HTML page. Both arguments are as in `model.evaluation.figures.Evaluation`."""
    return page(Path(__file__).with_name("report.html"), figures=figures, images=images)


def page(template: Path, **values: object) -> str:
    """Renders a template. Its filter `uri` embeds a picture in the page as a JPEG."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(template.parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["uri"] = _uri
    return environment.get_template(template.name).render(values)


def _uri(picture: Picture, small: bool = False) -> str:
    image = Image.fromarray(picture)
    if small:
        image.thumbnail((SMALL, SMALL))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
