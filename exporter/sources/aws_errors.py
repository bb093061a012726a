"""AWS error -> our error tree, as one table: by error code, by botocore exception, by HTTP status.

Codes: the "Errors" of the CloudTrail LookupEvents API reference, the "Common Errors" every service shares, the "Error
Responses" of the S3 API reference, and the throttling codes that botocore's standard retry mode knows. Nothing of
botocore is imported: its exceptions are known by the names of their classes, so that naming an error does not load the
library.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import NamedTuple

from exporter.errors import Blocked, ExporterError, Retryable, SwitchedOff
from exporter.record import text

__all__ = ["advice", "code_of", "host_unknown", "translated"]

#: Longest piece of AWS's own words that is repeated in a message.
_WORDS = 600


class _Row(NamedTuple):
    error: type[Retryable] | type[Blocked] | type[SwitchedOff]
    reason: str
    fix: str = ""


_PERMISSION = (
    "Allow {action} in the policies of this identity, in service control policies above it and, to assume a role, in "
    "the role's trust policy (external id included)."
)
_KEY = (
    "Allow kms:Decrypt on the key, in the policies of this identity and in the key policy (an encryption context in "
    "its conditions must match), and keep the key enabled."
)
_CREDENTIALS = "Give valid credentials; files and roles are read again at the next try."
_REGION_OR_KEY = _CREDENTIALS + " An opt-in region that is not enabled for the account answers the same."
_CLOCK = "Set the machine's clock: AWS refuses a signature that is more than 5 minutes off."
_OURS = "This is an error of the configuration or of the exporter: nothing is skipped, nothing more is read."

_THROTTLED = _Row(Retryable, "throttled")
_SERVER = _Row(Retryable, "server")
_DENIED = _Row(Blocked, "access_denied", _PERMISSION)
_KEY_DENIED = _Row(Blocked, "access_denied", _KEY)
_ELSEWHERE = _Row(Blocked, "redirect", "Set `region` to the bucket's own, and the endpoint to one of that region.")
_EXPIRED = _Row(Blocked, "expired_credentials", _CREDENTIALS)
_UNKNOWN_KEY = _Row(Blocked, "expired_credentials", _REGION_OR_KEY)
_SKEWED = _Row(Blocked, "expired_credentials", _CLOCK)
_INVALID = _Row(Blocked, "invalid", _OURS)
_UNSUPPORTED = _Row(SwitchedOff, "unsupported", "This region is not read; take it out of the configuration.")

_CODES: dict[str, _Row] = {
    **dict.fromkeys(
        (
            "BandwidthLimitExceeded",
            "EC2ThrottledException",
            "KMS.ThrottlingException",
            "LimitExceededException",
            "PriorRequestNotComplete",
            "ProvisionedThroughputExceededException",
            "RequestLimitExceeded",
            "RequestThrottled",
            "RequestThrottledException",
            "SlowDown",
            "ThrottledException",
            "Throttling",
            "ThrottlingException",
            "TooManyRequestsException",
            "TransactionInProgressException",
        ),
        _THROTTLED,
    ),
    **dict.fromkeys(("RequestTimeout", "RequestTimeoutException"), _Row(Retryable, "timeout")),
    **dict.fromkeys(
        (
            "IDPCommunicationError",
            "InternalError",
            "InternalFailure",
            "InternalServerError",
            "InternalServiceError",
            "InternalServiceException",
            "ServiceUnavailable",
            "ServiceUnavailableException",
        ),
        _SERVER,
    ),
    **dict.fromkeys(
        ("AccessDenied", "AccessDeniedException", "AuthorizationError", "NotAuthorized", "UnauthorizedOperation"),
        _DENIED,
    ),
    "OptInRequired": _Row(Blocked, "access_denied", "Sign the account up for the service, or enable the region."),
    "RegionDisabledException": _Row(Blocked, "access_denied", "Activate STS in this region for the account."),
    **dict.fromkeys(
        (
            "AuthFailure",
            "ExpiredToken",
            "ExpiredTokenException",
            "IncompleteSignature",
            "IncompleteSignatureException",
            "InvalidIdentityToken",
            "InvalidToken",
            "MissingAuthenticationToken",
            "MissingAuthenticationTokenException",
            "TokenRefreshRequired",
        ),
        _EXPIRED,
    ),
    **dict.fromkeys(
        ("InvalidAccessKeyId", "InvalidClientTokenId", "UnrecognizedClient", "UnrecognizedClientException"),
        _UNKNOWN_KEY,
    ),
    **dict.fromkeys(
        ("InvalidSignatureException", "SignatureDoesNotMatch"),
        _Row(Blocked, "expired_credentials", f"The secret key is wrong, or: {_CLOCK[0].lower()}{_CLOCK[1:]}"),
    ),
    **dict.fromkeys(("RequestExpired", "RequestInTheFuture", "RequestTimeTooSkewed"), _SKEWED),
    **dict.fromkeys(
        (
            "InvalidAction",
            "OperationNotPermittedException",
            "UnknownOperationException",
            "UnsupportedOperation",
            "UnsupportedOperationException",
        ),
        _UNSUPPORTED,
    ),
    # S3.
    **dict.fromkeys(("AccountProblem", "AllAccessDisabled"), _Row(Blocked, "access_denied", "Ask AWS Support.")),
    **dict.fromkeys(
        (
            "AuthorizationHeaderMalformed",
            "IllegalLocationConstraintException",
            "PermanentRedirect",
            "Redirect",
            "TemporaryRedirect",
        ),
        _ELSEWHERE,
    ),
    "NoSuchBucket": _Row(Blocked, "not_found", "Check `bucket`, and the account and endpoint it is asked for at."),
    # The object reader answers these two itself: archived is for quarantine, gone is gone.
    "InvalidObjectState": _Row(Blocked, "unsupported", "Restore the object from its archive."),
    "NoSuchKey": _Row(Blocked, "not_found", "The object is gone."),
    # The lookup source answers these two itself: it starts the window again, or later.
    "InvalidNextTokenException": _Row(Retryable, "invalid"),
    "InvalidTimeRangeException": _INVALID,
    "InvalidEventCategoryException": _INVALID,
    "InvalidLookupAttributesException": _INVALID,
    "InvalidMaxResultsException": _INVALID,
    "ValidationException": _INVALID,
}

#: By the name of a botocore exception or of one of its bases; the most derived name that stands here wins.
_EXCEPTIONS: dict[str, _Row] = {
    **dict.fromkeys(
        (
            "ConfigNotFound",
            "ConfigParseError",
            "CredentialRetrievalError",
            "InfiniteLoopConfigError",
            "InvalidConfigError",
            "LoginError",
            "MetadataRetrievalError",
            "NoAuthTokenError",
            "NoCredentialsError",
            "PartialCredentialsError",
            "ProfileNotFound",
            "RefreshWithMFAUnsupportedError",
            "SSOError",
            "TokenRetrievalError",
            "UnknownCredentialError",
        ),
        _EXPIRED,
    ),
    **dict.fromkeys(("ConnectTimeoutError", "ReadTimeoutError"), _Row(Retryable, "timeout")),
    **dict.fromkeys(
        ("ChecksumError", "ConnectionError", "HTTPClientError", "IncompleteReadError"), _Row(Retryable, "connection")
    ),
    "ResponseParserError": _SERVER,
    "NoRegionError": _Row(Blocked, "invalid", "Name the regions, or set AWS_REGION."),
    **dict.fromkeys(
        ("EndpointProviderError", "EndpointVariantError", "InvalidRegionError", "UnknownEndpointError"), _UNSUPPORTED
    ),
    "UnknownRegionError": _UNSUPPORTED,
    "BotoCoreError": _INVALID,
}


def advice(error: ExporterError, policy: str) -> str:
    """The line of ``check`` that fixes a refusal; ``policy`` is the least one that allows what was asked."""
    if error.reason == "access_denied":
        return f"attach this policy: {policy}"
    if error.reason == "expired_credentials":
        return "give it credentials: a role of the pod or instance, AWS_PROFILE, or AWS_ACCESS_KEY_ID and its secret"
    if isinstance(error, Retryable):
        return "see whether the endpoint can be reached, and try again"
    return "the text says what AWS refused"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, what caused it, and so on."""
    seen: BaseException | None = error
    for _ in range(20):
        if seen is None:
            return
        yield seen
        seen = seen.__cause__ or seen.__context__


