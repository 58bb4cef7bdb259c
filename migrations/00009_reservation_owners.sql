-- A reservation's id is its owner's: the team of the API key that it was made with, or everybody
-- who needs no key. And whoever asks for one again is told whether it is held still.

-- +goose Up

drop policy scope on reservation_holds;

alter table reservations
  add num bigint generated always as identity,
  add owner text collate "C" not null default '',
  drop constraint reservations_pkey,
  add constraint reservations_pkey primary key (num),
  add constraint reservations_id_key unique (owner, id);
alter table reservations alter owner drop default;
-- until now nobody wrote down whose key it was; with a key, it was its team's
update reservations set owner = team_id where exists (select from team_api_keys);

alter table reservation_holds add num bigint;
update reservation_holds h set num = r.num from reservations r where r.id = h.reservation;
alter table reservation_holds drop reservation;
alter table reservation_holds rename num to reservation;
alter table reservation_holds add constraint reservation_holds_pkey primary key (reservation, ord);

create policy scope on reservation_holds using (exists (select from reservations r where r.num = reservation and in_scope(r.team_id)));

drop function reservations_over(timestamptz), reservations_buckets(text[]), reservations_settle(text[], text, bigint, timestamptz),
  reservation_json(text), reservation_begin(text, text), reservation_reserve(text, text, text, text, text, text, interval, jsonb);

-- +goose StatementBegin

-- Locks the reservations whose time is over, and returns their numbers; those that are locked are
-- being settled. However many there are, p_own, which the caller has locked, is one of them when
-- its time is over.
create function reservations_over(at timestamptz, p_own bigint default null) returns bigint[]
  language plpgsql
as $$
declare
  v_over bigint[];
begin
  v_over := array(
    select num from reservations where state = 'HELD' and expires_at <= at order by expires_at limit 64 for update skip locked);
  return v_over || array(
    select num from reservations where num = p_own and state = 'HELD' and expires_at <= at and num <> all (v_over));
end
$$;

create function reservations_buckets(p_nums bigint[]) returns bigint[]
  language plpgsql
as $$
begin
  if cardinality(p_nums) = 0 then
    return '{}';
  end if;
  return array(select bucket from reservation_holds where reservation = any (p_nums));
end
$$;

-- Ends reservations, whose rows and buckets are locked: each quota keeps what was used, -1
-- being what was held, and the rest is free.
create function reservations_settle(p_nums bigint[], p_state text, p_actual bigint, at timestamptz) returns void
  language plpgsql
as $$
begin
  if cardinality(p_nums) = 0 then
    return;
  end if;
  with d as (
    select bucket, sum(units) as held,
      coalesce(sum(case when p_actual < 0 then units else p_actual end) filter (where kind = 'quota'), 0) as used
    from reservation_holds where reservation = any (p_nums) group by bucket)
  update buckets b set reserved = b.reserved - d.held, used = capped(b.used + d.used), touched_at = at from d where b.id = d.bucket;
  update reservations set state = p_state, actual = p_actual, settled_at = at where num = any (p_nums);
end
$$;

create function reservation_json(p_num bigint) returns json
  language plpgsql
as $$
begin
  return (
    select json_build_object('id', r.id, 'owner', r.owner, 'state', r.state, 'teamId', r.team_id, 'userId', r.user_id, 'feature', r.feature,
      'fingerprint', r.fingerprint, 'metadata', r.metadata, 'actual', r.actual, 'expiresAt', r.expires_at,
      'createdAt', r.created_at, 'settledAt', r.settled_at,
      'holds', (select json_agg(json_build_object('kind', h.kind, 'units', h.units,
          'bucket', json_build_object('limit', b.limit_key, 'scope', b.scope, 'subject', b.subject, 'period', b.period)) order by h.ord)
        from reservation_holds h join buckets b on b.id = h.bucket where h.reservation = r.num))
    from reservations r where r.num = p_num);
end
$$;

-- Begins a transaction about one reservation: it is locked, as are its buckets, and those
-- whose time is over have ended. num is null for one that is not there, or another owner's.
create function reservation_begin(p_id text, p_owner text, out at timestamptz, out learning boolean, out num bigint,
    out state text, out actual bigint)
  language plpgsql
