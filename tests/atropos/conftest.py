from __future__ import annotations

import os

import pytest

from tests.services.run_api import problem

# Nothing is downloaded. Read when huggingface_hub is imported.
os.environ.setdefault("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session", autouse=True)
def _imported() -> None:
    """Import once: pytester forgets what was imported during its tests, and numpy cannot be imported a second time."""
    if problem() is None:
        import datasets
        import wandb

        import pytest_hermes.atropos.base_env

        assert datasets
        assert wandb
        assert pytest_hermes.atropos.base_env
