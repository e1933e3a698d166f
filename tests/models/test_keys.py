from __future__ import annotations

import pytest

from pytest_hermes.errors import UsageError
from pytest_hermes.models.keys import JUDGE, Address, find_address, headers_for

ALL = {"OPENROUTER_API_KEY": "key-router", "OPENAI_API_KEY": "key-openai"}


@pytest.mark.parametrize(
    ("model", "base_url", "environ", "expected_url", "expected_key"),
    [
        ("a/b", None, {"OPENROUTER_API_KEY": "r"}, "https://openrouter.ai/api/v1", "r"),
        ("gpt-5", None, {"OPENROUTER_API_KEY": "r"}, "https://openrouter.ai/api/v1", "r"),
        ("gpt-5", None, {"OPENAI_API_KEY": "o"}, "https://api.openai.com/v1", "o"),
        ("a/b", None, ALL, "https://openrouter.ai/api/v1", "key-router"),
        ("gpt-5", None, ALL, "https://api.openai.com/v1", "key-openai"),
        ("m", None, {**ALL, "OPENAI_BASE_URL": "http://box:1/v1/"}, "http://box:1/v1", "key-openai"),
        ("m", None, {"OPENAI_BASE_URL": "http://box:1/v1"}, "http://box:1/v1", None),
        ("m", "http://localhost:8000/v1/", ALL, "http://localhost:8000/v1", None),
        ("m", "http://localhost:8000/v1", {**ALL, "PYTEST_HERMES_API_KEY": "h"}, "http://localhost:8000/v1", "h"),
        ("m", "https://openrouter.ai/api/v1", ALL, "https://openrouter.ai/api/v1", "key-router"),
        ("m", "https://api.openai.com/v1", ALL, "https://api.openai.com/v1", "key-openai"),
        # Hosts that only look alike, another port, and no encryption are other servers.
        ("m", "https://openrouter.ai.example.org/api/v1", ALL, "https://openrouter.ai.example.org/api/v1", None),
        ("m", "https://openrouter.ai:8443/api/v1", ALL, "https://openrouter.ai:8443/api/v1", None),
        ("m", "http://openrouter.ai/api/v1", ALL, "http://openrouter.ai/api/v1", None),
        ("m", "http://api.openai.com/v1", ALL, "http://api.openai.com/v1", None),
        # What PYTEST_HERMES_API_KEY belongs to is named by --hermes-base-url only.
        ("a/b", None, {**ALL, "PYTEST_HERMES_API_KEY": "h"}, "https://openrouter.ai/api/v1", "key-router"),
    ],
)
def test_a_key_goes_only_to_the_host_it_belongs_to(
    model: str, base_url: str | None, environ: dict[str, str], expected_url: str, expected_key: str | None
) -> None:
    address = find_address(model, base_url, environ)
    assert (address.base_url, address.api_key) == (expected_url, expected_key)


def test_openai_base_url_may_name_openrouter() -> None:
    environ = {**ALL, "OPENAI_BASE_URL": "https://openrouter.ai/api/v1"}
    assert find_address("m", None, environ).api_key == "key-router"


def test_no_endpoint_says_how_to_configure_one() -> None:
    with pytest.raises(UsageError, match=r"no endpoint for model 'm': set OPENROUTER_API_KEY.*--hermes-base-url"):
        find_address("m", None, {})


def test_a_provider_without_its_key_names_the_variable() -> None:
    with pytest.raises(UsageError, match="set OPENROUTER_API_KEY"):
        find_address("m", "https://openrouter.ai/api/v1", {"OPENAI_API_KEY": "o"})


