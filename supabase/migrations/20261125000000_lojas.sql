-- One lakehouse, one shop: which one it is, and a reset that gives it to another.

-- The identities of the lakehouse's shop: what its sources are, not how they are reached, and no secret. More than one
-- if its owner has declared that the shop has moved (medallion run --new-source).
create table if not exists controle.lojas (
  identidade text primary key,
  posicao integer not null,
  nomeada_em timestamptz not null default clock_timestamp()
);

-- When silver and gold were emptied for another shop (medallion reset).
create table if not exists controle.reinicios (
  em timestamptz primary key default clock_timestamp()
);

alter table controle.lojas enable row level security;
alter table controle.reinicios enable row level security;

-- From now on the lakehouse is that of the shop with these identities, and no others.
create or replace function controle.nomear_loja(p_identidades text[])
returns void language sql set search_path = '' as $$
  delete from controle.lojas where identidade <> all (p_identidades);
  insert into controle.lojas (identidade, posicao)
  select identidade, posicao from unnest(p_identidades) with ordinality as nomes (identidade, posicao)
  on conflict (identidade) do update set posicao = excluded.posicao
$$;

-- Empties silver, its quarantine and gold, and forgets which shop they were of; all of it or nothing.
create or replace function controle.reiniciar(p_tabelas text[], p_analises text[])
returns void language plpgsql security definer set search_path = '' as $$
begin
  perform controle.esvaziar_silver(p_tabelas);
  execute (select 'truncate ' || string_agg(format('gold.%I', analise), ', ') from unnest(p_analises) as analise);
  delete from controle.pendencias where true;
  delete from controle.lojas where true;
  update controle.execucoes set desfeita_em = clock_timestamp() where desfeita_em is null;
  insert into controle.reinicios default values;
end
$$;

-- As before, and `identidades`: the identities of the lakehouse's shop. A silver that was emptied by a reset waits for nothing.
create or replace function controle.situacao()
returns jsonb language sql stable set search_path = '' as $$
  with aplicadas as (
    select snapshot, terminada_em, detalhes ->> 'rules' as regras from controle.execucoes
    where camada = 'silver' and terminada_em is not null and erro is null and desfeita_em is null)
  select jsonb_build_object(
    'snapshot', (select max(snapshot collate "C") from aplicadas),
    'regras', (select regras from aplicadas where regras is not null order by terminada_em desc limit 1),
    'reconstrucao_inacabada', not exists (select from aplicadas where snapshot is not null)
      and exists (
        select from controle.execucoes
        where camada = 'silver' and desfeita_em > coalesce((select max(em) from controle.reinicios), '-infinity')),
    'pendencias', (select count(*) from controle.pendencias),
    'identidades', (select coalesce(jsonb_agg(identidade order by posicao), '[]') from controle.lojas))
$$;

grant select, insert, update, delete on controle.lojas, controle.reinicios to service_role;
revoke execute on all functions in schema controle from public, anon, authenticated;
grant execute on all functions in schema controle to service_role;

insert into controle.migracoes (versao) values ('20261125000000_lojas') on conflict (versao) do nothing;
