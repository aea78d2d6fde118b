-- The core: a snapshot's clean rows wait in estagio, without keys; sets decide what becomes of them (silver.julgar), and
-- one transaction writes it (silver.aplicar). Gold is computed whole from silver (gold.recalcular), if silver is another
-- than it was computed from. Every function that writes asks for the lease first.

-- ---------------------------------------------------------------------------------------------------------- estagio
-- Unlogged: a server crash empties these tables, so silver.aplicar is told how many rows it must find. Every row says
-- which execution staged it, and in which batch (lote): one try of a request has one number.
create schema if not exists estagio;
comment on schema estagio is 'Rows on their way to silver; empty between runs.';

-- Makes the staging twin of a silver table: its columns, and where each row comes from. lugar: the row's number in the
-- snapshot's table; impressao: the fingerprint of its text.
create or replace function controle.preparar_estagio(p_tabela text)
returns void language plpgsql set search_path = '' as $$
begin
  execute format('drop table if exists estagio.%I', p_tabela);
  execute format(
    'create unlogged table estagio.%1$I as
       select null::text as execucao, null::bigint as lote, null::bigint as lugar, null::bigint as impressao, t.*
       from silver.%1$I t with no data', p_tabela);
  execute format('alter table estagio.%I drop column data_ingestao', p_tabela);
  execute format('alter table estagio.%I enable row level security', p_tabela);
  execute format('revoke all on estagio.%I from public, anon, authenticated', p_tabela);
  execute format('grant select, insert, delete on estagio.%I to service_role', p_tabela);
end
$$;

-- Rows that cleaning refused, values it could not read, keys that the source no longer has, and the text of rows that
-- are refused only here.
create unlogged table if not exists estagio.recusadas (
  execucao text, lote bigint, tabela text, lugar bigint, impressao bigint,
  chave text collate "C", motivo text, linha text);
create unlogged table if not exists estagio.valores (
  execucao text, lote bigint, tabela text, lugar bigint, chave text collate "C", coluna text, valor text, motivo text);
create unlogged table if not exists estagio.sumidas (execucao text, lote bigint, tabela text, chave text collate "C");
create unlogged table if not exists estagio.linhas (execucao text, lote bigint, tabela text, lugar bigint, linha text);
-- What silver.julgar found of rows that are not to be written: destino is repetida or rejeitada.
create unlogged table if not exists estagio.excecoes (
  execucao text, lote bigint, tabela text, lugar bigint, chave text collate "C", destino text, motivo text);

do $$
declare
  t text;
begin
  foreach t in array array['recusadas', 'valores', 'sumidas', 'linhas', 'excecoes'] loop
    execute format('alter table estagio.%I enable row level security', t);
    execute format('revoke all on estagio.%I from public, anon, authenticated', t);
    execute format('grant select, insert, delete on estagio.%I to service_role', t);
  end loop;
end
$$;
revoke all on schema estagio from public, anon, authenticated;
grant usage on schema estagio to service_role;

-- Removes what is staged, but for the batches p_lotes of p_execucao. A table that another session is writing to (a run
-- that was frozen inside COPY) is not waited for.
create or replace function silver.esvaziar_estagio(
  p_dono text, p_execucao text default null, p_lotes bigint[] default '{}')
returns void language plpgsql security definer set search_path = '' as $$
declare
  t text;
begin
  perform controle.exigir(p_dono);
  for t in select relname from pg_class where relnamespace = 'estagio'::regnamespace and relkind = 'r' order by 1 loop
    begin
      if p_execucao is not null then
        raise lock_not_available;
      end if;
      execute format('lock table estagio.%I in access exclusive mode nowait', t);
      execute format('truncate estagio.%I', t);
    exception when lock_not_available then
      execute format('delete from estagio.%I where execucao is distinct from $1 or lote <> all ($2)', t)
        using p_execucao, p_lotes;
    end;
  end loop;
end
$$;

-- The database's bytes without what waits in staging: that is gone when a run ends, or begins.
create or replace function controle.tamanho_do_banco()
returns bigint language sql stable security definer set search_path = '' as $$
  select pg_database_size(current_database()) - coalesce(sum(pg_total_relation_size(oid)), 0)::bigint
  from pg_class where relnamespace = 'estagio'::regnamespace and relkind = 'r'
$$;

-- One request of the HTTP API: rows as columns, {"coluna": [value as text or null, ...], ...}, all of one length.
create or replace function silver.encenar(p_execucao text, p_lote bigint, p_tabela text, p_colunas jsonb)
returns void language plpgsql set search_path = '' as $$
declare
  v_desconhecida text;
begin
  select min(nome) into v_desconhecida from jsonb_object_keys(p_colunas) as c (nome)
  where not exists (
    select from pg_attribute a where a.attrelid = format('estagio.%I', p_tabela)::regclass and a.attname = c.nome);
  if v_desconhecida is not null then
    raise undefined_column using message = format(
      'column "%s" of estagio.%s does not exist', v_desconhecida, p_tabela);
  end if;
  execute (
    select format(
      'insert into estagio.%1$I (execucao, lote, %2$s) select $1, $2, %3$s from rows from (%4$s) as linhas (%5$s)',
      p_tabela,
      string_agg(format('%I', c.nome), ', ' order by c.n),
      string_agg(format('c%s::%s', c.n, format_type(a.atttypid, a.atttypmod)), ', ' order by c.n),
      string_agg(format('jsonb_array_elements_text($3 -> %L)', c.nome), ', ' order by c.n),
      string_agg(format('c%s', c.n), ', ' order by c.n))
    from jsonb_object_keys(p_colunas) with ordinality as c (nome, n)
    join pg_attribute a
      on a.attrelid = format('estagio.%I', p_tabela)::regclass and a.attname = c.nome and not a.attisdropped)
  using p_execucao, p_lote, p_colunas;
end
$$;

-- ------------------------------------------------------------------------------------------------- silver's versions
-- One row for each statement that changed rows of a silver table: how many there are is the table's version. They are
-- never deleted. A counter would make every writer wait for a person's open transaction, and a sequence moves before
-- the commit.
create table if not exists controle.mudancas (
  id bigint generated always as identity primary key,
  tabela text not null,
  em timestamptz not null default clock_timestamp()
);
create index if not exists mudancas_por_tabela on controle.mudancas (tabela);
alter table controle.mudancas enable row level security;
grant select, insert, update, delete on controle.mudancas to service_role;

create or replace function controle.anotar_mudanca()
returns trigger language plpgsql security definer set search_path = '' as $$
begin
  if tg_op = 'TRUNCATE' then
    insert into controle.mudancas (tabela) values (tg_table_name);
  elsif exists (select from mudadas) then  -- a statement trigger fires for a statement that changed nothing, too
    insert into controle.mudancas (tabela) values (tg_table_name);
  end if;
  return null;
end
$$;

-- What a silver table needs besides its columns: a staging twin, and triggers that tell its version.
create or replace function controle.preparar_tabela(p_tabela text)
returns void language plpgsql set search_path = '' as $$
begin
  perform controle.preparar_estagio(p_tabela);
  execute format(
    'create or replace trigger anotar_inseridos after insert on silver.%1$I
       referencing new table as mudadas for each statement execute function controle.anotar_mudanca();
     create or replace trigger anotar_alterados after update on silver.%1$I
       referencing new table as mudadas for each statement execute function controle.anotar_mudanca();
     create or replace trigger anotar_removidos after delete on silver.%1$I
       referencing old table as mudadas for each statement execute function controle.anotar_mudanca();
     create or replace trigger anotar_esvaziados after truncate on silver.%1$I
       for each statement execute function controle.anotar_mudanca()', p_tabela);
end
$$;

-- The analyses, the silver tables each is computed from, and the versions of those it was last computed from (null: it
-- is to be computed, whatever silver holds).
create table if not exists controle.analises (
  analise text primary key,
  entradas text[] not null,
  versoes jsonb,
  calculada_em timestamptz
);
alter table controle.analises enable row level security;
grant select, insert, update, delete on controle.analises to service_role;

create or replace function controle.versoes(p_tabelas text[])
returns jsonb language sql stable set search_path = '' as $$
  select jsonb_object_agg(t, (select count(*) from controle.mudancas m where m.tabela = t)) from unnest(p_tabelas) as t
$$;

-- Keys were marked for gold row by row, by triggers that had to be written for each analysis: no more.
drop trigger if exists marcar_inseridos on silver.pedidos;
drop trigger if exists marcar_alterados on silver.pedidos;
drop trigger if exists marcar_removidos on silver.pedidos;
drop trigger if exists marcar_esvaziados on silver.pedidos;
drop trigger if exists marcar_alterados on silver.clientes;
drop trigger if exists marcar_alterados on silver.produtos;
drop function if exists gold.marcar_por_pedidos();
drop function if exists gold.marcar_por_clientes();
drop function if exists gold.marcar_por_produtos();
drop function if exists gold.marcar_tudo();
drop function if exists controle.marcar(text, text[]);
drop function if exists controle.reservar(text, text, integer);
drop function if exists controle.concluir(text, text[]);

select controle.preparar_tabela(t) from unnest(array['clientes', 'produtos', 'pedidos']) as t;

-- A lakehouse of before whose gold was complete has nothing to compute, nor has an empty one; where keys were waiting, or
-- where there are rows that no run of this pipeline computed gold from, all is computed.
do $$
declare
  v_completo boolean := false;
begin
  if to_regclass('controle.pendencias') is not null then
    v_completo := not exists (select from controle.pendencias)
      and (exists (select from controle.execucoes where camada = 'gold' and chave is not null and desfeita_em is null)
           or not exists (select from silver.pedidos) and not exists (select from gold.analise_produtos)
             and not exists (select from gold.analise_clientes_pedidos));
    drop table controle.pendencias;
  end if;
  insert into controle.analises (analise, entradas, versoes)
  select a, e, case when v_completo then controle.versoes(e) end
  from unnest(array['analise_clientes_pedidos', 'analise_produtos']) as a,
       (values (array['clientes', 'produtos', 'pedidos'])) as v (e)
  on conflict (analise) do nothing;
end
$$;

-- -------------------------------------------------------------------------------------------------------- the ledger
drop function if exists controle.abrir_execucao(text, text, text, text);
create or replace function controle.abrir_execucao(
  p_dono text, p_id text, p_execucao text, p_camada text, p_snapshot text default null)
returns void language plpgsql set search_path = '' as $$
begin
  perform controle.exigir(p_dono);
  insert into controle.execucoes (id, execucao, camada, snapshot)
  values (p_id, p_execucao, p_camada, p_snapshot)
  on conflict (id) do nothing;
end
$$;

-- What there is to do: the newest snapshot that silver applied to the end since it was last begun anew, and the version
-- of the cleaning rules it last used (null if there is none); whether it was begun anew and no snapshot has been applied
-- to the end since (a replay that died); how many analyses are to be computed; and the identities of the lakehouse's
-- shop. A silver that was emptied by a reset waits for nothing.
create or replace function controle.situacao()
returns jsonb language sql stable set search_path = '' as $$
  with aplicadas as (
    select snapshot, terminada_em, detalhes ->> 'rules' as regras from controle.execucoes
    where camada = 'silver' and terminada_em is not null and erro is null and desfeita_em is null)
  select jsonb_build_object(
    'snapshot', (select max(snapshot collate "C") from aplicadas),
    'regras', (select regras from aplicadas where regras is not null order by terminada_em desc limit 1),
    'reconstrucao_inacabada', not exists (select from aplicadas where snapshot is not null)
      and exists (
        select from controle.execucoes
        where camada = 'silver' and desfeita_em > coalesce((select max(em) from controle.reinicios), '-infinity')),
    'pendencias', (select count(*) from controle.analises where versoes is distinct from controle.versoes(entradas)),
    'identidades', (select coalesce(jsonb_agg(identidade order by posicao), '[]') from controle.lojas))
$$;

drop function if exists controle.fechar_execucao(
  text, integer, text, bigint, bigint, bigint, bigint, bigint, text, jsonb);
-- Closes an execution, and answers what there is to do now.
create or replace function controle.fechar_execucao(
  p_dono text, p_id text, p_chave integer, p_snapshot text, p_lidas bigint, p_gravadas bigint, p_inalteradas bigint,
  p_repetidas bigint, p_em_quarentena bigint, p_erro text, p_detalhes jsonb)
returns jsonb language plpgsql set search_path = '' as $$
begin
  perform controle.exigir(p_dono);
  update controle.execucoes
     set chave = p_chave, terminada_em = clock_timestamp(), snapshot = coalesce(p_snapshot, snapshot),
         linhas_lidas = p_lidas, linhas_gravadas = p_gravadas, linhas_inalteradas = p_inalteradas,
         linhas_repetidas = p_repetidas, linhas_em_quarentena = p_em_quarentena, erro = p_erro,
         detalhes = coalesce(p_detalhes, '{}'), desfeita_em = case when p_erro is null then null else desfeita_em end
   where id = p_id;
  return controle.situacao();
end
$$;

drop function if exists controle.nomear_loja(text[]);
-- From now on the lakehouse is that of the shop with these identities, and no others.
create or replace function controle.nomear_loja(p_dono text, p_identidades text[])
returns void language plpgsql set search_path = '' as $$
begin
  perform controle.exigir(p_dono);
  delete from controle.lojas where identidade <> all (p_identidades);
  insert into controle.lojas (identidade, posicao)
  select identidade, posicao from unnest(p_identidades) with ordinality as nomes (identidade, posicao)
  on conflict (identidade) do update set posicao = excluded.posicao;
end
$$;

drop function if exists controle.reiniciar(text[], text[]);
drop function if exists controle.esvaziar_silver(text[]);
-- Empties silver, its quarantine and gold, and forgets which shop they were of; all of it or nothing.
create or replace function controle.reiniciar(p_dono text, p_tabelas text[], p_analises text[])
returns void language plpgsql security definer set search_path = '' as $$
begin
  perform controle.exigir(p_dono);
  execute (
    select 'truncate ' || string_agg(t, ', ')
    from (select format('silver.%I', t) from unnest(p_tabelas || array['rejeitados', 'valores_rejeitados']) as t
          union all select format('gold.%I', a) from unnest(p_analises) as a) as x (t));
  update controle.analises set versoes = controle.versoes(entradas) where true;
  delete from controle.lojas where true;
  update controle.execucoes set desfeita_em = clock_timestamp() where desfeita_em is null;
  insert into controle.reinicios default values;
end
$$;

-- Writing row by row is over.
drop function if exists controle.gravar(uuid, text, text, jsonb);
drop function if exists controle.apagar(uuid, text, text, text[]);

-- -------------------------------------------------------------------------------------------------- judging, applying
-- The columns of a silver table that come from the source.
create or replace function controle.colunas_de(p_tabela text)
returns text[] language sql stable set search_path = '' as $$
  select array_agg(s.attname::text order by s.attnum)
  from pg_attribute s
  join pg_attribute e on e.attrelid = format('estagio.%I', p_tabela)::regclass and e.attname = s.attname
    and e.attnum > 4 and not e.attisdropped  -- after execucao, lote, lugar, impressao
  where s.attrelid = format('silver.%I', p_tabela)::regclass and s.attnum > 0 and not s.attisdropped
$$;

-- The columns of a silver table that hold another's key.
create or replace function controle.maes_de(p_tabela text)
returns table (coluna text, mae text) language sql stable set search_path = '' as $$
  select a.attname::text, m.relname::text
  from pg_constraint c
  join pg_attribute a on a.attrelid = c.conrelid and a.attnum = c.conkey[1]
  join pg_class m on m.oid = c.confrelid and m.relnamespace = 'silver'::regnamespace
  join pg_class e on e.relnamespace = 'estagio'::regnamespace and e.relname = m.relname
  where c.contype = 'f' and c.conrelid = format('silver.%I', p_tabela)::regclass and cardinality(c.conkey) = 1
  order by a.attnum
$$;

-- The condition for rows whose key is in a slice: its hash is at least p_de and less than p_ate. All keys are in the
-- slice from 0 to 2147483648. p_chave: the SQL expression of the key.
create or replace function controle.na_fatia(p_chave text, p_de bigint, p_ate bigint)
returns text language sql immutable set search_path = '' as $$
  select case when p_de = 0 and p_ate = 2147483648 then 'true'
              else format('(pg_catalog.hashtext(%s) & 2147483647) between %s and %s', p_chave, p_de, p_ate - 1) end
$$;

-- The identifier of a refused row: the same as long as its table, key and text are. p_chave, p_linha: SQL expressions.
create or replace function controle.id_da_recusa(p_tabela text, p_chave text, p_linha text)
returns text language sql immutable set search_path = '' as $$
  select format('pg_catalog.md5(pg_catalog.concat_ws(E''\x1f'', %L, coalesce(%s, ''''), %s))', p_tabela, p_chave, p_linha)
$$;

-- Finds the rows of one table's slice that are not to be written (estagio.excecoes). Of a key's rows with one content
-- the first is worked on; of several contents each is a conflict, those that cleaning refused among them; a row without
-- a key is known by its content. A parent must be in silver, or arrive with this snapshot; p_repor: it must arrive,
-- because what does not is removed.
create or replace function controle.separar(p_execucao text, p_tabela text, p_repor boolean, p_de bigint, p_ate bigint)
returns void language plpgsql set search_path = '' as $$
declare
  v_mae record;
  v_recusa text := controle.id_da_recusa(p_tabela, 'chave', 'linha');
begin
  execute format('delete from estagio.excecoes where execucao = $1 and tabela = $2 and %s',
                 controle.na_fatia('chave', p_de, p_ate)) using p_execucao, p_tabela;
  execute format(
    'with todas as (
       select id as chave, impressao, lugar, null::text as motivo from estagio.%1$I where execucao = $1 and %2$s
       union all
       select chave, impressao, lugar, motivo from estagio.recusadas
       where execucao = $1 and tabela = %1$L and chave is not null and %3$s),
     contadas as (
       select t.*, row_number() over (partition by chave, impressao order by lugar) as vez,
              min(impressao) over (partition by chave) <> max(impressao) over (partition by chave) as conflito
       from todas t where chave in (select chave from todas group by chave having count(*) > 1))
     insert into estagio.excecoes (execucao, tabela, lugar, chave, destino, motivo)
     select $1, %1$L, lugar, chave, case when vez > 1 then ''repetida'' else ''rejeitada'' end,
            concat_ws(''; '', case when conflito then ''chave repetida com valores diferentes'' end, motivo)
     from contadas where vez > 1 or conflito or motivo is not null',
    p_tabela, controle.na_fatia('id', p_de, p_ate), controle.na_fatia('chave', p_de, p_ate)) using p_execucao;
  execute format(
    'with sem_chave as (
       select *, row_number() over (partition by impressao order by lugar) as vez from estagio.recusadas
       where execucao = $1 and tabela = %1$L and chave is null and %2$s)
     insert into estagio.excecoes (execucao, tabela, lugar, chave, destino, motivo)
     select $1, %1$L, lugar, %4$s, case when vez > 1 then ''repetida'' else ''rejeitada'' end, motivo from sem_chave
     union all
     select $1, %1$L, r.lugar, r.chave, ''rejeitada'', r.motivo from estagio.recusadas r
     where r.execucao = $1 and r.tabela = %1$L and r.chave is not null and %3$s
       and not exists (
         select from estagio.excecoes x where x.execucao = $1 and x.tabela = %1$L and x.lugar = r.lugar)',
    p_tabela, controle.na_fatia(v_recusa, p_de, p_ate), controle.na_fatia('r.chave', p_de, p_ate), v_recusa)
    using p_execucao;
  for v_mae in select * from controle.maes_de(p_tabela) loop
    execute format(
      'insert into estagio.excecoes (execucao, tabela, lugar, chave, destino, motivo)
       select $1, %1$L, e.lugar, e.id, ''rejeitada'', format(%2$L, %3$L, e.%3$I, %4$L)
       from estagio.%1$I e
       where e.execucao = $1 and %5$s and e.%3$I is not null %6$s
         and not exists (
           select from estagio.%4$I c where c.execucao = $1 and c.id = e.%3$I and not exists (
             select from estagio.excecoes x where x.execucao = $1 and x.tabela = %4$L and x.lugar = c.lugar))
         and not exists (
           select from estagio.excecoes x where x.execucao = $1 and x.tabela = %1$L and x.lugar = e.lugar)',
      p_tabela, '%s: ''%s'' não existe em silver.%s', v_mae.coluna, v_mae.mae, controle.na_fatia('e.id', p_de, p_ate),
      case when not p_repor
        then format('and not exists (select from silver.%I m where m.id = e.%I)', v_mae.mae, v_mae.coluna) end)
      using p_execucao;
  end loop;
  analyze estagio.excecoes;
end
$$;

-- The counts of one table's slice against silver as it is now: encenadas = novas + alteradas + iguais + repetidas +
-- rejeitadas; sumidas: keys that the source no longer has, or (p_repor) rows of silver that the snapshot does not hold.
create or replace function controle.contar(p_execucao text, p_tabela text, p_repor boolean, p_de bigint, p_ate bigint)
returns jsonb language plpgsql set search_path = '' as $$
declare
  v_contas jsonb;
begin
  execute format(
    'with gravar as (
       select s.id is null as nova, s.id is not null and (%2$s) is distinct from (%3$s) as alterada
       from estagio.%1$I e left join silver.%1$I s on s.id = e.id
       where e.execucao = $1 and %4$s and not exists (
         select from estagio.excecoes x where x.execucao = $1 and x.tabela = %1$L and x.lugar = e.lugar)),
     fora as (
       select count(*) filter (where destino = ''repetida'') as repetidas,
              count(*) filter (where destino = ''rejeitada'') as rejeitadas
       from estagio.excecoes where execucao = $1 and tabela = %1$L and %5$s)
     select jsonb_build_object(
       ''novas'', (select count(*) from gravar where nova), ''alteradas'', (select count(*) from gravar where alterada),
       ''iguais'', (select count(*) from gravar where not nova and not alterada),
       ''repetidas'', repetidas, ''rejeitadas'', rejeitadas,
       ''sumidas'', case when $2
         then (select count(*) from silver.%1$I s where %6$s and not exists (
                 select from estagio.%1$I e where e.execucao = $1 and e.id = s.id and not exists (
                   select from estagio.excecoes x where x.execucao = $1 and x.tabela = %1$L and x.lugar = e.lugar)))
         else (select count(distinct chave) from estagio.sumidas where execucao = $1 and tabela = %1$L and %5$s) end)
     from fora',
    p_tabela,
    (select string_agg(format('s.%I', c), ', ') from unnest(controle.colunas_de(p_tabela)) as c),
    (select string_agg(format('e.%I', c), ', ') from unnest(controle.colunas_de(p_tabela)) as c),
    controle.na_fatia('e.id', p_de, p_ate), controle.na_fatia('chave', p_de, p_ate),
    controle.na_fatia('s.id', p_de, p_ate))
  into v_contas using p_execucao, p_repor;
  return v_contas;
end
$$;

-- The places of refused rows of one table's slice whose text is not staged yet, in order.
create or replace function controle.sem_linha(p_execucao text, p_tabela text, p_de bigint, p_ate bigint)
returns jsonb language plpgsql stable set search_path = '' as $$
declare
  v_lugares jsonb;
begin
  execute format(
    'select coalesce(jsonb_agg(x.lugar order by x.lugar), ''[]'') from estagio.excecoes x
     where x.execucao = $1 and x.tabela = $2 and x.destino = ''rejeitada'' and %s
       and not exists (select from estagio.recusadas r
                       where r.execucao = $1 and r.tabela = $2 and r.lugar = x.lugar)
       and not exists (select from estagio.linhas l where l.execucao = $1 and l.tabela = $2 and l.lugar = x.lugar)',
    controle.na_fatia('x.chave', p_de, p_ate)) into v_lugares using p_execucao, p_tabela;
  return v_lugares;
end
$$;

-- Raises PMD11, "stage again", unless exactly the rows are staged that were sent: {table: {"linhas", "valores",
-- "sumidas"}}.
create or replace function controle.conferir_estagio(p_execucao text, p_encenadas jsonb)
returns void language plpgsql set search_path = '' as $$
declare
  v_tabela text;
  v_ha jsonb;
begin
  for v_tabela in select jsonb_object_keys(p_encenadas) loop
    execute format(
      'select jsonb_build_object(
         ''linhas'', (select count(*) from estagio.%1$I where execucao = $1)
                   + (select count(*) from estagio.recusadas where execucao = $1 and tabela = %1$L),
         ''valores'', (select count(*) from estagio.valores where execucao = $1 and tabela = %1$L),
         ''sumidas'', (select count(*) from estagio.sumidas where execucao = $1 and tabela = %1$L))',
      v_tabela) into v_ha using p_execucao;
    if v_ha <> p_encenadas -> v_tabela then
      raise exception using errcode = 'PMD11', message = format(
        'of %s there are %s staged where %s were sent: stage again', v_tabela, v_ha, p_encenadas -> v_tabela);
    end if;
  end loop;
end
$$;

-- What applying the staged rows of these tables (parents first) would do, without writing to silver:
-- {table: counts, and sem_linha: places of refused rows whose text is to be staged (estagio.linhas)}.
create or replace function silver.julgar(
  p_dono text, p_execucao text, p_tabelas text[], p_encenadas jsonb, p_repor boolean,
  p_de bigint default 0, p_ate bigint default 2147483648)
returns jsonb language plpgsql security definer set search_path = '' set statement_timeout = '45s' as $$
declare
  v_tabela text;
  v_resposta jsonb := '{}';
begin
  perform controle.exigir(p_dono);
  perform controle.conferir_estagio(p_execucao, p_encenadas);
  foreach v_tabela in array p_tabelas loop
    if p_de = 0 then
      execute format('analyze estagio.%I', v_tabela);
    end if;
    perform controle.separar(p_execucao, v_tabela, p_repor, p_de, p_ate);
    v_resposta := v_resposta || jsonb_build_object(v_tabela,
      controle.contar(p_execucao, v_tabela, p_repor, p_de, p_ate)
      || jsonb_build_object('sem_linha', controle.sem_linha(p_execucao, v_tabela, p_de, p_ate)));
  end loop;
  return v_resposta;
end
$$;

-- The statement that writes rows of a silver table, new ones and those that differ. p_linhas: the SQL that gives them.
create or replace function controle.mesclar(p_tabela text, p_linhas text)
returns text language sql stable set search_path = '' as $$
  select format(
    'merge into silver.%1$I as s using (%6$s) e on s.id = e.id
     when matched and (%2$s) is distinct from (%3$s) then update set %4$s
     when not matched then insert (%5$s) values (%3$s)',
    p_tabela, string_agg(format('s.%I', c), ', '), string_agg(format('e.%I', c), ', '),
    string_agg(format('%1$I = e.%1$I', c), ', ') filter (where c <> 'id'), string_agg(format('%I', c), ', '), p_linhas)
  from unnest(controle.colunas_de(p_tabela)) as c
$$;

-- Writes the rows of one table's slice; answers how many were written. Rows that the server refuses (a constraint or a
-- trigger of the shop's own) are found by halves, and become exceptions with the server's words.
create or replace function controle.gravar_fatia(p_execucao text, p_tabela text, p_de bigint, p_ate bigint)
returns bigint language plpgsql set search_path = '' as $$
declare
  v_linhas text := format(
    'select e.* from estagio.%1$I e where e.execucao = %2$L and %3$s and not exists (
       select from estagio.excecoes x where x.execucao = %2$L and x.tabela = %1$L and x.lugar = e.lugar)',
    p_tabela, p_execucao, controle.na_fatia('e.id', p_de, p_ate));
  v_gravadas bigint;
begin
  begin
    execute controle.mesclar(p_tabela, v_linhas);
    get diagnostics v_gravadas = row_count;
    return v_gravadas;
  exception when data_exception or integrity_constraint_violation or with_check_option_violation or plpgsql_error
                 or cardinality_violation then
    null;
  end;
  drop table if exists pg_temp.a_gravar;
  execute format('create temporary table a_gravar on commit drop as select row_number() over () as n, e.* from (%s) e',
                 v_linhas);
  get diagnostics v_gravadas = row_count;
  create unique index on pg_temp.a_gravar (n);
  analyze pg_temp.a_gravar;
  return controle.gravar_trecho(p_execucao, p_tabela, 1, v_gravadas);
end
$$;

-- Writes the rows p_de to p_ate of pg_temp.a_gravar, by halves where the server refuses; answers how many were written.
create or replace function controle.gravar_trecho(p_execucao text, p_tabela text, p_de bigint, p_ate bigint)
returns bigint language plpgsql set search_path = '' as $$
declare
  v_gravadas bigint;
  v_detalhe text;
begin
  execute controle.mesclar(p_tabela, format('select * from pg_temp.a_gravar where n between %s and %s', p_de, p_ate));
  get diagnostics v_gravadas = row_count;
  return v_gravadas;
exception when data_exception or integrity_constraint_violation or with_check_option_violation or plpgsql_error
               or cardinality_violation then
  if p_de < p_ate then
    return controle.gravar_trecho(p_execucao, p_tabela, p_de, (p_de + p_ate) / 2)
         + controle.gravar_trecho(p_execucao, p_tabela, (p_de + p_ate) / 2 + 1, p_ate);
  end if;
  get stacked diagnostics v_detalhe = pg_exception_detail;
  insert into estagio.excecoes (execucao, tabela, lugar, chave, destino, motivo)
  select p_execucao, p_tabela, lugar, id, 'rejeitada',
         'o banco de dados recusou a linha: ' || sqlerrm || coalesce(' (' || nullif(v_detalhe, '') || ')', '')
  from pg_temp.a_gravar where n = p_de;
  return 0;
end
$$;

-- The quarantine of one table's slice becomes this snapshot's; what stays keeps its desde.
create or replace function controle.por_em_quarentena(
  p_execucao text, p_snapshot text, p_tabela text, p_repor boolean, p_de bigint, p_ate bigint)
returns void language plpgsql set search_path = '' as $$
begin
  execute format(
    'with recusadas as (
       select distinct on (id) * from (
         select %2$s as id, chave, motivo, linha::jsonb as linha from (
           select case when r.lugar is null then x.chave else r.chave end as chave, x.motivo,
                  coalesce(r.linha, l.linha) as linha
           from estagio.excecoes x
           left join estagio.recusadas r on r.execucao = $1 and r.tabela = %1$L and r.lugar = x.lugar
           left join estagio.linhas l on l.execucao = $1 and l.tabela = %1$L and l.lugar = x.lugar
           where x.execucao = $1 and x.tabela = %1$L and x.destino = ''rejeitada'' and %3$s) t) u
       order by id),
     fora as (
       delete from silver.rejeitados q
       where q.tabela = %1$L and %4$s and not exists (select from recusadas r where r.id = q.id))
     insert into silver.rejeitados as q (id, tabela, chave, motivo, linha, snapshot)
     select id, %1$L, chave, motivo, linha, $2 from recusadas
     on conflict (id) do update set motivo = excluded.motivo, snapshot = excluded.snapshot
     where (q.motivo, q.snapshot) is distinct from (excluded.motivo, excluded.snapshot)',
    p_tabela, controle.id_da_recusa(p_tabela, 'chave', 'linha'), controle.na_fatia('x.chave', p_de, p_ate),
    controle.na_fatia('coalesce(q.chave, q.id)', p_de, p_ate)) using p_execucao, p_snapshot;
  -- The note on a value of a row that left the source stays, because the row stays in silver.
  execute format(
    'with notas as (
       select distinct on (id) * from (
         select pg_catalog.md5(pg_catalog.concat_ws(E''\x1f'', %1$L, v.chave, v.coluna)) as id,
                v.chave, v.coluna, v.valor, v.motivo
         from estagio.valores v
         where v.execucao = $1 and v.tabela = %1$L and %2$s and not exists (
           select from estagio.excecoes x where x.execucao = $1 and x.tabela = %1$L and x.lugar = v.lugar)) t
       order by id),
     fora as (
       delete from silver.valores_rejeitados q
       where q.tabela = %1$L and %3$s and not exists (select from notas n where n.id = q.id)
         and ($3 or q.chave in (
           select id from estagio.%1$I where execucao = $1
           union all select chave from estagio.recusadas where execucao = $1 and tabela = %1$L)))
     insert into silver.valores_rejeitados as q (id, tabela, chave, coluna, valor, motivo, snapshot)
     select id, %1$L, chave, coluna, valor, motivo, $2 from notas
     on conflict (id) do update
       set valor = excluded.valor, motivo = excluded.motivo, snapshot = excluded.snapshot
     where (q.valor, q.motivo, q.snapshot) is distinct from (excluded.valor, excluded.motivo, excluded.snapshot)',
    p_tabela, controle.na_fatia('v.chave', p_de, p_ate), controle.na_fatia('q.chave', p_de, p_ate))
    using p_execucao, p_snapshot, p_repor;
end
$$;

-- The counts once rows are written: gravadas, and with rejeitadas the rows that the server refused. PMD13 if others were
-- written than were to be.
create or replace function controle.conferir_gravadas(
  p_execucao text, p_tabela text, p_contas jsonb, p_gravadas bigint, p_de bigint, p_ate bigint)
returns jsonb language plpgsql stable set search_path = '' as $$
declare
  v_a_gravar bigint := (p_contas ->> 'novas')::bigint + (p_contas ->> 'alteradas')::bigint;
  v_iguais bigint := (p_contas ->> 'iguais')::bigint;
  v_antes bigint := (p_contas ->> 'rejeitadas')::bigint;
  v_rejeitadas bigint;
begin
  if p_gravadas <> v_a_gravar then
    execute format(
      'select count(*) from estagio.excecoes where execucao = $1 and tabela = $2 and destino = ''rejeitada'' and %s',
      controle.na_fatia('chave', p_de, p_ate)) into v_rejeitadas using p_execucao, p_tabela;
    if p_gravadas <> v_a_gravar - (v_rejeitadas - v_antes) then
      raise exception using errcode = 'PMD13', message = format(
        'silver %s: %s rows were written where %s were to be: a trigger on silver.%s keeps rows back',
        p_tabela, p_gravadas, v_a_gravar - (v_rejeitadas - v_antes), p_tabela);
    end if;
  end if;
  return p_contas || jsonb_build_object('gravadas', p_gravadas, 'rejeitadas', coalesce(v_rejeitadas, v_antes));
end
$$;

-- Adds the counts of a call to the ledger's row; with p_encerrar (see silver.aplicar) closes it, and answers {"chave",
-- "situacao", "tabelas": {table: sums}}. Sums are by the names that the ledger's readers know.
create or replace function controle.somar_execucao(
  p_execucao text, p_snapshot text, p_contas jsonb, p_repor boolean, p_encerrar jsonb)
returns jsonb language plpgsql set search_path = '' as $$
declare
  v_somas jsonb;
  v_soma jsonb;
  v_fora jsonb;
  v_tabela text;
  v_chave integer;
begin
  select coalesce(detalhes -> 'parcial', '{}') into v_somas from controle.execucoes where id = p_execucao for update;
  if not found then
    raise exception using errcode = 'PMD13', message = format('the run ledger has no execution %s', p_execucao);
  end if;
  for v_tabela in select jsonb_object_keys(p_contas) loop
    v_soma := coalesce(v_somas -> v_tabela, '{"written": 0, "unchanged": 0, "repeated": 0, "quarantined": 0, "gone_from_source": 0}');
    v_somas := v_somas || jsonb_build_object(v_tabela, jsonb_build_object(
      'written', (v_soma ->> 'written')::bigint + (p_contas -> v_tabela ->> 'gravadas')::bigint,
      'unchanged', (v_soma ->> 'unchanged')::bigint + (p_contas -> v_tabela ->> 'iguais')::bigint,
      'repeated', (v_soma ->> 'repeated')::bigint + (p_contas -> v_tabela ->> 'repetidas')::bigint,
      'quarantined', (v_soma ->> 'quarantined')::bigint + (p_contas -> v_tabela ->> 'rejeitadas')::bigint,
      'gone_from_source', (v_soma ->> 'gone_from_source')::bigint
        + case when p_repor then 0 else (p_contas -> v_tabela ->> 'sumidas')::bigint end));
  end loop;
  if p_encerrar is null then
    update controle.execucoes set detalhes = jsonb_build_object('parcial', v_somas) where id = p_execucao;
    return '{}';
  end if;
  for v_tabela in select jsonb_object_keys(v_somas) loop
    v_soma := v_somas -> v_tabela;
    v_fora := p_encerrar -> 'contas' -> v_tabela;
    v_soma := v_soma || jsonb_build_object(
      'read', (v_fora ->> 'lidas')::bigint,
      'unchanged', (v_soma ->> 'unchanged')::bigint + (v_fora ->> 'inalteradas')::bigint,
      'repeated', (v_soma ->> 'repeated')::bigint + (v_fora ->> 'repetidas')::bigint);
    if (v_soma ->> 'read')::bigint <> (v_soma ->> 'written')::bigint + (v_soma ->> 'unchanged')::bigint
       + (v_soma ->> 'repeated')::bigint + (v_soma ->> 'quarantined')::bigint then
      raise exception using errcode = 'PMD13', message = format(
        'silver %s: %s rows in, but %s written, %s unchanged, %s repeated, %s quarantined', v_tabela, v_soma ->> 'read',
        v_soma ->> 'written', v_soma ->> 'unchanged', v_soma ->> 'repeated', v_soma ->> 'quarantined');
    end if;
    v_somas := v_somas || jsonb_build_object(v_tabela, v_soma);
  end loop;
  with soma as (
    select coalesce(sum((v ->> 'read')::bigint), 0) as lidas, coalesce(sum((v ->> 'written')::bigint), 0) as gravadas,
           coalesce(sum((v ->> 'unchanged')::bigint), 0) as inalteradas,
           coalesce(sum((v ->> 'repeated')::bigint), 0) as repetidas,
           coalesce(sum((v ->> 'quarantined')::bigint), 0) as rejeitadas
    from jsonb_each(v_somas) as t (k, v))
  update controle.execucoes x
     set chave = case when soma.gravadas > 0 or (controle.situacao() ->> 'pendencias')::bigint > 0 then 468 else 357 end,
         terminada_em = clock_timestamp(), snapshot = p_snapshot, linhas_lidas = soma.lidas,
         linhas_gravadas = soma.gravadas, linhas_inalteradas = soma.inalteradas, linhas_repetidas = soma.repetidas,
         linhas_em_quarentena = soma.rejeitadas, erro = null, desfeita_em = null,
         detalhes = jsonb_build_object('rules', p_encerrar -> 'regras', 'tables', v_somas)
    from soma where x.id = p_execucao
    returning chave into v_chave;
  return jsonb_build_object('chave', v_chave, 'tabelas', v_somas, 'situacao', controle.situacao());
end
$$;

-- Locks silver against other writers to the end of the transaction; readers go on. Whoever holds a table is named.
create or replace function controle.travar_silver(p_tabelas text[])
returns void language plpgsql set search_path = '' set lock_timeout = '10s' as $$
declare
  v_tabela text;
  v_quem text;
begin
  foreach v_tabela in array p_tabelas || array['rejeitados', 'valores_rejeitados'] loop
    begin
      execute format('lock table silver.%I in share row exclusive mode', v_tabela);
    exception when lock_not_available then
      select string_agg(format('%s (process %s, since %s)', coalesce(nullif(a.application_name, ''), a.usename), a.pid,
                               to_char(a.xact_start at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"')), ', ')
      into v_quem
      from pg_locks l join pg_stat_activity a on a.pid = l.pid
      where l.relation = format('silver.%I', v_tabela)::regclass and l.granted and a.pid <> pg_backend_pid()
        and l.mode not in ('AccessShareLock', 'RowShareLock');  -- readers are not in the way
      raise lock_not_available using message = format(
        'silver.%s is being written in a transaction that has not ended: %s', v_tabela, coalesce(v_quem, 'nobody now'));
    end;
  end loop;
end
$$;

-- Applies the staged rows of these tables (parents first): answers {"contas": {table: counts}}, and with p_encerrar
-- also {"chave", "situacao", "tabelas"}. p_repor: silver becomes what is staged alone; equal rows are not touched. p_passo: gravar
-- writes, remover removes what a snapshot does not hold (p_repor), null does both. p_de, p_ate: the slice.
-- p_id: the same call again is answered with the first one's answer. If refused rows have no text yet, nothing is
-- written, and the answer is {"sem_linha": {table: places}}.
-- p_encerrar, with the last call: {"regras": ..., "contas": {table: {"lidas", "inalteradas", "repetidas"}}}, the rows
-- read, and of those not staged; the ledger's row is closed with the sums of this call and of those before, which are
-- kept in it; PMD13 if the rows read are not the sum of the others.
create or replace function silver.aplicar(
  p_id uuid, p_dono text, p_execucao text, p_snapshot text, p_tabelas text[], p_encenadas jsonb, p_repor boolean,
  p_passo text default null, p_de bigint default 0, p_ate bigint default 2147483648, p_encerrar jsonb default null)
returns jsonb language plpgsql security definer set search_path = '' set statement_timeout = '45s' as $$
declare
  v_resposta jsonb;
  v_tabela text;
  v_contas jsonb;
  v_todas jsonb := '{}';
  v_gravadas bigint;
  v_sem_linha jsonb := '{}';
  v_lugares jsonb;
begin
  perform controle.exigir(p_dono);
  v_resposta := controle.comecar_escrita(p_id);
  if v_resposta is not null then
    return v_resposta;
  end if;
  perform controle.travar_silver(p_tabelas);
  perform controle.conferir_estagio(p_execucao, p_encenadas);
  begin
    set constraints all immediate;
    if p_repor then  -- what was applied before is no longer what silver holds
      update controle.execucoes set desfeita_em = clock_timestamp()
      where camada = 'silver' and desfeita_em is null and terminada_em is not null;
      update controle.execucoes set desfeita_em = coalesce(desfeita_em, clock_timestamp()) where id = p_execucao;
    end if;
    if p_passo is distinct from 'remover' then
      foreach v_tabela in array p_tabelas loop
        perform controle.separar(p_execucao, v_tabela, p_repor, p_de, p_ate);
        v_contas := controle.contar(p_execucao, v_tabela, p_repor, p_de, p_ate);
        v_gravadas := controle.gravar_fatia(p_execucao, v_tabela, p_de, p_ate);
        execute format('analyze silver.%I', v_tabela);  -- children look for their parents by a plan that knows of them
        v_contas := controle.conferir_gravadas(p_execucao, v_tabela, v_contas, v_gravadas, p_de, p_ate);
        v_lugares := controle.sem_linha(p_execucao, v_tabela, p_de, p_ate);
        if v_lugares <> '[]' then
          v_sem_linha := v_sem_linha || jsonb_build_object(v_tabela, v_lugares);
        else
          perform controle.por_em_quarentena(p_execucao, p_snapshot, v_tabela, p_repor, p_de, p_ate);
        end if;
        v_todas := v_todas || jsonb_build_object(v_tabela, v_contas);
      end loop;
      if v_sem_linha <> '{}' then
        raise exception using errcode = 'PMD12', message = 'rows are refused whose text is not staged';
      end if;
    end if;
    if p_repor and p_passo is distinct from 'gravar' then
      for v_tabela in select t from unnest(p_tabelas) with ordinality as u (t, n) order by n desc loop
        execute format(
          'delete from silver.%1$I s where %2$s and not exists (
             select from estagio.%1$I e where e.execucao = $1 and e.id = s.id and not exists (
               select from estagio.excecoes x where x.execucao = $1 and x.tabela = %1$L and x.lugar = e.lugar))',
          v_tabela, controle.na_fatia('s.id', p_de, p_ate)) using p_execucao;
      end loop;
    end if;
  exception when sqlstate 'PMD12' then
    delete from controle.escritas where id = p_id;
    return jsonb_build_object('sem_linha', v_sem_linha);
  end;
  v_resposta := jsonb_build_object('contas', v_todas) || controle.somar_execucao(
    p_execucao, p_snapshot, v_todas, p_repor, p_encerrar);
  update controle.escritas set resultado = v_resposta where id = p_id;
  return v_resposta;
end
$$;

-- -------------------------------------------------------------------------------------------------------------- gold
create or replace function gold.calcular_analise_clientes_pedidos()
returns table (
  id_cliente text, nome text, cidade text, idade integer, total_pedidos bigint, total_gasto numeric,
  data_primeiro_pedido date, data_ultimo_pedido date, categorias_compradas text, produtos_comprados text)
language sql stable set search_path = '' as $$
  with comprados as (
    select p.id_cliente, p.id_produto, count(*) as pedidos, sum(p.valor_total) as gasto,
           min(p.data_pedido) as primeiro, max(p.data_pedido) as ultimo
    from silver.pedidos p where p.id_cliente is not null group by p.id_cliente, p.id_produto),
  somas as (
    select m.id_cliente, sum(m.pedidos)::bigint as total_pedidos, sum(m.gasto) as total_gasto,
           min(m.primeiro) as primeiro, max(m.ultimo) as ultimo,
           string_agg(distinct r.categoria collate "C", ', ' order by r.categoria collate "C") as categorias,
           string_agg(distinct r.nome_produto collate "C", ', ' order by r.nome_produto collate "C") as produtos
    from comprados m left join silver.produtos r on r.id = m.id_produto group by m.id_cliente)
  select s.id_cliente, c.nome, c.cidade, c.idade, s.total_pedidos, s.total_gasto, s.primeiro, s.ultimo,
         s.categorias, s.produtos
  from somas s left join silver.clientes c on c.id = s.id_cliente
$$;

create or replace function gold.calcular_analise_produtos()
returns table (
  id_produto text, nome_produto text, categoria text, total_vendido bigint, total_receita numeric,
  estoque_atual integer)
language sql stable set search_path = '' as $$
  select s.id_produto, r.nome_produto, r.categoria, s.vendido, s.receita, r.estoque
  from (
    select p.id_produto, sum(p.quantidade)::bigint as vendido, sum(p.valor_total) as receita
    from silver.pedidos p where p.id_produto is not null group by p.id_produto) s
  left join silver.produtos r on r.id = s.id_produto
$$;

-- Computes one analysis whole, and writes only the rows that differ: {"read", "written", "unchanged", ...}.
create or replace function controle.recalcular_analise(p_analise text)
returns jsonb language plpgsql set search_path = '' as $$
declare
  v_versoes jsonb;
  v_chave text;
  v_colunas text[];
  v_calculadas bigint;
  v_gravadas bigint;
  v_removidas bigint;
begin
  -- Before the rows are read: a change that is committed meanwhile costs one computation more.
  select controle.versoes(entradas) into v_versoes from controle.analises where analise = p_analise;
  select array_agg(a.attname::text order by a.attnum), min(a.attname::text) filter (where a.attnum = i.indkey[0])
  into v_colunas, v_chave
  from pg_attribute a
  join pg_index i on i.indrelid = a.attrelid and i.indisprimary
  where a.attrelid = format('gold.%I', p_analise)::regclass and a.attnum > 0 and not a.attisdropped;
  drop table if exists pg_temp.calculada;
  execute format('create temporary table calculada on commit drop as select * from gold.%I()', 'calcular_' || p_analise);
  get diagnostics v_calculadas = row_count;
  analyze pg_temp.calculada;
  execute format('delete from gold.%1$I g where not exists (select from pg_temp.calculada n where n.%2$I = g.%2$I)',
                 p_analise, v_chave);
  get diagnostics v_removidas = row_count;
  execute (
    select format(
      'merge into gold.%1$I as g using pg_temp.calculada n on g.%2$I = n.%2$I
       when matched and (%3$s) is distinct from (%4$s) then update set %5$s
       when not matched then insert (%6$s) values (%4$s)',
      p_analise, v_chave, string_agg(format('g.%I', c), ', '), string_agg(format('n.%I', c), ', '),
      string_agg(format('%1$I = n.%1$I', c), ', ') filter (where c <> v_chave), string_agg(format('%I', c), ', '))
    from unnest(v_colunas) as c);
  get diagnostics v_gravadas = row_count;
  drop table pg_temp.calculada;
  execute format('analyze gold.%I', p_analise);
  update controle.analises set versoes = v_versoes, calculada_em = clock_timestamp() where analise = p_analise;
  return jsonb_build_object(
    'read', v_calculadas + v_removidas, 'written', v_gravadas + v_removidas, 'unchanged', v_calculadas - v_gravadas,
    'repeated', 0, 'quarantined', 0);
end
$$;

-- Computes the analyses that are due, and closes the ledger's row; all of it or nothing. Answers {"chave", "analises":
-- {analysis: counts}, "situacao"}. p_id: the same call again is answered with the first one's answer.
create or replace function gold.recalcular(p_id uuid, p_dono text, p_execucao text)
returns jsonb language plpgsql security definer set search_path = '' set statement_timeout = '45s' as $$
declare
  v_resposta jsonb;
  v_analise text;
  v_contas jsonb := '{}';
  v_lidas bigint;
  v_gravadas bigint;
  v_chave integer;
begin
  perform controle.exigir(p_dono);
  v_resposta := controle.comecar_escrita(p_id);
  if v_resposta is not null then
    return v_resposta;
  end if;
  lock table controle.analises in share row exclusive mode;
  for v_analise in
    select analise from controle.analises where versoes is distinct from controle.versoes(entradas) order by analise
  loop
    v_contas := v_contas || jsonb_build_object(v_analise, controle.recalcular_analise(v_analise));
  end loop;
  select coalesce(sum((c ->> 'read')::bigint), 0), coalesce(sum((c ->> 'written')::bigint), 0)
  into v_lidas, v_gravadas from jsonb_each(v_contas) as t (a, c);
  v_chave := case when v_gravadas > 0 then 680 else 579 end;
  update controle.execucoes
     set chave = v_chave, terminada_em = clock_timestamp(), snapshot = controle.situacao() ->> 'snapshot',
         linhas_lidas = v_lidas, linhas_gravadas = v_gravadas, linhas_inalteradas = v_lidas - v_gravadas,
         linhas_repetidas = 0, linhas_em_quarentena = 0, erro = null, desfeita_em = null, detalhes = v_contas
   where id = p_execucao;
  v_resposta := jsonb_build_object('chave', v_chave, 'analises', v_contas, 'situacao', controle.situacao());
  update controle.escritas set resultado = v_resposta where id = p_id;
  return v_resposta;
end
$$;

grant usage on schema silver, gold to service_role;
revoke execute on all functions in schema silver, gold, controle from public, anon, authenticated;
grant execute on all functions in schema silver, gold, controle to service_role;

insert into controle.migracoes (versao) values ('20261126000030_estagio') on conflict (versao) do nothing;
