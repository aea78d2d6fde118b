"""How a shop's database is set to print, name and count time changes nothing that is read of it."""

from collections.abc import Callable, Iterator

import psycopg
import pyarrow as pa
import pytest

from elt.catalog import EXTRACT_ROWS
from elt.errors import SourceError
from elt.runner import Runner
from elt.silver import TABLES
from elt.sources.port import Source
from elt.sources.postgres import PostgresSource
from tests.gateway.fixtures import Gateway
from tests.hosted import fill_shop, shop_of

VALUES = {
    "data": ("date", ["2024-02-29", "infinity", "-infinity", "0044-03-15 BC", "10000-01-01"]),
    "quando": ("timestamp", ["2024-03-05 22:30:00", "2024-03-05 22:30:00.120", "infinity", "0044-03-15 10:00 BC"]),
    "instante": (
        "timestamptz",
        [
            *("2024-03-05 22:30:00-03", "2018-02-17 23:30:00.000001-03", "infinity", "-infinity"),
            *("0044-03-15 10:00:00.5+00 BC", "12345-01-01 00:00:00+00", "1900-01-01 00:00:00+00"),
        ],
    ),
    "hora": ("time with time zone", ["22:30:00-03", "22:30:00.5+05:30"]),
    "prazo": ("interval", ["1 year 2 mons -3 days 04:05:06.789", "-1 days", "00:00:00"]),
    "peso": ("double precision", ["0.1", "1e300", "0.30000000000000004", "NaN", "-Infinity"]),
    "nota": ("real", ["0.1", "16777216", "3.4e38"]),
    "foto": ("bytea", [r"\x00ff41", ""]),
    "nome": ("text", ["São João", "é🙂", ""]),
    "preco": ("numeric(14,4)", ["1.5000", "-0.0001"]),
    "dados": ("jsonb", ['{"a": 1.0, "d": "2024-03-05"}']),
    "situacao": ("situacao", ["pago", "em aberto"]),
    "partes": ("text[]", ['{a,"b c",NULL}']),
    "dia_util": ("dia_util", ["2024-03-05"]),
    "visto": ("visto", ["2024-03-05 22:30:00-03"]),
}
"""A column for each type, by what may be written into it."""

OVER_HTTP = [name for name in VALUES if name not in ("prazo", "peso", "nota", "foto", "dia_util", "visto")]
"""Those whose text does not depend on settings that cannot be set over HTTP."""


def fill(url: str, names: list[str]) -> None:
    """``clientes`` with a column of each type, and the two other tables without rows."""
    columns = ", ".join(f"{name} {VALUES[name][0]}" for name in names)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("set timezone = 'UTC'; set datestyle = 'ISO'; set intervalstyle = 'postgres'")
        connection.execute("create type situacao as enum ('pago', 'em aberto')")
        connection.execute("create domain dia_util as date; create domain visto as timestamptz")
        connection.execute("drop table if exists clientes")
        connection.execute(f"create table clientes (id_cliente integer primary key, {columns})".encode())
        for name in names:
            for value in [*VALUES[name][1], None]:
                connection.execute(
                    f"insert into clientes (id_cliente, {name}) "
                    f"select count(*) + 1, %s::{VALUES[name][0]} from clientes".encode(),
                    (value,),
                )


def as_always(url: str, names: list[str]) -> dict[str, list[str | None]]:
    """Every column as a session prints it that is set as a new database is, in UTC."""
    with psycopg.connect(url, autocommit=True) as connection:
        for setting in ("timezone = 'UTC'", "datestyle = 'ISO, MDY'", "intervalstyle = 'postgres'"):
            connection.execute(f"set {setting}".encode())
        connection.execute("set extra_float_digits = 1; set bytea_output = 'hex'")
        found = connection.execute(
            f"select {', '.join(f'{name}::text' for name in names)} from clientes order by id_cliente".encode()
        ).fetchall()
        return {name: [row[position] for row in found] for position, name in enumerate(names)}


def read(source: Source, table: str = "clientes") -> dict[str, list[str | None]]:
    with source.open() as extract:
        found: pa.Table = pa.concat_tables(extract.pages(table, EXTRACT_ROWS))
    columns: dict[str, list[str | None]] = found.to_pydict()
    columns.pop("id_cliente", None)
    return columns


def types(source: Source) -> dict[str, str]:
    with source.open() as extract:
        return extract.columns("clientes")


def set_database(url: str, setting: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"alter database {connection.info.dbname} set {setting}".encode())


