-- What controle.ler answers does not depend on how the server, the database or a role prints: times are in UTC with their
-- offset, dates in ISO style, numbers with all their digits.

alter function controle.ler(text, text[], text, text, integer, text, text[])
  set datestyle = 'ISO'
  set timezone = 'UTC'
  set intervalstyle = 'postgres'
  set extra_float_digits = 1;

insert into controle.migracoes (versao) values ('20261125000200_leituras_em_utc') on conflict (versao) do nothing;
