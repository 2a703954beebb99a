"""The cafeteria on LitServe, which pickles its API and so wants it in a module: `python -m benchmarks.lit PORT`."""

import sys

import litserve
from fastapi import Response

from model import png
from model.checkpoint import CHECKPOINT
from model.pipeline import Pipeline


class Cafeteria(litserve.LitAPI):  # type: ignore[misc]
    """`POST /predict` with a name and a seed answers with a PNG file."""

    def setup(self, device: str) -> None:
        self.pipeline = Pipeline.load(CHECKPOINT, "auto")

    def decode_request(self, request: dict[str, object]) -> tuple[str, int]:
        return str(request["name"]), int(str(request["seed"]))

    def predict(self, dishes: list[tuple[str, int]]) -> list[bytes]:
        names, seeds = zip(*dishes, strict=True)
        pictures, version = self.pipeline.generate(names, seeds), self.pipeline.version
        return [png.encode(p, png.describe(*dish, version)) for p, dish in zip(pictures, dishes, strict=True)]

    def unbatch(self, output: list[bytes]) -> list[bytes]:
        return output

    def encode_response(self, output: bytes) -> Response:
        return Response(output, media_type="image/png")


if __name__ == "__main__":
    from benchmarks.lit import Cafeteria as Importable  # not as __main__, where the worker would not find it

    server = litserve.LitServer(
        Importable(max_batch_size=8, batch_timeout=0), accelerator="cpu", healthcheck_path="/readyz"
    )
    server.run(port=int(sys.argv[1]), generate_client_file=False, log_level="warning", num_api_servers=1)
