"""Settings from the environment, and Accept headers."""

import pytest

from app import negotiation
from app.settings import SETTINGS, SettingError, Settings, read


def test_without_variables_everything_has_its_default() -> None:
    assert read({"PATH": "/bin"}) == Settings()
    assert {s.variable: s.default for s in SETTINGS}["CAFETERIA_PORT"] == 8000
    assert all(s.help for s in SETTINGS)


def test_variables_set_their_settings() -> None:
    settings = read(
        {"CAFETERIA_PORT": "9000", "CAFETERIA_CHECKPOINT": "elsewhere", "CAFETERIA_CACHE_MB": "0"}
    )
    assert (settings.port, settings.checkpoint, settings.cache_mb) == (9000, "elsewhere", 0)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("CAFETERIA_PORT", "eighty"),
        ("CAFETERIA_PORT", "70000"),
        ("CAFETERIA_PORT", "-1"),
        ("CAFETERIA_PORT", ""),
        ("CAFETERIA_PORT", "９０００"),
        ("CAFETERIA_QUEUE", "0"),
        ("CAFETERIA_QUEUE", "9" * 5000),
        ("CAFETERIA_HOST", " "),
        ("CAFETERIA_PROT", "9000"),
        ("CAFETERIA_WAIT", "0"),
        ("CAFETERIA_CORS", "menu.example"),
        ("CAFETERIA_CORS", "https://menu.example/page"),
        ("CAFETERIA_CORS", "https://*.example"),
        ("CAFETERIA_PROXIES", "10.0.0.0/40"),
        ("CAFETERIA_PROXIES", "my-proxy"),
        ("CAFETERIA_LOG_LEVEL", "loud"),
    ],
)
def test_an_unusable_value_is_named(variable: str, value: str) -> None:
    with pytest.raises(SettingError) as error:
        read({variable: value})
    assert f"{variable}={value!r}" in str(error.value)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("CAFETERIA_CORS", "*"),
        ("CAFETERIA_CORS", "https://menu.example, http://127.0.0.1:8080"),
        ("CAFETERIA_PROXIES", "*"),
        ("CAFETERIA_PROXIES", "10.0.0.0/8, 2001:db8::1"),
        ("CAFETERIA_LOG_LEVEL", "debug"),
    ],
)
def test_lists_and_levels_are_taken(variable: str, value: str) -> None:
    name = variable.removeprefix("CAFETERIA_").lower()
    assert getattr(read({variable: value}), name) == value


def test_a_misspelt_setting_is_recognised() -> None:
    with pytest.raises(SettingError, match="did you mean CAFETERIA_CHECKPOINT"):
        read({"CAFETERIA_CHECKPIONT": "x"})


PNG, JSON, HTML = "image/png", "application/json", "text/html"


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        (None, PNG),
        ("", PNG),
        ("*/*", PNG),
        ("application/json", JSON),
        ("APPLICATION/JSON; charset=utf-8", JSON),
        ("application/*", JSON),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8", HTML),
        ("image/png;q=0.1, application/json;q=0.2", JSON),
        ("*/*, image/png;q=0", JSON),
        ("image/*;q=0.5, */*;q=0.1, image/png;q=0", JSON),
        ("text/plain", None),
        ("*/*;q=0", None),
        ("image/png;q=nan", None),
        ("image/png;q=high", None),
        (",;,q=1", None),
    ],
)
def test_media_types(accept: str | None, chosen: str | None) -> None:
    assert negotiation.media_type(accept, (PNG, JSON, HTML)) == chosen


@pytest.mark.parametrize(
    ("header", "chosen"),
    [
        ("ja-JP,ja;q=0.9,en;q=0.8", "ja"),
        ("fr, en-GB;q=0.5, ja;q=0.4", "en"),
        ("ja;q=0", None),
        ("fr", None),
        (None, None),
    ],
)
def test_languages(header: str | None, chosen: str | None) -> None:
    assert negotiation.language(header, ("en", "ja")) == chosen
