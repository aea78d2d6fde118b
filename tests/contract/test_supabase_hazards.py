"""What goes wrong between here and a hosted project, and that no row and no count is lost by it."""

import random
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pyarrow as pa
import pytest

from elt.bronze.extract import PART_BYTES
from elt.errors import Denied, LakehouseError, Missing, Paused, QuotaExceeded, Rejected, Timeout, TooLarge, Unreachable
from elt.lakehouse import snapshots
from elt.lakehouse.ports import Bucket, Lakehouse, Tables, Within
from elt.lakehouse.snapshots import Part
from elt.lakehouse.supabase import SupabaseBucket, SupabaseTables
from elt.supabase import TRIES, Project
from tests.gateway.answers import Answer
from tests.gateway.faults import Rule
from tests.gateway.fixtures import Gateway
from tests.gateway.keys import Keys
from tests.hosted import BUCKET, lakehouse_of, project_of
from tests.snapshots import JANUARY, commit, part_path
from tests.staging import placed, write

KEY = pa.schema([("id", pa.string())])
READ, STAGE, APPLY = (f"/rest/v1/rpc/{function}" for function in ("ler", "encenar", "aplicar"))


@pytest.fixture
def hosted(gateway: Gateway) -> Iterator[Lakehouse]:
    with lakehouse_of(project_of(gateway)) as lakehouse:
        yield lakehouse


@pytest.fixture
def tables(hosted: Lakehouse) -> Tables:
    return hosted.tables


@pytest.fixture
def bucket(hosted: Lakehouse) -> Bucket:
    return hosted.bucket


def clientes(count: int, nome: str = "Ana") -> pa.Table:
    return pa.table({"id": [f"k{number:06d}" for number in range(count)], "nome": [nome] * count})


def staged(tables: Tables, rows: pa.Table) -> list[int]:
    """The rows, staged."""
    return tables.stage("x", [("clientes", placed(rows))])


def keys_of(tables: Tables, size: int = 10_000, within: Within | None = None) -> list[str]:
    pages = tables.pages("silver.clientes", KEY, key="id", size=size, within=within)
    return sorted(str(key) for page in pages for key in page["id"])


# Max rows: answers are cut without an error.


@pytest.mark.parametrize("cap", [1, 7, 1_000])
def test_a_table_longer_than_max_rows_is_read_to_its_end(gateway: Gateway, tables: Tables, cap: int) -> None:
    rows = clientes(2_300 if cap == 1_000 else 20)
    write(tables, "clientes", rows)
    gateway.faults(max_rows=cap)
    assert keys_of(tables) == rows["id"].to_pylist()


def test_a_filtered_read_longer_than_max_rows_is_read_to_its_end(gateway: Gateway, tables: Tables) -> None:
    rows = clientes(50)
    write(tables, "clientes", rows)
    gateway.faults(max_rows=8)
    assert keys_of(tables, within=Within("nome", ["Ana"])) == rows["id"].to_pylist()


def test_counting_is_not_cut_by_max_rows(gateway: Gateway, tables: Tables) -> None:
    write(tables, "clientes", clientes(50))
    gateway.faults(max_rows=8)
    assert tables.count("silver.clientes") == 50


def test_no_address_is_longer_than_gateways_take(gateway: Gateway, tables: Tables) -> None:
    keys = [f"00000000-0000-4000-8000-{number:06d}ção" for number in range(500)]
    keys_of(tables, within=Within("id", keys))
    tables.count("silver.clientes", Within("id", keys))
    assert max(len(request.query) for request in gateway.requests("/rest/v1")) < 8_000


def test_a_long_filter_is_one_request(gateway: Gateway, tables: Tables) -> None:
    rows = clientes(5_000)
    write(tables, "clientes", rows)
    assert keys_of(tables, within=Within("id", rows["id"].to_pylist())) == rows["id"].to_pylist()
    assert len(gateway.requests(READ)) == 1


# Requests that are too large or take too long.


@pytest.mark.parametrize("caps", [{"timeout_above_rows": 90}, {"max_body": 9_000}], ids=["57014", "413"])
def test_a_batch_that_is_too_much_is_halved_until_it_fits(
    gateway: Gateway, tables: Tables, caps: dict[str, int]
) -> None:
    gateway.faults(**caps)
    assert len(staged(tables, clientes(1_000))) >= 4
    assert gateway.sql("select count(*), count(distinct id) from estagio.clientes") == [(1_000, 1_000)]


