"""A project as the specification's SQL leaves it, which the first users followed; its missing comma is mended."""

ORIGINAL = """
create schema silver;
create schema gold;
create table silver.clientes (id text primary key, nome text, email text, telefone text, cidade text, idade int,
  data_ingestao timestamp default current_timestamp);
create table silver.produtos (id text primary key, nome_produto text, categoria text, preco numeric, estoque int,
  data_ingestao timestamp default current_timestamp);
create table silver.pedidos (id text primary key, id_cliente text references silver.clientes (id),
  id_produto text references silver.produtos (id), quantidade int, status text, valor_total numeric, data_pedido date,
  data_ingestao timestamp default current_timestamp);
create table gold.analise_clientes_pedidos (id_cliente text primary key, nome text, cidade text, idade int,
  total_pedidos int, total_gasto numeric, data_primeiro_pedido date, data_ultimo_pedido date,
  categorias_compradas text, produtos_comprados text);
create table gold.analise_produtos (id_produto text primary key, nome_produto text, categoria text, total_vendido int,
  total_receita numeric, estoque_atual int);
grant usage on schema silver, gold to anon;
grant select, insert, update, delete on all tables in schema silver, gold to anon;
"""
"""Its schemas and tables, with their open grants."""

ROWS = """
insert into silver.clientes (id, nome, idade, data_ingestao) values ('1', 'Ana', 34, '2024-05-01 12:00:00');
insert into silver.clientes (id, nome, data_ingestao) values ('old', 'Rui', null);
insert into silver.produtos (id, nome_produto, preco) values ('10', 'Café', 12.50);
insert into silver.pedidos (id, id_cliente, id_produto, quantidade, valor_total) values ('99', 'old', '10', 1, 12.50);
insert into gold.analise_produtos (id_produto, total_vendido) values ('10', 1);
"""
"""What its program had written."""

POLICIES = """
alter table storage.objects enable row level security;
create policy objects_select_policy on storage.objects for select using (auth.role() = 'authenticated');
create policy objects_insert_policy on storage.objects for insert with check (auth.role() = 'authenticated');
create policy objects_update_policy on storage.objects for update using (auth.role() = 'authenticated');
create policy objects_delete_policy on storage.objects for delete using (auth.role() = 'authenticated');
create policy "Acesso Total" on storage.objects for all using (true);
"""
"""Its policies on Storage's objects; at that time the dashboard's SQL ran as the tables' owner."""
