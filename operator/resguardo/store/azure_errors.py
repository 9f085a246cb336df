"""What Azure's SDK raises, as Resguardo's errors: the one place that knows the codes of the blob service.

Codes: https://learn.microsoft.com/rest/api/storageservices/blob-service-error-codes and …/common-rest-api-error-codes
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    IncompleteReadError,
    ServiceRequestError,
    ServiceResponseError,
)

from resguardo.api.base import print_time
from resguardo.api.errors import (
    BucketNotFound,
    ObjectCorrupt,
    ObjectFrozen,
    ObjectMissing,
    StorageClassRefused,
    StoreAccessDenied,
    StoreError,
    StoreUnreachable,
    WriteConflict,
)
from resguardo.store.answers import parse_date

MISSING_CODES = frozenset({"BlobNotFound", "ResourceNotFound"})
#: What arrived is not what was sent: send it again.
DAMAGED_CODES = frozenset({"Md5Mismatch", "Crc64Mismatch"})
#: Something stands where nothing was to be.
STANDS_CODES = frozenset({"ConditionNotMet", "BlobAlreadyExists", "TargetConditionNotMet"})
#: Blocks that a commit names are not there: the upload was given up, or another one of that key was completed.
UPLOAD_GONE_CODES = frozenset({"InvalidBlockList", "InvalidBlobOrBlock", *MISSING_CODES})
#: A range of a blob without bytes.
EMPTY_CODE = "InvalidRange"
COMING_BACK_CODE = "BlobBeingRehydrated"


@dataclass(frozen=True)
class Request:
    """What was asked of the store, for messages: the action as Azure's roles name it, container, full key, endpoint."""

    action: str
    container: str
    key: str
    endpoint: str

    def __str__(self) -> str:
        return f"{self.action} on {self.key or '/'!r} in container {self.container} at {self.endpoint}"


class BodyBrokeOff(AzureError):
    """An answer that ended before all of it had come."""


def code_of(error: BaseException | None) -> str:
    """Azure's code of an error; empty for one that is no answer of a server."""
    if not isinstance(error, HttpResponseError):
        return ""
    code = getattr(error, "error_code", None) or _headers(error).get("x-ms-error-code")
    # The SDK's own enumeration, or a text where it does not know the code.
    return str(getattr(code, "value", code) or "")


def _headers(error: HttpResponseError) -> Mapping[str, str]:
    headers: Mapping[str, str] = getattr(error.response, "headers", {})
    return headers


def is_damaged(error: BaseException | None) -> bool:
    """Whether a body did not arrive as it was sent; azurite has words and no code for it."""
    return code_of(error) in DAMAGED_CODES or (code_of(error) == "InvalidOperation" and "contentMD5" in str(error))


def is_broken_off(error: BaseException | None) -> bool:
    """Whether an answer began and did not end, which the SDK wraps as an error of a server that said 200 or nothing."""
    return isinstance(error, BodyBrokeOff | IncompleteReadError | ServiceResponseError) or (
        isinstance(error, HttpResponseError)
        and not isinstance(error, ClientAuthenticationError)
        and status_of(error) < 300
    )


def status_of(error: BaseException | None) -> int:
    """The HTTP status of an error; 0 for one that is no answer of a server."""
    return int(error.status_code or 0) if isinstance(error, HttpResponseError) else 0


@dataclass(frozen=True)
class _Meaning:
    """What answers mean: the first whose codes or statuses hold an answer's is its meaning."""

    codes: frozenset[str]
    statuses: frozenset[int]
    error: type[StoreError]
    message: str


def _meaning(error: type[StoreError], codes: str, message: str, *statuses: int) -> _Meaning:
    return _Meaning(frozenset(codes.split()), frozenset(statuses), error, message)


