-- Usage: what was used, counted once, and the sums that people look at.

-- +goose Up

-- How far each log is counted.
create table usage_logs (
  log        text collate "C" primary key,
  at         bigint not null,
  hash       text not null,
  updated_at timestamptz not null
) with (fillfactor = 50);

-- What was taken in, for operators.
create table usage_batches (
  log        text collate "C" not null,
  from_at    bigint not null,
  to_at      bigint not null,
  at         timestamptz not null,
  usages     bigint not null,
  denials    bigint not null,
  duplicates bigint not null,
  reused     bigint not null,
  primary key (log, to_at)
);
create index usage_batches_age on usage_batches using brin (at);

-- The idempotency keys of events that were counted.
create table usage_keys (
  scope       text collate "C" not null,
  key         text collate "C" not null,
  fingerprint text not null,
  at          timestamptz not null,
  primary key (scope, key)
);
create index usage_keys_age on usage_keys using brin (at);

-- Everything below is keyed by team first; "" is no team. By month, and what belongs to no
-- month that was made ahead goes to the default partition, so that nothing can be refused.

-- The events; some of the same hour, subject and feature may be one row.
create table usage_analytics (
  team_id  text collate "C" not null,
  at       timestamptz not null,
  id       text not null,
  user_id  text collate "C" not null,
  feature  text collate "C" not null,
  units    bigint not null,
  events   bigint not null,
  metadata json,
  spends   jsonb
) partition by range (at);
create index usage_analytics_team on usage_analytics (team_id, at);

create table usage_hourly (
  team_id text collate "C" not null,
  hour    timestamptz not null,
  feature text collate "C" not null,
  user_id text collate "C" not null,
  units   bigint not null,
  events  bigint not null,
  primary key (team_id, hour, feature, user_id)
) partition by range (hour);
create index usage_hourly_user on usage_hourly (user_id, hour);

create table denials_hourly (
  team_id text collate "C" not null,
  hour    timestamptz not null,
  feature text collate "C" not null,
  reason  text collate "C" not null,
  count   bigint not null,
  primary key (team_id, hour, feature, reason)
) partition by range (hour);

create table usage_analytics_default partition of usage_analytics default;
create table usage_hourly_default partition of usage_hourly default;
create table denials_hourly_default partition of denials_hourly default;

create table team_usage (
  team_id text collate "C" not null,
  day     date not null,
  feature text collate "C" not null,
  units   bigint not null,
  events  bigint not null,
  primary key (team_id, day, feature)
) with (fillfactor = 70);

-- +goose StatementBegin

-- A sum that stops growing instead of turning over, so that no row can stop a log for ever.
create function capped(n numeric) returns bigint
  language sql immutable parallel safe
as $$ select least(n, 4611686018427387903)::bigint $$;

-- Writes events and adds them to the sums; those that do not count are left out.
create function usage_store(p_counts boolean[], p_id text[], p_at timestamptz[], p_team text[], p_user text[], p_feature text[],
    p_units bigint[], p_events bigint[], p_metadata text[], p_spends text[]) returns void
  language plpgsql
as $$
begin
  insert into usage_analytics (team_id, at, id, user_id, feature, units, events, metadata, spends)
    select u.team, u.at, u.id, u."user", u.feature, u.units, u.events, u.metadata::json, u.spends::jsonb
    from unnest(p_counts, p_id, p_at, p_team, p_user, p_feature, p_units, p_events, p_metadata, p_spends)
      as u (counts, id, at, team, "user", feature, units, events, metadata, spends)
    where u.counts;
  insert into team_usage as t (team_id, day, feature, units, events)
    select u.team, (u.at at time zone 'UTC')::date, u.feature, capped(sum(u.units)), capped(sum(u.events))
    from unnest(p_counts, p_at, p_team, p_feature, p_units, p_events) as u (counts, at, team, feature, units, events)
    where u.counts group by 1, 2, 3 order by 1, 2, 3
    on conflict (team_id, day, feature) do update
      set units = capped(t.units::numeric + excluded.units), events = capped(t.events::numeric + excluded.events);
  insert into usage_hourly as t (team_id, hour, feature, user_id, units, events)
    select u.team, date_trunc('hour', u.at, 'UTC'), u.feature, u."user", capped(sum(u.units)), capped(sum(u.events))
    from unnest(p_counts, p_at, p_team, p_user, p_feature, p_units, p_events) as u (counts, at, team, "user", feature, units, events)
    where u.counts group by 1, 2, 3, 4 order by 1, 2, 3, 4
    on conflict (team_id, hour, feature, user_id) do update
      set units = capped(t.units::numeric + excluded.units), events = capped(t.events::numeric + excluded.events);
