-- Takes back everything that supabase/open-demo.sql gives: the grants and every policy.

do $$
declare
  p record;
begin
  for p in select schemaname, tablename from pg_policies where policyname = 'demonstracao_aberta' loop
    execute format('drop policy demonstracao_aberta on %I.%I', p.schemaname, p.tablename);
  end loop;
end
$$;

revoke all on all tables in schema silver, gold, controle, estagio from anon;
revoke all on all routines in schema silver, gold, controle from anon;
revoke usage on schema silver, gold, controle, estagio from anon;
