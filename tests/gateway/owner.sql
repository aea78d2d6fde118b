-- Who a hosted project belongs to: the role of the dashboard's SQL Editor and of the connection string. There it is called
-- postgres; here that is the superuser's name. It is no superuser, has no right to change Storage's tables, and may make
-- and drop policies on them all the same: an extension of Supabase lets it.
-- Sources: https://supabase.com/docs/guides/database/postgres/roles-superuser,
-- https://github.com/supabase/supautils (policy_grants), https://github.com/supabase/storage/pull/806 (its grants)
do $$
begin
  if not exists (select from pg_roles where rolname = 'hosted_postgres') then
    create role hosted_postgres login nosuperuser createdb createrole bypassrls;
    grant anon, authenticated, service_role to hosted_postgres with admin option;
  end if;
  execute format('alter database %I owner to hosted_postgres', current_database());
end
$$;
alter schema public owner to hosted_postgres;
do $$
declare
  thing text;
begin
  for thing in
    select format('schema %I', nspname) from pg_namespace where nspname in ('silver', 'gold', 'controle', 'estagio')
    union all
    select format('table %I.%I', schemaname, tablename) from pg_tables where schemaname in ('silver', 'gold', 'controle', 'estagio')
    union all
    select format('routine %s', oid::regprocedure) from pg_proc
    where pronamespace in (select oid from pg_namespace where nspname in ('silver', 'gold', 'controle', 'estagio'))
  loop
    execute format('alter %s owner to hosted_postgres', thing);
  end loop;
end
$$;
grant usage on schema auth, storage to hosted_postgres;
grant all on storage.buckets, storage.objects to hosted_postgres with grant option;

-- As the owner of Storage's tables it may have policies; whatever else an owner may is refused as to others.
grant supabase_storage_admin to hosted_postgres;
create or replace function public.only_policies() returns event_trigger language plpgsql as $$
begin
  if exists (
    select from pg_event_trigger_ddl_commands()
    where schema_name = 'storage' and command_tag !~ 'POLICY$' or object_identity ~ ' on storage\.' and command_tag = 'COMMENT'
  ) and not (select rolsuper from pg_roles where rolname = current_user) then
    raise insufficient_privilege using message = 'must be owner of table objects';
  end if;
end
$$;
drop event trigger if exists only_policies;
create event trigger only_policies on ddl_command_end execute function public.only_policies();
