"""Tokenizers of the families, and servers that sample by them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import pytest

from pytest_hermes.models.endpoint import Endpoint
from pytest_hermes.models.keys import Address
from pytest_hermes.models.tokens.model import TokenSettings, TokenSource
from tests.services import run_api
from tests.services.chat_families import FAMILIES
from tests.services.required import require
from tests.services.token_server import TokenServer


@pytest.fixture(scope="session")
def tokenizer_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Any]:
    """The tokenizer of a family, by its name."""
    require("atropos", run_api.problem())
    from transformers import AutoTokenizer

    @cache
    def load(family: str) -> Any:
        return AutoTokenizer.from_pretrained(str(FAMILIES[family].make(tmp_path_factory.mktemp(family))))

    return load


@pytest.fixture
def serving(tokenizer_of: Callable[[str], Any]) -> Iterator[Callable[..., tuple[TokenServer, TokenSource]]]:
    """Starts a server of a family, and gives it with a model that asks it."""
    started: list[TokenServer] = []

    def start(family: str, dialect: Any = "completions", **settings: Any) -> tuple[TokenServer, TokenSource]:
        tokenizer = tokenizer_of(family)
        server = TokenServer(tokenizer, dialect)
        started.append(server)
        settings = {"load_tokenizer": lambda: tokenizer, "tool_call_parser": FAMILIES[family].parser, **settings}
        return server, TokenSource(Endpoint("m", Address(server.url, None)), TokenSettings(**settings))

    yield start
    for one in started:
        one.close()