as $$
declare
  t record;
  v_over bigint[];
begin
  select * into t from ledger_begin();
  select r.num into num from reservations r where r.owner = p_owner and r.id = p_id for update;
  v_over := reservations_over(t.at, num);
  perform ledger_lock(reservations_buckets(v_over || num));
  at := ledger_now();
  learning := at < t.learning;
  perform reservations_settle(v_over, 'EXPIRED', 0, at);
  select r.state, r.actual into state, actual from reservations r where r.num = reservation_begin.num;
end
$$;

-- tiergate.ReservationLedger.Reserve. o_code is "" for one that is new, "HELD" for the same again,
-- "COMMITTED", "RELEASED" or "EXPIRED" for one that was settled, "REUSED" for an id that stands for
-- another reservation, "SHORT", with the hold that does not fit, or "OUT_OF_PERIOD" or "LEARNING",
-- with the hold that nothing can be held of now, and the time.
create function reservation_reserve(p_id text, p_owner text, p_team text, p_user text, p_feature text, p_fingerprint text, p_metadata text, p_ttl interval,
    p_holds jsonb, out o_code text, out o_at timestamptz, out o_reservation json, out o_hold int, out o_available bigint, out o_outstanding bigint)
  language plpgsql security definer set search_path = pg_catalog, public, pg_temp set timezone = 'UTC'
as $$
declare
  t record;
  h record;
  v_num bigint;
  v_over bigint[];
  v_allowed bigint;
  r reservations;
begin
  select * into t from ledger_begin();
  select num into v_num from reservations where owner = p_owner and id = p_id for update;
  v_over := reservations_over(t.at, v_num);
  if v_num is null then
    perform ledger_ensure(p_holds);
  end if;
  perform ledger_lock(ledger_buckets(p_holds) || reservations_buckets(v_over));
  o_at := ledger_now();
  perform reservations_settle(v_over, 'EXPIRED', 0, o_at);

  if not exists (select from reservations where owner = p_owner and id = p_id) then
    select k.ord into o_hold
      from rows from (jsonb_to_recordset(p_holds) as ("start" timestamptz, "end" timestamptz)) with ordinality as k (starts_at, ends_at, ord)
      where o_at < k.starts_at or o_at >= k.ends_at order by k.ord limit 1;
    if o_hold is not null or p_holds <> '[]' and o_at < t.learning then
      o_code := case when o_hold is null then 'LEARNING' else 'OUT_OF_PERIOD' end;
      o_hold := coalesce(o_hold, 1);
      return;
    end if;
    for h in
      select k.*, b.id, b.amount as b_amount, b.rev as b_rev, b.used, b.leased, b.reserved, b.forfeited
      from rows from (jsonb_to_recordset(p_holds) as ("limit" text, scope text, subject text, period text, "start" timestamptz, "end" timestamptz,
          amount bigint, rev bigint, units bigint))
        with ordinality as k (limit_key, scope, subject, period, starts_at, ends_at, amount, rev, units, ord)
      join buckets b using (limit_key, scope, subject, period) order by k.ord
    loop
      v_allowed := case when h.rev >= h.b_rev then h.amount else least(h.amount, h.b_amount) end;
      o_available := v_allowed - h.used - h.leased - h.reserved - h.forfeited;
      if o_available < h.units then
        o_code := 'SHORT';
        o_hold := h.ord;
        o_outstanding := h.leased + h.reserved;
      end if;
      update buckets set amount = case when h.rev >= h.b_rev then h.amount else h.b_amount end, rev = greatest(h.rev, h.b_rev),
          wanted_at = case when o_code = 'SHORT' then o_at else wanted_at end, touched_at = o_at
        where id = h.id and (o_code = 'SHORT' or h.rev > h.b_rev or h.amount <> h.b_amount);
      if o_code = 'SHORT' then
        return;
      end if;
    end loop;
    insert into reservations (id, owner, team_id, user_id, feature, fingerprint, metadata, expires_at, created_at)
      values (p_id, p_owner, p_team, p_user, p_feature, p_fingerprint, p_metadata::json, o_at + p_ttl, o_at)
      on conflict do nothing returning num into v_num;
    if found then
      insert into reservation_holds (reservation, ord, bucket, kind, units)
        select v_num, k.ord, b.id, k.kind, k.units
        from rows from (jsonb_to_recordset(p_holds) as ("limit" text, scope text, subject text, period text, kind text, units bigint))
          with ordinality as k (limit_key, scope, subject, period, kind, units, ord)
        join buckets b using (limit_key, scope, subject, period);
      update buckets b set reserved = b.reserved + n.units, touched_at = o_at
        from reservation_holds n where n.reservation = v_num and b.id = n.bucket;
      o_code := '';
      o_reservation := reservation_json(v_num);
      return;
    end if;
  end if;
  select * into strict r from reservations where owner = p_owner and id = p_id; -- made before, or by somebody who was faster
  o_code := case when r.fingerprint <> p_fingerprint then 'REUSED' else r.state end;
  if o_code = 'HELD' then
    o_reservation := reservation_json(r.num);
  end if;
