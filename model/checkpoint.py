"""Reads and writes checkpoints: folders with safetensors weights, a config and a sentencepiece model.

Nothing is ever unpickled. Weights are float16 on disk and float32 in memory. Every file is replaced atomically, so a
process killed at any moment leaves either the old file or the new one.
"""

import hashlib
import inspect
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from model.generators import SKETCH_SIZE

FORMAT = 1
CONFIG = "config.json"
TOKENIZER = "tokenizer.model"
FOCUS = "depth-of-field"  # the only network that a checkpoint may lack
NETWORKS = ("text", "stage1", "stage2")  # what makes pictures, with FOCUS; the discriminator heads do not
MATCHING = f"matching-{SKETCH_SIZE}"  # the head of the text-match loss, by the size of pictures that it has seen
# What serving, and going on with training, need; the index of names comes on top.
SHIPPED = (
    "text", MATCHING, "stage1", "stage1-heads", "stage1-pixels", "stage1-encoder",
    "stage2", "stage2-heads", "stage2-window-heads", "stage2-pixels",
)  # fmt: skip
CHECKPOINT = Path(__file__).parent.parent / "checkpoints"
MAX_FILE_BYTES = 16 * 2**20

Network = TypeVar("Network", bound=nn.Module)


class CheckpointError(ValueError):
    """A checkpoint that cannot be read or written; the message names the file and what is wrong with it."""


def weights_path(folder: Path | str, name: str) -> Path:
    return Path(folder) / f"{name}.safetensors"


def read_config(folder: Path | str) -> dict[str, Any]:
    """Reads the folder's config.json; every section in it is an object.

    A run that trains one stage has only that stage's section, so missing sections are not an error here. Raises
    CheckpointError if the file is missing, not JSON, or in another format.
    """
    path = Path(folder) / CONFIG
    try:
        config = json.loads(read_file(path))
    except (ValueError, RecursionError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{path} is not JSON: {error}") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"{path} holds a {type(config).__name__}, not an object")
    if config.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} says format {config.get('format')!r}; this version reads format {FORMAT}"
        )
    for name, section in config.items():
        if name != "format" and not isinstance(section, dict):
            raise CheckpointError(f"{path}: {name!r} is {section!r}, not an object")
    return config


