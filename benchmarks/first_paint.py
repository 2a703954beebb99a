"""How soon a running server's page is seen, by a Chromium with an empty cache: `python -m benchmarks.first_paint`.

First contentful paint (https://www.w3.org/TR/paint-timing/) counts from the click on. `load` is when the last
picture in sight has been made, sent and decoded; `own bytes` are our HTML, CSS and scripts, uncompressed.
"""

import statistics

import click
from playwright.sync_api import Browser, Response, sync_playwright

from tests.serving import chromium

PATHS = ("/", "/?name=beef+stew&seed=1&n=4", "/dish?name=beef+stew&seed=3&to=udon&t=0.5", "/docs")


@click.command()
@click.option("--url", default="http://127.0.0.1:8000", show_default=True, help="The server, as of `make serve`.")
@click.option("--runs", type=click.IntRange(1), default=10, show_default=True, help="Visits of each page.")
def main(url: str, runs: int) -> None:
    """Prints medians and the worst of some visits, in milliseconds, after one visit that warms the server up."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox", "--disable-gpu"])
        click.echo(f"{'page':45}{'first paint':>12}{'worst':>8}{'load':>8}{'own bytes':>11}")
        for path in PATHS:
            visits = [visit(browser, url + path) for _ in range(runs + 1)][1:]
            paints, pictures, sizes = zip(*visits, strict=True)
            click.echo(
                f"{path:45}{statistics.median(paints):12.0f}{max(paints):8.0f}"
                f"{statistics.median(pictures):8.0f}{max(sizes):11,}"
            )
        browser.close()


def visit(browser: Browser, address: str) -> tuple[float, float, int]:
    """First contentful paint and all pictures in sight, in milliseconds; bytes of our own."""
    context = browser.new_context()
    page = context.new_page()
    responses: list[Response] = []
    page.on("response", lambda response: responses.append(response))
    page.goto(address, wait_until="load")
    paint = page.evaluate(
        """() => new Promise(resolve => new PerformanceObserver((list, observer) => {
            const found = list.getEntriesByName("first-contentful-paint")[0];
            if (found) { observer.disconnect(); resolve(found.startTime); }
        }).observe({ type: "paint", buffered: true }))"""
    )
    pictures = page.evaluate("performance.getEntriesByType('navigation')[0].loadEventStart")
    own = {
        response.url: len(response.body())
        for response in responses
        if response.request.resource_type in ("document", "stylesheet", "script")
    }
    context.close()
    return float(paint), float(pictures), sum(own.values())


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.first_paint")
