"""``/storage/v1``: the part of Storage that the official Python client uses.

Objects' bytes are files in a folder; their rows are in ``storage.objects``, read and written with the caller's role, so
that access is row-level security's decision. Sources: https://supabase.com/docs/guides/storage,
https://github.com/supabase/storage/tree/master/src/http/routes (bucket, object), ``src/storage/limits.ts`` (keys) and
``src/internal/errors/codes.ts`` (the words of each error).
"""

import hashlib
import io
import json
import re
import uuid
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import psycopg
from pydantic_core import from_json
from python_multipart import parse_form
from python_multipart.multipart import Field, File

from elt.lakehouse import migrations
from tests.gateway.answers import Answer, StorageError, Unimplemented, as_json
from tests.gateway.database import Database
from tests.gateway.faults import Faults
from tests.gateway.keys import Caller

BUCKET_MIGRATION = migrations.FOLDER / "20260101000200_bronze.sql"
SQL_FILE = Path(__file__).with_name("storage.sql")
KEY = re.compile(r"[A-Za-z0-9_/!\-.*'() &$@=;:+,?]+")
"""Source: https://github.com/supabase/storage/blob/master/src/storage/limits.ts (``isValidKey``)."""

LIST_LIMIT = 100
"""Source: https://supabase.com/docs/reference/python/storage-from-list (limit, 100 by default)."""

LIST_MOST = 1_500
"""Source: ``storage.search`` (``v_limit``)."""

REMOVE_LIMIT = 1000
"""Source: ``src/http/routes/object/deleteObjects.ts`` (``prefixes``: maxItems)."""


