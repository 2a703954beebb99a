"""The image, without a container engine: what its build would copy, run as a container would run it."""

import importlib.metadata
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from fnmatch import fnmatchcase
from pathlib import Path
from urllib.request import ProxyHandler, build_opener

from packaging.utils import canonicalize_name

from tests.test_packaging import SERVING, names

ROOT = Path(__file__).resolve().parents[1]


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's (instruction, rest), continued lines joined as the builder joins them."""
    text = "\n".join(
        line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.startswith("#")
    )
    lines = re.sub(r"\\\n", "", text).splitlines()
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines) if word]


def rest_of(instruction: str) -> str:
    """What the last such instruction says: the one that counts."""
    return [rest for word, rest in instructions() if word == instruction][-1]


def environment() -> dict[str, str]:
    return dict(pair.split("=", 1) for word, rest in instructions() if word == "ENV" for pair in rest.split())


def ignored(path: str, patterns: list[str]) -> bool:
    """Whether .dockerignore keeps a path from the builder: the last pattern that matches it, or a folder
    above it, decides (https://docs.docker.com/build/concepts/context/#dockerignore-files)."""
    parts = path.split("/")
    prefixes = ["/".join(parts[: n + 1]) for n in range(len(parts))]
    verdict = False
    for pattern in patterns:
        keep, pattern = pattern.startswith("!"), pattern.removeprefix("!")
        anywhere, pattern = pattern.startswith("**/"), pattern.removeprefix("**/")
        candidates = parts if anywhere else prefixes
        if any(c.count("/") == pattern.count("/") and fnmatchcase(c, pattern) for c in candidates):
            verdict = not keep
    return verdict


def patterns() -> list[str]:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def copy(source: Path, image: Path) -> None:
    """Do the Dockerfile's COPY lines from one folder into another."""
    for word, rest in instructions():
        if word != "COPY":
            continue
        *wanted, target = rest.split()
        for want in wanted:
            files = [source / want] if (source / want).is_file() else sorted((source / want).rglob("*"))
            base = (source / want).parent if (source / want).is_file() else source / want
            for file in files:
                if file.is_file() and not ignored(file.relative_to(source).as_posix(), patterns()):
                    path = image / target / file.relative_to(base)
                    path.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(file, path)


def test_it_runs_as_a_numeric_user_without_rights() -> None:
    assert re.fullmatch(r"python:3\.12-slim@sha256:[0-9a-f]{64}", dict(instructions())["FROM"])
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", rest_of("USER"))


def test_secrets_tests_and_training_heads_stay_out_of_the_image(tmp_path: Path) -> None:
    inside = [
        "requirements.txt",
        "LICENSE",
        "app/main.py",
        "model/words.tsv",
        "model/fonts/a.otf",
        "templates/a/b.html",
        "static/c.js",
        "checkpoints/text.safetensors",
    ]
    outside = [
        ".env",
        ".git/config",
        ".venv/bin/python",
        "tests/test_docker.py",
        "docs/x.png",
        "runs/r/log.csv",
        "app/__pycache__/a.pyc",
        "model/fonts/__pycache__/a.pyc",
        "model/training/losses.py",
        "checkpoints/stage1-heads.safetensors",
    ]
    checkout, image = tmp_path / "checkout", tmp_path / "image"
    for name in inside + outside:
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).write_text(name)
    copy(checkout, image)
    copied = {path.relative_to(image).as_posix() for path in image.rglob("*") if path.is_file()}
    assert copied == set(inside)
    # Nothing else even reaches the builder.
    assert [name for name in inside + outside if not ignored(name, patterns())] == inside


# Given to Python as sitecustomize.py: what serving does not install is not to be had.
ONLY_SERVING = """
import sys


class Missing:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in {missing!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)


sys.meta_path.insert(0, Missing)
"""


def only_serving(folder: Path) -> Path:
    """A folder for PYTHONPATH that hides every package which the image would not hold."""
    held = names(SERVING)
    missing = {
        module
        for module, packages in importlib.metadata.packages_distributions().items()
        if not held & {canonicalize_name(package) for package in packages}
    }
    assert {"pytest", "pyarrow"} <= missing
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(ONLY_SERVING.format(missing=missing))
    return folder


def as_the_image_user(exec_form: str) -> list[str]:
    """An exec-form command, run as the image's user where this process may change users."""
    command: list[str] = json.loads(exec_form)
    if os.geteuid() != 0:
        return command
    user, group = rest_of("USER").split(":")
    # The one right left lets that user read a Python, or a checkout, that lies in another's home.
    rights = "-all,+dac_read_search"
    drop = ["setpriv", "--reuid", user, "--regid", group, "--clear-groups", "--no-new-privs"]
    return [*drop, f"--inh-caps={rights}", f"--ambient-caps={rights}", f"--bounding-set={rights}", *command]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def test_the_command_serves_from_what_is_copied(tmp_path: Path, tiny_checkpoint: Path) -> None:
    image = tmp_path / "image"
    copy(ROOT, image)
    settings = {
        **environment(),
        # What differs from the image: where Python lies, and that this machine has other servers and callers.
        "PATH": f"{Path(sys.executable).parent}:{os.defpath}",
        "PYTHONPATH": str(only_serving(tmp_path / "only-serving")),
        "CAFETERIA_HOST": "127.0.0.1",
        "CAFETERIA_PORT": str(free_port()),
        "OMP_NUM_THREADS": "1",
    }
    if not list(image.glob("checkpoints/*.safetensors")):
        settings["CAFETERIA_CHECKPOINT"] = str(tiny_checkpoint)
    check = as_the_image_user(rest_of("HEALTHCHECK").partition("CMD ")[2])

    def healthy() -> bool:
        return subprocess.run(check, env=settings, stderr=subprocess.DEVNULL, timeout=30).returncode == 0

    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(
            as_the_image_user(rest_of("CMD")), cwd=image, env=settings, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            deadline = time.monotonic() + 120
            while not healthy():
                assert server.poll() is None, (tmp_path / "log").read_text()
                assert time.monotonic() < deadline, (tmp_path / "log").read_text()
                time.sleep(0.2)
            address = f"http://127.0.0.1:{settings['CAFETERIA_PORT']}/dish.png?name=pea+soup&seed=7"
            with build_opener(ProxyHandler({})).open(address, timeout=60) as answer:
                assert answer.headers["Content-Type"] == "image/png"
                assert answer.read(8) == b"\x89PNG\r\n\x1a\n"
            if os.geteuid() == 0:
                assert os.stat(f"/proc/{server.pid}").st_uid != 0
        finally:
            server.send_signal(signal.SIGTERM)
            try:
                server.wait(30)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
    # A container that is stopped has ended well.
    assert server.returncode == 0, (tmp_path / "log").read_text()
    assert not healthy()
