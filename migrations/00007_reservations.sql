-- Reservations and gauges: what is held by name, for long jobs and for seats; and what
-- operators do about holders that never came back.

-- +goose Up

create table reservations (
  id          text collate "C" primary key check (id <> '' and octet_length(id) <= 256),
  state       text collate "C" not null default 'HELD' check (state in ('HELD', 'COMMITTED', 'RELEASED', 'EXPIRED')),
  team_id     text collate "C" not null,
  user_id     text collate "C" not null,
  feature     text collate "C" not null,
  fingerprint text not null,
  metadata    json,
  actual      bigint not null default 0, -- what it was committed with; -1 is what was held
  expires_at  timestamptz not null,
  created_at  timestamptz not null,
  settled_at  timestamptz
) with (fillfactor = 80);
create index reservations_held on reservations (expires_at) where state = 'HELD';
create index reservations_team on reservations (team_id, created_at);
create index reservations_settled on reservations (settled_at) where state <> 'HELD';

create table reservation_holds (
  reservation text collate "C" not null,
  ord         integer not null,
  bucket      bigint not null,
  kind        text collate "C" not null check (kind in ('quota', 'concurrency')),
  units       bigint not null check (units >= 0),
  primary key (reservation, ord)
);

create table gauge_items (
  bucket bigint not null,
  item   text collate "C" not null,
  since  timestamptz not null,
  primary key (bucket, item)
);

-- What somebody decided about what a lost holder had.
create table reconciliations (
  id        bigint generated always as identity primary key,
  at        timestamptz not null,
  actor     text not null,
  reason    text not null,
  how       text not null check (how in ('release', 'charge')),
  holder    text collate "C" not null,
  limit_key text collate "C" not null,
  scope     text collate "C" not null,
  subject   text collate "C" not null,
  period    text collate "C" not null,
  state     text not null, -- the lease's
  granted   bigint not null,
  reported  bigint not null, -- what usage records prove
  units     bigint not null  -- what was released or charged
);
create index reconciliations_age on reconciliations (at);

-- +goose StatementBegin

-- Locks the reservations whose time is over; those that are locked are being settled.
create function reservations_over(at timestamptz) returns text[]
  language plpgsql
as $$
begin
  return array(
    select id from reservations where state = 'HELD' and expires_at <= at order by expires_at limit 64 for update skip locked);
end
$$;

create function reservations_buckets(p_ids text[]) returns bigint[]
  language plpgsql
as $$
begin
  if cardinality(p_ids) = 0 then
    return '{}';
  end if;
  return array(select bucket from reservation_holds where reservation = any (p_ids));
end
$$;

-- Ends reservations, whose rows and buckets are locked: each quota keeps what was used, -1
-- being what was held, and the rest is free.
create function reservations_settle(p_ids text[], p_state text, p_actual bigint, at timestamptz) returns void
  language plpgsql
as $$
begin
  if cardinality(p_ids) = 0 then
    return;
  end if;
  with d as (
    select bucket, sum(units) as held,
      coalesce(sum(case when p_actual < 0 then units else p_actual end) filter (where kind = 'quota'), 0) as used
    from reservation_holds where reservation = any (p_ids) group by bucket)
  update buckets b set reserved = b.reserved - d.held, used = capped(b.used + d.used), touched_at = at from d where b.id = d.bucket;
  update reservations set state = p_state, actual = p_actual, settled_at = at where id = any (p_ids);
end
$$;

create function reservation_json(p_id text) returns json
  language plpgsql
as $$
begin
  return (
    select json_build_object('id', r.id, 'state', r.state, 'teamId', r.team_id, 'userId', r.user_id, 'feature', r.feature,
      'fingerprint', r.fingerprint, 'metadata', r.metadata, 'actual', r.actual, 'expiresAt', r.expires_at,
      'createdAt', r.created_at, 'settledAt', r.settled_at,
      'holds', (select json_agg(json_build_object('kind', h.kind, 'units', h.units,
          'bucket', json_build_object('limit', b.limit_key, 'scope', b.scope, 'subject', b.subject, 'period', b.period)) order by h.ord)
        from reservation_holds h join buckets b on b.id = h.bucket where h.reservation = r.id))
    from reservations r where r.id = p_id);
end
$$;

