-- Roles and schemas. A hosted Supabase project already has the three roles; a plain PostgreSQL gets them here.
-- Every migration can be run twice.

do $$
begin
  if not exists (select from pg_roles where rolname = 'anon') then
    create role anon nologin noinherit;
  end if;
  if not exists (select from pg_roles where rolname = 'authenticated') then
    create role authenticated nologin noinherit;
  end if;
  if not exists (select from pg_roles where rolname = 'service_role') then
    create role service_role nologin noinherit bypassrls;
  end if;
end
$$;

create schema if not exists silver;
create schema if not exists gold;
create schema if not exists controle;

comment on schema silver is 'Clean relational tables, and the quarantine.';
comment on schema gold is 'Analysis tables, recomputed from silver.';
comment on schema controle is 'The pipeline''s own state: run ledger, lease, pending recomputations, migrations.';

-- The pipeline writes as service_role; authenticated people read gold; anon sees nothing.
grant usage on schema silver, gold, controle to service_role;
grant usage on schema gold to authenticated;

-- Which of these files this database has. Each ends by recording itself, so that it counts however it was applied:
-- by `medallion init`, by `supabase db push`, or pasted in the SQL editor.
create table if not exists controle.migracoes (
  versao text primary key,
  aplicada_em timestamptz not null default now()
);

insert into controle.migracoes (versao) values ('20260101000000_papeis_e_schemas') on conflict (versao) do nothing;
