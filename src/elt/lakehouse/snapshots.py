"""Bronze snapshots in a bucket: ``AAAA/MM/<UTC timestamp>/<table>/part-00000.parquet`` and, last, ``_manifest.json``.

The manifest commits its snapshot: parts without one are the leftovers of a run that died. Every value is text, as the
source printed it, or NULL; the manifest keeps the source's own column types.

A folder of the same kind with ``_reset.json`` in it is a mark: the snapshots before it are another shop's. They stay,
and are never applied, replayed, or taken for the newest.
"""

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

from elt.errors import Missing, SnapshotError
from elt.lakehouse.ports import Bucket
from elt.progress import Reporter
from elt.sources.identity import named_by

FORMAT = 1
MANIFEST = "_manifest.json"
RESET = "_reset.json"
_TIMESTAMP = "%Y%m%dT%H%M%S.%fZ"


class Part(BaseModel):
    """One Parquet object: where it is, and what it must hold."""

    model_config = ConfigDict(frozen=True)

    path: str
    rows: int
    bytes: int
    sha256: str


class TableSnapshot(BaseModel):
    """One table of a snapshot. ``columns``: the source's columns and their types. Parts may lie in older folders."""

    model_config = ConfigDict(frozen=True)

    rows: int
    columns: dict[str, str]
    fingerprint: str
    parts: tuple[Part, ...]


class Manifest(BaseModel):
    """What a snapshot holds. ``snapshot`` is its folder, and orders snapshots by time.

    ``identity``: which shop its source is; empty if the program that wrote it did not say. ``same_shop``: the other
    identities that its owner had declared the same shop.
    """

    model_config = ConfigDict(frozen=True)

    format: int
    snapshot: str
    run: str
    created_at: datetime
    source: str
    identity: str = ""
    same_shop: tuple[str, ...] = ()
    tables: dict[str, TableSnapshot]

    @property
    def identities(self) -> tuple[str, ...]:
        """The shop's identities, as far as the manifest names them."""
        named = self.identity or named_by(self.source)
        return (named, *self.same_shop) if named else ()


@dataclass(frozen=True)
class Known:
    """What bronze knows of the newest snapshots when it ends, so that silver of the same run need not look for them.

    ``manifests``: oldest first, with no snapshot missing between them or after them; ``complete``: nor before them.
    """

    manifests: tuple[Manifest, ...]
    complete: bool


NOTHING_KNOWN = Known((), complete=False)


def new_snapshot_id(previous: str | None, now: datetime) -> str:
    """A folder name for a snapshot made ``now``, after ``previous`` even if the clock went back in between."""
    moment = now.astimezone(UTC)
    if previous is not None:
        last = datetime.strptime(previous.rsplit("/", 1)[-1], _TIMESTAMP).replace(tzinfo=UTC)
        moment = max(moment, last + timedelta(microseconds=1))
    return f"{moment:%Y/%m}/{moment.strftime(_TIMESTAMP)}"


def committed(bucket: Bucket) -> list[str]:
    """The snapshots of the lakehouse's shop that have a manifest, oldest first."""
    return committed_in(bucket.list())


def committed_in(paths: Sequence[str]) -> list[str]:
    """The same, of a listing of the whole bucket: those after the last mark."""
    last_mark = max(_folders_with(paths, RESET), default="")
    return [snapshot for snapshot in _folders_with(paths, MANIFEST) if snapshot > last_mark]


def ever_committed(bucket: Bucket) -> list[str]:
    """Every snapshot that has a manifest, oldest first: those of shops before a reset too."""
    return _folders_with(bucket.list(), MANIFEST)


def _folders_with(paths: Sequence[str], name: str) -> list[str]:
    return [path.removesuffix(f"/{name}") for path in paths if path.endswith(f"/{name}")]


def newest(bucket: Bucket) -> Manifest | None:
    """The newest committed snapshot of the lakehouse's shop, found without looking at the older ones."""
    for snapshot in _begun(bucket):
        with suppress(Missing):
            return read_manifest(bucket, snapshot)
        if bucket.list(f"{snapshot}/{RESET}"):
            return None
    return None


