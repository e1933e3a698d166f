"""`run.json`: what a run is, written down when it begins and compared when it is resumed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import AliasChoices, BaseModel, Field, JsonValue

from ..core.redact import Redactor, without_secret_fields

MANIFEST = "run.json"

#: Of PBKDF2: a secret that can be guessed should at least take long to be guessed from its digest.
_ROUNDS = 200_000


@dataclass(frozen=True)
class Fingerprint:
    """What must be the same for results to belong together, by its name for people. It may hold secrets."""

    values: Mapping[str, JsonValue]
    redactor: Redactor = field(default_factory=lambda: Redactor(()))

    def without_secrets(self) -> dict[str, JsonValue]:
        """Return the fingerprint as it may be written down."""
        return {what: self.redactor.value(without_secret_fields(value)) for what, value in self.values.items()}

    def digests(self, salt: str) -> dict[str, str]:
        """Return, for each value that holds a secret, what tells whether it is the same: a digest with salt."""
        written = self.without_secrets()
        return {
            what: hashlib.pbkdf2_hmac(
                "sha256", json.dumps(value, sort_keys=True).encode(), salt.encode(), _ROUNDS
            ).hex()
            for what, value in self.values.items()
            if value != written[what]
        }


class Manifest(BaseModel):
    """The content of `run.json`."""

    run_id: str
    #: Without secrets. Version 0.1.0 before its release called it `facts`.
    fingerprint: dict[str, JsonValue] = Field(validation_alias=AliasChoices("fingerprint", "facts"))
    #: Of those of its values that hold secrets.
    digests: dict[str, str] = {}

    @classmethod
    def of(cls, run_id: str, fingerprint: Fingerprint) -> Manifest:
        return cls(run_id=run_id, fingerprint=fingerprint.without_secrets(), digests=fingerprint.digests(run_id))

    def differences(self, fingerprint: Fingerprint) -> Iterator[str]:
        """Yield what is not as it was, by comparing what there was before secrets were taken out."""
        digests, written = fingerprint.digests(self.run_id), fingerprint.without_secrets()
        for what, was in self.fingerprint.items():
            if what not in written:
                continue
            if was != written[what]:
                yield f"{what} was {_shown(was)} and is {_shown(written[what])}"
            elif self.digests.get(what) != digests.get(what):
                yield f"a secret in {what} is another one"

    def write(self, run_dir: Path) -> None:
        """Raises OSError when that is not possible."""
        run_dir.mkdir(parents=True, exist_ok=True)
        new = run_dir / f"{MANIFEST}.{os.getpid()}.new"
        with new.open("w", encoding="utf-8") as file:
            file.write(self.model_dump_json(indent=1) + "\n")
            file.flush()
            os.fsync(file.fileno())  # or a power cut may leave its name without its content
        os.replace(new, run_dir / MANIFEST)


def _shown(value: JsonValue) -> str:
    return json.dumps(value, ensure_ascii=False)
