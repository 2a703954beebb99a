"""`python -m tests.browser.screenshots [CHECKPOINT]`: the page's portraits for docs/, by the shipped checkpoint."""

from __future__ import annotations

import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

from app.application import create_app
from app.settings import Settings
from model.pipeline import Pipeline
from tests.serving import chromium, serve

DOCS = Path(__file__).parent.parent.parent / "docs"
PORTRAITS = (
    ("page-ja.png", "ja-JP", "light", 1280, "/?name=ピリ辛サーモンパフェ&seed=1&n=4"),
    ("page-en.png", "en-US", "dark", 1280, "/?name=smoky beetroot ramen&seed=1&n=4"),
    ("page-narrow.png", "ja-JP", "light", 390, "/?name=抹茶ラーメン&seed=1&n=4"),
    (
        "counter-en.png",
        "en-US",
        "light",
        1440,
        "/dish?name=beef stew&seed=3&path=2&mix=0.5:broccoli&to=udon&t=0.33",
    ),
    (
        "counter-ja.png",
        "ja-JP",
        "dark",
        1440,
        "/dish?name=うどん&seed=7&mix=-1:トマト&to=チョコレートケーキ&t=0.5",
    ),
    (
        "table-en.png",
        "en-US",
        "light",
        1280,
        "/table?names=beef stew%0Agreen salad%0Apancakes%0Audon&n=5&seed=1&by=amount&word=tomato",
    ),
)


def main(checkpoint: str) -> None:
    app = create_app(Settings(), Pipeline.load(checkpoint, "cpu"))
    with serve(app) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium(),
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        for file, locale, scheme, width, path in PORTRAITS:
            page = browser.new_page(
                locale=locale,
                color_scheme=scheme,  # type: ignore[arg-type]
                reduced_motion="reduce",
                viewport={"width": width, "height": 900},
            )
            page.goto(url + path, wait_until="networkidle")
            page.screenshot(path=DOCS / file)
        browser.close()


if __name__ == "__main__":
    main(*(sys.argv[1:] or ["checkpoints"]))
