"""Who made a call, and with what kind of credentials. Pure functions on :class:`~exporter.record.Record`.

Rests on the CloudTrail User Guide, "CloudTrail userIdentity element". "Whose credentials" and "made by a service" are
two facts: a service may call with the credentials of the IAM user it acts for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from exporter.record import Record, text

__all__ = ["credential_class", "credential_kind", "display_name", "made_by_aws_service"]

_CLASS_OF_TYPE: Mapping[str, str] = {
    "AWSService": "aws_service",
    "Root": "root_or_iam_user",
    "IAMUser": "root_or_iam_user",
    "AssumedRole": "temporary_credentials",
    "Role": "temporary_credentials",
    "FederatedUser": "temporary_credentials",
    "IdentityCenterUser": "temporary_credentials",
    "SAMLUser": "temporary_credentials",
    "WebIdentityUser": "temporary_credentials",
}

_NOTHING: Mapping[str, Any] = {}


def _member(value: object, key: str) -> Mapping[str, Any]:
    child = value.get(key) if isinstance(value, dict) else None
    return child if isinstance(child, dict) else _NOTHING


def _user(record: Record) -> Mapping[str, Any]:
    return _member(record.fields, "userIdentity")


def credential_class(record: Record) -> str:
    """Whose credentials signed the request: a value of :data:`exporter.record.CREDENTIAL_CLASSES`.

    An IAM user's temporary session is still the IAM user. Another account's principal is told by the form of its
    ``principalId``: ``AIDA...`` is a user, ``...:session`` a role session.
    """
    kind = record.principal_type
    known = _CLASS_OF_TYPE.get(kind)
    if known:
        return known
    if kind == "AWSAccount":
        principal = text(_user(record).get("principalId"))
        if principal.startswith("AIDA"):
            return "root_or_iam_user"
        return "temporary_credentials" if ":" in principal else "unknown"
    if not kind and made_by_aws_service(record):
        return "aws_service"
    return "unknown"


def credential_kind(record: Record) -> str | None:
    """``long_term`` or ``temporary``, from the prefix of ``accessKeyId``; None when there is no such key.

    A ``sessionContext`` says nothing: CloudTrail writes one for long-term keys as well.
    """
    prefix = text(_user(record).get("accessKeyId"))[:4]
    if prefix == "AKIA":
        return "long_term"
    return "temporary" if prefix == "ASIA" else None


def made_by_aws_service(record: Record) -> bool:
    """Whether an AWS service made the call, on its own or on somebody's behalf (``invokedBy``)."""
    if record.principal_type == "AWSService" or text(_user(record).get("invokedBy")):
        return True
    return not record.principal_type and record.fields.get("eventType") == "AwsServiceEvent"


def display_name(record: Record) -> str:
    """A name for people: ``fred``, ``ROLE/SESSION``, a service; ``-`` when there is none.

    Unbounded and written by callers: for log attributes and text, never a metric label.
    """
    return _NAME_OF_TYPE.get(record.principal_type, _named)(_user(record)) or "-"


def _issuer(user: Mapping[str, Any]) -> Mapping[str, Any]:
    return _member(_member(user, "sessionContext"), "sessionIssuer")


def _last(arn: str) -> str:
    return arn.rpartition("/" if "/" in arn else ":")[2]


def _after_colon(user: Mapping[str, Any]) -> str:
    return text(user.get("principalId")).partition(":")[2]


def _root(user: Mapping[str, Any]) -> str:
    return text(user.get("userName")) or "root"


def _iam_user(user: Mapping[str, Any]) -> str:
    return text(user.get("userName")) or _last(text(user.get("arn"))) or text(user.get("principalId"))


def _assumed_role(user: Mapping[str, Any]) -> str:
    segments = text(user.get("arn")).split("/")
    role = text(_issuer(user).get("userName")) or (segments[1] if len(segments) > 1 else "")
    session = _after_colon(user) or (segments[-1] if len(segments) > 2 else "")
    return "/".join(part for part in (role, session) if part) or text(user.get("principalId"))


def _role(user: Mapping[str, Any]) -> str:
    return text(_issuer(user).get("userName")) or text(user.get("userName")) or _last(text(user.get("arn")))


def _federated_user(user: Mapping[str, Any]) -> str:
    return text(user.get("arn")).partition("federated-user/")[2] or _after_colon(user)


def _account(user: Mapping[str, Any]) -> str:
    return "/".join(part for part in (text(user.get("accountId")), _after_colon(user)) if part)


def _identity_center(user: Mapping[str, Any]) -> str:
    # Never credentialId: it identifies a bearer session.
    return text(_member(user, "onBehalfOf").get("userId"))


def _asserted(user: Mapping[str, Any]) -> str:
    name, provider = text(user.get("userName")), text(user.get("identityProvider"))
    if name and provider:
        return f"{name} @ {provider}"
    return name or text(user.get("principalId"))


def _named(user: Mapping[str, Any]) -> str:
    return text(user.get("userName")) or text(user.get("principalId")) or text(user.get("accountId"))


def _service(user: Mapping[str, Any]) -> str:
    return text(user.get("invokedBy"))


def _no_type(user: Mapping[str, Any]) -> str:
    return text(user.get("invokedBy")) or text(user.get("accountId"))


_NAME_OF_TYPE: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "Root": _root,
    "IAMUser": _iam_user,
    "AssumedRole": _assumed_role,
    "Role": _role,
    "FederatedUser": _federated_user,
    "AWSAccount": _account,
    "AWSService": _service,
    "IdentityCenterUser": _identity_center,
    "SAMLUser": _asserted,
    "WebIdentityUser": _asserted,
    "": _no_type,
}
