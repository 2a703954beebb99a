"""The server's settings: each has a name, a default and a line of help.

``CAFETERIA_PORT=9000 python -m app`` sets ``port``; nothing else configures the server.
"""

from __future__ import annotations

import difflib
import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

PREFIX = "CAFETERIA_"
LEVELS = ("debug", "info", "warning", "error")


class SettingError(ValueError):
    """A setting that cannot be used; the message names the variable and its value."""


def _setting(
    default: str | int,
    help: str,
    least: int = 0,
    most: int = 2**31,
    fault: Callable[[str], str | None] = lambda text: None,
) -> Any:
    """Declares a setting. `fault` returns what is wrong with a text, or None."""
    return field(default=default, metadata={"help": help, "least": least, "most": most, "fault": fault})


def _origins(text: str) -> str | None:
    for origin in [] if text == "*" else split(text):
        scheme, _, host = origin.partition("://")
        if scheme not in ("http", "https") or not host or set(host) & set("/?#@ *"):
            return "must be * or origins such as https://menu.example, with commas between them"
    return None


def _networks(text: str) -> str | None:
    try:
        for network in [] if text == "*" else split(text):
            ipaddress.ip_network(network)
    except ValueError:
        return "must be * or addresses and networks such as 10.0.0.0/8, with commas between them"
    return None


def _level(text: str) -> str | None:
    return None if text in LEVELS else f"must be one of {', '.join(LEVELS)}"


def split(text: str) -> list[str]:
    """The entries of a comma-separated setting."""
    return [entry.strip() for entry in text.split(",") if entry.strip()]


@dataclass(frozen=True)
class Settings:
    host: str = _setting("127.0.0.1", "address to listen on; 0.0.0.0 for every network card")
    port: int = _setting(8000, "port to listen on; 0 takes a free one", most=65535)
    checkpoint: str = _setting("checkpoints", "folder with the trained weights")
    device: str = _setting("auto", "auto, cpu, cuda or cuda:N")
    queue: int = _setting(
        64, "pictures that may wait or be in the making; beyond it requests get 503", least=8
    )
    cache_mb: int = _setting(64, "memory for finished pictures, in megabytes; 0 keeps none")
    wait: int = _setting(
        60, "seconds that an order may wait; then it is dropped unmade, and its client gets 503", least=1
    )
    drain: int = _setting(30, "seconds that accepted orders get to be finished in after SIGTERM")
    patience: int = _setting(
        30, "seconds that a client may take to send a request, or to take in a piece of the answer (64 KiB)", least=1
    )
    connections: int = _setting(
        1000,
        "connections at once, as far as the system gives descriptors; beyond it whoever has most loses idle ones",
        least=16,
    )
    rate: int = _setting(0, "pictures a minute that one client may have made; 0 sets no limit")
    cors: str = _setting(
        "", "origins whose pages may call the API, with commas between them; * for all", fault=_origins
    )
    proxies: str = _setting(
        "",
        "addresses or networks of proxies whose X-Forwarded-For, -Proto and -Host are believed, with commas; * for all",
        fault=_networks,
    )
    log_level: str = _setting(
        "info", "debug, info, warning or error; debug writes down what visitors ask for", fault=_level
    )


class Setting(NamedTuple):
    name: str
    default: str | int
    help: str

    @property
    def variable(self) -> str:
        return PREFIX + self.name.upper()

    @property
    def shown(self) -> str:
        return str(self.default) or "none"


SETTINGS = tuple(Setting(f.name, f.default, f.metadata["help"]) for f in fields(Settings))  # type: ignore[arg-type]


def read(environment: Mapping[str, str]) -> Settings:
    """Reads settings from environment variables. Raises SettingError for an unknown variable or an unusable value."""
    known = {PREFIX + f.name.upper(): f for f in fields(Settings)}
    values: dict[str, Any] = {}
    for variable, text in environment.items():
        if not variable.startswith(PREFIX):
            continue
        if variable not in known:
            close = difflib.get_close_matches(variable, known, 1)
            hint = f"did you mean {close[0]}?" if close else "known are " + ", ".join(known)
            raise SettingError(f"{variable}={text!r}: there is no such setting; {hint}")
        f = known[variable]
        if isinstance(f.default, int):
            least, most = f.metadata["least"], f.metadata["most"]
            # isascii: int() would also take "８０００"
            if not (text.isascii() and text.isdigit() and len(text) < 12 and least <= int(text) <= most):
                raise SettingError(f"{variable}={text!r}: must be a whole number from {least} to {most}")
            values[f.name] = int(text)
        elif not text.strip():
            raise SettingError(f"{variable}={text!r}: must not be empty ({f.metadata['help']})")
        elif fault := f.metadata["fault"](text):
            raise SettingError(f"{variable}={text!r}: {fault}")
        else:
            values[f.name] = text
    return Settings(**values)
