-- Nobody but the pipeline gets in. On Supabase `anon` is whoever has the project's public key, and `authenticated` is
-- everybody who signs up, which anybody may do by e-mail: neither gets anything here unless the owner opens it on
-- purpose (supabase/open-gold.sql, supabase/open-demo.sql). Running this file again closes what those have opened.

-- Our own grant of gold to every signed-in user, and what open-demo.sql leaves when only its grants are taken back.
do $$
declare
  p record;
begin
  for p in
    select schemaname, tablename, policyname from pg_policies
    where schemaname in ('silver', 'gold', 'controle', 'storage')
      and policyname in ('leitura_autenticada', 'gold_aberta', 'demonstracao_aberta')
  loop
    execute format('drop policy %I on %I.%I', p.policyname, p.schemaname, p.tablename);
  end loop;
end
$$;

-- What older set-ups granted, to tables of today and (as Supabase's guide for schemas of one's own does) of tomorrow.
revoke all on all tables in schema silver, gold, controle from public, anon, authenticated;
revoke all on all sequences in schema silver, gold, controle from public, anon, authenticated;
revoke all on all routines in schema silver, gold, controle from public, anon, authenticated;
revoke all on schema silver, gold, controle from public, anon, authenticated;
alter default privileges in schema silver, gold, controle revoke all on tables from public, anon, authenticated;
alter default privileges in schema silver, gold, controle revoke all on sequences from public, anon, authenticated;
alter default privileges in schema silver, gold, controle revoke all on routines from public, anon, authenticated;

-- The project's buckets that are not bronze's. One that is called bronze-bucket and holds nothing was made by our own
-- migration and is nobody's.
create or replace function controle.outros_buckets(p_bucket text)
returns text[] language plpgsql stable set search_path = '' as $$
begin
  return array(
    select b.id from storage.buckets b
    where b.id <> p_bucket
      and not (b.id = 'bronze-bucket' and not exists (select from storage.objects o where o.bucket_id = b.id))
    order by b.id);
end
$$;

-- Makes bronze's bucket, and removes the policies on storage.objects that this project's specification had people make,
-- known by name and by definition; only where no other bucket may live by them. Answers the names of those removed.
-- For the owner of the database: whoever else calls it has not the right to do what it does.
create or replace function controle.preparar_bucket(p_bucket text)
returns text[] language plpgsql set search_path = '' as $$
declare
  v_nome text;
  v_removidas text[] := '{}';
begin
  if to_regclass('storage.buckets') is null then
    return v_removidas;
  end if;
  insert into storage.buckets (id, name, public) values (p_bucket, p_bucket, false) on conflict do nothing;
  if controle.outros_buckets(p_bucket) <> '{}' then
    return v_removidas;
  end if;
  for v_nome in
    select p.policyname
    from pg_policies p
    join (values
      ('Acesso Total', 'ALL', 'true', null),
      ('objects_select_policy', 'SELECT', '(auth.role() = ''authenticated''::text)', null),
      ('objects_insert_policy', 'INSERT', null, '(auth.role() = ''authenticated''::text)'),
      ('objects_update_policy', 'UPDATE', '(auth.role() = ''authenticated''::text)', null),
      ('objects_delete_policy', 'DELETE', '(auth.role() = ''authenticated''::text)', null)
    ) as e (nome, comando, usando, verificando)
      on e.nome = p.policyname and e.comando = p.cmd
      and e.usando is not distinct from p.qual and e.verificando is not distinct from p.with_check
    where p.schemaname = 'storage' and p.tablename = 'objects' and p.permissive = 'PERMISSIVE' and p.roles = '{public}'
    order by p.policyname
  loop
    execute format('drop policy %I on storage.objects', v_nome);
    v_removidas := v_removidas || v_nome;
  end loop;
  return v_removidas;
end
$$;