end
$$;

-- tiergate.ReservationLedger.Reservation. o_code is "" or "NOT_FOUND".
create or replace function reservation_read(p_id text, p_owner text, out o_code text, out o_reservation json)
  language plpgsql security definer set search_path = pg_catalog, public, pg_temp set timezone = 'UTC'
as $$
declare
  t record;
begin
  select * into t from reservation_begin(p_id, p_owner);
  o_code := case when t.num is null then 'NOT_FOUND' else '' end;
  o_reservation := case when t.num is not null then reservation_json(t.num) end;
end
$$;

-- tiergate.ReservationLedger.Extend. o_code is "", "NOT_FOUND", or the final state that it is in.
create or replace function reservation_extend(p_id text, p_owner text, p_ttl interval, out o_code text, out o_reservation json)
  language plpgsql security definer set search_path = pg_catalog, public, pg_temp set timezone = 'UTC'
as $$
declare
  t record;
begin
  select * into t from reservation_begin(p_id, p_owner);
  o_code := case when t.num is null then 'NOT_FOUND' when t.state <> 'HELD' then t.state else '' end;
  if o_code = '' then
    update reservations set expires_at = t.at + p_ttl where num = t.num and expires_at < t.at + p_ttl;
    o_reservation := reservation_json(t.num);
  end if;
end
$$;

-- tiergate.ReservationLedger.Release. o_code is "", "NOT_FOUND" or "COMMITTED".
create or replace function reservation_release(p_id text, p_owner text, out o_code text, out o_reservation json)
  language plpgsql security definer set search_path = pg_catalog, public, pg_temp set timezone = 'UTC'
as $$
declare
  t record;
begin
  select * into t from reservation_begin(p_id, p_owner);
  o_code := case when t.num is null then 'NOT_FOUND' when t.state = 'COMMITTED' then t.state else '' end;
  if o_code = '' then
    if t.state = 'HELD' then
      perform reservations_settle(array[t.num], 'RELEASED', 0, t.at);
    end if;
    o_reservation := reservation_json(t.num);
  end if;
end
$$;

