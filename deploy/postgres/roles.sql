-- Once, as a superuser, in the database `tradingdesk`. Three roles: who owns the tables and migrates, who trades, who shows.
-- Passwords are set afterwards and are written nowhere: \password tradingdesk_engine
DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['tradingdesk_owner', 'tradingdesk_engine', 'tradingdesk_web'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
            EXECUTE format('CREATE ROLE %I LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION', wanted);
        END IF;
    END LOOP;
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO tradingdesk_owner, tradingdesk_engine, tradingdesk_web', current_database());
END
$$;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE, CREATE ON SCHEMA public TO tradingdesk_owner;
GRANT USAGE ON SCHEMA public TO tradingdesk_engine, tradingdesk_web;
-- a commit of theirs is on the disk when they are told so, whatever the server's own default is
ALTER ROLE tradingdesk_owner SET synchronous_commit = 'on';
ALTER ROLE tradingdesk_engine SET synchronous_commit = 'on';
ALTER ROLE tradingdesk_web SET synchronous_commit = 'on';
-- a web that hangs in the middle of a transaction must not hold an engine up
ALTER ROLE tradingdesk_web SET idle_in_transaction_session_timeout = '10s';
ALTER ROLE tradingdesk_web SET statement_timeout = '30s';
