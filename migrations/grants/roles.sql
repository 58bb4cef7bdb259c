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

-- What counts limits and usage: a sidecar speaks through these functions only; admins read
-- the tables, each row in its scope, and do what operators do.
grant execute on function
  ledger_exchange(text, text, text, jsonb, jsonb), ledger_retire(text, text, text, text, bigint), ledger_peek(jsonb),
  usage_upload(text, bigint, bigint, text, text, boolean, text[], timestamptz[], text[], text[], text[], bigint[], bigint[], text[], text[],
    text[], text[], text[], text[], integer[], integer[], text[], bigint[], integer[], text[], text[], text[],
    timestamptz[], text[], text[], text[], bigint[]),
  reservation_reserve(text, text, text, text, text, text, text, interval, jsonb), reservation_read(text, text),
  reservation_extend(text, text, interval), reservation_release(text, text), reservation_commit(text, text, bigint, boolean),
  gauge_add(jsonb, text, bigint, bigint), gauge_remove(jsonb, text), gauge_replace(jsonb, text[])
  to {{.Admin}}, {{.Sidecar}};
grant select on
  ledger_state, holders, buckets, leases, rate_shares, usage_logs, usage_batches, usage_keys, usage_analytics, usage_hourly,
  denials_hourly, team_usage, reservations, reservation_holds, gauge_items, reconciliations
  to {{.Admin}};
grant execute on function
  ledger_now(), ledger_reconcile(text, jsonb, text, text, text), usage_partition(text, date), usage_drop(text, timestamptz, bigint),
  usage_forget(text, timestamptz, bigint)
  to {{.Admin}};
