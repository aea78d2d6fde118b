-- Gold: one row for each customer, and one for each product, that has orders.
-- Counts and sums are bigint: a sum of integers does not fit an integer for ever.

create table if not exists gold.analise_clientes_pedidos (
  id_cliente text collate "C" primary key,
  nome text,
  cidade text,
  idade integer,
  total_pedidos bigint,
  total_gasto numeric,
  data_primeiro_pedido date,
  data_ultimo_pedido date,
  categorias_compradas text,
  produtos_comprados text
);

create table if not exists gold.analise_produtos (
  id_produto text collate "C" primary key,
  nome_produto text,
  categoria text,
  total_vendido bigint,
  total_receita numeric,
  estoque_atual integer
);

alter table gold.analise_clientes_pedidos alter column total_pedidos type bigint;
alter table gold.analise_produtos alter column total_vendido type bigint;

-- What changes in silver, gold has to recompute. Each trigger runs once for a statement and marks only what a gold
-- column depends on: a new phone number is no work for gold.

create or replace function gold.marcar_por_pedidos()
returns trigger language plpgsql security definer set search_path = '' as $$
declare
  v_clientes text[];
  v_produtos text[];
begin
  if tg_op = 'INSERT' then
    select array_agg(distinct id_cliente), array_agg(distinct id_produto) into v_clientes, v_produtos from novas;
  elsif tg_op = 'DELETE' then
    select array_agg(distinct id_cliente), array_agg(distinct id_produto) into v_clientes, v_produtos from antigas;
  else
    select array_agg(distinct m.id_cliente), array_agg(distinct m.id_produto) into v_clientes, v_produtos
    from (
      select v.id_cliente, v.id_produto from antigas a join novas n using (id), lateral (values
        (a.id_cliente, a.id_produto), (n.id_cliente, n.id_produto)) as v (id_cliente, id_produto)
      where (a.id_cliente, a.id_produto, a.quantidade, a.valor_total, a.data_pedido)
        is distinct from (n.id_cliente, n.id_produto, n.quantidade, n.valor_total, n.data_pedido)
    ) as m;
  end if;
  perform controle.marcar('analise_clientes_pedidos', v_clientes);
  perform controle.marcar('analise_produtos', v_produtos);
  return null;
end
$$;

create or replace function gold.marcar_por_clientes()
returns trigger language plpgsql security definer set search_path = '' as $$
begin
  perform controle.marcar('analise_clientes_pedidos', (
    select array_agg(n.id) from antigas a join novas n using (id)
    where (a.nome, a.cidade, a.idade) is distinct from (n.nome, n.cidade, n.idade)));
  return null;
end
$$;

create or replace function gold.marcar_por_produtos()
returns trigger language plpgsql security definer set search_path = '' as $$
begin
  perform controle.marcar('analise_produtos', (
    select array_agg(n.id) from antigas a join novas n using (id)
    where (a.nome_produto, a.categoria, a.estoque) is distinct from (n.nome_produto, n.categoria, n.estoque)));
  perform controle.marcar('analise_clientes_pedidos', (
    select array_agg(distinct p.id_cliente) from silver.pedidos p
    where p.id_produto in (
      select n.id from antigas a join novas n using (id)
      where (a.nome_produto, a.categoria) is distinct from (n.nome_produto, n.categoria))));
  return null;
end
$$;

create or replace function gold.marcar_tudo()
returns trigger language plpgsql security definer set search_path = '' as $$
begin
  perform controle.marcar('analise_clientes_pedidos', (select array_agg(id_cliente) from gold.analise_clientes_pedidos));
  perform controle.marcar('analise_produtos', (select array_agg(id_produto) from gold.analise_produtos));
  return null;
end
$$;

create or replace trigger marcar_inseridos after insert on silver.pedidos
  referencing new table as novas for each statement execute function gold.marcar_por_pedidos();
create or replace trigger marcar_alterados after update on silver.pedidos
  referencing old table as antigas new table as novas for each statement execute function gold.marcar_por_pedidos();
create or replace trigger marcar_removidos after delete on silver.pedidos
  referencing old table as antigas for each statement execute function gold.marcar_por_pedidos();
create or replace trigger marcar_esvaziados after truncate on silver.pedidos
  for each statement execute function gold.marcar_tudo();
create or replace trigger marcar_alterados after update on silver.clientes
  referencing old table as antigas new table as novas for each statement execute function gold.marcar_por_clientes();
create or replace trigger marcar_alterados after update on silver.produtos
  referencing old table as antigas new table as novas for each statement execute function gold.marcar_por_produtos();

alter table gold.analise_clientes_pedidos enable row level security;
alter table gold.analise_produtos enable row level security;

drop policy if exists leitura_autenticada on gold.analise_clientes_pedidos;
create policy leitura_autenticada on gold.analise_clientes_pedidos for select to authenticated using (true);
drop policy if exists leitura_autenticada on gold.analise_produtos;
create policy leitura_autenticada on gold.analise_produtos for select to authenticated using (true);

grant select on all tables in schema gold to authenticated;
grant select, insert, update, delete on all tables in schema gold to service_role;
revoke execute on all functions in schema gold from public;

insert into controle.migracoes (versao) values ('20260101000400_gold') on conflict (versao) do nothing;