def write_reset(bucket: Bucket, run: str, now: datetime) -> str:
    """Leave the mark after everything there is; answers its folder."""
    folder = new_snapshot_id(last_folder(bucket), now)
    content = json.dumps({"reset_at": now.isoformat(), "run": run}, indent=2)
    bucket.put(f"{folder}/{RESET}", content.encode())
    return folder


def last_folder(bucket: Bucket) -> str | None:
    """The newest folder of a snapshot or mark, committed or not: what is made next comes after it."""
    return next(_begun(bucket), None)


def committed_since(bucket: Bucket, snapshot: str | None, known: Known) -> list[str]:
    """The committed snapshots from this one on, oldest first; all of them if it is None or not there any more.

    Found without looking at the older ones, and in the bucket only if they are not ``known``.
    """
    names = [manifest.snapshot for manifest in known.manifests]
    if snapshot in names:
        return names[names.index(snapshot) :]
    if snapshot is None or known.complete:
        return names if known.complete else committed(bucket)
    found = []
    for name in _begun(bucket):
        if name < snapshot:
            break
        objects = bucket.list(f"{name}/_")
        if f"{name}/{RESET}" in objects:
            break
        if f"{name}/{MANIFEST}" in objects:
            found.append(name)
        if name == snapshot:
            break
    return found[::-1] or committed(bucket)


def _begun(bucket: Bucket) -> Iterator[str]:
    """The folders of snapshots, committed or not, the newest first."""
    for year in bucket.folders():
        for month in bucket.folders(year):
            yield from bucket.folders(month)


def leftovers(bucket: Bucket, without: Collection[str] = ()) -> list[str]:
    """Objects that no committed snapshot needs; ``without``: as if these snapshots were not committed.

    A part in a folder without a manifest may still be needed: a later snapshot in which its table did not change points
    at it. So every manifest is read, and one that cannot be read is an error rather than a guess.
    """
    paths = bucket.list()
    kept = [snapshot for snapshot in _folders_with(paths, MANIFEST) if snapshot not in without]
    needed = {part.path for snapshot in kept for part in parts_of(read_manifest(bucket, snapshot))}
    folders = tuple(f"{folder}/" for folder in (*kept, *_folders_with(paths, RESET)))
    return [path for path in paths if path not in needed and not path.startswith(folders)]


def find(bucket: Bucket, name: str) -> str:
    """The committed snapshot of that name: its folder, or the last part of it. ``Missing`` if there is none."""
    known = committed(bucket)
    for snapshot in ever_committed(bucket):
        if name.strip("/") in (snapshot, snapshot.rsplit("/", 1)[-1]):
            if snapshot in known:
                return snapshot
            raise SnapshotError(
                f"the snapshot {snapshot} is another shop's: the lakehouse was reset after it",
                kept="nothing was changed",
                next_step="medallion snapshots lists those of this shop",
            )
    raise Missing(
        f"bronze has no snapshot {name}" + (f"; it has {len(known)}, the newest is {known[-1]}" if known else ""),
        kept="nothing was changed",
        next_step="medallion snapshots lists them",
    )


def prunable(known: Sequence[str], keep: int, applied: str | None) -> list[str]:
    """Those of the snapshots (oldest first) that neither the newest ``keep`` are nor silver needs.

    Silver needs the snapshot it applied last, to find what changed since, and those it has not applied yet.
    """
    return [snapshot for snapshot in known[:-keep] if applied is not None and snapshot < applied]


def parts_of(manifest: Manifest) -> list[Part]:
    """Every part of the snapshot, wherever it lies."""
    return [part for table in manifest.tables.values() for part in table.parts]


