-- The change feed: every committed change of the configuration, in the order of the
-- commits, without gaps, whoever made it and however. It is the audit trail as well.

-- +goose Up

-- The end of the history. One row, locked by each transaction that changes anything, so
-- that the order of revisions is the order of commits.
create table feed_head (
  single boolean primary key default true check (single),
  epoch  uuid not null default gen_random_uuid(),
  rev    bigint not null default 0,
  hash   bytea not null default decode(repeat('00', 32), 'hex'),
  schema integer not null default 1
);
insert into feed_head default values;

create table revisions (
  rev        bigint primary key check (rev > 0),
  epoch      uuid not null,
  schema     integer not null,
  prev_hash  bytea not null,
  hash       bytea,
  changes    bigint,
  actor      text not null,
  request_id text not null,
  reason     text not null,
  at         timestamptz
);

-- Images are json, not jsonb: the very text that the hash was made of.
create table change_log (
  rev    bigint not null,
  ord    bigint generated always as identity,
  kind   text collate "C" not null,
  key    text collate "C" not null,
  op     text collate "C" not null check (op in ('put', 'delete')),
  schema integer not null,
  image  json,
  primary key (rev, ord),
  check ((op = 'put') = (image is not null))
);

-- Images: what sidecars know of a row. Never an e-mail address, a name of a person, or a
-- secret. Each is made in one place, so that a snapshot and the log say the same. Those of
-- which there are many are put together by hand: json_build_object takes half as long again.
-- +goose StatementBegin
create function image(t flag_sets) returns text language sql stable parallel safe as $$
  select json_build_object('name', t.name, 'fractional', t.fractional, 'evaluators', t.evaluators, 'metadata', t.metadata)::text
$$;
create function image(t feature_flags) returns text language sql stable parallel safe as $$
  select concat('{"id": ', to_json(t.id), ', "set": ', to_json(t."set"), ', "name": ', to_json(t.name), ', "title": ', case t.title when '' then '""' else to_json(t.title)::text end,
    ', "description": ', case t.description when '' then '""' else to_json(t.description)::text end,
    ', "type": "', t.type, '", "enabled": ', t.enabled::text,
    ', "variants": ', t.variants, ', "defaultVariant": ', to_json(t.default_variant), ', "offVariant": ', to_json(t.off_variant),
    ', "rules": ', t.rules, ', "metadata": ', t.metadata, ', "version": ', t.version,
    ', "createdAt": ', to_json(t.created_at), ', "updatedAt": ', to_json(t.updated_at), '}')
$$;
create function image(t tiers) returns text language sql stable parallel safe as $$
  select json_build_object('key', t.key, 'name', t.name, 'rank', t.rank,
    'version', t.version, 'createdAt', t.created_at, 'updatedAt', t.updated_at)::text
$$;
create function image(t limits) returns text language sql stable parallel safe as $$
  select json_build_object('id', t.id, 'key', t.key, 'feature', t.feature, 'kind', t.kind, 'scope', t.scope,
    'class', t.class, 'period', t.period, 'zone', t.zone, 'amounts', t.amounts, 'bursts', t.bursts, 'cost', t.cost,
    'onUnavailable', t.on_unavailable, 'version', t.version, 'createdAt', t.created_at, 'updatedAt', t.updated_at)::text
$$;
create function image(t teams) returns text language sql stable parallel safe as $$
  select json_build_object('id', t.id, 'name', t.name, 'ownerId', t.owner_id, 'tier', t.tier, 'status', t.status,
    'settings', t.settings, 'version', t.version, 'createdAt', t.created_at, 'updatedAt', t.updated_at)::text
$$;
create function image(t users) returns text language sql stable parallel safe as $$
  select concat('{"id": ', to_json(t.id), ', "tier": ', to_json(t.tier), ', "attributes": ', t.attributes, '}')
$$;
create function image(t team_members) returns text language sql stable parallel safe as $$
  select concat('{"teamId": ', to_json(t.team_id), ', "userId": ', to_json(t.user_id), ', "role": ', to_json(t.role), '}')
$$;
create function image(t team_api_keys) returns text language sql stable parallel safe as $$
  select json_build_object('id', t.id, 'teamId', t.team_id, 'hash', t.hash, 'scopes', t.scopes, 'sets', t.sets,
    'state', t.state, 'expiresAt', t.expires_at)::text
$$;
create function image(t overrides) returns text language sql stable parallel safe as $$
  select json_build_object('id', t.id, 'teamId', t.team_id, 'userId', t.user_id, 'limitKey', t.limit_key,
    'amount', t.amount, 'expiresAt', t.expires_at)::text
$$;
create function image(t grants) returns text language sql stable parallel safe as $$
  select json_build_object('id', t.id, 'teamId', t.team_id, 'userId', t.user_id, 'limitKey', t.limit_key,
    'amount', t.amount, 'priority', t.priority, 'startsAt', t.starts_at, 'expiresAt', t.expires_at)::text
$$;
create function image(t policy_bundles) returns text language sql stable parallel safe as $$
  select json_build_object('id', t.id, 'version', t.version, 'modules', t.modules, 'hash', t.hash,
    'admission', t.admission, 'comment', t.comment, 'createdBy', t.created_by, 'createdAt', t.created_at)::text
