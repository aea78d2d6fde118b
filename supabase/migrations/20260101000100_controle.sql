-- The pipeline's own state. Times are the database's clock, so that one clock orders everything.

-- Run ledger: one row for each layer of each run (silver: one for each snapshot it applies).
create table if not exists controle.execucoes (
  id text primary key,
  execucao text not null,
  camada text not null check (camada in ('bronze', 'silver', 'gold')),
  chave integer check (chave in (135, 246, 357, 468, 579, 680)),
  iniciada_em timestamptz not null default clock_timestamp(),
  terminada_em timestamptz,
  linhas_lidas bigint,
  linhas_gravadas bigint,
  linhas_inalteradas bigint,
  linhas_repetidas bigint,
  linhas_em_quarentena bigint,
  snapshot text,
  erro text,
  detalhes jsonb not null default '{}',
  desfeita_em timestamptz
);
comment on column controle.execucoes.desfeita_em is
  'When silver was emptied, so that what this execution had written is gone; null while it stands.';
create index if not exists execucoes_por_inicio on controle.execucoes (iniciada_em);

create or replace function controle.abrir_execucao(p_id text, p_execucao text, p_camada text, p_snapshot text default null)
returns void language sql set search_path = '' as $$
  insert into controle.execucoes (id, execucao, camada, snapshot)
  values (p_id, p_execucao, p_camada, p_snapshot)
  on conflict (id) do nothing
$$;

-- The lease: one run at a time, across hosts. It expires by itself when its holder dies.
create table if not exists controle.arrendamento (
  nome text primary key,
  dono text not null,
  expira_em timestamptz not null
);

-- Takes the lease for p_dono if nobody holds it; answers who holds it now (p_dono means success).
create or replace function controle.arrendar(p_dono text, p_segundos integer)
returns text language plpgsql set search_path = '' as $$
declare
  v_dono text;
begin
  insert into controle.arrendamento as atual (nome, dono, expira_em)
  values ('pipeline', p_dono, clock_timestamp() + make_interval(secs => p_segundos))
  on conflict (nome) do update set dono = excluded.dono, expira_em = excluded.expira_em
  where atual.dono = excluded.dono or atual.expira_em < clock_timestamp();
  select dono into v_dono from controle.arrendamento where nome = 'pipeline';
  return v_dono;
end
$$;

-- Renews the lease of p_dono; false if another run has had it since (even if it has given it back).
create or replace function controle.renovar(p_dono text, p_segundos integer)
returns boolean language plpgsql set search_path = '' as $$
begin
  update controle.arrendamento set expira_em = clock_timestamp() + make_interval(secs => p_segundos)
  where nome = 'pipeline' and dono = p_dono;
  return found;
end
$$;

create or replace function controle.devolver(p_dono text)
returns void language sql set search_path = '' as $$
  delete from controle.arrendamento where nome = 'pipeline' and dono = p_dono
$$;

-- What gold still has to recompute. Triggers on silver fill it in the transaction that changes silver, so a killed
-- run cannot lose a change, and a correction made by hand reaches gold as well.
create table if not exists controle.pendencias (
  analise text not null,
  chave text collate "C" not null,
  reservada boolean not null default false,
  primary key (analise, chave)
);

-- What there is to do: the newest snapshot that silver applied to the end since it was last emptied, and the version of
-- the cleaning rules it last used (null if there is none); whether silver was emptied and no snapshot has been applied
-- to the end since (a replay that died); and how many keys wait for gold.
create or replace function controle.situacao()
returns jsonb language sql stable set search_path = '' as $$
  with aplicadas as (
    select snapshot, terminada_em, detalhes ->> 'rules' as regras from controle.execucoes
    where camada = 'silver' and terminada_em is not null and erro is null and desfeita_em is null)
  select jsonb_build_object(
    'snapshot', (select max(snapshot collate "C") from aplicadas),
    'regras', (select regras from aplicadas where regras is not null order by terminada_em desc limit 1),
    'reconstrucao_inacabada', not exists (select from aplicadas where snapshot is not null)
      and exists (select from controle.execucoes where camada = 'silver' and desfeita_em is not null),
    'pendencias', (select count(*) from controle.pendencias))
$$;

-- Closes an execution, and answers what there is to do now.
create or replace function controle.fechar_execucao(
  p_id text, p_chave integer, p_snapshot text, p_lidas bigint, p_gravadas bigint, p_inalteradas bigint,
  p_repetidas bigint, p_em_quarentena bigint, p_erro text, p_detalhes jsonb)
returns jsonb language sql set search_path = '' as $$
  update controle.execucoes
     set chave = p_chave, terminada_em = clock_timestamp(), snapshot = coalesce(p_snapshot, snapshot),
         linhas_lidas = p_lidas, linhas_gravadas = p_gravadas, linhas_inalteradas = p_inalteradas,
         linhas_repetidas = p_repetidas, linhas_em_quarentena = p_em_quarentena, erro = p_erro,
         detalhes = coalesce(p_detalhes, '{}'), desfeita_em = case when p_erro is null then null else desfeita_em end
   where id = p_id;
  select controle.situacao()
$$;

-- A key that gold is computing right now (reservada) and that changes again becomes pending again.
create or replace function controle.marcar(p_analise text, p_chaves text[])
returns void language sql set search_path = '' as $$
  insert into controle.pendencias as p (analise, chave)
  select p_analise, chave from unnest(p_chaves) as chave order by chave collate "C"
  on conflict (analise, chave) do update set reservada = false where p.reservada
$$;

-- Reserves the next p_linhas keys after p_depois for computing, and answers them in order: an empty list is the end.
create or replace function controle.reservar(p_analise text, p_depois text, p_linhas integer)
returns text[] language sql set search_path = '' as $$
  with proximas as (
    select chave from controle.pendencias where analise = p_analise and chave > p_depois
    order by chave limit p_linhas for update),
  reservadas as (
    update controle.pendencias as p set reservada = true from proximas
    where p.analise = p_analise and p.chave = proximas.chave)
  select coalesce(array_agg(chave order by chave), '{}') from proximas
$$;

create or replace function controle.concluir(p_analise text, p_chaves text[])
returns void language sql set search_path = '' as $$
  delete from controle.pendencias where analise = p_analise and chave = any (p_chaves) and reservada
$$;

alter table controle.migracoes enable row level security;
alter table controle.execucoes enable row level security;
alter table controle.arrendamento enable row level security;
alter table controle.pendencias enable row level security;

grant select, insert, update, delete on all tables in schema controle to service_role;
-- PostgreSQL lets everybody execute a new function: take that back, then name who may.
revoke execute on all functions in schema controle from public;
grant execute on all functions in schema controle to service_role;

insert into controle.migracoes (versao) values ('20260101000100_controle') on conflict (versao) do nothing;