def read_manifest(bucket: Bucket, snapshot: str) -> Manifest:
    """The snapshot's manifest. ``SnapshotError`` if it is not one this version reads."""
    path = f"{snapshot}/{MANIFEST}"
    try:
        manifest = Manifest.model_validate_json(bucket.get(path))
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"])) or "the whole"
        raise SnapshotError(
            f"the manifest {path} is not readable: {where}: {problem['msg']}",
            next_step="restore that object from a copy, or remove its folder to do without the snapshot",
        ) from None
    if manifest.format != FORMAT:
        raise SnapshotError(
            f"the manifest {path} has format {manifest.format}; this version reads {FORMAT}",
            next_step="run the version of the program that wrote it, or a newer one",
        )
    return manifest


def write_manifest(bucket: Bucket, manifest: Manifest) -> None:
    """Commit a snapshot whose parts are all stored."""
    content = manifest.model_dump_json(indent=2).encode()
    bucket.put(f"{manifest.snapshot}/{MANIFEST}", content)


def read_rows(
    bucket: Bucket, table: TableSnapshot, columns: Sequence[str], rows: int, at_hand: Mapping[str, bytes] | None = None
) -> Iterator[pa.Table]:
    """The table's rows in the order of the snapshot, ``rows`` at a time: only ``columns``, all text.

    Each part is checked against its manifest before a row of it is used. ``columns`` that a part does not have come as
    NULL. ``at_hand``: parts, by path, that were read and checked already.
    """
    for part in table.parts:
        content = (at_hand or {}).get(part.path) or checked(bucket, part)
        file = pq.ParquetFile(pa.BufferReader(content))
        if file.metadata.num_rows != part.rows:
            raise _lies(part, f"it has {file.metadata.num_rows} rows, its manifest says {part.rows}")
        present = [name for name in columns if name in file.schema_arrow.names]
        schema = pa.schema([(name, pa.string()) for name in columns])
        for batch in file.iter_batches(batch_size=rows, columns=present):
            found = pa.Table.from_batches([batch])
            arrays = [found[name] if name in present else pa.nulls(len(found), pa.string()) for name in columns]
            yield pa.table(arrays, schema=schema)


def checked(bucket: Bucket, part: Part) -> bytes:
    """The part's bytes, if they are those the manifest promised."""
    try:
        content = bucket.get(part.path)
    except Missing:
        raise _lies(part, "it is not in the bucket") from None
    digest = hashlib.sha256(content).hexdigest()
    if digest != part.sha256:
        raise _lies(part, f"its sha256 is {digest}, its manifest says {part.sha256}")
    return content


def check_parts(bucket: Bucket, manifest: Manifest, reporter: Reporter) -> None:
    """Nothing, if every part of the snapshot is what its manifest says; else ``SnapshotError``."""
    parts = parts_of(manifest)
    with reporter.task(f"checking {manifest.snapshot}", sum(part.rows for part in parts)) as task:
        for part in parts:
            checked(bucket, part)
            task.advance(part.rows)


def copy(source: Bucket, target: Bucket, reporter: Reporter) -> list[str]:
    """Copy the committed snapshots that ``target`` lacks, each part checked on the way; answers their names.

    A snapshot's manifest comes last, so that a copy that dies is taken up again by the next one. Marks come first: no
    snapshot before one is ever taken for the shop's in ``target``.
    """
    there = set(target.list())
    for folder in _folders_with(source.list(), RESET):
        if (mark := f"{folder}/{RESET}") not in there:
            target.put(mark, source.get(mark))
    missing = [snapshot for snapshot in ever_committed(source) if f"{snapshot}/{MANIFEST}" not in there]
    for snapshot in missing:
        manifest = read_manifest(source, snapshot)
        parts = [part for part in parts_of(manifest) if part.path not in there]
        with reporter.task(f"copying {snapshot}", sum(part.rows for part in parts)) as task:
            for part in parts:
                target.put(part.path, checked(source, part))
                there.add(part.path)
                task.advance(part.rows)
        target.put(f"{snapshot}/{MANIFEST}", source.get(f"{snapshot}/{MANIFEST}"))
    return missing


def _lies(part: Part, why: str) -> SnapshotError:
    return SnapshotError(
        f"the bronze object {part.path} is not what its manifest says: {why}",
        next_step="restore that object from a copy, or remove the snapshot's folder and run again",
    )
