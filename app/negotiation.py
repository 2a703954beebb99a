"""Content negotiation (RFC 9110, section 12.5)."""

from __future__ import annotations

from collections.abc import Sequence

LONGEST = 2048  # characters of a header that are read: browsers send some 200


def weights(header: str) -> list[tuple[str, float]]:
    """The entries of an Accept or Accept-Language header with their q values, in order, without other parameters."""
    entries = []
    for part in header[:LONGEST].lower().split(","):
        value, *parameters = (piece.strip() for piece in part.split(";"))
        q = 1.0
        for parameter in parameters:
            key, _, number = parameter.partition("=")
            if key.strip() == "q":
                try:
                    q = min(max(float(number), 0.0), 1.0)
                except ValueError:
                    q = 0.0
                if q != q:  # "nan" is a float, but no weight
                    q = 0.0
        if value:
            entries.append((value, q))
    return entries


def media_type(accept: str | None, offers: Sequence[str]) -> str | None:
    """The offer that `accept` prefers, or None if it accepts none.

    Among equally preferred offers, explicitly named ones come before those that only a wildcard matches (axios sends
    "application/json, text/plain, */*"), and then earlier ones.
    """
    if accept is None or not accept.strip():
        return offers[0]
    entries = weights(accept)

    def liking(offer: str) -> tuple[float, int]:
        kind = offer.partition("/")[0]
        for specificity, pattern in ((2, offer), (1, f"{kind}/*"), (0, "*/*")):  # the most specific entry counts
            found = [q for value, q in entries if value == pattern]
            if found:
                return max(found), specificity
        return 0.0, 0

    best = max(offers, key=liking)
    return best if liking(best)[0] > 0 else None


def wants_page(accept: str | None) -> bool:
    """Returns whether a browser is asking for a page, rather than a program for JSON."""
    return media_type(accept, ("application/json", "text/html")) == "text/html"


def language(accept_language: str | None, offers: Sequence[str]) -> str | None:
    """The offered language that `accept_language` prefers ("ja-JP" matches "ja"), or None."""
    entries = weights(accept_language or "")
    for value, q in sorted(entries, key=lambda entry: -entry[1]):
        primary = value.partition("-")[0]
        if q > 0 and primary in offers:
            return primary
    return None
