"""`python -m app`: runs the server, configured by environment variables."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys

from app.settings import SETTINGS, SettingError, Settings, read

# The terminal's end (SIGHUP, which Windows has not) is no reason to cut orders either.
STOPS = [signal.SIGTERM, signal.SIGINT, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m app",
        description="Serve the page and the API of Imaginary Cafeteria.",
        epilog="Set by environment variables:\n\n"
        + "\n".join(f"  {s.variable:22} {s.help} (default: {s.shown})" for s in SETTINGS),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.parse_args()
    try:
        settings = read(os.environ)
    except SettingError as error:
        return _refuse(error)
    before = {number: signal.signal(number, _stop) for number in STOPS}
    try:
        return _serve(settings)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _serve(settings: Settings) -> int:
    # libgomp reads it when torch is imported. By itself it lets a thread spin for milliseconds before it sleeps; where
    # another process keeps a core, so that two threads share the other, a picture takes ten times as long.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")

    # Here, so that --help and a mistyped setting answer at once: torch takes a second to import.
    import torch

    from app import cpus, descriptors, logs, uvicorn_server
    from app.application import create_app
    from model.checkpoint import CheckpointError
    from model.pipeline import Pipeline

    logs.configure(settings.log_level)
    descriptors.raise_limit()
    # Torch counts the machine's cores, of which a container may have been given few. The model's own thread gets them.
    threads = min(torch.get_num_threads(), cpus.usable())
    torch.set_num_threads(1)
    try:
        pipeline = Pipeline.load(settings.checkpoint, settings.device)
    except CheckpointError as error:
        return _refuse(error)
    except ValueError as error:  # no such device
        return _refuse(error)

    class Server(uvicorn_server.Server):
        async def startup(self, sockets: object = None) -> None:
            await super().startup(sockets)  # type: ignore[arg-type]
            if self.started:
                port = self.servers[0].sockets[0].getsockname()[1]
                host = f"[{settings.host}]" if ":" in settings.host else settings.host
                _say(
                    f"Imaginary Cafeteria is open at http://{host}:{port} "
                    f"(device {pipeline.device}, checkpoint {settings.checkpoint}, model {pipeline.version})"
                )

    server = Server(uvicorn_server.config(create_app(settings, pipeline, threads), settings))
    # Uvicorn takes SIGTERM and SIGINT a little later, and raises those that stopped it once more when it is done.
    for number in STOPS:
        signal.signal(number, server.handle_exit)
    try:
        server.run()
    except SystemExit:  # the address is taken, or not ours: uvicorn has logged which
        return 1
    return 0 if server.started else 1


def _say(line: str) -> None:
    """Prints to stdout, and ignores errors: it may be closed or full."""
    if sys.stdout is not None:
        with contextlib.suppress(OSError, ValueError):
            os.write(sys.stdout.fileno(), f"{line}\n".encode())


def _stop(number: int, frame: object) -> None:
    """Handles signals before the server runs. By default the first process of a container ignores them."""
    raise SystemExit(0)  # being told to stop is no failure


def _refuse(error: Exception) -> int:
    print(f"cafeteria: {error}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