-- tiergate.ReservationLedger.Commit. o_code is "", "NOT_FOUND", "SHORT" with the hold that
-- does not fit, "OTHER" (committed with another amount), or the final state that it is in.
-- Its usage counts at the time of the hold, as its periods do.
create or replace function reservation_commit(p_id text, p_owner text, p_actual bigint, p_capped boolean,
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
  o_code := case when t.num is null then 'NOT_FOUND' when t.state not in ('HELD', 'COMMITTED') then t.state
    when t.state = 'COMMITTED' and t.actual <> v_actual and not (p_capped and t.actual < v_actual) then 'OTHER' else '' end;
  if o_code <> '' then
    return;
  end if;
  if t.state = 'HELD' then
    for h in
      select b.*, n.units from reservation_holds n join buckets b on b.id = n.bucket
      where n.reservation = t.num and n.kind = 'quota' order by n.ord
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
    perform reservations_settle(array[t.num], 'COMMITTED', v_actual, t.at);
    select * into strict r from reservations where num = t.num;
    select max(case when v_actual < 0 then n.units else v_actual end),
        jsonb_agg(jsonb_build_object('units', case when v_actual < 0 then n.units else v_actual end,
          'bucket', jsonb_build_object('limit', b.limit_key, 'scope', b.scope, 'subject', b.subject, 'period', b.period)) order by n.ord)
      into v_units, v_spends
      from reservation_holds n join buckets b on b.id = n.bucket where n.reservation = t.num and n.kind = 'quota';
    perform usage_store(array[true], array[r.id], array[r.created_at], array[r.team_id], array[r.user_id], array[r.feature],
      array[coalesce(v_units, greatest(v_actual, 0))], array[1::bigint], array[r.metadata::text], array[v_spends::text]);
  end if;
  o_reservation := reservation_json(t.num);
end
$$;

create or replace function reservations_forget(p_before timestamptz, p_most bigint) returns bigint
  language plpgsql
as $$
declare
  v_nums bigint[] := array(select num from reservations where state <> 'HELD' and settled_at < p_before order by num limit p_most for update skip locked);
begin
  delete from reservation_holds where reservation = any (v_nums);
  delete from reservations where num = any (v_nums);
  return cardinality(v_nums);
end
$$;

-- tiergate.GaugeLedger.Peek.
create or replace function ledger_peek(p_asks jsonb, out o_available bigint[], out o_outstanding bigint[])
  language plpgsql security definer set search_path = pg_catalog, public, pg_temp set timezone = 'UTC'
as $$
declare
  t record;
  v_over bigint[];
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

-- tiergate.Ledger.Exchange. o_code is "" or "FENCED". Of plans there is one, which takes the
-- indexes, whatever the tables held when it was made.
create or replace function ledger_exchange(p_holder text, p_previous text, p_token text, p_asks jsonb, p_rates jsonb,
    out o_code text, out o_at timestamptz, out o_learning boolean, out o_holders bigint, out o_shares bigint[], out o_recall jsonb,
    out o_states text[], out o_granted bigint[], out o_available bigint[], out o_outstanding bigint[], out o_out_of_period boolean[])
  language plpgsql security definer set search_path = pg_catalog, public, pg_temp set timezone = 'UTC'
  set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
declare
  t record;
  v_learning timestamptz;
  v_admitted boolean; v_back boolean;
  v_silent text[];
  v_over bigint[];
  v_turned bigint[] := '{}';
begin
  select * into t from ledger_begin();
  v_learning := t.learning;
  select admitted, back into v_admitted, v_back from ledger_admit(p_holder, p_previous, p_token, t.at, t.life, v_learning);
  if not v_admitted then
    o_code := 'FENCED';
    return;
  end if;
  v_silent := ledger_silent(t.at);
  v_over := reservations_over(t.at);
  if v_back or cardinality(v_silent) > 0 then
    select coalesce(array_agg(distinct bucket), '{}') into v_turned from leases where holder = any (v_silent || p_holder);
  end if;
  perform ledger_ensure(p_asks || p_rates);
  perform ledger_lock(ledger_buckets(p_asks || p_rates) || v_turned || reservations_buckets(v_over));
  o_at := ledger_now();
  if v_back then
    perform ledger_turn(array[p_holder], 'ACTIVE');
  end if;
  if cardinality(v_silent) > 0 then
    perform ledger_turn(v_silent, 'FORFEIT');
  end if;
  perform reservations_settle(v_over, 'EXPIRED', 0, o_at);

  o_code := '';
  o_learning := o_at < v_learning;
  select * into o_states, o_granted, o_available, o_outstanding, o_out_of_period
    from ledger_answers(p_holder, p_asks, o_at, v_learning);
  o_shares := case p_rates when '[]' then '{}' else ledger_shares(p_holder, p_rates, o_at) end;
  select count(*) into o_holders from holders where not lost and not retired;
  select coalesce(jsonb_agg(jsonb_build_object('limit', b.limit_key, 'scope', b.scope, 'subject', b.subject, 'period', b.period)
      order by b.limit_key, b.scope, b.subject, b.period), '[]') into o_recall
    from buckets b join leases l on l.bucket = b.id and l.holder = p_holder and l.state = 'ACTIVE'
    where b.wanted_at > o_at - interval '5 s';
end
$$;

-- +goose StatementEnd

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
