"""Addresses are read by us first: what can be read in two ways is refused, and no refusal shows what was refused."""

import traceback
from urllib.parse import quote

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict

from elt.addresses import ENCODED, check_address, check_database, check_project, is_own_network
from elt.errors import ConfigurationError
from elt.settings import load_settings

SECRET = "SEKRET"
TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1)


def refusal(url: str) -> ConfigurationError:
    """The refusal of a database's address, which shows nothing of it."""
    with pytest.raises(ConfigurationError) as caught:
        check_database(url, "SOURCE_DB_URL")
    shown = "".join(traceback.format_exception(caught.value))
    shown += f"{caught.value!r} {caught.value.what} {caught.value.kept} {caught.value.next_step}"
    assert SECRET not in shown
    return caught.value


@pytest.mark.parametrize("sign", ENCODED)
def test_a_sign_that_ends_a_part_of_a_url_must_be_encoded_inside_a_password(sign: str) -> None:
    error = refusal(f"postgresql://u:a{sign}{SECRET}@host/x")
    assert f" {sign} " in error.what or (sign == " " and "a space" in error.what)
    assert "SOURCE_DB_URL" in error.what
    assert f"write it as {ENCODED[sign]}" in error.next_step
    assert error.exit_code == 2


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://u@{SECRET}:x@host/db",  # a user that is an e-mail
        f"postgresql://u:{SECRET}/db",  # the host was forgotten
        f"postgresql://u:p@host:{SECRET}/db",
        f"postgresql://u:p@ho[st{SECRET}/db",
        f"postgresql://u:p@host/db#{SECRET}",
        f"postgresql://u:p@host/db {SECRET}",
        f" postgresql://u:{SECRET}@host/db",
        f"postgresql://u:{SECRET}@host/db\n",
        f'"postgresql://u:{SECRET}@host/db"',
        f"postgresql+psycopg2://u:{SECRET}@host/db",
        f"jdbc:postgresql://host/db?password={SECRET}",
        f"https://u:{SECRET}@host/db",
        f"postgresql://u:{SECRET}@host/db?pgbouncer=true",
        f"host=h password='{SECRET}",
        f"host=h passwort={SECRET}",
        SECRET,
        "",
    ],
)
def test_what_is_no_address_of_a_postgresql_is_refused_without_being_shown(url: str) -> None:
    assert refusal(url).kept == "nothing was read or written"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:p@host:5432/db",
        "postgres://u:p@host/db?sslmode=require",
        "postgresql://u:p!$&'()*+,;=:é^|{}~@host/db",  # signs that end nothing
        "postgresql://postgres.abcdefgh:p@aws-0-sa-east-1.pooler.supabase.com:6543/postgres",
        "postgresql://u:p@[2001:db8::1]:5432/db",
        "postgresql://u:p@one:5432,two:5433/db",
        "postgresql://u@/db?host=/var/run/postgresql",
        "postgresql://%2Fvar%2Frun%2Fpostgresql/db",
        "postgresql://host",
        "host=h port=5432 user=u password='it\\'s p@ss' dbname=db",
        "service=shop",
    ],
)
def test_what_postgresqls_client_reads_in_one_way_is_taken(url: str) -> None:
    check_database(url, "SOURCE_DB_URL")


@given(user=TEXT, password=TEXT)
@example(user="dona@loja", password="a@SEKRET/?#[]% ")
def test_a_user_and_a_password_of_any_signs_can_be_written(user: str, password: str) -> None:
    url = f"postgresql://{quote(user, safe='')}:{quote(password, safe='')}@host/db"
    check_database(url, "SOURCE_DB_URL")
    assert conninfo_to_dict(url) == {"user": user, "password": password, "host": "host", "dbname": "db"}


@given(user=TEXT, password=TEXT)
@example(user="u", password="a@SEKRET")
@example(user="u", password="a/SEKRET")
def test_what_is_taken_is_read_as_it_was_meant(user: str, password: str) -> None:
    url = f"postgresql://{user}:{password}@host/db"
    try:
        check_database(url, "SOURCE_DB_URL")
    except ConfigurationError:
        return
    assert conninfo_to_dict(url)["host"] == "host"