@dataclass(frozen=True)
class StorageRequest:
    """One request under ``/storage/v1``; ``path`` is what follows, still percent-encoded."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    caller: Caller
    url: str
    """Where the client sees ``/storage/v1``."""


@dataclass
class Storage:
    """The server: buckets and objects in the database, bytes in ``folder``."""

    database: Database
    folder: Path

    def install(self) -> None:
        """Make the tables of Storage, if they are not there."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.database.connection() as connection:
            connection.execute(SQL_FILE.read_bytes())

    def migrate_buckets(self) -> None:
        """Run the project's migration that makes its bucket; it had nothing to do in a database without Storage."""
        with self.database.connection() as connection:
            connection.execute(BUCKET_MIGRATION.read_bytes())

    def answer(self, request: StorageRequest, faults: Faults) -> Answer:
        """The response to one request; a ``Refusal`` for an error."""
        for method, pattern, handler in _ROUTES:
            found = re.fullmatch(pattern, request.path)
            if found and request.method == method:
                arguments = {name: unquote(value) for name, value in found.groupdict().items() if value is not None}
                return handler(self, request, faults, **arguments)
        raise Unimplemented(f"Storage: {request.method} {_shape(request.path)}")

    # Buckets: https://supabase.com/docs/reference/python/storage-createbucket and its neighbours.

    def list_buckets(self, request: StorageRequest, _faults: Faults) -> Answer:
        with self.transaction(request) as connection:
            rows = connection.execute(f"select {_BUCKET} from storage.buckets order by id".encode()).fetchall()
        return as_json(200, [_bucket(row) for row in rows])

    def get_bucket(self, request: StorageRequest, _faults: Faults, bucket: str) -> Answer:
        with self.transaction(request) as connection:
            return as_json(200, _bucket(_found_bucket(connection, bucket)))

    def create_bucket(self, request: StorageRequest, _faults: Faults) -> Answer:
        document = _json(request.body)
        identifier = str(document.get("id") or document.get("name"))
        if not KEY.fullmatch(identifier) or "/" in identifier:
            raise StorageError(400, "Invalid Input", "Bucket name invalid")
        limit = document.get("file_size_limit")
        with self.transaction(request) as connection:
            connection.execute(
                "insert into storage.buckets (id, name, public, file_size_limit, allowed_mime_types) "
                "values (%s, %s, %s, %s, %s)",
                (
                    identifier,
                    document.get("name") or identifier,
                    bool(document.get("public", False)),
                    _bytes(limit) if limit is not None else None,
                    document.get("allowed_mime_types"),
                ),
            )
        return as_json(200, {"name": identifier})

    def empty_bucket(self, request: StorageRequest, _faults: Faults, bucket: str) -> Answer:
        with self.transaction(request) as connection:
            _found_bucket(connection, bucket)
            rows = connection.execute(
                "delete from storage.objects where bucket_id = %s returning version", (bucket,)
            ).fetchall()
        self._unlink(version for (version,) in rows)
        return as_json(200, {"message": "Successfully emptied"})

    def delete_bucket(self, request: StorageRequest, _faults: Faults, bucket: str) -> Answer:
        with self.transaction(request) as connection:
            _found_bucket(connection, bucket)
            used = connection.execute(
                "select exists (select from storage.objects where bucket_id = %s)", (bucket,)
            ).fetchone()
            if used and used[0]:
                raise StorageError(409, "ResourceNotEmpty", "The bucket you tried to delete is not empty")
            connection.execute("delete from storage.buckets where id = %s", (bucket,))
        return as_json(200, {"message": "Successfully deleted"})

    # Objects: https://supabase.com/docs/guides/storage/uploads/standard-uploads and the client's reference.

    def put_object(self, request: StorageRequest, faults: Faults, bucket: str, name: str) -> Answer:
        content, kind, cache = _content(request)
        update = request.method == "PUT"
        upsert = update or request.headers.get("x-upsert", "") == "true"
        self.check(bucket, name, len(content), faults)
        version = self._write_version(content)
        try:
            identifier = self.commit(request, bucket, name, version, kind, cache, upsert=upsert, update=update)
        except BaseException:
            self._unlink([version])
            raise
        return as_json(200, {"Key": f"{bucket}/{name}", "Id": identifier})

    def get_object(self, request: StorageRequest, _faults: Faults, bucket: str, name: str) -> Answer:
        if "range" in request.headers:
            raise Unimplemented("Storage: downloads by the Range header")
        row = self._find(request, bucket, name)
        headers = {
            "Content-Type": str(row["metadata"]["mimetype"]),
            "Cache-Control": str(row["metadata"]["cacheControl"]),
            "ETag": str(row["metadata"]["eTag"]),
            "Accept-Ranges": "bytes",
        }
        content = (self.folder / str(row["version"])).read_bytes()
        if request.method == "HEAD":
            return Answer(200, {**headers, "Content-Length": str(len(content))})
        return Answer(200, headers, content)

    def object_info(self, request: StorageRequest, _faults: Faults, bucket: str, name: str) -> Answer:
        row = self._find(request, bucket, name)
        metadata = row["metadata"]
        return as_json(
            200,
            {
                "id": row["id"],
                "name": name,
                "version": row["version"],
                "bucket_id": bucket,
                "size": metadata["size"],
                "content_type": metadata["mimetype"],
                "cache_control": metadata["cacheControl"],
                "etag": metadata["eTag"],
                "metadata": {},
                "last_modified": row["updated_at"],
                "created_at": row["created_at"],
            },
        )

    def delete_objects(self, request: StorageRequest, _faults: Faults, bucket: str) -> Answer:
        """Delete by full names; what is not there is passed over in silence."""
        prefixes = _json(request.body).get("prefixes")
        if not isinstance(prefixes, list) or not prefixes:
            raise _invalid_body("body must have required property 'prefixes'")
        if len(prefixes) > REMOVE_LIMIT:
            raise _invalid_body(f"body/prefixes must NOT have more than {REMOVE_LIMIT} items")
        with self.transaction(request) as connection:
            rows = connection.execute(
                f"delete from storage.objects where bucket_id = %s and name = any (%s) returning {_OBJECT}",
                (bucket, prefixes),
            ).fetchall()
        documents = [_object(row) for row in rows]
        self._unlink(str(document["version"]) for document in documents)
        return as_json(200, documents)

    def list_objects(self, request: StorageRequest, faults: Faults, bucket: str) -> Answer:
        """One folder's entries: folders (``id`` null) and objects, with names relative to the folder.

        Source: https://github.com/supabase/storage/blob/master/src/storage/object.ts (``searchObjects``) and the
        function ``storage.search`` of its migrations, as it is since ``0050-search-v2-fix``; see ``search``.
        """
        asked = _json(request.body)
        if "prefix" not in asked:
            raise _invalid_body("body must have required property 'prefix'")
        prefix = str(asked["prefix"])
        if prefix and not prefix.endswith("/"):
            prefix += "/"
        sorting = asked.get("sortBy") or {}
        column, order = sorting.get("column", "name"), str(sorting.get("order", "asc")).lower()
        if column not in ("name", "created_at", "updated_at", "last_accessed_at") or order not in ("asc", "desc"):
            raise _invalid_body("body/sortBy must be equal to one of the allowed values")
        limit, offset = int(asked.get("limit", LIST_LIMIT)), int(asked.get("offset", 0))
        if limit < 1 or offset < 0:
            raise _invalid_body("body/limit must be >= 1" if limit < 1 else "body/offset must be >= 0")
        limit = min(limit, LIST_MOST, *([] if faults.list_rows is None else [faults.list_rows]))
        wanted = prefix + str(asked.get("search") or "")
        with self.transaction(request) as connection:
            rows = connection.execute(
                """
                select name, id::text, to_json(updated_at)#>>'{}', to_json(created_at)#>>'{}',
                       to_json(last_accessed_at)#>>'{}', metadata
                from storage.objects where bucket_id = %s and starts_with(lower(name), lower(%s))
                """,
                (bucket, wanted),
            ).fetchall()
        if column == "name":
            found = search(sorted((row[0] for row in rows), key=str.lower), wanted, limit, offset, order == "asc")
        else:
            place = ("updated_at", "created_at", "last_accessed_at").index(column) + 2
            by_time = sorted(rows, key=lambda row: str(row[place]), reverse=order == "desc")
            folders = sorted({_entry(row[0], wanted) for row in rows} - {row[0] for row in rows})
            files = [row[0] for row in by_time if _entry(row[0], wanted) == row[0]]
            found = [*(folders if order == "asc" else folders[::-1]), *files][offset : offset + limit]
        columns = ("id", "updated_at", "created_at", "last_accessed_at", "metadata")
        known = {row[0]: dict(zip(columns, row[1:], strict=True)) for row in rows}
        folder = dict.fromkeys(columns)
        shown = [{"name": entry.removesuffix("/")[len(prefix) :], **known.get(entry, folder)} for entry in found]
        return as_json(200, shown)

    # What the handlers share.

    @contextmanager
    def transaction(self, request: StorageRequest) -> Iterator[psycopg.Connection]:
        """A transaction with the caller's role; PostgreSQL's refusals become Storage's."""
        try:
            with self.database.transaction(
                request.caller, read_only=False, timeout=30, schema="storage", method=request.method, path=request.path
            ) as connection:
                yield connection
        except psycopg.errors.InsufficientPrivilege as error:
            raise StorageError(403, "Unauthorized", error.diag.message_primary or "Access denied") from error
        except psycopg.errors.UniqueViolation as error:
            raise StorageError(409, "Duplicate", "The resource already exists") from error
        except psycopg.errors.ForeignKeyViolation as error:
            raise StorageError(404, "Bucket not found", "Bucket not found") from error

    def check_upload(self, request: StorageRequest, bucket: str, name: str, *, upsert: bool) -> None:
        """Whether the caller may create the object: tried in a transaction that is taken back."""
        with self.transaction(request) as connection, connection.transaction(force_rollback=True):
            self._insert(connection, bucket, name, "check", {}, upsert=upsert)

    def check(self, bucket: str, name: str, size: int, faults: Faults) -> None:
        """The rules that hold before anything is stored; Storage looks the bucket up as a superuser."""
        rows = self.database.rows("select file_size_limit from storage.buckets where id = %s", (bucket,))
        if not rows:
            raise StorageError(404, "Bucket not found", "Bucket not found")
        if not KEY.fullmatch(name):
            raise StorageError(400, "InvalidKey", f"Invalid key: {name}")
        limits = [limit for limit in (rows[0][0], faults.max_object) if limit is not None]
        if limits and size > min(limits):
            raise StorageError(413, "Payload too large", "The object exceeded the maximum allowed size")

    def _write_version(self, content: bytes) -> str:
        version = str(uuid.uuid4())
        (self.folder / version).write_bytes(content)
        return version

    def commit(
        self,
        request: StorageRequest,
        bucket: str,
        name: str,
        version: str,
        kind: str,
        cache: str,
        *,
        upsert: bool,
        update: bool = False,
    ) -> str:
        """The object's row; answers its id. The bytes of a replaced version go away."""
        file = self.folder / version
        digest = hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest()
        size = file.stat().st_size
        metadata = {
            "eTag": f'"{digest}"',
            "size": size,
            "mimetype": kind,
            "cacheControl": cache,
            "contentLength": size,
            "httpStatusCode": 200,
        }
        with self.transaction(request) as connection:
            old = connection.execute(
                "select version from storage.objects where bucket_id = %s and name = %s", (bucket, name)
            ).fetchone()
            if update and old is None:
                raise StorageError(404, "not_found", "Object not found")
            identifier = self._insert(connection, bucket, name, version, metadata, upsert=upsert)
        if old is not None:
            self._unlink([old[0]])
        return identifier

    @staticmethod
    def _insert(
        connection: psycopg.Connection, bucket: str, name: str, version: str, metadata: object, *, upsert: bool
    ) -> str:
        action = (
            "on conflict (bucket_id, name) do update set version = excluded.version, metadata = excluded.metadata, "
            "updated_at = now()"
            if upsert
            else ""
        )
        row = connection.execute(
            "insert into storage.objects (bucket_id, name, version, metadata) "
            f"values (%s, %s, %s, %s::jsonb) {action} returning id::text",
            (bucket, name, version, json.dumps(metadata)),
        ).fetchone()
        return str(row[0]) if row else ""

    def _find(self, request: StorageRequest, bucket: str, name: str) -> dict[str, Any]:
        with self.transaction(request) as connection:
            row = connection.execute(
                f"select {_OBJECT} from storage.objects where bucket_id = %s and name = %s", (bucket, name)
            ).fetchone()
        if row is None:
            if not self.database.rows("select from storage.buckets where id = %s", (bucket,)):
                raise StorageError(404, "Bucket not found", "Bucket not found")
            raise StorageError(404, "not_found", "Object not found")
        return _object(row)

    def _unlink(self, versions: Any) -> None:
        for version in versions:
            (self.folder / str(version)).unlink(missing_ok=True)