_MEANINGS = [
    _meaning(
        BucketNotFound,
        "ContainerNotFound ContainerBeingDeleted ContainerDisabled",
        "there is no container {container} at {endpoint} ({said}): make it, or correct its name",
    ),
    _meaning(
        StoreAccessDenied,
        "AuthenticationFailed InvalidAuthenticationInfo NoAuthenticationInformation AccountIsDisabled "
        "KeyBasedAuthenticationNotPermitted AuthorizationProtocolMismatch",
        "{endpoint} refuses the key, signature or identity for container {container} ({said}). Correct it; or, if it has expired, "
        "renew it. This machine's clock says {own_time}, the store's {store_time}: more than a few minutes apart is refused too",
        401,
    ),
    _meaning(
        StoreAccessDenied,
        "BlobImmutableDueToPolicy BlobImmutableDueToLegalHold",
        "{request}: the blob is locked ({said}), and goes once that has ended",
    ),
    _meaning(
        StoreAccessDenied,
        "LeaseIdMissing LeaseIdMismatchWithBlobOperation",
        "{request}: somebody holds a lease on the blob ({said}): end it with `az storage blob lease break`",
    ),
    _meaning(
        StoreAccessDenied,
        "AuthorizationFailure AuthorizationPermissionMismatch InsufficientAccountPermissions",
        "the identity may not do {request} ({said}): allow it, to the role assignment or signature, and in the account's network rules",
        403,
    ),
    _meaning(
        StorageClassRefused,
        "InvalidBlobTier AccessTierNotSupportedForBlobType BlobTierInadequateForContentLength InvalidAccessTier",
        "{request}: {endpoint} does not keep blobs in that access tier ({said}): name one that it has in storageClasses",
    ),
    _meaning(
        ObjectFrozen,
        f"BlobArchived {COMING_BACK_CODE}",
        "object {key!r} in container {container} at {endpoint} lies in the archive, and is not read before it was brought back "
        "({said}): `az storage blob set-tier --tier Hot` asks for it",
    ),
    _meaning(
        WriteConflict,
        " ".join(STANDS_CODES),
        "{request}: something else stands there now; nothing was overwritten",
        412,
    ),
    _meaning(
        ObjectMissing, " ".join(MISSING_CODES), "there is no object {key!r} in container {container} at {endpoint}", 404
    ),
    _meaning(
        ObjectCorrupt,
        "InvalidRange",
        "object {key!r} in container {container} at {endpoint} ends before the bytes that were asked for",
        416,
    ),
    _meaning(
        StoreUnreachable,
        " ".join(DAMAGED_CODES),
        "{request}: bytes arrive changed, again and again ({said}); look at the network between",
    ),
    _meaning(
        StoreUnreachable,
        "ServerBusy OperationTimedOut InternalError",
        "{request} failed, again and again: {said}",
        *(408, 429, 500),
        *range(502, 600),
    ),
    _meaning(StoreError, "", "{request} failed: {said}"),
]


#: What the SDK raises for a request that failed. All but the first come of answers that are none of Azure's: without what must be in
#: them, or with a number or a time that is none.
FAILURES = (AzureError, ValueError, LookupError, TypeError, AttributeError, RecursionError)


def translate(error: Exception, request: Request) -> StoreError:
    """The error of Resguardo's family that says the same, what it concerns and what to do; `error` is one of FAILURES."""
    if not isinstance(error, AzureError):
        said = without_secrets(str(error)[:200])
        return StoreError(
            f"{request}: the answer is none of Azure's ({type(error).__name__}: {said}). Look at what stands at the endpoint"
        )
    if isinstance(error, HttpResponseError) and error.response is not None and status_of(error) >= 300:
        return _answered(error, request)
    return _unanswered(error, request)


def _answered(error: HttpResponseError, request: Request) -> StoreError:
    code, status = code_of(error), status_of(error)
    words = str(error.message or error.reason or "").partition("\n")[0]
    if "failed to authenticate" in words:
        # azurite has the same code for who one is as for what one may.
        code = "AuthenticationFailed"
    found = next((meaning for meaning in _MEANINGS if code in meaning.codes), None) or next(
        (meaning for meaning in _MEANINGS if status in meaning.statuses), _MEANINGS[-1]
    )
    date = date_of(_headers(error))
    return found.error(
        found.message.format(
            request=request,
            container=request.container,
            key=request.key,
            endpoint=request.endpoint,
            said=f"the store says {code or status}: {words}".rstrip(": "),
            own_time=print_time(datetime.now(UTC)),
            store_time=print_time(date) if date else "something else",
        )
    )


def date_of(headers: Mapping[str, str]) -> datetime | None:
    """When the server sent an answer, by its own clock; None where it does not say, or says what no clock shows."""
    return parse_date(headers.get("Date") or headers.get("date") or "")


def _unanswered(error: AzureError, request: Request) -> StoreError:
    said = without_secrets(str(error))
    if "CERTIFICATE_VERIFY_FAILED" in said or "SSLError" in said:
        return StoreUnreachable(
            f"no trusted TLS to {request.endpoint} ({said}): name the authority that vouches for it in caRef"
        )
    if isinstance(error, ClientAuthenticationError):
        return StoreAccessDenied(
            f"no token was given out for {request.endpoint} ({said}): correct the federated identity of the service account, and its "
            "client and tenant id"
        )
    if isinstance(error, ServiceRequestError) or is_broken_off(error):
        return StoreUnreachable(f"no answer to {request}: {said}. Look at the endpoint and at what lies between")
    return StoreError(f"{request} failed: {said}")


def without_secrets(text: str) -> str:
    """An error's words without the signature of a URL, which is as good as a password.

    >>> without_secrets("Max retries exceeded with url: /c/b?sv=2024&sig=a%2Fb%3D&se=2027 (Caused by …)")
    'Max retries exceeded with url: /c/b?sv=2024&sig=…&se=2027 (Caused by …)'
    """
    return re.sub(r"(?i)\b(sig)=[^&\s'\")]*", r"\1=…", text)
