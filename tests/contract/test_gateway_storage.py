"""The stand-in's Storage: buckets, objects and resumable uploads, as Storage's documentation and sources have them."""

from collections.abc import Iterator

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.gateway.faults import Rule
from tests.gateway.fixtures import Gateway
from tests.gateway.storage import search

OBJECT = "/storage/v1/object/bronze-bucket"
LIST = "/storage/v1/object/list/bronze-bucket"
RESUMABLE = "/storage/v1/upload/resumable"


@pytest.fixture
def gateway(shared_gateway: Gateway) -> Gateway:
    shared_gateway.empty()
    return shared_gateway


@pytest.fixture
def http(gateway: Gateway) -> Iterator[httpx.Client]:
    """Requests with the secret key."""
    with httpx.Client(base_url=gateway.url, headers=headers_of(gateway.secret_key), verify=False) as client:
        yield client


def headers_of(key: str) -> dict[str, str]:
    return {"apikey": key, "Authorization": f"Bearer {key}"}


def put(http: httpx.Client, name: str, content: bytes = b"PAR1", **headers: str) -> httpx.Response:
    files = {"file": ("name", content, "application/vnd.apache.parquet")}
    return http.post(f"{OBJECT}/{name}", files=files, data={"cacheControl": "3600"}, headers=headers)


def error_of(response: httpx.Response) -> tuple[int, str, str, str]:
    """HTTP status, then the real one, the error and the message of the body."""
    body = response.json()
    assert list(body) == ["statusCode", "error", "message"]
    return response.status_code, body["statusCode"], body["error"], body["message"]


NOT_FOUND = (400, "404", "not_found", "Object not found")
NO_BUCKET = (400, "404", "Bucket not found", "Bucket not found")


class TestBuckets:
    def test_create_read_list_and_delete(self, http: httpx.Client) -> None:
        assert http.post("/storage/v1/bucket", json={"id": "prata", "name": "prata"}).json() == {"name": "prata"}
        found = http.get("/storage/v1/bucket/prata").json()
        assert (found["id"], found["public"], found["file_size_limit"]) == ("prata", False, None)
        assert [bucket["id"] for bucket in http.get("/storage/v1/bucket").json()] == ["bronze-bucket", "prata"]
        assert http.request("DELETE", "/storage/v1/bucket/prata", json={}).status_code == 200
        assert error_of(http.get("/storage/v1/bucket/prata")) == NO_BUCKET

    def test_one_that_exists(self, http: httpx.Client) -> None:
        response = http.post("/storage/v1/bucket", json={"id": "bronze-bucket", "name": "bronze-bucket"})
        assert error_of(response) == (400, "409", "Duplicate", "The resource already exists")

    def test_one_with_objects_stays(self, http: httpx.Client) -> None:
        put(http, "a")
        response = http.request("DELETE", "/storage/v1/bucket/bronze-bucket", json={})
        assert error_of(response)[1] == "409"

    def test_anon_neither_sees_nor_makes_one(self, gateway: Gateway, http: httpx.Client) -> None:
        http.headers.update(headers_of(gateway.anon_key))
        assert error_of(http.get("/storage/v1/bucket/bronze-bucket")) == NO_BUCKET
        response = http.post("/storage/v1/bucket", json={"id": "meu", "name": "meu"})
        message = 'new row violates row-level security policy for table "buckets"'
        assert error_of(response) == (400, "403", "Unauthorized", message)


