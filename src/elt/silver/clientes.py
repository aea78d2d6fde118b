"""The shop's customers."""

from elt import rules
from elt.catalog import Column, Table

CLIENTES = Table(
    "clientes",
    (
        Column("id_cliente", rules.KEY, required=True),
        Column("nome", rules.TEXT, personal=True),
        Column("email", rules.EMAIL, personal=True),
        Column("telefone", rules.PHONE, personal=True),
        Column("cidade", rules.TEXT),
        Column("idade", rules.AGE),
    ),
)
