-- Bronze lives in a private Storage bucket. A plain PostgreSQL has no Storage: nothing to do there.

do $$
begin
  if to_regclass('storage.buckets') is not null then
    insert into storage.buckets (id, name, public) values ('bronze-bucket', 'bronze-bucket', false)
    on conflict (id) do nothing;
  end if;
end
$$;

insert into controle.migracoes (versao) values ('20260101000200_bronze') on conflict (versao) do nothing;
