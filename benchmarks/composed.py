"""What the pictures that are made of pictures cost besides them: `python -m benchmarks.composed`."""

import datetime
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import click
import torch

from app import featured, morph, share_card
from app.pictures import PictureFile, PipelineModel
from model.checkpoint import CHECKPOINT
from model.dishes import Dish
from model.pipeline import Pipeline

LONG = "とろーりチーズとほうれん草のクリームコロッケ定食、たっぷり夏野菜のラタトゥイユ添え"
MORPH = Dish("smoky beetroot ramen", 7, to="chocolate cake")


@click.command()
@click.option("--checkpoint", type=click.Path(path_type=Path), default=CHECKPOINT, help="Whose pictures.")
@click.option("--runs", type=click.IntRange(1), default=10, show_default=True, help="Timed runs of each.")
def main(checkpoint: Path, runs: int) -> None:
    """Prints median milliseconds of CPU time, after a first run, and the size of each file."""
    torch.set_num_threads(1)
    pipeline = Pipeline.load(checkpoint, "cpu")
    model = PipelineModel(pipeline)

    def drawn(*dishes: Dish) -> list[bytes]:
        files = [PictureFile(dish) for dish in dishes]
        return [model.encode(file, model.refine([file], model.sketch([file]))[0]) for file in files]

    short, long = Dish("smoky beetroot ramen", 7), Dish(LONG, 7)
    menu = featured.menu(datetime.date(2026, 11, 30), "en")[: share_card.FRONT_DISHES]
    pngs = {"short": drawn(short)[0], "long": drawn(long)[0]}
    menu_pngs, steps = drawn(*menu), drawn(*MORPH.steps(morph.FRAMES))
    large = {format: PictureFile(Dish(short.name, short.seed, 1024), format) for format in ("png", "webp")}
    picture = model.refine([large["png"]], model.sketch([large["png"]]))[0]
    works: dict[str, Callable[[], bytes]] = {
        "card, a short name": lambda: share_card.of_dish(short, "en", pngs["short"]),
        "card, a long name": lambda: share_card.of_dish(long, "ja", pngs["long"]),
        "card of the front page": lambda: share_card.of_front_page(menu, "en", menu_pngs),
        "moving morph": lambda: morph.compose(MORPH, pipeline.version, steps),
        "1024 px, PNG": lambda: model.encode(large["png"], picture),
        "1024 px, WebP": lambda: model.encode(large["webp"], picture),
    }
    for name, work in works.items():
        data, times = work(), []
        for _ in range(runs):
            start = time.process_time()  # which other work on the machine leaves alone
            work()
            times.append(1000 * (time.process_time() - start))
        click.echo(f"{name:24}{statistics.median(times):8.0f} ms{len(data) / 1024:8.0f} KiB")


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.composed")