def search(names: Sequence[str], prefix: str, limit: int, offset: int, ascending: bool) -> list[str]:
    """One page of what is directly under ``prefix``: objects by their names, folders with their slash.

    ``names``: every object's under it, sorted in lower case. They are walked through by jumps: one object is looked at;
    if it lies in a folder, that is an entry, and the next look is behind the folder; if not, objects are taken in
    batches until one in a folder ends the batch. So it is what the real one gives, its faults with it:

    - in descending order the object that ends a batch is passed over, and with it its folder, if it has no other one;
    - in ascending order what follows on the last object of a batch, and begins with its name and a sign before the
      slash, is passed over.
    """
    keys = [name.lower() for name in names]
    batch = min(max(2 * limit, 100), 1_000)
    found: list[str] = []
    position = 0 if ascending else len(names) - 1
    while 0 <= position < len(names) and len(found) < limit + offset:
        entry = _entry(names[position], prefix)
        if entry != names[position]:
            found.append(entry)
            folder = entry.lower()
            behind = bisect_left(keys, folder[:-1] + chr(ord("/") + 1))
            position = behind if ascending else bisect_left(keys, folder) - 1
            continue
        step = 1 if ascending else -1
        for name in names[position::step][:batch]:
            if _entry(name, prefix) != name:
                if not ascending:
                    position -= 1
                break
            found.append(name)
            position += step
            if len(found) == limit + offset:
                break
        else:
            if ascending:
                position = bisect_left(keys, f"{keys[position - 1]}/")
    return found[offset:]


