"""Reports how batches ended to the operator's URL, at least once each.

A report is an event of OpenAI's, signed as `client.webhooks.unwrap()` checks it: HMAC-SHA256 as in Standard Webhooks
(github.com/standard-webhooks/standard-webhooks, spec/standard-webhooks.md). It is sent after end.json has been written,
and once a response of 2xx has come, a file says so. Its ID is always the same, so a receiver recognizes a repetition.
"""

import base64
import hmac
import http.client
import ssl
from http import HTTPStatus
from urllib.parse import urlsplit

import orjson

from handler.batches.folder import BatchFolder
from handler.batches.records import BatchEnd
from handler.errors import ServiceError
from handler.settings import Settings

REPORTED = "reported.json"  # the receiver has taken the report
TIMEOUT_SECONDS = 10.0  # to connect, and for each part of the response


class WebhookError(ServiceError):
    """The end of a batch could not be reported, and may be later."""


def report(folder: BatchFolder, settings: Settings, now: int) -> None:
    """Report how a batch ended, unless no URL is set, or it has not ended or was reported; `now` is in Unix seconds.

    Raises:
        WebhookError: the receiver did not take it, and may take it later.
        BulkError: the storage refuses.
    """
    if not settings.webhook_url or folder.storage.exists(folder.path(REPORTED)):
        return
    if end := folder.end():
        _send(settings, event_of(folder.id, end), now)
        folder.storage.write(folder.path(REPORTED), orjson.dumps({"at": now}))


def event_of(batch: str, end: BatchEnd) -> dict[str, object]:
    """Return the event of a batch's end."""
    return {
        "id": f"evt_{batch.removeprefix('batch_')}",
        "object": "event",
        "type": f"batch.{end.ending}",
        "created_at": end.at,
        "data": {"id": batch},
    }


def signed(event: dict[str, object], secret: str, now: int) -> tuple[bytes, dict[str, str]]:
    """Return the body of an event, and the headers that sign it."""
    body = orjson.dumps(event)
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signature = hmac.digest(key, f"{event['id']}.{now}.".encode() + body, "sha256")
    return body, {
        "content-type": "application/json",
        "user-agent": "serverless-embeddings",
        "webhook-id": str(event["id"]),
        "webhook-timestamp": str(now),
        "webhook-signature": f"v1,{base64.b64encode(signature).decode()}",
    }


def _send(settings: Settings, event: dict[str, object], now: int) -> None:
    """Send an event once. A redirect is not followed: it could lead anywhere."""
    url = urlsplit(settings.webhook_url)
    body, headers = signed(event, settings.webhook_secret, now)
    path = f"{url.path or '/'}{'?' if url.query else ''}{url.query}"
    connection = (
        http.client.HTTPSConnection(
            url.hostname or "", url.port, timeout=TIMEOUT_SECONDS, context=ssl.create_default_context()
        )
        if url.scheme == "https"
        else http.client.HTTPConnection(url.hostname or "", url.port, timeout=TIMEOUT_SECONDS)
    )
    try:
        connection.request("POST", path, body, headers)
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        raise WebhookError(f"the receiver of webhooks cannot be reached ({type(error).__name__})") from error
    finally:
        connection.close()
    if not HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        raise WebhookError(f"the receiver of webhooks responded {status}: expected 2xx")