end
$$;

-- Takes the keys of events, whose places in the batch p_use says, and returns for each what
-- it is: NEW, DUPLICATE (counted before) or REUSED (used for something else).
create function usage_take_keys(p_use int[], p_scope text[], p_key text[], p_fingerprint text[], at timestamptz) returns text[]
  language plpgsql
as $$
declare
  v_new int[];
begin
  with first as (
    select distinct on (k.scope, k.key) k.scope, k.key, k.fingerprint, k.use
    from unnest(p_use, p_scope, p_key, p_fingerprint) as k (use, scope, key, fingerprint) order by k.scope, k.key, k.use),
  taken as (
    insert into usage_keys (scope, key, fingerprint, at) select f.scope, f.key, f.fingerprint, usage_take_keys.at from first f order by 1, 2
    on conflict do nothing returning scope, key)
  select coalesce(array_agg(f.use), '{}') into v_new from first f join taken t using (scope, key);
  return array(
    select case when k.use = any (v_new) then 'NEW' when u.fingerprint = k.fingerprint then 'DUPLICATE' else 'REUSED' end
    from unnest(p_use, p_scope, p_key, p_fingerprint) with ordinality as k (use, scope, key, fingerprint, ord)
    join usage_keys u using (scope, key) order by k.ord);
end
$$;

-- Counts what was taken from buckets. Of a lease it is set aside no more, whether it counts
-- or is credited back; what was charged for a lost one before it was known is not charged again.
-- p_limit to p_period are different buckets, whose places p_bucket says.
create function usage_spend(p_counts boolean[], p_limit text[], p_scope text[], p_subject text[], p_period text[],
    p_use int[], p_bucket int[], p_holder text[], p_units bigint[], at timestamptz) returns void
  language plpgsql
as $$
declare
  v_ids bigint[];
begin
  insert into buckets (limit_key, scope, subject, period)
    select k.* from unnest(p_limit, p_scope, p_subject, p_period) as k (limit_key, scope, subject, period)
    where not exists (select from buckets b where (b.limit_key, b.scope, b.subject, b.period) = (k.limit_key, k.scope, k.subject, k.period))
    order by 1, 2, 3, 4
    on conflict do nothing;
  v_ids := array(
    select b.id from unnest(p_limit, p_scope, p_subject, p_period) with ordinality as k (limit_key, scope, subject, period, ord)
    join buckets b using (limit_key, scope, subject, period) order by k.ord);
  perform ledger_lock(v_ids);
  with s as (
    select v_ids[s.bucket] as bucket, s.holder, sum(s.units) as units, coalesce(sum(s.units) filter (where p_counts[s.use]), 0) as counted
    from unnest(p_use, p_bucket, p_holder, p_units) as s (use, bucket, holder, units) group by 1, 2),
  before as (
    select s.bucket, s.holder, s.units, s.counted, l.state, l.granted - l.reported as rest, least(coalesce(l.charged, 0), s.counted) as charged
    from s left join leases l on l.bucket = s.bucket and l.holder = s.holder and s.holder <> ''),
  leased as ( -- a ledger that has lost the lease hears of it later, spent units included
    insert into leases as l (bucket, holder, state, fence, granted, reported, charged)
    select bucket, holder, 'SEALED', 0, 0, capped(units), charged from before where holder <> ''
    on conflict (bucket, holder) do update set reported = capped(l.reported::numeric + excluded.reported), charged = l.charged - excluded.charged),
  d as (
    select bucket, sum(counted - charged) as used,
      coalesce(sum(greatest(0, rest) - greatest(0, rest - units)) filter (where state <> 'FORFEIT'), 0) as leased,
      coalesce(sum(greatest(0, rest) - greatest(0, rest - units)) filter (where state = 'FORFEIT'), 0) as forfeited
    from before group by bucket)
  update buckets b
    set used = capped(b.used + d.used), leased = b.leased - d.leased, forfeited = b.forfeited - d.forfeited, touched_at = usage_spend.at
    from d where b.id = d.bucket;
end
$$;