-- Begins a transaction about one reservation: it is locked, as are its buckets, and those
-- whose time is over have ended. there is false for one that is not there, or another
-- owner's; an owner of "" is everybody.
create function reservation_begin(p_id text, p_owner text, out at timestamptz, out learning boolean, out there boolean,
    out state text, out actual bigint)
  language plpgsql
as $$
declare
  t record;
  v_over text[];
begin
  select * into t from ledger_begin();
  perform from reservations r where r.id = p_id for update;
  v_over := reservations_over(t.at);
  perform ledger_lock(reservations_buckets(v_over || p_id));
  at := ledger_now();
  learning := at < t.learning;
  perform reservations_settle(v_over, 'EXPIRED', 0, at);
  select r.state, r.actual into state, actual from reservations r where r.id = p_id and (p_owner = '' or r.team_id = p_owner);
  there := found;
end
$$;

-- tiergate.ReservationLedger.Reserve. o_code is "", "TAKEN" (the id, by another team),
-- "REUSED" (by another reservation), or "SHORT", with the hold that does not fit.
create function reservation_reserve(p_id text, p_team text, p_user text, p_feature text, p_fingerprint text, p_metadata text, p_ttl interval,
    p_holds jsonb, out o_code text, out o_reservation json, out o_hold int, out o_available bigint, out o_outstanding bigint)
  language plpgsql security definer set search_path = pg_catalog, public, pg_temp set timezone = 'UTC'
as $$
declare
  t record;
  h record;
  v_at timestamptz;
  v_over text[];
  v_allowed bigint;
  r reservations;
begin
  select * into t from ledger_begin();
  perform from reservations where id = p_id for update;
  v_over := reservations_over(t.at);
  if not exists (select from reservations where id = p_id) then
    perform ledger_ensure(p_holds);
  end if;
  perform ledger_lock(ledger_buckets(p_holds) || reservations_buckets(v_over));
  v_at := ledger_now();
  perform reservations_settle(v_over, 'EXPIRED', 0, v_at);

  select * into r from reservations where id = p_id;
  if not found then
    for h in
      select k.*, b.id, b.amount as b_amount, b.rev as b_rev, b.used, b.leased, b.reserved, b.forfeited
      from rows from (jsonb_to_recordset(p_holds) as ("limit" text, scope text, subject text, period text, "start" timestamptz, "end" timestamptz,
          amount bigint, rev bigint, units bigint))
        with ordinality as k (limit_key, scope, subject, period, starts_at, ends_at, amount, rev, units, ord)
      join buckets b using (limit_key, scope, subject, period) order by k.ord
    loop
      v_allowed := case when h.rev >= h.b_rev then h.amount else least(h.amount, h.b_amount) end;
      o_available := v_allowed - h.used - h.leased - h.reserved - h.forfeited;
      if o_available < h.units or v_at < h.starts_at or v_at >= h.ends_at or v_at < t.learning then
        o_code := 'SHORT';
        o_hold := h.ord;
        o_outstanding := h.leased + h.reserved;
      end if;
      update buckets set amount = case when h.rev >= h.b_rev then h.amount else h.b_amount end, rev = greatest(h.rev, h.b_rev),
          wanted_at = case when o_code = 'SHORT' then v_at else wanted_at end, touched_at = v_at
        where id = h.id and (o_code = 'SHORT' or h.rev > h.b_rev or h.amount <> h.b_amount);
      if o_code = 'SHORT' then
        return;
      end if;
    end loop;
    insert into reservations (id, team_id, user_id, feature, fingerprint, metadata, expires_at, created_at)
      values (p_id, p_team, p_user, p_feature, p_fingerprint, p_metadata::json, v_at + p_ttl, v_at)
      on conflict do nothing;
    if found then
      insert into reservation_holds (reservation, ord, bucket, kind, units)
        select p_id, k.ord, b.id, k.kind, k.units
        from rows from (jsonb_to_recordset(p_holds) as ("limit" text, scope text, subject text, period text, kind text, units bigint))
          with ordinality as k (limit_key, scope, subject, period, kind, units, ord)
        join buckets b using (limit_key, scope, subject, period);
      update buckets b set reserved = b.reserved + n.units, touched_at = v_at
        from reservation_holds n where n.reservation = p_id and b.id = n.bucket;
    end if;
    select * into strict r from reservations where id = p_id; -- ours, or that of somebody who was faster
  end if;
  o_code := case when r.team_id <> p_team then 'TAKEN' when r.fingerprint <> p_fingerprint then 'REUSED' else '' end;
  if o_code = '' then
    o_reservation := reservation_json(p_id);
  end if;
