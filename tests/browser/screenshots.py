"""`python -m tests.browser.screenshots [CHECKPOINT]`: the page's portraits for docs/, by the shipped checkpoint."""

from __future__ import annotations

import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

from app.server import create_app
from app.settings import Settings
from model.generation import Pipeline
from tests.serving import chromium, serve

DOCS = Path(__file__).parent.parent.parent / "docs"
PORTRAITS = (
    ("page-ja.png", "ja-JP", "light", 1280, "ピリ辛サーモンパフェ"),
    ("page-en.png", "en-US", "dark", 1280, "smoky beetroot ramen"),
    ("page-narrow.png", "ja-JP", "light", 320, "抹茶ラーメン"),
)
SEED = "1"


def main(checkpoint: str) -> None:
    app = create_app(Settings(), Pipeline.load(checkpoint, "cpu"))
    with serve(app) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium(),
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        for file, locale, scheme, width, name in PORTRAITS:
            page = browser.new_page(
                locale=locale,
                color_scheme=scheme,  # type: ignore[arg-type]
                reduced_motion="reduce",
                viewport={"width": width, "height": 900},
            )
            page.goto(f"{url}/?name={name}&seed={SEED}&n=4", wait_until="networkidle")
            page.screenshot(path=DOCS / file)
        browser.close()


if __name__ == "__main__":
    main(*(sys.argv[1:] or ["checkpoints"]))
