"""Rewrite constraints.txt from pyproject.toml: pins stay, new packages are added, the rest goes."""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "constraints.txt"


def resolve() -> dict[str, str]:
    """What pip would install here for everything: normalised name → version."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
        command += ["--constraint", str(FILE), "--report", str(report), f"{ROOT}[train,eval,test,bench,ray,lock]"]
        subprocess.run(command, check=True)
        packages = [entry["metadata"] for entry in json.loads(report.read_text())["install"]]
    pins = {re.sub(r"[-_.]+", "-", package["name"]).lower(): package["version"] for package in packages}
    del pins["imaginary-cafeteria"]
    return pins


def main() -> None:
    comments = [line for line in FILE.read_text().splitlines() if line.startswith("#")]
    pins = [f"{name}=={version}" for name, version in sorted(resolve().items())]
    FILE.write_text("\n".join([*comments, *pins]) + "\n")
    print(f"{FILE.name}: {len(pins)} packages")


if __name__ == "__main__":
    main()
