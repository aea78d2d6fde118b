-- Operations: rebuilding silver from one snapshot (medallion replay), and how much space is used (medallion status).

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

create or replace function controle.tamanho_do_banco()
returns bigint language sql stable security definer set search_path = '' as $$
  select pg_catalog.pg_database_size(pg_catalog.current_database())
$$;

revoke execute on all functions in schema controle from public;
grant execute on all functions in schema controle to service_role;

insert into controle.migracoes (versao) values ('20260101000600_operacoes') on conflict (versao) do nothing;