@pytest.mark.parametrize(("caps", "error"), [({"timeout_above_rows": 0}, Timeout), ({"max_body": 10}, TooLarge)])
def test_a_single_row_that_is_too_much_is_an_error(
    gateway: Gateway, tables: Tables, caps: dict[str, int], error: type[Exception]
) -> None:
    gateway.faults(**caps)
    with pytest.raises(error):
        staged(tables, clientes(4))


def test_what_takes_too_long_in_one_call_is_done_in_slices(gateway: Gateway, tables: Tables) -> None:
    gateway.faults(Rule(kind="status", path=APPLY, status=500, code="57014", times=3))
    assert write(tables, "clientes", clientes(500)) == {
        "read": 500, "written": 500, "unchanged": 0, "repeated": 0, "quarantined": 0, "gone_from_source": 0
    }  # fmt: skip
    assert len(gateway.requests(APPLY)) > 4
    assert tables.count("silver.clientes") == 500


def test_more_rows_than_one_call_is_meant_for_are_done_in_slices(gateway: Gateway) -> None:
    project = project_of(gateway)
    with closing(SupabaseTables(project, slice_rows=100)) as tables:
        assert write(tables, "clientes", clientes(500))["written"] == 500
    assert len(gateway.requests(APPLY)) >= 2


def test_a_read_that_takes_too_long_asks_for_less(gateway: Gateway, tables: Tables) -> None:
    rows = clientes(40)
    write(tables, "clientes", rows)
    gateway.faults(Rule(kind="status", path=READ, status=500, code="57014", times=3))
    pages = list(tables.pages("silver.clientes", KEY, key="id", size=40))
    assert [len(page) for page in pages] == [5] * 8
    assert [key for page in pages for key in page["id"]] == rows["id"].to_pylist()


def test_writes_stay_under_the_rows_that_are_configured(gateway: Gateway) -> None:
    with lakehouse_of(project_of(gateway), write_rows=300) as small:
        staged(small.tables, clientes(1_000))
    assert sorted(request.rows or 0 for request in gateway.requests(STAGE)) == [100, 300, 300, 300]


# Connections that drop, and answers that are lost.


@pytest.mark.parametrize("path", [STAGE, APPLY])
@pytest.mark.parametrize("kind", ["drop_before", "drop_after", "truncate_answer"])
def test_a_dropped_connection_neither_loses_nor_doubles_a_count(
    gateway: Gateway, tables: Tables, kind: str, path: str
) -> None:
    write(tables, "clientes", clientes(10))
    gateway.faults(Rule(kind=kind, path=path, on={1}))
    rows = pa.concat_tables([clientes(4, "Bia"), clientes(10).slice(4), clientes(15).slice(10)])
    counts = write(tables, "clientes", rows)
    assert (counts["written"], counts["unchanged"]) == (5 + 4, 6)


def test_results_of_old_writes_are_not_kept_for_ever(gateway: Gateway, tables: Tables) -> None:
    write(tables, "clientes", clientes(1))
    gateway.sql("update controle.escritas set feita_em = now() - interval '2 days'")
    write(tables, "clientes", clientes(2))
    assert gateway.sql("select count(*) from controle.escritas") == [(1,)]


@pytest.mark.parametrize("kind", ["drop_before", "drop_after", "truncate_answer"])
def test_a_read_goes_on_after_a_dropped_connection(gateway: Gateway, tables: Tables, kind: str) -> None:
    rows = clientes(30)
    write(tables, "clientes", rows)
    gateway.faults(Rule(kind=kind, path=READ, on={2}), max_rows=10)
    assert keys_of(tables, size=10) == rows["id"].to_pylist()


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 520, 522])
def test_a_passing_failure_of_the_gateway_is_tried_again(gateway: Gateway, tables: Tables, status: int) -> None:
    gateway.faults(Rule(kind="status", path=STAGE, status=status, times=2))
    assert len(staged(tables, clientes(3))) == 1


@pytest.mark.parametrize("code", ["PGRST000", "PGRST001", "PGRST002", "PGRST003"])
def test_an_api_that_lost_its_database_is_tried_again(gateway: Gateway, tables: Tables, code: str) -> None:
    gateway.faults(Rule(kind="status", path=STAGE, status=503, code=code, times=2))
    assert len(staged(tables, clientes(3))) == 1


def test_a_failure_that_stays_is_an_error_with_the_servers_words(gateway: Gateway, tables: Tables) -> None:
    gateway.faults(Rule(kind="status", path=STAGE, status=502))
    with pytest.raises(Unreachable, match="502 Bad Gateway") as caught:
        staged(tables, clientes(3))
    assert len(gateway.requests(STAGE)) == TRIES
    assert "run the same command again" in caught.value.next_step


