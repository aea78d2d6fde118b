-- A table of the shop is one file of the program, and here one `create table silver.x (...)` and one call after it.

-- Makes of silver.<p_tabela>, whose key is id, a table as the others are: the stamp and its trigger, an index for each
-- parent, row-level security without a policy, the pipeline's grants and nobody else's, comments where there are none,
-- its staging twin and the triggers that tell its version.
-- For the owner of the table, in a migration, as often as one likes: whoever else calls it has not the right to do this.
create or replace function controle.declarar_tabela(p_tabela text)
returns void language plpgsql set search_path = '' as $$
declare
  v_tabela oid := (
    select c.oid from pg_class c
    where c.relnamespace = 'silver'::regnamespace and c.relname = p_tabela and c.relkind = 'r');
  v_carimbo record;
  v_coluna name;
begin
  if v_tabela is null then
    raise undefined_table using
      message = format('there is no table silver.%I', p_tabela),
      hint = 'Call it after create table silver.…, with the name alone: controle.declarar_tabela(''lojas'').';
  end if;
  if not exists (
    select from pg_index i join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
    where i.indrelid = v_tabela and i.indisprimary and i.indnkeyatts = 1
      and a.attname = 'id' and a.atttypid = 'text'::regtype)
  then
    raise invalid_table_definition using
      message = format('the primary key of silver.%I is not a column id of the type text', p_tabela),
      hint = 'Begin it with: id text collate "C" primary key';
  end if;

  -- The stamp; one that was made without a time zone, as the specification's first tables had it, is in UTC.
  execute format('alter table silver.%I add column if not exists data_ingestao timestamptz', p_tabela);
  select a.atttypid = 'timestamp'::regtype as sem_fuso, not a.attnotnull as pode_faltar, d.oid is null as sem_valor
  into v_carimbo
  from pg_attribute a left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
  where a.attrelid = v_tabela and a.attname = 'data_ingestao';
  if v_carimbo.sem_fuso then
    execute format(
      'alter table silver.%I alter column data_ingestao type timestamptz using data_ingestao at time zone ''UTC''',
      p_tabela);
  end if;
  if v_carimbo.sem_valor then
    execute format('alter table silver.%I alter column data_ingestao set default now()', p_tabela);
  end if;
  if v_carimbo.pode_faltar then
    execute format('update silver.%I set data_ingestao = now() where data_ingestao is null', p_tabela);
    execute format('alter table silver.%I alter column data_ingestao set not null', p_tabela);
  end if;
  execute format(
    'create or replace trigger carimbar before update on silver.%I for each row execute function silver.carimbar()',
    p_tabela);

  -- What leaves a parent is looked for here: without an index, in the whole table for each row.
  for v_coluna in
    select a.attname
    from pg_constraint f join pg_attribute a on a.attrelid = f.conrelid and a.attnum = f.conkey[1]
    where f.conrelid = v_tabela and f.contype = 'f' and cardinality(f.conkey) = 1
      and not exists (
        select from pg_index i
        where i.indrelid = v_tabela and i.indkey[0] = a.attnum and i.indpred is null and i.indisvalid)
    order by a.attnum
  loop
    execute format('create index on silver.%I (%I)', p_tabela, v_coluna);
  end loop;

  execute format('alter table silver.%I enable row level security', p_tabela);
  execute format('revoke all on silver.%I from public, anon, authenticated', p_tabela);
  execute format('grant select, insert, update, delete on silver.%I to service_role', p_tabela);

  if obj_description(v_tabela, 'pg_class') is null then
    execute format(
      'comment on table silver.%I is ''A table of the shop, clean. The pipeline writes it.''', p_tabela);
  end if;
  if col_description(v_tabela, (
    select attnum from pg_attribute where attrelid = v_tabela and attname = 'data_ingestao')) is null
  then
    execute format('comment on column silver.%I.data_ingestao is ''When the row last changed.''', p_tabela);
  end if;

  perform controle.preparar_tabela(p_tabela);
end
$$;

select controle.declarar_tabela(tabela) from unnest(array['clientes', 'produtos', 'pedidos']) as tabela;

revoke execute on all functions in schema controle from public, anon, authenticated;
grant execute on all functions in schema controle to service_role;

insert into controle.migracoes (versao) values ('20261126000050_tabelas') on conflict (versao) do nothing;