end
$$;

-- tiergate.ReservationLedger.Reservation. o_code is "" or "NOT_FOUND".
create function reservation_read(p_id text, p_owner text, out o_code text, out o_reservation json)
  language plpgsql security definer set search_path = pg_catalog, public, pg_temp set timezone = 'UTC'
as $$
declare
  t record;
begin
  select * into t from reservation_begin(p_id, p_owner);
  o_code := case when t.there then '' else 'NOT_FOUND' end;
  o_reservation := case when t.there then reservation_json(p_id) end;
end
$$;

-- tiergate.ReservationLedger.Extend. o_code is "", "NOT_FOUND", or the final state that it is in.
create function reservation_extend(p_id text, p_owner text, p_ttl interval, out o_code text, out o_reservation json)
  language plpgsql security definer set search_path = pg_catalog, public, pg_temp set timezone = 'UTC'
as $$
declare
  t record;
begin
  select * into t from reservation_begin(p_id, p_owner);
  o_code := case when not t.there then 'NOT_FOUND' when t.state <> 'HELD' then t.state else '' end;
  if o_code = '' then
    update reservations set expires_at = t.at + p_ttl where id = p_id and expires_at < t.at + p_ttl;
    o_reservation := reservation_json(p_id);
  end if;
end
$$;

-- tiergate.ReservationLedger.Release. o_code is "", "NOT_FOUND" or "COMMITTED".
create function reservation_release(p_id text, p_owner text, out o_code text, out o_reservation json)
  language plpgsql security definer set search_path = pg_catalog, public, pg_temp set timezone = 'UTC'
as $$
declare
  t record;
begin
  select * into t from reservation_begin(p_id, p_owner);
  o_code := case when not t.there then 'NOT_FOUND' when t.state = 'COMMITTED' then t.state else '' end;
  if o_code = '' then
    if t.state = 'HELD' then
      perform reservations_settle(array[p_id], 'RELEASED', 0, t.at);
    end if;
    o_reservation := reservation_json(p_id);
  end if;
end
$$;

-- tiergate.ReservationLedger.Commit. o_code is "", "NOT_FOUND", "SHORT" with the hold that
-- does not fit, "OTHER" (committed with another amount), or the final state that it is in.
-- Its usage counts at the time of the hold, as its periods do.
create function reservation_commit(p_id text, p_owner text, p_actual bigint, p_capped boolean,
    out o_code text, out o_reservation json, out o_bucket jsonb, out o_available bigint, out o_outstanding bigint)
  language plpgsql security definer set search_path = pg_catalog, public, pg_temp set timezone = 'UTC'
as $$
declare
  t record;
  h record;
  r reservations;
  v_actual bigint := greatest(p_actual, -1);
  v_units bigint;
  v_spends jsonb;
begin
  select * into t from reservation_begin(p_id, p_owner);
  o_code := case when not t.there then 'NOT_FOUND' when t.state not in ('HELD', 'COMMITTED') then t.state
    when t.state = 'COMMITTED' and t.actual <> v_actual and not (p_capped and t.actual < v_actual) then 'OTHER' else '' end;
  if o_code <> '' then
    return;
  end if;
  if t.state = 'HELD' then
    for h in
      select b.*, n.units from reservation_holds n join buckets b on b.id = n.bucket
      where n.reservation = p_id and n.kind = 'quota' order by n.ord
    loop
      o_available := h.amount - h.used - h.leased - h.reserved - h.forfeited;
      if v_actual - h.units > greatest(0, case when t.learning then 0 else o_available end) and not p_capped then
        o_code := 'SHORT';
        o_bucket := jsonb_build_object('limit', h.limit_key, 'scope', h.scope, 'subject', h.subject, 'period', h.period);
        o_outstanding := h.leased + h.reserved - h.units;
        return;
      end if;
      v_actual := least(v_actual, h.units + greatest(0, case when t.learning then 0 else o_available end));
    end loop;
    perform reservations_settle(array[p_id], 'COMMITTED', v_actual, t.at);
    select * into strict r from reservations where id = p_id;
    select max(case when v_actual < 0 then n.units else v_actual end),
        jsonb_agg(jsonb_build_object('units', case when v_actual < 0 then n.units else v_actual end,
          'bucket', jsonb_build_object('limit', b.limit_key, 'scope', b.scope, 'subject', b.subject, 'period', b.period)) order by n.ord)
      into v_units, v_spends
      from reservation_holds n join buckets b on b.id = n.bucket where n.reservation = p_id and n.kind = 'quota';
    perform usage_store(array[true], array[r.id], array[r.created_at], array[r.team_id], array[r.user_id], array[r.feature],
      array[coalesce(v_units, greatest(v_actual, 0))], array[1::bigint], array[r.metadata::text], array[v_spends::text]);
  end if;
  o_reservation := reservation_json(p_id);