def save_config(folder: Path | str, **sections: Mapping[str, Any]) -> None:
    """Sets the named sections of config.json and keeps the others; creates the folder if needed.

    `save_config(run, stage1=generator.config, training={"stage1": {"kimg": 800}})`
    """
    path = Path(folder) / CONFIG
    config: dict[str, Any] = read_config(folder) if path.exists() else {"format": FORMAT}
    config.update(sections)
    try:
        text = json.dumps(config, indent=2, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: this config cannot be written as JSON: {error}") from error
    write_file(path, text.encode() + b"\n")


def load_network(folder: Path | str, name: str, network: type[Network]) -> Network:
    """Builds a `network` with the keyword arguments in config.json's section `name`, and loads its weights."""
    path = Path(folder) / CONFIG
    arguments = read_config(folder).get(name)
    if arguments is None:
        raise CheckpointError(f"{path} has no section {name!r}")
    known = inspect.signature(network).parameters
    if unknown := sorted(set(arguments) - set(known)):
        raise CheckpointError(f"{path}: {name!r} has {_some(unknown)}, unknown to {network.__name__}")
    needed = (key for key, parameter in known.items() if parameter.default is parameter.empty)
    if absent := sorted(set(needed) - set(arguments)):
        raise CheckpointError(f"{path}: {name!r} lacks {_some(absent)}, which {network.__name__} needs")
    try:
        module = network(**arguments)
    except (ArithmeticError, AssertionError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: {network.__name__} cannot be built from {name!r}: {error}") from error
    load_weights(folder, name, module)
    return module


_LOADABLE = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@torch.no_grad()
def load_weights(folder: Path | str, name: str, module: nn.Module) -> None:
    """Copies `name`.safetensors into `module`, keeping the module's dtypes and devices.

    The file has to contain exactly the module's parameters and persistent buffers, with their shapes; otherwise
    CheckpointError names what differs, and the module is unchanged.
    """
    path = weights_path(folder, name)
    data = read_file(path)
    try:
        stored = safetensors.torch.load(data)
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise CheckpointError(
            f"{path} is not a safetensors file, or is cut short ({len(data):,} bytes): {error}"
        ) from error
    own: dict[str, Tensor] = module.state_dict()
    faults = []
    if absent := [key for key in own if key not in stored]:
        faults.append(f"it lacks {_some(absent)}")
    if unknown := [key for key in stored if key not in own]:
        faults.append(f"it has {_some(unknown)}, which the network does not")
    shapes = [
        f"{key} {tuple(stored[key].shape)} instead of {tuple(own[key].shape)}"
        for key in own
        if key in stored and stored[key].shape != own[key].shape
    ]
    if kinds := [
        f"{key} of {stored[key].dtype}"
        for key in own
        if key in stored and (stored[key].dtype in _LOADABLE) != own[key].is_floating_point()
    ]:
        faults.append(f"it has {_some(kinds)}, which cannot be served")
    if shapes:
        faults.append(f"it has {_some(shapes)}")
    if faults:
        raise CheckpointError(
            f"{path} does not fit the {type(module).__name__} that {CONFIG} describes: {'; '.join(faults)}"
        )
    if broken := [key for key in own if not stored[key].isfinite().all()]:
        raise CheckpointError(f"{path} has numbers that are not finite in {_some(broken)}")
    for key, tensor in own.items():
        tensor.copy_(stored[key])


def save_weights(folder: Path | str, name: str, module: nn.Module) -> None:
    """Writes the module's parameters and persistent buffers to `name`.safetensors: floats as float16.

    Raises CheckpointError, and leaves an existing file unchanged, if a number is not finite in float16 or the file
    would exceed MAX_FILE_BYTES.
    """
    path = weights_path(folder, name)
    tensors = {
        key: (tensor.detach().half() if tensor.is_floating_point() else tensor.detach()).to(
            "cpu", memory_format=torch.contiguous_format, copy=True
        )
        for key, tensor in module.state_dict().items()
    }
    if broken := [key for key, tensor in tensors.items() if not tensor.isfinite().all()]:
        raise CheckpointError(f"{path} is not written: numbers in {_some(broken)} are not finite in float16")
    data = safetensors.torch.save(tensors, {"format": "pt"})
    if len(data) > MAX_FILE_BYTES:
        raise CheckpointError(
            f"{path} would have {len(data) / 2**20:.1f} MiB, and a checkpoint's file may have "
            f"{MAX_FILE_BYTES // 2**20}: make the network narrower"
        )
    write_file(path, data)


def version(folder: Path | str) -> str:
    """The first 12 hex digits of a SHA-256 over everything that determines a picture: networks' configs, tokenizer,
    weights."""
    config = read_config(folder)
    networks = (*NETWORKS, FOCUS) if FOCUS in config else NETWORKS
    parts = [json.dumps({name: config.get(name) for name in networks}, sort_keys=True).encode()]
    parts.append(read_file(Path(folder) / TOKENIZER))
    parts.extend(read_file(weights_path(folder, name)) for name in networks)
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))  # so that no byte can move from one part into the next
        digest.update(part)
    return digest.hexdigest()[:12]


def read_file(path: Path) -> bytes:
    """Reads a checkpoint's file. Raises CheckpointError, naming it."""
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        missing = path if path.parent.is_dir() else path.parent
        raise CheckpointError(f"{missing} does not exist") from error
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error


def write_file(path: Path, data: bytes) -> None:
    """Replaces `path` atomically and durably; creates its folder if needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not tempfile: its files are readable by their owner alone, and a checkpoint is read by others.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # or a power cut may forget the rename
    finally:
        os.close(folder)


def _some(items: Iterable[str], most: int = 3) -> str:
    items = list(items)
    rest = len(items) - most
    return ", ".join(items[:most]) + (f" and {rest} more" if rest > 0 else "")
