-- Operations: rebuilding silver from one snapshot (medallion replay), and how much space is used (medallion status).

alter table controle.execucoes add column if not exists desfeita_em timestamptz;
comment on column controle.execucoes.desfeita_em is
  'When silver was emptied, so that what this execution had written is gone; null while it stands.';

-- Empties silver and its quarantine, and forgets which snapshots were applied; all of it or nothing. A trigger marks
-- every row of gold for recomputation. Executions that are open are marked too: closing one in success clears its mark.
create or replace function controle.esvaziar_silver(p_tabelas text[])
returns void language plpgsql security definer set search_path = '' as $$
begin
  execute (
    select 'truncate ' || string_agg(format('silver.%I', tabela), ', ')
    from unnest(p_tabelas || array['rejeitados', 'valores_rejeitados']) as tabela);
  update controle.execucoes set desfeita_em = clock_timestamp() where camada = 'silver' and desfeita_em is null;
end
$$;

create or replace function controle.fechar_execucao(
  p_id text, p_chave integer, p_snapshot text, p_lidas bigint, p_gravadas bigint, p_inalteradas bigint,
  p_repetidas bigint, p_em_quarentena bigint, p_erro text, p_detalhes jsonb)
returns void language sql set search_path = '' as $$
  update controle.execucoes
     set chave = p_chave, terminada_em = clock_timestamp(), snapshot = coalesce(p_snapshot, snapshot),
         linhas_lidas = p_lidas, linhas_gravadas = p_gravadas, linhas_inalteradas = p_inalteradas,
         linhas_repetidas = p_repetidas, linhas_em_quarentena = p_em_quarentena, erro = p_erro,
         detalhes = coalesce(p_detalhes, '{}'), desfeita_em = case when p_erro is null then null else desfeita_em end
   where id = p_id
$$;

-- The newest snapshot that silver applied to the end since it was last emptied; null if there is none.
create or replace function controle.ultimo_snapshot_aplicado()
returns text language sql stable set search_path = '' as $$
  select max(snapshot collate "C") from controle.execucoes
  where camada = 'silver' and terminada_em is not null and erro is null and desfeita_em is null
$$;

-- The version of the cleaning rules under which silver last applied a snapshot; null if there is none.
create or replace function controle.regras_aplicadas()
returns text language sql stable set search_path = '' as $$
  select detalhes ->> 'rules' from controle.execucoes
  where camada = 'silver' and terminada_em is not null and erro is null and desfeita_em is null and detalhes ? 'rules'
  order by terminada_em desc limit 1
$$;

-- Whether silver was emptied and no snapshot has been applied to the end since: a replay that died.
create or replace function controle.reconstrucao_inacabada()
returns boolean language sql stable set search_path = '' as $$
  select controle.ultimo_snapshot_aplicado() is null
     and exists (select from controle.execucoes where camada = 'silver' and desfeita_em is not null)
$$;

create or replace function controle.tamanho_do_banco()
returns bigint language sql stable security definer set search_path = '' as $$
  select pg_catalog.pg_database_size(pg_catalog.current_database())
$$;

revoke execute on all functions in schema controle from public;
grant execute on all functions in schema controle to service_role;

insert into controle.migracoes (versao) values ('20260101000600_operacoes') on conflict (versao) do nothing;