def test_what_the_data_did_wrong_is_not_tried_again(gateway: Gateway, tables: Tables) -> None:
    with pytest.raises(Rejected):
        tables.stage("x", [("clientes", pa.table({"id": ["1"], "idade": ["many"]}))])
    assert len(gateway.requests(STAGE)) == 1


def test_what_is_forbidden_is_not_tried_again(gateway: Gateway) -> None:
    with lakehouse_of(project_of(gateway, gateway.publishable_key)) as anonymous, pytest.raises(Denied):
        staged(anonymous.tables, clientes(1))
    assert len(gateway.requests(STAGE)) == 1


# Projects that sleep.


def test_a_paused_project_is_named_with_the_click_that_wakes_it(gateway: Gateway, tables: Tables) -> None:
    gateway.faults(paused=True)
    with pytest.raises(Paused, match="paused") as caught:
        tables.count("silver.clientes")
    assert "Restore project" in caught.value.next_step
    assert len(gateway.requests("/rest/v1")) == 1


@pytest.mark.parametrize(
    "asking",
    [
        lambda lakehouse: lakehouse.tables.count("silver.clientes"),
        lambda lakehouse: staged(lakehouse.tables, clientes(4)),
        lambda lakehouse: lakehouse.bucket.get("a"),
        lambda lakehouse: lakehouse.bucket.put("a", b"1"),
        lambda lakehouse: lakehouse.bucket.list(),
        lambda lakehouse: lakehouse.bucket.delete(["a"]),
    ],
    ids=["count", "stage", "get", "put", "list", "delete"],
)
def test_a_restricted_organization_is_named_with_what_helps_and_not_asked_again(
    gateway: Gateway, hosted: Lakehouse, asking: Callable[[Lakehouse], object]
) -> None:
    gateway.faults(restricted="exceed_storage_size_quota, overdue_payment")
    with pytest.raises(QuotaExceeded, match="exceed_storage_size_quota, overdue_payment") as caught:
        asking(hosted)
    assert (
        f"the organization of LAKEHOUSE_URL ({hosted.description.removeprefix('hosted at ')})" in caught.value.next_step
    )
    assert len(gateway.requests()) == 1


def test_a_host_that_cannot_be_resolved_is_named_with_both_causes() -> None:
    asleep = Project("https://abc.supabase.invalid", "sb_secret_x", wait_seconds=0.001)
    with asleep as project, pytest.raises(Unreachable, match="cannot be resolved") as caught:
        project.call("controle.devolver", {"p_dono": "eu"}, tries=2)
    assert "LAKEHOUSE_URL" in caught.value.next_step
    assert "Restore project" in caught.value.next_step


# Storage.


def test_lists_shorter_than_asked_for_are_followed_to_their_end(gateway: Gateway, bucket: Bucket) -> None:
    paths = [f"a/{number:02d}" for number in range(23)]
    for path in paths:
        bucket.put(path, b"1")
    gateway.faults(list_rows=5)
    assert bucket.list() == paths


@pytest.mark.parametrize("rows", [1, 2, 3, 1_000])
def test_no_folder_and_no_object_is_lost_however_they_are_called(gateway: Gateway, bucket: Bucket, rows: int) -> None:
    gateway.faults(list_rows=rows)
    chance = random.Random(rows)
    alphabet = ["1", "2", "10", "x", "x.txt", "x-1", "2026"]
    for _ in range(6):
        names = {"/".join(chance.choices(alphabet, k=chance.randint(1, 3))) for _ in range(12)}
        gateway.sql("delete from storage.objects")
        values = ", ".join(f"('{BUCKET}', '{name}', '1')" for name in names)
        gateway.sql(f"insert into storage.objects (bucket_id, name, version) values {values}")
        assert bucket.list() == sorted(names)
        for folder in ("", "x", "2026"):
            prefix = f"{folder}/" if folder else ""
            inside = {name.removeprefix(prefix) for name in names if name.startswith(prefix)}
            expected = {f"{prefix}{name.split('/')[0]}" for name in inside if "/" in name}
            assert list(bucket.folders(folder)) == sorted(expected, reverse=True)