$$;

create function image_key(t flag_sets) returns text language sql immutable parallel safe as $$ select t.name $$;
create function image_key(t feature_flags) returns text language sql immutable parallel safe as $$ select t.id $$;
create function image_key(t tiers) returns text language sql immutable parallel safe as $$ select t.key $$;
create function image_key(t limits) returns text language sql immutable parallel safe as $$ select t.id $$;
create function image_key(t teams) returns text language sql immutable parallel safe as $$ select t.id $$;
create function image_key(t users) returns text language sql immutable parallel safe as $$ select t.id $$;
create function image_key(t team_members) returns text language sql immutable parallel safe as $$ select t.team_id || E'\n' || t.user_id $$;
create function image_key(t team_api_keys) returns text language sql immutable parallel safe as $$ select t.id $$;
create function image_key(t overrides) returns text language sql immutable parallel safe as $$ select t.id $$;
create function image_key(t grants) returns text language sql immutable parallel safe as $$ select t.id $$;
create function image_key(t policy_bundles) returns text language sql immutable parallel safe as $$ select t.id $$;
-- +goose StatementEnd

-- What a sidecar may read. The views are the owner's, so that a sidecar needs no right on
-- the tables, where e-mail addresses are.
create view replica_flag_set as select image_key(t) as key, image(t) as image from flag_sets t;
create view replica_tier as select image_key(t) as key, image(t) as image from tiers t;
create view replica_limit as select image_key(t) as key, image(t) as image from limits t;
create view replica_flag as select image_key(t) as key, image(t) as image from feature_flags t;
create view replica_user as select image_key(t) as key, image(t) as image from users t;
create view replica_team as select image_key(t) as key, image(t) as image from teams t;
create view replica_member as select image_key(t) as key, image(t) as image from team_members t;
create view replica_key as select image_key(t) as key, image(t) as image from team_api_keys t;
create view replica_override as select image_key(t) as key, image(t) as image from overrides t;
create view replica_grant as select image_key(t) as key, image(t) as image from grants t;
create view replica_policy as select image_key(t) as key, image(t) as image from policy_bundles t
  where t.version = (select max(version) from policy_bundles);

-- The bytes that are hashed: each text with its length before it.
-- +goose StatementBegin
create function hashed_text(s text) returns bytea language sql immutable parallel safe as $$
  select int4send(octet_length(s)) || convert_to(s, 'UTF8')
$$;
create function change_digest(c change_log) returns bytea language sql immutable parallel safe as $$
  select sha256(int8send(c.ord) || hashed_text(c.kind) || hashed_text(c.key) || hashed_text(c.op)
    || int4send(c.schema) || hashed_text(coalesce(c.image::text, '')))
$$;
create function revision_hash(r revisions, digests bytea) returns bytea language sql immutable parallel safe as $$
  select sha256(r.prev_hash || int8send(r.rev) || uuid_send(r.epoch) || int4send(r.schema)
    || hashed_text(r.actor) || hashed_text(r.request_id) || hashed_text(r.reason)
    || int8send((extract(epoch from r.at) * 1000000)::bigint) || int8send(r.changes) || digests)
$$;
-- +goose StatementEnd

-- Takes the head's lock for the rest of the transaction. A program that will write calls
-- it first; for everybody else the statement triggers do it, before the first row.
-- +goose StatementBegin
create function feed_lock() returns void
  language plpgsql security definer set search_path = pg_catalog, public, pg_temp
as $$
begin
  perform from feed_head for update;
end
$$;

create function feed_lock_statement() returns trigger
  language plpgsql security definer set search_path = pg_catalog, public, pg_temp
as $$
begin
  perform from feed_head for update;
  return null;
end
$$;

-- Appends one change to the transaction's revision, which the first change opens. Called
-- by the triggers' functions, with their rights and their search path.
create function feed_append(kind text, key text, op text, image text) returns void
  language plpgsql
as $$
declare
  head feed_head;
begin
  select * into strict head from feed_head;
  if current_setting('tiergate.closed', true) = head.rev::text then
    raise exception 'revision % of this transaction is closed already', head.rev
      using errcode = 'object_not_in_prerequisite_state',
            hint = 'SET CONSTRAINTS … IMMEDIATE closes the revision: make all changes before it, or leave it out.';
  end if;
  insert into change_log (rev, kind, key, op, schema, image) values (head.rev + 1, kind, key, op, head.schema, image::json);
  if not exists (select from revisions r where r.rev = head.rev + 1) then
    insert into revisions (rev, epoch, schema, prev_hash, actor, request_id, reason)
    values (head.rev + 1, head.epoch, head.schema, head.hash,
      coalesce(nullif(current_setting('tiergate.actor', true), ''), 'postgres:' || session_user),
      coalesce(current_setting('tiergate.request_id', true), ''),
      coalesce(current_setting('tiergate.reason', true), ''));
  end if;
end
$$;

