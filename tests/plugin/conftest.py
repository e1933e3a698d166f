from __future__ import annotations

import pytest


@pytest.fixture(scope="session", autouse=True)
def _imported() -> None:
    """Import once what most runs need: pytester forgets what was imported during its tests."""
    import genai_prices.data_snapshot
    import openai.resources.chat

    import pytest_hermes.models.endpoint
    import pytest_hermes.models.prices
    import pytest_hermes.plugin.start
    import pytest_hermes.sandbox.local
    import pytest_hermes.tools.file

    openai.AsyncOpenAI(api_key="none")  # the package imports its transport when it is first used
    assert genai_prices.data_snapshot
    assert openai.resources.chat
    assert pytest_hermes.models.endpoint
    assert pytest_hermes.models.prices
    assert pytest_hermes.plugin.start
    assert pytest_hermes.sandbox.local
    assert pytest_hermes.tools.file
