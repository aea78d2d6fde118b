-- Writing through the HTTP API: one function call is one request and one transaction. A plain upsert of the API cannot
-- say how many rows were new, changed or equal, rewrites rows that are equal where no trigger stops it, and counts
-- nothing at all when its answer is lost; these functions do what the direct connection does, with the same counts.

-- Results of recent writes: a request that is sent again because its answer was lost is answered from here, not done
-- again, so that its counts are those of the first time.
create table if not exists controle.escritas (
  id uuid primary key,
  resultado jsonb,
  feita_em timestamptz not null default now()
);
create index if not exists escritas_por_data on controle.escritas (feita_em);
alter table controle.escritas enable row level security;

-- Begins the write p_id: null if it is new, else the result it had. A first try that is still at work is waited for.
create or replace function controle.comecar_escrita(p_id uuid)
returns jsonb language plpgsql set search_path = '' as $$
begin
  insert into controle.escritas (id) values (p_id) on conflict (id) do nothing;
  if not found then
    return (select resultado from controle.escritas where id = p_id);
  end if;
  delete from controle.escritas where id in (
    select id from controle.escritas where feita_em < now() - interval '1 day' for update skip locked);
  return null;
end
$$;

-- Writes rows: a new key is inserted, a known one updated where a column differs; columns that are not given keep their
-- value. p_colunas: one JSON array for each column, all of one length, every value as text or null.
-- Answers {"inseridas": n, "alteradas": n}.
create or replace function controle.gravar(p_id uuid, p_tabela text, p_chave text, p_colunas jsonb)
returns jsonb language plpgsql set search_path = '' as $$
declare
  v_resultado jsonb := controle.comecar_escrita(p_id);
  v_nomes text;
  v_valores text;
  v_listas text;
  v_fontes text;
  v_ordem text;
  v_novos text;
  v_atuais text;
  v_excluidos text;
  v_desconhecida text;
begin
  if v_resultado is not null then
    return v_resultado;
  end if;
  select
    string_agg(format('%I', c.nome), ', ' order by c.n),
    string_agg(format('c%s::%s', c.n, format_type(a.atttypid, a.atttypmod)), ', ' order by c.n),
    string_agg(format('jsonb_array_elements_text($1 -> %L)', c.nome), ', ' order by c.n),
    string_agg(format('c%s', c.n), ', ' order by c.n),
    min(format('c%s', c.n)) filter (where c.nome = p_chave),
    string_agg(format('%1$I = excluded.%1$I', c.nome), ', ' order by c.n) filter (where c.nome <> p_chave),
    string_agg(format('alvo.%I', c.nome), ', ' order by c.n) filter (where c.nome <> p_chave),
    string_agg(format('excluded.%I', c.nome), ', ' order by c.n) filter (where c.nome <> p_chave),
    min(c.nome) filter (where a.attname is null)
  into v_nomes, v_valores, v_listas, v_fontes, v_ordem, v_novos, v_atuais, v_excluidos, v_desconhecida
  from jsonb_object_keys(p_colunas) with ordinality as c (nome, n)
  left join pg_attribute a
    on a.attrelid = p_tabela::regclass and a.attname = c.nome and a.attnum > 0 and not a.attisdropped;
  if v_desconhecida is not null then
    raise undefined_column using message = format('column "%s" of %s does not exist', v_desconhecida, p_tabela);
  end if;
  execute format(
    'with gravadas as (
       insert into %1$s as alvo (%2$s)
       select %3$s from rows from (%4$s) as linhas (%5$s) order by %6$s
       on conflict (%7$I) do update set %8$s where (%9$s) is distinct from (%10$s)
       returning (xmax = 0) as nova)
     select jsonb_build_object(
       ''inseridas'', count(*) filter (where nova), ''alteradas'', count(*) filter (where not nova)) from gravadas',
    p_tabela::regclass, v_nomes, v_valores, v_listas, v_fontes, v_ordem, p_chave, v_novos, v_atuais, v_excluidos)
  into v_resultado using p_colunas;
  update controle.escritas set resultado = v_resultado where id = p_id;
  return v_resultado;
end
$$;

-- Deletes the rows whose column holds one of the values. Answers {"removidas": n}.
create or replace function controle.apagar(p_id uuid, p_tabela text, p_coluna text, p_valores text[])
returns jsonb language plpgsql set search_path = '' as $$
declare
  v_resultado jsonb := controle.comecar_escrita(p_id);
  v_removidas bigint;
begin
  if v_resultado is not null then
    return v_resultado;
  end if;
  execute format('delete from %s where %I = any ($1)', p_tabela::regclass, p_coluna) using p_valores;
  get diagnostics v_removidas = row_count;
  v_resultado := jsonb_build_object('removidas', v_removidas);
  update controle.escritas set resultado = v_resultado where id = p_id;
  return v_resultado;
end
$$;

grant select, insert, update, delete on controle.escritas to service_role;
revoke execute on all functions in schema controle from public;
grant execute on all functions in schema controle to service_role;

-- The specification's first version let anon read and write everything: take that back. Who wants it open for a
-- demonstration runs supabase/open-demo.sql afterwards.
revoke all on all tables in schema silver, gold, controle from anon, public;
revoke all on schema silver, gold, controle from anon, public;
revoke execute on all functions in schema silver, gold, controle from anon, authenticated, public;
revoke all on all tables in schema silver, controle from authenticated;
revoke insert, update, delete, truncate on all tables in schema gold from authenticated;
do $$
begin
  if to_regclass('storage.objects') is not null then
    drop policy if exists demonstracao_aberta on storage.objects;
    drop policy if exists demonstracao_aberta on storage.buckets;
  end if;
end
$$;

insert into controle.migracoes (versao) values ('20260101000500_escritas') on conflict (versao) do nothing;
