-- The server's release (medallion status, medallion check), as a number: 180006 is 18.6.
create or replace function controle.versao_do_servidor()
returns integer language sql stable set search_path = '' as $$
  select pg_catalog.current_setting('server_version_num')::integer
$$;

revoke execute on function controle.versao_do_servidor() from public;
grant execute on function controle.versao_do_servidor() to service_role;

insert into controle.migracoes (versao) values ('20261125001000_versao_do_servidor') on conflict (versao) do nothing;
