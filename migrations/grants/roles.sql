-- The rights of the two roles of a running system. Run again after each migration: first
-- everything is taken back, then given, in one transaction.
revoke all on all tables in schema public from {{.Admin}}, {{.Sidecar}};
revoke all on all functions in schema public from {{.Admin}}, {{.Sidecar}};
revoke execute on function feed_lock(), feed_append(text, text, text, text) from public;
grant usage on schema public to {{.Admin}}, {{.Sidecar}};

-- The admin role changes the model and reads the history, which only triggers write.
grant select, insert, update, delete on
  users, tiers, limits, teams, team_members, team_api_keys, flag_sets, feature_flags, overrides, grants, idempotency_keys
  to {{.Admin}};
grant select, insert on policy_bundles to {{.Admin}};
grant select on feed_head, revisions, change_log, schema_migrations to {{.Admin}};
grant execute on function feed_lock() to {{.Admin}};

-- A sidecar reads what it replicates, and nothing else.
grant select on
  replica_flag_set, replica_tier, replica_limit, replica_flag, replica_user, replica_team, replica_member, replica_key,
  replica_override, replica_grant, replica_policy, feed_head, change_log, schema_migrations
  to {{.Admin}}, {{.Sidecar}};
grant select (rev, epoch, schema, prev_hash, hash, at) on revisions to {{.Sidecar}};