end
$$;

create function reservations_forget(p_before timestamptz, p_most bigint) returns bigint
  language plpgsql
as $$
declare
  v_ids text[] := array(select id from reservations where state <> 'HELD' and settled_at < p_before order by id limit p_most for update skip locked);
begin
  delete from reservation_holds where reservation = any (v_ids);
  delete from reservations where id = any (v_ids);
  return cardinality(v_ids);
end
$$;

-- Locks a gauge's bucket, which is made when it is not there, and returns it.
create function gauge_begin(p_bucket jsonb) returns buckets
  language plpgsql
as $$
declare
  b buckets;
begin
  perform ledger_begin();
  perform ledger_ensure(jsonb_build_array(p_bucket));
  select * into strict b from buckets where (limit_key, scope, subject, period)
    = (p_bucket ->> 'limit', p_bucket ->> 'scope', p_bucket ->> 'subject', p_bucket ->> 'period') for update;
  return b;
end
$$;

-- tiergate.GaugeLedger.Add. o_code is "" or "SHORT".
create function gauge_add(p_bucket jsonb, p_item text, p_amount bigint, p_rev bigint,
    out o_code text, out o_held bigint, out o_available bigint)
  language plpgsql security definer set search_path = pg_catalog, public, pg_temp set timezone = 'UTC'
as $$
declare
  b buckets := gauge_begin(p_bucket);
  v_allowed constant bigint := case when p_rev >= b.rev then p_amount else least(p_amount, b.amount) end;
begin
  o_code := '';
  o_held := b.used;
  if not exists (select from gauge_items i where i.bucket = b.id and i.item = p_item) then
    if b.used >= v_allowed then
      o_code := 'SHORT';
    else
      insert into gauge_items (bucket, item, since) values (b.id, p_item, ledger_now());
      o_held := b.used + 1;
    end if;
  end if;
  o_available := v_allowed - o_held;
  update buckets set used = o_held, amount = case when p_rev >= b.rev then p_amount else b.amount end, rev = greatest(p_rev, b.rev), touched_at = now()
    where id = b.id;
end
$$;

-- tiergate.GaugeLedger.Remove.
create function gauge_remove(p_bucket jsonb, p_item text, out o_held bigint)
  language plpgsql security definer set search_path = pg_catalog, public, pg_temp set timezone = 'UTC'
as $$
declare
  b buckets := gauge_begin(p_bucket);
begin
  o_held := b.used;
  delete from gauge_items where bucket = b.id and item = p_item;
  if found then
    o_held := b.used - 1;
    update buckets set used = o_held, touched_at = now() where id = b.id;
  end if;
end
$$;

-- tiergate.GaugeLedger.Replace.
create function gauge_replace(p_bucket jsonb, p_items text[], out o_added bigint, out o_removed bigint)
  language plpgsql security definer set search_path = pg_catalog, public, pg_temp set timezone = 'UTC'
as $$
declare
  b buckets := gauge_begin(p_bucket);
begin
  delete from gauge_items where bucket = b.id and item <> all (p_items);
  get diagnostics o_removed = row_count;
  insert into gauge_items (bucket, item, since) select distinct b.id, i, ledger_now() from unnest(p_items) i on conflict do nothing;
  get diagnostics o_added = row_count;
  update buckets set used = used + o_added - o_removed, touched_at = now() where id = b.id;
end
$$;

-- tiergate.GaugeLedger.Peek.
create function ledger_peek(p_asks jsonb, out o_available bigint[], out o_outstanding bigint[])
  language plpgsql security definer set search_path = pg_catalog, public, pg_temp set timezone = 'UTC'
as $$
declare
  t record;
  v_over text[];