-- Row trigger of each replicated table: the change as images, unless they are equal.
create function feed_capture() returns trigger
  language plpgsql security definer set search_path = pg_catalog, public, pg_temp set timezone = 'UTC'
as $$
declare
  kind constant text := tg_argv[0];
  old_key text; old_image text;
  new_key text; new_image text;
begin
  if tg_op <> 'INSERT' then
    old_key := image_key(old);
    old_image := image(old);
  end if;
  if tg_op <> 'DELETE' then
    new_key := image_key(new);
    new_image := image(new);
  end if;
  if old_key = new_key and old_image = new_image then
    return null;
  end if;
  if old_key is distinct from new_key and old_key is not null then
    perform feed_append(kind, old_key, 'delete', null);
  end if;
  if new_key is not null then
    perform feed_append(kind, new_key, 'put', new_image);
  end if;
  return null;
end
$$;

-- Sidecars hold the policy in force only: a new one takes the place of the one before.
create function feed_capture_policy() returns trigger
  language plpgsql security definer set search_path = pg_catalog, public, pg_temp set timezone = 'UTC'
as $$
declare
  before_key text;
begin
  select id into before_key from policy_bundles where version = new.version - 1;
  if before_key is not null then
    perform feed_append('policy', before_key, 'delete', null);
  end if;
  perform feed_append('policy', image_key(new), 'put', image(new));
  return null;
end
$$;

-- Closes the transaction's revision, once, at its end: the hash, the head, the hint.
create function feed_close() returns trigger
  language plpgsql security definer set search_path = pg_catalog, public, pg_temp set timezone = 'UTC'
as $$
declare
  head feed_head;
  closing revisions;
  digests bytea;
begin
  select * into strict head from feed_head for update;
  select * into strict closing from revisions where rev = new.rev;
  if closing.rev <> head.rev + 1 or closing.prev_hash <> head.hash or closing.epoch <> head.epoch then
    raise exception 'revision % does not follow revision %', closing.rev, head.rev using errcode = 'data_corrupted';
  end if;
  select string_agg(change_digest(c), ''::bytea order by c.ord), count(*) into digests, closing.changes
    from change_log c where c.rev = closing.rev;
  if closing.changes = 0 then
    raise exception 'revision % has no changes', closing.rev using errcode = 'data_corrupted';
  end if;
  closing.at := clock_timestamp();
  closing.hash := revision_hash(closing, digests);
  update revisions set hash = closing.hash, changes = closing.changes, at = closing.at where rev = closing.rev;
  update feed_head set rev = closing.rev, hash = closing.hash;
  perform set_config('tiergate.closed', closing.rev::text, true);
  perform pg_notify('tiergate_feed', closing.rev::text);
  return null;
end
$$;

create function feed_refuse() returns trigger
  language plpgsql
as $$
begin
  raise exception '% of % is refused: %', lower(tg_op), tg_table_name, tg_argv[0]
    using errcode = 'object_not_in_prerequisite_state';
end
$$;

create function next_policy_version() returns trigger
  language plpgsql security definer set search_path = pg_catalog, public, pg_temp
as $$
begin
  select coalesce(max(version), 0) + 1 into new.version from policy_bundles;
  return new;
end
$$;
-- +goose StatementEnd

create constraint trigger feed_close after insert on revisions
  deferrable initially deferred for each row execute function feed_close();

-- The history is written once.
create trigger feed_refuse before update on revisions
  for each row when (old.hash is not null) execute function feed_refuse('the history is written once');
create trigger feed_refuse_delete before delete or truncate on revisions
  for each statement execute function feed_refuse('the history is written once');
create trigger feed_refuse before update or delete or truncate on change_log
  for each statement execute function feed_refuse('the history is written once');
create trigger feed_refuse before delete or truncate on feed_head
  for each statement execute function feed_refuse('the feed has exactly one head');

-- +goose StatementBegin
do $$
declare
  t text;
  kind text;
begin
  for t, kind in values ('flag_sets', 'flag_set'), ('feature_flags', 'flag'), ('tiers', 'tier'), ('limits', 'limit'),
      ('teams', 'team'), ('users', 'user'), ('team_members', 'member'), ('team_api_keys', 'key'),
      ('overrides', 'override'), ('grants', 'grant') loop
    execute format('create trigger feed_lock before insert or update or delete on %I for each statement execute function feed_lock_statement()', t);
    execute format('create trigger feed_capture after insert or update or delete on %I for each row execute function feed_capture(%L)', t, kind);
    execute format('create trigger feed_refuse before truncate on %I for each statement execute function feed_refuse(%L)', t, 'its rows would go without a trace; use delete');
  end loop;
end
$$;
-- +goose StatementEnd

create trigger feed_lock before insert or update or delete on policy_bundles
  for each statement execute function feed_lock_statement();
create trigger next_policy_version before insert on policy_bundles
  for each row execute function next_policy_version();
create trigger feed_capture after insert on policy_bundles
  for each row execute function feed_capture_policy();
create trigger feed_refuse before update or delete or truncate on policy_bundles
  for each statement execute function feed_refuse('published policies are kept as they were');

-- The set of everything that names none: revision 1.
insert into flag_sets (name) values ('default');
