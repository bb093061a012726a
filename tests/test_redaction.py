"""What must not leave: taken out of attributes, body and sentence alike."""

from __future__ import annotations

import json
from typing import Any

import pytest

from exporter.mapping import Mapper, MappingOptions, sentence
from exporter.otel import encode
from tests.fakes.events import IDENTITIES, SEED, event, record_of


def sent(fields: dict[str, Any] | bytes, **options: Any) -> str:
    """Every byte that leaves for the record, as text."""
    return encode([Mapper(MappingOptions(**options))(record_of(fields))]).SerializeToString().decode("latin-1")


def body(fields: dict[str, Any] | bytes, **options: Any) -> Any:
    return json.loads(str(Mapper(MappingOptions(**options))(record_of(fields)).log_record.body))


#: A record that repeats what its identity says wherever callers can write.
TELLTALE = event(
    errorCode="AccessDenied",
    errorMessage="User: arn:aws:iam::123456789012:user/fred is not authorized; fred used AKIAIOSFODNN7EXAMPLE"
    " from 203.0.113.9",
    sourceIPAddress="203.0.113.9",
    requestParameters={"userName": "fred", "key": ["AKIAIOSFODNN7EXAMPLE"], "sourceIp": "203.0.113.9"},
    resources=[{"ARN": "arn:aws:iam::123456789012:user/ops/fred"}],
)

FORMS = ["json", "map", "sentence", "none"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("way", ["hash", "drop"])
@pytest.mark.parametrize(
    ("option", "secret"), [("access_key", "AKIAIOSFODNN7EXAMPLE"), ("user_names", "fred")], ids=["key", "name"]
)
def test_a_redacted_value_is_nowhere(option: str, secret: str, way: str, form: str) -> None:
    """Hashed or dropped, the value is in no byte that leaves, in no form of the body, nor in the original."""
    assert secret in sent(TELLTALE, body=form, original=True)
    assert secret not in sent(TELLTALE, body=form, original=True, **{option: way})


@pytest.mark.parametrize("form", FORMS)
def test_a_dropped_address_is_nowhere(form: str) -> None:
    """The caller's address leaves neither as an attribute nor inside what it wrote."""
    assert "203.0.113.9" not in sent(TELLTALE, body=form, original=True, source_address="drop")


@pytest.mark.parametrize("shape", IDENTITIES)
@pytest.mark.parametrize("way", ["hash", "drop"])
def test_names_of_every_identity_are_redacted(shape: str, way: str) -> None:
    """No shape of identity keeps the name of a user, a role or a session."""
    names = ("mira", "collector", "i-0abc123", "irsa", "k8s", "keeper", "lea", "broker", "audit", "user1")
    left = sent(event(userIdentity=IDENTITIES[shape], requestParameters=None, userAgent=None), user_names=way)
    assert [name for name in names if name in left.replace("sha256-", "")] == []


def test_equal_names_have_equal_hashes() -> None:
    """A hashed name can still be grouped by, wherever the identity writes it."""
    user = body(event(userIdentity=IDENTITIES["role-on-instance"]), user_names="hash")["userIdentity"]
    role, session = user["arn"].split("/")[1:]
    assert user["sessionContext"]["sessionIssuer"]["userName"] == role
    assert user["sessionContext"]["sessionIssuer"]["arn"].endswith(f":role/{role}")
    assert user["principalId"] == f"AROAEXAMPLEROLE000001:{session}"
    assert role != session


def test_the_answers_stay_when_the_names_go() -> None:
    """Class, kind of key and outcome are facts about the call and survive; the identity of the record too."""
    plain = Mapper()(record_of(TELLTALE)).log_record.attributes or {}
    bare = Mapper(MappingOptions(access_key="drop", user_names="drop", source_address="drop"))(record_of(TELLTALE))
    found = bare.log_record.attributes or {}
    for name in ("aws.cloudtrail.credential.class", "aws.cloudtrail.credential.kind", "error.type", "log.record.uid"):
        assert found[name] == plain[name]
    assert not found.keys() & {"aws.access_key.id", "user.name", "source.address"}


def test_order_of_keys_survives() -> None:
    """A rebuilt body keeps the order in which the record was received."""
    redacted = body(SEED, access_key="hash", user_names="hash")
    assert list(redacted) == list(json.loads(SEED))
    assert list(redacted["userIdentity"]) == list(json.loads(SEED)["userIdentity"])


def test_service_addresses_are_no_secret_elsewhere() -> None:
    """Dropping the address of a call by a service does not take the service's name out of the identity."""
    fields = event(
        sourceIPAddress="cloudformation.amazonaws.com", userIdentity=IDENTITIES["user-by-service"], userAgent="x"
    )
    redacted = body(fields, source_address="drop")
    assert "sourceIPAddress" not in redacted
    assert redacted["userIdentity"]["invokedBy"] == "cloudformation.amazonaws.com"


def test_envelope_is_not_searched_for_names() -> None:
    """A user called like an operation does not blank the operation."""
    fields = event(userIdentity={"type": "IAMUser", "userName": "DescribeAnomalyDetector"}, requestParameters=None)
    redacted = body(fields, user_names="hash")
    assert redacted["eventName"] == "DescribeAnomalyDetector"
    assert redacted["userIdentity"]["type"] == "IAMUser"


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "data",
    [
        pytest.param(json.dumps(event(userIdentity=IDENTITIES["identity-center"])).encode(), id="plain"),
        pytest.param(
            b'{"eventID":"1","userIdentity":{"credentialId":"bearer-example-id"},"userIdentity":{"type":"Root"}}',
            id="key-twice",
        ),
        pytest.param(
            b'{"eventID":"1","userIdentity":{"credential\\u0049d":"bearer-example-id"}}',
            id="key-escaped",
        ),
    ],
)
def test_credential_id_stays_in_by_default(data: bytes, form: str) -> None:
    """The id of a bearer session does not leave unless it is asked for."""
    assert "bearer-example-id" not in sent(data, body=form, original=True)


def test_credential_id_leaves_when_asked_for() -> None:
    """With the option on, it is an attribute and in the body."""
    fields = event(userIdentity=IDENTITIES["identity-center"])
    assert sent(fields, credential_id=True).count("bearer-example-id") == 2


def test_nothing_to_redact_is_free() -> None:
    """A record without secrets is the same object afterwards."""
    record = record_of(SEED)
    assert Mapper().redacted(record) is record


def test_whoever_shows_a_record_can_redact_it() -> None:
    """The console's sentence is made from the redacted record."""
    redacted = Mapper(MappingOptions(user_names="drop", source_address="drop")).redacted(record_of(SEED))
    assert sentence(redacted) == (
        "IAMUser redacted called DescribeAnomalyDetector on lookoutmetrics.amazonaws.com in us-east-2: ok"
    )


@pytest.mark.parametrize(
    "arn", ["arn:aws:iam::1:user/John Doe's", "arn:aws:iam::1:user/a\nb", "arn:aws:iam::1:user//x/"], ids=ascii
)
def test_odd_names_are_redacted_whole(arn: str) -> None:
    """An ARN in the identity is taken apart to its end, whatever characters it has."""
    user = body(event(userIdentity={"type": "IAMUser", "arn": arn}), user_names="drop")["userIdentity"]
    assert not {"John", "Doe", "a\nb"} & {
        part for piece in user["arn"].split("/") for part in (piece, *piece.split(" "))
    }
