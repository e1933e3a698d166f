"""The implementations of `Transport`, each of which has to pass the tests `test_transport*.py`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping

import pytest
import pytest_asyncio

from pytest_hermes.models.aiohttp_transport import AiohttpTransport
from pytest_hermes.models.transport import Transport
from tests.services import certificates
from tests.services.certificates import Certificate, make_certificate
from tests.services.required import require

#: Makes one by the environment that names proxies and trusted certificates.
Implementation = Callable[[Mapping[str, str]], Transport]

IMPLEMENTATIONS: dict[str, Implementation] = {"aiohttp": AiohttpTransport}


@pytest.fixture(params=list(IMPLEMENTATIONS.values()), ids=list(IMPLEMENTATIONS))
def implementation(request: pytest.FixtureRequest) -> Implementation:
    made: Implementation = request.param
    return made


@pytest_asyncio.fixture
async def transport(implementation: Implementation) -> AsyncIterator[Transport]:
    transport = implementation({})
    yield transport
    await transport.close()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    require("openssl", certificates.problem())
    return make_certificate(tmp_path_factory.mktemp("certificate"))
