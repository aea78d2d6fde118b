-- Reading through the HTTP API: a function that answers one value. A plain read is cut at the project's max rows, has its
-- filter in the URL, and repeats every column's name in every row; the answer of a function that returns no set is one
-- row to that cap, and its arguments travel in the body.

-- Rows in the order of the key, after the key p_depois: at most p_linhas, so that fewer mean the end. p_filtro: only rows
-- whose column p_filtro is one of p_valores. Answers {"coluna": [value as text or null, ...], ...}.
create or replace function controle.ler(
  p_tabela text, p_colunas text[], p_chave text, p_depois text, p_linhas integer,
  p_filtro text default null, p_valores text[] default null)
returns json language plpgsql stable set search_path = '' as $$
declare
  v_resultado json;
begin
  execute (
    select format(
      'select json_build_object(%s) from (select %s from %s where %s and %s order by %I limit $2) as linhas',
      string_agg(format('%L, coalesce(json_agg(c%s), ''[]'')', nome, n), ', ' order by n),
      string_agg(format('%I::text as c%s', nome, n), ', ' order by n),
      p_tabela::regclass,
      case when p_depois is null then 'true' else format('%I > %L', p_chave, p_depois) end,
      case when p_filtro is null then 'true' else format('%I = any ($1)', p_filtro) end,
      p_chave)
    from unnest(p_colunas) with ordinality as colunas (nome, n))
  into v_resultado using p_valores, p_linhas;
  return v_resultado;
end
$$;

revoke execute on all functions in schema controle from public, anon, authenticated;
grant execute on all functions in schema controle to service_role;

insert into controle.migracoes (versao) values ('20260101000700_leituras') on conflict (versao) do nothing;
