-- Run once, as superuser, when the database of docker-compose.supabase.yml is made: the roles that the API and Storage
-- log in as get the password of .env. To change it later, run the same statements in psql.
\set password `echo "$PGPASSWORD"`
alter role authenticator with password :'password';
alter role supabase_storage_admin with password :'password';