-- tiergate.Ledger.Upload: u_ are the events, b_ different buckets, s_ what each event took
-- from them, k_ the keys of some, d_ the denials. Places are from 1.
create function usage_upload(p_log text, p_from bigint, p_to bigint, p_before text, p_after text, p_lost boolean,
    u_id text[], u_at timestamptz[], u_team text[], u_user text[], u_feature text[], u_units bigint[], u_events bigint[],
    u_metadata text[], u_spends text[],
    b_limit text[], b_scope text[], b_subject text[], b_period text[],
    s_use int[], s_bucket int[], s_holder text[], s_units bigint[],
    k_use int[], k_scope text[], k_key text[], k_fingerprint text[],
    d_hour timestamptz[], d_team text[], d_feature text[], d_reason text[], d_count bigint[],
    out o_at bigint, out o_hash text, out o_duplicates bigint, out o_reused bigint)
  language plpgsql security definer set search_path = pg_catalog, public, pg_temp set timezone = 'UTC'
  set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
declare
  v_now timestamptz;
  v_keys text[];
  v_counts boolean[] := array_fill(true, array[cardinality(u_id)]);
begin
  select at into v_now from ledger_begin();
  o_duplicates := 0;
  o_reused := 0;
  if p_from = 0 or p_lost then
    insert into usage_logs (log, at, hash, updated_at) values (p_log, 0, '', v_now) on conflict do nothing;
  end if;
  select at, hash into o_at, o_hash from usage_logs where log = p_log for update;
  if not found then -- then the batch is not a log's first one
    o_at := 0;
    o_hash := '';
  end if;
  if not (o_at = p_from and o_hash = p_before or p_lost and o_at < p_from) then
    return;
  end if;
  if cardinality(k_use) > 0 then
    v_keys := usage_take_keys(k_use, k_scope, k_key, k_fingerprint, v_now);
    for i in 1 .. cardinality(k_use) loop
      v_counts[k_use[i]] := v_keys[i] <> 'DUPLICATE';
    end loop;
    select count(*) filter (where k = 'DUPLICATE'), count(*) filter (where k = 'REUSED') into o_duplicates, o_reused from unnest(v_keys) k;
  end if;
  if cardinality(s_use) > 0 then
    perform usage_spend(v_counts, b_limit, b_scope, b_subject, b_period, s_use, s_bucket, s_holder, s_units, v_now);
  end if;
  if cardinality(u_id) > 0 then
    perform usage_store(v_counts, u_id, u_at, u_team, u_user, u_feature, u_units, u_events, u_metadata, u_spends);
  end if;
  insert into denials_hourly as t (team_id, hour, feature, reason, count)
    select d.team, date_trunc('hour', d.hour, 'UTC'), d.feature, d.reason, capped(sum(d.count))
    from unnest(d_hour, d_team, d_feature, d_reason, d_count) as d (hour, team, feature, reason, count)
    group by 1, 2, 3, 4 order by 1, 2, 3, 4
    on conflict (team_id, hour, feature, reason) do update set count = capped(t.count::numeric + excluded.count);
  insert into usage_batches (log, from_at, to_at, at, usages, denials, duplicates, reused)
    values (p_log, p_from, p_to, v_now, cardinality(u_id), cardinality(d_hour), o_duplicates, o_reused)
    on conflict (log, to_at) do update set at = excluded.at; -- a log that went on from an older place, after a failover
  update usage_logs set at = p_to, hash = p_after, updated_at = v_now where log = p_log;
  o_at := p_to;
  o_hash := p_after;
end
$$;

-- Makes the partition of a month, and moves what the default partition holds of it. One
-- table a time, so that uploads, which write to several, cannot wait for each other.
create function usage_partition(p_table text, p_month date) returns boolean
  language plpgsql security definer set search_path = pg_catalog, public, pg_temp set timezone = 'UTC'
as $$
declare
  v_first constant date := date_trunc('month', p_month)::date;
  v_next constant date := (v_first + interval '1 month')::date;
  v_name constant text := p_table || to_char(v_first, '_YYYYMM');
  v_column constant text := case p_table when 'usage_analytics' then 'at' else 'hour' end;
begin
  if p_table not in ('usage_analytics', 'usage_hourly', 'denials_hourly') then
    raise exception 'the table % is not kept by months', p_table using errcode = 'invalid_parameter_value';
  end if;
  perform pg_advisory_xact_lock(hashtextextended('usage_partition', 0));
  if to_regclass(v_name) is not null then
    return false;
  end if;
  execute format('lock table %I in access exclusive mode', p_table || '_default');
  execute format('create table public.%I (like %I including all)', v_name, p_table);
  execute format('with moved as (delete from %I where %I >= %L and %I < %L returning *) insert into %I select * from moved',
    p_table || '_default', v_column, v_first, v_column, v_next, v_name);
  execute format('alter table %I attach partition %I for values from (%L) to (%L)', p_table, v_name, v_first, v_next);
  return true;