class TestObjects:
    def test_upload_and_download(self, http: httpx.Client) -> None:
        response = put(http, "2026/01/clientes.parquet", b"PAR1...")
        assert response.status_code == 200
        assert response.json()["Key"] == "bronze-bucket/2026/01/clientes.parquet"
        for path in (OBJECT, OBJECT.replace("/object/", "/object/authenticated/")):
            found = http.get(f"{path}/2026/01/clientes.parquet")
            assert found.content == b"PAR1..."
            assert found.headers["Content-Type"] == "application/vnd.apache.parquet"
            assert found.headers["Cache-Control"] == "max-age=3600"

    def test_an_object_is_not_overwritten_without_upsert(self, http: httpx.Client) -> None:
        put(http, "a", b"1")
        assert error_of(put(http, "a", b"2")) == (400, "409", "Duplicate", "The resource already exists")
        assert http.get(f"{OBJECT}/a").content == b"1"
        assert put(http, "a", b"3", **{"x-upsert": "true"}).status_code == 200
        assert http.get(f"{OBJECT}/a").content == b"3"

    def test_what_is_not_there(self, http: httpx.Client) -> None:
        assert error_of(http.get(f"{OBJECT}/a")) == NOT_FOUND
        assert error_of(http.get("/storage/v1/object/info/bronze-bucket/a")) == NOT_FOUND
        assert error_of(http.get("/storage/v1/object/prata/a")) == NO_BUCKET
        assert error_of(http.post("/storage/v1/object/prata/a", content=b"1")) == NO_BUCKET
        assert http.head(f"{OBJECT}/a").status_code == 400

    def test_info(self, http: httpx.Client) -> None:
        put(http, "a/b", b"12345")
        found = http.get("/storage/v1/object/info/bronze-bucket/a/b").json()
        assert (found["name"], found["size"], found["bucket_id"]) == ("a/b", 5, "bronze-bucket")
        assert http.head(f"{OBJECT}/a/b").headers["Content-Length"] == "5"

    @pytest.mark.parametrize("name", ["ação", "a%23b", "a%25b", "a~b"])
    def test_keys_with_other_characters(self, http: httpx.Client, name: str) -> None:
        assert error_of(put(http, name))[:3] == (400, "400", "InvalidKey")

    def test_keys_with_every_character_that_is_allowed(self, http: httpx.Client) -> None:
        assert put(http, "A-z_0!.*'() &$@=;:+,%3F").status_code == 200

    def test_too_large(self, gateway: Gateway, http: httpx.Client) -> None:
        gateway.faults(max_object=10)
        assert put(http, "a", b"x" * 10).status_code == 200
        message = "The object exceeded the maximum allowed size"
        assert error_of(put(http, "b", b"x" * 11)) == (400, "413", "Payload too large", message)

    def test_delete_passes_over_what_is_missing(self, gateway: Gateway, http: httpx.Client) -> None:
        put(http, "a/b")
        deleted = http.request("DELETE", OBJECT, json={"prefixes": ["a/b", "a/c"]})
        assert [each["name"] for each in deleted.json()] == ["a/b"]
        assert error_of(http.get(f"{OBJECT}/a/b")) == NOT_FOUND
        assert list(gateway.app.folder.iterdir()) == []

    def test_delete_takes_a_thousand_names_at_most(self, http: httpx.Client) -> None:
        response = http.request("DELETE", OBJECT, json={"prefixes": [f"a/{n}" for n in range(1001)]})
        assert error_of(response)[3] == "body/prefixes must NOT have more than 1000 items"

    def test_anon_reads_and_writes_nothing(self, gateway: Gateway, http: httpx.Client) -> None:
        put(http, "a")
        http.headers.update(headers_of(gateway.anon_key))
        assert error_of(http.get(f"{OBJECT}/a")) == NOT_FOUND
        assert http.post(LIST, json={"prefix": ""}).json() == []
        assert http.request("DELETE", OBJECT, json={"prefixes": ["a"]}).json() == []
        message = 'new row violates row-level security policy for table "objects"'
        assert error_of(put(http, "b")) == (400, "403", "Unauthorized", message)

    def test_to_an_expired_token_the_bucket_of_an_object_is_not_there(
        self, gateway: Gateway, http: httpx.Client
    ) -> None:
        put(http, "a")
        token = gateway.app.keys.token("service_role", seconds=-60)
        http.headers.update({"apikey": gateway.anon_key, "Authorization": f"Bearer {token}"})
        assert error_of(http.get(f"{OBJECT}/a")) == NO_BUCKET
        expired = (400, "403", "Unauthorized", '"exp" claim timestamp check failed')
        assert error_of(http.get("/storage/v1/bucket/bronze-bucket")) == expired
        assert error_of(http.post(LIST, json={"prefix": ""})) == expired
        assert error_of(http.get(f"{OBJECT.replace('/object/', '/object/authenticated/')}/a")) == expired
        gateway.faults(Rule(kind="expired"))
        http.headers.update(headers_of(gateway.secret_key))
        assert error_of(http.get(f"{OBJECT}/a")) == NO_BUCKET
        assert error_of(http.get("/storage/v1/bucket/bronze-bucket")) == expired

    @pytest.mark.parametrize("headers", [{}, {"apikey": "sb_secret_wrong", "Authorization": "Bearer sb_secret_wrong"}])
    def test_to_a_wrong_or_no_key_the_bucket_of_an_object_is_not_there(
        self, gateway: Gateway, http: httpx.Client, headers: dict[str, str]
    ) -> None:
        put(http, "a")
        response = httpx.get(f"{gateway.url}{OBJECT}/a", headers=headers, verify=False)
        assert error_of(response) == NO_BUCKET