-- What anon and authenticated can read or write of the lakehouse's data, whoever made that possible: privileges as
-- PostgreSQL counts them (to PUBLIC, to a column, through a role that is inherited), row-level security where it is on,
-- and views wherever they are, with the rights of their owners. Storage's own grants open nothing without a policy.
-- p_bucket: bronze's bucket, null if bronze is elsewhere.
-- Answers {"direitos": [{quem, objeto, comando, via, por, dono, protegido, livre, politicas}], "funcoes": [{quem,
-- funcao, por}], "bucket_publico": boolean or null, "outros_buckets": [id]}. direitos: quem may do comando to objeto,
-- through the view via (null: directly), by what was granted to por (dono: the owner), whatever policies say (livre;
-- protegido: row-level security is on), or as politicas, [{nome, permissiva, condicao}], let it; whether a condition
-- holds is for the reader to tell. funcoes: those that run with their owner's rights.
create or replace function controle.aberturas(p_bucket text)
returns jsonb language plpgsql stable security definer set search_path = '' as $$
declare
  v_direitos jsonb;
  v_funcoes jsonb;
  v_publico boolean;
  v_outros jsonb := '[]';
begin
  with recursive papeis as (
    select oid as papel, rolname as quem from pg_roles where rolname in ('anon', 'authenticated')),
  comandos (comando, letra, bit) as (
    values ('SELECT', 'r', null), ('INSERT', 'a', 8), ('UPDATE', 'w', 4), ('DELETE', 'd', 16), ('TRUNCATE', '-', null)),
  relacoes as (
    select c.oid, n.nspname, n.oid as esquema, c.relkind, c.relowner as dono, c.relrowsecurity, c.relforcerowsecurity,
           format('%I.%I', n.nspname, c.relname) as nome, c.relacl,
           c.relkind in ('r', 'p', 'f', 'm') and (n.nspname in ('silver', 'gold', 'controle')
             or p_bucket is not null and n.nspname = 'storage' and c.relname in ('objects', 'buckets')) as alvo,
           c.relkind = 'v' and coalesce((
             select option_value::boolean from pg_options_to_table(c.reloptions)
             where option_name = 'security_invoker'), false) as de_quem_chama
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p', 'f', 'm', 'v') and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'),
  -- Where each role gets in: a table, or a view.
  portas as (
    select p.papel, p.quem, r.oid as porta, k.comando
    from papeis p cross join comandos k cross join relacoes r
    where (r.alvo or r.relkind in ('v', 'm'))
      and has_schema_privilege(p.papel, r.esquema, 'usage')
      and case when k.comando in ('DELETE', 'TRUNCATE') then has_table_privilege(p.papel, r.oid, k.comando)
               else has_any_column_privilege(p.papel, r.oid, k.comando) end
      and (r.alvo or k.comando = 'SELECT' or pg_relation_is_updatable(r.oid, false) & k.bit <> 0)),
  -- From there on through views on views; como: the role whose rights count for what `aqui` reads.
  caminhos as (
    select a.papel, a.quem, a.porta, a.comando, a.porta as aqui,
           case when r.alvo or r.de_quem_chama then a.papel else r.dono end as como
    from portas a join relacoes r on r.oid = a.porta
    union
    select c.papel, c.quem, c.porta, c.comando, r.oid,
           case when r.relkind not in ('v', 'm') or r.alvo or r.de_quem_chama then c.como else r.dono end
    from caminhos c
    join relacoes v on v.oid = c.aqui and v.relkind in ('v', 'm') and not v.alvo
    join pg_rewrite w on w.ev_class = v.oid
    join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = w.oid
      and d.refclassid = 'pg_class'::regclass and d.refobjid <> v.oid
    join relacoes r on r.oid = d.refobjid
    where case when c.comando in ('DELETE', 'TRUNCATE') then has_table_privilege(c.como, r.oid, c.comando)
               else has_any_column_privilege(c.como, r.oid, c.comando) end),
  chegadas as (
    select c.papel, c.quem, c.comando, c.como, r.oid, r.nome as objeto, r.relrowsecurity as protegido,
           case when c.porta <> c.aqui then porta.nome end as via, porta.oid as porta, porta.relacl, porta.dono,
           not r.relrowsecurity or c.comando = 'TRUNCATE' or e.rolsuper or e.rolbypassrls
             or not r.relforcerowsecurity and pg_has_role(c.como, r.dono, 'usage') as livre
    from caminhos c
    join relacoes r on r.oid = c.aqui and r.alvo
    join relacoes porta on porta.oid = c.porta
    join pg_roles e on e.oid = c.como
    where case r.nspname when 'storage' then
            -- Not ours: grants alone; what changes no object; a view on the objects of other buckets.
            c.comando <> 'TRUNCATE' and (r.nome = 'storage.objects' or c.comando in ('UPDATE', 'DELETE'))
            and (c.porta = c.aqui or pg_get_viewdef(c.porta) !~ 'WHERE.*bucket_id'
                 or position(quote_literal(p_bucket) in pg_get_viewdef(c.porta)) > 0)
          else c.porta = c.aqui or c.como <> c.papel or not has_schema_privilege(c.papel, r.esquema, 'usage') end)
  select coalesce(jsonb_agg(jsonb_build_object(
      'quem', c.quem, 'objeto', c.objeto, 'comando', c.comando, 'via', c.via, 'por', g.por,
      'dono', pg_get_userbyid(c.dono), 'protegido', c.protegido, 'livre', c.livre,
      'politicas', coalesce(s.politicas, '[]'))
    order by c.objeto, c.via, c.quem, c.comando), '[]')
  into v_direitos
  from chegadas c
  cross join lateral (
    select jsonb_agg(distinct nome) as por from (
      select case grantee when 0 then 'public' else pg_get_userbyid(grantee) end as nome
      from (
        select grantee, privilege_type from aclexplode(c.relacl)
        union all
        select x.grantee, x.privilege_type
        from pg_attribute a cross join lateral aclexplode(a.attacl) x where a.attrelid = c.porta) x
      where privilege_type = c.comando and (grantee = 0 or pg_has_role(c.papel, grantee, 'usage'))
      union all
      select rolname from pg_roles
      where (oid = c.dono or rolname in ('pg_read_all_data', 'pg_write_all_data'))
        and pg_has_role(c.papel, oid, 'usage')
    ) nomes) g
  left join lateral (
    select jsonb_agg(jsonb_build_object(
        'nome', p.polname, 'permissiva', p.polpermissive,
        'condicao', coalesce(  -- without one, a permissive policy lets nothing through, a restrictive one everything
          pg_get_expr(case c.comando when 'INSERT' then coalesce(p.polwithcheck, p.polqual) else p.polqual end, c.oid),
          (not p.polpermissive)::text)) order by p.polname) as politicas,
      bool_or(p.polpermissive) as alguma
    from pg_policy p join comandos k on k.comando = c.comando
    where not c.livre and p.polrelid = c.oid and p.polcmd in ('*', k.letra)
      and exists (select from unnest(p.polroles) as r (oid) where r.oid = 0 or pg_has_role(c.como, r.oid, 'usage'))
  ) s on true
  where c.livre or s.alguma;

  select coalesce(jsonb_agg(jsonb_build_object('quem', r.rolname, 'funcao', f.oid::regprocedure, 'por', g.por)
                            order by f.oid::regprocedure::text, r.rolname), '[]')
  into v_funcoes
  from pg_proc f
  join pg_namespace n on n.oid = f.pronamespace and n.nspname in ('silver', 'gold', 'controle')
  join pg_roles r on r.rolname in ('anon', 'authenticated')
  cross join lateral (
    select jsonb_agg(distinct case grantee when 0 then 'public' else pg_get_userbyid(grantee) end) as por
    from aclexplode(coalesce(f.proacl, acldefault('f', f.proowner)))
    where grantee = 0 or pg_has_role(r.oid, grantee, 'usage')) g
  where f.prosecdef and f.prorettype not in ('trigger'::regtype, 'event_trigger'::regtype)
    and has_schema_privilege(r.oid, n.oid, 'usage') and has_function_privilege(r.oid, f.oid, 'execute');

  if p_bucket is not null and to_regclass('storage.buckets') is not null then
    select b.public into v_publico from storage.buckets b where b.id = p_bucket;
    v_outros := to_jsonb(controle.outros_buckets(p_bucket));
  end if;
  return jsonb_build_object(
    'direitos', v_direitos, 'funcoes', v_funcoes, 'bucket_publico', v_publico, 'outros_buckets', v_outros);
end
$$;

revoke execute on all functions in schema controle from public, anon, authenticated;
grant execute on all functions in schema controle to service_role;

insert into controle.migracoes (versao) values ('20261125000100_acesso') on conflict (versao) do nothing;