SETTINGS = [
    *("datestyle = 'German'", "datestyle = 'SQL, DMY'", "datestyle = 'Postgres'", "intervalstyle = 'iso_8601'"),
    *(
        "intervalstyle = 'sql_standard'",
        "extra_float_digits = 0",
        "extra_float_digits = -15",
        "bytea_output = 'escape'",
    ),
    *("timezone = 'America/Sao_Paulo'", "timezone = 'Asia/Kolkata'", "client_encoding = 'LATIN1'"),
    *("search_path = 'outro'", "quote_all_identifiers = on", "standard_conforming_strings = off"),
]


@pytest.fixture
def url(new_empty_database: Callable[[], str]) -> str:
    made = new_empty_database()
    fill(made, list(VALUES))
    return made


def test_values_are_read_as_they_always_were(url: str) -> None:
    assert read(PostgresSource(url, tables=TABLES)) == as_always(url, list(VALUES))


def test_a_setting_of_the_database_changes_nothing(url: str) -> None:
    before = read(PostgresSource(url, tables=TABLES)), types(PostgresSource(url, tables=TABLES))
    for setting in SETTINGS:
        set_database(url, setting)
        assert (read(PostgresSource(url, tables=TABLES)), types(PostgresSource(url, tables=TABLES))) == before, setting
        set_database(url, f"{setting.split()[0]} to default")


@pytest.fixture
def role(url: str, server_url: str) -> Iterator[str]:
    """A role that may read the shop."""
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute("create role visitante login")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("grant select on all tables in schema public to visitante")
    yield "visitante"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("drop owned by visitante; drop role visitante")


def test_a_setting_of_the_role_changes_nothing(url: str, role: str) -> None:
    source = PostgresSource(url.replace("postgres:@", f"{role}:@"), tables=TABLES)
    before = read(source), types(source)
    with psycopg.connect(url, autocommit=True) as connection:
        for setting in SETTINGS:
            connection.execute(f"alter role {role} set {setting}".encode())
            assert (read(source), types(source)) == before, setting
            connection.execute(f"alter role {role} reset all".encode())


def test_a_setting_of_the_server_changes_nothing(url: str) -> None:
    before = read(PostgresSource(url, tables=TABLES))
    with psycopg.connect(url, autocommit=True) as connection:
        try:
            connection.execute("alter system set datestyle = 'German'")
            connection.execute("alter system set intervalstyle = 'iso_8601'")
            assert reloaded(url, "datestyle") == "German, DMY"
            assert read(PostgresSource(url, tables=TABLES)) == before
        finally:
            connection.execute("alter system reset datestyle")
            connection.execute("alter system reset intervalstyle")
            assert reloaded(url, "datestyle") == "ISO, MDY"


def reloaded(url: str, setting: str) -> str:
    """A setting of new sessions once the server has read its configuration again."""
    with psycopg.connect(url, autocommit=True) as connection:
        since = connection.execute("select pg_conf_load_time()::text").fetchone()
        connection.execute("select pg_reload_conf()")
        while connection.execute("select pg_conf_load_time()::text").fetchone() == since:
            pass
    with psycopg.connect(url) as connection:
        row = connection.execute("select current_setting(%s)", (setting,)).fetchone()
    assert row is not None
    return str(row[0])


def test_what_the_address_itself_sets_changes_nothing(url: str) -> None:
    before = read(PostgresSource(url, tables=TABLES))
    options = "-c%20datestyle%3DGerman%20-c%20extra_float_digits%3D0%20-c%20intervalstyle%3Diso_8601"
    assert read(PostgresSource(f"{url}&options={options}&client_encoding=latin1", tables=TABLES)) == before


def test_two_visits_under_two_settings_find_nothing_new(runner: Runner, new_empty_database: Callable[[], str]) -> None:
    url = new_empty_database()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "create table clientes (id_cliente integer, nome text, email text, telefone text, cidade text,"
            " idade double precision, desde timestamptz);"
            "create table produtos (id_produto integer, nome_produto text, categoria text, preco money, estoque real);"
            "create table pedidos (id_pedido integer, id_cliente integer, id_produto integer, quantidade integer,"
            " status text, valor_total double precision, data_pedido timestamptz, feito_em date, prazo interval);"
            "insert into clientes values (1, 'São', 'a@b.com.br', '(11) 98765-4321', 'x', 0.1 + 0.2, now());"
            "insert into produtos values (1, 'Pão', 'y', 1234.50::money, 0.1);"
            "insert into pedidos values (1, 1, 1, 1, 'pago', 0.1 + 0.2, '2024-03-05 22:30-03', '2024-03-05', '36:00')"
        )
    assert [int(result.key) for result in runner.run(PostgresSource(url, tables=TABLES))] == [246, 468, 680]
    for setting in SETTINGS:
        set_database(url, setting)
    assert [int(result.key) for result in runner.run(PostgresSource(url, tables=TABLES))] == [135]


