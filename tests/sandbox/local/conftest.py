from __future__ import annotations

import pytest


@pytest.fixture(params=["local", "bubblewrap"])
def backend(request: pytest.FixtureRequest) -> str:
    """Each way in which this backend isolates."""
    return str(request.param)
