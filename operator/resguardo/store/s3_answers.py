"""Lets no answer fill the memory: botocore reads each whole that is no object's body, however long.

It has no hook between an answer's headers and its body, so its session is stood in for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from botocore.exceptions import ConnectionClosedError, HTTPClientError, ReadTimeoutError
from urllib3 import exceptions as urllib3

from resguardo.store.answers import bound, longest

if TYPE_CHECKING:
    from botocore.awsrequest import AWSPreparedRequest, AWSResponse
    from botocore.client import BaseClient
    from botocore.httpsession import URLLib3Session
    from mypy_boto3_s3 import S3Client

#: From here on botocore reads what would be an object's body as an error.
_REDIRECTION = 300


def bound_answers(client: S3Client | BaseClient) -> None:
    """Have no answer to the client be longer than it can be, but an object's body."""
    endpoint: Any = client._endpoint  # type: ignore[union-attr, unused-ignore]
    endpoint.http_session = _BoundedSession(endpoint.http_session)


class _BoundedSession:
    """botocore's session, that gives a body to be read, and read here."""

    def __init__(self, session: URLLib3Session) -> None:
        self._session = session

    def send(self, request: AWSPreparedRequest) -> AWSResponse:
        """Send a request; raises as botocore's own does, and AnswerTooLong."""
        is_body = request.stream_output
        request.stream_output = True
        answer = self._session.send(request)
        if not is_body or answer.status_code >= _REDIRECTION:
            bound(answer.raw, longest(request.method, answer.status_code))
            try:
                _ = answer.content
            # As botocore tells them, which tries again after some (botocore.httpsession.URLLib3Session.send).
            except urllib3.ReadTimeoutError as error:
                raise ReadTimeoutError(endpoint_url=request.url, error=error) from error
            except urllib3.ProtocolError as error:
                raise ConnectionClosedError(error=error, request=request, endpoint_url=request.url) from error
            except urllib3.HTTPError as error:
                raise HTTPClientError(error=error) from error
        return answer

    def close(self) -> None:
        """Close its connections."""
        self._session.close()
