"""What is done about each error AWS or botocore can raise."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from typing import Any

import botocore.exceptions as boto
import pytest
from botocore.parsers import ResponseParserError

from exporter.errors import Blocked, ExporterError, Retryable, SwitchedOff
from exporter.sources.aws_errors import code_of, host_unknown, translated

ACTION = "cloudtrail:LookupEvents"


def refused(code: str, *, status: int = 400, message: str = "no", headers: dict[str, str] | None = None) -> Any:
    response: Any = {
        "Error": {"Code": code, "Message": message},
        "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": headers or {}},
    }
    return boto.ClientError(response, "LookupEvents")


def met(error: Exception) -> ExporterError:
    found = translated(error, action=ACTION, region="us-east-1", who="role arn:aws:iam::1:role/reader")
    assert found is not None
    return found


CODES = [
    ("ThrottlingException", 400, Retryable, "throttled"),
    ("RequestLimitExceeded", 503, Retryable, "throttled"),
    ("InternalFailure", 500, Retryable, "server"),
    ("ServiceUnavailable", 503, Retryable, "server"),
    ("RequestTimeout", 400, Retryable, "timeout"),
    ("InvalidNextTokenException", 400, Retryable, "invalid"),
    ("AccessDeniedException", 400, Blocked, "access_denied"),
    ("AccessDenied", 403, Blocked, "access_denied"),
    ("OptInRequired", 403, Blocked, "access_denied"),
    ("ExpiredTokenException", 400, Blocked, "expired_credentials"),
    ("ExpiredToken", 403, Blocked, "expired_credentials"),
    ("UnrecognizedClientException", 400, Blocked, "expired_credentials"),
    ("InvalidClientTokenId", 403, Blocked, "expired_credentials"),
    ("InvalidSignatureException", 403, Blocked, "expired_credentials"),
    ("RequestExpired", 400, Blocked, "expired_credentials"),
    ("InvalidTimeRangeException", 400, Blocked, "invalid"),
    ("InvalidLookupAttributesException", 400, Blocked, "invalid"),
    ("InvalidMaxResultsException", 400, Blocked, "invalid"),
    ("OperationNotPermittedException", 400, SwitchedOff, "unsupported"),
    ("UnsupportedOperationException", 400, SwitchedOff, "unsupported"),
    # Codes nobody has heard of go by their HTTP status.
    ("Strange", 500, Retryable, "server"),
    ("Strange", 429, Retryable, "throttled"),
    ("Strange", 401, Blocked, "expired_credentials"),
    ("403", 403, Blocked, "access_denied"),
    ("404", 404, Blocked, "not_found"),
    ("Strange", 400, Blocked, "invalid"),
]


@pytest.mark.parametrize(
    ("code", "status", "kind", "reason"), [pytest.param(*row, id=f"{row[0]}-{row[1]}") for row in CODES]
)
def test_answer_of_aws(code: str, status: int, kind: type[ExporterError], reason: str) -> None:
    """Each error code leads to what the loop does about it, with a reason for the metric."""
    found = met(refused(code, status=status))
    assert (type(found), found.reason) == (kind, reason)


EXCEPTIONS = [
    (boto.NoCredentialsError(), Blocked, "expired_credentials"),
    (boto.PartialCredentialsError(provider="env", cred_var="AWS_SECRET_ACCESS_KEY"), Blocked, "expired_credentials"),
    (boto.CredentialRetrievalError(provider="iam-role", error_msg="x"), Blocked, "expired_credentials"),
    (boto.ProfileNotFound(profile="nobody"), Blocked, "expired_credentials"),
    (boto.UnauthorizedSSOTokenError(), Blocked, "expired_credentials"),
    (boto.ReadTimeoutError(endpoint_url="https://x"), Retryable, "timeout"),
    (boto.ConnectTimeoutError(endpoint_url="https://x"), Retryable, "timeout"),
    (boto.EndpointConnectionError(endpoint_url="https://x"), Retryable, "connection"),
    (boto.ConnectionClosedError(endpoint_url="https://x"), Retryable, "connection"),
    (boto.ProxyConnectionError(proxy_url="http://p"), Retryable, "connection"),
    (boto.SSLError(endpoint_url="https://x", error=OSError("EOF occurred")), Retryable, "connection"),
    (boto.SSLError(endpoint_url="https://x", error=OSError("CERTIFICATE_VERIFY_FAILED")), Blocked, "connection"),
    (boto.IncompleteReadError(actual_bytes=1, expected_bytes=2), Retryable, "connection"),
    (ResponseParserError("not JSON"), Retryable, "server"),
    (boto.NoRegionError(), Blocked, "invalid"),
    (boto.UnknownEndpointError(service_name="cloudtrail", region_name="x"), SwitchedOff, "unsupported"),
    (boto.InvalidRegionError(region_name="a b"), SwitchedOff, "unsupported"),
    (boto.ParamValidationError(report="x"), Blocked, "invalid"),
    (
        RuntimeError("Credentials were refreshed, but the refreshed credentials are still expired."),
        Blocked,
        "expired_credentials",
    ),
]


@pytest.mark.parametrize(
    ("error", "kind", "reason"),
    [pytest.param(*row, id=f"{index}-{type(row[0]).__name__}") for index, row in enumerate(EXCEPTIONS)],
)
def test_exception_of_botocore(error: Exception, kind: type[ExporterError], reason: str) -> None:
    """Each error botocore raises itself leads to what the loop does about it."""
    found = met(error)
    assert (type(found), found.reason) == (kind, reason)


def test_message_of_a_denial_names_action_identity_and_region() -> None:
    """Whoever reads that access was denied learns which permission which identity lacks."""
    words = str(met(refused("AccessDeniedException", message="User: x is not authorized")))
    assert all(part in words for part in (f"Allow {ACTION}", "arn:aws:iam::1:role/reader", "us-east-1", "User: x"))


def test_message_is_bounded_and_encodable() -> None:
    """A very long text with a lone surrogate becomes a short one that every encoder takes."""
    words = str(met(refused("InternalFailure", message="\ud800" + "x" * 100_000)))
    assert len(words.encode()) < 2_000


def test_braces_in_the_words_of_aws_are_left_alone() -> None:
    """The message of AWS is text, not a template."""
    assert "{action}{0}" in str(met(refused("AccessDenied", message="{action}{0}")))


@pytest.mark.parametrize(
    ("header", "after"),
    [
        pytest.param("7", 7.0, id="seconds"),
        pytest.param("", None, id="none"),
        pytest.param("Fri, 31 Dec 1999 23:59:59 GMT", None, id="date"),
        pytest.param("9" * 30, None, id="absurd"),
        pytest.param("²", None, id="digit that is no number"),
    ],
)
def test_retry_after_is_kept(header: str, after: float | None) -> None:
    """Seconds that AWS asks for reach the loop; anything else leaves the pause to it."""
    found = met(refused("SlowDown", status=503, headers={"retry-after": header}))
    assert isinstance(found, Retryable)
    assert found.after == after


def test_our_own_errors_pass_unchanged() -> None:
    """An error that is of our tree already is not wrapped again."""
    error = Blocked("stop", reason="state")
    assert translated(error, action=ACTION, region="r", who="w") is error


def test_other_errors_are_bugs() -> None:
    """What neither AWS nor botocore raised is not explained away."""
    assert translated(KeyError("x"), action=ACTION, region="r", who="w") is None


@pytest.mark.parametrize(
    "response",
    [
        pytest.param({"Error": None}, id="null"),
        pytest.param({"Error": {"Code": 5, "Message": []}}, id="types"),
        pytest.param({"ResponseMetadata": "x"}, id="metadata"),
    ],
)
def test_odd_answers_do_not_raise(response: dict[str, Any]) -> None:
    """An error answer without the usual members is a failing server, not a crash."""
    error = refused("x")
    error.response = response
    assert met(error).reason == "server"


def test_code_is_found_behind_the_translated_error() -> None:
    """The code of AWS can be read from our error whose cause it is."""
    error = met(refused("InvalidNextTokenException"))
    error.__cause__ = refused("InvalidNextTokenException")
    assert code_of(error) == "InvalidNextTokenException"


def test_code_of_an_error_without_answer_is_empty() -> None:
    """Where AWS never answered there is no code."""
    assert code_of(boto.NoCredentialsError()) == ""


@pytest.mark.parametrize(
    ("number", "unknown"),
    [
        pytest.param(socket.EAI_NONAME, True, id="no such host"),
        pytest.param(socket.EAI_AGAIN, False, id="resolver does not answer"),
    ],
)
def test_only_a_certain_no_means_that_a_host_is_unknown(number: int, unknown: bool) -> None:
    """A resolver that cannot say now is an outage; one that says no is a wrong name."""
    error = boto.EndpointConnectionError(endpoint_url="https://cloudtrail.xx-nowhere-1.amazonaws.com")
    error.__cause__ = socket.gaierror(number, "resolve")
    assert host_unknown(error) is unknown


def test_botocore_is_loaded_by_the_first_client_only() -> None:
    """Importing the sources' AWS modules costs nothing where no AWS source is configured."""
    code = (
        "import sys, json, exporter.sources.lookup;"
        "print(json.dumps([name for name in ('botocore', 'boto3', 's3transfer') if name in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []
