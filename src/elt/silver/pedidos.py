"""The shop's orders: each of one product, by one customer."""

from elt import rules
from elt.catalog import Column, Table

PEDIDOS = Table(
    "pedidos",
    (
        Column("id_pedido", rules.KEY, required=True),
        Column("id_cliente", rules.KEY, required=True, references="clientes"),
        Column("id_produto", rules.KEY, required=True, references="produtos"),
        Column("quantidade", rules.QUANTITY, required=True),
        Column("status", rules.STATUS),
        Column("valor_total", rules.MONEY, required=True),
        Column("data_pedido", rules.DATE, required=True),
    ),
)