def _answer(error: BaseException) -> dict[str, object]:
    """What AWS answered, of a botocore ClientError; {} for everything else."""
    response = getattr(error, "response", None)
    return response if isinstance(response, dict) else {}


def _member(value: object, *names: str) -> object:
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def code_of(error: BaseException) -> str:
    """AWS's error code behind an error of ours or of botocore; "" when no answer of AWS is behind it."""
    for each in _chain(error):
        if code := text(_member(_answer(each), "Error", "Code")):
            return code
    return ""


def host_unknown(error: BaseException) -> bool:
    """Whether name resolution said for certain that the host does not exist, rather than that it cannot say now."""
    return any(isinstance(each, socket.gaierror) and each.errno == socket.EAI_NONAME for each in _chain(error))


def _by_status(status: object) -> _Row:
    if not isinstance(status, int) or status >= 500:
        return _SERVER
    if status == 429:
        return _THROTTLED
    if status == 401:
        return _EXPIRED
    if status == 403:
        return _DENIED
    if status == 404:
        return _Row(Blocked, "not_found", "Check the address of the endpoint.")
    if status == 408:
        return _Row(Retryable, "timeout")
    if 300 <= status < 400:
        return _ELSEWHERE
    return _INVALID


def _by_key(code: str, words: str) -> bool:
    """Whether it is a key that refuses. S3 passes the refusal of KMS on, under KMS's code or as AccessDenied."""
    if code.startswith("KMS."):
        return "Throttling" not in code
    return _CODES.get(code) is _DENIED and "kms:" in words.lower()


