"""Times encoders of PNG files on our pictures: `python -m benchmarks.encoders`.

Those that are not installed are left out: `pip install --target DIR imagecodecs opencv-python-headless zlib-ng`, and
DIR in PYTHONPATH, brings all of them.
"""

import importlib
import io
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
import torchvision
from isal import isal_zlib
from PIL import Image

from benchmarks.picture import measure
from model import png
from model.checkpoint import CHECKPOINT
from model.pipeline import Pipeline

NAMES = ["ピリ辛サーモンパフェ", "smoky beetroot ramen", "green pea soup", "抹茶カレー"]
Encoder = Callable[[np.ndarray], object]


@click.command()
@click.option("--checkpoint", type=click.Path(path_type=Path), default=CHECKPOINT, help="Whose pictures.")
@click.option("--runs", type=click.IntRange(1), default=50, show_default=True, help="Timed runs of each encoder.")
def main(checkpoint: Path, runs: int) -> None:
    """Prints the median milliseconds on one thread and the mean size of a 256x256 picture, for each encoder."""
    torch.set_num_threads(1)
    pictures = Pipeline.load(checkpoint, "cpu").generate(NAMES, range(len(NAMES)))
    for name, encode in encoders().items():
        median, _ = measure(lambda encode=encode: [encode(picture) for picture in pictures], runs)  # type: ignore[misc]
        size = np.mean([len(bytes(encode(picture))) for picture in pictures])  # type: ignore[call-overload]
        click.echo(f"{name:32}{median / len(pictures):8.2f} ms{size / 1024:8.1f} KiB")


def encoders() -> dict[str, Encoder]:
    """By name: (H, W, 3) uint8 RGB -> the file."""
    found: dict[str, Encoder] = {"ours: up, ISA-L 1": lambda image: png.encode(image, {})}
    found |= {f"Pillow, level {level}": pillow(compress_level=level) for level in (6, 1)}
    found["Pillow, run lengths"] = pillow(compress_level=1, compress_type=zlib.Z_RLE)
    found["torchvision, level 1"] = lambda image: torchvision.io.encode_png(
        torch.from_numpy(image).permute(2, 0, 1), compression_level=1
    ).numpy()
    if cv2 := installed("cv2"):
        cv2.setNumThreads(1)
        arguments = [cv2.IMWRITE_PNG_COMPRESSION, 1]
        found["OpenCV, level 1"] = lambda image: cv2.imencode(".png", image, arguments)[1]
        arguments_rle = [*arguments, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
        found["OpenCV, run lengths"] = lambda image: cv2.imencode(".png", image, arguments_rle)[1]
    if imagecodecs := installed("imagecodecs"):
        found["imagecodecs, level 1"] = lambda image: imagecodecs.png_encode(image, level=1)
        found["imagecodecs (spng), level 1"] = lambda image: imagecodecs.spng_encode(image, level=1)
    # The same file as ours, compressed by others.
    found["up, ISA-L 0"] = compressed(lambda rows: isal_zlib.compress(rows, 0))
    found["up, ISA-L 3"] = compressed(lambda rows: isal_zlib.compress(rows, 3))
    if zlib_ng := installed("zlib_ng.zlib_ng"):
        found["up, zlib-ng 1"] = compressed(lambda rows: zlib_ng.compress(rows, 1))
    found["up, zlib 1"] = compressed(lambda rows: zlib.compress(rows.data, 1))
    found["up, zlib, run lengths"] = compressed(run_lengths)
    return found


def installed(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        return None


def pillow(**options: int) -> Encoder:
    def encode(image: np.ndarray) -> bytes:
        file = io.BytesIO()
        Image.fromarray(image).save(file, "PNG", **options)
        return file.getvalue()

    return encode


def compressed(compress: Callable[[np.ndarray], bytes]) -> Encoder:
    """The costly part of our encoder, compressed otherwise."""
    return lambda image: compress(png.filtered(image))


def run_lengths(rows: np.ndarray) -> bytes:
    compressor = zlib.compressobj(1, zlib.DEFLATED, strategy=zlib.Z_RLE)
    return compressor.compress(rows.data) + compressor.flush()


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.encoders")
