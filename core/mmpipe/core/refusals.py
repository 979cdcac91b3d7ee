"""What object stores answer instead of doing what they were asked for, in words and with the remedy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["Refusal", "refusal"]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an object store did not do what it was asked for.

    Attributes:
        reason: what it answered, in words.
        remedy: what to do about it.
    """

    reason: str
    remedy: str


_VARIABLES = "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, or AWS_PROFILE"

_EXPIRED = ("the credentials have expired", f"get new ones ({_VARIABLES})")
_UNKNOWN = ("the object store does not know these credentials", f"set {_VARIABLES}")
_NONE = ("no credentials were found", f"set {_VARIABLES}")
_DENIED = (
    "the object store denies access",
    f"let these credentials read and write there, or take others that have not expired ({_VARIABLES})",
)
_NO_BUCKET = ("the bucket does not exist", "make it, or correct its name or AWS_ENDPOINT_URL")
_REGION = ("the bucket is in another region", "name that in AWS_REGION")
_FULL = ("the object store is full, or a quota is used up", "free space or lift the quota")
_BUSY = ("the object store answers with errors, after several attempts", "wait until it works again")
_AWAY = ("the object store cannot be reached", "check the network and AWS_ENDPOINT_URL")
_CLOCK = ("the clocks of this machine and of the object store differ", "set the clock of this machine")
_ARCHIVED = ("the object is in an archive", "restore it to a class of storage that is read at once")

_BY_CODE = {
    **dict.fromkeys(("ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "InvalidToken"), _EXPIRED),
    **dict.fromkeys(("InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidSecurity", "NotSignedUp"), _UNKNOWN),
    **dict.fromkeys(("AccessDenied", "AllAccessDisabled", "AccountProblem", "MethodNotAllowed"), _DENIED),
    **dict.fromkeys(("NoSuchBucket", "InvalidBucketName"), _NO_BUCKET),
    **dict.fromkeys(
        ("PermanentRedirect", "Redirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"), _REGION
    ),
    **dict.fromkeys(
        ("QuotaExceeded", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded", "InsufficientStorage", "NoSpace"),
        _FULL,
    ),
    "InvalidObjectState": _ARCHIVED,
    "RequestTimeTooSkewed": _CLOCK,
}

_BY_STATUS = {301: _REGION, 307: _REGION, 400: _DENIED, 401: _UNKNOWN, 403: _DENIED, 429: _BUSY, 507: _FULL}
"""A HEAD has no body and so no code; 400 is what S3 answers to it for credentials that have expired."""

_BY_CLASS = {
    **dict.fromkeys(("NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError"), _NONE),
    **dict.fromkeys(("ProfileNotFound", "ConfigNotFound"), _NONE),
    **dict.fromkeys(("TokenRetrievalError", "SSOTokenLoadError", "UnauthorizedSSOTokenError"), _EXPIRED),
}

_CLIENTS = frozenset({"adlfs", "aiobotocore", "aiohttp", "azure", "botocore", "gcsfs", "google", "requests", "urllib3"})
"""Packages that talk to object stores; their errors are not all `OSError`."""

_NOT_REFUSED = frozenset({"404", "NoSuchKey", "NoSuchVersion", "409", "412", "416"})
"""Answers about an object; they say nothing of the object store."""


def refusal(error: BaseException) -> Refusal | None:
    """Why an object store did not do what it was asked for, if that is the error of its client.

    None for an object that is not there, and for any other error.

    Example:
        >>> refusal(OSError(5, "Input/output error")) is None
        True
    """
    if type(error).__module__.partition(".")[0] not in _CLIENTS:
        return None
    name, answer = type(error).__name__, _answer(error)
    code, status = answer
    if code in _NOT_REFUSED or (code not in _BY_CODE and status in (404, 409, 412, 416)):
        return None
    number = int(code) if code.isdecimal() else status
    words = _BY_CODE.get(code) or _BY_CLASS.get(name) or _BY_STATUS.get(number) or (_BUSY if number or code else _AWAY)
    return Refusal(f"{words[0]} ({code or name})", words[1])


def _answer(error: BaseException) -> tuple[str, int]:
    """Code and HTTP status of an answer, as far as there are any."""
    answer: Any = getattr(error, "response", None)
    if isinstance(answer, dict):
        status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode") or 0
        return str(answer.get("Error", {}).get("Code", "")), int(status)
    code = getattr(error, "code", None) or getattr(error, "status", None)
    return ("" if code is None else str(code)), 0
