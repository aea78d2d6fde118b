"""What the shop sells."""

from elt import rules
from elt.catalog import Column, Table

PRODUTOS = Table(
    "produtos",
    (
        Column("id_produto", rules.KEY, required=True),
        Column("nome_produto", rules.TEXT),
        Column("categoria", rules.TEXT),
        Column("preco", rules.MONEY, required=True),
        Column("estoque", rules.INTEGER),
    ),
)