EVENING = """
create view pedidos as
select 1 as id_pedido, instante::date as dia, instante, date_trunc('day', instante) as inicio,
  current_setting('timezone') as fuso, current_setting('search_path') as caminho
from clientes where instante = '2024-03-05 22:30:00-03'
"""
"""An order of an evening in São Paulo, which is the next day in UTC."""


def evening(zone: str) -> dict[str, list[str | None]]:
    day, begins = ("2024-03-05", "03:00:00") if zone == "America/Sao_Paulo" else ("2024-03-06", "00:00:00")
    return {
        "id_pedido": ["1"],
        "dia": [day],
        "instante": ["2024-03-06 01:30:00+00"],
        "inicio": [f"{day} {begins}+00"],
        "fuso": [zone],
        "caminho": ["loja, public"],
    }


@pytest.mark.parametrize("zone", ["America/Sao_Paulo", "UTC"])
def test_the_shops_views_compute_by_its_own_time_zone_and_search_path(url: str, zone: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(EVENING)
    set_database(url, f"timezone = '{zone}'")
    set_database(url, "search_path = loja, public")
    assert read(PostgresSource(url, tables=TABLES), "pedidos") == evening(zone)


def test_money_is_its_amount_whatever_the_currency_of_the_server(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("create table produtos as select 1 as id_produto, 1234.50::money as preco")
    assert read(PostgresSource(url, tables=TABLES), "produtos") == {"id_produto": ["1"], "preco": ["1234.50"]}


def test_instants_inside_other_values_follow_the_sessions_time_zone_and_a_warning_says_so(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("create type entrega as (quando timestamptz, por text)")
        connection.execute("create table produtos (id_produto integer, a timestamptz[], b tstzrange, c entrega)")
        connection.execute("alter table produtos add d timestamptz, add e date[]")
    with PostgresSource(url, tables=TABLES).open() as extract:
        assert extract.warnings(["clientes"]) == []
        (warning,) = extract.warnings(["clientes", "produtos"])
    named = "produtos.a (timestamp with time zone[]), produtos.b (tstzrange), produtos.c (entrega): "
    assert warning.startswith(named + "printed in the time zone of the source's session")


def test_types_are_named_as_before_in_every_schema(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("create schema outro; create type outro.tamanho as enum ('P', 'G')")
        connection.execute('create type "Tipo A" as enum ()')
        connection.execute('create table produtos (id_produto bigint, a outro.tamanho[], b "Tipo A", c situacao[])')
        connection.execute(
            "alter table produtos add d varchar(9), add e char(3)[], add f numeric(9, 2), add g dia_util"
        )
        named = connection.execute(
            "select attname, format_type(atttypid, null) from pg_attribute "
            "where attrelid = 'produtos'::regclass and attnum > 0 order by attnum"
        ).fetchall()
    with PostgresSource(url, tables=TABLES).open() as extract:
        assert list(extract.columns("produtos").items()) == named


@pytest.fixture
def ascii_url(server_url: str) -> Iterator[str]:
    """A database that does not say in which encoding its text is."""
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(
            "create database bytes template template0 encoding 'SQL_ASCII' locale_provider libc "
            "lc_collate 'C' lc_ctype 'C'"
        )
        yield server_url.replace("/postgres?", "/bytes?")
        connection.execute("drop database bytes with (force)")


def test_a_database_in_sql_ascii_gives_its_utf_8_as_it_is(ascii_url: str) -> None:
    with psycopg.connect(ascii_url, autocommit=True, client_encoding="utf8") as connection:
        connection.execute("create table clientes as select 1 as id_cliente, 'São'::text as nome")
    assert read(PostgresSource(ascii_url, tables=TABLES)) == {"nome": ["São"]}


def test_bytes_that_are_no_utf_8_are_an_error_whose_advice_works(ascii_url: str) -> None:
    with psycopg.connect(ascii_url, autocommit=True, client_encoding="latin1") as connection:
        connection.execute("set client_encoding = 'SQL_ASCII'; create table clientes (id_cliente integer, nome text)")
        connection.execute(b"insert into clientes values (1, 'S\xe3o')")
        with pytest.raises(SourceError, match="invalid byte sequence") as error:
            read(PostgresSource(ascii_url, tables=TABLES))
        way = error.value.next_step.rpartition(" as ")[2]
        connection.execute("create schema loja")
        connection.execute(f"create view loja.clientes as select id_cliente, {way} as nome from clientes".encode())
    assert read(PostgresSource(ascii_url, schema="loja")) == {"nome": ["São"]}


@pytest.fixture
def hosted(source_gateway: Gateway) -> Gateway:
    """A shop behind the API, with a column of each type whose text can be had the same under every setting."""
    fill(source_gateway.database_url, OVER_HTTP)
    source_gateway.sql("grant all on clientes to anon, authenticated, service_role")
    return source_gateway


def set_project(project: Gateway, setting: str) -> None:
    """A setting of the project's database, for its API as well."""
    set_database(project.database_url, setting)
    project.app.database.close()


keys = pytest.mark.parametrize("key", ["secret_key", "publishable_key"])


@keys
def test_values_are_read_over_http_as_they_always_were(hosted: Gateway, key: str) -> None:
    assert read(shop_of(hosted, getattr(hosted, key))) == as_always(hosted.database_url, OVER_HTTP)


@keys
@pytest.mark.parametrize("setting", ["datestyle = 'SQL, DMY'", "datestyle = 'German'", "datestyle = 'Postgres'"])
def test_the_date_style_of_a_project_changes_nothing(hosted: Gateway, key: str, setting: str) -> None:
    set_project(hosted, setting)
    assert read(shop_of(hosted, getattr(hosted, key))) == as_always(hosted.database_url, OVER_HTTP)


def test_instants_are_in_utc_whatever_the_time_zone_of_a_project(hosted: Gateway) -> None:
    hosted.sql("delete from clientes where instante < '0001-01-01' or instante > '9999-01-01' and isfinite(instante)")
    set_project(hosted, "timezone = 'America/Sao_Paulo'")
    found = read(shop_of(hosted, hosted.secret_key))
    assert found == as_always(hosted.database_url, OVER_HTTP)
    assert "2018-02-18 02:30:00.000001+00" in found["instante"]


@pytest.mark.parametrize("zone", ["America/Sao_Paulo", "UTC"])
def test_a_projects_views_compute_by_its_own_time_zone(hosted: Gateway, zone: str) -> None:
    hosted.sql("drop table pedidos")
    hosted.sql(EVENING)
    hosted.sql("grant select on pedidos to service_role")
    set_project(hosted, f"timezone = '{zone}'")
    found = read(shop_of(hosted, hosted.secret_key), "pedidos")
    assert {**found, "caminho": []} == {**evening(zone), "caminho": []}  # PostgREST sets a search path of its own


def test_two_visits_over_http_under_two_settings_find_nothing_new(runner: Runner, shop_gateway: Gateway) -> None:
    shop_gateway.sql("alter table pedidos add feito_em timestamptz default now(), add visto timestamp default now()")
    fill_shop(shop_gateway, clientes=3, produtos=3, pedidos=0)
    shop_gateway.sql("insert into pedidos (id_pedido, data_pedido) values (1, '2024-03-05')")
    shop = shop_of(shop_gateway, shop_gateway.secret_key)
    assert [int(result.key) for result in runner.run(shop)] == [246, 468, 579]
    set_project(shop_gateway, "datestyle = 'SQL, DMY'")
    set_project(shop_gateway, "timezone = 'America/Sao_Paulo'")
    assert [int(result.key) for result in runner.run(shop)] == [135]


def test_what_cannot_be_set_over_http_is_one_line_that_names_the_columns(shop_gateway: Gateway) -> None:
    shop_gateway.sql("alter table produtos add peso double precision, add nota real, add prazo interval")
    shop_gateway.sql("alter table produtos add preco_antigo money, add foto bytea, add dias date[], add dia date")
    shop_gateway.sql("alter table clientes add altura real")
    with shop_of(shop_gateway, shop_gateway.secret_key).open() as extract:
        (warning,) = extract.warnings(["clientes", "produtos", "pedidos"])
    named, _, said = warning.partition(": ")
    assert named == (
        "clientes.altura (real), produtos.peso (double precision), produtos.nota (real), produtos.prazo (interval), "
        "produtos.preco_antigo (money), produtos.foto (bytea), produtos.dias (date[])"
    )
    assert said.startswith("over HTTP printed as the server is set to, maybe not to the last digit")
    fill_shop(shop_gateway, clientes=1, produtos=1, pedidos=1)
    with shop_of(shop_gateway, shop_gateway.publishable_key).open() as extract:
        assert (
            "clientes.altura (real), produtos.peso (double precision)" in extract.warnings(["clientes", "produtos"])[1]
        )


def test_a_key_that_is_a_date_is_among_them(shop_gateway: Gateway) -> None:
    shop_gateway.sql("alter table pedidos drop id_pedido, add id_pedido date primary key")
    shop_gateway.sql("insert into pedidos (id_pedido) values ('2024-03-05'), ('2024-03-06')")
    shop = shop_of(shop_gateway, shop_gateway.secret_key)
    with shop.open() as extract:
        assert extract.warnings(["pedidos"])[0].startswith("pedidos.id_pedido (date): over HTTP")
    set_project(shop_gateway, "datestyle = 'SQL, DMY'")
    with shop.open() as extract:
        assert sum(len(page) for page in extract.pages("pedidos", EXTRACT_ROWS)) == 2