end
$$;

-- Drops the months that ended before a time, and deletes what the default partition holds of
-- before, at most p_most rows. Returns how many partitions and rows went.
create function usage_drop(p_table text, p_before timestamptz, p_most bigint, out o_partitions bigint, out o_rows bigint)
  language plpgsql security definer set search_path = pg_catalog, public, pg_temp set timezone = 'UTC'
as $$
declare
  v_name text;
begin
  if p_table not in ('usage_analytics', 'usage_hourly', 'denials_hourly') then
    raise exception 'the table % is not kept by months', p_table using errcode = 'invalid_parameter_value';
  end if;
  o_partitions := 0;
  for v_name in
    select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid
    where i.inhparent = to_regclass(p_table) and c.relname ~ ('^' || p_table || '_\d{6}$')
      and to_date(right(c.relname, 6), 'YYYYMM') + interval '1 month' <= p_before
    order by 1
  loop
    execute format('drop table %I', v_name);
    o_partitions := o_partitions + 1;
  end loop;
  execute format('delete from %1$I where ctid = any (array(select ctid from %1$I where %2$I < %3$L limit %4$s))',
    p_table || '_default', case p_table when 'usage_analytics' then 'at' else 'hour' end, p_before, p_most);
  get diagnostics o_rows = row_count;
end
$$;

-- Deletes what is older than p_before of one table that is not kept by months, at most p_most rows.
create function usage_forget(p_table text, p_before timestamptz, p_most bigint) returns bigint
  language plpgsql security definer set search_path = pg_catalog, public, pg_temp set timezone = 'UTC'
as $$
declare
  v_ids bigint[];
  v_rows bigint;
begin
  case p_table
    when 'usage_batches' then
      delete from usage_batches where ctid = any (array(select ctid from usage_batches where at < p_before limit p_most));
    when 'usage_keys' then
      delete from usage_keys where ctid = any (array(select ctid from usage_keys where at < p_before limit p_most));
    when 'team_usage' then
      delete from team_usage where ctid = any (array(select ctid from team_usage where day < (p_before at time zone 'UTC')::date limit p_most));
    when 'reservations' then
      v_rows := reservations_forget(p_before, p_most);
      return v_rows;
    when 'holders' then -- that are retired, or lost with nothing left to decide about
      delete from leases l using holders h
        where h.id = l.holder and (h.retired or h.lost) and h.expires_at < p_before and l.granted <= l.reported and l.charged = 0;
      delete from holders h where (retired or lost) and expires_at < p_before and not exists (select from leases l where l.holder = h.id);
    when 'buckets' then -- of periods that are over, with whatever was forfeited in them, and empty ones
      delete from rate_shares where expires_at < ledger_now() - interval '1 day';
      v_ids := array(
        select id from buckets b where (b.period <> '' and b.ends_at < p_before and b.reserved = 0 -- not one that never ends
            or b.touched_at < p_before and (b.used, b.leased, b.reserved, b.forfeited) = (0, 0, 0, 0)
              and not exists (select from rate_shares r where r.bucket = b.id))
          and not exists (select from leases l where l.bucket = b.id and l.state = 'ACTIVE')
        order by id limit p_most for update skip locked);
      delete from leases where bucket = any (v_ids);
      delete from buckets where id = any (v_ids);
    else
      raise exception 'nothing of the table % is forgotten', p_table using errcode = 'invalid_parameter_value';
  end case;
  get diagnostics v_rows = row_count;
  return v_rows;
end
$$;

-- +goose StatementEnd

select usage_partition(t, ((now() at time zone 'UTC')::date + make_interval(months => m))::date)
  from unnest(array['usage_analytics', 'usage_hourly', 'denials_hourly']) t, generate_series(0, 2) m;

alter table usage_logs enable row level security;
alter table usage_batches enable row level security;
alter table usage_keys enable row level security;
alter table usage_analytics enable row level security;
alter table usage_hourly enable row level security;
alter table denials_hourly enable row level security;
alter table team_usage enable row level security;
create policy scope on usage_logs using (in_scope(''));
create policy scope on usage_batches using (in_scope(''));
create policy scope on usage_keys using (in_scope(''));
create policy scope on usage_analytics using (in_scope(team_id));
create policy scope on usage_hourly using (in_scope(team_id));
create policy scope on denials_hourly using (in_scope(team_id));
create policy scope on team_usage using (in_scope(team_id));
