-- After every `manage.py migrate`, as tradingdesk_owner. A table that is new here may be read by both, and written by the engine only,
-- until it is named below.
GRANT SELECT ON ALL TABLES IN SCHEMA public TO tradingdesk_engine, tradingdesk_web;
GRANT INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO tradingdesk_engine;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO tradingdesk_engine, tradingdesk_web;
REVOKE INSERT, UPDATE, DELETE, TRUNCATE ON ALL TABLES IN SCHEMA public FROM tradingdesk_web;

-- what people write: themselves, settings, acts
GRANT INSERT, UPDATE, DELETE ON
    django_session, django_admin_log, account_emailaddress, account_emailconfirmation,
    auth_group, auth_group_permissions,
    people_user, people_user_groups, people_user_user_permissions, people_accountaccess, people_entrytoken,
    risk_instrument, risk_riskprofile, risk_classoverride, risk_symboloverride, risk_accountlimits,
    execution_bot, execution_botinstrument
    TO tradingdesk_web;
GRANT INSERT, UPDATE ON
    risk_halt, execution_account, execution_act, execution_command
    TO tradingdesk_web;
-- numbered settings are never changed
GRANT INSERT ON risk_settingsversion TO tradingdesk_web;
-- an alarm is acknowledged; a bot that goes takes its state and its log with it
GRANT UPDATE (acked_at, acked_by) ON execution_alarm TO tradingdesk_web;
GRANT DELETE ON execution_botstate, execution_botlog TO tradingdesk_web;

-- the audit grows and is never changed, by nobody
REVOKE UPDATE, DELETE, TRUNCATE ON risk_auditentry FROM tradingdesk_engine, tradingdesk_web;
GRANT INSERT ON risk_auditentry TO tradingdesk_web;
-- the schema is the owner's
REVOKE INSERT, UPDATE, DELETE, TRUNCATE ON django_migrations FROM tradingdesk_engine, tradingdesk_web;