begin
  select * into t from ledger_begin();
  v_over := reservations_over(t.at);
  perform ledger_lock(reservations_buckets(v_over));
  perform reservations_settle(v_over, 'EXPIRED', 0, t.at);
  select coalesce(array_agg(k.amount - coalesce(b.used + b.leased + b.reserved + b.forfeited, 0) order by k.ord), '{}'),
      coalesce(array_agg(coalesce(b.leased + b.reserved, 0) order by k.ord), '{}')
    into o_available, o_outstanding
    from rows from (jsonb_to_recordset(p_asks) as ("limit" text, scope text, subject text, period text, amount bigint))
      with ordinality as k (limit_key, scope, subject, period, amount, ord)
    left join buckets b using (limit_key, scope, subject, period);
end
$$;

-- Ends what a lost holder has, of one bucket or (null) of all: usage records prove what was
-- used, and the rest is released or charged. The holder is retired for ever. o_code is "",
-- "NOT_FOUND", or "ALIVE" for a holder that spoke not long enough ago. One row for each lease.
create function ledger_reconcile(p_holder text, p_bucket jsonb, p_how text, p_actor text, p_reason text, out o_code text, out o_units bigint, out o_leases bigint)
  language plpgsql security definer set search_path = pg_catalog, public, pg_temp set timezone = 'UTC'
as $$
declare
  t record;
  h holders;
  v_at timestamptz;
  v_buckets bigint[];
begin
  o_units := 0;
  o_leases := 0;
  select * into t from ledger_begin();
  select * into h from holders where id = p_holder for update;
  if not found then
    o_code := 'NOT_FOUND';
    return;
  end if;
  if not h.retired and t.at <= h.expires_at + interval '5 s' then
    o_code := 'ALIVE';
    return;
  end if;
  v_buckets := array(select bucket from leases where holder = p_holder);
  perform ledger_lock(v_buckets || array(select bucket from rate_shares where holder = p_holder));
  v_at := ledger_now();
  perform ledger_turn(array[p_holder], 'FORFEIT');
  update holders set retired = true, lost = true where id = p_holder;
  delete from rate_shares where holder = p_holder;

  with ended as (
    select l.*, greatest(0, l.granted - l.reported) as rest, b.limit_key, b.scope, b.subject, b.period
    from leases l join buckets b on b.id = l.bucket
    where l.holder = p_holder and l.granted > l.reported and (p_bucket is null or (b.limit_key, b.scope, b.subject, b.period)
      = (p_bucket ->> 'limit', p_bucket ->> 'scope', p_bucket ->> 'subject', p_bucket ->> 'period'))),
  written as (
    insert into reconciliations (at, actor, reason, how, holder, limit_key, scope, subject, period, state, granted, reported, units)
    select v_at, p_actor, p_reason, p_how, p_holder, limit_key, scope, subject, period, state, granted, reported, rest from ended
    order by limit_key, scope, subject, period),
  sealed as (
    update leases l set state = 'SEALED', granted = l.reported, charged = l.charged + case p_how when 'charge' then e.rest else 0 end
    from ended e where l.bucket = e.bucket and l.holder = e.holder),
  counted as (
    update buckets b set used = capped(b.used::numeric + case p_how when 'charge' then e.rest else 0 end),
      leased = b.leased - case e.state when 'FORFEIT' then 0 else e.rest end,
      forfeited = b.forfeited - case e.state when 'FORFEIT' then e.rest else 0 end, touched_at = v_at
    from ended e where b.id = e.bucket)
  select coalesce(sum(rest), 0), count(*) into o_units, o_leases from ended;
  delete from leases where holder = p_holder and granted <= reported and charged = 0;
  o_code := '';
end
$$;

-- +goose StatementEnd

alter table reservations enable row level security;
alter table reservation_holds enable row level security;
alter table gauge_items enable row level security;
alter table reconciliations enable row level security;
create policy scope on reservations using (in_scope(team_id));
create policy scope on reservation_holds using (exists (select from reservations r where r.id = reservation and in_scope(r.team_id)));
create policy scope on gauge_items using (exists (select from buckets b where b.id = bucket and in_scope(case b.scope when 'team' then b.subject else '' end)));
create policy scope on reconciliations using (in_scope(''));

-- By default everybody may execute a new function. Of these, nobody but whom the grants name.
-- +goose StatementBegin
do $$
declare
  f regprocedure;
begin
  for f in select p.oid from pg_proc p where p.pronamespace = 'public'::regnamespace
      and p.proname ~ '^(ledger|usage|reservations?|gauge)_' loop
    execute format('revoke execute on function %s from public', f);
  end loop;
end
$$;
-- +goose StatementEnd
