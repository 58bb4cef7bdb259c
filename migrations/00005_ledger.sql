-- The ledger: who may spend what. A unit is debited from its bucket before anybody may
-- spend it, and comes back only by its holder's own word. No clock keeps this safe: times
-- only decide what units are called, and when a holder counts as silent.
--
-- All functions take their locks in one order, so that none can deadlock: the state, the
-- holder or reservation that speaks, others that nobody holds (skip locked), new buckets by
-- their keys, buckets by id, and last the sums of usage by their keys. What hangs on a
-- bucket (leases, shares, holds, items) is written under the bucket's lock only.

-- +goose Up

-- +goose StatementBegin
create function ledger_now() returns timestamptz
  language sql volatile
as $$ select clock_timestamp() $$;

-- Which life of the database this is. A standby that takes over, a restore and a dump that
-- is read elsewhere are new lives; a restart is none.
create function ledger_timeline() returns text
  language plpgsql stable
as $$
begin
  return (select system_identifier || '/' || left(pg_walfile_name(pg_current_wal_lsn()), 8) from pg_control_system());
end
$$;
-- +goose StatementEnd

create table ledger_state (
  single         boolean primary key default true check (single),
  timeline       text not null, -- the life that was seen last
  learning_until timestamptz not null default '-infinity' -- until then nothing is granted
);
insert into ledger_state (timeline) values (ledger_timeline());

-- One process each. Retired is for ever.
create table holders (
  id         text collate "C" primary key,
  token      text not null,
  timeline   text not null,
  expires_at timestamptz not null,
  lost       boolean not null default false,
  retired    boolean not null default false
) with (fillfactor = 50);
create index holders_alive on holders (id) where not lost and not retired;

