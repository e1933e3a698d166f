from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import JsonValue

from pytest_hermes.core.redact import Redactor, without_secret_fields
from pytest_hermes.runs.manifest import MANIFEST, Fingerprint, Manifest

SECRET = "sesame-open-the-door"


def fingerprint(**values: JsonValue) -> Fingerprint:
    return Fingerprint(
        {name.replace("__", "."): value for name, value in values.items()}, Redactor([SECRET, "other-secret"])
    )


def differences(tmp_path: Path, before: Fingerprint, now: Fingerprint) -> list[str]:
    Manifest.of("r", before).write(tmp_path)
    text = (tmp_path / MANIFEST).read_text()
    assert SECRET not in text
    assert "hunter2" not in text
    return list(Manifest.model_validate_json(text).differences(now))


@pytest.mark.parametrize(
    ("before", "now", "problems"),
    [
        (7, 8, ["it was 7 and is 8"]),
        ({"max_token": 7}, {"max_token": 8}, ['it was {"max_token": 7} and is {"max_token": 8}']),
        ("a", "a", []),
        (f"x {SECRET}", f"x {SECRET}", []),
        (f"x {SECRET}", "x other-secret", ["a secret in it is another one"]),
        (f"x {SECRET}", "x [redacted]", ["a secret in it is another one"]),
        ({"env": {"DB_PASSWORD": "hunter2"}}, {"env": {"DB_PASSWORD": "hunter3"}}, ["a secret in it is another one"]),
        ({"env": {"DB_PASSWORD": "hunter2"}}, {"env": {"DB_PASSWORD": "hunter2"}}, []),
    ],
)  # fmt: skip
def test_what_differs_is_found_before_secrets_are_taken_out(
    tmp_path: Path, before: JsonValue, now: JsonValue, problems: list[str]
) -> None:
    assert differences(tmp_path, fingerprint(it=before), fingerprint(it=now)) == problems


def test_a_word_in_the_name_of_a_setting_makes_it_no_secret(tmp_path: Path) -> None:
    names = ("env__max_token_length", "env__token", "env__password_field", "tests__secret_sauce")
    before = fingerprint(**dict.fromkeys(names, 16_000))
    now = fingerprint(**dict.fromkeys(names, 32_000))
    assert differences(tmp_path, before, now) == [
        f"{name.replace('__', '.')} was 16000 and is 32000" for name in names
    ]  # fmt: skip


def test_a_number_is_no_secret() -> None:
    values = {"max_token_length": 5, "API_KEY": "text", "TOKENS": "5", "SECRETS": [{"a": "text", "b": True, "c": None}]}
    assert without_secret_fields(values) == {
        "max_token_length": 5, "API_KEY": "[redacted]", "TOKENS": "5",
        "SECRETS": [{"a": "[redacted]", "b": True, "c": None}],
    }  # fmt: skip
    redactor = Redactor.from_environment({"PYTEST_HERMES_MAX_TOKENS": "10000000", "DB_PASSWORD": "12345678"})
    assert redactor.text("10000000 12345678") == "10000000 [redacted]"
