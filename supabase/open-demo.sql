-- WARNING: this opens the lakehouse to the whole internet.
--
-- The first version of this project let anyone who holds the project's public (anon) key read AND write every table.
-- That is convenient in a class-room and wrong anywhere else: customers' names, e-mails and telephones become public,
-- and anybody can change or delete them. Run this file only on a project that holds made-up data.
-- After it the pipeline accepts a publishable (anon) key as LAKEHOUSE_KEY. An upgrade closes it: run this file again.
-- supabase/close-demo.sql takes all of it back.

grant usage on schema silver, gold, controle, estagio to anon;
grant select, insert, update, delete on all tables in schema silver, gold, controle, estagio to anon;
grant execute on all functions in schema silver, gold, controle to anon;

do $$
declare
  t record;
begin
  for t in select schemaname, tablename from pg_tables where schemaname in ('silver', 'gold', 'controle', 'estagio') loop
    execute format('drop policy if exists demonstracao_aberta on %I.%I', t.schemaname, t.tablename);
    execute format('create policy demonstracao_aberta on %I.%I for all to anon using (true) with check (true)', t.schemaname, t.tablename);
  end loop;
  if to_regclass('storage.objects') is not null then
    drop policy if exists bronze_fechado on storage.objects;
    drop policy if exists bronze_fechado on storage.buckets;
    drop policy if exists demonstracao_aberta on storage.objects;
    create policy demonstracao_aberta on storage.objects for all to anon
      using (bucket_id = 'bronze-bucket') with check (bucket_id = 'bronze-bucket');
    drop policy if exists demonstracao_aberta on storage.buckets;
    create policy demonstracao_aberta on storage.buckets for select to anon using (id = 'bronze-bucket');
  end if;
end
$$;