def _entry(name: str, prefix: str) -> str:
    """What stands for the object in a listing of ``prefix``: itself, or its folder there with the slash."""
    slash = name.find("/", len(prefix))
    return name if slash < 0 else name[: slash + 1]


_BUCKET = (
    "id, name, coalesce(owner::text, ''), public, file_size_limit, allowed_mime_types, "
    "to_json(created_at)#>>'{}', to_json(updated_at)#>>'{}'"
)
_OBJECT = (
    "id::text, bucket_id, name, version, metadata, to_json(created_at)#>>'{}', to_json(updated_at)#>>'{}', "
    "to_json(last_accessed_at)#>>'{}'"
)


def _bucket(row: tuple[Any, ...]) -> dict[str, Any]:
    names = ("id", "name", "owner", "public", "file_size_limit", "allowed_mime_types", "created_at", "updated_at")
    return dict(zip(names, row, strict=True))


def _object(row: tuple[Any, ...]) -> dict[str, Any]:
    names = ("id", "bucket_id", "name", "version", "metadata", "created_at", "updated_at", "last_accessed_at")
    return dict(zip(names, row, strict=True))


def _found_bucket(connection: psycopg.Connection, bucket: str) -> tuple[Any, ...]:
    row = connection.execute(f"select {_BUCKET} from storage.buckets where id = %s", (bucket,)).fetchone()
    if row is None:
        raise StorageError(404, "Bucket not found", "Bucket not found")
    return row