def deleting(gateway: Gateway, paths: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody deletes one of the objects after each list request."""
    answer, left = gateway.app.respond, list(paths)

    def beside_somebody(method: str, path: str, *request: Any) -> Answer:
        found = answer(method, path, *request)
        if "/object/list/" in path and left:
            gateway.sql(f"delete from storage.objects where name = '{left.pop(0)}'")
        return found

    monkeypatch.setattr(gateway.app, "respond", beside_somebody)


def test_what_others_delete_while_a_folder_is_listed_hides_nothing_else(
    gateway: Gateway, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is deleted moves the rest up: the next page would begin behind an entry that no page had."""
    paths = [f"a/{number:02d}" for number in range(12)]
    for path in paths:
        bucket.put(path, b"1")
    gateway.faults(list_rows=5)
    deleting(gateway, paths[:2], monkeypatch)

    assert set(paths[2:]) <= set(bucket.list("a/"))


def test_a_folder_that_never_stands_still_is_an_error_rather_than_a_part_of_it(
    gateway: Gateway, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [f"a/{number:02d}" for number in range(30)]
    for path in paths:
        bucket.put(path, b"1")
    gateway.faults(list_rows=5)
    deleting(gateway, paths, monkeypatch)

    with pytest.raises(LakehouseError, match="objects were deleted there"):
        bucket.list("a/")


@pytest.mark.parametrize("key", ["sb_secret_wrong", "of another project", "expired"])
def test_an_object_that_a_bad_key_cannot_have_is_not_missing_but_the_key_is_named(
    gateway: Gateway, bucket: Bucket, key: str
) -> None:
    bucket.put("a", b"1")
    if key == "of another project":
        key = Keys().token("service_role")
    if key == "expired":
        gateway.faults(Rule(kind="expired", path="/storage/v1"))
        key = gateway.secret_key
    with project_of(gateway, key) as project, pytest.raises(Denied) as caught:
        SupabaseBucket(project, BUCKET).get("a")
    assert "check LAKEHOUSE_KEY" in caught.value.next_step


def test_a_key_that_may_not_see_the_bucket_is_named(gateway: Gateway, bucket: Bucket) -> None:
    bucket.put("a", b"1")
    with project_of(gateway, gateway.anon_key) as project, pytest.raises(Denied, match="LAKEHOUSE_KEY may not see it"):
        SupabaseBucket(project, BUCKET).get("a")


def test_a_key_that_expires_in_a_run_is_not_taken_for_a_bucket_without_snapshots(
    gateway: Gateway, bucket: Bucket
) -> None:
    commit(bucket, JANUARY)
    gateway.faults(Rule(kind="expired", methods=("GET",), path="/storage/v1"))
    with pytest.raises(Denied, match='"exp" claim timestamp check failed'):
        snapshots.newest(bucket)
    with pytest.raises(Denied, match='"exp" claim timestamp check failed'):
        snapshots.checked(bucket, Part(path=part_path(JANUARY), rows=1, bytes=1, sha256=""))


@pytest.mark.parametrize("size", [10, PART_BYTES + 1], ids=["small", "large"])
@pytest.mark.parametrize("kind", ["drop_before", "drop_after", "truncate_answer", "truncate_upload"])
def test_an_upload_that_is_tried_again_is_stored_once(gateway: Gateway, bucket: Bucket, kind: str, size: int) -> None:
    gateway.faults(Rule(kind=kind, methods=("POST",), path="/storage/v1", times=1))
    bucket.put("a", b"x" * size)
    assert bucket.get("a") == b"x" * size


def test_an_object_of_somebody_else_under_the_path_is_not_taken_for_ours(gateway: Gateway, bucket: Bucket) -> None:
    bucket.put("a", b"theirs")
    gateway.faults(Rule(kind="drop_before", methods=("POST",), path="/storage/v1", times=1))
    with pytest.raises(Rejected):
        bucket.put("a", b"ours")


@pytest.mark.parametrize("size", [1_000, PART_BYTES + 1], ids=["small", "large"])
def test_an_object_over_the_projects_limit_is_too_large(gateway: Gateway, bucket: Bucket, size: int) -> None:
    gateway.faults(max_object=size - 1)
    with pytest.raises(TooLarge):
        bucket.put("a", b"x" * size)
    assert bucket.list() == []


def test_a_download_that_breaks_off_is_read_again(gateway: Gateway, bucket: Bucket) -> None:
    bucket.put("a", b"x" * 100_000)
    gateway.faults(Rule(kind="truncate_answer", methods=("GET",), path="/storage/v1/object", times=1))
    assert bucket.get("a") == b"x" * 100_000


def test_a_missing_bucket_is_missing(gateway: Gateway) -> None:
    with project_of(gateway) as project, pytest.raises(Missing, match="Bucket not found"):
        SupabaseBucket(project, "absent").put("a", b"1")
