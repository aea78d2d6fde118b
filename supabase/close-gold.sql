-- Takes back everything that supabase/open-gold.sql gives.

do $$
declare
  t record;
begin
  for t in select tablename from pg_tables where schemaname = 'gold' loop
    execute format('drop policy if exists gold_aberta on gold.%I', t.tablename);
    execute format('revoke select on gold.%I from authenticated', t.tablename);
  end loop;
  revoke usage on schema gold from authenticated;
end
$$;
