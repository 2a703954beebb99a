"""Requests made up from the OpenAPI description: no 5xx, and no answer that it does not describe."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis import Case
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from app.application import create_app
from app.settings import Settings
from tests.serving import FakePipeline, cafeteria, until


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with cafeteria(FakePipeline()) as url:
        until(lambda: httpx.get(f"{url}/readyz", trust_env=False).status_code == 200)
        yield url


schema = schemathesis.openapi.from_dict(create_app(Settings()).openapi())


@schema.parametrize()
@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_every_answer_is_described(case: Case[Any], url: str) -> None:
    case.call_and_validate(
        base_url=url,
        checks=[
            not_a_server_error,
            status_code_conformance,
            content_type_conformance,
            response_schema_conformance,
        ],
    )