def _row(error: BaseException) -> _Row | None:
    if answer := _answer(error):
        code = text(_member(answer, "Error", "Code"))
        if _by_key(code, text(_member(answer, "Error", "Message"))):
            return _KEY_DENIED
        return _CODES.get(code) or _by_status(_member(answer, "ResponseMetadata", "HTTPStatusCode"))
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return _Row(
            Blocked, "connection", "Trust the endpoint's certificate: AWS_CA_BUNDLE names a file of authorities."
        )
    if isinstance(error, RuntimeError) and "refreshed credentials are still expired" in str(error):
        return _EXPIRED
    for base in type(error).__mro__:
        if base.__module__.startswith("botocore.") and base.__name__ in _EXCEPTIONS:
            return _EXCEPTIONS[base.__name__]
    return None


def _retry_after(answer: dict[str, object]) -> float | None:
    """Seconds of a Retry-After header; its other form, a date, is not used by AWS."""
    value = text(_member(answer, "ResponseMetadata", "HTTPHeaders", "retry-after"))
    return float(value) if value.isascii() and value.isdigit() and len(value) <= 6 else None


def translated(error: BaseException, *, action: str, region: str, who: str) -> ExporterError | None:
    """What the loop is to do about an error met while talking to AWS; None: not AWS's, a bug of ours.

    Args:
        action: the IAM action, ``cloudtrail:LookupEvents``.
        who: the identity that asked, in words.
    """
    if isinstance(error, ExporterError):
        return error
    row = _row(error)
    if row is None:
        return None
    answer = _answer(error)
    words = text(_member(answer, "Error", "Message")) or str(error)
    code = text(_member(answer, "Error", "Code")) or type(error).__name__
    message = f"{action} in {region} as {who}: {code}: {text(words)[:_WORDS].strip()}"
    if row.fix:
        message += f" -- {row.fix.format(action=action)}"
    if row.error is Retryable:
        return Retryable(message, reason=row.reason, after=_retry_after(answer))
    return row.error(message, reason=row.reason)