@pytest.mark.parametrize("variable", ["SOURCE_DB_URL", "LAKEHOUSE_DB_URL"])
def test_it_is_refused_with_the_settings_before_anything_is_opened(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, f"postgresql://u:a@{SECRET}@host/x")
    with pytest.raises(ConfigurationError, match=f"^{variable} can be read in more than one way"):
        load_settings()


# Plain http


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "LOCALHOST", "localhost.", "kong.localhost", "host.docker.internal", "Host.Docker.Internal."),
        *("gateway", "supabase-kong", "my_service", "db1", "1password"),
        *("127.0.0.1", "127.9.9.9", "0.0.0.0", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.0.10"),
        *("169.254.1.1", "[::1]", "[::]", "[fe80::1]", "[fd12:3456::1]", "[::ffff:192.168.0.1]", "[::FFFF:7F00:1]"),
    ],
)
def test_a_key_may_go_unencrypted_to_this_machine_and_its_own_network(host: str) -> None:
    assert is_own_network(host)
    check_project(f"http://{host}:8000", "LAKEHOUSE_URL")


@pytest.mark.parametrize(
    "host",
    [
        *(
            "abc.supabase.co",
            "127.0.0.1.evil.com",
            "localhost.evil.com",
            "evil.com.",
            "gateway.",
            "host.docker.internal.x",
        ),
        *("8.8.8.8", "172.32.0.1", "100.64.0.1", "11.0.0.1", "[2001:db8::1]", "[::ffff:8.8.8.8]", "[64:ff9b::808:808]"),
        *("134744072", "2130706433", "0x08080808", "0x7f.1", "127.1", "010.0.0.1", "127.0.0.1.", "256.1.1.1"),
        *("１２７.0.0.1", "evil。com", "lоcalhost"),  # signs that only look like it
    ],
)
def test_a_key_goes_unencrypted_to_nobody_else(host: str) -> None:
    assert not is_own_network(host)
    with pytest.raises(ConfigurationError, match="LAKEHOUSE_URL"):
        check_project(f"http://{host}", "LAKEHOUSE_URL")


def test_the_way_on_is_https_or_to_say_that_it_is_wanted() -> None:
    with pytest.raises(ConfigurationError, match="LAKEHOUSE_KEY would cross networks unencrypted") as caught:
        check_project("http://abc.supabase.co", "LAKEHOUSE_URL")
    assert "write https:// in LAKEHOUSE_URL" in caught.value.next_step
    assert "ALLOW_HTTP=true" in caught.value.next_step
    check_project("https://abc.supabase.co", "LAKEHOUSE_URL")
    check_project("http://abc.supabase.co", "LAKEHOUSE_URL", allow_http=True)


@pytest.mark.parametrize("name", ["SUPABASE", "LAKEHOUSE"])
def test_the_settings_refuse_and_allow_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{name}_URL", "HTTP://abc.supabase.co")
    monkeypatch.setenv(f"{name}_KEY", "sb_secret_x")
    with pytest.raises(ConfigurationError, match=f"^{name}_URL is plain http:// to abc.supabase.co"):
        load_settings()
    monkeypatch.setenv("ALLOW_HTTP", "true")
    assert load_settings().allow_http


@given(TEXT)
@example("user:SEKRET@host")
@example("host\\@127.0.0.1")
@example("127.0.0.1:80@evil.com")
@example("127.0.0.1#.evil.com")
def test_the_host_that_is_checked_is_the_host_that_is_asked(rest: str) -> None:
    try:
        check_project(f"http://{rest}", "LAKEHOUSE_URL")
    except ConfigurationError:
        return
    assert is_own_network(httpx.URL(f"http://{rest}").host)


# Addresses of alerts


@pytest.mark.parametrize(
    "url", ["https://", "https://u:a@SEKRET@host/x", "https://u:SEKRET/x", "https://h:SEKRET", "https://h/ SEKRET"]
)
def test_an_address_that_cannot_be_used_is_refused_without_being_shown(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^ALERT_WEBHOOK: ") as caught:
        check_address(url, "ALERT_WEBHOOK")
    assert SECRET not in caught.value.what + caught.value.next_step


@pytest.mark.parametrize(
    "url",
    ["https://hc-ping.com/5b9b", "HTTPS://u:p@ntfy.example:8443/shop", "https://m.example/@me", "http://[::1]:9/x"],
)
def test_other_addresses_are_taken(url: str) -> None:
    check_address(url, "HEARTBEAT_URL")
