"""What credentials made a request: each shape of identity against the decision tables."""

from __future__ import annotations

from typing import Any

import pytest

from exporter.principal import credential_class, credential_kind, display_name, made_by_aws_service
from exporter.record import CREDENTIAL_CLASSES, PRINCIPAL_TYPES
from tests.fakes.events import IDENTITIES, event, record_of

#: shape -> (class, kind of key, made by a service, name for people)
EXPECTED: dict[str, tuple[str, str | None, bool, str]] = {
    "root": ("root_or_iam_user", None, False, "root"),
    "user": ("root_or_iam_user", "long_term", False, "mira"),
    "user-by-service": ("root_or_iam_user", "temporary", True, "mira"),
    "role-on-instance": ("temporary_credentials", "temporary", False, "collector/i-0abc123"),
    "role-by-web-identity": ("temporary_credentials", "temporary", False, "irsa/k8s"),
    "role": ("temporary_credentials", None, False, "keeper"),
    "federated": ("temporary_credentials", "temporary", False, "lea"),
    "account-session": ("temporary_credentials", None, False, "444455556666/audit"),
    "account-user": ("root_or_iam_user", None, False, "444455556666"),
    "account": ("unknown", None, False, "ANONYMOUS_PRINCIPAL"),
    "service": ("aws_service", None, True, "lookoutmetrics.amazonaws.com"),
    "identity-center": ("temporary_credentials", None, False, "9067f0aa-0000-4000-8000-000000000001"),
    "saml": ("temporary_credentials", None, False, "mira @ idp.example"),
    "web-identity": ("temporary_credentials", None, False, "user1 @ accounts.example"),
    "directory": ("unknown", None, False, "mira"),
    "unknown": ("unknown", None, False, "HIDDEN_DUE_TO_SECURITY_REASONS"),
    "no-type": ("aws_service", None, True, "kms.amazonaws.com"),
}


@pytest.mark.parametrize("shape", IDENTITIES)
def test_each_identity_is_classified(shape: str) -> None:
    """Class, kind of key, the service flag and the name are those of the decision tables."""
    record = record_of(event(userIdentity=IDENTITIES[shape]))
    found = (credential_class(record), credential_kind(record), made_by_aws_service(record), display_name(record))
    assert found == EXPECTED[shape]
    assert found[0] in CREDENTIAL_CLASSES


def test_every_documented_type_has_a_fixture() -> None:
    """No principal type of AWS goes untested."""
    assert {identity.get("type") for identity in IDENTITIES.values()} == {*PRINCIPAL_TYPES, None}


def test_the_documentations_three_questions() -> None:
    """The seed: IAM user's credentials, not a role's, not made by a service, in spite of its session context."""
    record = record_of(event())
    assert (credential_class(record), credential_kind(record), made_by_aws_service(record)) == (
        "root_or_iam_user",
        "long_term",
        False,
    )


@pytest.mark.parametrize(
    ("identity", "expected"),
    [
        pytest.param({"type": "Root", "userName": "alias"}, "alias", id="root-alias"),
        pytest.param({"type": "IAMUser", "arn": "arn:aws:iam::1:user/a/b/eva"}, "eva", id="user-by-arn"),
        pytest.param({"type": "IAMUser", "principalId": "AIDAX"}, "AIDAX", id="user-by-id"),
        pytest.param({"type": "AssumedRole", "arn": "arn:aws:sts::1:assumed-role/r/s"}, "r/s", id="role-by-arn"),
        pytest.param({"type": "AssumedRole", "arn": "arn:aws:sts::1:assumed-role/r"}, "r", id="role-no-session"),
        pytest.param({"type": "AssumedRole", "principalId": "AROAX"}, "AROAX", id="role-by-id"),
        pytest.param({"type": "Role", "arn": "arn:aws:iam::1:role/p/keeper"}, "keeper", id="the-role-by-arn"),
        pytest.param({"type": "FederatedUser", "principalId": "1:lea"}, "lea", id="federated-by-id"),
        pytest.param({"type": "SAMLUser", "userName": "mira"}, "mira", id="no-provider"),
        pytest.param({"type": "SAMLUser", "principalId": "idp:mira"}, "idp:mira", id="saml-by-id"),
        pytest.param({"type": "Directory", "accountId": "1"}, "1", id="directory-by-account"),
        pytest.param({"type": "Tomorrow", "userName": "new"}, "new", id="type-not-known"),
        pytest.param({"type": "IdentityCenterUser", "credentialId": "secret"}, "-", id="never-the-credential"),
        pytest.param({"accountId": "1"}, "1", id="no-type-by-account"),
        pytest.param({"type": ["IAMUser"], "accountId": {}}, "-", id="wrong-types"),
        pytest.param({"type": "AssumedRole", "sessionContext": "x", "arn": 1}, "-", id="wrong-parts"),
        pytest.param(None, "-", id="no-identity"),
    ],
)
def test_name_falls_back(identity: dict[str, Any] | None, expected: str) -> None:
    """The name is the first that exists, and a dash when none does."""
    assert display_name(record_of(event(userIdentity=identity))) == expected


@pytest.mark.parametrize(
    ("event_type", "expected"),
    [("AwsServiceEvent", ("aws_service", True)), ("AwsApiCall", ("unknown", False)), (None, ("unknown", False))],
)
def test_service_event_without_a_type_is_the_service(event_type: str | None, expected: tuple[str, bool]) -> None:
    """Without a type and an invoker, only the event's own type tells that a service raised it."""
    record = record_of(event(userIdentity={"accountId": "1"}, eventType=event_type))
    assert (credential_class(record), made_by_aws_service(record)) == expected


def test_a_service_with_a_role_is_both() -> None:
    """A role's credentials used by a service: the two facts are independent."""
    record = record_of(event(userIdentity={**IDENTITIES["role-on-instance"], "invokedBy": "athena.amazonaws.com"}))
    assert (credential_class(record), made_by_aws_service(record)) == ("temporary_credentials", True)
