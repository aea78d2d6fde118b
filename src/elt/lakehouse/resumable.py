"""Resumable uploads to Storage: the TUS protocol, so that a dropped connection costs one chunk, not the object.

Sources: tus.io, "Resumable upload protocol 1.0.0"; Supabase, "Resumable Uploads" (chunks of exactly 6 MiB, the names of
the metadata, the endpoint).
"""

import base64
from functools import partial
from urllib.parse import urljoin, urlsplit

from elt.errors import Missing, Rejected, Unreachable
from elt.supabase import Project

CHUNK_BYTES = 6 * 2**20
"""Size of a chunk; smaller objects go up in one plain request."""

_VERSION = {"Tus-Resumable": "1.0.0"}


BEGINNINGS = 3
"""How often an upload is begun that the server forgets on the way."""


def upload(project: Project, bucket: str, path: str, data: bytes, media_type: str) -> None:
    """Store ``data`` under ``path`` in chunks; a chunk whose answer is lost goes on from the offset the server has.

    ``Rejected`` if the path exists, ``repeated`` if an upload of ours may have put it there.
    """
    doing = f"storing {path}"
    for beginning in range(1, BEGINNINGS + 1):
        try:
            place = project.ask(doing, partial(_create, project, bucket, path, len(data), media_type))
            _send(project, place, doing, data)
        except Missing:  # an upload that is finished, or older than a day, is no longer known
            if beginning == BEGINNINGS:
                raise
        except Rejected as error:
            error.repeated = error.repeated or beginning > 1
            raise
        else:
            return


def _send(project: Project, place: str, doing: str, data: bytes) -> None:
    """Send every chunk; each has its own tries, so that a long upload over a bad line ends."""
    offset, known = 0, True

    def chunk() -> None:
        nonlocal offset, known
        if not known:
            offset = _offset(project, place)
        known = False
        if offset < len(data):
            offset = _patch(project, place, offset, data[offset : offset + CHUNK_BYTES])
        known = True

    while offset < len(data):
        project.ask(f"{doing} from byte {offset:,}", chunk)


def _create(project: Project, bucket: str, path: str, size: int, media_type: str) -> str:
    """Announce an upload; answers its URL: at the project's own address, whichever host a server behind a proxy names.

    The key goes nowhere else.
    """
    endpoint = f"{project.url}/storage/v1/upload/resumable"
    metadata = {"bucketName": bucket, "objectName": path, "contentType": media_type, "cacheControl": "3600"}
    headers = {
        **project.headers,
        **_VERSION,
        "x-upsert": "false",
        "Upload-Length": str(size),
        "Upload-Metadata": ",".join(
            f"{name} {base64.b64encode(value.encode()).decode()}" for name, value in metadata.items()
        ),
    }
    answer = project.http.post(endpoint, headers=headers)
    place = urlsplit(urljoin(endpoint, answer.headers["Location"]))
    return f"{project.url}{place.path}" + (f"?{place.query}" if place.query else "")


def _offset(project: Project, place: str) -> int:
    """How much of the upload the server has."""
    answer = project.http.head(place, headers={**project.headers, **_VERSION})
    return int(answer.headers["Upload-Offset"])


def _patch(project: Project, place: str, offset: int, chunk: bytes) -> int:
    """Append a chunk; answers the new offset."""
    headers = {
        **project.headers,
        **_VERSION,
        "Upload-Offset": str(offset),
        "Content-Type": "application/offset+octet-stream",
    }
    try:
        answer = project.http.patch(place, headers=headers, content=chunk)
    except Rejected as error:
        if "exist" in error.what:
            raise
        # Another offset than the server's, or a lock that the dropped connection still holds: look again.
        raise Unreachable(error.what, next_step=error.next_step) from error
    return int(answer.headers["Upload-Offset"])
