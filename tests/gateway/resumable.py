"""``/storage/v1/upload/resumable``: uploads by TUS 1.0.0 that go on where they stopped.

Sources: https://tus.io/protocols/resumable-upload (core, creation, creation-with-upload),
https://supabase.com/docs/guides/storage/uploads/resumable-uploads (metadata, ``x-upsert``; it asks for chunks of 6 MB,
which the stand-in does not enforce),
https://github.com/supabase/storage/blob/master/src/http/routes/tus/lifecycle.ts (who may, URLs)
and https://github.com/tus/tus-node-server/blob/main/packages/utils/src/constants.ts (statuses and words of errors).
"""

import base64
import binascii
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from tests.gateway.answers import Answer, StorageError, TusError, Unimplemented
from tests.gateway.faults import Faults
from tests.gateway.storage import PATH, Storage, StorageRequest

CHUNK_TYPE = "application/offset+octet-stream"


@dataclass
class Upload:
    """An upload that is not finished. ``length`` and ``offset`` in bytes."""

    bucket: str
    name: str
    version: str
    length: int
    content_type: str
    cache_control: str
    metadata: str
    file: Path
    offset: int = 0


@dataclass
class Resumable:
    """The uploads under way; they are lost when the stand-in ends."""

    storage: Storage
    uploads: dict[str, Upload] = field(default_factory=dict)

    def answer(self, request: StorageRequest, faults: Faults) -> Answer:
        """The response to one request; a ``TusError`` (real status, plain text) for an error."""
        identifier = request.path.removeprefix(PATH).strip("/")
        try:
            if identifier.startswith("sign"):
                raise Unimplemented("Storage: resumable uploads to a signed URL")
            if request.headers.get("tus-resumable") != "1.0.0":
                raise TusError(412, "Tus-Resumable Required\n")
            if request.method == "POST" and not identifier:
                return self._create(request, faults)
            if request.method == "HEAD" and identifier:
                return self._head(self._found(identifier))
            if request.method == "PATCH" and identifier:
                return self._patch(request, self._found(identifier), identifier)
        except StorageError as error:
            raise TusError(error.status, error.message) from error
        raise Unimplemented(f"Storage: resumable uploads by {request.method}")

    def _create(self, request: StorageRequest, faults: Faults) -> Answer:
        headers = request.headers
        if "upload-concat" in headers or "upload-defer-length" in headers:
            raise Unimplemented("Storage: resumable uploads of unknown length, or in parts that are joined")
        length = headers.get("upload-length", "")
        if not length.isdigit():
            raise TusError(400, "Upload-Length or Upload-Defer-Length header required\n")
        if "upload-metadata" not in headers:
            raise TusError(400, "Metadata header is required")
        metadata = _metadata(headers["upload-metadata"])
        bucket, name = metadata.get("bucketName", ""), metadata.get("objectName", "")
        try:
            self.storage.check(bucket, name, int(length), faults)
        except StorageError as error:
            if error.status == 413:
                raise TusError(413, "Maximum size exceeded\n") from error
            raise
        self.storage.check_upload(request, bucket, name, upsert=_upsert(request))
        version = str(uuid.uuid4())
        identifier = base64.urlsafe_b64encode(f"{bucket}/{name}/{version}".encode()).decode().rstrip("=")
        age = metadata.get("cacheControl", "")
        upload = Upload(
            bucket,
            name,
            version,
            int(length),
            metadata.get("contentType", "application/octet-stream"),
            f"max-age={age}" if age.isdigit() else "no-cache",
            headers["upload-metadata"],
            self.storage.folder / version,
        )
        upload.file.write_bytes(b"")
        self.uploads[identifier] = upload
        answer = {"Tus-Resumable": "1.0.0", "Location": f"{request.url}{PATH}/{identifier}"}
        if headers.get("content-type") == CHUNK_TYPE or upload.length == 0:
            answer |= self._append(request, upload, identifier)
        return Answer(201, answer)

    def _head(self, upload: Upload) -> Answer:
        return Answer(
            200,
            {
                "Tus-Resumable": "1.0.0",
                "Cache-Control": "no-store",
                "Upload-Offset": str(upload.offset),
                "Upload-Length": str(upload.length),
                "Upload-Metadata": upload.metadata,
            },
        )

    def _patch(self, request: StorageRequest, upload: Upload, identifier: str) -> Answer:
        offset, kind = request.headers.get("upload-offset", ""), request.headers.get("content-type")
        if not offset.isdigit():
            raise TusError(403, "Upload-Offset header required\n")
        if kind != CHUNK_TYPE:
            raise TusError(403, "Content-Type header required\n")
        self.storage.check_upload(request, upload.bucket, upload.name, upsert=_upsert(request))
        if int(offset) != upload.offset:
            raise TusError(409, "Upload-Offset conflict\n")
        return Answer(204, {"Tus-Resumable": "1.0.0", **self._append(request, upload, identifier)})

    def _append(self, request: StorageRequest, upload: Upload, identifier: str) -> dict[str, str]:
        """Store a chunk; the last one makes the object."""
        if upload.offset + len(request.body) > upload.length:
            raise TusError(413, "upload's size exceeded\n")
        with upload.file.open("ab") as file:
            file.write(request.body)
        upload.offset += len(request.body)
        if upload.offset < upload.length:
            return {"Upload-Offset": str(upload.offset)}
        self.storage.commit(
            request,
            upload.bucket,
            upload.name,
            upload.version,
            upload.content_type,
            upload.cache_control,
            upsert=_upsert(request),
        )
        del self.uploads[identifier]
        return {"Upload-Offset": str(upload.offset), "Tus-Complete": "1"}

    def _found(self, identifier: str) -> Upload:
        if identifier not in self.uploads:
            raise TusError(404, "The file for this url was not found\n")
        return self.uploads[identifier]


def _upsert(request: StorageRequest) -> bool:
    return request.headers.get("x-upsert") == "true"


def _metadata(header: str) -> dict[str, str]:
    """``Upload-Metadata``: pairs of a name and a base64 value, joined by commas."""
    found = {}
    for pair in header.split(","):
        name, _, value = pair.strip().partition(" ")
        try:
            found[name] = base64.b64decode(value, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise TusError(
                400,
                "Upload-Metadata is invalid. It MUST consist of one or more comma-separated "
                "key-value pairs. The key and value MUST be separated by a space. The key MUST NOT contain "
                "spaces and commas and MUST NOT be empty. The key SHOULD be ASCII encoded and the value MUST "
                "be Base64 encoded. All keys MUST be unique",
            ) from None
    return found
