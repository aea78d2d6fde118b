-- Gives gold (the analyses, with customers' names, cities and ages) to every signed-in user of the project, to read.
--
-- On Supabase anybody may sign up by e-mail. Switch that off first, unless you mean it: in the dashboard,
-- Authentication → Sign In / Providers → "Allow new users to sign up".
-- `medallion check` then says that gold is open on purpose; it knows the policy by its name, gold_aberta. For fewer
-- people, change the policy's condition and keep its name. supabase/close-gold.sql takes all of it back.

do $$
declare
  t record;
begin
  grant usage on schema gold to authenticated;
  for t in select tablename from pg_tables where schemaname = 'gold' loop
    execute format('alter table gold.%I enable row level security', t.tablename);
    execute format('grant select on gold.%I to authenticated', t.tablename);
    execute format('drop policy if exists gold_aberta on gold.%I', t.tablename);
    execute format('create policy gold_aberta on gold.%I for select to authenticated using (true)', t.tablename);
  end loop;
end
$$;
