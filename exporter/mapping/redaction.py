"""What must not leave, taken out of the record itself, so that attributes, body and sentence cannot differ."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from exporter.record import Record, text

__all__ = ["Redaction"]

#: Stands where a value was dropped inside a longer text.
_GONE: Final = "redacted"

#: An ARN of a caller inside any text: its account part, its kind, its path with the name last.
_PRINCIPAL_ARN = re.compile(r"(arn:[\w-]+:(?:iam|sts)::\d*:)(user|federated-user|assumed-role|role)/([\w+=,.@/-]+)")
_WHOLE_ARN = re.compile(r"(arn:[^:]*:[^:]*:[^:]*:[^:]*:)(user|federated-user|assumed-role|role)/(.*)", re.DOTALL)
_ADDRESS = re.compile(r"[0-9a-fA-F:.]{3,}")
#: Members of userIdentity that are no names, whatever they contain.
_PLAIN = frozenset({"type", "accountId", "invokedBy", "accessKeyId"})
#: Top-level fields written by callers that may repeat a name; the envelope is left as it is.
_TELLING = frozenset(
    {
        "additionalEventData",
        "errorMessage",
        "insightDetails",
        "requestParameters",
        "resources",
        "responseElements",
        "serviceEventDetails",
    }
)


def _hashed(value: str) -> str:
    """Equal for equal values, so that one can still group by it. Names can be guessed and compared."""
    return "sha256-" + hashlib.sha256(value.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Redaction:
    """Takes what must not leave out of a record, wherever the record repeats it.

    Attributes:
        access_key: ``userIdentity.accessKeyId``.
        source_address: ``sourceIPAddress``.
        user_names: names of users, roles and sessions in the identity, in ARNs of callers and in what callers wrote.
        credential_id: keep ``userIdentity.credentialId``, which identifies a bearer session.
    """

    access_key: Literal["keep", "hash", "drop"] = "keep"
    source_address: Literal["keep", "drop"] = "keep"
    user_names: Literal["keep", "hash", "drop"] = "keep"
    credential_id: bool = False

    def __call__(self, record: Record) -> Record:
        """The record without it; the same object when there is nothing to take out.

        A changed record has empty ``data``: its JSON text is to be written from ``fields``.
        """
        fields = record.fields
        if self.access_key == self.source_address == self.user_names == "keep":
            # The bytes are asked too: a key given twice is only once in the decoded record.
            if self.credential_id or (
                b"credentialId" not in record.data and "credentialId" not in _mapping(fields.get("userIdentity"))
            ):
                return record
            return replace(record, fields=self._without_credential(fields), data=b"")
        cleaned = _Cleaner(self, fields).fields()
        if not self.credential_id:
            cleaned = self._without_credential(cleaned)
        return replace(record, fields=cleaned, data=b"")

    @staticmethod
    def _without_credential(fields: Mapping[str, Any]) -> dict[str, Any]:
        user = fields.get("userIdentity")
        if not isinstance(user, dict):
            return dict(fields)
        return {**fields, "userIdentity": {key: value for key, value in user.items() if key != "credentialId"}}


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


class _Cleaner:
    """The work on one record: collects what the identity names, then takes it out everywhere."""

    def __init__(self, rules: Redaction, fields: Mapping[str, Any]) -> None:
        self._rules = rules
        self._fields = fields
        user = _mapping(fields.get("userIdentity"))
        self._instead: dict[str, str] = {}
        self._words: re.Pattern[str] | None = None
        if rules.user_names != "keep":
            self._instead = {name: self._name(name) for name in _names(user)}
            longest_first = sorted(self._instead, key=len, reverse=True)
            if longest_first:
                self._words = re.compile(rf"(?<![\w-])(?:{'|'.join(map(re.escape, longest_first))})(?![\w-])")
        self._pieces: list[tuple[str, str]] = []
        key = text(user.get("accessKeyId"))
        if rules.access_key != "keep" and len(key) >= 16:
            self._pieces.append((key, self._key(key)))
        address = text(fields.get("sourceIPAddress"))
        if rules.source_address == "drop" and _ADDRESS.fullmatch(address):
            self._pieces.append((address, _GONE))

    def fields(self) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for key, value in self._fields.items():
            if key == "sourceIPAddress" and self._rules.source_address == "drop":
                continue
            if key == "userIdentity" and isinstance(value, dict):
                out[key] = self._user(value)
            elif key == "errorMessage" and isinstance(value, str) and self._words:
                # A name that is no word of its own cannot be told from the text.
                out[key] = self._words.sub(lambda match: self._instead[match[0]], self._text(value))
            else:
                out[key] = self._walk(value, exact=key in _TELLING)
        return out

    def _name(self, name: str) -> str:
        return _hashed(name) if self._rules.user_names == "hash" else _GONE

    def _key(self, key: str) -> str:
        return _hashed(key) if self._rules.access_key == "hash" else _GONE

    def _user(self, user: Mapping[str, Any]) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for key, value in user.items():
            if key == "accessKeyId" and self._rules.access_key != "keep":
                if self._rules.access_key == "hash" and text(value):
                    out[key] = _hashed(text(value))
            elif key == "sessionContext" and isinstance(value, dict):
                out[key] = self._named(value, "sourceIdentity")
                if isinstance(value.get("sessionIssuer"), dict):
                    out[key]["sessionIssuer"] = self._named(value["sessionIssuer"], "userName")
            elif key in _PLAIN:
                out[key] = value
            else:
                out.update(self._named({key: value}, "userName"))
        return out

    def _named(self, holder: Mapping[str, Any], name: str) -> dict[str, Any]:
        """A part of the identity; its member of this name is a name."""
        out: dict[str, Any] = {}
        for key, value in holder.items():
            if self._rules.user_names == "keep" or not isinstance(value, str):
                out[key] = self._walk(value, exact=True)
            elif key == name:
                if self._rules.user_names == "hash":
                    out[key] = self._instead.get(text(value), "")
            elif key == "arn" and (match := _WHOLE_ARN.fullmatch(text(value))):
                # The whole of it: it may hold characters that end an ARN inside a sentence.
                out[key] = self._arn(match)
            elif key == "principalId" and ":" in value:
                head, _, tail = text(value).partition(":")
                out[key] = f"{head}:{self._name(tail) if tail else ''}"
            else:
                out[key] = self._walk(value, exact=True)
        return out

    def _arn(self, match: re.Match[str]) -> str:
        head, kind, path = match.groups()
        named = _named_by(kind, path)
        parts = [self._name(part) if part in named else part for part in path.split("/")]
        return f"{head}{kind}/{'/'.join(parts)}"

    def _walk(self, value: Any, *, exact: bool) -> Any:
        if isinstance(value, str):
            instead = self._instead.get(value) if exact else None
            return self._text(value) if instead is None else instead
        if isinstance(value, dict):
            return {key: self._walk(child, exact=exact) for key, child in value.items()}
        if isinstance(value, list):
            return [self._walk(child, exact=exact) for child in value]
        return value

    def _text(self, value: str) -> str:
        value = text(value)
        for piece, instead in self._pieces:
            value = value.replace(piece, instead)
        if self._rules.user_names != "keep" and "arn:" in value:
            value = _PRINCIPAL_ARN.sub(self._arn, value)
        return value


def _named_by(kind: str, path: str) -> list[str]:
    """The names in the last part of a caller's ARN: role and session, or what follows the path."""
    parts = path.split("/")
    return [part for part in (parts if kind == "assumed-role" else parts[-1:]) if part]


def _names(user: Mapping[str, Any]) -> set[str]:
    """Every name of a user, role or session that the identity carries."""
    session = _mapping(user.get("sessionContext"))
    issuer = _mapping(session.get("sessionIssuer"))
    found = {text(user.get("userName")), text(issuer.get("userName")), text(session.get("sourceIdentity"))}
    found.add(text(user.get("principalId")).partition(":")[2])
    for arn in (user.get("arn"), issuer.get("arn")):
        if match := _WHOLE_ARN.fullmatch(text(arn)):
            found.update(_named_by(match[2], match[3]))
    return found - {""}
