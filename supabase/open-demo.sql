-- WARNING: this opens the lakehouse to the whole internet.
--
-- The first version of this project let anyone who holds the project's public (anon) key read AND write every table.
-- That is convenient in a class-room and wrong anywhere else: customers' names, e-mails and telephones become public,
-- and anybody can change or delete them. Run this file only on a project that holds made-up data.
-- To close it again, run the revoke statements at the end.

grant usage on schema silver, gold to anon;
grant select, insert, update, delete on all tables in schema silver, gold to anon;

do $$
declare
  t record;
begin
  for t in select schemaname, tablename from pg_tables where schemaname in ('silver', 'gold') loop
    execute format('drop policy if exists demonstracao_aberta on %I.%I', t.schemaname, t.tablename);
    execute format('create policy demonstracao_aberta on %I.%I for all to anon using (true) with check (true)', t.schemaname, t.tablename);
  end loop;
end
$$;

-- To close it again:
--   revoke all on all tables in schema silver, gold from anon;
--   revoke usage on schema silver, gold from anon;