def _content(request: StorageRequest) -> tuple[bytes, str, str]:
    """Bytes, content type and cache control of an upload: multipart as the clients send it, or the bare body."""
    kind = request.headers.get("content-type", "")
    if not kind.startswith("multipart/form-data"):
        cache = request.headers.get("cache-control", "no-cache")
        return request.body, kind or "application/octet-stream", cache
    found: list[tuple[bytes, str]] = []
    fields: dict[str, str] = {}

    def on_field(part: Field) -> None:
        fields[(part.field_name or b"").decode()] = (part.value or b"").decode()

    def on_file(part: File) -> None:
        part.file_object.seek(0)
        found.append((part.file_object.read(), part.content_type or "application/octet-stream"))
        part.close()  # a large one has a file of its own

    headers = {"Content-Type": kind.encode(), "Content-Length": str(len(request.body)).encode()}
    parse_form(headers, io.BytesIO(request.body), on_field, on_file)
    if not found:
        raise StorageError(400, "InvalidRequest", "No content provided")
    age = fields.get("cacheControl", "")
    return found[0][0], found[0][1], f"max-age={age}" if age.isdigit() else "no-cache"


def _json(body: bytes) -> dict[str, Any]:
    try:
        document = from_json(body or b"{}")
    except ValueError:
        raise _invalid_body("Body is not valid JSON but content-type is set to 'application/json'") from None
    if not isinstance(document, dict):
        raise _invalid_body("body must be object")
    return document


def _invalid_body(message: str) -> StorageError:
    """A body that does not fit the route's schema, as Fastify's error handler words it."""
    return StorageError(400, "Error", message)


def _bytes(limit: object) -> int:
    """A file size limit: a number of bytes, or text such as 50MB."""
    found = re.fullmatch(r"(\d+)\s*(B|KB|MB|GB)?", str(limit).upper())
    if not found:
        raise StorageError(400, "InvalidRequest", "Invalid file size format, hint: use 20GB / 20MB / 30KB / 3B")
    return int(found[1]) * {None: 1, "B": 1, "KB": 1000, "MB": 1000**2, "GB": 1000**3}[found[2]]


def takes_any_token(method: str, path: str) -> bool:
    """Whether the request asks for an object by the route that answers whoever comes with no or a bad token, too.

    To it such a token's bucket is not there. Source: ``src/http/routes/object/getObject.ts`` (``allowInvalidJwt``); the
    answer as seen on Storage 1.44.2 and 1.70.6.
    """
    return method in ("GET", "HEAD") and re.fullmatch(_TO_ANYBODY, path) is not None


def _shape(path: str) -> str:
    return "/".join(path.split("/")[:3])


_NAME = r"(?P<bucket>[^/]+)/(?P<name>.+)"
_TO_ANYBODY = f"/object/(?!sign/|public/|info/|list/|authenticated/){_NAME}"
_Handler = Callable[..., Answer]
_ROUTES: tuple[tuple[str, str, _Handler], ...] = (
    ("GET", "/bucket/?", Storage.list_buckets),
    ("POST", "/bucket/?", Storage.create_bucket),
    ("GET", "/bucket/(?P<bucket>[^/]+)", Storage.get_bucket),
    ("DELETE", "/bucket/(?P<bucket>[^/]+)", Storage.delete_bucket),
    ("POST", "/bucket/(?P<bucket>[^/]+)/empty", Storage.empty_bucket),
    ("POST", "/object/list/(?P<bucket>[^/]+)", Storage.list_objects),
    ("DELETE", "/object/(?P<bucket>[^/]+)", Storage.delete_objects),
    ("GET", f"/object/info/(?:authenticated/)?{_NAME}", Storage.object_info),
    ("GET", f"/object/(?!sign/|public/|info/|list/)(?:authenticated/)?{_NAME}", Storage.get_object),
    ("HEAD", f"/object/(?!sign/|public/|info/|list/)(?:authenticated/)?{_NAME}", Storage.get_object),
    ("POST", f"/object/(?!sign/|public/|info/|list/|list-v2/|upload/)(?!copy$|move$){_NAME}", Storage.put_object),
    ("PUT", f"/object/(?!sign/|public/|info/|list/|list-v2/|upload/){_NAME}", Storage.put_object),
)
