-- What the app's own role may do: no DDL, and nothing on your users' table, which the view reads with
-- the rights of its owner. Run it with the name of the role:
--
--   psql -v app=web -f sql/grants.sql

grant usage on schema coatcheck to :"app";
grant select on coatcheck.users to :"app";
grant select, insert, update, delete on coatcheck.sessions to :"app";
