"""Snapshots made by hand, for tests that need neither a database nor a run."""

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from datetime import datetime

import pyarrow as pa
import pyarrow.parquet as pq

from elt.lakehouse.ports import Bucket

JANUARY = "2026/01/20260101T020000.000000Z"
MARCH = "2026/03/20260301T020000.000000Z"
MAY = "2026/05/20260501T020000.000000Z"


def part_path(snapshot: str, table: str = "pedidos") -> str:
    """Where bronze puts a table's only part."""
    return f"{snapshot}/{table}/part-00000.parquet"


def part(rows: int = 1) -> bytes:
    """A part with so many rows."""
    sink = io.BytesIO()
    pq.write_table(pa.table({"id_pedido": [str(row) for row in range(rows)]}), sink)
    return sink.getvalue()


def manifest(snapshot: str, parts: Mapping[str, bytes], **changes: object) -> bytes:
    """The manifest of a snapshot whose only table, ``pedidos``, is these one-row parts by path."""
    entries = [
        {"path": path, "rows": 1, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for path, content in parts.items()
    ]
    table = {"rows": len(parts), "columns": {"id_pedido": "text"}, "fingerprint": "made by hand", "parts": entries}
    moment = datetime.strptime(snapshot.rsplit("/", 1)[-1], "%Y%m%dT%H%M%S.%f%z").isoformat()
    document = {"format": 1, "snapshot": snapshot, "run": "by hand", "created_at": moment, "source": "a test"}
    return json.dumps({**document, "tables": {"pedidos": table}, **changes}).encode()


def commit(bucket: Bucket, snapshot: str, paths: Sequence[str] = ()) -> None:
    """A committed snapshot of one part of its own, or of these, which are stored already."""
    content = part()
    if not paths:
        paths = [part_path(snapshot)]
        bucket.put(paths[0], content)
    bucket.put(f"{snapshot}/_manifest.json", manifest(snapshot, dict.fromkeys(paths, content)))