class TestLists:
    def test_one_folder_at_a_time(self, http: httpx.Client) -> None:
        for name in ("2026/01/a", "2026/01/b", "2026/02/c", "2026/z"):
            put(http, name)
        entries = http.post(LIST, json={"prefix": "2026"}).json()
        assert [(entry["name"], entry["id"] is None) for entry in entries] == [("01", True), ("02", True), ("z", False)]
        assert (entries[0]["metadata"], entries[2]["metadata"]["size"]) == (None, 4)
        assert [entry["name"] for entry in http.post(LIST, json={"prefix": "2026/01/"}).json()] == ["a", "b"]

    def test_a_hundred_entries_unless_asked(self, gateway: Gateway, http: httpx.Client) -> None:
        gateway.sql(
            "insert into storage.objects (bucket_id, name, version) "
            "select 'bronze-bucket', 'x/' || to_char(n, 'FM000'), n::text from generate_series(1, 120) n"
        )
        assert len(http.post(LIST, json={"prefix": "x"}).json()) == 100
        rest = http.post(LIST, json={"prefix": "x", "limit": 200, "offset": 100}).json()
        assert [entry["name"] for entry in rest] == [f"{n:03d}" for n in range(101, 121)]
        last = http.post(LIST, json={"prefix": "x", "limit": 1, "sortBy": {"column": "name", "order": "desc"}}).json()
        assert [entry["name"] for entry in last] == ["120"]
        gateway.faults(list_rows=7)
        assert len(http.post(LIST, json={"prefix": "x", "limit": 200}).json()) == 7

    def names(self, http: httpx.Client, prefix: str, order: str, **page: int) -> list[str]:
        """One page, folders with a slash."""
        asked = {"prefix": prefix, "sortBy": {"column": "name", "order": order}, **page}
        return [entry["name"] + "/" * (entry["id"] is None) for entry in http.post(LIST, json=asked).json()]

    def test_folders_and_objects_come_in_the_order_of_their_paths(self, http: httpx.Client) -> None:
        for name in ("a/2/x", "a/B/y", "a/b/z", "a/1", "a/a-1", "a/a", "a/a/x", "c"):
            put(http, name)
        assert self.names(http, "a", "asc") == ["1", "2/", "a", "a-1", "a/", "B/"], "folders by lower case are one"
        assert self.names(http, "a", "asc", limit=2, offset=3) == ["a-1", "a/"]

    def test_in_descending_order_a_folder_of_one_object_that_follows_an_object_is_lost(
        self, http: httpx.Client
    ) -> None:
        for name in ("a/1/x", "a/2/x", "a/10/y/z", "a/x"):
            put(http, name)
        assert self.names(http, "a", "asc") == ["1/", "10/", "2/", "x"]
        assert self.names(http, "a", "desc") == ["x", "10/", "1/"]

    @given(names=st.sets(st.sampled_from([f"{a}{b}" for a in ("", "1/", "1/2/", "x/") for b in "12xy"])))
    def test_in_ascending_order_nothing_is_lost_or_doubled(self, names: set[str]) -> None:
        expected = {name.split("/")[0] + "/" * ("/" in name) for name in names}
        found = search(sorted(names), "", 1_000, 0, ascending=True)
        assert (set(found), len(found)) == (expected, len(expected))
        assert [search(sorted(names), "", 1, offset, ascending=True) for offset in range(len(found))] == [
            [entry] for entry in found
        ]

    def test_what_follows_closely_on_the_last_of_a_batch_is_lost(self) -> None:
        names = [f"{number:04d}" for number in range(1_001)]
        names[1_000:] = ["0999-x", "0999.x", "1000"]
        assert search(names, "", 1_000, 999, ascending=True) == ["0999", "1000"]

    def test_the_prefix_has_to_be_given(self, http: httpx.Client) -> None:
        assert error_of(http.post(LIST, json={}))[3] == "body must have required property 'prefix'"
