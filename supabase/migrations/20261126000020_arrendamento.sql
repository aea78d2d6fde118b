-- The lease as a token: whoever writes asks for it in the same transaction (controle.exigir), and taking over waits for
-- that transaction to end. Releases up to 0.2.0 cannot take it.

-- programa: the holder's version. prazo: how long each renewal holds. Both are required, so that an older program's
-- controle.arrendar that is at work right now fails too. A run of an older program has lost its lease when it wakes up.
do $$
begin
  if not exists (
    select from pg_catalog.pg_attribute
    where attrelid = 'controle.arrendamento'::regclass and attname = 'prazo' and not attisdropped) then
    delete from controle.arrendamento where true;
  end if;
end
$$;
alter table controle.arrendamento add column if not exists programa text not null;
alter table controle.arrendamento add column if not exists prazo interval not null;
-- By this index dono is a key: a row that is held `for key share` can be renewed, and not given to another.
create unique index if not exists arrendamento_por_dono on controle.arrendamento (dono);

-- What releases up to 0.2.0 call first, before they write anything.
create or replace function controle.arrendar(p_dono text, p_segundos integer)
returns text language plpgsql set search_path = '' as $$
begin
  raise exception using errcode = 'PMD03', message = 'this program is older than its lakehouse, which a later version '
    'has prepared; nothing was written. Install that version here too, or a later one';
end
$$;

-- Takes the lease for p_dono if nobody holds it; answers who holds it now (p_dono means success). A lease that ends
-- later than now plus its term is over: a clock was set back. p_encerrado: a holder whose process is known to have
-- ended. The holder before loses its sessions, as far as the caller may end them, and a transaction of it that asked for
-- the lease ends first; one that does not end keeps the lease.
create or replace function controle.arrendar(
  p_dono text, p_segundos integer, p_programa text, p_encerrado text default null)
returns text language plpgsql set search_path = '' set lock_timeout = '2s' as $$
declare
  v_atual controle.arrendamento;
  v_sessao integer;
  v_prazo interval := make_interval(secs => p_segundos);
  v_dono text;
begin
  select * into v_atual from controle.arrendamento where nome = 'pipeline';
  if v_atual.dono <> p_dono then
    if v_atual.dono is distinct from p_encerrado
      and v_atual.expira_em between clock_timestamp() and clock_timestamp() + v_atual.prazo then
      return v_atual.dono;
    end if;
    for v_sessao in
      select pid from pg_catalog.pg_stat_activity
      where application_name = 'medallion ' || right(v_atual.dono, 32) and pid <> pg_backend_pid()
    loop
      begin
        perform pg_terminate_backend(v_sessao, 5000);
      exception when insufficient_privilege then null;
      end;
    end loop;
  end if;
  insert into controle.arrendamento as atual (nome, dono, expira_em, prazo, programa)
  values ('pipeline', p_dono, clock_timestamp() + v_prazo, v_prazo, p_programa)
  on conflict (nome) do update
    set dono = excluded.dono, expira_em = clock_timestamp() + v_prazo, prazo = excluded.prazo, programa = excluded.programa
    where atual.dono in (excluded.dono, p_encerrado)
      or atual.expira_em not between clock_timestamp() and clock_timestamp() + atual.prazo;
  select dono into v_dono from controle.arrendamento where nome = 'pipeline';
  return v_dono;
exception when lock_not_available then
  if v_atual.dono is null then
    raise;
  end if;
  return v_atual.dono;
end
$$;

-- Renews the lease of p_dono; false if another run has had it since (even if it has given it back).
create or replace function controle.renovar(p_dono text, p_segundos integer)
returns boolean language plpgsql set search_path = '' as $$
declare
  v_prazo interval := make_interval(secs => p_segundos);
begin
  update controle.arrendamento set expira_em = clock_timestamp() + v_prazo, prazo = v_prazo
  where nome = 'pipeline' and dono = p_dono;
  return found;
end
$$;

-- The token: nothing if the lease is p_dono's, and it stays p_dono's to the end of this transaction. Whatever writes
-- calls this first.
create or replace function controle.exigir(p_dono text)
returns void language plpgsql set search_path = '' as $$
begin
  perform from controle.arrendamento where nome = 'pipeline' and dono = p_dono for key share;
  if not found then
    raise exception using errcode = 'PMD01', message = 'another run has taken over: this one writes nothing more';
  end if;
end
$$;

revoke execute on function controle.arrendar(text, integer, text, text), controle.exigir(text)
  from public, anon, authenticated;
grant execute on function controle.arrendar(text, integer, text, text), controle.exigir(text) to service_role;

insert into controle.migracoes (versao) values ('20261126000020_arrendamento') on conflict (versao) do nothing;
