-- What a ledger cannot reserve now it says apart from what is used up: when it is another period
-- by its clock, which it tells, and while it has lost its newest history. Neither is a word about
-- what is left, and nobody is asked to give anything back because of it.

-- +goose Up

drop function reservation_reserve(text, text, text, text, text, text, interval, jsonb);

-- +goose StatementBegin

-- tiergate.ReservationLedger.Reserve. o_code is "", "TAKEN" (the id, by another team),
-- "REUSED" (by another reservation), "SHORT", with the hold that does not fit, or
-- "OUT_OF_PERIOD" or "LEARNING", with the hold that nothing can be held of now, and the time.
create function reservation_reserve(p_id text, p_team text, p_user text, p_feature text, p_fingerprint text, p_metadata text, p_ttl interval,
    p_holds jsonb, out o_code text, out o_at timestamptz, out o_reservation json, out o_hold int, out o_available bigint, out o_outstanding bigint)
  language plpgsql security definer set search_path = pg_catalog, public, pg_temp set timezone = 'UTC'
as $$
declare
  t record;
  h record;
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
  o_at := ledger_now();
  perform reservations_settle(v_over, 'EXPIRED', 0, o_at);

  select * into r from reservations where id = p_id;
  if not found then
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
    insert into reservations (id, team_id, user_id, feature, fingerprint, metadata, expires_at, created_at)
      values (p_id, p_team, p_user, p_feature, p_fingerprint, p_metadata::json, o_at + p_ttl, o_at)
      on conflict do nothing;
    if found then
      insert into reservation_holds (reservation, ord, bucket, kind, units)
        select p_id, k.ord, b.id, k.kind, k.units
        from rows from (jsonb_to_recordset(p_holds) as ("limit" text, scope text, subject text, period text, kind text, units bigint))
          with ordinality as k (limit_key, scope, subject, period, kind, units, ord)
        join buckets b using (limit_key, scope, subject, period);
      update buckets b set reserved = b.reserved + n.units, touched_at = o_at
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

-- +goose StatementEnd

revoke execute on function reservation_reserve(text, text, text, text, text, text, interval, jsonb) from public;
