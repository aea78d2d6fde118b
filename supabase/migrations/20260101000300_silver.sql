-- Silver: the shop's tables, clean. Keys are text, because shops have keys such as 'ALFKI' and '10248-11';
-- collate "C" keeps their indexes small and in the same order on every machine.

create table if not exists silver.clientes (
  id text collate "C" primary key,
  nome text,
  email text,
  telefone text,
  cidade text,
  idade integer,
  data_ingestao timestamptz not null default now()
);

create table if not exists silver.produtos (
  id text collate "C" primary key,
  nome_produto text,
  categoria text,
  preco numeric,
  estoque integer,
  data_ingestao timestamptz not null default now()
);

create table if not exists silver.pedidos (
  id text collate "C" primary key,
  id_cliente text collate "C" references silver.clientes (id),
  id_produto text collate "C" references silver.produtos (id),
  quantidade integer,
  status text,
  valor_total numeric,
  data_pedido date,
  data_ingestao timestamptz not null default now()
);
create index if not exists pedidos_por_cliente on silver.pedidos (id_cliente);
create index if not exists pedidos_por_produto on silver.pedidos (id_produto);

-- A project that began with data_ingestao as a naive timestamp (UTC on hosted databases) that may be null moves on.
do $$
declare
  t text;
begin
  foreach t in array array['clientes', 'produtos', 'pedidos'] loop
    if exists (select from information_schema.columns where table_schema = 'silver' and table_name = t
               and column_name = 'data_ingestao' and data_type = 'timestamp without time zone') then
      execute format('alter table silver.%I alter column data_ingestao type timestamptz using data_ingestao at time zone ''UTC''', t);
    end if;
    if exists (select from information_schema.columns where table_schema = 'silver' and table_name = t
               and column_name = 'data_ingestao' and is_nullable = 'YES') then
      execute format('update silver.%I set data_ingestao = now() where data_ingestao is null', t);
      execute format('alter table silver.%I alter column data_ingestao set not null', t);
    end if;
  end loop;
end
$$;

-- Rows that silver refused, as the source had them. The table is the newest snapshot's refusals: a row leaves it by
-- itself when the source is corrected or its parent arrives. id = md5 of table, key and row.
create table if not exists silver.rejeitados (
  id text collate "C" primary key,
  tabela text not null,
  chave text,
  motivo text not null,
  linha jsonb not null,
  snapshot text not null,
  desde timestamptz not null default now()
);
create index if not exists rejeitados_por_tabela on silver.rejeitados (tabela, chave);

-- Values that silver could not read and wrote as NULL (the row itself is in silver). id = md5 of table, key and column.
create table if not exists silver.valores_rejeitados (
  id text collate "C" primary key,
  tabela text not null,
  chave text not null,
  coluna text not null,
  valor text not null,
  motivo text not null,
  snapshot text not null,
  desde timestamptz not null default now()
);
create index if not exists valores_rejeitados_por_tabela on silver.valores_rejeitados (tabela, chave);

-- data_ingestao says when a row last changed: an update that changes nothing is skipped, any other is stamped.
create or replace function silver.carimbar()
returns trigger language plpgsql set search_path = '' as $$
begin
  if new is not distinct from old then
    return null;
  end if;
  new.data_ingestao := now();
  return new;
end
$$;

create or replace trigger carimbar before update on silver.clientes for each row execute function silver.carimbar();
create or replace trigger carimbar before update on silver.produtos for each row execute function silver.carimbar();
create or replace trigger carimbar before update on silver.pedidos for each row execute function silver.carimbar();

alter table silver.clientes enable row level security;
alter table silver.produtos enable row level security;
alter table silver.pedidos enable row level security;
alter table silver.rejeitados enable row level security;
alter table silver.valores_rejeitados enable row level security;

grant select, insert, update, delete on all tables in schema silver to service_role;
revoke execute on all functions in schema silver from public;
grant execute on all functions in schema silver to service_role;

insert into controle.migracoes (versao) values ('20260101000300_silver') on conflict (versao) do nothing;