@pytest.mark.parametrize("url", ["localhost:8000/v1", "ftp://x/v1", "http://", "http://[::1", "nonsense"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match=r"is not an http\(s\) address"):
        find_address("m", url, {})


def test_a_key_inside_a_url_is_refused_without_being_shown() -> None:
    with pytest.raises(UsageError) as caught:
        find_address("m", "https://user:sesame@host/v1", {})
    assert "sesame" not in str(caught.value)


def test_an_address_does_not_show_its_key() -> None:
    assert "key-router" not in repr(find_address("a/b", None, ALL))


OWN = {"PYTEST_HERMES_API_KEY": "key-agent", "PYTEST_HERMES_JUDGE_API_KEY": "key-judge"}


@pytest.mark.parametrize(
    ("base_url", "environ", "expected_key", "expected_name"),
    [
        ("http://localhost:8000/v1", {**ALL, **OWN}, "key-judge", "PYTEST_HERMES_JUDGE_API_KEY"),
        ("http://localhost:8000/v1", {**ALL, "PYTEST_HERMES_API_KEY": "a"}, None, "PYTEST_HERMES_JUDGE_API_KEY"),
        ("https://api.openai.com/v1", ALL, "key-openai", "OPENAI_API_KEY"),
        # Its key belongs to what --hermes-judge-base-url names.
        (None, {**ALL, **OWN}, "key-router", "OPENROUTER_API_KEY"),
    ],
)
def test_a_judge_has_a_key_of_its_own(
    base_url: str | None, environ: dict[str, str], expected_key: str | None, expected_name: str
) -> None:
    address = find_address("a/b", base_url, environ, JUDGE)
    assert (address.api_key, address.key_name) == (expected_key, expected_name)


@pytest.mark.parametrize("key", ["the-key\n", "  the-key", "\tthe-key\r\n"])
def test_white_space_around_a_key_does_not_belong_to_it(key: str) -> None:
    for name in ("PYTEST_HERMES_API_KEY", "OPENAI_API_KEY"):
        environ = {name: key, "OPENAI_BASE_URL": " http://box:1/v1/ \n"}
        address = find_address("m", "http://box:1/v1" if name.startswith("PYTEST") else None, environ)
        assert (address.base_url, address.api_key) == ("http://box:1/v1", "the-key")
    with pytest.raises(UsageError, match="set OPENAI_API_KEY"):
        find_address("m", "https://api.openai.com/v1", {"OPENAI_API_KEY": " \n"})


@pytest.mark.parametrize("key", ["sesame sesame", "sesame\nsesame", "sesamé", "sesame\u200b", "sesame\x00", "“sesame”"])
def test_a_key_that_no_request_can_carry_is_refused_without_being_shown(key: str) -> None:
    for name, base_url in (
        ("PYTEST_HERMES_API_KEY", "http://box:1/v1"),
        ("OPENAI_API_KEY", None),
        ("OPENROUTER_API_KEY", "https://openrouter.ai/api/v1"),
    ):
        with pytest.raises(UsageError, match=f"the key in {name} has characters that no key has") as caught:
            find_address("m", base_url, {name: key})
        assert "sesam" not in str(caught.value)
        assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("url", ["http://box:1/v 1", "http://box:1/v1\nx", "http://böx:1/v1", "http://box:1/\x00"])
def test_an_address_that_no_request_can_carry_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match=r"is not an http\(s\) address"):
        find_address("m", url, {})


OF_OPENAI = {
    "OPENAI_ORG_ID": " the-org\n",
    "OPENAI_PROJECT_ID": "the-project",
    "OPENAI_CUSTOM_HEADERS": "X-Team: evals: a\nauthorization: own\nnonsense\n: x",
}


def test_what_is_set_for_openai_goes_there_and_to_where_its_variable_leads() -> None:
    for url, environ in (
        ("https://api.openai.com/v1", {}),
        ("http://box:1/v1", {"OPENAI_BASE_URL": "http://box:1/v1/"}),
    ):
        headers = headers_for(Address(url, "the-key"), {**OF_OPENAI, **environ})
        assert headers.pop("User-Agent").startswith("pytest-hermes/")
        assert headers == {
            "OpenAI-Organization": "the-org",
            "OpenAI-Project": "the-project",
            "X-Team": "evals: a",
            "authorization": "own",
        }
    headers = headers_for(Address("http://elsewhere:1/v1", "the-key"), OF_OPENAI)
    assert headers == {"User-Agent": headers["User-Agent"], "Authorization": "Bearer the-key"}


@pytest.mark.parametrize(
    ("variable", "value"),
    [("OPENAI_ORG_ID", "the\norg"), ("OPENAI_PROJECT_ID", "projé"), ("OPENAI_CUSTOM_HEADERS", "X-Team: \x7f")],
)
def test_a_header_that_no_request_can_carry_is_refused(variable: str, value: str) -> None:
    with pytest.raises(UsageError, match=f"^{variable} has characters that HTTP headers cannot hold"):
        headers_for(Address("https://api.openai.com/v1", "k"), {variable: value})