-- One counter each. What may still be handed out is amount - used - leased - reserved - forfeited,
-- which is negative after the amount was lowered, or when what has happened was more.
create table buckets (
  id         bigint generated always as identity primary key,
  limit_key  text collate "C" not null,
  scope      text collate "C" not null,
  subject    text collate "C" not null,
  period     text collate "C" not null,
  starts_at  timestamptz, -- null: since ever, or nobody has said so yet
  ends_at    timestamptz,
  amount     bigint not null default 0, -- as of revision rev, 0 while nobody has said so
  rev        bigint not null default 0,
  used       bigint not null default 0, -- the sum of usage that has arrived
  leased     bigint not null default 0, -- set aside for leases of holders that speak …
  forfeited  bigint not null default 0, -- … and of silent ones
  reserved   bigint not null default 0, -- set aside for reservations
  wanted_at  timestamptz, -- when somebody last got less than needed
  touched_at timestamptz not null default now(),
  constraint buckets_key unique (limit_key, scope, subject, period),
  constraint buckets_aside_check check (leased >= 0 and forfeited >= 0 and reserved >= 0)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
create index buckets_wanted on buckets (wanted_at) where wanted_at is not null;

-- What one holder has of one bucket: granted - reported is set aside.
create table leases (
  bucket   bigint not null,
  holder   text collate "C" not null,
  state    text collate "C" not null check (state in ('ACTIVE', 'SEALED', 'FORFEIT')),
  fence    bigint not null,
  granted  bigint not null,
  reported bigint not null default 0,
  charged  bigint not null default 0, -- of used, what somebody charged and no usage has shown yet
  primary key (bucket, holder)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
create index leases_holder on leases (holder);

-- The parts of rates, in millionths.
create table rate_shares (
  bucket     bigint not null,
  holder     text collate "C" not null,
  millionths bigint not null,
  expires_at timestamptz not null,
  primary key (bucket, holder)
) with (fillfactor = 50);
create index rate_shares_holder on rate_shares (holder);

-- +goose StatementBegin

-- Begins a transaction of the ledger: the time, its life, and until when it learns.
create function ledger_begin(out at timestamptz, out life text, out learning timestamptz)
  language plpgsql
as $$
declare
  seen text;
begin
  at := ledger_now();
  life := ledger_timeline();
  select s.timeline, s.learning_until into strict seen, learning from ledger_state s;
  if seen <> life then
    update ledger_state s set timeline = life, learning_until = at + interval '15 s' where s.timeline <> life;
    select s.learning_until into strict learning from ledger_state s;
  end if;
end
$$;

-- Lets a holder speak that knows its newest token. back says that it was silent: what was
-- set apart is its own again, which is the caller's to do.
create function ledger_admit(p_holder text, p_previous text, p_token text, at timestamptz, life text, learning timestamptz,
    out admitted boolean, out back boolean)
  language plpgsql
as $$
declare
  h holders;
begin
  admitted := false;
  back := false;
  loop
    select * into h from holders where id = p_holder for update;
    if found then
      if h.retired or (h.token <> p_previous and h.token <> p_token and h.timeline = life) then
        return;
      end if;
      update holders set token = p_token, timeline = life, expires_at = at + interval '10 s', lost = false where id = p_holder;
      admitted := true;
      back := h.lost;
      return;
    end if;
    if p_previous <> '' and at >= learning then
      return;
    end if;
    insert into holders (id, token, timeline, expires_at) values (p_holder, p_token, life, at + interval '10 s')
      on conflict do nothing;
    if found then
      admitted := true;
      return;
    end if; -- somebody else of this name was faster
  end loop;
end
$$;

-- Holders that were not heard for longer than they may spend, and a grace, are lost. Those
-- whose row is locked speak just now. A few at a time: who asks has to wait for it.
create function ledger_silent(at timestamptz) returns text[]
  language plpgsql
as $$
declare
  silent text[] := array(
    select id from holders where not lost and not retired and expires_at < at - interval '5 s'
    order by id limit 8 for update skip locked);
begin
  if cardinality(silent) > 0 then
    update holders set lost = true where id = any (silent);
  end if;
  return silent;
end
$$;

-- Locks buckets for the rest of the transaction.
create function ledger_lock(p_buckets bigint[]) returns void
  language plpgsql
as $$
begin
  perform from buckets where id = any (p_buckets) order by id for update;
end
$$;

-- Sets apart what holders have (to FORFEIT), or gives it back to them (to ACTIVE).
create function ledger_turn(p_holders text[], p_to text) returns void
  language plpgsql
as $$
begin
  with turned as (
    update leases set state = p_to
    where holder = any (p_holders) and state = case p_to when 'FORFEIT' then 'ACTIVE' else 'FORFEIT' end
    returning bucket, greatest(0, granted - reported) as aside),
  d as (
    select bucket, (sum(aside) * case p_to when 'FORFEIT' then 1 else -1 end)::bigint as n from turned group by bucket)
  update buckets b set leased = b.leased - d.n, forfeited = b.forfeited + d.n from d where b.id = d.bucket and d.n <> 0;
end
$$;

-- Gives each rate that a holder asks for an equal part of it, once the others have made room.
create function ledger_shares(p_holder text, p_rates jsonb, at timestamptz) returns bigint[]
  language plpgsql
as $$
declare
  parts bigint[];
begin
  with asked as (
    select k.ord, b.id
    from rows from (jsonb_to_recordset(p_rates) as ("limit" text, scope text, subject text, period text))
      with ordinality as k (limit_key, scope, subject, period, ord)
    join buckets b using (limit_key, scope, subject, period)),
  others as (
    select a.ord, a.id, count(s.holder) as n, coalesce(sum(s.millionths), 0)::bigint as taken
    from asked a left join rate_shares s on s.bucket = a.id and s.holder <> p_holder and s.expires_at >= at
    group by a.ord, a.id),
  mine as (
    select ord, id, greatest(0, least(1000000 / (n + 1), 1000000 - taken)) as part from others),
  put as (
    insert into rate_shares as r (bucket, holder, millionths, expires_at)
    select id, p_holder, part, at + interval '15 s' from mine
    on conflict (bucket, holder) do update set millionths = excluded.millionths, expires_at = excluded.expires_at)
  select array_agg(part order by ord) into parts from mine;
  return parts;
end
$$;

-- Makes the buckets of asks and rates that are not there yet.
create function ledger_ensure(p_asks jsonb) returns void
  language plpgsql
as $$
begin
  insert into buckets (limit_key, scope, subject, period, starts_at, ends_at)
  select a.* from jsonb_to_recordset(p_asks)
    as a ("limit" text, scope text, subject text, period text, "start" timestamptz, "end" timestamptz)
  where not exists (select from buckets b where (b.limit_key, b.scope, b.subject, b.period) = (a."limit", a.scope, a.subject, a.period))
  order by 1, 2, 3, 4
  on conflict do nothing;
end
$$;

-- The numbers of the buckets of asks and rates.
create function ledger_buckets(p_asks jsonb) returns bigint[]
  language plpgsql
as $$
begin
  return array(
    select b.id from jsonb_to_recordset(p_asks) as a ("limit" text, scope text, subject text, period text)
    join buckets b on (b.limit_key, b.scope, b.subject, b.period) = (a."limit", a.scope, a.subject, a.period));
end
$$;

-- The answers to a holder's asks, whose buckets are locked. Everything is worked out from
-- one reading and written back at once.
create function ledger_answers(p_holder text, p_asks jsonb, at timestamptz, learning timestamptz,
    out o_states text[], out o_granted bigint[], out o_available bigint[], out o_outstanding bigint[], out o_out_of_period boolean[])
  language plpgsql
as $$
declare
  a record;
  v_allowed bigint; v_available bigint; v_need bigint; v_given bigint; v_aside bigint;
  v_fence bigint; v_granted bigint; v_state text; v_wanted timestamptz; v_answer text; v_outside boolean;
  b_id bigint[]; b_amount bigint[]; b_rev bigint[]; b_leased bigint[]; b_wanted timestamptz[];
  l_bucket bigint[]; l_state text[]; l_fence bigint[]; l_granted bigint[];
begin
  for a in
    select k.*, b.id, b.amount as b_amount, b.rev as b_rev, b.used, b.leased, b.reserved, b.forfeited, b.wanted_at,
      coalesce(l.state, 'SEALED') as l_state, coalesce(l.fence, 0) as l_fence, coalesce(l.granted, 0) as l_granted,
      coalesce(l.reported, 0) as reported,
      (select count(*) from leases o where o.bucket = b.id and o.state = 'ACTIVE' and o.holder <> p_holder) as others
    from rows from (jsonb_to_recordset(p_asks) as ("limit" text, scope text, subject text, period text, "start" timestamptz, "end" timestamptz,
        amount bigint, rev bigint, fence bigint, granted bigint, spent bigint, need bigint, least bigint, want bigint, seal boolean))
      with ordinality as k (limit_key, scope, subject, period, starts_at, ends_at, amount, rev, fence, granted, spent, need, least, want, seal, ord)
    join buckets b using (limit_key, scope, subject, period)
    left join leases l on l.bucket = b.id and l.holder = p_holder
    order by k.ord
  loop
    -- of two revisions the newer one's amount counts, of an older one the smaller of both
    v_allowed := case when a.rev >= a.b_rev then a.amount else least(a.amount, a.b_amount) end;
    v_fence := a.l_fence;
    v_state := a.l_state;
    v_granted := a.l_granted;
    v_wanted := a.wanted_at;
    v_aside := greatest(0, a.l_granted - a.reported);
    if a.fence > v_fence then -- taken up anew; what is granted is what the holder says, even if a copy of it has used more
      v_fence := a.fence;
      v_state := 'ACTIVE';
      v_granted := a.granted;
    elsif a.fence = v_fence and a.granted > v_granted and v_state = 'ACTIVE' then -- a grant that the ledger has lost
      v_granted := a.granted;
    end if;
    v_outside := at < a.starts_at or at >= a.ends_at;
    v_outside := coalesce(v_outside, false);
    v_answer := 'SEALED';
    if a.fence < v_fence or v_state <> 'ACTIVE' then
      null; -- late
    elsif a.seal then
      v_state := 'SEALED';
      v_granted := greatest(a.spent, a.reported);
    else
      v_answer := 'ACTIVE';
      if not v_outside and at >= learning then
        -- what is needed, all of it or as much as there is …
        v_available := v_allowed - a.used - (a.leased - v_aside + greatest(0, v_granted - a.reported)) - a.reserved - a.forfeited;
        v_need := greatest(0, a.spent + a.need - v_granted);
        v_given := least(v_need, v_available);
        if v_given < v_need and a.spent + a.least > v_granted + v_given then
          v_given := 0; -- not even the smallest would be served
        end if;
        v_given := greatest(0, v_given);
        if v_given < v_need then
          v_wanted := at;
        else -- … and beyond that at most half of an equal share of what would be left
          v_given := v_given + greatest(0, least(a.spent + a.want - v_granted - v_given, (v_available - v_given) / (2 * (a.others + 1))));
        end if;
        v_granted := v_granted + v_given;
      end if;
    end if;

    a.leased := a.leased - v_aside + greatest(0, v_granted - a.reported);
    o_states := o_states || v_answer;
    o_granted := o_granted || v_granted;
    o_available := o_available || v_allowed - a.used - a.leased - a.reserved - a.forfeited;
    o_outstanding := o_outstanding || a.leased + a.reserved - greatest(0, v_granted - a.reported);
    o_out_of_period := o_out_of_period || v_outside;
    b_id := b_id || a.id;
    b_amount := b_amount || case when a.rev >= a.b_rev then a.amount else a.b_amount end;
    b_rev := b_rev || greatest(a.rev, a.b_rev);
    b_leased := b_leased || a.leased;
    b_wanted := b_wanted || v_wanted;
    if (v_state, v_fence, v_granted) is distinct from (a.l_state, a.l_fence, a.l_granted) then
      l_bucket := l_bucket || a.id;
      l_state := l_state || v_state;
      l_fence := l_fence || v_fence;
      l_granted := l_granted || v_granted;
    end if;
  end loop;
  update buckets b set amount = n.amount, rev = n.rev, leased = n.leased, wanted_at = n.wanted, touched_at = at
    from unnest(b_id, b_amount, b_rev, b_leased, b_wanted) as n (id, amount, rev, leased, wanted)
    where b.id = n.id and (b.amount, b.rev, b.leased, b.wanted_at) is distinct from (n.amount, n.rev, n.leased, n.wanted);
  insert into leases as l (bucket, holder, state, fence, granted)
    select n.bucket, p_holder, n.state, n.fence, n.granted
    from unnest(l_bucket, l_state, l_fence, l_granted) as n (bucket, state, fence, granted)
    on conflict (bucket, holder) do update set state = excluded.state, fence = excluded.fence, granted = excluded.granted;
end
$$;

-- tiergate.Ledger.Exchange. o_code is "" or "FENCED". Of plans there is one, which takes the
-- indexes, whatever the tables held when it was made.
create function ledger_exchange(p_holder text, p_previous text, p_token text, p_asks jsonb, p_rates jsonb,
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
  v_over text[];
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

-- Ends a holder's leases: what it did not use is free again. The caller has locked it.
create function ledger_release(p_holder text) returns void
  language plpgsql
as $$
begin
  perform ledger_lock(array(select bucket from leases where holder = p_holder) || array(select bucket from rate_shares where holder = p_holder));
  with gone as (
    delete from leases where holder = p_holder returning bucket, state, greatest(0, granted - reported) as aside),
  d as (
    select bucket, coalesce(sum(aside) filter (where state <> 'FORFEIT'), 0) as leased,
      coalesce(sum(aside) filter (where state = 'FORFEIT'), 0) as forfeited
    from gone group by bucket)
  update buckets b set leased = b.leased - d.leased, forfeited = b.forfeited - d.forfeited from d where b.id = d.bucket;
  delete from rate_shares where holder = p_holder;
  update holders set retired = true where id = p_holder;
end
$$;

-- tiergate.Ledger.Retire. o_code is "", "FENCED", or "BEHIND": the log is not counted so far.
create function ledger_retire(p_holder text, p_previous text, p_token text, p_log text, p_at bigint, out o_code text)
  language plpgsql security definer set search_path = pg_catalog, public, pg_temp set timezone = 'UTC'
as $$
declare
  t record;
  v_retired boolean;
begin
  select * into t from ledger_begin();
  if coalesce((select at from usage_logs where log = p_log), 0) < p_at then
    o_code := 'BEHIND';
    return;
  end if;
  o_code := '';
  -- the first message of a holder that is not known may be under way, and nobody would have what it gets
  insert into holders (id, token, timeline, expires_at, retired) values (p_holder, '', '', t.at, true) on conflict do nothing;
  select retired into strict v_retired from holders where id = p_holder for update;
  if v_retired then
    return;
  end if;
  if not (select admitted from ledger_admit(p_holder, p_previous, p_token, t.at, t.life, t.learning)) then
    o_code := 'FENCED';
    return;
  end if;
  perform ledger_release(p_holder);
end
$$;

-- +goose StatementEnd

-- Nobody reads these but admins, and nobody writes them but the functions. A team sees what
-- counts for it; holders and leases are for operators.
alter table ledger_state enable row level security;
alter table holders enable row level security;
alter table buckets enable row level security;
alter table leases enable row level security;
alter table rate_shares enable row level security;
create policy scope on ledger_state using (in_scope(''));
create policy scope on holders using (in_scope(''));
create policy scope on buckets using (in_scope(case scope when 'team' then subject else '' end));
create policy scope on leases using (in_scope(''));
create policy scope on rate_shares using (in_scope(''));
